// What an operator can do, each with a question before it.

import { call, instancePath } from './api.js'
import { h } from './dom.js'
import { confirm, field, notice } from './dialog.js'
import { editStatic, removeStatic, showConfig } from './static.js'

const named = one => `${one.service_name}/${one.instance_name}`
const path = one => instancePath(one.service_name, one.instance_name)

export function confirmDrain(one, done) {
  const input = h('input', { name: 'duration', value: '1m', required: true, autocomplete: 'off', spellcheck: 'false' })
  return confirm({
    title: `Drain ${named(one)}`,
    words: 'Its share of new requests falls evenly to nothing. Requests under way finish. A drain can be cancelled.',
    fields: [field('Over how long', input, 'Such as 30s, 5m or 1h.')],
    button: 'Begin to drain',
    async act() {
      await call('PUT', `${path(one)}/drain`, { body: { duration: input.value.trim() } })
      notice(`${named(one)} drains.`)
      done?.()
    },
  })
}

export function confirmDrainCancel(one, done) {
  return confirm({
    title: `Cancel the drain of ${named(one)}`,
    words: 'It gets its full share of requests again at once.',
    button: 'Cancel the drain',
    async act() {
      await call('DELETE', `${path(one)}/drain`)
      notice(`${named(one)} gets its full share again.`)
      done?.()
    },
  })
}

export function confirmMaintenance(one, done, route) {
  const target = h('input', { name: 'target', value: route ?? 'ALL', required: true, autocomplete: 'off', spellcheck: 'false' })
  const page = h('input', { name: 'page', type: 'url', placeholder: 'built-in page', autocomplete: 'off', spellcheck: 'false' })
  return confirm({
    title: `Put ${named(one)} into maintenance`,
    words: 'Its routes get no requests. Where no other instance serves the same place, clients see the page.',
    fields: [
      field('Routes', target, 'ALL, or route ids separated by commas.'),
      field('Page', page, 'The URL of a page to show. The server tests it; if it does not answer, the events say so.'),
    ],
    button: 'Enter maintenance',
    async act() {
      const body = { target: target.value.trim(), ...(page.value.trim() === '' ? {} : { page_url: page.value.trim() }) }
      await call('PUT', `${path(one)}/maintenance`, { body })
      notice(`${named(one)} is in maintenance.`)
      done?.()
    },
  })
}

export function confirmMaintenanceExit(one, done) {
  const target = h('input', { name: 'target', value: 'ALL', required: true, autocomplete: 'off', spellcheck: 'false' })
  return confirm({
    title: `Take ${named(one)} out of maintenance`,
    words: 'Its routes serve again once their backends answer. The server tries for up to 60 seconds; the outcome is an event.',
    fields: [field('Routes', target, 'ALL, or route ids separated by commas.')],
    button: 'Leave maintenance',
    async act() {
      await call('DELETE', `${path(one)}/maintenance`, { query: { target: target.value.trim() } })
      notice(`The server tests the backends of ${named(one)}.`)
      done?.()
    },
  })
}

export function confirmEvict(one, done) {
  return confirm({
    title: `Evict ${named(one)}`,
    words: ['Its session ends and its routes are gone at once. Requests under way finish.', 'Its client may register again.'],
    button: 'Evict',
    danger: true,
    async act() {
      await call('DELETE', path(one))
      notice(`The session of ${named(one)} has ended.`)
      done?.()
    },
  })
}

// The buttons for an instance, as its owner and its state allow them. Its own page has all.
export function instanceActions(one, done, isOwnPage = false) {
  const name = named(one)
  const button = (words, act, kind) => h('button', { type: 'button', class: `small ${kind ?? ''}`, 'data-focus': `${name} ${words}`, 'aria-label': `${words}: ${name}`, onclick: () => act(one, done) }, words)
  return h('div', { class: 'actions' },
    isOwnPage && button('Configuration', showConfig),
    one.owner === 'operator' && button('Edit', editStatic),
    one.traffic_percent < 100 ? button('Cancel drain', confirmDrainCancel) : button('Drain', confirmDrain),
    one.routes_in_maintenance > 0 ? button('Leave maintenance', confirmMaintenanceExit) : button('Maintenance', confirmMaintenance),
    one.owner === 'operator' && button('Remove', removeStatic, 'danger-text'),
    one.owner === 'session' && button('Evict', confirmEvict, 'danger-text'))
}
