// The server itself: reload, backup, export, import, metrics.
import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { answer, closed, dialog, go, instance, page, picture, quick, step, told, world } from './desk.js'
import { until } from './world.js'

async function saved(button) {
  const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: button }).click()])
  return [download.suggestedFilename(), readFileSync(await download.path(), 'utf8')]
}

async function reload(outcome) {
  await page.getByRole('button', { name: 'Reload', exact: true }).click()
  await answer(page, 'Reload')
  await closed(page)
  await page.getByRole('region', { name: 'Configuration' }).getByText(outcome).waitFor()
}

await step('the configuration is reloaded; the faults of its files are shown until they are gone', async () => {
  await go(page, 'server')
  await reload('Nothing has changed.')
  const file = join(world.folder, 'conf.d', 'wrong.toml')
  mkdirSync(join(world.folder, 'conf.d'), { recursive: true })
  writeFileSync(file, '[[services]]\nname = 7\n')
  await reload('1 fault in files of services')
  await page.locator('.problems li', { hasText: /wrong\.toml:2/ }).waitFor()
  await picture(page, 'faulty-file')
  await go(page, 'overview')
  await page.locator('.problems li', { hasText: /wrong\.toml, line 2/ }).waitFor()
  rmSync(file)
  await go(page, 'server')
  await reload('reloaded')
  await page.locator('.problems li').waitFor({ state: 'detached' })
})

await step('a backup, an export and the metrics are saved as files', async () => {
  const [backup, archive] = await saved('Download a backup')
  assert.match(backup, /^signalbox-\d+\.tar$/)
  for (const name of ['SHA256SUMS', 'manifest.json', 'signalbox.db']) assert.ok(archive.includes(name), name)
  const [name, text] = await saved('Download an export')
  assert.match(name, /^signalbox-export-.*\.json$/)
  assert.deepEqual(JSON.parse(text), await world.call('GET', 'v1/export'))
  assert.match((await saved('Download the metrics'))[1], /^signalbox_/m)
})

await step('an import shows first what it would change, and is made after a question', async () => {
  const document = await world.call('GET', 'v1/export')
  const choose = (name, text) => page.getByLabel('Export to import').setInputFiles({ name, mimeType: 'application/json', buffer: Buffer.from(text) })
  await choose('picture.png', 'no JSON at all')
  await page.getByRole('alert').filter({ hasText: 'The file is no export' }).waitFor()
  await choose('newer.json', JSON.stringify({ ...document, format: 99 }))
  await page.getByRole('alert').filter({ hasText: 'format' }).waitFor()
  document.instances.push({ service_name: 'imported', instance_name: 'imported-1', config: { backend: quick, domains: ['imported.example'] } })
  await choose('export.json', JSON.stringify(document))
  await page.getByText(/It would be: 1 created/).waitFor()
  await page.getByRole('row', { name: /shop\/shop-1.*refused.*held by/ }).waitFor()
  assert.equal(await instance('imported-1'), undefined, 'a look changes nothing')
  await picture(page, 'import')
  await page.getByRole('button', { name: 'Import 1 instance' }).click()
  await answer(page, 'Cancel')
  await page.getByRole('button', { name: 'Import 1 instance' }).click()
  await answer(page, 'Import')
  await closed(page)
  await told(page, 'Imported: 1 created')
  await until('it serves', async () => await world.request('imported.example') === 200)
  assert.equal((await instance('imported-1')).owner, 'operator')
})
