// @ts-check
/**
 * Shows a text while a model writes it. The server renders Markdown once, when a message is finished; until then this is a
 * likeness of it, made of elements and text nodes only: a block that has ended is drawn once and never touched again, and only
 * the one that is being written is drawn anew, so that nothing flickers and a long text costs no more than a short one.
 */

import { h, legible } from '../elements/dom.js';
import { withAddresses } from './addresses.js';
import { directionOf } from './direction.js';
import { codeBlock } from './rich-text.js';

/**
 * @typedef {'code' | 'table' | 'list' | 'quote' | 'heading' | 'rule' | 'paragraph'} BlockKind
 * @typedef {{kind: BlockKind, lines: string[], language: string}} Block
 */

/** A longer block is shown without its marks, a longer text as it comes: looking for marks must never hold up the page. */
const LONGEST_BLOCK = 8_000;
const LONGEST_TEXT = 200_000;

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([^\s`]*)[^`]*$/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*?)\s*#*$/;
const RULE = /^ {0,3}([-*_])( *\1){2,} *$/;
const TASK = /^\[([ xX])\]\s/;
/** Each paragraph runs as its letters do. */
const AUTO = { dir: 'auto' };
const ITEM = /^(\s*)(?:[-*+]|(\d{1,9})[.)])\s+(.*)$/;

export function streamedText() {
  const caret = h('span', { class: 'caret', 'aria-hidden': 'true' });
  const element = h('div', { class: 'prose writing' }, caret);
  let text = '';
  /** How much of the text stands in blocks that are drawn for good. */
  let settled = 0;
  /** @type {HTMLElement | null} the block that is being written */
  let open = null;
  /** @type {Text | null} takes what comes after the longest text that is looked at */
  let rest = null;

  /** @param {string} whole */
  const update = (whole) => {
    const now = legible(whole);
    if (!now.startsWith(text)) {
      element.replaceChildren();
      text = '';
      settled = 0;
      open = rest = null;
    }
    if (rest) rest.appendData(now.slice(text.length));
    else if (now.length > LONGEST_TEXT) {
      open?.remove();
      rest = document.createTextNode(now.slice(settled));
      element.append(h('p', null, rest, caret));
    } else drawBlocks(now);
    text = now;
  };

  /** @param {string} now */
  const drawBlocks = (now) => {
    const { blocks, ends } = blocksOf(now.slice(settled));
    open?.remove();
    open = null;
    for (const block of blocks.slice(0, -1)) element.append(drawn(block, true));
    const last = blocks.at(-1);
    if (last) {
      open = drawn(last, false);
      element.append(open);
    }
    settled += ends.at(-2) ?? 0;
    placeOfCaret(open ?? element).append(caret);
  };
  return { element, update };
}

/** The innermost element at the end of the text. @param {HTMLElement} place @returns {Element} */
function placeOfCaret(place) {
  return place.querySelector('pre code') ?? [...place.querySelectorAll('li, td, p')].at(-1) ?? place;
}

/**
 * Cuts a text into blocks. The last one may still be going on; `ends` says where each one ends.
 * @param {string} text @returns {{blocks: Block[], ends: number[]}}
 */
export function blocksOf(text) {
  /** @type {Block[]} */
  const blocks = [];
  /** @type {number[]} */
  const ends = [];
  /** @type {Block | null} */
  let open = null;
  let fence = '';
  let at = 0;
  const close = () => {
    if (open) {
      blocks.push(open);
      ends.push(at);
    }
    open = null;
    fence = '';
  };
  for (const line of text.split(/(?<=\n)/)) {
    const words = line.replace(/\r?\n$/, '');
    const from = at;
    at += line.length;
    if (fence) {
      if (words.trim().startsWith(fence) && words.trim().replaceAll(fence[0], '') === '') close();
      else open?.lines.push(words);
      continue;
    }
    const opening = FENCE.exec(words);
    /** @type {BlockKind | null} */
    const kind = opening ? 'code' : kindOf(words, open);
    if (kind !== /** @type {Block | null} */ (open)?.kind || kind === 'heading' || kind === 'rule') {
      const end = at;
      at = from;
      close();
      at = end;
      if (kind === null) continue;
      open = { kind, lines: [], language: opening?.[2] ?? '' };
    }
    if (opening) fence = opening[1];
    else /** @type {Block | null} */ (open)?.lines.push(words);
  }
  if (open) {
    blocks.push(open);
    ends.push(at);
  }
  return { blocks, ends };
}

/** @param {string} line @param {Block | null} open @returns {BlockKind | null} null: nothing goes on here */
function kindOf(line, open) {
  if (line.trim() === '') return null;
  if (HEADING.test(line)) return 'heading';
  if (RULE.test(line)) return 'rule';
  if (ITEM.test(line)) return 'list';
  if (open?.kind === 'list' && /^\s/.test(line)) return 'list';
  if (/^ {0,3}>/.test(line)) return 'quote';
  if (/^ {0,3}\|/.test(line)) return 'table';
  return 'paragraph';
}

/** @param {Block} block @param {boolean} isWhole @returns {HTMLElement} */
function drawn({ kind, lines, language }, isWhole) {
  // It is drawn anew with each piece that comes.
  if ((kind === 'list' || kind === 'table') && lines.reduce((sum, line) => sum + line.length, 0) > LONGEST_BLOCK) {
    return h('p', AUTO, lines.join('\n'));
  }
  switch (kind) {
    case 'code': return codeBlock(lines.join('\n'), language.toLowerCase(), isWhole);
    case 'heading': {
      const [, marks, words] = HEADING.exec(lines[0]) ?? ['', '#', lines[0]];
      return h(/** @type {'h1'} */ (`h${Math.min(4, marks.length)}`), AUTO, ...inline(words));
    }
    case 'rule': return h('hr', null);
    case 'quote': return h('blockquote', AUTO, h('p', null, ...inline(lines.map((line) => line.replace(/^ {0,3}> ?/, '')).join('\n'))));
    case 'list': return listOf(lines);
    case 'table': return tableOf(lines);
    default: return h('p', AUTO, ...inline(lines.map(withoutBreak).join('\n')));
  }
}

/** Two spaces or a backslash at its end say what every line break says here. @param {string} line @param {number} position @param {readonly string[]} all */
const withoutBreak = (line, position, all) => position < all.length - 1 ? line.replace(/(?: +|\\)$/, '') : line;

/** @param {string[]} lines */
function listOf(lines) {
  const isOrdered = ITEM.exec(lines[0])?.[2] !== undefined;
  const list = h(isOrdered ? 'ol' : 'ul', { dir: directionOf(ITEM.exec(lines[0])?.[3] ?? ''), ...(isOrdered ? { start: ITEM.exec(lines[0])?.[2] } : {}) });
  for (const line of lines) {
    const item = ITEM.exec(line);
    if (item) {
      const [, indent, , said] = item;
      const task = TASK.exec(said);
      const words = task ? `${task[1] === ' ' ? '☐' : '☑'} ${said.slice(task[0].length)}` : said;
      list.append(h('li', { class: `depth-${Math.min(3, Math.floor(indent.length / 2))}${task ? ' task' : ''}`, ...AUTO }, ...inline(words)));
    }
    else list.lastElementChild?.append('\n', ...inline(line.trim()));
  }
  return list;
}

/** @param {string[]} lines */
function tableOf(lines) {
  /** @param {string} line */
  const cells = (line) => line.trim().replace(/^\||\|$/g, '').split('|');
  const rows = lines.filter((line) => !/^[\s|:-]+$/.test(line));
  const body = h('tbody', null);
  const head = h('thead', null);
  rows.forEach((line, position) => (position === 0 ? head : body).append(
    h('tr', null, ...cells(line).map((cell) => h(position === 0 ? 'th' : 'td', /\p{L}/u.test(cell) ? AUTO : null, ...inline(cell.trim()))))));
  return h('div', { class: 'table-frame' }, h('table', { dir: directionOf(lines[0] ?? '') }, head, body));
}

/** What has begun counts as it will be: a word is bold from its first letter on. @param {string} text @returns {(string | Node)[]} */
function inline(text) {
  if (text.length > LONGEST_BLOCK) return [text];
  const pattern = /(`+)([^`]+)(?:\1|$)|\*\*(?=\S)([\s\S]+?)(?:\*\*|$)|(?<![*\w])\*(?=[^\s*])([^*\n]+)\*(?!\*)|!?\[([^\]\n]*)\]\([^)\s]*(?:\)|$)/g;
  /** @type {(string | Node)[]} */
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(pattern)) {
    const [whole, , code, strong, emphasis, link] = match;
    parts.push(...plain(text.slice(end, match.index)));
    if (code !== undefined) parts.push(h('code', AUTO, code));
    else if (strong !== undefined) parts.push(h('strong', null, ...inline(strong)));
    else if (emphasis !== undefined) parts.push(h('em', null, emphasis));
    else parts.push(h('span', { class: 'link-to-be' }, link));
    end = match.index + whole.length;
  }
  // Marks at the very end are half of something.
  parts.push(...plain(text.slice(end).replace(/[*`_]{1,3}$/, '')));
  return parts;
}

/** @param {string} text */
const plain = (text) => withAddresses(text, ({ words }) => [h('span', { class: 'link-to-be', dir: 'ltr' }, words)]);
