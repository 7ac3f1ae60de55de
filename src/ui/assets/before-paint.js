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
  // Without its modules the page would stay empty, without a word. A proxy that passes on only a part of the page's paths leaves them to
  // another server, and so does an address without the slash at its end.
  addEventListener('error', ({ target }) => {
    if (!(target instanceof HTMLScriptElement)) return;
    const explain = () => {
      const place = document.createElement('p');
      place.className = 'start';
      place.role = 'alert';
      place.textContent = `This page cannot start: its file ${target.src} did not load. Reload the page. If that does not help, check the address: `
        + `below a path it ends with a slash, like ${location.origin}/agents/. A proxy must pass on all that is below that path (ui.public_url).`;
      document.body.className = 'alone';
      document.body.replaceChildren(place);
    };
    if (document.readyState === 'loading') addEventListener('DOMContentLoaded', explain);
    else explain();
  }, true);
}
