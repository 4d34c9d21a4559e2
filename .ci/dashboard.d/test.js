// Uses the dashboard in a browser, step by step. Arguments: see desk.js.
import { browser, world } from './desk.js'

for (const part of ['enter', 'views', 'actions', 'server', 'looks', 'faults']) await import(`./${part}.js`)
await world.end()
await browser.close()
console.log('the dashboard works')
process.exit(0)
