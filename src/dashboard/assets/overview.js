// The overview: the figures of the moment, charts, what needs attention, and the latest events.

import { get, list } from './api.js'
import { Chart } from './charts.js'
import { badge, fill, h } from './dom.js'
import { compact, away, milliseconds, number, percent, rate } from './format.js'
import { live } from './live.js'
import { eventLine } from './events.js'
import { instanceLink, routeLink } from './links.js'

const PROBLEMS_MAX = 50
const RECENT_MS = 5 * 60_000
const EXPIRES_SOON_MS = 60_000

export function overview(root, view) {
  const tiles = h('div', { class: 'tiles' })
  const problems = h('section', { class: 'card', 'aria-label': 'Needs attention' })
  const latest = h('section', { class: 'card', 'aria-label': 'Latest events' })
  const charts = [
    new Chart({ title: 'Requests per second', lines: [
      { label: 'all', of: sample => sample.rate, colour: 'accent', fill: true, show: rate },
      { label: '4xx', of: sample => sample.clientErrors, colour: 'amber', show: rate },
      { label: '5xx', of: sample => sample.errors, colour: 'red', show: rate },
    ] }),
    new Chart({ title: 'Share of errors (5xx)', lines: [
      { label: 'errors', of: sample => share(sample), colour: 'red', fill: true, show: value => percent(value), least: 0.01 },
    ] }),
    new Chart({ title: 'Latency', lines: [
      { label: 'p99', of: sample => sample.p99, colour: 'violet', show: milliseconds },
      { label: 'p95', of: sample => sample.p95, colour: 'amber', show: milliseconds },
      { label: 'p50', of: sample => sample.p50, colour: 'accent', fill: true, show: milliseconds },
    ] }),
  ]
  fill(root,
    h('div', { class: 'title' }, h('h1', {}, 'Overview')),
    tiles, h('div', { class: 'charts' }, charts.map(chart => chart.element)), h('div', { class: 'columns' }, problems, latest))

  const sampled = () => {
    if (!live.overview) return
    drawTiles(tiles)
    charts.forEach(chart => chart.set(live.samples))
  }
  const told = () => fill(latest, h('div', { class: 'card-head' }, h('h2', {}, 'Latest events'), h('a', { href: '#/events' }, 'All events')),
    live.events.length === 0
      ? h('p', { class: 'muted' }, 'Nothing has happened lately.')
      : h('ul', { class: 'feed' }, live.events.slice(-8).reverse().map(eventLine)))
  sampled()
  told()
  view.watch(kind => (kind === 'sample' ? sampled() : kind === 'events' ? told() : undefined))
  view.every(5000, async signal => drawProblems(problems, await findProblems(signal)))
  const recolour = () => charts.forEach(chart => chart.recolour())
  addEventListener('recolour', recolour)
  view.onEnd(() => { removeEventListener('recolour', recolour); charts.forEach(chart => chart.destroy()) })
}

const share = sample => (sample.rate === null ? null : sample.rate === 0 ? 0 : Math.min(1, sample.errors / sample.rate))

function drawTiles(tiles) {
  const { overview: now, samples } = live
  const sample = samples.at(-1)
  const known = (value, show) => (value === null || value === undefined ? '–' : show(value))
  const tile = (label, value, note, href, kind) => h(href ? 'a' : 'div', { class: `tile ${kind ?? ''}`, href },
    h('span', { class: 'label' }, label), h('strong', {}, value), h('span', { class: 'note' }, note))
  const failing = share(sample)
  fill(tiles,
    tile('Requests per second', known(sample.rate, rate), `${compact(now.traffic.requests)} so far`, '#/requests'),
    tile('Errors', known(failing, percent), sample.errors > 0 ? `${rate(sample.errors)} a second` : 'none now', '#/requests', failing > 0.01 ? 'bad' : ''),
    tile('Latency p95', known(sample.p95, milliseconds), sample.p50 === null ? 'no requests now' : `p50 ${milliseconds(sample.p50)}`),
    tile('In flight', number(sample.inFlight), 'requests and tunnels'),
    tile('Instances', number(now.instances), `of ${number(now.services)} services, ${number(now.instances_connected)} connected`, '#/services'),
    tile('Routes', number(now.routes_active), 'active', '#/routes'))
}

async function findProblems(signal) {
  const [unhealthy, instances, certificates, failed] = await Promise.all([
    list('v1/routes', { unhealthy: true }, PROBLEMS_MAX, signal),
    list('v1/instances', {}, 5000, signal),
    get('v1/certificates', {}, signal),
    get('v1/requests', { limit: 1000 }, signal),
  ])
  return [
    ...(live.overview?.config_problems ?? []).map(fileProblem),
    ...certificates.items.filter(one => one.state !== 'valid').map(certificateProblem),
    ...unhealthy.items.map(routeProblem),
    ...instances.items.flatMap(instanceProblems),
    ...failedProblems(failed.items),
  ]
}

const problem = (kind, state, href, name, words) => ({ kind, state, href, name, words })

function certificateProblem({ names, state, not_after: end, last_error: error }) {
  const kind = state === 'expired' ? 'bad' : 'warn'
  return problem(kind, state.replaceAll('_', ' '), '#/certificates', names.join(', '), error ?? (end ? `valid until ${away(end)}` : 'there is none yet'))
}

function routeProblem(one) {
  const check = one.last_failed_check?.reason
  const isBad = !one.healthy || one.state === 'open'
  const words = !one.healthy ? check : one.last_failure?.reason
  const state = !one.healthy ? 'unhealthy' : `breaker ${one.state.replace('_', ' ')}`
  return problem(isBad ? 'bad' : 'warn', state, routeLink(one), `${one.domains[0]}${one.path}`, `${one.service_name}/${one.instance_name}${words ? `: ${words}` : ''}`)
}

function instanceProblems(one) {
  const of = (is, state, words) => is && problem('warn', state, instanceLink(one), `${one.service_name}/${one.instance_name}`, words())
  return [
    of(one.confirmation, 'unconfirmed', () => `revision ${one.confirmation.number} is taken back ${away(one.confirmation.until)} unless it is confirmed`),
    of(one.traffic_percent < 100, 'draining', () => `gets ${one.traffic_percent} % of its traffic`),
    of(one.routes_in_maintenance > 0, 'maintenance', () => `${number(one.routes_in_maintenance)} of ${number(one.routes_active)} routes`),
    of(one.expires_at && Date.parse(one.expires_at) - Date.now() < EXPIRES_SOON_MS, 'expires', () => `ends ${away(one.expires_at)} without a sign of life`),
  ].filter(found => found)
}

const fileProblem = ({ file, line, message }) => problem('bad', 'configuration', '#/server', line === null ? file : `${file}, line ${line}`, message)

function failedProblems(requests) {
  const recent = requests.filter(one => Date.now() - Date.parse(one.time) < RECENT_MS)
  const groups = new Map()
  for (const one of recent) {
    const key = `${one.service_name ?? ''} ${one.reason ?? one.status}`
    const group = groups.get(key) ?? { count: 0, one }
    group.count += 1
    groups.set(key, group)
  }
  return [...groups.values()].sort((a, b) => b.count - a.count).slice(0, 6).map(({ count, one }) =>
    problem(one.status >= 500 ? 'bad' : 'warn', `${one.status}`, one.service_name ? `#/requests?service=${encodeURIComponent(one.service_name)}` : '#/requests',
      one.service_name ?? one.host, `${number(count)} ${count === 1 ? 'request' : 'requests'} in 5 minutes${one.detail ? `: ${one.detail}` : ''}`))
}


function drawProblems(place, problems) {
  fill(place, h('div', { class: 'card-head' }, h('h2', {}, 'Needs attention'), problems.length > 0 && h('span', { class: 'count' }, number(problems.length))),
    problems.length === 0
      ? h('p', { class: 'calm' }, badge('good', 'All well'), ' Every route is healthy, nothing drains, no request failed in the last 5 minutes.')
      : h('ul', { class: 'problems' }, problems.slice(0, PROBLEMS_MAX).map(one =>
        h('li', {}, badge(one.kind, one.state), h('a', { href: one.href }, h('bdi', {}, one.name)), h('span', { class: 'muted' }, one.words)))))
}
