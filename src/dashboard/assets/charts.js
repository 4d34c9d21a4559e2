// Charts over the last minutes, drawn by uPlot in the colours of the page.

import uPlot from './uplot.js'
import { h } from './dom.js'

const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim()

// A chart with its legend. `lines`: { label, of(sample), colour, fill, show(value) }.
export class Chart {
  constructor({ title, lines, height = 150 }) {
    Object.assign(this, { lines, height })
    this.values = lines.map(line => h('b', { class: 'figure' }, '–'))
    const legend = lines.map((line, at) => h('span', { class: `key ${line.colour}` }, h('i', { class: 'swatch' }), line.label, ' ', this.values[at]))
    this.place = h('div', { class: 'plot', 'aria-hidden': 'true' })
    this.element = h('section', { class: 'card chart', 'aria-label': title }, h('div', { class: 'chart-head' }, h('h2', {}, title), h('div', { class: 'legend' }, legend)), this.place)
    this.sizes = new ResizeObserver(() => this.fit())
    this.sizes.observe(this.place)
  }

  options(width) {
    const font = '11px system-ui, sans-serif'
    const axis = { stroke: colour('--muted'), font, grid: { stroke: colour('--line'), width: 1 }, ticks: { show: false } }
    const show = this.lines[0].show
    return {
      width, height: this.height,
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 5 } },
      scales: { x: { time: true }, y: { range: (_, least, most) => [0, Math.max(most ?? 0, this.lines[0].least ?? 1) * 1.15] } },
      axes: [
        { ...axis, grid: { show: false }, space: 70, size: 24, values: [[60, '{HH}:{mm}', null, null, null, null, null, null, 1], [1, '{HH}:{mm}:{ss}', null, null, null, null, null, null, 1]] },
        { ...axis, size: 54, space: 34, values: (_, splits) => splits.map(show) },
      ],
      series: [{}, ...this.lines.map(line => ({
        label: line.label, stroke: colour(`--${line.colour}`), width: 1.5, spanGaps: false, points: { show: false },
        fill: line.fill && `${colour(`--${line.colour}`)}22`,
      }))],
      hooks: { setCursor: [plot => this.tell(plot.cursor.idx)] },
    }
  }

  set(samples) {
    this.samples = samples
    this.data = [samples.map(sample => sample.time), ...this.lines.map(line => samples.map(line.of))]
    if (this.plot) this.plot.setData(this.data)
    else this.fit()
    if (!this.plot?.cursor || this.plot.cursor.left < 0) this.tell(samples.length - 1)
  }

  tell(at) {
    const sample = this.samples?.[at ?? this.samples.length - 1]
    this.lines.forEach((line, index) => {
      const value = sample && line.of(sample)
      this.values[index].textContent = value === null || value === undefined ? '–' : line.show(value)
    })
  }

  fit() {
    const width = Math.floor(this.place.clientWidth)
    if (width < 50 || !this.data) return
    if (this.plot) this.plot.setSize({ width, height: this.height })
    else this.plot = new uPlot(this.options(width), this.data, this.place)
  }

  // Draws anew in the colours of the present theme.
  recolour() {
    this.plot?.destroy()
    this.plot = null
    this.fit()
  }

  destroy() {
    this.sizes.disconnect()
    this.plot?.destroy()
  }
}
