// Signing in.
import assert from 'node:assert/strict'
import { page, picture, signIn, step } from './desk.js'
import { TOKEN } from './world.js'

await step('a wrong token is refused in words, and the right one opens the overview', async () => {
  await signIn(page, 'wrong-wrong-wrong')
  await page.getByRole('alert').filter({ hasText: 'the operator token is not known here' }).waitFor()
  await picture(page, 'sign-in')
  await signIn(page, TOKEN)
  await page.locator('.tile').first().waitFor()
  assert.deepEqual(await page.evaluate(() => [document.cookie, Object.keys(localStorage), Object.keys(sessionStorage)]), ['', [], []], 'the token stays in memory')
})
