// The certificates of the server.

import { get } from './api.js'
import { badge, fill, h } from './dom.js'
import { ago, date } from './format.js'
import { Table } from './table.js'

const KINDS = { valid: 'good', expires_soon: 'warn', expired: 'bad', not_yet_valid: 'warn', pending: 'warn' }

export function certificates(root, view) {
  const table = new Table({
    label: 'Certificates',
    empty: 'The server uses no certificate: its ports speak plain HTTP.',
    key: one => `${one.port} ${one.serial} ${one.names.join()}`,
    columns: [
      { label: 'Names', kind: 'strong', cell: one => h('bdi', {}, one.names.join(', ')) },
      { label: 'State', cell: one => h('span', {}, badge(KINDS[one.state] ?? 'idle', one.state.replaceAll('_', ' ')), one.last_error && h('span', { class: 'reason' }, one.last_error)) },
      { label: 'Port', cell: one => one.port },
      { label: 'Source', cell: one => one.source },
      { label: 'Valid', cell: one => (one.not_after ? h('span', {}, date(one.not_before), ' to ', date(one.not_after), lifetime(one)) : h('span', { class: 'muted' }, 'none yet')) },
      { label: 'Ends', cell: one => ago(one.not_after) },
      { label: 'Next attempt', cell: one => ago(one.next_attempt) },
      { label: 'Issuer', kind: 'wide', cell: one => h('bdi', {}, one.issuer ?? '–') },
    ],
  })
  fill(root, h('div', { class: 'title' }, h('h1', {}, 'Certificates')), table.element)
  view.every(15_000, async signal => table.set((await get('v1/certificates', {}, signal)).items))
}

function lifetime(one) {
  const [from, to] = [Date.parse(one.not_before), Date.parse(one.not_after)]
  return h('progress', { max: 100, value: Math.max(0, Math.min(100, (100 * (Date.now() - from)) / (to - from))), 'aria-label': 'Share of its life that is over' })
}
