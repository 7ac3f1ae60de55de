// @ts-check
// A classic script in the head, on purpose: it runs before the first paint, so that a framed page never shows the list, and one that
// opens a conversation not the start. The chosen colours come with the page (theme.js); a site that frames it may want others.
{
  const { dataset } = document.documentElement;
  const query = new URLSearchParams(location.search);
  if (location.pathname.endsWith('/') && !query.has('workflow')) dataset.opens = 'start';
  if (window.parent !== window) {
    dataset.framed = '';
    const theme = query.get('theme');
    if (theme === 'light' || theme === 'dark') dataset.theme = theme;
  }
}
