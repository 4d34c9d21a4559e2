// Each view shows what it should, as text, and by itself.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { another, answer, dialog, go, inspect, open, page, picture, quick, step, world } from './desk.js'
import { HOSTILE, until } from './world.js'

await step('the overview shows figures that move, and what needs attention', async () => {
  const figure = () => page.locator('.tile', { hasText: 'Requests per second' }).locator('strong').innerText()
  await until('requests are counted', async () => Number(await figure()) > 0)
  const before = await page.locator('.tile', { hasText: 'Requests per second' }).innerText()
  await until('the figures move', async () => await page.locator('.tile', { hasText: 'Requests per second' }).innerText() !== before)
  await page.locator('.problems', { hasText: 'mail.example' }).waitFor()
  await page.locator('.problems', { hasText: 'status 503' }).waitFor()
  await page.locator('.plot canvas').nth(2).waitFor()
  await until('events are shown', () => page.locator('.feed', { hasText: 'backend health changed' }).count())
})

await step('a new instance appears by itself, in the lists and in the feed', async () => {
  await go(page, 'events')
  const other = await world.register('late', 'late-1', [['late.example', '/', quick]])
  await page.locator('.feed li', { hasText: 'late/late-1' }).first().waitFor()
  await go(page, 'services?by=service')
  await page.getByRole('row', { name: /^late 1 1 session/ }).waitFor()
  await go(page, 'services')
  await page.getByRole('row', { name: /late-1/ }).waitFor()
  other.socket.destroy()
  await page.getByRole('row', { name: /late-1.*not connected/ }).waitFor()
})

await step('the end of a lease is shown where it is near: in the list, under what needs attention, and as an event', async () => {
  const brief = await world.register('brief', 'brief-1', [['brief.example', '/', quick]], [], { lease: '62s' })
  brief.socket.destroy()
  await page.getByRole('row', { name: /brief-1.*ends in/ }).waitFor()
  await go(page, 'events')
  await page.locator('.feed li', { hasText: 'brief/brief-1' }).filter({ hasText: 'session expiring' }).waitFor()
  await go(page, 'overview')
  await page.locator('.problems li', { hasText: 'brief/brief-1' }).getByText('without a sign of life').waitFor()
  await world.call('DELETE', 'v1/instances/brief/brief-1')
})

await step('routes are filtered by health, service, domain and text', async () => {
  await go(page, 'routes')
  const rows = () => page.locator('tbody tr').count()
  await until('all routes are listed', async () => await rows() >= 9)
  for (const [label, text, count] of [['Service', 'shop', 4], ['Domain', 'www.shop.example', 2], ['Any text', 'BASKET', 2]]) {
    await page.getByLabel(label, { exact: true }).fill(text)
    await until(`${label} ${text}`, async () => await rows() === count)
    await page.getByLabel(label, { exact: true }).fill('')
  }
  await page.getByLabel('Only unhealthy').check()
  await until('two are unhealthy', async () => await rows() === 2)
  await page.getByRole('row', { name: /mail.example/ }).getByText('status 503').waitFor()
})

await step('a failed request says why, and a tap shows requests as they end', async () => {
  await go(page, 'requests?service=media')
  await page.getByRole('row', { name: /media.example\/film/ }).first().getByRole('link').first().click()
  await page.getByRole('heading', { name: 'Why?' }).waitFor()
  await page.locator('.why').waitFor()
  await picture(page, 'why')
  await go(page, 'requests?live=true&host=search.example')
  await page.getByRole('row', { name: /search.example/ }).first().waitFor()
  assert.equal(await page.getByRole('row', { name: /shop.example/ }).count(), 0)
  await page.getByRole('button', { name: /^Details of GET search.example/ }).first().click()
  await dialog(page).getByText('User agent').count()
  await answer(page, 'Close')
  await page.getByRole('button', { name: /^Details of GET search.example/ }).first().click()
  await dialog(page).getByRole('link', { name: 'search/search-1' }).click()
  await page.getByRole('heading', { name: 'search-1' }).waitFor()
  assert.equal(await dialog(page).count(), 0, 'a link leads away from the dialog')
  await go(page, 'requests?live=true&host=search.example')
  await page.getByLabel('Percent').fill('101')
  await page.getByRole('button', { name: 'Search', exact: true }).click()
  await page.getByText(/Not connected: .*percent/).waitFor()
})

await step('a route shows its settings, its members, and an open breaker with what opened it', async () => {
  await go(page, 'route/pay/pay-1/r1')
  await page.getByText('1,000 requests in 1m').waitFor()
  await page.getByText('opens after 50 failures for 10s, closes after 3 successes').waitFor()
  await page.getByRole('table', { name: 'Members of the pool' }).getByRole('row', { name: /pay-1/ }).waitFor()
  const broken = await world.backend((request, response) => { response.statusCode = request.url === '/fail' ? 500 : 200; response.end() })
  await world.register('broken', 'broken-1', [['broken.example', '/', broken]], ['CIRCUIT_BREAKER_SET|SID|R0|3|5m|1'])
  for (let at = 0; at < 4; at += 1) await world.request('broken.example', '/fail')
  await go(page, 'routes?unhealthy=true')
  await page.getByRole('row', { name: /broken.example.*open.*tries in/ }).waitFor()
  await go(page, 'overview')
  await page.locator('.problems li', { hasText: 'breaker open' }).getByRole('link', { name: 'broken.example/' }).click()
  await page.getByText('Last failure').waitFor()
  await picture(page, 'breaker')
  await world.call('DELETE', 'v1/instances/broken/broken-1')
})

await step('certificates are listed with their state and their end', async () => {
  const certificate = join(world.folder, 'secure')
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', '/CN=secure.example',
    '-addext', 'subjectAltName=DNS:secure.example', '-keyout', `${certificate}.key`, '-out', `${certificate}.pem`], { stdio: 'ignore' })
  const other = await another({ certificate })
  const looked = await open({ url: `http://${other.api}/` })
  await looked.locator('.tile').first().waitFor()
  await go(looked, 'certificates')
  await looked.getByRole('row', { name: /secure.example valid.* in (1 d 23 h|2 d)/ }).waitFor()
  await inspect(looked, 'certificates')
  await looked.close()
  await other.end()
})

await step('explain names the route that wins and its rule', async () => {
  await go(page, 'explain')
  await page.getByLabel('Host', { exact: true }).fill('shop.example')
  await page.getByLabel('Path', { exact: true }).fill('/basket/1')
  await page.getByRole('button', { name: 'Explain' }).click()
  await page.locator('.candidate.wins', { hasText: 'shop.example/basket' }).getByText('its path is the longest').waitFor()
})

await step('hostile names, paths and agents are shown as text', async () => {
  await world.register('trap', 'trap-1', [['trap.example', '/', 'http://127.0.0.1:9']], [], { [HOSTILE]: HOSTILE })
  await go(page, 'instance/trap/trap-1')
  await page.getByText('<img src=x onerror=alert(1)>⟨U+202E⟩gnp').first().waitFor()
  await go(page, 'requests?live=true&service=trap')
  await page.getByText('Requests appear here as they end.').waitFor()
  await world.request('trap.example', '/<script>alert(1)</script>', { 'user-agent': '<script>alert(2)</script>', referer: 'javascript:alert(3)' })
  await page.getByRole('button', { name: /^Details of GET trap.example/ }).first().click()
  for (const text of [/alert\(1\)/, '<script>alert(2)</script>', 'javascript:alert(3)']) await dialog(page).getByText(text).first().waitFor()
  await answer(page, 'Close')
  await go(page, 'requests?service=trap')
  await page.getByRole('row', { name: /trap.example/ }).first().waitFor()
  await go(page, `instance/${encodeURIComponent(HOSTILE)}/x`).catch(() => {})
  await page.evaluate(() => { location.hash = '#/explain?host=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E&path=/' })
  await page.getByRole('alert').first().waitFor()
  assert.equal(await page.evaluate(() => document.querySelectorAll('main img, main script, main a[href^="javascript"]').length), 0)
})
