// Numbers, sizes and times as people read them.

import { h } from './dom.js'

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 })
const short = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 })
const one = new Intl.NumberFormat('en', { minimumFractionDigits: 1, maximumFractionDigits: 1 })

export const number = value => whole.format(value)
export const compact = value => (value < 10_000 ? whole.format(value) : short.format(value))
export const rate = value => (value >= 100 ? whole.format(value) : value === 0 ? '0' : one.format(value))
export const percent = share => (share === 0 ? '0 %' : share < 0.001 ? '< 0.1 %' : share === 1 ? '100 %' : `${one.format(share * 100)} %`)

export function milliseconds(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return '–'
  if (value === 0) return '0 ms'
  if (value >= 10_000) return `${whole.format(value / 1000)} s`
  if (value >= 1000) return `${(value / 1000).toFixed(2)} s`
  return value >= 10 ? `${whole.format(value)} ms` : `${one.format(value)} ms`
}

// A duration as the server writes it, without the units that are zero: `5m0s` is `5m`.
export const duration = text => text.replace(/(?<=[a-z])0[a-z]+/g, '')

export function bytes(value) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  let at = 0
  while (value >= 1000 && at < units.length - 1) { value /= 1000; at += 1 }
  return at === 0 ? `${value} B` : `${one.format(value)} ${units[at]}`
}

export function span(seconds) {
  seconds = Math.max(0, Math.round(seconds))
  if (seconds < 60) return `${seconds} s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`
  return `${Math.floor(seconds / 86_400)} d ${Math.floor((seconds % 86_400) / 3600)} h`
}

export function away(time) {
  const seconds = (Date.parse(time) - Date.now()) / 1000
  const rounded = Math.abs(seconds) < 60 ? Math.abs(seconds) : Math.abs(seconds) - Math.abs(seconds) % (Math.abs(seconds) < 3600 ? 60 : 1)
  const words = span(rounded).replace(/ 0 s$/, '')
  if (Math.abs(seconds) < 1.5) return 'now'
  return seconds > 0 ? `in ${words}` : `${words} ago`
}

const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' })
const day = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', year: 'numeric' })
export const full = time => `${day.format(new Date(time))}, ${clock.format(new Date(time))}`
export const date = time => day.format(new Date(time))
export const time = value => clock.format(new Date(value))

// A value of an event or a record that this page does not know, in words.
export function plain(value) {
  if (typeof value === 'object') return JSON.stringify(value)
  return /^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(value) ? full(value) : String(value)
}

// An element with the distance of a time from now. `tick` keeps all of them true.
export function ago(value) {
  if (!value) return h('span', { class: 'muted' }, '–')
  return h('time', { datetime: value, title: full(value), 'data-ago': true }, away(value))
}

// An element that counts the time down.
export function until(value) {
  return h('time', { datetime: value, title: full(value), class: 'until', role: 'timer', 'data-until': true }, left(value))
}

function left(value) {
  const seconds = (Date.parse(value) - Date.now()) / 1000
  return seconds > 0 ? `${span(seconds)} left` : 'due now'
}

export function tick() {
  for (const element of document.querySelectorAll('time[data-ago], time[data-until]')) {
    const words = 'until' in element.dataset ? left(element.dateTime) : away(element.dateTime)
    if (element.textContent !== words) element.textContent = words
  }
}
