// The REST interface: single calls, lists in pages, and streams of events.
//
// The token of the operator stays in memory: no cookie means no forged requests from other pages.

const BASE = new URL('.', document.baseURI)
const CALL_MS_MAX = 15_000
// A backup or an import takes longer than a look.
export const LONG_MS_MAX = 300_000
const RETRY_MS = [1000, 2000, 4000, 8000]

let token = null
const listeners = { signedOut: [], link: [] }

export const onSignedOut = listener => listeners.signedOut.push(listener)
// Calls the listener with true or false whenever an answer came, or none.
export const onLink = listener => listeners.link.push(listener)
export const setToken = value => { token = value }
export const hasToken = () => token !== null

// A refusal in the words of the server, or a failure to reach it (status 0).
export class Refusal extends Error {
  constructor(status, detail, kind, field) {
    super(!field || detail.startsWith(`${field}:`) ? detail : `${field}: ${detail}`)
    Object.assign(this, { status, kind, field })
  }
}

function tell(isThere) { for (const listener of listeners.link) listener(isThere) }

function address(path, query) {
  const url = new URL(path, BASE)
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== undefined && value !== null && value !== '') url.searchParams.set(name, value)
  }
  return url
}

function fields(extra) {
  return { accept: 'application/json', ...(token === null ? {} : { authorization: `Bearer ${token}` }), ...extra }
}

async function refusal(answer) {
  let problem = {}
  try { problem = await answer.json() } catch { /* The answer of something between the page and the server. */ }
  if (answer.status === 401) for (const listener of listeners.signedOut) listener(problem.detail)
  return new Refusal(answer.status, problem.detail ?? `the answer was ${answer.status} ${answer.statusText}`, problem.kind, problem.field)
}

async function send(url, options) {
  let answer
  try {
    answer = await fetch(url, { cache: 'no-store', credentials: 'omit', redirect: 'error', ...options })
  } catch (error) {
    if (options.signal?.aborted && options.signal.reason?.name !== 'TimeoutError') throw error
    tell(false)
    throw new Refusal(0, 'the server does not answer')
  }
  // A gateway that cannot reach the server answers for it.
  if ([502, 503, 504].includes(answer.status) && !answer.headers.get('content-type')?.includes('json')) {
    tell(false)
    throw new Refusal(0, `the server cannot be reached: ${answer.status}`)
  }
  tell(true)
  return answer
}

// Makes a call and returns its answer; null if it has no body.
export async function call(method, path, options) {
  const text = await (await reply(method, path, options)).text()
  return text === '' ? null : JSON.parse(text)
}

// Makes a call and returns the whole response.
export async function reply(method, path, { query, body, headers, signal, ms = CALL_MS_MAX } = {}) {
  const own = AbortSignal.timeout(ms)
  const answer = await send(address(path, query), {
    method,
    headers: fields({ ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers }),
    body: body === undefined ? undefined : JSON.stringify(body),
    signal: signal ? AbortSignal.any([signal, own]) : own,
  })
  if (!answer.ok) throw await refusal(answer)
  return answer
}

export const get = (path, query, signal) => call('GET', path, { query, signal })

// Returns the entries of a list, `most` at most, and if there are more.
export async function list(path, query, most = 5000, signal) {
  const items = []
  let cursor
  do {
    const page = await get(path, { ...query, limit: Math.min(1000, most - items.length), cursor }, signal)
    items.push(...page.items)
    cursor = page.next_cursor
  } while (cursor && items.length < most)
  return { items, more: Boolean(cursor) }
}

// Reads a stream of events until `signal` is aborted, and connects again after a loss.
// `on` has `event(name, data, id)` and `state('open' | 'lost', reason)`.
export async function stream(path, query, signal, on) {
  let id
  for (let failures = 0; !signal.aborted;) {
    let reason
    try {
      const headers = fields({ accept: 'text/event-stream', ...(id === undefined ? {} : { 'last-event-id': id }) })
      const answer = await send(address(path, query), { headers, signal })
      if (!answer.ok) throw await refusal(answer)
      on.state('open')
      failures = 0
      await read(answer.body, (name, data, last) => {
        id = last ?? id
        if (data !== '') on.event(name, JSON.parse(data), id)
      })
      tell(false)
    } catch (error) {
      if (signal.aborted || error.status === 401) return
      if (error.status === undefined) tell(false)
      reason = error.message
    }
    if (signal.aborted) return
    on.state('lost', reason)
    await pause(RETRY_MS[Math.min(failures, RETRY_MS.length - 1)], signal)
    failures += 1
  }
}

const LINE_MAX = 1_000_000

async function read(body, tell) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader()
  let rest = ''
  let event = { name: 'message', data: '', id: undefined }
  for (;;) {
    const { value, done } = await reader.read()
    if (done) return
    const lines = (rest + value).split('\n')
    rest = lines.pop()
    if (rest.length > LINE_MAX) throw new Error('the stream is malformed')
    for (const line of lines) {
      const [field, text] = cut(line.replace(/\r$/, ''))
      if (field === 'event') event.name = text
      else if (field === 'data') {
        event.data += text
        if (event.data.length > LINE_MAX) throw new Error('the stream is malformed')
      }
      else if (field === 'id') event.id = text
      else if (field === '' && text === null) {
        if (event.data !== '' || event.id !== undefined) tell(event.name, event.data, event.id)
        event = { name: 'message', data: '', id: undefined }
      }
    }
  }
}

function cut(line) {
  const colon = line.indexOf(':')
  return colon < 0 ? [line, null] : [line.slice(0, colon), line.slice(colon + 1).replace(/^ /, '')]
}

export function pause(ms, signal) {
  return new Promise(resolve => {
    const timer = setTimeout(resolve, ms)
    signal?.addEventListener('abort', () => { clearTimeout(timer); resolve() }, { once: true })
  })
}

// The path of an instance, with its names as they go into a URL.
export const instancePath = (service, instance) => `v1/instances/${encodeURIComponent(service)}/${encodeURIComponent(instance)}`
