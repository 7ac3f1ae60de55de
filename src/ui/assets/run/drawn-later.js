// @ts-check
/**
 * A long history is drawn from its end: what the reader sees first is there at once, and everything above it stands as an empty
 * place until there is time for it, or until the reader comes near. So a conversation of thousands of messages opens as fast as
 * a short one, and keys and wheel never wait for it.
 */

import { h } from '../elements/dom.js';

/** So long at once: a key that is pressed meanwhile is still answered within a frame or two. */
const SLICE_MS = 12;
/** A page that is busy otherwise draws the rest all the same. */
const PATIENCE_MS = 100;
/** What is so near is drawn before it is seen. */
const NEAR = '100% 0px';

/** @param {HTMLElement} scroller @param {() => void} onDone called each time that nothing is left */
export function drawnLater(scroller, onDone) {
  /** @type {Map<Element, () => void>} in their order */
  const waiting = new Map();
  /** @type {HTMLElement[]} what of it waits in the conversation itself */
  const order = [];
  /** @type {HTMLElement[]} what waits in folds, which is seen last */
  const folded = [];
  let scheduled = false;
  let closed = false;

  /** Places are too many to be observed; a stretch stands for those in it. */
  const sight = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      for (const place of [...target.children]) draw(place);
      sight.unobserve(target);
    }
  }, { root: scroller, rootMargin: NEAR });

  /** @param {Element} place */
  const draw = (place) => {
    const how = waiting.get(place);
    if (!how) return;
    how();
    forget(place);
  };

  /** @param {Element} place */
  const forget = (place) => {
    if (waiting.delete(place) && waiting.size === 0) onDone();
  };

  /** @param {number} milliseconds */
  const some = (milliseconds) => {
    const end = performance.now() + milliseconds;
    for (let place = order.pop() ?? folded.pop(); place; place = order.pop() ?? folded.pop()) {
      draw(place);
      if (performance.now() >= end) break;
    }
    if (waiting.size > 0) schedule();
  };
  const schedule = () => {
    if (scheduled || closed) return;
    scheduled = true;
    const next = () => {
      scheduled = false;
      if (!closed) some(SLICE_MS);
    };
    // Not every browser tells when it is idle.
    if ('requestIdleCallback' in window) window.requestIdleCallback(next, { timeout: PATIENCE_MS });
    else setTimeout(next, SLICE_MS);
  };

  return {
    /**
     * Puts something at the end of a stretch that stands there until `how` puts something else into its place.
     * @param {HTMLElement} stretch @param {boolean} isFolded @param {() => void} how
     */
    place: (stretch, isFolded, how) => {
      const place = h('div', { class: 'to-come' });
      if (stretch.childElementCount === 0) sight.observe(stretch);
      stretch.append(place);
      waiting.set(place, how);
      (isFolded ? folded : order).push(place);
      return place;
    },
    /** @param {Element} place */
    has: (place) => waiting.has(place),
    /** Something else stands there already. @param {Element} place */
    forget,
    some,
    all: () => some(Infinity),
    isDone: () => waiting.size === 0,
    close: () => {
      closed = true;
      sight.disconnect();
    },
  };
}
