// The audit: all changes of state with their actors, the latest first.

import { get } from './api.js'
import { badge, fill, h } from './dom.js'
import { full, plain } from './format.js'
import { instanceLink } from './links.js'
import { Table } from './table.js'

const PAGE = 100
const BAD = new Set(['expired', 'evicted', 'maintenance_failed', 'staged_expired', 'reverted', 'config_reverted'])

export function audit(root, view, _, query) {
  const input = (name, label) => h('input', { type: 'search', name, placeholder: label, 'aria-label': label, value: query.get(name) ?? '', autocomplete: 'off', spellcheck: 'false' })
  const filters = { service: input('service', 'Service'), instance: input('instance', 'Instance'), action: input('action', 'Action, such as applied'), actor: input('actor', 'Actor, such as operator:ann') }
  const moment = (name, words) => h('input', { type: 'datetime-local', name, id: `audit-${name}`, 'aria-label': words, step: 1 })
  const times = { since: moment('since', 'Since'), until: moment('until', 'Until') }
  const failure = h('p', { class: 'failure', role: 'alert', hidden: true })
  const table = new Table({
    label: 'Audit',
    empty: 'No change fits.',
    key: one => String(one.sequence),
    columns: [
      { label: 'Time', cell: one => h('time', { datetime: one.at }, full(one.at)) },
      { label: 'Action', cell: one => badge(BAD.has(one.action) ? 'warn' : 'idle', one.action.replaceAll('_', ' ')) },
      { label: 'Instance', kind: 'strong', cell: one => (one.service_name ? h('a', { href: instanceLink(one) }, h('bdi', {}, `${one.service_name}/${one.instance_name}`)) : 'server') },
      { label: 'Actor', cell: one => h('bdi', {}, one.actor.name && one.actor.kind !== 'server' ? `${one.actor.kind}: ${one.actor.name}` : one.actor.kind) },
      { label: 'From', cell: one => (one.address ? `${one.address} by ${one.interface}` : h('span', { class: 'muted' }, one.interface)) },
      { label: 'Revision', kind: 'number', cell: one => (one.revision === null ? '–' : String(one.revision)) },
      { label: 'Details', kind: 'wide', cell: one => h('bdi', {}, detailsOf(one.details)) },
    ],
  })
  const more = h('button', { type: 'button', onclick: () => read(true) }, 'Older')
  const form = h('form', { class: 'filters', onsubmit(event) { event.preventDefault(); read(false) } }, Object.values(filters), Object.values(times).map(input => h('label', { class: 'check', for: input.id }, input.getAttribute('aria-label'), input)), h('button', { class: 'primary' }, 'Search'))
  fill(root, h('div', { class: 'title' }, h('h1', {}, 'Audit')), form, failure, table.element, h('div', { class: 'pager' }, more))

  let rows = []
  let cursor = null
  async function read(goOn) {
    const asked = Object.fromEntries([...Object.entries(filters), ...Object.entries(times)].map(([name, field]) => [name, field.value.trim()]))
    for (const name of Object.keys(times)) if (asked[name]) asked[name] = new Date(asked[name]).toISOString()
    try {
      const page = await get('v1/audit', { ...asked, limit: PAGE, cursor: goOn ? cursor : undefined }, view.signal)
      rows = goOn ? [...rows, ...page.items] : page.items
      cursor = page.next_cursor
      if (!goOn) table.page = 0
      table.set(rows)
      if (goOn) { table.page += 1; table.draw() }
      more.hidden = !cursor
      failure.hidden = true
    } catch (error) {
      if (view.signal.aborted) return
      fill(failure, error.message)
      failure.hidden = false
    }
  }
  read(false)
}

function detailsOf(details) {
  return Object.entries(details).filter(([, value]) => value !== 0 && value !== '' && value !== null)
    .map(([name, value]) => `${name.replaceAll('_', ' ')} ${plain(value)}`).join(', ')
}
