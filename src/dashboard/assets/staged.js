// What an instance has staged, and the actions on it: validate, apply, roll back.

import { call, get, instancePath } from './api.js'
import { check, confirm, field, notice } from './dialog.js'
import { fill, h } from './dom.js'
import { changesBetween, changesOf } from './settings.js'

const SHOWN_MAX = 200

// Shows what is staged. Hidden while there is nothing.
export async function drawStaged(place, service, instance, signal, done) {
  const path = `${instancePath(service, instance)}/config`
  const name = `${service}/${instance}`
  const { revision, active, staged } = await get(path, {}, signal)
  const changes = staged === null ? [] : changesBetween(active, staged)
  place.hidden = changes.length === 0
  const signature = JSON.stringify([revision, changes])
  if (place.hidden || place.signature === signature) return
  place.signature = signature
  const { warnings } = await get(`${path}/diff`, {}, signal)
  const button = (words, act, kind = '') => h('button', { type: 'button', class: `small ${kind}`, 'data-focus': words, onclick: act }, words)
  const ask = (action) => action({ name, path, revision, changes, done })
  fill(place,
    h('div', { class: 'card-head' }, h('h2', {}, 'Staged changes'),
      h('div', { class: 'actions' }, button('Validate', () => validate(path)), button('Roll back', () => ask(confirmRollback)), button('Apply', () => ask(confirmApply), 'primary'))),
    shown(changes),
    warnings.map(words => h('p', { class: 'notice' }, words)))
}

const shown = changes => changesOf(changes.slice(0, SHOWN_MAX), changes.length)

async function validate(path) {
  try {
    const answer = await call('POST', `${path}/validate`)
    notice(answer?.warnings?.length > 0 ? `It can be applied. ${answer.warnings.join('. ')}.` : 'It can be applied.')
  } catch (error) { notice(error.message, 'bad') }
}

function confirmRollback({ name, path, done }) {
  return confirm({
    title: `Roll back ${name}`, words: 'Everything that is staged is dropped. The active configuration stays.', button: 'Roll back', danger: true,
    async act() {
      await call('POST', `${path}/rollback`)
      notice('The staged changes are dropped.')
      done()
    },
  })
}

function confirmApply({ name, path, revision, changes, done }) {
  const reason = h('input', { name: 'reason', maxlength: 500, autocomplete: 'off' })
  const within = h('input', { name: 'within', autocomplete: 'off', spellcheck: 'false', placeholder: 'such as 5m' })
  const guard = h('input', { type: 'checkbox', name: 'guard' })
  const sections = [...new Set(changes.map(one => one.section))].map(section => [section, h('input', { type: 'checkbox', name: section, checked: true })])
  return confirm({
    title: `Apply what ${name} has staged`,
    words: ['The changes become active in one step:', shown(changes)],
    fields: [
      sections.length > 1 && h('fieldset', {}, h('legend', {}, 'Sections'), sections.map(([section, box]) => check(section, box)), h('span', { class: 'hint' }, 'The other ones stay staged.')),
      field('Reason', reason, 'For the history and the audit. It may be empty.'),
      field('Take it back unless confirmed within', within, 'From 1s to 24h. Empty: it stays.'),
      check('Take it back at once if the changed routes answer more 5xx', guard),
    ],
    button: 'Apply',
    wide: true,
    async act() {
      const chosen = sections.filter(([, box]) => box.checked).map(([section]) => section)
      const body = {
        ...(chosen.length < sections.length ? { scopes: chosen } : {}),
        ...(reason.value.trim() === '' ? {} : { reason: reason.value.trim() }),
        ...(within.value.trim() === '' ? {} : { confirm_within: within.value.trim() }),
        ...(guard.checked ? { guard: true } : {}),
      }
      const { confirmation } = await call('POST', `${path}/apply`, { body, headers: { 'if-match': `"${revision}"` } })
      notice(confirmation ? 'The changes are active, and wait for their confirmation.' : 'The staged changes are active.')
      done()
    },
  })
}
