// @ts-check
/**
 * A long history is drawn from its end: what the reader sees first is there at once, and everything above it stands as an empty
 * place of about its size until there is time for it, or until the reader comes near. So a conversation of thousands of messages
 * opens as fast as a short one, and keys and wheel never wait for it.
 */

import { h } from './dom.js';

/** So long at once: a key that is pressed meanwhile is still answered within a frame or two. */
const SLICE_MS = 12;
/** A page that is busy otherwise draws the rest all the same. */
const PATIENCE_MS = 100;

/** @param {HTMLElement} scroller @param {() => void} onDone called each time that nothing is left */
export function drawnLater(scroller, onDone) {
  /** @type {Map<Element, () => void>} */
  const waiting = new Map();
  /** @type {HTMLElement[]} what waits in the conversation itself, in its order */
  const order = [];
  /** @type {HTMLElement[]} what waits in folds, where nothing can be said of places before they are opened */
  const folded = [];
  let scheduled = false;
  let closed = false;

  const sight = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) if (isIntersecting) draw(target);
  }, { root: scroller });

  /** @param {Element} place */
  const draw = (place) => {
    const how = waiting.get(place);
    if (!how) return;
    how();
    forget(place);
  };

  /** @param {Element} place */
  const forget = (place) => {
    if (!waiting.delete(place)) return;
    sight.unobserve(place);
    if (waiting.size === 0) onDone();
  };

  /** What comes near is drawn before it is seen. Thousands of places are too many to be observed, but they stand in order. */
  const drawNear = () => {
    if (order.length === 0) return;
    const { top, bottom, height } = scroller.getBoundingClientRect();
    let from = 0;
    for (let to = order.length; from < to;) {
      const middle = (from + to) >> 1;
      if (order[middle].getBoundingClientRect().bottom < top - height / 2) from = middle + 1;
      else to = middle;
    }
    let end = from;
    while (end < order.length && order[end].getBoundingClientRect().top < bottom + height / 2) end += 1;
    for (const place of order.splice(from, end - from)) draw(place);
  };
  scroller.addEventListener('scroll', drawNear, { passive: true });

  /** @param {number} milliseconds */
  const some = (milliseconds) => {
    const end = performance.now() + milliseconds;
    for (let place = order.pop() ?? folded.pop(); place; place = order.pop() ?? folded.pop()) {
      draw(place);
      if (performance.now() >= end) break;
    }
    if (order.length + folded.length > 0) schedule();
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
    /** Returns what stands there until `how` puts something else into its place. @param {boolean} isFolded @param {() => void} how */
    place: (isFolded, how) => {
      const place = h('div', { class: 'to-come' });
      waiting.set(place, how);
      (isFolded ? folded : order).push(place);
      if (isFolded) sight.observe(place);
      return place;
    },
    /** @param {Element} place */
    has: (place) => waiting.has(place),
    /** Something else stands there already. */
    forget: (/** @type {HTMLElement} */ place) => {
      const at = waiting.has(place) ? order.indexOf(place) : -1;
      if (at >= 0) order.splice(at, 1);
      forget(place);
    },
    some,
    all: () => some(Infinity),
    isDone: () => waiting.size === 0,
    close: () => {
      closed = true;
      sight.disconnect();
      scroller.removeEventListener('scroll', drawNear);
    },
  };
}
