// @ts-check
/**
 * Makes elements. Text is always a text node, and legible; the one place that inserts HTML is rich-text.js.
 */

/**
 * @typedef {string | number | Node | null | undefined | false} Child
 * @typedef {Record<string, string | number | boolean | null | undefined | ((event: any) => void)>} Attributes
 */

const MARK = '[\\p{M}\\p{Cf}\\u1160-\\u11ff\\u{1f3fb}-\\u{1f3ff}]';
const ANY_MARK = new RegExp(MARK, 'u');
const MARKS = new RegExp(`(${MARK}{26})${MARK}+`, 'gu');
const LETTER = `[^\\s\\p{M}\\p{Cf}]${MARK}{1,27}`;
const JOINED = new RegExp(`((?:${LETTER}){64})(?:${LETTER})+|([\\u1100-\\u115f]{26})[\\u1100-\\u115f]+`, 'gu');

/** A text as it may be shown: some thousand marks on a letter would keep a browser busy for minutes (see src/legible.rs). @param {string} text */
export function legible(text) {
  return ANY_MARK.test(text) || /[\u1100-\u115f]{27}/.test(text) ? text.replace(MARKS, '$1\ufffd').replace(JOINED, '$1$2\ufffd') : text;
}

/** Attributes whose words are shown. */
const SHOWN_ATTRIBUTES = new Set(['title', 'aria-label', 'placeholder', 'alt', 'label']);

/**
 * Makes `<tag>` with attributes (`onclick: fn` listens, `true` sets, `false` and null leave out) and children.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag @param {Attributes | null} [attributes] @param {...Child} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (typeof value === 'function') element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value != null) element.setAttribute(name, SHOWN_ATTRIBUTES.has(name) ? legible(String(value)) : String(value));
  }
  for (const child of children) {
    if (child !== null && child !== undefined && child !== false) element.append(typeof child === 'string' ? legible(child) : typeof child === 'number' ? String(child) : child);
  }
  return element;
}

/** @template {HTMLElement} Kind @param {string} id @param {new () => Kind} kind @returns {Kind} */
export function byId(id, kind) {
  const element = document.getElementById(id);
  if (!(element instanceof kind)) throw new Error(`index.html has no #${id} of the expected kind`);
  return element;
}

let lastId = 0;
/** An id that no other element of this page has. @param {string} prefix */
export function freshId(prefix) {
  lastId += 1;
  return `${prefix}-${lastId}`;
}

/**
 * Whether a key belongs to an input method, as Enter does that ends the choice of a character. Safari says so only by the code 229: the
 * composition has ended there by then.
 * @param {KeyboardEvent} event
 */
export const isOfInputMethod = (event) => event.isComposing || event.keyCode === 229;

/** Whether keys typed now belong to a field. @param {EventTarget | null} target */
export function isTyping(target) {
  return target instanceof HTMLElement && (target.isContentEditable || target instanceof HTMLTextAreaElement
    || target instanceof HTMLSelectElement
    || (target instanceof HTMLInputElement && !['checkbox', 'radio', 'button', 'submit'].includes(target.type)));
}
