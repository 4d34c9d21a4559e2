// The server itself: its facts, its configuration, and what it keeps: backup, export and import.

import { call, LONG_MS_MAX, reply } from './api.js'
import { confirm, notice } from './dialog.js'
import { badge, fill, h } from './dom.js'
import { ago, date, number } from './format.js'
import { importer } from './import.js'
import { facts } from './instance.js'
import { live } from './live.js'

const KEPT_MS = 60_000

export function server(root, view) {
  const known = h('div')
  const problems = h('div')
  const outcome = h('div', { class: 'stack', role: 'status' })
  const save = (words, path, name) => {
    const button = h('button', { type: 'button', async onclick() {
      button.disabled = true
      await download(path, name()).catch(error => notice(error.message, 'bad'))
      button.disabled = false
    } }, words)
    return button
  }
  const part = (title, words, ...rest) => h('section', { class: 'card part', 'aria-label': title }, h('h2', {}, title), h('p', { class: 'muted' }, words), rest)
  const today = () => new Date().toISOString().slice(0, 10)
  fill(root, h('div', { class: 'title' }, h('h1', {}, 'Server')), known,
    h('div', { class: 'columns even' },
      part('Configuration', 'The server reads its files again. An invalid file changes nothing; a faulty file of services keeps its last good version.',
        problems, h('div', { class: 'buttons' }, h('button', { type: 'button', onclick: () => confirmReload(outcome) }, 'Reload')), outcome),
      part('Backup', ['One file with everything that the server keeps, for ', h('code', {}, 'signalbox restore'), '. It contains the ids of all sessions, which are credentials: keep it where only you can read it.'],
        h('div', { class: 'buttons' }, save('Download a backup', 'v1/backup', () => `signalbox-${today()}.tar`))),
      part('Export', 'The active configuration of all instances as readable JSON, without session ids.',
        h('div', { class: 'buttons' }, save('Download an export', 'v1/export', () => `signalbox-export-${today()}.json`))),
      part('Metrics', 'All figures as Prometheus reads them.',
        h('div', { class: 'buttons' }, save('Download the metrics', 'metrics', () => `signalbox-metrics-${today()}.txt`)))),
    part('Import', 'Each instance of an export becomes one that operators hold: it needs no client and never expires. First you see what it would change.', importer()))

  const draw = () => {
    if (!live.overview) return
    fill(known, factsOf(live.overview))
    fill(problems, problemsOf(live.overview.config_problems))
  }
  draw()
  view.watch(kind => kind === 'sample' && draw())
}

function factsOf(one) {
  return facts([
    ['Version', one.version],
    ['Started', ago(one.started_at)],
    ['Revision', number(one.revision)],
    ['Instances', `${number(one.instances)}, of ${number(one.services)} services`],
    ['Routes', number(one.routes_active)],
    ['First certificate ends', one.certificate_expires_at ? [date(one.certificate_expires_at), ', ', ago(one.certificate_expires_at)] : 'no certificate'],
  ])
}

function problemsOf(problems) {
  return problems.length > 0 && h('ul', { class: 'problems' }, problems.map(({ file, line, message }) =>
    h('li', {}, badge('bad', 'refused'), h('bdi', {}, h('code', {}, line === null ? file : `${file}:${line}`)), h('span', { class: 'muted' }, h('bdi', {}, message)))))
}

function confirmReload(outcome) {
  return confirm({
    title: 'Reload the configuration',
    words: 'The server reads its files again. Connections and requests under way go on.',
    button: 'Reload',
    async act() {
      const { changed, needs_restart: later, problems } = await call('POST', 'v1/reload')
      const words = changed.length === 0 ? 'Nothing has changed.' : `In force: ${changed.join(', ')}.`
      fill(outcome,
        h('p', {}, badge('good', 'reloaded'), ' ', words),
        later.length > 0 && h('p', { class: 'notice' }, `A restart is needed for ${later.join(', ')}.`),
        problems.length > 0 && h('p', { class: 'failure' }, `${number(problems.length)} ${problems.length === 1 ? 'fault' : 'faults'} in files of services; they keep their last good version.`))
    },
  })
}

// Saves the answer of a call as a file, under the name that the server gives it, or `name`.
async function download(path, name) {
  const answer = await reply('GET', path, { headers: { accept: '*/*' }, ms: LONG_MS_MAX })
  const given = answer.headers.get('content-disposition')?.match(/filename="([^"/\\]+)"/)?.[1]
  const address = URL.createObjectURL(await answer.blob())
  h('a', { href: address, download: given ?? name }).click()
  setTimeout(() => URL.revokeObjectURL(address), KEPT_MS)
}
