// @ts-check
// A classic script in the head, on purpose: it runs before the first paint, so that a dark page never flashes white, a framed
// one never shows the list, and one that opens a conversation not the start.
try {
  const { dataset } = document.documentElement;
  const query = new URLSearchParams(location.search);
  if (location.pathname === '/' && !query.has('workflow')) dataset.opens = 'start';
  const framed = window.parent !== window;
  if (framed) dataset.framed = '';
  const theme = (framed && query.get('theme')) || localStorage.getItem('fastagency.theme');
  if (theme === 'light' || theme === 'dark') dataset.theme = theme;
} catch { /* storage is forbidden: as the system has it */ }
