// @ts-check
/**
 * Inserts the HTML that the server rendered and made safe, the only HTML that this page ever inserts, and equips it: code with
 * its language and a copy button, tables that scroll by themselves, links that cannot reach back.
 */

import { h, legible } from '../elements/dom.js';
import { withAddresses } from './addresses.js';
import { copyButton } from './copying.js';
import { direct } from './direction.js';
import { FORM_ONLY } from '../page/framed.js';
import { highlight } from './highlight.js';
import { bytes, counted } from './words.js';

/** So much of a text that the server did not render is shown at once. */
const SHOWN_AT_ONCE = 20_000;
/** A text of more blocks than these is laid out where it is looked at only, so many at a time. */
const MANY_BLOCKS = 80;
const BLOCKS_OF_A_PART = 30;
/** A longer formula is shown as it was written. */
const LONGEST_FORMULA = 4_096;

/** Shows `html`, or `text` as it is where the server gave none. @param {string | null} html @param {string} text */
export function richText(html, text) {
  if (html === null) return plainText(text);
  // A template is inert: a picture in it is not fetched before it was looked at.
  const template = h('template');
  template.innerHTML = html;
  const { content } = template;
  purify(content);
  for (const image of content.querySelectorAll('img')) equipImage(image);
  direct(content);
  equipMath(content);
  for (const pre of content.querySelectorAll('pre')) if (!pre.querySelector('.language-math')) equipCode(pre);
  for (const table of content.querySelectorAll('table')) equipTable(table);
  for (const item of content.querySelectorAll('li')) if (/^[☐☑] /.test(item.textContent ?? '')) item.classList.add('task');
  for (const link of content.querySelectorAll('a[href]')) equipLink(/** @type {HTMLAnchorElement} */ (link));
  return h('div', { class: 'prose' }, ...(content.childElementCount > MANY_BLOCKS ? partsOf(content) : [content]));
}

/** @param {DocumentFragment} content */
function partsOf(content) {
  const parts = [];
  while (content.firstChild) {
    const part = h('div', { class: 'prose part' });
    while (content.firstChild && part.childElementCount < BLOCKS_OF_A_PART) part.append(content.firstChild);
    parts.push(part);
  }
  return parts;
}

/** What the server lets through (src/gateway/markdown.rs), and with which attributes. */
const ELEMENTS = new Set(['A', 'BLOCKQUOTE', 'BR', 'CODE', 'DEL', 'DIV', 'EM', 'H1', 'H2', 'H3', 'H4', 'H5', 'H6', 'HR', 'IMG', 'LI', 'OL', 'P', 'PRE', 'S',
  'SPAN', 'STRONG', 'SUB', 'SUP', 'TABLE', 'TBODY', 'TD', 'TH', 'THEAD', 'TR', 'UL']);
const ATTRIBUTES = new Set(['href', 'title', 'class', 'start', 'align', 'src', 'alt', 'colspan', 'rowspan']);

/** A second lock on a door that the server has locked: a page that is given to customers must not hang on one of them. @param {DocumentFragment} content */
function purify(content) {
  for (const element of content.querySelectorAll('*')) {
    if (!(element instanceof HTMLElement && ELEMENTS.has(element.tagName))) {
      element.replaceWith(element.textContent ?? '');
      continue;
    }
    for (const { name } of [...element.attributes]) if (!ATTRIBUTES.has(name)) element.removeAttribute(name);
    if (!/^(https?:|mailto:|#)/i.test(element.getAttribute('href') ?? '#')) element.removeAttribute('href');
  }
}

/** The whole texts of places that show only a beginning; an export needs them. @type {WeakMap<Element, string>} */
const cutTexts = new WeakMap();

/** The whole text of a place that shows its beginning; null where everything stands there. @param {Element} place */
export function cutTextOf(place) {
  return cutTexts.get(place) ?? null;
}

/**
 * A text without any rendering. To lay out a megabyte in one line takes seconds, so a reader must ask for a long text.
 * @param {string} text @param {number} [shownAtOnce] characters @param {number} [linesAtOnce]
 */
export function plainText(text, shownAtOnce = SHOWN_AT_ONCE, linesAtOnce = Infinity) {
  const place = h('div', { class: 'prose plain', dir: 'auto' });
  const lines = text.split('\n');
  const isHigh = lines.length > linesAtOnce * 1.2;
  // Not for a line or two.
  if (text.length <= shownAtOnce * 1.2 && !isHigh) {
    place.append(...linked(legible(text)));
    return place;
  }
  const beginning = (isHigh ? lines.slice(0, linesAtOnce).join('\n') : text).slice(0, shownAtOnce);
  const all = h('button', { type: 'button', class: 'secondary-button', onclick: () => {
    cutTexts.delete(place);
    place.replaceChildren(legible(text));
    // The button that had the focus is gone.
    place.tabIndex = -1;
    place.focus({ preventScroll: true });
  } }, `Show all of it (${isHigh ? counted(lines.length, 'line') : bytes(text.length)})`);
  place.replaceChildren(...linked(legible(beginning)), '… ', h('span', { class: 'rest-of-text' }, all));
  cutTexts.set(place, text);
  return place;
}

/** @param {string} text */
const linked = (text) => withAddresses(text, ({ words, target }) => {
  const link = h('a', { href: target, dir: 'ltr' }, words);
  equipLink(link);
  // A name before an @ looks like the host, and a host with letters beyond ASCII like another one.
  const isPlain = link.protocol === 'mailto:' || (link.username === '' && link.hostname.split('.').every((label) => !label.startsWith('xn--')));
  return isPlain ? [link] : [link, ` (→ ${link.protocol}//${link.host}${link.pathname})`];
});

/** A sentence that may name things in `backticks`: these are drawn as code. @param {string} text @returns {(string | Node)[]} */
export function withCode(text) {
  return text.split(/`([^`\n]+)`/).map((part, position) => position % 2 ? h('code', null, part) : part);
}

/**
 * A block of code, a JSON value for instance; `isWhole` is false while it is being written. A value has a title, which says more than
 * its language.
 * @param {string} text @param {string} language @param {boolean} [isWhole] @param {string} [title]
 */
export function codeBlock(text, language, isWhole = true, title = '') {
  const code = h('code', { class: language ? `language-${language}` : null }, text);
  const pre = h('pre', null, code);
  if (!isWhole) return h('div', { class: 'code-block', dir: 'ltr' }, h('div', { class: 'code-head' }, h('span', null, language)), pre);
  const holder = h('div', null, pre);
  equipCode(pre, title);
  return /** @type {HTMLElement} */ (holder.firstElementChild);
}

/** Most conversations have no formula, so what draws them comes only when there is one. @param {DocumentFragment} content */
function equipMath(content) {
  const formulas = [...content.querySelectorAll('code[class^="language-math"]')];
  if (formulas.length === 0) return;
  // Without it they stay as they were written.
  import('./math.js').then(({ mathOf }) => formulas.forEach((code) => drawFormula(code, mathOf)), () => {});
}

/** One that cannot be drawn stays as it was written. @param {Element} code @param {typeof import('./math.js').mathOf} mathOf */
function drawFormula(code, mathOf) {
  const block = code.parentElement instanceof HTMLPreElement ? code.parentElement : null;
  const isDisplay = block !== null || code.className === 'language-math-display';
  const written = code.textContent ?? '';
  const math = written.length > LONGEST_FORMULA ? null : mathOf(written, isDisplay);
  if (!math) {
    if (block) equipCode(block);
    return;
  }
  // A wide one scrolls by itself, as code does.
  (block ?? code).replaceWith(h('span', isDisplay ? { class: 'formula', dir: 'ltr', tabindex: 0, role: 'group', 'aria-label': 'Formula' } : { dir: 'ltr' }, math));
}

/** @param {HTMLPreElement} pre @param {string} [title] */
function equipCode(pre, title = '') {
  const code = pre.querySelector('code') ?? pre;
  const language = (/(?:^|\s)(?:language|lang)-([\w+#.-]+)/.exec(code.className)?.[1] ?? '').toLowerCase();
  const text = (code.textContent ?? '').replace(/\n$/, '');
  highlight(code, language);
  // It scrolls sideways by itself, so the keyboard must be able to reach it.
  pre.tabIndex = 0;
  pre.setAttribute('role', 'group');
  pre.setAttribute('aria-label', title || (language ? `Code in ${language}` : 'Code'));
  const block = h('div', { class: 'code-block', dir: 'ltr' },
    h('div', { class: 'code-head' }, h('span', title ? { class: 'code-title' } : null, title || language), copyButton(title ? `Copy: ${title}` : 'Copy this code', () => text)));
  pre.replaceWith(block);
  block.append(pre);
}

/** @param {HTMLTableElement} table */
function equipTable(table) {
  const frame = h('div', { class: 'table-frame', tabindex: 0, role: 'group', 'aria-label': 'Table' });
  table.replaceWith(frame);
  frame.append(table);
}

/** @param {HTMLAnchorElement} link */
function equipLink(link) {
  if (link.getAttribute('href')?.startsWith('#')) return;
  // A link in a stranger's text leads to a form here, and starts nothing, whichever way it is opened.
  if (link.origin === location.origin) link.hash = FORM_ONLY;
  link.target = '_blank';
  link.rel = 'noopener noreferrer nofollow';
}

/** Pictures from elsewhere would tell a stranger who reads what; they become words. @param {HTMLImageElement} image */
function equipImage(image) {
  const source = image.getAttribute('src') ?? '';
  if (source.startsWith('data:image/') || new URL(source, location.href).origin === location.origin) return;
  image.replaceWith(h('span', { class: 'blocked-image' }, `[picture: ${image.alt || 'without a description'}]`));
}
