// @ts-check
/**
 * A stretch of messages that was never in sight has a guessed height, so the bar at the side would lie, and jump when the reader
 * comes there. While nothing else is to be done, stretch after stretch, from the last one upwards, is laid out once and keeps
 * its real height, as long as the reader is at the end, where nothing of it can be seen.
 */

/** How much of a pause must be left to begin with one more. */
const ENOUGH_MS = 12;
const PAUSE_MS = 100;

/** @param {HTMLElement} log @param {() => boolean} mayGoOn */
export function settleWhenIdle(log, mayGoOn) {
  let closed = false;
  let next = log.lastElementChild;

  /** @param {() => number} timeLeft */
  const some = (timeLeft) => {
    if (closed) return;
    while (next instanceof HTMLElement && mayGoOn() && timeLeft() > ENOUGH_MS) {
      settle(next);
      next = next.previousElementSibling;
    }
    if (next) setTimeout(later, PAUSE_MS);
  };
  const later = () => {
    if (closed) return;
    // Not every browser tells when it is idle.
    if ('requestIdleCallback' in window) window.requestIdleCallback((deadline) => some(() => deadline.timeRemaining()));
    else {
      const end = performance.now() + 2 * ENOUGH_MS;
      some(() => end - performance.now());
    }
  };
  setTimeout(later, PAUSE_MS);
  return { close: () => { closed = true; } };
}

/** @param {HTMLElement} stretch */
function settle(stretch) {
  stretch.style.contentVisibility = 'visible';
  // The layout happens here and now, inside the pause.
  stretch.style.containIntrinsicBlockSize = `auto ${stretch.getBoundingClientRect().height}px`;
  stretch.style.contentVisibility = '';
  stretch.classList.add('settled');
}
