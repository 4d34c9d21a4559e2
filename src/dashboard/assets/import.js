// An import: a file is chosen, the server tells what it would change, and it is imported after a question.

import { call, LONG_MS_MAX } from './api.js'
import { confirm, notice } from './dialog.js'
import { badge, fill, h } from './dom.js'
import { bytes, number } from './format.js'
import { instanceLink } from './links.js'
import { Table } from './table.js'

const BYTES_MAX = 64_000_000
const KINDS = { created: 'good', changed: 'warn', unchanged: 'idle', refused: 'bad' }
const ORDER = Object.keys(KINDS).reverse()

export function importer() {
  const file = h('input', { type: 'file', accept: '.json,application/json', 'aria-label': 'Export to import', onchange: look })
  const result = h('div', { class: 'stack', role: 'status' })
  const send = (document, dry) => call('POST', 'v1/import', { query: { dry_run: dry || undefined }, body: document, ms: LONG_MS_MAX })

  async function look() {
    const chosen = file.files[0]
    if (!chosen) return fill(result)
    fill(result, h('p', { class: 'muted' }, 'The server looks at it.'))
    try {
      const document = await read(chosen)
      const outcome = await send(document, true)
      // The outcomes are in the order of the document.
      const accepted = { ...document, instances: document.instances.filter((_, at) => outcome.instances[at].outcome !== 'refused') }
      const least = outcome.created + outcome.changed
      fill(result, table(outcome),
        least > 0 && h('div', { class: 'buttons' }, h('button', { type: 'button', class: 'primary', onclick: () => ask(chosen.name, accepted, outcome) }, `Import ${count(least)}`)))
    } catch (error) { fill(result, h('p', { class: 'failure', role: 'alert' }, error.message)) }
  }

  function ask(name, document, { created, changed, refused }) {
    return confirm({
      title: `Import ${name}`,
      words: [`${count(created)} will be created, ${count(changed)} changed.`, refused > 0 && `The ${count(refused)} that the server refuses ${refused === 1 ? 'is' : 'are'} left out.`].filter(text => text),
      button: 'Import',
      danger: changed > 0,
      async act() {
        const outcome = await send(document, false)
        fill(result, table(outcome))
        file.value = ''
        notice(summary(outcome))
      },
    })
  }
  return h('div', { class: 'stack' }, file, result)
}

const count = of => `${number(of)} ${of === 1 ? 'instance' : 'instances'}`

async function read(file) {
  if (file.size > BYTES_MAX) throw new Error(`The file has ${bytes(file.size)}; an import takes ${bytes(BYTES_MAX)} at most.`)
  try { return JSON.parse(await file.text()) } catch (error) { throw new Error(`The file is no export: ${error.message}`) }
}

function summary({ dry_run: dry, created, changed, unchanged, refused }) {
  const parts = [['created', created], ['changed', changed], ['unchanged', unchanged], ['refused', refused]].filter(([, of]) => of > 0).map(([words, of]) => `${number(of)} ${words}`)
  return `${dry ? 'It would be' : 'Imported'}: ${parts.join(', ') || 'nothing'}.`
}

function table(outcome) {
  const instances = new Table({
    label: 'Instances of the import',
    empty: 'The document has no instance.',
    pageSize: 20,
    key: one => `${one.service_name}/${one.instance_name}`,
    columns: [
      { label: 'Instance', kind: 'strong', cell: one => h('a', { href: instanceLink(one) }, h('bdi', {}, `${one.service_name}/${one.instance_name}`)) },
      { label: 'Outcome', cell: one => badge(KINDS[one.outcome] ?? 'idle', one.outcome) },
      { label: 'Changes', kind: 'number', cell: one => number(one.changes_total) },
      { label: 'Reason', kind: 'wide', cell: one => (one.reason ? h('bdi', {}, one.reason) : h('span', { class: 'muted' }, '–')) },
    ],
  })
  const rank = one => ORDER.indexOf(one.outcome)
  instances.set(outcome.instances.toSorted((a, b) => rank(a) - rank(b)))
  return [h('p', { class: 'outcome' }, badge(outcome.dry_run ? 'idle' : 'good', outcome.dry_run ? 'nothing changed yet' : 'done'), ' ', summary(outcome)), instances.element]
}
