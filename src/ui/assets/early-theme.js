// @ts-check
// A classic script in the head, on purpose: it runs before the first paint, so that a dark page never flashes white and a framed
// one never shows the list.
try {
  const framed = window.parent !== window;
  if (framed) document.documentElement.dataset.framed = '';
  const theme = (framed && new URLSearchParams(location.search).get('theme')) || localStorage.getItem('fastagency.theme');
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
} catch { /* storage is forbidden: as the system has it */ }
