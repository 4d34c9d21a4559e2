// Sets the colours before the first paint. Only this choice is kept in the browser.
try {
  const chosen = localStorage.getItem('theme')
  if (chosen === 'light' || chosen === 'dark') document.documentElement.dataset.theme = chosen
} catch { /* Storage may be forbidden; the colours of the system are used then. */ }
