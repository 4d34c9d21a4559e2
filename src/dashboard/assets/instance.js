// One instance: its facts, its drain and maintenance as they go on, its routes.

import { get, instancePath, list } from './api.js'
import { instanceActions } from './actions.js'
import { badge, fill, h } from './dom.js'
import { ago, duration, full, milliseconds, number, percent, span } from './format.js'
import { routeLink } from './links.js'
import { health, breaker, place } from './routes.js'
import { drawConfirmation } from './confirmation.js'
import { history } from './history.js'
import { drawStaged } from './staged.js'
import { leaseOf, ownerOf, stateOf } from './services.js'
import { Table } from './table.js'

export function instance(root, view, [service, name]) {
  const path = instancePath(service, name)
  const of = `${service}/${name}`
  const [badges, actions, known, progress] = [0, 1, 2, 3].map(() => h('div'))
  const table = routesTable()
  const waits = h('section', { class: 'card waits', 'aria-label': 'Confirmation', hidden: true })
  const staged = h('section', { class: 'card', 'aria-label': 'Staged changes', hidden: true })
  const past = h('section', { class: 'stack', 'aria-label': 'History' })
  const content = h('div', { class: 'stack' }, waits, progress, known, staged, h('h2', {}, 'Routes'), table.element)
  fill(root,
    h('div', { class: 'crumbs' }, h('a', { href: '#/services' }, 'Services'), ' / ', h('bdi', {}, service)),
    h('div', { class: 'title' }, h('h1', {}, h('bdi', {}, name)), badges, h('span', { class: 'grow' }), actions),
    content, past)

  const showGone = isGone => { for (const part of [content, badges, actions]) part.hidden = isGone }
  let signature = ''
  const changed = () => { refresh(); readHistory() }
  const readHistory = history(past, view, service, name, () => refresh())
  const refresh = view.every(2000, async signal => {
    const [one, routes, stats] = await Promise.all([
      get(path, {}, signal).catch(error => { showGone(error.status === 404); throw error }),
      list('v1/routes', { instance: of }, 5000, signal),
      list('v1/stats', { instance: of }, 5000, signal),
    ])
    showGone(false)
    const now = JSON.stringify({ ...one, last_activity: 0, in_flight: 0 })
    drawProgress(progress, one)
    if (now !== signature || !known.firstChild) {
      signature = now
      fill(badges, stateOf(one))
      fill(actions, instanceActions(one, changed, true))
    }
    drawFacts(known, one)
    await drawConfirmation(waits, one, signal, changed)
    await drawStaged(staged, service, name, signal, changed)
    const figures = new Map(stats.items.map(stat => [stat.route_id, stat]))
    table.set(routes.items.map(route => ({ ...route, stats: figures.get(route.route_id) })))
  })
}

function routesTable() {
  return new Table({
    label: 'Routes of the instance',
    empty: 'It has no active route.',
    key: one => one.route_id,
    columns: [
      { label: 'Route', cell: one => h('a', { href: routeLink(one), 'data-focus': one.route_id }, one.route_id) },
      { label: 'Health', cell: health },
      { label: 'Place', kind: 'wide', cell: place },
      { label: 'Backend', kind: 'wide mono', cell: one => h('bdi', {}, one.backend) },
      { label: 'Breaker', cell: breaker },
      { label: 'Requests', kind: 'number', cell: one => number(one.stats?.requests ?? 0) },
      { label: 'Errors', kind: 'number', cell: one => percent(one.stats?.requests ? one.stats.errors / one.stats.requests : 0) },
      { label: 'p95', kind: 'number', cell: one => (one.stats?.p95_latency_ms ? milliseconds(one.stats.p95_latency_ms) : '–') },
    ],
  })
}

// A list of names and values.
export function facts(pairs) {
  return h('dl', { class: 'facts card' }, pairs.filter(pair => pair).map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value))))
}

function drawFacts(element, one) {
  fill(element, facts([
    ['Owner', h('bdi', {}, ownerOf(one))],
    ['Lease', one.expires_at ? [duration(one.lease), ', ', leaseOf(one)] : one.lease === 'permanent' ? 'permanent' : `${duration(one.lease)} after the last connection`],
    ['Registered', ago(one.connected_at)],
    ['Last sign of life', ago(one.last_activity)],
    ['Revision', number(one.revision)],
    ['Last apply', ago(one.last_apply)],
    ['Routes', `${number(one.routes_active)} active, ${number(one.routes_staged)} staged`],
    ['In flight', number(one.in_flight)],
    ['Maintenance port', String(one.maintenance_port)],
    Object.keys(one.metadata).length > 0 && ['Metadata', h('code', {}, JSON.stringify(one.metadata, null, 1))],
  ]))
}

function drawProgress(element, one) {
  const { drain, maintenance } = one
  fill(element,
    drain && h('section', { class: 'card progress', 'aria-label': 'Drain' },
      h('h2', {}, drain.traffic_percent === 0 ? 'Drained' : 'Draining'),
      h('progress', { max: 100, value: 100 - drain.traffic_percent, 'aria-label': 'Drain' }),
      h('p', {}, `It gets ${drain.traffic_percent} % of its traffic. `,
        drain.remaining_seconds > 0 ? `${span(drain.remaining_seconds)} of ${span(drain.duration_seconds)} remain. ` : 'The time is over. ',
        drain.in_flight > 0 ? `${number(drain.in_flight)} requests are still under way.` : 'No request is under way.')),
    maintenance.in_maintenance.length > 0 && h('section', { class: 'card progress', 'aria-label': 'Maintenance' },
      h('h2', {}, 'In maintenance'),
      h('p', {}, badge('warn', `${number(maintenance.in_maintenance.length)} of ${number(one.routes_active)} routes`),
        maintenance.entered_at && ` since ${full(maintenance.entered_at)}. `,
        maintenance.maintenance_backend ? ['Clients see ', h('code', {}, maintenance.maintenance_backend), '.'] : 'Clients see the built-in page.')))
}
