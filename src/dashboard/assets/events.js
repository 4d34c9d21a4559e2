// The feed of events, as they come.

import { badge, fill, h } from './dom.js'
import { ago, date, number, plain, time } from './format.js'
import { instanceLink, routeLink } from './links.js'
import { live } from './live.js'

export function events(root, view, _, query) {
  const search = h('input', { type: 'search', placeholder: 'Service or instance', 'aria-label': 'Service or instance', value: query.get('text') ?? '' })
  const type = h('select', { 'aria-label': 'Type' }, h('option', { value: '' }, 'Any type'))
  const state = h('span', { class: 'muted', role: 'status' })
  const hold = h('button', { type: 'button', 'aria-pressed': 'false', onclick: toggle }, 'Hold')
  const feed = h('ul', { class: 'feed card' })
  const dropped = h('p', { class: 'notice', role: 'status', hidden: true })
  fill(root, h('div', { class: 'title' }, h('h1', {}, 'Events')),
    h('div', { class: 'filters' }, search, type, hold, state), dropped, feed)

  const types = new Set()
  let isHeld = false

  const fits = event => {
    const text = search.value.trim().toLowerCase()
    return (type.value === '' || event.type === type.value) && (text === '' || `${event.service_name}/${event.instance_name}`.toLowerCase().includes(text))
  }
  const draw = () => {
    for (const event of live.events) {
      if (types.has(event.type)) continue
      types.add(event.type)
      type.append(h('option', { value: event.type }, event.type.replaceAll('_', ' ')))
    }
    const words = isHeld ? 'Held. New events wait.' : live.streamState === 'open' ? 'Events appear here as they happen.' : 'Not connected; the feed goes on where it stopped.'
    if (state.textContent !== words) fill(state, words)
    dropped.hidden = live.skipped === 0
    fill(dropped, `${number(live.skipped)} events came faster than the page could show, and are left out.`)
    if (isHeld) return
    const shown = live.events.filter(fits).slice(-SHOWN_MAX).reverse()
    fill(feed, shown.length === 0 ? h('li', { class: 'muted' }, 'Nothing has happened lately. What happened before is in the audit.') : shown.map(eventLine))
  }
  function toggle() {
    isHeld = !isHeld
    hold.setAttribute('aria-pressed', String(isHeld))
    draw()
  }
  search.addEventListener('input', draw)
  type.addEventListener('change', draw)
  view.watch(kind => kind === 'events' && draw())
  draw()
}

const SHOWN_MAX = 200
const GOOD = new Set(['instance_registered', 'instance_connected', 'config_applied', 'cert_renewed', 'drain_cancelled', 'config_confirmed'])
const KINDS = {
  instance_ended: 'warn', instance_disconnected: 'idle', drain_started: 'warn', maintenance_failed: 'bad', session_expiring: 'warn',
  config_pending: 'warn', config_reverted: 'warn', compacted: 'warn',
}

function kindOf({ type, payload }) {
  if (type === 'backend_health_changed') return payload.healthy ? 'good' : 'bad'
  if (type === 'circuit_state_changed') return { open: 'bad', half_open: 'warn' }[payload.state] ?? 'good'
  if (type === 'maintenance_changed') return payload.in_maintenance ? 'warn' : 'good'
  return KINDS[type] ?? (GOOD.has(type) ? 'good' : 'idle')
}

// The payload in words. Fields that this page does not know are shown by their names.
function wordsOf({ type, payload = {} }) {
  switch (type) {
    case 'backend_health_changed': return `${payload.route_id} ${payload.healthy ? 'is healthy' : 'is unhealthy'}: ${payload.reason}`
    case 'circuit_state_changed': return `${payload.route_id} ${payload.state.replace('_', ' ')}`
    case 'config_applied': return `revision ${payload.revision}`
    case 'maintenance_changed': return `${payload.target} ${payload.in_maintenance ? 'entered' : 'left'}`
    case 'config_pending': return `revision ${payload.number} is taken back at ${time(payload.until)} unless it is confirmed`
    case 'config_confirmed': return `revision ${payload.number} stays`
    case 'config_reverted': return `${payload.reverted_to === 0 ? 'the empty configuration' : `revision ${payload.reverted_to}`} is back${payload.reason ? `: ${payload.reason}` : ''}`
    case 'session_expiring': return `ends at ${time(payload.expires_at)} without a sign of life`
    case 'cert_renewed': return `${payload.domain}, valid until ${date(payload.expiry)}`
    case 'global_config_changed': return payload.reason
    case 'compacted': return payload.words
    default: return Object.entries(payload).map(([name, value]) => `${name.replaceAll('_', ' ')} ${plain(value)}`).join(', ')
  }
}

export function eventLine(event) {
  const { type, at, service_name: service, instance_name: instance, payload } = event
  const name = `${service}/${instance}`
  const words = wordsOf(event)
  return h('li', {}, ago(at),
    h('span', { class: 'what' }, badge(kindOf(event), type.replaceAll('_', ' ')),
      service && h('a', { href: payload?.route_id ? routeLink({ ...event, route_id: payload.route_id }) : instanceLink(event) }, h('bdi', {}, name))),
    words !== '' && h('span', { class: 'muted' }, h('bdi', {}, words)))
}
