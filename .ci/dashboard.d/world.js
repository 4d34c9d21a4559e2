// A server with backends and services for the page to show: healthy, failing, dead and hostile ones.
import { spawn } from 'node:child_process'
import { mkdtempSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export const TOKEN = 'operator-token-of-the-test'
// Names and paths that would run, or turn text around, if they were not shown as text.
export const HOSTILE = '<img src=x onerror=alert(1)>\u202egnp'

export const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))

// Waits until `is` returns something true, and returns it.
export async function until(words, is, seconds = 15) {
  const end = Date.now() + seconds * 1000
  for (;;) {
    const found = await is()
    if (found) return found
    if (Date.now() > end) throw new Error(`waited in vain: ${words}`)
    await sleep(50)
  }
}

export class World {
  static async start(program, { token = TOKEN, ports = {}, lines = [], certificate } = {}) {
    const world = new World()
    Object.assign(world, { program, token, lines, certificate, folder: mkdtempSync(join(tmpdir(), 'signalbox-dashboard-')), closing: [] })
    await world.serve(ports)
    return world
  }

  // Starts the server; after a stop, on the same ports and with the same store.
  async serve(ports = { api: this.api, proxy: this.proxy, pipe: this.pipe }) {
    const config = join(this.folder, 'signalbox.toml')
    writeFileSync(config, [
      '[pipe]', `listen = "${ports.pipe ?? '127.0.0.1:0'}"`,
      '[api]', `listen = "${ports.api ?? '127.0.0.1:0'}"`, ...(this.token ? [`operator_tokens = ["${this.token}"]`] : []), ...this.lines,
      '[proxy]', `http = "${ports.proxy ?? '127.0.0.1:0'}"`, ...(this.certificate ? ['https = "127.0.0.1:0"'] : []),
      '[store]', `url = "sqlite://${join(this.folder, 'signalbox.db')}"`,
      ...(this.certificate ? ['[[tls]]', `cert = "${this.certificate}.pem"`, `key = "${this.certificate}.key"`] : []), '',
    ].join('\n'))
    this.child = spawn(this.program, ['--config', config], { stdio: ['ignore', 'pipe', 'pipe'] })
    // A failed step leaves no server behind.
    process.once('exit', () => this.child.kill('SIGKILL'))
    let said = ''
    this.log = ''
    this.child.stdout.on('data', data => { said += data })
    this.child.stderr.on('data', data => { this.log += data })
    const of = name => said.match(new RegExp(`^  ${name} +(\\S+) `, 'm'))?.[1]
    await until('the server starts', () => {
      if (this.child.exitCode !== null) throw new Error(`the server ended: ${this.log}`)
      return said.includes('\n  store')
    }, 30)
    for (const name of ['pipe', 'api', 'proxy']) this[name] = of(name)
  }

  async stop() {
    this.child.kill('SIGTERM')
    await until('the server stops', () => this.child.exitCode !== null || this.child.signalCode !== null, 40)
  }

  async end() {
    for (const close of this.closing) close()
    if (this.child.exitCode === null) await this.stop()
  }

  // A call as an operator.
  async call(method, path, body, headers = {}) {
    const answer = await fetch(`http://${this.api}/${path}`, {
      method,
      headers: { ...(this.token ? { authorization: `Bearer ${this.token}` } : {}), ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
    })
    const text = await answer.text()
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`)
    return text === '' ? null : JSON.parse(text)
  }

  // A backend that answers as `answer(request, response)` does. Returns its URL.
  async backend(answer) {
    const server = http.createServer(answer)
    await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
    this.closing.push(() => { server.close(); server.closeAllConnections() })
    return `http://127.0.0.1:${server.address().port}`
  }

  // Registers an instance by the pipe and applies its routes: [domains, path, backend]. Its connection stays open.
  async register(service, instance, routes, settings = [], metadata = {}) {
    const [host, port] = this.pipe.split(':')
    const socket = net.connect(Number(port), host)
    socket.setEncoding('utf8')
    let rest = ''
    const replies = []
    socket.on('data', data => {
      const lines = (rest + data).split('\n')
      rest = lines.pop()
      replies.push(...lines.filter(line => !line.startsWith('EVENT')))
    })
    socket.on('error', () => {})
    const ask = async line => {
      socket.write(`${line}\n`)
      const reply = await until(`a reply to ${line.slice(0, 60)}`, () => replies.shift())
      if (reply.startsWith('ERROR')) throw new Error(`${line}: ${reply}`)
      return reply.split('|')[1]
    }
    const id = await ask(`REGISTER|${service}|${instance}|9001|${JSON.stringify(metadata)}`)
    const ids = []
    for (const [domains, path, backend, priority = 0] of routes) ids.push(await ask(`ROUTE_ADD|${id}|${domains}|${path}|${backend}|${priority}`))
    for (const setting of settings) await ask(setting.replace('SID', id).replace(/\bR(\d)\b/, (_, at) => ids[at]))
    await ask(`CONFIG_APPLY|${id}`)
    this.closing.push(() => socket.destroy())
    return { id, ids, ask, socket }
  }

  // Sends a request through the proxy. Returns its status.
  request(host, path = '/', headers = {}) {
    const [address, port] = this.proxy.split(':')
    return new Promise(resolve => {
      const request = http.request({ host: address, port, path, headers: { host, ...headers }, agent: this.agent ??= new http.Agent({ keepAlive: true, maxSockets: 20 }) }, response => {
        response.resume()
        response.on('end', () => resolve(response.statusCode))
        response.on('error', () => resolve(0))
      })
      request.on('error', () => resolve(0))
      request.setTimeout(5000, () => request.destroy())
      request.end()
    })
  }

  // Sends requests for `pairs` of host and path until the world ends, or the returned function is called.
  traffic(pairs, perSecond = 40) {
    let at = 0
    const timer = setInterval(() => { const [host, path, headers] = pairs[at++ % pairs.length]; this.request(host, path, headers) }, 1000 / perSecond)
    const stop = () => clearInterval(timer)
    this.closing.push(stop)
    return stop
  }
}

// The services that most tests use.
export async function populate(world) {
  const after = (least, spread, status = () => 200) => (request, response) =>
    setTimeout(() => { response.statusCode = status(request); response.end('hello\n') }, least + Math.random() * Math.random() * spread)
  const quick = await world.backend(after(2, 30))
  const slow = await world.backend(after(60, 400))
  const flaky = await world.backend(after(4, 40, request => (request.url !== '/health' && Math.random() < 0.2 ? 500 : 200)))
  const sick = await world.backend(after(1, 5, () => 503))
  const dead = 'http://127.0.0.1:9'
  const shop = await world.register('shop', 'shop-1', [['shop.example,www.shop.example', '/', quick], ['shop.example', '/basket', quick]], [], { version: '1.4.2', zone: 'a' })
  await world.register('shop', 'shop-2', [['shop.example,www.shop.example', '/', quick], ['shop.example', '/basket', slow]], [], { version: '1.4.2', zone: 'b' })
  await world.register('search', 'search-1', [['search.example', '/', slow]])
  await world.register('pay', 'pay-1', [['pay.example', '/', flaky]], ['CIRCUIT_BREAKER_SET|SID|R0|50|10s|3', 'RATELIMIT_SET|SID|R0|1000|1m'])
  await world.register('mail', 'mail-1', [['mail.example', '/', sick]], ['HEALTH_SET|SID|R0|/health|1s|1s'])
  await world.register('media', 'media-1', [['media.example', '/', dead]], ['HEALTH_SET|SID|R0|/health|1s|1s'])
  const temporary = await world.register('batch', 'batch-1', [['batch.example', '/', quick]])
  world.traffic([
    ['shop.example', '/'], ['shop.example', '/basket'], ['www.shop.example', '/item/42'], ['search.example', '/?q=lamp'],
    ['shop.example', '/'], ['pay.example', '/charge'], ['shop.example', '/item/7'], ['mail.example', '/inbox'],
    ['shop.example', '/'], ['nowhere.example', '/'], ['search.example', '/?q=desk'], ['media.example', '/film'],
  ])
  return { shop, temporary, quick }
}
