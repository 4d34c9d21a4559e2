// What the page knows all the time: samples of the overview, and the latest events. Both are bounded.

import { get, stream } from './api.js'

const SAMPLE_MS = 2000
const SAMPLES_MAX = 300
const EVENTS_MAX = 500
// The events from before the page was opened.
const EARLIER = 50
// Events are shown together, this often. More than this many at once are counted and not shown.
const TOGETHER_MS = 200
const WAITING_MAX = 1000

export const live = { overview: null, samples: [], events: [], skipped: 0, streamState: 'closed' }

const listeners = new Set()
let running = null
let waiting = []
let timer = 0

// Calls the listener ('sample' or 'events', with the new events) until the returned function is called.
export function watch(listener) {
  listeners.add(listener)
  return () => listeners.delete(listener)
}

function tell(kind, what) { for (const listener of listeners) listener(kind, what) }

// Reads until `stop`. The page stops while nobody looks at it, so that it holds no connection.
export function start(revision) {
  if (running) return
  running = new AbortController()
  live.last ??= Math.max(0, revision - EARLIER)
  sampleUntil(running.signal)
  stream('v1/events', { after: live.last }, running.signal, {
    event: heard,
    state(state, reason) { Object.assign(live, { streamState: state, streamReason: reason }); tell('events', []) },
  })
}

export function stop() {
  running?.abort()
  running = null
}

async function sampleUntil(signal) {
  while (!signal.aborted) {
    try {
      const overview = await get('v1/overview', {}, signal)
      live.overview = overview
      live.samples.push(sample(overview, performance.now()))
      if (live.samples.length > SAMPLES_MAX) live.samples.shift()
      tell('sample')
    } catch (error) {
      if (signal.aborted || error.status === 401) return
      live.before = undefined
      tell('failed', error)
    }
    await new Promise(resolve => setTimeout(resolve, SAMPLE_MS))
  }
}

// The figures since the sample before. They are unknown (null) for the first one, and after counters fell.
function sample(overview, now) {
  const { traffic } = overview
  const before = live.before
  live.before = { traffic, now }
  const point = { time: Date.now() / 1000, inFlight: traffic.in_flight, rate: null, errors: null, clientErrors: null, p50: null, p95: null, p99: null, sent: null }
  if (!before || traffic.requests < before.traffic.requests) return point
  const seconds = (now - before.now) / 1000
  const since = (of, status) => Object.entries(of.status_codes).reduce((sum, [code, count]) => sum + (code[0] === status ? count : 0), 0)
  const grown = status => Math.max(0, since(traffic, status) - since(before.traffic, status)) / seconds
  const unrouted = Math.max(0, traffic.unrouted - before.traffic.unrouted) / seconds
  Object.assign(point, {
    rate: (traffic.requests - before.traffic.requests) / seconds + unrouted,
    errors: grown('5'),
    clientErrors: grown('4') + unrouted,
    sent: Math.max(0, traffic.bytes_sent - before.traffic.bytes_sent) / seconds,
  })
  const buckets = traffic.latencies.map((bucket, at) => ({
    most: bucket.at_most_ms,
    count: Math.max(0, bucket.count - (before.traffic.latencies[at]?.count ?? 0)),
  }))
  for (const [name, share] of [['p50', 0.5], ['p95', 0.95], ['p99', 0.99]]) point[name] = quantile(buckets, share)
  return point
}

// The time that this share of requests did not exceed, as exactly as the buckets tell.
function quantile(buckets, share) {
  const all = buckets.reduce((sum, bucket) => sum + bucket.count, 0)
  if (all === 0) return null
  let left = share * all
  let least = 0
  for (const { most, count } of buckets) {
    if (count > 0 && left <= count) return most === null ? least : least + (most - least) * (left / count)
    left -= count
    least = most ?? least
  }
  return least
}

function heard(name, data, id) {
  if (id !== undefined) live.last = id
  if (name === 'end') return
  if (name === 'lagged') return skip(data.missed)
  const event = name === 'compacted'
    ? { type: 'compacted', at: new Date().toISOString(), service_name: '', instance_name: '', payload: { words: `events before ${data.oldest} are no longer known` } }
    : data
  if (waiting.length >= WAITING_MAX) { waiting.shift(); skip(1) }
  waiting.push(event)
  timer ||= setTimeout(flush, TOGETHER_MS)
}

function skip(count) {
  live.skipped += count
  timer ||= setTimeout(flush, TOGETHER_MS)
}

function flush() {
  timer = 0
  const fresh = waiting
  waiting = []
  live.events.push(...fresh)
  if (live.events.length > EVENTS_MAX) live.events.splice(0, live.events.length - EVENTS_MAX)
  tell('events', fresh)
}
