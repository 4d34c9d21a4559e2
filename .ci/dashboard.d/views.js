// Each view shows what it should, as text, and by itself.
import assert from 'node:assert/strict'
import { answer, dialog, go, page, picture, quick, step, world } from './desk.js'
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

async function inspect(dark) {
  const looked = await open({ dark })
  await looked.locator('.tile').first().waitFor()
  for (const view of VIEWS) {
    await go(looked, view)
    await sleep(700)
    await looked.evaluate(await import('node:fs').then(fs => fs.readFileSync(axe, 'utf8')))
    const found = await looked.evaluate(async () => (await axe.run()).violations.map(({ id, impact, help, nodes }) => ({ id, impact, help, at: nodes.map(node => node.html.slice(0, 120)) })))
    const grave = found.filter(({ impact }) => impact === 'serious' || impact === 'critical')
    assert.deepEqual(grave, [], `${view}: ${JSON.stringify(grave, null, 1)}`)
    await picture(looked, `${dark ? 'dark' : 'light'}-${view}`)
  }
  await go(looked, 'services')
  await looked.getByRole('button', { name: 'Drain: shop/shop-1' }).click()
  const found = await looked.evaluate(async () => (await axe.run()).violations.filter(({ impact }) => impact === 'serious' || impact === 'critical').map(({ id, nodes }) => [id, nodes[0].html]))
  assert.deepEqual(found, [])
  return looked
}
