// @ts-check
/**
 * Which way texts run. Each paragraph runs as its first letter does (UAX #9, rules P2 and P3), which browsers find out by themselves
 * (`dir="auto"`); what holds several, such as a list or a table, is told here.
 */

/** Scripts that are written from right to left. */
const FROM_RIGHT = ['Hebrew', 'Arabic', 'Syriac', 'Thaana', 'Nko', 'Samaritan', 'Mandaic', 'Adlam', 'Hanifi_Rohingya'].map((name) => `\\p{Script=${name}}`).join('');
const BEGINS_FROM_RIGHT = new RegExp(`^\\P{L}*(?=\\p{L})[${FROM_RIGHT}]`, 'u');
const LETTER = /\p{L}/u;

const BLOCKS = 'p, h1, h2, h3, h4, h5, h6, td, th, li, blockquote';
const HOLDERS = 'ul, ol, table, .footnote-definition';
const ADDRESS = /^(https?:\/\/|www\.|\S+@\S+$)/i;

/** @param {string} text @returns {'rtl' | 'ltr'} */
export const directionOf = (text) => BEGINS_FROM_RIGHT.test(text) ? 'rtl' : 'ltr';

/** Gives every part of a text its direction. @param {ParentNode} content */
export function direct(content) {
  // Neither code nor an address says which way the text around it runs.
  for (const code of content.querySelectorAll('code')) code.setAttribute('dir', code.parentElement?.tagName === 'PRE' ? 'ltr' : 'auto');
  for (const link of content.querySelectorAll('a')) if (ADDRESS.test(link.textContent ?? '')) link.dir = 'ltr';
  for (const block of /** @type {NodeListOf<HTMLElement>} */ (content.querySelectorAll(BLOCKS))) {
    // What has no letters, a number in a cell for instance, stands as all around it.
    if (!givesDirection(block) && LETTER.test(block.textContent ?? '')) block.dir = 'auto';
  }
  for (const holder of /** @type {NodeListOf<HTMLElement>} */ (content.querySelectorAll(HOLDERS))) holder.dir = directionOf(holder.textContent ?? '');
}

/** The first paragraph of an item or a quotation says how that runs; one with a direction of its own would not be asked. @param {Element} block */
function givesDirection(block) {
  const { parentElement: parent } = block;
  return block.tagName === 'P' && parent !== null && ['LI', 'BLOCKQUOTE'].includes(parent.tagName) && parent.firstElementChild === block;
}
