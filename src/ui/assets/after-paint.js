// @ts-check
// A classic script behind everything that is seen first: the modules are asked for once the browser has shown the page, because
// forty requests would hold up the first picture. They stand in templates, which fetch nothing by themselves.
(() => {
  const wanted = /\/runs\/[^/]+$/.test(location.pathname) ? ['modules', 'modules-of-runs'] : ['modules'];
  const load = () => {
    for (const id of wanted.splice(0)) {
      const place = document.getElementById(id);
      if (place instanceof HTMLTemplateElement) document.body.append(place.content);
    }
  };
  // A tab that nobody sees paints nothing, but its title may say that a conversation waits.
  if (document.visibilityState === 'hidden') load();
  new PerformanceObserver(load).observe({ type: 'paint', buffered: true });
  // Where a browser does not tell.
  setTimeout(load, 400);
})();
