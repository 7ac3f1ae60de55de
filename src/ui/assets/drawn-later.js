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
const PATIENCE_MS = 400;

/** @param {HTMLElement} scroller @param {() => void} onDone called each time that nothing is left */
export function drawnLater(scroller, onDone) {
  /** @type {Map<Element, () => void>} in the order of the conversation */
  const waiting = new Map();
  /** @type {Element[]} the same, to be taken from its end */
  const order = [];
  let scheduled = false;
  let closed = false;

  // What comes near is drawn before it is seen.
  const sight = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) if (isIntersecting) draw(target);
  }, { root: scroller, rootMargin: '100% 0px' });

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

  /** @param {number} milliseconds */
  const some = (milliseconds) => {
    const end = performance.now() + milliseconds;
    for (let place = order.pop(); place; place = order.pop()) {
      draw(place);
      if (performance.now() >= end) break;
    }
    if (order.length > 0) schedule();
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
    /** Returns what stands there until `how` puts something else into its place. @param {() => void} how */
    place: (how) => {
      const place = h('div', { class: 'to-come' });
      waiting.set(place, how);
      order.push(place);
      sight.observe(place);
      return place;
    },
    /** @param {Element} place */
    has: (place) => waiting.has(place),
    /** Something else stands there already. */
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
