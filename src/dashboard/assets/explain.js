// Explains to which backend a request would go, and why.

import { get } from './api.js'
import { badge, fill, h } from './dom.js'
import { field } from './dialog.js'
import { number } from './format.js'
import { routeLink, viewLink } from './links.js'
import { health } from './routes.js'
import { Table } from './table.js'

const OUTCOMES = { forwarded: 'good', maintenance: 'warn', unavailable: 'bad', no_route: 'bad' }

export function explain(root, view, _, query) {
  const input = (name, value) => h('input', { name, value: query.get(name) ?? value, autocomplete: 'off', spellcheck: 'false', required: name === 'host' || name === 'path' })
  const [host, path, staged] = [input('host', ''), input('path', '/'), input('staged', '')]
  const method = h('select', { name: 'method' }, ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'].map(name => h('option', {}, name)))
  const result = h('div', { class: 'stack', role: 'status' })
  const form = h('form', { class: 'card explain-form', onsubmit: ask },
    field('Host', host), field('Path', path), field('Method', method),
    field('Staged by', staged, 'SERVICE/INSTANCE: as if it had applied what it staged'),
    h('button', { class: 'primary' }, 'Explain'))
  fill(root, h('div', { class: 'title' }, h('h1', {}, 'Explain')), h('p', { class: 'muted' }, 'Where would a request go, and why?'), form, result)
  if (host.value !== '') ask()

  async function ask(event) {
    event?.preventDefault()
    history.replaceState(null, '', viewLink('explain', { host: host.value, path: path.value, staged: staged.value }))
    try {
      fill(result, answer(await get('v1/explain', { host: host.value.trim(), path: path.value.trim(), method: method.value, staged: staged.value.trim() }, view.signal)))
    } catch (error) {
      if (!view.signal.aborted) fill(result, h('p', { class: 'failure', role: 'alert' }, error.message))
    }
  }
}

function answer(found) {
  return [
    h('section', { class: 'card', 'aria-label': 'Outcome' },
      h('p', { class: 'outcome' }, badge(OUTCOMES[found.outcome] ?? 'idle', found.outcome.replace('_', ' ')), ' ', found.reason.replace(/^\w+: /, '')),
      found.problem && h('p', { class: 'failure' }, found.problem)),
    found.candidates.map(candidate),
  ]
}

function candidate(one) {
  const members = new Table({
    label: `Members of ${one.domain}${one.path}`,
    empty: 'It has no members.',
    key: member => `${member.instance_name}/${member.route_id}`,
    columns: [
      { label: 'Instance', kind: 'strong', cell: member => h('a', { href: routeLink({ ...member, service_name: one.service_name }) }, h('bdi', {}, `${member.instance_name} ${member.route_id}`)) },
      { label: 'Backend', kind: 'wide mono', cell: member => h('bdi', {}, member.backend) },
      { label: 'Takes requests', cell: member => (member.takes_requests ? badge('good', 'yes') : badge('warn', 'no')) },
      { label: 'Health', cell: health },
      { label: 'Breaker', cell: member => member.state.replace('_', ' ') },
      { label: 'Share', kind: 'number', cell: member => `${member.traffic_percent} %` },
    ],
  })
  members.set(one.members)
  return h('section', { class: `card candidate ${one.wins ? 'wins' : ''}`, 'aria-label': `${one.domain}${one.path}` },
    h('div', { class: 'card-head' },
      h('h2', {}, h('bdi', {}, `${one.domain}${one.path}`)),
      badge(one.wins ? 'good' : 'idle', one.wins ? 'wins' : 'loses')),
    h('p', {}, h('bdi', {}, one.service_name), ', priority ', String(one.priority), ': ', one.rule),
    members.element,
    one.members_total > one.members.length && h('p', { class: 'muted' }, `and ${number(one.members_total - one.members.length)} more`))
}
