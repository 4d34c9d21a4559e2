// An apply that waits for its confirmation: who made it, what comes back and when, and the two ways to end the wait.

import { call, get, instancePath } from './api.js'
import { confirm, notice } from './dialog.js'
import { badge, fill, h } from './dom.js'
import { ago, full, until } from './format.js'
import { actorOf } from './history.js'

// Shows the apply of the instance that waits. Hidden while there is none.
export async function drawConfirmation(place, one, signal, done) {
  const waits = one.confirmation
  place.hidden = waits === null
  const signature = waits?.id ?? ''
  if (place.signature === signature) return
  place.signature = signature
  if (waits === null) return fill(place)
  const name = `${one.service_name}/${one.instance_name}`
  const revision = await get(`${instancePath(one.service_name, one.instance_name)}/history/${waits.number}`, {}, signal).catch(() => null)
  const back = waits.reverts_to === 0 ? 'the empty configuration' : `revision ${waits.reverts_to}`
  const path = `v1/confirmations/${encodeURIComponent(waits.id)}`
  const end = (method, title, words, button, told, danger) => () => confirm({
    title: `${title} ${name}`, words, button, danger,
    async act() {
      await call(method, path)
      notice(told)
      done()
    },
  })
  fill(place,
    h('div', { class: 'card-head' }, h('h2', {}, 'An apply waits for its confirmation'), until(waits.until),
      h('div', { class: 'actions' },
        h('button', { type: 'button', class: 'small danger-text', onclick: end('DELETE', 'Take back the apply of', `At once, ${back} is active again, as a new revision. What is staged stays staged.`, 'Take back', `${back} is active again.`, true) }, 'Take back'),
        h('button', { type: 'button', class: 'small primary', onclick: end('POST', 'Confirm the apply of', `Revision ${waits.number} stays active.`, 'Confirm', `Revision ${waits.number} stays.`) }, 'Confirm'))),
    h('p', {}, badge('warn', `revision ${waits.number}`), ' ',
      revision && ['was applied ', ago(revision.at), ' by ', actorOf(revision), revision.reason && [', “', h('bdi', {}, revision.reason), '”'], '. '],
      `Unless somebody confirms it by ${full(waits.until)}, ${back} comes back.`),
    waits.guard && h('p', {}, `Its guard brings ${back} back at once if the changed routes answer more 5xx.`))
}
