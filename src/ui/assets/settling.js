// @ts-check
/**
 * A long history is opened without the browser laying out what nobody sees (`content-visibility` in style.css); scrolling through
 * such messages is jerky, though. So while nothing else is to be done, message after message, from the last one upwards, gets
 * its real size, as long as the reader is at the end, where nothing of it can be seen.
 */

/** More messages than these stay as they were opened: a page that has all of a huge run laid out would be slow in everything. */
const MOST = 3000;
/** So many get their size before the time is looked at again. */
const AT_ONCE = 8;
/** How much of a pause must be left to begin with some more. */
const ENOUGH_MS = 6;
const PAUSE_MS = 100;

/** @param {HTMLElement} log @param {() => boolean} mayGoOn */
export function settleWhenIdle(log, mayGoOn) {
  let closed = false;
  let settled = 0;
  let next = log.lastElementChild;

  /** @param {() => number} timeLeft */
  const some = (timeLeft) => {
    if (closed) return;
    while (next && settled < MOST && mayGoOn() && timeLeft() > ENOUGH_MS) {
      for (let count = 0; next && count < AT_ONCE; count += 1) {
        next.classList.add('settled');
        settled += 1;
        next = next.previousElementSibling;
      }
      // The layout happens here and now, inside the pause.
      log.getBoundingClientRect();
    }
    if (next && settled < MOST) setTimeout(later, PAUSE_MS);
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
