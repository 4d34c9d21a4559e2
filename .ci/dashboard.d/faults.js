// What may go wrong around the page.
import assert from 'node:assert/strict'
import { another, calls, go, open, page, picture, prefixed, quick, signIn, step, world } from './desk.js'
import { TOKEN, until } from './world.js'

await step('it works under a path behind another proxy', async () => {
  const behind = await open({ url: await prefixed('/ops/signalbox/') })
  await behind.locator('.problems', { hasText: 'mail.example' }).waitFor()
  await go(behind, 'events')
  await behind.locator('.feed li', { hasText: 'shop/shop-1' }).first().waitFor()
  await behind.close()
})

await step('it works under a domain of the proxy itself (api.publish), for those who have a token', async () => {
  const published = await another({ lines: ['publish = "admin.example"'] })
  await published.register('shop', 'shop-1', [['shop.example', '/', quick]])
  const outside = await open({ url: `http://admin.example:${published.proxy.split(':')[1]}/`, token: null })
  await signIn(outside, 'a-guess-of-a-stranger')
  await outside.getByRole('alert').filter({ hasText: 'the operator token is not known here' }).waitFor()
  await signIn(outside, TOKEN)
  await outside.locator('.tile').first().waitFor()
  await go(outside, 'services')
  await outside.getByRole('row', { name: /signalbox dashboard/ }).waitFor()
  await go(outside, 'events')
  await outside.locator('.feed li', { hasText: 'shop/shop-1' }).first().waitFor()
  await outside.close()
  await published.end()
})

await step('10,000 events a second do not freeze it, and it tells what it leaves out', async () => {
  let sequence = 1_000_000
  const url = await prefixed('/', (path, response) => {
    if (!path.startsWith('/v1/events')) return false
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    const flood = setInterval(() => {
      let text = ''
      for (let at = 0; at < 200; at += 1) {
        sequence += 1
        text += `id: ${sequence}\nevent: backend_health_changed\ndata: ${JSON.stringify({ sequence, at: new Date().toISOString(), service_name: 'flood', instance_name: `flood-${at}`, type: 'backend_health_changed', payload: { route_id: 'r1', healthy: at % 2 === 0, reason: 'status 503' } })}\n\n`
      }
      response.write(text)
    }, 20)
    response.on('close', () => clearInterval(flood))
    return true
  })
  const flooded = await open({ url })
  await flooded.locator('.tile').first().waitFor()
  await go(flooded, 'events')
  await flooded.locator('.feed li', { hasText: 'flood/' }).first().waitFor()
  const longest = await flooded.evaluate(() => new Promise(done => {
    let [last, most] = [performance.now(), 0]
    const end = last + 4000
    const frame = now => { most = Math.max(most, now - last); last = now; if (now < end) requestAnimationFrame(frame); else done(most) }
    requestAnimationFrame(frame)
  }))
  console.log(`  the longest frame took ${Math.round(longest)} ms`)
  const [kept, bytes] = await flooded.evaluate(() => [document.querySelectorAll('.feed li').length, performance.memory.usedJSHeapSize])
  console.log(`  ${kept} rows and ${Math.round(bytes / 1e6)} MB are kept of ${sequence - 1_000_000} events`)
  assert.ok(kept <= 200, 'the rows are bounded')
  await flooded.getByText(/events came faster than the page could show, and are left out/).waitFor()
  await flooded.getByRole('button', { name: 'Hold' }).click({ timeout: 5000 })
  await flooded.getByText('Held. New events wait.').waitFor({ timeout: 5000 })
  await go(flooded, 'routes')
  await flooded.getByRole('row', { name: /shop.example/ }).first().waitFor({ timeout: 5000 })
  await flooded.close()
})

await step('a lost connection is shown at once, and found again by itself', async () => {
  await go(page, 'overview')
  await world.stop()
  await page.getByRole('alert').filter({ hasText: 'The server has not answered' }).waitFor()
  await page.locator('body.stale').waitFor()
  await picture(page, 'lost')
  await world.serve()
  await page.locator('body:not(.stale)').waitFor({ timeout: 20_000 })
  assert.equal(await page.locator('#banner').isVisible(), false)
  await go(page, 'events')
  await world.register('back', 'back-1', [['back.example', '/', quick]])
  await page.locator('.feed li', { hasText: 'back/back-1' }).first().waitFor({ timeout: 20_000 })
})

await step('a token that is not valid any more asks for another one', async () => {
  await world.stop()
  world.token = 'another-token-of-the-test'
  await world.serve()
  await page.getByLabel('Operator token').waitFor({ timeout: 20_000 })
  await signIn(page, 'another-token-of-the-test')
  await page.locator('main .view').waitFor()
})

await step('1,000 routes can be used within a second', async () => {
  const routes = Array.from({ length: 1000 }, (_, at) => [`host-${at}.many.example`, '/', quick])
  const many = await world.register('many', 'many-1', [])
  const pieces = []
  for (let at = 0; at < routes.length; at += 1) pieces.push(many.ask(`ROUTE_ADD|${many.id}|${routes[at].join('|')}|0`))
  await Promise.all(pieces)
  await many.ask(`CONFIG_APPLY|${many.id}`)
  for (let turn = 0; turn < 3; turn += 1) {
    await go(page, 'overview')
    const [whole, own] = await page.evaluate(async () => {
      performance.clearResourceTimings()
      const began = performance.now()
      location.hash = '#/routes'
      while (!/1,0\d\d routes/.test(document.querySelector('.filters')?.textContent) || document.querySelectorAll('tbody tr').length < 50) await new Promise(requestAnimationFrame)
      const answered = Math.max(...performance.getEntriesByType('resource').filter(one => /v1\/(routes|stats)/.test(one.name)).map(one => one.responseEnd))
      return [performance.now() - began, performance.now() - answered]
    })
    console.log(`  they can be used after ${Math.round(whole)} ms, ${Math.round(own)} ms of them after the server's answers`)
  }
  const began = Date.now()
  await page.getByLabel('Domain', { exact: true }).fill('host-777.many.example')
  await until('one is left', async () => await page.locator('tbody tr').count() === 1)
  console.log(`  the filter took ${Date.now() - began} ms, ${250} ms of them to wait for more keys`)
})

await step('without operator tokens, on loopback, it needs no sign-in', async () => {
  const plain = await another({ token: null })
  const direct = await open({ url: `http://${plain.api}/`, token: null })
  await direct.locator('.tile').first().waitFor()
  await direct.close()
  await plain.end()
})

await step('everything that the REST interface offers to operators was used on the page', async () => {
  const { paths } = await world.call('GET', 'openapi.json')
  const isForOperators = ({ tags, security }) => tags.includes('operators') || security.some(one => 'operator' in one)
  const offered = Object.entries(paths).flatMap(([path, operations]) => Object.entries(operations)
    .filter(([, operation]) => isForOperators(operation) || path.startsWith('/v1/confirmations/'))
    .map(([method, { operationId }]) => [operationId, new RegExp(`^${method.toUpperCase()} ${path.replace(/\{\w+\}/g, '[^/]+')}$`)]))
  assert.ok(offered.length > 30, `${offered.length}`)
  const missing = offered.filter(([, call]) => ![...calls].some(made => call.test(made))).map(([name]) => name)
  assert.deepEqual(missing, [])
})
