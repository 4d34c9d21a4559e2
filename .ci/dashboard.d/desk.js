// What all steps use: the browser, a server with services, the page of an operator, and how one acts on it.
// Arguments: the program, the browser, and a folder for pictures (optional).
import { createRequire } from 'node:module'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import http from 'node:http'
import assert from 'node:assert/strict'
import { chromium } from 'playwright-core'
import { TOKEN, World, populate, sleep } from './world.js'

const [program, executable, pictures] = process.argv.slice(2)
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

export const browser = await chromium.launch({ executablePath: executable, args: ['--no-sandbox', '--host-resolver-rules=MAP admin.example 127.0.0.1'] })
export const world = await World.start(program)
export const { shop, quick } = await populate(world)
const faults = []
// The calls that pages have made: method and path.
export const calls = new Set()

// A new page, signed in unless `token` is null. Errors in it, and requests to other hosts, fail the step.
export async function open({ phone = false, dark = false, url = `http://${world.api}/`, token = TOKEN } = {}) {
  const page = await browser.newPage({ viewport: phone ? { width: 390, height: 844 } : { width: 1360, height: 900 }, colorScheme: dark ? 'dark' : 'light' })
  page.setDefaultTimeout(60_000)
  page.on('pageerror', error => faults.push(`an error in the page: ${error.stack}`))
  page.on('console', said => { if (/Content Security Policy|violates/i.test(said.text())) faults.push(said.text()) })
  page.on('dialog', dialog => { faults.push(`a script of a stranger ran: ${dialog.message()}`); dialog.dismiss() })
  page.on('request', request => { if (!/^(blob|data):/.test(request.url()) && new URL(request.url()).host !== new URL(url).host) faults.push(`the page asks another host: ${request.url()}`) })
  page.on('request', request => calls.add(`${request.method()} ${new URL(request.url()).pathname}`))
  await page.goto(url)
  if (token) await signIn(page, token)
  return page
}

export async function signIn(page, token) {
  await page.getByLabel('Operator token').fill(token)
  await page.getByRole('button', { name: 'Sign in' }).click()
}

export const go = async (page, view) => { await page.evaluate(to => { location.hash = `#/${to}` }, view); await settled(page) }
const settled = page => page.waitForFunction(() => document.querySelector('main .view h1') && !document.querySelector('main .view > .failure:not([hidden])'))
export const dialog = page => page.locator('dialog[open]')
export const answer = (page, name) => dialog(page).getByRole('button', { name, exact: true }).click()
export const closed = page => page.waitForFunction(() => !document.querySelector('dialog[open]'))
export const told = (page, words) => page.locator('.toast', { hasText: words }).last().waitFor()
export const instance = async name => (await world.call('GET', 'v1/instances?limit=1000')).items.find(one => one.instance_name === name)
export const picture = (page, name) => pictures && page.screenshot({ path: join(pictures, `${name.replace(/[^a-z0-9]+/gi, '-')}.png`) })
// Another server of the same program.
export const another = options => World.start(program, options)

// Fails if axe-core finds something serious, or if the page or its dialog can be scrolled sideways.
export async function inspect(page, name) {
  await sleep(700)
  await page.evaluate(axe)
  const found = await page.evaluate(async () => (await axe.run()).violations.map(({ id, impact, help, nodes }) => ({ id, impact, help, at: nodes.map(node => node.html.slice(0, 160)) })))
  const grave = found.filter(({ impact }) => impact === 'serious' || impact === 'critical')
  assert.deepEqual(grave, [], `${name}: ${JSON.stringify(grave, null, 1)}`)
  const over = await page.evaluate(() => [document.documentElement, ...document.querySelectorAll('dialog[open]')].map(one => one.scrollWidth - one.clientWidth))
  assert.ok(over.every(pixels => pixels <= 0), `${name} can be scrolled sideways: ${over}`)
  await picture(page, name)
}

// A proxy that serves the API port under a prefix. `answer(path, response)` may answer in its place.
export async function prefixed(prefix, answer = () => false) {
  const [host, port] = world.api.split(':')
  const server = http.createServer((request, response) => {
    if (!request.url.startsWith(prefix)) return response.writeHead(404).end()
    const path = request.url.slice(prefix.length - 1)
    if (answer(path, response)) return
    const onward = http.request({ host, port, path, method: request.method, headers: request.headers }, found => { response.writeHead(found.statusCode, found.headers); found.pipe(response) })
    onward.on('error', () => response.destroy())
    response.on('close', () => onward.destroy())
    request.pipe(onward)
  })
  await new Promise(done => server.listen(0, '127.0.0.1', done))
  world.closing.push(() => { server.close(); server.closeAllConnections() })
  return `http://127.0.0.1:${server.address().port}${prefix}`
}

export async function step(words, act) {
  let failure
  try { await act() } catch (error) { failure = error.stack }
  if (failure === undefined && faults.length === 0) return console.log(words)
  console.error(`dashboard: not true: ${words}\n${[failure, ...faults].filter(text => text).join('\n')}`)
  await picture(page, 'failed')?.catch(() => {})
  await world.end()
  process.exit(1)
}

// The page that most steps use.
export const page = await open({ token: null })
