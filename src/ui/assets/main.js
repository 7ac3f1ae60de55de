// @ts-check
/** Boots the page and shows what the address says: `/` the start, `/runs/<id>` a conversation. */

import { keepAboveKeyboard } from './page/above-keyboard.js';
import { drawAccount } from './session/account.js';
import { getConfig } from './gateway/api.js';
import { connectionNotice } from './page/connection-notice.js';
import { byId, h, legible } from './elements/dom.js';
import { at, pathIn } from './page/base.js';
import { homePath, isFramed, mayStartAtOnce, runPath, tellSite } from './page/framed.js';
import { icon } from './elements/icons.js';
import { listenToKeys, showKeys } from './page/keys.js';
import { noticesButton, noticesOf } from './list/notices.js';
import { runsList, waitsForReader } from './list/runs-list.js';
import { beginSession } from './session/session.js';
import { openStart } from './page/start.js';
import { themeButton } from './page/theme.js';
import { fetchTitles, onTitles } from './gateway/workflow-titles.js';

const main = byId('conversation', HTMLElement);
const bar = byId('bar', HTMLElement);
const sidebar = byId('sidebar', HTMLElement);
/** Until now it was only drawn: a browser looks for a field to fill in by itself before it shows a page that has one. */
const search = h('input', { id: 'search', type: 'search', dir: 'auto', placeholder: 'Search titles', 'aria-label': 'Search titles and workflows of the conversations', autocomplete: 'off' });
byId('search-field', HTMLElement).replaceWith(search);
const drawerButton = byId('open-drawer', HTMLButtonElement);
const veil = byId('veil', HTMLElement);
const narrow = matchMedia('(max-width: 52rem)');
const showConnection = connectionNotice(byId('connection', HTMLElement));

/** The start has come by then; the modules of a conversation must not be in its way. */
const RUNS_AFTER_MS = 300;

let appTitle = 'FastAgency';
let waitingRuns = 0;
/** Whether the run that is shown has ended, as its log has it. */
let isEnded = false;
/** @type {{close: () => void} | null} */
let open = null;
/** @type {import('./run/run-page.js').RunPage | null} */
let runPage = null;
/** @type {string | null} */
let currentRun = null;

const notice = noticesOf((run) => navigate(runPath(run)));
const runs = runsList({ list: byId('runs', HTMLElement), search }, {
  isShown: !isFramed,
  onRuns: (all) => {
    notice(all);
    waitingRuns = all.filter(waitsForReader).length;
    const current = all.find((run) => run.id === currentRun);
    if (current?.title) runPage?.setTitle(current.title);
    drawDocumentTitle();
  },
  onLeave: (to) => {
    if (closeDrawer()) return;
    if (to?.isConnected) to.focus();
    if (sidebar.contains(document.activeElement)) main.focus();
  },
});

/** @param {import('./gateway/event-stream.js').Connection} connection */
function onConnection(connection) {
  showConnection(connection);
  // The list may say that nobody can be reached.
  if (connection === 'connected') runs.refresh();
  // Without its log, the list knows better how the run stands; an end is final.
  else if (!isEnded) runs.setStanding(null);
}

/** @param {boolean} isLink whether the address was opened, not clicked to */
function show(isLink) {
  open?.close();
  open = runPage = currentRun = null;
  isEnded = false;
  onConnection('closed');
  const path = pathIn(location) ?? '/';
  const run = /^\/runs\/([^/]+)\/?$/.exec(path)?.[1];
  closeDrawer();
  if (run) showRun(decodeURIComponent(run));
  else if (path === '/inbox') {
    drawBarOfStart();
    open = laterInbox((inbox) => inbox.openInbox(main));
  }
  else {
    drawBarOfStart();
    const query = new URLSearchParams(location.search);
    open = openStart(main, query, isLink && mayStartAtOnce(query), {
      onNavigate: (path) => navigate(path),
      onStarted: (started, replace) => showStarted(started, replace),
    });
  }
  runs.setCurrent(currentRun);
  drawDocumentTitle();
}

/** @param {string} run */
async function showRun(run) {
  currentRun = run;
  let isGone = false;
  open = { close: () => { isGone = true; } };
  const module = await import('./run/run-page.js').catch(() => null);
  if (isGone) return;
  if (!module) {
    drawBarOfStart();
    main.replaceChildren(h('div', { class: 'scroller' }, h('div', { class: 'column' }, h('div', { class: 'notice is-problem', role: 'alert' }, icon('warning'),
      h('div', null, h('p', { class: 'problem-words' }, 'The server cannot be reached; check your connection and try again.'),
        h('button', { type: 'button', class: 'secondary-button', onclick: () => location.reload() }, 'Try again'))))));
    return;
  }
  open = runPage = module.openRun({ main, bar }, run, {
    onConnection,
    onDrawn: () => drawDocumentTitle(),
    onStanding: (standing) => {
      isEnded = standing.state === 'ended';
      runs.setStanding(standing);
    },
    onChanged: () => runs.refresh(),
    onMissing: () => drawBarOfStart(),
    onHome: () => goHome(),
    onStarted: (started) => showStarted(started, false),
    onNavigate: (path) => navigate(path),
  });
  drawDocumentTitle();
}

/** The inbox comes when it is needed: few readers have one. @param {(inbox: typeof import('./list/inbox.js')) => {close: () => void} | void} act */
function laterInbox(act) {
  let isGone = false;
  /** @type {{close: () => void} | void} */
  let opened;
  import('./list/inbox.js').then((inbox) => { if (!isGone) opened = act(inbox); }, () => { /* the links and the list are there without it */ });
  return { close: () => { isGone = true; opened?.close(); } };
}

/** @param {import('./gateway/api.js').Run} run @param {boolean} replace */
function showStarted(run, replace) {
  tellSite('started', run.id);
  navigate(runPath(run.id), replace);
  runs.refreshNow();
}

function goHome() {
  tellSite('left');
  navigate(homePath);
}

/** @param {string} path of the page @param {boolean} [replace] */
function navigate(path, replace = false) {
  // `clicked` outlives a reload: a workflow that was opened by a click is not started by one.
  history[replace ? 'replaceState' : 'pushState']({ clicked: true }, '', at(path));
  show(false);
  if (!main.contains(document.activeElement)) main.focus();
}

/** The title stands in the list, too; here it is for a phone, where the list is away. */
function drawBarOfStart() {
  bar.replaceChildren(h('p', { class: 'bar-title only-narrow' }, appTitle));
}

function drawDocumentTitle() {
  const title = runPage?.title();
  const own = title ? `${title} · ` : '';
  document.title = legible(`${waitingRuns > 0 ? `(${waitingRuns}) ` : ''}${own}${appTitle}`);
}

function closeDrawer() {
  const wasOpen = document.body.classList.contains('drawer-is-open');
  document.body.classList.remove('drawer-is-open');
  drawerButton.setAttribute('aria-expanded', 'false');
  // What is outside the screen must be outside the tab order, too.
  sidebar.inert = narrow.matches;
  if (wasOpen) drawerButton.focus();
  return wasOpen;
}

function openDrawer() {
  sidebar.inert = false;
  document.body.classList.add('drawer-is-open');
  drawerButton.setAttribute('aria-expanded', 'true');
}

document.addEventListener('click', (event) => {
  const link = event.target instanceof Element ? event.target.closest('a') : null;
  const isPlain = event instanceof MouseEvent && event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
  if (!link || !isPlain || link.target || link.hasAttribute('download') || link.origin !== location.origin) return;
  const path = pathIn(link);
  if (path === null || (!['/', '/inbox'].includes(path) && !path.startsWith('/runs/'))) return;
  if (link.hash && link.pathname === location.pathname) return;
  event.preventDefault();
  navigate(path + link.search);
});
window.addEventListener('popstate', () => show(false));
drawerButton.addEventListener('click', () => { openDrawer(); search.focus(); });
byId('close-drawer', HTMLButtonElement).addEventListener('click', () => closeDrawer());
veil.addEventListener('click', () => closeDrawer());
narrow.addEventListener('change', () => closeDrawer());

const modulesOfRuns = document.importNode(byId('modules-of-runs', HTMLTemplateElement).content, true);
// These are relative to the address that the page came by, and the first click changes it.
for (const link of [...document.querySelectorAll('#app-title, #new, [rel=icon]'), ...modulesOfRuns.querySelectorAll('link')]) {
  link.setAttribute('href', /** @type {HTMLLinkElement} */ (link).href);
}
drawerButton.append(icon('menu'));
drawerButton.disabled = false;
byId('close-drawer', HTMLButtonElement).append(icon('close'));
byId('new', HTMLAnchorElement).prepend(icon('plus'));
byId('search-icon', HTMLElement).append(icon('search'));
byId('tools', HTMLElement).append(themeButton(), noticesButton() ?? '',
  h('button', { type: 'button', class: 'quiet-button', id: 'show-keys', onclick: () => showKeys() }, icon('keys'), 'Keys'));

keepAboveKeyboard();
listenToKeys({
  focusInput: () => { if (!runPage?.focusQuestion()) focusSearch(); },
  searchRuns: () => focusSearch(),
  stop: () => { runPage?.stop(); },
  newConversation: () => goHome(),
  choose: (position) => runPage?.choose(position) ?? false,
  closeSomething: () => closeDrawer() || (runPage?.closeMenu() ?? false),
});

function focusSearch() {
  if (narrow.matches) openDrawer();
  search.focus();
  search.select();
}

const configured = getConfig().then((config) => {
  appTitle = config.title || appTitle;
  byId('app-title', HTMLElement).textContent = appTitle;
  if (config.logo) byId('logo', HTMLElement).replaceChildren(h('img', { src: at(config.logo), alt: '' }));
  byId('footer', HTMLElement).replaceChildren(
    ...(config.footer ? [h('p', { dir: 'auto' }, config.footer)] : []),
    ...(config.links?.length > 0 ? [h('ul', null, ...config.links.map(({ title, url }) => h('li', null, h('a', { href: url, target: '_blank', rel: 'noopener' }, title))))] : []));
  byId('version', HTMLElement).textContent = config.version ? `Version ${config.version}` : '';
  if (!currentRun) drawBarOfStart();
  drawDocumentTitle();
}, () => { /* the page works without its title; what else is wrong, the lists say */ });

beginSession({
  onMe: (me) => {
    drawAccount(byId('account', HTMLElement), me);
    if (me.user?.answers_others && !isFramed) laterInbox((inbox) => inbox.inboxLink(byId('inbox', HTMLElement)));
  },
  // In the name of the house, which comes at the same time.
  show: (signingIn) => {
    const shown = Promise.all([import('./session/sign-in.js'), configured]).then(([{ showSignIn }]) => showSignIn(signingIn));
    return () => { shown.then((takeAway) => takeAway()); };
  },
});
onTitles(() => { runPage?.redraw(); drawDocumentTitle(); });
show(!history.state?.clicked);
if (currentRun) fetchTitles();
// While a person reads the cards, the modules of a run load, so a run opens at once.
else setTimeout(() => document.body.append(modulesOfRuns), RUNS_AFTER_MS);
