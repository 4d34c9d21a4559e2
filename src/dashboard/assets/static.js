// Instances that operators hold themselves: create, edit with a look at the changes, remove.

import { call, reply } from './api.js'
import { confirm, field, notice, show } from './dialog.js'
import { fill, h } from './dom.js'
import { changesOf } from './settings.js'

const pathOf = (service, instance) => `v1/services/${encodeURIComponent(service)}/instances/${encodeURIComponent(instance)}`
const EXAMPLE = { backend: 'http://127.0.0.1:3000', domains: ['shop.example'], path: '/', options: {} }

function parsed(text) {
  try { return JSON.parse(text) } catch (error) { throw new Error(`The configuration is no JSON: ${error.message}`) }
}

// The editor: what it would change is shown before it is saved.
function edit({ title, names, config, condition, done }) {
  const text = h('textarea', { name: 'config', spellcheck: 'false', value: JSON.stringify(config, null, 2) })
  const changes = h('div', { class: 'stack', role: 'status' })
  const put = dry => {
    const [service, instance] = names.map(name => (typeof name === 'string' ? name : name.value.trim()))
    return call('PUT', pathOf(service, instance), { query: { dry_run: dry || undefined }, body: parsed(text.value), headers: condition })
  }
  const check = async () => {
    try {
      const { changes: found, changes_total: total } = await put(true)
      fill(changes, changesOf(found, total))
    } catch (error) { fill(changes, h('p', { class: 'failure', role: 'alert' }, error.message)) }
  }
  return confirm({
    title, words: 'It needs no client and never expires. Everything becomes active in one step.',
    fields: [
      names.filter(name => typeof name !== 'string').map(input => field(input.name, input)),
      field('Configuration', text, 'backend and domains, or a list of routes; options, headers, health_check, rate_limit and circuit_breaker as in the REST description.'),
      h('button', { type: 'button', onclick: check }, 'Show the changes'), changes,
    ],
    button: 'Save',
    wide: true,
    async act() {
      const { created, revision } = await put(false)
      notice(created ? 'The instance is created.' : `The instance is at revision ${revision}.`)
      done?.()
    },
  })
}

// Shows the whole active configuration of an instance, whoever holds it.
export async function showConfig(one) {
  try {
    const config = await call('GET', pathOf(one.service_name, one.instance_name))
    show(`Configuration of ${one.service_name}/${one.instance_name}`, h('pre', {}, JSON.stringify(config, null, 2)))
  } catch (error) { notice(error.message, 'bad') }
}

const named = name => h('input', { name, required: true, autocomplete: 'off', spellcheck: 'false' })

export const createStatic = done => edit({
  title: 'Create a static instance', names: [named('Service'), named('Instance')], config: EXAMPLE, condition: { 'if-none-match': '*' }, done,
})

export async function editStatic(one, done) {
  try {
    const answer = await reply('GET', pathOf(one.service_name, one.instance_name))
    const condition = { 'if-match': answer.headers.get('etag') }
    return await edit({ title: `Edit ${one.service_name}/${one.instance_name}`, names: [one.service_name, one.instance_name], config: await answer.json(), condition, done })
  } catch (error) { notice(error.message, 'bad') }
}

export const removeStatic = (one, done) => confirm({
  title: `Remove ${one.service_name}/${one.instance_name}`,
  words: 'Its routes are gone at once. Requests under way finish.',
  button: 'Remove',
  danger: true,
  async act() {
    await call('DELETE', pathOf(one.service_name, one.instance_name), { headers: { 'if-match': `"${one.revision}"` } })
    notice(`${one.service_name}/${one.instance_name} is removed.`)
    done?.()
  },
})
