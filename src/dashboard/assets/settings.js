// The settings of a configuration: what acts on one route, and what an instance has staged.

import { call, get, instancePath } from './api.js'
import { confirm, notice } from './dialog.js'
import { badge, fill, h } from './dom.js'
import { number } from './format.js'

// The settings that act on a route, in words. Its own go before those of ALL.
export function settingsOf(config, id) {
  const of = (entries, at = 'target') => {
    const own = entries.filter(entry => entry[at] === id)
    return own.length > 0 ? own : entries.filter(entry => entry[at] === 'ALL')
  }
  const named = entries => [...new Map([...entries.filter(one => one.target === 'ALL'), ...entries.filter(one => one.target === id)].map(one => [one.key ?? one.name, one])).values()]
  const list = (entries, words) => entries.length > 0 && h('span', { class: 'lines' }, entries.map(entry => h('bdi', {}, words(entry))))
  return [
    ['Rate limit', list(of(config.rate_limits), limit => `${number(limit.requests)} requests in ${limit.window}${limit.target === 'ALL' ? ', all routes together' : ''}`) || 'none'],
    ['Circuit breaker', list(of(config.circuit_breakers), one => `opens after ${number(one.threshold)} failures for ${one.timeout}, closes after ${number(one.half_open_requests)} successes`) || 'none'],
    ['Health check', list(of(config.health_checks, 'route_id'), one => `${one.path} every ${one.interval}, answer within ${one.timeout}`) || 'by default'],
    named(config.options).length > 0 && ['Options', list(named(config.options), one => `${one.key} = ${one.value}`)],
    named(config.headers).length > 0 && ['Response headers', list(named(config.headers), one => `${one.name}: ${one.value}`)],
  ]
}

// What an instance has staged, with the actions on it. Hidden while there is nothing.
export async function drawStaged(place, service, instance, signal, done) {
  const path = `${instancePath(service, instance)}/config`
  const name = `${service}/${instance}`
  const [{ revision, staged }, diff] = await Promise.all([get(path, {}, signal), get(`${path}/diff`, {}, signal)])
  place.hidden = staged === null
  const signature = JSON.stringify([revision, diff])
  if (place.hidden || place.signature === signature) return
  place.signature = signature
  const act = (title, words, button, path, after, danger) => () => confirm({
    title: `${title} ${name}`, words, button, danger,
    async act() {
      await call('POST', path, after.headers ? { headers: after.headers } : {})
      notice(after.words)
      done()
    },
  })
  const validate = async () => {
    try {
      const answer = await call('POST', `${path}/validate`)
      notice(answer?.warnings?.length > 0 ? `It can be applied. ${answer.warnings.join('. ')}.` : 'It can be applied.')
    } catch (error) { notice(error.message, 'bad') }
  }
  fill(place,
    h('div', { class: 'card-head' }, h('h2', {}, 'Staged changes'),
      h('div', { class: 'actions' },
        h('button', { type: 'button', class: 'small', onclick: validate }, 'Validate'),
        h('button', { type: 'button', class: 'small', onclick: act('Roll back', 'Everything that is staged is dropped. The active configuration stays.', 'Roll back', `${path}/rollback`, { words: 'The staged changes are dropped.' }, true) }, 'Roll back'),
        h('button', { type: 'button', class: 'small primary', onclick: act('Apply what is staged by', 'The staged changes become active in one step.', 'Apply', `${path}/apply`, { words: 'The staged changes are active.', headers: { 'if-match': `"${revision}"` } }) }, 'Apply'))),
    h('ul', { class: 'diff' }, counts(diff).map(([kind, words]) => h('li', { class: kind }, h('bdi', {}, words)))),
    diff.warnings.map(words => h('p', { class: 'notice' }, words)))
}

function counts({ routes, warnings, ...sections }) {
  return [
    ...routes.added.map(id => ['added', `+ route ${id}`]),
    ...routes.modified.map(id => ['modified', `~ route ${id}`]),
    ...routes.removed.map(id => ['removed', `− route ${id}`]),
    ...Object.entries(sections).flatMap(([section, tally]) => ['added', 'modified', 'removed'].filter(kind => tally[kind] > 0)
      .map(kind => [kind, `${{ added: '+', modified: '~', removed: '−' }[kind]} ${number(tally[kind])} ${section}`])),
  ]
}

// The changes from one configuration to another, entry by entry.
export function diffOf(entries) {
  const SIGNS = { added: '+', removed: '−', modified: '~', changed: '~' }
  if (entries.length === 0) return h('p', { class: 'muted' }, 'Nothing differs.')
  return h('ul', { class: 'diff' }, entries.map(entry => h('li', { class: entry.change },
    h('span', {}, `${SIGNS[entry.change] ?? ''} ${entry.section} ${entry.target ?? ''} ${entry.name ?? ''}`),
    entry.before !== null && entry.before !== undefined && h('del', {}, h('bdi', {}, entry.before)),
    entry.after !== null && entry.after !== undefined && h('ins', {}, h('bdi', {}, entry.after)))))
}

export const kindOfAction = action => badge(action === 'applied' ? 'idle' : 'warn', action.replaceAll('_', ' '))
