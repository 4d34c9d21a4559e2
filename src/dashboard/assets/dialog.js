// Questions before an action, and short notices after it.

import { fill, h } from './dom.js'

// Asks before something is done. `fields` are elements of the form; `act(form)` does it, and its failure is shown in the
// dialog, which stays open. Resolves to what `act` returned, or undefined if the answer was no.
export function confirm({ title, words, fields = [], button, danger = false, wide = false, act }) {
  return new Promise(resolve => {
    const failure = h('p', { class: 'failure', role: 'alert', hidden: true })
    const go = h('button', { class: danger ? 'danger' : 'primary', value: 'go' }, button)
    let result
    const form = h('form', { method: 'dialog', onsubmit: submit },
      h('h2', { id: 'dialog-title' }, title),
      [].concat(words ?? []).map(text => (text instanceof Node ? text : h('p', {}, text))),
      fields, failure,
      h('div', { class: 'buttons' },
        h('button', { type: 'button', onclick: () => dialog.close() }, 'Cancel'), go))
    const dialog = h('dialog', { class: wide && 'wide', 'aria-labelledby': 'dialog-title', onclose: () => { dialog.remove(); resolve(result) } }, form)

    async function submit(event) {
      event.preventDefault()
      go.disabled = true
      failure.hidden = true
      try {
        result = await act(form) ?? true
        dialog.close()
      } catch (error) {
        fill(failure, error.message)
        failure.hidden = false
        go.disabled = false
      }
    }
    document.body.append(dialog)
    dialog.showModal()
  })
}

// Shows something in a dialog of its own.
export function show(title, ...content) {
  const dialog = h('dialog', { class: 'wide', 'aria-labelledby': 'dialog-title', onclose: () => dialog.remove() },
    h('h2', { id: 'dialog-title' }, title), h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': title }, content),
    h('form', { method: 'dialog', class: 'buttons' }, h('button', { class: 'primary' }, 'Close')))
  document.body.append(dialog)
  dialog.showModal()
}

const NOTICE_MS = 6000
const NOTICES_MAX = 4

export function notice(words, kind = 'good') {
  const toasts = document.getElementById('toasts')
  const toast = h('div', { class: `toast ${kind}` }, words)
  toasts.append(toast)
  while (toasts.children.length > NOTICES_MAX) toasts.firstChild.remove()
  setTimeout(() => toast.remove(), NOTICE_MS)
}

// A box to tick, with its words.
export function check(words, box) {
  return h('label', { class: 'check' }, box, words)
}

// A field of a form with its label and a hint.
export function field(label, input, hint) {
  const id = `field-${label.toLowerCase().replace(/[^a-z0-9]+/g, '-')}`
  input.id = id
  if (hint) input.setAttribute('aria-describedby', `${id}-hint`)
  return h('div', { class: 'field' }, h('label', { for: id }, label), input, hint && h('span', { class: 'hint', id: `${id}-hint` }, hint))
}
