// @ts-check
/** Says how the connection stands, but only when it matters: a reconnection that takes a moment is nobody's concern. */

import { h } from '../elements/dom.js';
import { icon } from '../elements/icons.js';

const MATTERS_AFTER_MS = 1200;
const RELIEF_MS = 2500;

/** @param {HTMLElement} place with role="status" */
export function connectionNotice(place) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  let waitingToShow = false;

  /** @param {string} kind @param {string} words */
  const show = (kind, words) => {
    waitingToShow = false;
    place.dataset.connection = kind;
    place.replaceChildren(h('p', null, kind === 'connected' ? icon('check') : h('span', { class: 'spinner', 'aria-hidden': 'true' }), words));
  };
  const hide = () => {
    delete place.dataset.connection;
    place.replaceChildren();
  };

  /** @param {import('../gateway/event-stream.js').Connection} connection */
  return (connection) => {
    const isShown = place.dataset.connection === 'reconnecting' || place.dataset.connection === 'offline';
    if (connection === 'reconnecting' && (waitingToShow || place.dataset.connection === 'reconnecting')) return;
    clearTimeout(timer);
    waitingToShow = false;
    if (connection === 'offline') show('offline', 'You are offline. The conversation goes on once you are back.');
    else if (connection === 'reconnecting') {
      waitingToShow = true;
      timer = setTimeout(() => show('reconnecting', 'The connection is lost; reconnecting. Nothing is missed.'), MATTERS_AFTER_MS);
    } else if (connection === 'connected' && isShown) {
      show('connected', 'Connected again.');
      timer = setTimeout(hide, RELIEF_MS);
    } else hide();
  };
}
