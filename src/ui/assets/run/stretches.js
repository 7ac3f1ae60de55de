// @ts-check
/**
 * A conversation stands in stretches of some messages each. What a browser does for each frame of scrolling (whom to lay out, what
 * to paint, what is under the pointer) it does for every element that may be seen; of a stretch out of sight it looks at nothing
 * inside (`content-visibility` in style.css). So thousands of messages scroll as a few do.
 */

import { h } from '../elements/dom.js';

/** About two screens of short messages: less would be many stretches, more much to lay out when one comes near. */
const LENGTH = 20;

/** @param {HTMLElement} parent @returns {() => HTMLElement} where its next child goes */
export function stretchesIn(parent) {
  /** @type {HTMLElement | null} */
  let last = null;
  return () => {
    if (!last || last.childElementCount >= LENGTH) {
      last = h('div', { class: 'stretch' });
      parent.append(last);
    }
    return last;
  };
}
