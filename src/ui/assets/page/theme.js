// @ts-check
/**
 * Light, dark, or as the system has it. The choice is kept in a cookie, so that the server sends the page in its colours
 * (src/ui/page.rs); it says nothing else.
 */

import { h } from '../elements/dom.js';
import { icon } from '../elements/icons.js';
import { at, base } from './base.js';

const COOKIE = 'fastagency_theme';
const YEAR_S = 365 * 24 * 60 * 60;
const THEMES = /** @type {const} */ (['auto', 'light', 'dark']);
const ICONS = /** @type {const} */ ({ auto: 'theme', light: 'sun', dark: 'moon' });
const WORDS = { auto: 'as the system', light: 'light', dark: 'dark' };
const SHORT = { auto: 'Auto', light: 'Light', dark: 'Dark' };

/** @typedef {typeof THEMES[number]} Theme */

const otherTabs = new BroadcastChannel(COOKIE + base);

export function themeButton() {
  const words = h('span', { class: 'theme-words' });
  const button = h('button', { type: 'button', class: 'quiet-button', id: 'theme' });
  const draw = () => {
    const theme = chosenTheme();
    words.textContent = SHORT[theme];
    button.title = `Colours: ${WORDS[theme]}`;
    button.setAttribute('aria-label', `${SHORT[theme]} (colours: ${WORDS[theme]})`);
    button.replaceChildren(icon(ICONS[theme]), words);
  };
  button.addEventListener('click', () => {
    choose(THEMES[(THEMES.indexOf(chosenTheme()) + 1) % THEMES.length]);
    draw();
  });
  otherTabs.addEventListener('message', ({ data }) => {
    show(data);
    draw();
  });
  draw();
  return button;
}

/** @returns {Theme} */
function chosenTheme() {
  return THEMES.find((theme) => theme === document.documentElement.dataset.theme) ?? 'auto';
}

/** @param {Theme} theme */
function choose(theme) {
  show(theme);
  otherTabs.postMessage(theme);
  try {
    document.cookie = `${COOKIE}=${theme}; Path=${at('/')}; SameSite=Lax; Max-Age=${theme === 'auto' ? 0 : YEAR_S}`;
  } catch { /* then it lasts until the reload */ }
}

/** @param {Theme} theme */
function show(theme) {
  if (theme === 'auto') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}
