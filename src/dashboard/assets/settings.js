// The settings of configurations: those that act on one route, and the changes from one configuration to another.

import { h } from './dom.js'
import { duration, number } from './format.js'

const limitWords = one => `${number(one.requests)} requests in ${duration(one.window)}`
const breakerWords = one => `opens after ${number(one.threshold)} failures for ${duration(one.timeout)}, closes after ${number(one.half_open_requests)} successes`
const checkWords = one => `${one.path} every ${duration(one.interval)}, answer within ${duration(one.timeout)}`

// The sections of a configuration: name in it, name of its scope, and the target, name and words of an entry.
const SECTIONS = [
  ['routes', 'routes', one => [one.route_id, null, `${one.domains.join(', ')} ${one.path} to ${one.backend}${one.priority === 0 ? '' : `, priority ${one.priority}`}`]],
  ['headers', 'headers', one => [one.target, one.name, one.value]],
  ['options', 'options', one => [one.target, one.key, one.value]],
  ['health_checks', 'health', one => [one.route_id, null, checkWords(one)]],
  ['rate_limits', 'ratelimit', one => [one.target, null, limitWords(one)]],
  ['circuit_breakers', 'circuit', one => [one.target, null, breakerWords(one)]],
]

// The changes that lead from one configuration to another, as `changesOf` shows them.
export function changesBetween(from, to) {
  return SECTIONS.flatMap(([name, section, read]) => {
    const index = config => new Map(config[name].map(read).map(entry => [JSON.stringify(entry.slice(0, 2)), entry]))
    const [before, after] = [index(from), index(to)]
    return [...new Set([...before.keys(), ...after.keys()])].flatMap(key => {
      const [old, now] = [before.get(key)?.[2] ?? null, after.get(key)?.[2] ?? null]
      if (old === now) return []
      const [target, called] = after.get(key) ?? before.get(key)
      return [{ change: old === null ? 'added' : now === null ? 'removed' : 'modified', section, target, name: called, before: old, after: now }]
    })
  })
}

// The settings that act on a route, in words. Its own go before those of ALL.
export function settingsOf(config, id) {
  const of = (entries, at = 'target') => {
    const own = entries.filter(entry => entry[at] === id)
    return own.length > 0 ? own : entries.filter(entry => entry[at] === 'ALL')
  }
  const named = entries => [...new Map([...entries.filter(one => one.target === 'ALL'), ...entries.filter(one => one.target === id)].map(one => [one.key ?? one.name, one])).values()]
  const list = (entries, words) => entries.length > 0 && h('span', { class: 'lines' }, entries.map(entry => h('bdi', {}, words(entry))))
  return [
    ['Rate limit', list(of(config.rate_limits), limit => limitWords(limit) + (limit.target === 'ALL' ? ', all routes together' : '')) || 'none'],
    ['Circuit breaker', list(of(config.circuit_breakers), breakerWords) || 'none'],
    ['Health check', list(of(config.health_checks, 'route_id'), checkWords) || 'by default'],
    named(config.options).length > 0 && ['Options', list(named(config.options), one => `${one.key} = ${one.value}`)],
    named(config.headers).length > 0 && ['Response headers', list(named(config.headers), one => `${one.name}: ${one.value}`)],
  ]
}

const placeOf = target => (target === 'ALL' ? 'all routes' : target)

// The changes from one configuration to another, entry by entry. `total` counts those that are not among the entries too.
export function changesOf(entries, total = entries.length) {
  if (entries.length === 0) return h('p', { class: 'muted' }, 'Nothing differs.')
  return h('ul', { class: 'diff' }, entries.map(({ change, section, target, name, before, after }) => h('li', { class: change },
    h('span', { class: 'entry' }, SIGNS[change], ' ', ENTRIES[section] ?? section, ' ', h('bdi', {}, name ?? placeOf(target)), name && section !== 'instance' && [' of ', h('bdi', {}, placeOf(target))]),
    before && h('del', {}, h('bdi', {}, before)),
    after && h('ins', {}, h('bdi', {}, after)))),
  total > entries.length && h('li', { class: 'muted' }, `and ${number(total - entries.length)} more`))
}

const SIGNS = { added: '+', removed: '−', modified: '~' }
const ENTRIES = { routes: 'route', headers: 'header', options: 'option', health: 'health check of', ratelimit: 'rate limit of', circuit: 'circuit breaker of' }
