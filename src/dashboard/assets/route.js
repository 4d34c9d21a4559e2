// One route: health and its reason, breaker, limits and options, figures, and the members beside it.

import { get, instancePath, list } from './api.js'
import { badge, fill, h } from './dom.js'
import { ago, bytes, milliseconds, number, percent } from './format.js'
import { facts } from './instance.js'
import { instanceLink, routeLink } from './links.js'
import { breaker, health, place } from './routes.js'
import { settingsOf } from './settings.js'
import { Table } from './table.js'

export function route(root, view, [service, instance, id]) {
  const of = `${service}/${instance}`
  const content = h('div')
  const title = h('div', { class: 'title' }, h('h1', {}, id))
  const members = new Table({
    label: 'Members of the pool',
    empty: 'There are no members.',
    key: one => `${one.instance_name}/${one.route_id}`,
    columns: [
      { label: 'Instance', kind: 'strong', cell: one => h('a', { href: routeLink({ ...one, service_name: service }) }, h('bdi', {}, one.instance_name)) },
      { label: 'Backend', kind: 'wide mono', cell: one => h('bdi', {}, one.backend) },
      { label: 'Takes requests', cell: one => (one.takes_requests ? badge('good', 'yes') : badge('warn', 'no')) },
      { label: 'Health', cell: health },
      { label: 'Breaker', cell: one => one.state.replace('_', ' ') },
      { label: 'Share', kind: 'number', cell: one => `${one.traffic_percent} %` },
    ],
  })
  const pool = h('section', { class: 'stack' }, h('h2', {}, 'Members that share this place'), members.element)
  fill(root, h('div', { class: 'crumbs' }, h('a', { href: '#/routes' }, 'Routes'), ' / ', h('a', { href: instanceLink({ service_name: service, instance_name: instance }) }, h('bdi', {}, of)), ` / ${id}`), title, content, pool)

  view.every(3000, async signal => {
    const [found, stats, config] = await Promise.all([
      list('v1/routes', { instance: of }, 5000, signal), list('v1/stats', { instance: of }, 5000, signal),
      get(`${instancePath(service, instance)}/config`, {}, signal),
    ])
    const one = found.items.find(route => route.route_id === id)
    if (!one) {
      fill(content, h('p', { class: 'card' }, 'There is no such active route. It may have ended.'))
      pool.hidden = true
      return
    }
    fill(title, h('h1', {}, place(one)), health(one))
    draw(content, one, stats.items.find(stat => stat.route_id === id), config.active)
    const explained = await get('v1/explain', { host: one.domains[0].replace(/^\*/, 'any'), path: one.path }, signal)
    const candidate = explained.candidates.find(pool => pool.path === one.path && pool.priority === one.priority && pool.service_name === service)
    pool.hidden = !candidate
    if (candidate) members.set(candidate.members)
  })
}

function draw(content, one, stats, config) {
  const check = one.last_failed_check
  const failed = one.last_failure
  const codes = Object.entries(stats?.status_codes ?? {})
  fill(content,
    facts([
      ['Domains', h('bdi', {}, one.domains.join(', '))],
      ['Path', h('code', {}, one.path)],
      ['Backend', h('code', {}, one.backend)],
      ['Priority', String(one.priority)],
      ['Share of traffic', `${one.traffic_percent} %`],
      ['Last check', one.last_check ? [ago(one.last_check.at), one.last_check.ok ? ': it answered' : `: ${one.last_check.reason}`] : 'none yet'],
      check && ['Last failed check', [ago(check.at), `: ${check.reason}`]],
      failed && ['Last failure', [ago(failed.at), `: ${failed.reason}`]],
      ['Breaker', breaker(one)],
    ]),
    stats && facts([
      ['Requests', number(stats.requests)],
      ['Errors', `${number(stats.errors)} (${percent(stats.requests ? stats.errors / stats.requests : 0)})`],
      ['In flight', number(stats.in_flight)],
      ['Latency', `p50 ${milliseconds(stats.p50_latency_ms)}, p95 ${milliseconds(stats.p95_latency_ms)}, p99 ${milliseconds(stats.p99_latency_ms)}`],
      ['Sent', bytes(stats.bytes_sent)],
      ['Received', bytes(stats.bytes_received)],
      codes.length > 0 && ['Answers', h('span', { class: 'badges' }, codes.map(([code, count]) => h('span', { class: `badge ${code[0] === '5' ? 'bad' : code[0] === '4' ? 'warn' : 'idle'}` }, `${code} × ${number(count)}`)))],
    ]),
    facts(settingsOf(config, one.route_id)),
    h('p', {}, h('a', { href: `#/requests?service=${encodeURIComponent(one.service_name)}&route=${encodeURIComponent(one.route_id)}` }, 'Failed requests of this route'), ' · ',
      h('a', { href: `#/explain?host=${encodeURIComponent(one.domains[0])}&path=${encodeURIComponent(one.path)}` }, 'Explain a request for this place')))
}
