// The active routes with their members' health, breakers and figures, filtered and sorted.

import { list } from './api.js'
import { badge, fill, h } from './dom.js'
import { ago, compact, milliseconds, number, percent } from './format.js'
import { routeLink } from './links.js'
import { Table } from './table.js'

const MOST = 5000
const TYPING_MS = 250

export function routes(root, view, _, query) {
  const text = (name, label, kind = 'search') => h('input', { type: kind, name, placeholder: label, 'aria-label': label, value: query.get(name) ?? '', autocomplete: 'off', spellcheck: 'false' })
  const filters = { text: text('text', 'Any text'), service: text('service', 'Service'), domain: text('domain', 'Domain') }
  const unhealthy = h('input', { type: 'checkbox', name: 'unhealthy', id: 'unhealthy', checked: query.get('unhealthy') === 'true' })
  const count = h('span', { class: 'muted', role: 'status' })
  const table = new Table({
    label: 'Routes',
    empty: 'No active route fits the filter.',
    key: one => `${one.service_name}/${one.instance_name}/${one.route_id}`,
    columns: [
      { label: 'Health', sort: one => healthOrder(one), cell: health },
      { label: 'Place', kind: 'wide strong', sort: one => one.domains[0] + one.path, cell: one => h('a', { href: routeLink(one), 'data-focus': routeLink(one) }, place(one)) },
      { label: 'Member', sort: one => `${one.service_name}/${one.instance_name}`, cell: one => h('bdi', {}, `${one.service_name}/${one.instance_name}`) },
      { label: 'Backend', kind: 'wide mono', sort: one => one.backend, cell: one => h('bdi', {}, one.backend) },
      { label: 'Breaker', sort: one => one.state, cell: breaker },
      { label: 'Priority', kind: 'number less', sort: one => -one.priority, cell: one => String(one.priority) },
      { label: 'Requests', kind: 'number', sort: one => -(one.stats?.requests ?? 0), cell: one => compact(one.stats?.requests ?? 0) },
      { label: 'Errors', kind: 'number', sort: one => -errorsOf(one), cell: one => h('span', { class: errorsOf(one) > 0.01 ? 'bad' : '' }, percent(errorsOf(one))) },
      { label: 'p95', kind: 'number', sort: one => -(one.stats?.p95_latency_ms ?? 0), cell: one => (one.stats?.p95_latency_ms ? milliseconds(one.stats.p95_latency_ms) : '–') },
    ],
  })
  fill(root,
    h('div', { class: 'title' }, h('h1', {}, 'Routes')),
    h('div', { class: 'filters' }, Object.values(filters), h('label', { class: 'check', for: 'unhealthy' }, unhealthy, 'Only unhealthy'), count),
    table.element)

  let typing
  const asked = () => ({
    ...Object.fromEntries(Object.entries(filters).map(([name, input]) => [name, input.value.trim()])),
    unhealthy: unhealthy.checked || undefined,
  })
  const changed = () => {
    clearTimeout(typing)
    typing = setTimeout(() => {
      table.page = 0
      const set = new URLSearchParams(Object.entries(asked()).filter(([, value]) => value))
      history.replaceState(null, '', `#/routes${set.size > 0 ? `?${set}` : ''}`)
      refresh()
    }, TYPING_MS)
  }
  Object.values(filters).forEach(input => input.addEventListener('input', changed))
  unhealthy.addEventListener('change', changed)
  view.onEnd(() => clearTimeout(typing))

  const refresh = view.every(4000, async signal => {
    const wanted = asked()
    const [found, stats] = await Promise.all([list('v1/routes', wanted, MOST, signal), list('v1/stats', {}, MOST, signal)])
    if (JSON.stringify(wanted) !== JSON.stringify(asked())) return
    const known = new Map(stats.items.map(stat => [`${stat.service_name}/${stat.instance_name}/${stat.route_id}`, stat]))
    table.set(found.items.map(one => ({ ...one, stats: known.get(`${one.service_name}/${one.instance_name}/${one.route_id}`) })))
    fill(count, `${number(found.items.length)}${found.more ? ' and more; narrow the filter to see others' : ''} ${found.items.length === 1 && !found.more ? 'route' : 'routes'}`)
  })
}

const errorsOf = one => (one.stats?.requests ? one.stats.errors / one.stats.requests : 0)
const healthOrder = one => (!one.healthy ? 0 : one.state === 'open' ? 1 : one.in_maintenance ? 2 : one.last_check ? 4 : 3)

// The domains and the path of a route.
export function place(one) {
  const rest = one.domains.length - 1
  return h('bdi', {}, one.domains[0], one.path === '/' ? '' : one.path, rest > 0 && h('span', { class: 'muted', title: one.domains.join(', ') }, ` +${rest}`))
}

// The health of a route with its reason.
export function health(one) {
  if (one.in_maintenance) return badge('warn', 'maintenance')
  const reason = one.last_check?.reason ?? one.last_failed_check?.reason
  if (!one.healthy) return h('span', {}, badge('bad', 'unhealthy', reason), reason && h('span', { class: 'reason' }, reason))
  return one.last_check ? badge('good', 'healthy') : badge('idle', 'not checked')
}

export function breaker(one) {
  if (one.state === 'closed') return h('span', { class: 'muted' }, one.failures > 0 ? `closed, ${number(one.failures)} failures` : 'closed')
  return h('span', {}, badge(one.state === 'open' ? 'bad' : 'warn', one.state.replace('_', ' ')), one.next_attempt && h('span', { class: 'reason' }, 'tries ', ago(one.next_attempt)))
}
