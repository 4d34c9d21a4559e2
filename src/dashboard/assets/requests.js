// Single requests: those that failed or were refused lately, why one of them did, and those that end now.

import { get, stream } from './api.js'
import { show } from './dialog.js'
import { badge, fill, h } from './dom.js'
import { bytes, full, milliseconds, number, time } from './format.js'
import { facts } from './instance.js'
import { instanceLink, requestLink, routeLink, viewLink } from './links.js'
import { Table } from './table.js'

const FILTERS = [
  ['service', 'Service'], ['instance', 'Service/instance'], ['route', 'Route id'],
  ['host', 'Host'], ['path', 'Path begins with'], ['status_min', 'Status from'],
]
const LIVE_FILTERS = [['percent', 'Percent'], ['per_second', 'Per second']]
const PER_SECOND = 200
const TAIL_MAX = 500
// Requests that came since the last frame; more than that at once are counted and not shown.
const WAITING_MAX = 1000

export function requests(root, view, [id], query) {
  if (id) return one(root, view, id)
  const isLive = query.get('live') === 'true'
  const inputs = [...FILTERS, ...(isLive ? LIVE_FILTERS : [])].map(([name, label]) => h('input', { type: 'search', name, placeholder: label, 'aria-label': label, value: query.get(name) ?? '', autocomplete: 'off', spellcheck: 'false' }))
  const asked = () => Object.fromEntries(inputs.map(input => [input.name, input.value.trim()]))
  const tab = (words, on) => h('a', { href: viewLink('requests', { ...asked(), live: on || undefined }), 'aria-current': on === isLive ? 'true' : undefined }, words)
  const byId = h('input', { type: 'search', placeholder: 'Request id', 'aria-label': 'Request id', required: true, autocomplete: 'off', spellcheck: 'false' })
  const place = h('div')
  fill(root,
    h('div', { class: 'title' }, h('h1', {}, 'Requests'), h('span', { class: 'grow' }),
      h('form', { class: 'find', onsubmit(event) { event.preventDefault(); location.hash = requestLink(byId.value.trim()) } }, byId, h('button', {}, 'Why?'))),
    h('div', { class: 'tabs' }, tab('Failed and refused', false), tab('Live', true)),
    h('form', { class: 'filters', onsubmit(event) {
      event.preventDefault()
      const next = viewLink('requests', { ...asked(), live: isLive || undefined })
      if (next === location.hash) dispatchEvent(new Event('hashchange'))
      else location.hash = next
    } }, inputs, h('button', { class: 'primary' }, 'Search')),
    place)
  const wanted = asked()
  if (isLive) tap(place, view, wanted)
  else failed(place, view, wanted)
}

function failed(place, view, wanted) {
  const table = requestTable('Requests that failed or were refused', 'No request failed or was refused lately, or none fits.', row => requestLink(row.id))
  fill(place, h('p', { class: 'muted' }, 'The server keeps the last few hundred requests that failed or were refused. Choose one to see why.'), table.element)
  view.every(4000, async signal => table.set((await get('v1/requests', { ...wanted, limit: 1000 }, signal)).items))
}

// Shows requests as they end. The last ones stay. The list is held on demand, and while the mouse is over it: rows do not
// move away from a click.
function tap(place, view, wanted) {
  const table = requestTable('Requests as they end', 'No request has ended since.', null)
  const state = h('span', { class: 'muted', role: 'status' }, 'Connecting.')
  const hold = h('button', { type: 'button', 'aria-pressed': 'false', onclick: toggle }, 'Hold')
  place.className = 'stack'
  fill(place, h('div', { class: 'filters' }, hold, h('button', { type: 'button', onclick: () => { rows = []; table.set(rows) } }, 'Clear'), state), table.element)
  let rows = []
  let waiting = []
  let frame = 0
  let skipped = 0
  let isHeld = false
  let isPointedAt = false
  let words = 'Connecting.'

  function toggle() {
    isHeld = !isHeld
    hold.setAttribute('aria-pressed', String(isHeld))
    frame ||= requestAnimationFrame(flush)
  }
  function point(is) {
    isPointedAt = is
    frame ||= requestAnimationFrame(flush)
  }
  table.element.addEventListener('mouseenter', () => point(true))
  table.element.addEventListener('mouseleave', () => point(false))
  function flush() {
    frame = 0
    const isPointed = isPointedAt && rows.length > 0
    if (!isHeld && !isPointed) {
      rows = [...waiting.reverse(), ...rows].slice(0, TAIL_MAX)
      waiting = []
      table.set(rows)
    }
    const left = skipped > 0 ? ` ${number(skipped)} requests came too fast and are left out.` : ''
    const next = `${isHeld || isPointed ? `Held${isHeld ? '' : ' while you point at it'}; ${number(waiting.length)} wait.` : words}${left}`
    if (state.textContent !== next) fill(state, next)
  }
  stream('v1/tap', { ...wanted, per_second: wanted.per_second || PER_SECOND }, view.signal, {
    event(name, data) {
      if (name === 'skipped') skipped += data.count
      else if (name === 'request') {
        waiting.push(data)
        if (waiting.length > WAITING_MAX) { waiting.shift(); skipped += 1 }
      }
      frame ||= requestAnimationFrame(flush)
    },
    state(now, reason) {
      words = now === 'open' ? 'Requests appear here as they end.' : `Not connected: ${reason ?? 'the stream ended'}.`
      frame ||= requestAnimationFrame(flush)
    },
  })
}

const kindOf = status => (status >= 500 ? 'bad' : status >= 400 ? 'warn' : 'good')
let lastKey = 0

function requestTable(label, empty, link) {
  const open = row => (link
    ? h('a', { href: link(row), 'data-focus': row.id }, time(row.time))
    : h('button', { type: 'button', class: 'as-link', 'data-focus': row.id, 'aria-label': `Details of ${row.method} ${row.host}${row.path}, ${time(row.time)}`, onclick: () => show('Request', details(row)) }, time(row.time)))
  return new Table({
    label, empty,
    key: row => (row.key ??= ++lastKey),
    signature: row => row.id,
    columns: [
      { label: 'Time', cell: open },
      { label: 'Status', cell: row => h('span', { class: `badge plain ${kindOf(row.status)}` }, String(row.status)) },
      { label: 'Request', kind: 'wide strong', cell: row => h('span', {}, h('span', { class: 'muted' }, row.method, ' '), h('bdi', {}, row.host, row.path)) },
      { label: 'Member', cell: row => (row.service_name ? h('bdi', {}, row.instance_name ? `${row.service_name}/${row.instance_name}` : row.service_name) : h('span', { class: 'muted' }, 'no route')) },
      { label: 'Reason', kind: 'wide', cell: row => (row.reason ? h('span', { title: row.detail ?? undefined }, row.reason.replaceAll('_', ' ')) : '') },
      { label: 'Duration', kind: 'number', cell: row => milliseconds(row.duration_ms) },
      { label: 'Client', kind: 'less', cell: row => row.client },
    ],
  })
}

async function one(root, view, id) {
  const place = h('div')
  fill(root, h('div', { class: 'crumbs' }, h('a', { href: '#/requests' }, 'Requests'), ' / ', h('bdi', {}, id)), h('div', { class: 'title' }, h('h1', {}, 'Why?')), place)
  try {
    fill(place, details(await get(`v1/requests/${encodeURIComponent(id)}`, {}, view.signal)))
  } catch (error) {
    if (!view.signal.aborted) fill(place, h('p', { class: 'failure', role: 'alert' }, error.message))
  }
}

// All that is known of a request.
function details(request) {
  const attempts = (request.tried ?? []).map(attempt => h('li', {},
    badge(attempt.error ? 'bad' : 'good', attempt.error ? 'failed' : 'answered'),
    h('a', { href: routeLink({ ...attempt, service_name: request.service_name ?? '' }) }, h('bdi', {}, `${attempt.instance_name} ${attempt.route_id}`)),
    h('code', {}, attempt.backend), milliseconds(attempt.duration_ms), attempt.error && h('span', { class: 'muted' }, attempt.error)))
  return [
    h('p', { class: 'outcome' }, badge(kindOf(request.status), String(request.status)), ' ', h('bdi', {}, `${request.method} ${request.scheme}://${request.host}${request.path}${request.query ? `?${request.query}` : ''}`)),
    request.detail && h('p', { class: 'why' }, request.detail),
    attempts.length > 0 && h('section', {}, h('h2', {}, 'Attempts'), h('ol', { class: 'feed card' }, attempts)),
    facts([
      ['Time', full(request.time)],
      ['Id', h('code', {}, request.id)],
      ['Duration', milliseconds(request.duration_ms)],
      ['Until the backend answered', milliseconds(request.upstream_ms)],
      ['Reason', request.reason?.replaceAll('_', ' ') ?? 'none'],
      ['Member', request.instance_name ? h('a', { href: instanceLink(request) }, h('bdi', {}, `${request.service_name}/${request.instance_name}`)) : request.service_name ?? 'no route matched'],
      ['Route', request.route_id ?? 'none'],
      ['Client', request.client],
      ['Protocol', request.protocol],
      ['Attempts', number(request.attempts)],
      ['Sent', bytes(request.bytes_sent)],
      ['Received', bytes(request.bytes_received)],
      ['Revision', number(request.revision)],
      request.user_agent && ['User agent', h('bdi', {}, request.user_agent)],
      request.referer && ['Referer', h('bdi', {}, request.referer)],
      request.trace_id && ['Trace', h('code', {}, request.trace_id)],
    ]),
    h('p', {}, h('a', { href: viewLink('explain', { host: request.host, path: request.path }) }, 'Explain where this request would go now')),
  ]
}
