// The page for everybody: light and dark, on a phone, with the keyboard alone, and by axe-core's rules.
import assert from 'node:assert/strict'
import { closed, dialog, go, inspect, open, quick, shop, step, world } from './desk.js'
import { TOKEN, until } from './world.js'

const VIEWS = ['overview', 'services', 'services?by=service', 'instance/shop/shop-1', 'instance/blog/blog-1', 'routes', 'route/shop/shop-1/r1', 'requests', 'requests?live=true', 'events', 'audit', 'certificates', 'explain?host=shop.example&path=/basket', 'server']
// View, and the button that opens the dialog.
const DIALOGS = [
  ['services', 'Drain: shop/shop-2'], ['services', 'Maintenance: shop/shop-2'], ['services', 'Evict: shop/shop-2'], ['services', 'Create a static instance'],
  ['services', 'Edit: imported/imported-1'], ['services', 'Remove: imported/imported-1'],
  ['instance/shop/shop-1', 'Configuration: shop/shop-1'], ['instance/shop/shop-1', 'Apply'], ['instance/shop/shop-1', 'Roll back'],
  ['instance/shop/shop-1', 'Changes of revision 2'], ['instance/shop/shop-1', 'Revert to revision 1'],
  ['instance/blog/blog-1', 'Confirm'], ['instance/blog/blog-1', 'Take back'], ['server', 'Reload'], ['requests?live=true', /^Details of/],
]

// Services of every kind and state, with something staged, and with an apply that waits.
await shop.ask(`OPTIONS_SET|${shop.id}|ALL|timeout|20s`)
await shop.ask(`HEADERS_SET|${shop.id}|ALL|x-frame-options|deny`)
const blog = await world.register('blog', 'blog-1', [['blog.example', '/', quick]])
await blog.ask(`ROUTE_ADD|${blog.id}|blog.example|/new|${quick}|0`)
await world.call('POST', 'v1/instances/blog/blog-1/config/apply', { confirm_within: '1h', guard: true, reason: 'the new editor' })
await world.call('PUT', 'v1/instances/search/search-1/drain', { duration: '1h' })

async function lookAtAll(kind, how) {
  const looked = await open(how)
  await looked.locator('.tile').first().waitFor()
  for (const view of VIEWS) {
    await go(looked, view)
    await inspect(looked, `${kind}-${view}`)
  }
  for (const [view, name] of DIALOGS) {
    await go(looked, view)
    await looked.getByRole('button', { name, exact: true }).first().click()
    await dialog(looked).waitFor()
    await inspect(looked, `${kind}-dialog-${name}`)
    await looked.keyboard.press('Escape')
    await closed(looked)
  }
  return looked
}

await step('axe-core finds nothing serious in any view and any dialog, in light', async () => { await (await lookAtAll('light', {})).close() })

await step('axe-core finds nothing serious in any view and any dialog, in dark; the switch changes the colours, also of the next visit', async () => {
  const looked = await lookAtAll('dark', { dark: true })
  const ground = () => looked.evaluate(() => getComputedStyle(document.body).backgroundColor)
  assert.equal(await ground(), 'rgb(14, 18, 23)')
  await looked.getByRole('button', { name: /Colours of the system/ }).click()
  assert.equal(await ground(), 'rgb(245, 246, 248)')
  await looked.reload()
  assert.equal(await ground(), 'rgb(245, 246, 248)')
  await looked.close()
})

await step('a phone shows every view and every dialog without scrolling sideways, and axe-core finds nothing serious', async () => {
  const phone = await lookAtAll('phone', { phone: true })
  await phone.getByRole('button', { name: 'Menu' }).click()
  await inspect(phone, 'phone-menu')
  await phone.getByRole('link', { name: 'Routes', exact: true }).click()
  await phone.getByRole('heading', { name: 'Routes' }).waitFor()
  await phone.close()
})

await step('the page works with the keyboard alone', async () => {
  const page = await open({ token: null })
  const focused = name => page.evaluate(name => document.activeElement[name] ?? document.activeElement.getAttribute(name), name)
  const tabTo = async (words, is) => {
    for (let at = 0; at < 60; at += 1) {
      if (await is()) return
      await page.keyboard.press(words)
    }
    throw new Error(`${words} does not reach it`)
  }
  await until('the field has the focus', async () => await focused('name') === 'token')
  await page.keyboard.type(TOKEN)
  await page.keyboard.press('Enter')
  await page.locator('.tile').first().waitFor()
  await tabTo('Shift+Tab', async () => await focused('textContent') === 'Skip to the content')
  assert.ok(await page.evaluate(() => document.activeElement.getBoundingClientRect().top >= 0), 'it is seen while it has the focus')
  await page.keyboard.press('Enter')
  assert.equal(await focused('id'), 'main')
  await tabTo('Shift+Tab', async () => await focused('textContent') === 'Services')
  await page.keyboard.press('Enter')
  await page.getByRole('row', { name: /shop-1/ }).waitFor()
  await tabTo('Tab', async () => await focused('aria-label') === 'Drain: shop/shop-1')
  await page.keyboard.press('Enter')
  await until('the first field has the focus', async () => await focused('name') === 'duration')
  await page.keyboard.press('Escape')
  await closed(page)
  assert.equal(await focused('aria-label'), 'Drain: shop/shop-1', 'the focus is back')
  await page.close()
})
