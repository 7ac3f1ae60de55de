// @ts-check
/** A conversation as one HTML file that needs nothing else: what stands on the screen, without what can be pressed. */

import { h } from '../elements/dom.js';
import { cutTextOf } from '../text/rich-text.js';
import { aboutReader, exactTime, visible } from '../text/words.js';

/** What only a living page needs. */
const CONTROLS = '.controls, .deadline, .unsent, .sending-words, .message-actions, .copy-button, .writing-area, .nested-tail, .run-status, .ending-actions, .rest-of-text, .problem[hidden]';
/** The page is one window high; a file is as long as it is. */
const AS_A_FILE = 'html, body { height: auto; } body { display: block; overflow: auto; } .code-block pre { max-height: none; } '
  + '.file-head { margin-bottom: 1.5rem; } .file-head h1 { font-size: 1.6rem; line-height: 1.3; overflow-wrap: anywhere; }';

/**
 * @param {HTMLElement} column the conversation as it is drawn
 * @param {{title: string, workflow: string, startedAt: string | null, owner: string | null, reader: string | null}} about   `workflow` is its title
 */
export function toHtml(column, { title, workflow, startedAt, owner, reader }) {
  const copy = /** @type {HTMLElement} */ (column.cloneNode(true));
  fillIn(column, copy);
  // The prompt of a choice is inside its controls.
  for (const asking of copy.querySelectorAll('.asking')) asking.before(...asking.querySelectorAll('.prompt'));
  for (const control of copy.querySelectorAll(CONTROLS)) control.remove();
  for (const element of copy.querySelectorAll('[tabindex], [role=log]')) for (const name of ['tabindex', 'role', 'aria-relevant']) element.removeAttribute(name);
  const file = document.implementation.createHTMLDocument(title);
  const policy = h('meta', { 'http-equiv': 'Content-Security-Policy', content: "default-src 'none'; style-src 'unsafe-inline'; img-src data:" });
  file.documentElement.lang = document.documentElement.lang;
  file.head.prepend(h('meta', { charset: 'utf-8' }), policy, h('meta', { name: 'viewport', content: 'width=device-width' }), h('meta', { name: 'color-scheme', content: 'light dark' }));
  copy.prepend(h('header', { class: 'file-head' }, h('h1', { dir: 'auto' }, title),
    h('p', { class: 'muted' }, [workflow, startedAt && exactTime(startedAt), owner && `started by ${visible(owner)}`].filter(Boolean).join(' · ')),
    reader ? h('p', { class: 'muted' }, aboutReader(reader)) : ''));
  file.body.append(copy);
  // As an element it would be a style of this page, whose policy allows none that is inline.
  const style = `<style>${stylesOfThisPage()}\n${AS_A_FILE}</style></head>`;
  return `<!doctype html>\n${file.documentElement.outerHTML.replace('</head>', () => style)}`;
}

/** In a file nobody can ask for the rest of a text. @param {HTMLElement} column @param {HTMLElement} copy not changed yet */
function fillIn(column, copy) {
  const copies = copy.querySelectorAll('.plain');
  column.querySelectorAll('.plain').forEach((place, position) => {
    const whole = cutTextOf(place);
    if (whole !== null) copies[position].replaceChildren(whole);
  });
}

function stylesOfThisPage() {
  return [...document.styleSheets].flatMap((sheet) => [...sheet.cssRules].map((rule) => rule.cssText)).join('\n');
}
