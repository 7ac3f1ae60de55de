// @ts-check
// A classic script in the head, on purpose: it runs before the first paint, so that a dark page never flashes white.
try {
  const theme = localStorage.getItem('fastagency.theme');
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
} catch { /* storage is forbidden: as the system has it */ }
