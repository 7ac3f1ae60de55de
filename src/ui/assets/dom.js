// @ts-check
/**
 * Makes elements. Text is always a text node, and legible; the one place that inserts HTML is rich-text.js.
 */

/**
 * @typedef {string | number | Node | null | undefined | false} Child
 * @typedef {Record<string, string | number | boolean | null | undefined | ((event: any) => void)>} Attributes
 */

/** What combines with what is before it, or turns the direction; most texts have nothing of it. */
const COMBINING = /[\p{M}\p{Cf}\u1100-\u11ff\ua960-\ua97c\ud7b0-\ud7fb\u{1f3fb}-\u{1f3ff}]/u;
const DIRECTION = /[\u200e\u200f\u202a-\u202e\u2066-\u2069\u061c]/;
/** Joins two letters into one shape: the joiner of emoji, and the viramas. */
const JOINER = /[\u200d\u094d\u09cd\u0a4d\u0acd\u0b4d\u0bcd\u0c4d\u0ccd\u0d3b\u0d3c\u0d4d\u0dca\u0e3a\u0eba\u0f84\u1039\u103a\u17d2\u1a60\u1b44\u1baa\u1bab\u2d7f\ua806\ua8c4\ua953\ua9c0\uaaf6\uabed\u{10a3f}\u{11046}\u{1107f}]/u;
const LEADING = /[\u1100-\u115f\ua960-\ua97c]/;
const TWO_MARKS = /[\u0344\u0f73\u0f75\u0f81]/;
const MOST_MARKS = 26;
const MOST_JOINED = 64;
const MOST_DIRECTIONS = 2_000;

/**
 * Shows a text that comes in pieces so that no letter carries more marks than any language needs (as src/legible.rs does): a few
 * thousand on one letter would keep a browser busy for minutes. What is left out is seen.
 * @returns {(piece: string) => string}
 */
export function legibleFlow() {
  let [marks, joined, directions] = [0, 0, 0];
  /** @type {'other' | 'mark' | 'joiner' | 'leading'} */
  let before = 'other';
  let isLeavingOut = false;
  return (piece) => {
    if (piece === '') return piece;
    if (!COMBINING.test(piece)) {
      // Only its first letter may be joined to what came before.
      if (before === 'joiner') joined += 1;
      else joined = 1;
      const isTooMuch = joined > MOST_JOINED;
      [marks, before] = [0, 'other'];
      if (!isTooMuch) isLeavingOut = false;
      return isTooMuch ? piece.slice([...piece][0].length) : piece;
    }
    let shown = '';
    for (const letter of piece) {
      const kind = JOINER.test(letter) ? 'joiner' : LEADING.test(letter) ? 'leading' : COMBINING.test(letter) ? 'mark' : 'other';
      const goesOn = kind === 'mark' || kind === 'joiner' || before === 'joiner' || (kind === 'leading' && before === 'leading');
      joined = goesOn ? joined + 1 : 1;
      if (kind === 'other' || kind === 'leading') marks = 0;
      else marks += TWO_MARKS.test(letter) ? 2 : 1;
      const isDirection = DIRECTION.test(letter);
      if (isDirection) directions += 1;
      before = kind;
      if (marks <= MOST_MARKS && joined <= MOST_JOINED && !(isDirection && directions > MOST_DIRECTIONS)) {
        shown += letter;
        isLeavingOut = false;
      } else {
        if (!isLeavingOut) shown += '\ufffd';
        isLeavingOut = true;
      }
    }
    return shown;
  };
}

/** A text as it may be shown; see {@link legibleFlow}. @param {string} text */
export function legible(text) {
  return COMBINING.test(text) ? legibleFlow()(text) : text;
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

/** Whether keys typed now belong to a field. @param {EventTarget | null} target */
export function isTyping(target) {
  return target instanceof HTMLElement && (target.isContentEditable || target instanceof HTMLTextAreaElement
    || target instanceof HTMLSelectElement
    || (target instanceof HTMLInputElement && !['checkbox', 'radio', 'button', 'submit'].includes(target.type)));
}
