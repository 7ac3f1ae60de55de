// @ts-check
/** Light, dark, or as the system has it. before-paint.js applies the choice before the first paint. */

import { h } from './dom.js';
import { icon } from './icons.js';

const KEY = 'fastagency.theme';
const THEMES = /** @type {const} */ (['auto', 'light', 'dark']);
const ICONS = /** @type {const} */ ({ auto: 'theme', light: 'sun', dark: 'moon' });
const WORDS = { auto: 'as the system', light: 'light', dark: 'dark' };
const SHORT = { auto: 'Auto', light: 'Light', dark: 'Dark' };

/** @typedef {typeof THEMES[number]} Theme */

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
  window.addEventListener('storage', (event) => {
    if (event.key !== KEY) return;
    show(chosenTheme());
    draw();
  });
  draw();
  return button;
}

/** @returns {Theme} */
function chosenTheme() {
  try {
    return THEMES.find((theme) => theme === localStorage.getItem(KEY)) ?? 'auto';
  } catch {
    return 'auto';
  }
}

/** @param {Theme} theme */
function choose(theme) {
  try {
    localStorage.setItem(KEY, theme);
  } catch { /* then it lasts until the reload */ }
  show(theme);
}

/** @param {Theme} theme */
function show(theme) {
  if (theme === 'auto') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}
