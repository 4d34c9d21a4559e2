// The history of an instance's configuration: its revisions with their changes, and the way back to one of them.

import { call, get, instancePath, list } from './api.js'
import { confirm, field, notice, show } from './dialog.js'
import { badge, fill, h } from './dom.js'
import { ago, number } from './format.js'
import { changesOf } from './settings.js'
import { Table } from './table.js'

const MOST = 100
const KINDS = { recorded: 'idle', applied: 'good', reverted: 'warn', cancelled: 'warn', unconfirmed: 'warn', guarded: 'bad' }

// Shows the revisions. Returns a function that reads them at once; `done` is called after a revert.
export function history(root, view, service, instance, done) {
  const path = `${instancePath(service, instance)}/history`
  const button = (words, one, act) => h('button', { type: 'button', class: 'small', 'data-focus': `${words} ${one.number}`, 'aria-label': `${words} ${one.number}`, onclick: () => act(one).catch(error => notice(error.message, 'bad')) }, words.split(' ')[0])
  const table = new Table({
    label: 'History',
    empty: 'Nothing was applied yet.',
    pageSize: 10,
    key: one => String(one.number),
    columns: [
      { label: 'Revision', kind: 'number', cell: one => String(one.number) },
      { label: 'Time', cell: one => ago(one.at) },
      { label: 'Action', cell: one => [badge(KINDS[one.action] ?? 'idle', one.action), one.reverted_to !== null && h('span', { class: 'reason' }, `back to ${one.reverted_to}`)] },
      { label: 'Actor', cell: actorOf },
      { label: 'Reason', kind: 'wide', cell: one => (one.reason ? h('bdi', {}, one.reason) : h('span', { class: 'muted' }, '–')) },
      { label: 'Changes', kind: 'wide', cell: one => countsOf(one.changes) },
      { label: '', cell: one => h('div', { class: 'actions' }, button('Changes of revision', one, look), button('Revert to revision', one, revert)) },
    ],
  })
  fill(root, h('h2', {}, 'History'), table.element)
  const refresh = view.every(5000, async signal => table.set((await list(path, {}, MOST, signal)).items))

  async function look({ number: at }) {
    // The one before the oldest is not kept.
    const before = await get(`${path}/${at}`, { against: at - 1 }).catch(error => { if (error.status === 404) return null; throw error })
    const now = await get(`${path}/${at}`)
    show(`Revision ${at} of ${service}/${instance}`,
      before && [h('h3', {}, `Its changes, against revision ${at - 1}`), changesOf(before.diff, before.diff_total)],
      h('h3', {}, 'Against the active configuration'), now.diff_total === 0 ? h('p', { class: 'muted' }, 'It is the active configuration.') : changesOf(now.diff, now.diff_total),
      h('details', {}, h('summary', {}, 'The whole configuration'), h('pre', {}, JSON.stringify(now.config, null, 2))))
  }

  async function revert({ number: at }) {
    const [{ diff, diff_total: total }, { revision }] = await Promise.all([get(`${path}/${at}`), get(instancePath(service, instance))])
    if (total === 0) return notice(`Revision ${at} is what is active.`)
    const reason = h('input', { name: 'reason', maxlength: 500, autocomplete: 'off' })
    await confirm({
      title: `Revert ${service}/${instance} to revision ${at}`,
      words: ['This becomes active in one step, as a new revision:', changesOf(diff, total)],
      fields: [field('Reason', reason, 'For the history and the audit. It may be empty.')],
      button: 'Revert',
      danger: true,
      wide: true,
      async act() {
        const words = reason.value.trim()
        await call('POST', `${path}/${at}/revert`, { body: words === '' ? {} : { reason: words }, headers: { 'if-match': `"${revision}"` } })
        notice(`${service}/${instance} has the configuration of revision ${at}.`)
        refresh()
        done()
      },
    })
  }
  return refresh
}

export function actorOf({ actor, interface: by }) {
  if (by === 'server') return 'server'
  return h('bdi', {}, actor.name && actor.kind !== 'server' ? `${actor.kind}: ${actor.name} by ${by}` : `${actor.kind} by ${by}`)
}

const SIGNS = { added: '+', changed: '~', removed: '−' }

function countsOf(changes) {
  const parts = Object.entries(changes).filter(([, count]) => count > 0).map(([name, count]) => {
    const kind = name.split('_').at(-1)
    const what = name.slice(0, -kind.length - 1).replaceAll('_', ' ')
    return `${SIGNS[kind]}${number(count)} ${count === 1 ? what.replace(/s$/, '') : what}`
  })
  return h('span', { class: parts.length > 0 ? '' : 'muted' }, parts.join(', ') || 'none')
}
