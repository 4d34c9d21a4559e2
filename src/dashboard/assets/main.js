// The frame of the page: signing in, the choice of the view, the state of the connection, the theme.

import { get, hasToken, onLink, onSignedOut, setToken } from './api.js'
import { fill, h, icon } from './dom.js'
import { field } from './dialog.js'
import { span, tick } from './format.js'
import { live, start, stop, watch } from './live.js'
import { overview } from './overview.js'
import { services } from './services.js'
import { instance } from './instance.js'
import { routes } from './routes.js'
import { route } from './route.js'
import { requests } from './requests.js'
import { events } from './events.js'
import { audit } from './audit.js'
import { certificates } from './certificates.js'
import { explain } from './explain.js'
import { server } from './server.js'

// The views: name in the address, title, and the function that shows it. Those with an icon are in the navigation.
const VIEWS = [
  { name: 'overview', title: 'Overview', icon: 'overview', show: overview },
  { name: 'services', title: 'Services', icon: 'services', show: services },
  { name: 'instance', title: 'Instance', under: 'services', show: instance },
  { name: 'routes', title: 'Routes', icon: 'routes', show: routes },
  { name: 'route', title: 'Route', under: 'routes', show: route },
  { name: 'requests', title: 'Requests', icon: 'requests', show: requests },
  { name: 'events', title: 'Events', icon: 'events', show: events },
  { name: 'audit', title: 'Audit', icon: 'audit', show: audit },
  { name: 'certificates', title: 'Certificates', icon: 'certificates', show: certificates },
  { name: 'explain', title: 'Explain', icon: 'explain', show: explain },
  { name: 'server', title: 'Server', icon: 'server', show: server },
]

const place = id => document.getElementById(id)
const [main, nav, banner, menu] = ['main', 'nav', 'banner', 'menu'].map(place)
let current = null

function drawNav() {
  fill(nav, VIEWS.filter(view => view.icon).map(view =>
    h('a', { href: `#/${view.name}`, 'data-view': view.name }, icon(view.icon), view.title)))
}

// Reads `#/view/part/part?name=value`.
function address() {
  const [path, query] = location.hash.replace(/^#\/?/, '').split('?')
  const [name, ...parts] = path.split('/').map(part => { try { return decodeURIComponent(part) } catch { return part } })
  return { name, parts, query: new URLSearchParams(query ?? '') }
}

function leave() {
  current?.abort()
  current = null
}

// Shows the view that the address names.
function show() {
  leave()
  // A link in a dialog leads away from it.
  for (const dialog of document.querySelectorAll('dialog[open]')) dialog.close()
  const { name, parts, query } = address()
  const view = VIEWS.find(one => one.name === name) ?? VIEWS[0]
  document.title = `${view.title} · Signalbox`
  for (const link of nav.children) {
    if (link.dataset.view === (view.under ?? view.name)) link.setAttribute('aria-current', 'page')
    else link.removeAttribute('aria-current')
  }
  toggleMenu(false)
  const controller = new AbortController()
  current = controller
  const root = h('div', { class: `view ${view.name}` })
  fill(main, root)
  main.scrollTop = 0
  scrollTo(0, 0)
  view.show(root, context(controller.signal, root), parts, query)
}

// What a view gets: the signal that ends it, and repeated reads whose failures are shown.
function context(signal, root) {
  const failed = h('div', { class: 'failure', role: 'alert', hidden: true })
  const tell = error => {
    if (signal.aborted || error.status === 401) return
    if (!failed.isConnected) root.prepend(failed)
    failed.hidden = error.status === 0
    fill(failed, error.message)
  }
  return {
    signal,
    failed: tell,
    onEnd: act => signal.addEventListener('abort', act, { once: true }),
    // Reads now and then every `ms`, until the view ends. Returns a function that reads at once.
    every(ms, read) {
      let timer
      const turn = async () => {
        clearTimeout(timer)
        if (signal.aborted) return
        try {
          if (!document.hidden) await read(signal)
          failed.hidden = true
        } catch (error) { if (error.name !== 'AbortError') tell(error) }
        clearTimeout(timer)
        if (!signal.aborted) timer = setTimeout(turn, ms)
      }
      turn()
      return turn
    },
    watch(listener) {
      const stop = watch(listener)
      signal.addEventListener('abort', stop, { once: true })
    },
  }
}

// The connection.

let lostAt = null

onLink(isThere => {
  if (isThere) lostAt = null
  else lostAt ??= Date.now()
  drawLink()
})

function drawLink() {
  const isLost = lostAt !== null
  document.body.classList.toggle('stale', isLost)
  banner.hidden = !isLost
  if (isLost) fill(banner, `The server has not answered for ${span((Date.now() - lostAt) / 1000)}. What you see is old; the page connects again by itself.`)
  const link = place('link')
  const words = isLost ? 'Connection lost' : live.overview ? 'Live' : ''
  if (link.textContent !== words) fill(link, words && h('span', { class: `dot ${isLost ? 'bad' : 'good'}` }), words)
  link.classList.toggle('bad', isLost)
}

watch(kind => {
  if (kind !== 'sample') return
  const { version, uptime_seconds: uptime } = live.overview
  const words = `${version} · up ${span(uptime).replace(/ \d+ s$/, '')}`
  if (place('server').textContent !== words) fill(place('server'), words)
  drawLink()
})

// Signing in.

function begin({ revision }) {
  place('leave').hidden = !hasToken()
  start(revision)
  show()
}

async function enter() {
  try {
    begin(await get('v1/overview'))
  } catch (error) {
    if (error.status === 0) return setTimeout(enter, 2000)
    if (error.status !== 401) fill(main, h('div', { class: 'welcome card' }, h('h1', {}, 'No access'), h('p', {}, error.message)))
  }
}

onSignedOut(words => askForToken(hasToken() ? words : undefined))

function askForToken(words) {
  leave()
  stop()
  setToken(null)
  place('leave').hidden = true
  document.title = 'Sign in · Signalbox'
  nav.hidden = true
  const input = h('input', { type: 'password', name: 'token', autocomplete: 'current-password', required: true, spellcheck: 'false' })
  const failure = h('p', { class: 'failure', role: 'alert', hidden: !words }, words)
  const form = h('form', { class: 'welcome card', onsubmit: submit },
    h('h1', {}, 'Sign in'),
    h('input', { class: 'unseen', type: 'text', name: 'username', autocomplete: 'username', value: 'operator', tabindex: -1, 'aria-hidden': 'true' }),
    field('Operator token', input, 'One of api.operator_tokens of the server. It stays in the memory of this page.'),
    failure,
    h('button', { class: 'primary' }, 'Sign in'))
  fill(main, form)
  input.focus()

  async function submit(event) {
    event.preventDefault()
    setToken(input.value.trim())
    try {
      const overview = await get('v1/overview')
      nav.hidden = false
      begin(overview)
    } catch (error) {
      if (error.status === 401) return
      fill(failure, error.message)
      failure.hidden = false
    }
  }
}

// The theme: that of the system, light, or dark.

const THEMES = [['auto', 'Colours of the system'], ['light', 'Light colours'], ['dark', 'Dark colours']]
const SIGNS = { auto: 'auto', light: 'sun', dark: 'moon' }

function drawTheme() {
  const now = document.documentElement.dataset.theme ?? 'auto'
  const words = THEMES.find(([name]) => name === now)[1]
  const button = place('theme')
  fill(button, icon(SIGNS[now]))
  button.setAttribute('aria-label', `${words}; change`)
  button.title = words
}

place('theme').addEventListener('click', () => {
  const at = THEMES.findIndex(([name]) => name === (document.documentElement.dataset.theme ?? 'auto'))
  const next = THEMES[(at + 1) % THEMES.length][0]
  if (next === 'auto') delete document.documentElement.dataset.theme
  else document.documentElement.dataset.theme = next
  try { localStorage.setItem('theme', next) } catch { /* The choice lasts as long as the page. */ }
  drawTheme()
  dispatchEvent(new Event('recolour'))
})
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => dispatchEvent(new Event('recolour')))

function toggleMenu(isOpen) {
  menu.setAttribute('aria-expanded', String(isOpen))
  nav.classList.toggle('open', isOpen)
}

menu.addEventListener('click', () => toggleMenu(menu.getAttribute('aria-expanded') !== 'true'))
addEventListener('keydown', event => { if (event.key === 'Escape') toggleMenu(false) })
place('leave').addEventListener('click', () => askForToken())
addEventListener('hashchange', () => {
  if (location.hash === '#main') return
  if (current) { show(); main.focus({ preventScroll: true }) }
})
document.addEventListener('visibilitychange', () => {
  if (!current) return
  if (document.hidden) stop()
  else start(live.overview.revision)
})
setInterval(() => { tick(); if (lostAt !== null) drawLink() }, 1000)

drawNav()
drawTheme()
enter()
