// The services with their instances: state, owner, drain, maintenance.

import { list } from './api.js'
import { instanceActions } from './actions.js'
import { badge, fill, h } from './dom.js'
import { ago, duration, number } from './format.js'
import { instanceLink, viewLink } from './links.js'
import { createStatic } from './static.js'
import { Table } from './table.js'

const MOST = 5000

export function services(root, view, _, query) {
  const byService = query.get('by') === 'service'
  const tab = (words, on) => h('a', { href: viewLink('services', { by: on ? 'service' : undefined }), 'aria-current': on === byService ? 'true' : undefined }, words)
  const place = h('div', { class: 'stack' })
  let refresh = () => {}
  fill(root,
    h('div', { class: 'title' }, h('h1', {}, 'Services'), h('button', { type: 'button', onclick: () => createStatic(() => refresh()) }, 'Create a static instance')),
    h('div', { class: 'tabs' }, tab('Instances', false), tab('By service', true)),
    place)
  refresh = byService ? whole(place, view) : instances(place, view, query)
}

// The services, with the number of their instances.
function whole(place, view) {
  const table = new Table({
    label: 'Services',
    empty: 'No instance is registered.',
    key: one => one.service_name,
    columns: [
      { label: 'Service', kind: 'strong', sort: one => one.service_name, cell: one => h('a', { href: viewLink('services', { text: `${one.service_name}/` }) }, h('bdi', {}, one.service_name)) },
      { label: 'Instances', kind: 'number', sort: one => one.instances, cell: one => number(one.instances) },
      { label: 'Routes', kind: 'number', sort: one => one.routes_active, cell: one => h('a', { href: viewLink('routes', { service: one.service_name }) }, number(one.routes_active)) },
      { label: 'Held by', cell: one => one.owners.join(', ') },
    ],
  })
  fill(place, table.element)
  return view.every(4000, async signal => table.set((await list('v1/services', {}, MOST, signal)).items))
}

function instances(place, view, query) {
  const search = h('input', { type: 'search', placeholder: 'Service or instance', 'aria-label': 'Filter the instances', value: query.get('text') ?? '' })
  const state = h('select', { 'aria-label': 'State' },
    [['', 'Any state'], ['connected', 'Connected'], ['gone', 'Not connected'], ['draining', 'Draining'], ['maintenance', 'In maintenance'], ['waiting', 'Waits for confirmation']]
      .map(([value, words]) => h('option', { value }, words)))
  const count = h('span', { class: 'muted', role: 'status' })
  let all = []
  const table = new Table({
    label: 'Instances',
    empty: 'No instance is registered, or none fits the filter.',
    key: one => `${one.service_name}/${one.instance_name}`,
    columns: [
      { label: 'Service', sort: one => one.service_name, cell: one => h('a', { href: viewLink('routes', { service: one.service_name }) }, h('bdi', {}, one.service_name)) },
      { label: 'Instance', kind: 'strong', sort: one => one.instance_name, cell: one => h('a', { href: instanceLink(one), 'data-focus': instanceLink(one) }, h('bdi', {}, one.instance_name)) },
      { label: 'State', sort: stateOrder, cell: stateOf },
      { label: 'Owner', sort: ownerOf, cell: one => h('bdi', {}, ownerOf(one)) },
      { label: 'Lease', sort: one => Date.parse(one.expires_at ?? '') || 0, cell: leaseOf },
      { label: 'Routes', kind: 'number', sort: one => one.routes_active, cell: one => [number(one.routes_active), one.routes_staged > 0 && h('span', { class: 'muted', title: 'staged changes' }, ` +${number(one.routes_staged)}`)] },
      { label: 'In flight', kind: 'number less', sort: one => one.in_flight, cell: one => number(one.in_flight) },
      { label: 'Seen', kind: 'less extra', sort: one => -Date.parse(one.last_activity), cell: one => ago(one.last_activity) },
      { label: '', cell: one => instanceActions(one, () => refresh()) },
    ],
  })
  fill(place, h('div', { class: 'filters' }, search, state, count), table.element)

  const draw = () => {
    const text = search.value.trim().toLowerCase()
    const fits = one => text === '' || `${one.service_name}/${one.instance_name} ${ownerOf(one)}`.toLowerCase().includes(text)
    const rows = all.filter(one => fits(one) && isIn(one, state.value))
    table.set(rows)
    fill(count, `${number(rows.length)} ${rows.length === 1 ? 'instance' : 'instances'} of ${number(new Set(rows.map(one => one.service_name)).size)} services`)
  }
  search.addEventListener('input', () => { table.page = 0; draw() })
  state.addEventListener('change', () => { table.page = 0; draw() })
  const refresh = view.every(3000, async signal => {
    const { items, more } = await list('v1/instances', {}, MOST, signal)
    all = items
    draw()
    if (more) count.append(`, the first ${number(MOST)}`)
  })
  return refresh
}

function isIn(one, state) {
  switch (state) {
    case 'connected': return one.connected
    case 'gone': return !one.connected && isSession(one)
    case 'draining': return one.traffic_percent < 100
    case 'maintenance': return one.routes_in_maintenance > 0
    case 'waiting': return one.confirmation !== null
    default: return true
  }
}

// Services that operators or files own never connect.
const isSession = one => one.owner === 'session'
const stateOrder = one => (one.routes_in_maintenance > 0 ? 0 : one.traffic_percent < 100 ? 1 : one.connected ? 3 : 2)

export function stateOf(one) {
  return h('span', { class: 'badges' },
    one.routes_in_maintenance > 0 && badge('warn', one.routes_in_maintenance === one.routes_active ? 'maintenance' : `maintenance ${one.routes_in_maintenance}/${one.routes_active}`),
    one.traffic_percent < 100 && badge('warn', one.traffic_percent === 0 ? 'drained' : `draining ${one.traffic_percent} %`),
    one.confirmation && badge('warn', 'waits for confirmation'),
    one.connected ? badge('good', 'connected') : isSession(one) ? badge('idle', 'not connected') : badge('good', 'static'))
}

export function ownerOf(one) {
  if (one.owner === 'file') return one.owner_file ? `file ${one.owner_file}` : 'file'
  if (!isSession(one)) return one.owner
  return one.token ? `token ${one.token}` : 'session'
}

export function leaseOf(one) {
  if (one.expires_at) return h('span', {}, 'ends ', ago(one.expires_at))
  return one.lease === 'permanent' ? 'permanent' : duration(one.lease)
}
