// A table that is sorted and paged, and keeps its rows' elements while their content stays the same.

import { fill, h } from './dom.js'
import { number } from './format.js'

const PAGE = 50

// `columns`: { label, cell(row) → node or text, sort(row) → number or text, kind: 'number' | 'wide' | … }.
// `key(row)` identifies a row, `signature(row)` changes when it has to be drawn anew.
export class Table {
  constructor({ label, columns, key, signature = row => JSON.stringify(row), empty, sort, pageSize = PAGE }) {
    Object.assign(this, { columns, key, signature, empty, pageSize })
    this.sorted = sort ?? null
    this.page = 0
    this.rows = []
    this.known = new Map()
    this.head = h('tr', { role: 'row' }, columns.map(column => this.heading(column)))
    this.body = h('tbody', { role: 'rowgroup' })
    this.foot = h('div', { class: 'pager' })
    this.element = h('div', { class: 'table' },
      h('table', { role: 'table', 'aria-label': label }, h('thead', { role: 'rowgroup' }, this.head), this.body),
      this.foot)
  }

  heading(column) {
    const kind = column.kind ?? ''
    if (!column.sort) return h('th', { role: 'columnheader', scope: 'col', class: kind }, column.label || h('span', { class: 'unseen' }, column.name ?? 'Actions'))
    const button = h('button', { type: 'button', onclick: () => this.sortBy(column) }, column.label)
    return h('th', { role: 'columnheader', scope: 'col', class: kind, 'aria-sort': 'none' }, button)
  }

  sortBy(column) {
    const down = this.sorted?.column === column.label && !this.sorted.down
    this.sorted = { column: column.label, down }
    this.page = 0
    this.draw()
  }

  set(rows) {
    this.rows = rows
    this.draw()
  }

  draw() {
    const rows = this.inOrder()
    const pages = Math.max(1, Math.ceil(rows.length / this.pageSize))
    this.page = Math.min(this.page, pages - 1)
    const shown = rows.slice(this.page * this.pageSize, (this.page + 1) * this.pageSize)
    const focused = this.body.contains(document.activeElement) ? document.activeElement.getAttribute('data-focus') : null
    const known = new Map()
    const elements = shown.map(row => {
      const key = this.key(row)
      const signature = this.signature(row)
      const before = this.known.get(key)
      const element = before?.signature === signature ? before.element : this.row(row)
      known.set(key, { signature, element })
      return element
    })
    this.known = known
    if (elements.length === 0) elements.push(h('tr', { role: 'row' }, h('td', { role: 'cell', colspan: this.columns.length, class: 'none' }, this.empty)))
    const same = elements.length === this.body.children.length && elements.every((element, at) => element === this.body.children[at])
    if (!same) this.body.replaceChildren(...elements)
    if (focused && !this.body.contains(document.activeElement)) this.body.querySelector(`[data-focus="${CSS.escape(focused)}"]`)?.focus()
    this.drawHead()
    this.drawFoot(rows.length, pages)
  }

  inOrder() {
    const column = this.sorted && this.columns.find(one => one.label === this.sorted.column)
    if (!column) return this.rows
    const sign = this.sorted.down ? -1 : 1
    const order = (a, b) => (typeof a === 'number' && typeof b === 'number' ? a - b : String(a).localeCompare(String(b)))
    return this.rows.map(row => [column.sort(row), row]).sort((a, b) => sign * order(a[0], b[0])).map(pair => pair[1])
  }

  row(row) {
    return h('tr', { role: 'row' }, this.columns.map(column =>
      h('td', { role: 'cell', class: column.kind, 'data-label': column.label }, column.cell(row))))
  }

  drawHead() {
    this.columns.forEach((column, at) => {
      if (!column.sort) return
      const order = this.sorted?.column === column.label ? (this.sorted.down ? 'descending' : 'ascending') : 'none'
      this.head.children[at].setAttribute('aria-sort', order)
    })
  }

  drawFoot(count, pages) {
    const signature = `${count}/${pages}/${this.page}`
    if (signature === this.footSignature) return
    this.footSignature = signature
    const focused = this.foot.contains(document.activeElement) ? document.activeElement.textContent : null
    if (pages === 1) return fill(this.foot)
    const go = (words, page, off) => h('button', { type: 'button', class: 'small', disabled: off, onclick: () => { this.page = page; this.draw(); this.element.scrollIntoView({ block: 'nearest' }) } }, words)
    fill(this.foot,
      go('Previous', this.page - 1, this.page === 0),
      h('span', { class: 'muted' }, `${number(this.page * this.pageSize + 1)} to ${number(Math.min(count, (this.page + 1) * this.pageSize))} of ${number(count)}`),
      go('Next', this.page + 1, this.page === pages - 1))
    if (focused) [...this.foot.querySelectorAll('button')].find(button => button.textContent === focused && !button.disabled)?.focus()
  }
}
