// Makes elements. Everything that comes from outside becomes text, never markup.

// Characters that are invisible or turn the direction of text around. They are shown by their number.
const INVISIBLE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g

export function visible(text) {
  return String(text).replace(INVISIBLE, sign => `\u27e8U+${sign.codePointAt(0).toString(16).toUpperCase().padStart(4, '0')}\u27e9`)
}

// Makes an element. `props` has attributes, `on…` functions and `class`; children are nodes, texts, lists, or nothing.
export function h(tag, props, ...children) {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value)
    else if (name === 'value' || name === 'checked' || name === 'indeterminate') element[name] = value
    else element.setAttribute(name === 'class' ? 'class' : name, value === true ? '' : visible(value))
  }
  add(element, children)
  return element
}

function add(element, children) {
  for (const child of children) {
    if (Array.isArray(child)) add(element, child)
    else if (child instanceof Node) element.append(child)
    else if (child !== undefined && child !== null && child !== false) element.append(visible(child))
  }
}

// Replaces what is inside an element.
export function fill(element, ...children) {
  element.replaceChildren()
  add(element, children)
  return element
}

const SVG = 'http://www.w3.org/2000/svg'
const PATHS = {
  overview: 'M3 13h6V3H3zM11 17h6V9h-6zM11 3v4h6V3zM3 17h6v-2H3z',
  services: 'M10 2 3 6v8l7 4 7-4V6zM3 6l7 4 7-4M10 10v8',
  routes: 'M4 10h4c4 0 3-6 8-6M8 10h8M8 10c4 0 3 6 8 6',
  requests: 'M3 6h14M13 2l4 4-4 4M17 14H3M7 10l-4 4 4 4',
  events: 'M2 10h3l3-7 4 14 3-7h3',
  audit: 'M5 2h7l4 4v12H5zM12 2v4h4M8 10h5M8 13h5',
  certificates: 'M10 2l6 3v5c0 4-3 7-6 8-3-1-6-4-6-8V5zM7 10l2 2 4-4',
  explain: 'M9 3a6 6 0 1 0 0 12A6 6 0 0 0 9 3zM14 14l4 4M7.5 7.500a1.7 1.7 0 1 1 2.2 1.600c-.5.2-.7.5-.7 1.200M9 12v.2',
  server: 'M3 3h14v6H3zM3 11h14v6H3zM6 6h.1M6 14h.1M10 6h4M10 14h4',
  ok: 'M4 10l4 4 8-8',
  bad: 'M5 5l10 10M15 5L5 15',
  warn: 'M10 3 2 17h16zM10 8v4M10 14.500v.2',
  sun: 'M10 6a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM10 1v2M10 17v2M1 10h2M17 10h2M3.6 3.6 5 5M15 15l1.4 1.400M3.6 16.4 5 15M15 5l1.4-1.4',
  moon: 'M16 12A7 7 0 0 1 8 4a7 7 0 1 0 8 8z',
  auto: 'M10 3a7 7 0 1 0 0 14zM10 3a7 7 0 0 1 0 14',
}

// Makes an icon. It is decoration: words stand beside it, or the element around it has a label.
export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg')
  const path = document.createElementNS(SVG, 'path')
  svg.setAttribute('viewBox', '0 0 20 20')
  svg.setAttribute('class', 'icon')
  svg.setAttribute('aria-hidden', 'true')
  path.setAttribute('d', PATHS[name])
  svg.append(path)
  return svg
}

// A state in words, with a colour and a sign: colour alone tells nothing to some readers.
export function badge(kind, words, title) {
  const sign = { good: 'ok', bad: 'bad', warn: 'warn' }[kind]
  return h('span', { class: `badge ${kind}`, title }, sign && icon(sign), words)
}
