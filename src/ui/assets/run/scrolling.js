// @ts-check
/**
 * Keeps the end of the conversation in sight while the reader is there, and never moves a reader who went back up.
 */

/** How far from the end still counts as being there. */
const NEAR_PX = 60;
/** How long after a wheel, a finger or a key a movement is still the reader's. */
const HAND_MS = 700;
/** The focus moves for a reader only: to a field that is wrong, for instance. */
const HANDS = ['wheel', 'touchmove', 'pointerdown', 'keydown', 'focusin'];
const SCROLLING_KEYS = ['ArrowUp', 'PageUp', 'Home', ' ', 'Tab'];

/**
 * @param {HTMLElement} scroller @param {HTMLElement} content what grows inside it
 * @param {(atEnd: boolean) => void} onChange
 */
export function keepAtEnd(scroller, content, onChange) {
  let following = true;
  let lastTop = 0;
  let lastHeight = 0;
  let lastClient = 0;
  let handAt = -Infinity;
  const isNear = () => scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR_PX;
  /** @param {boolean} now */
  const set = (now) => {
    if (now === following) return;
    following = now;
    onChange(now);
  };
  const toEnd = () => {
    set(true);
    scroller.scrollTop = scroller.scrollHeight;
    lastTop = scroller.scrollTop;
    lastHeight = scroller.scrollHeight;
  };
  /** @param {Event} event */
  const onHand = (event) => {
    // Typing is not scrolling, and a click on something inside is none either; one on the bar at the side is.
    if (event instanceof KeyboardEvent && !SCROLLING_KEYS.includes(event.key)) return;
    if (event.type === 'pointerdown' && event.target !== scroller) return;
    handAt = performance.now();
  };
  const onScroll = () => {
    // A movement upwards is a reader leaving, unless the browser made it because the content changed its height.
    const isReaders = performance.now() - handAt < HAND_MS || scroller.scrollHeight === lastHeight;
    if (isNear()) set(true);
    else if (scroller.scrollTop < lastTop - 2 && isReaders) set(false);
    lastTop = scroller.scrollTop;
    lastHeight = scroller.scrollHeight;
  };
  scroller.addEventListener('scroll', onScroll, { passive: true });
  for (const hand of HANDS) scroller.addEventListener(hand, onHand, { passive: true });
  const grown = new ResizeObserver((entries) => {
    if (following) toEnd();
    // A keyboard on the screen makes the window lower: what somebody is about to write in stays in sight.
    const field = document.activeElement;
    const isLower = entries.some(({ target }) => target === scroller);
    const before = lastClient;
    lastClient = scroller.clientHeight;
    if (!isLower || !field?.matches('input, textarea, select') || !content.contains(field)) return;
    // A reader who has left it for older messages is not called back.
    const above = field.getBoundingClientRect().top - scroller.getBoundingClientRect().top;
    if (following || (above >= 0 && above < before)) field.scrollIntoView({ block: 'nearest' });
  });
  grown.observe(content);
  grown.observe(scroller);
  return {
    toEnd,
    isFollowing: () => following,
    /** Brings an element into sight and stays there. @param {Element} element */
    show: (element) => {
      set(false);
      element.scrollIntoView({ block: 'center' });
      lastTop = scroller.scrollTop;
      if (isNear()) set(true);
    },
    /** Shows an element from its beginning, because it is taller than the window: its end would hide what it asks. @param {Element} element */
    showBeginning: (element) => {
      set(false);
      element.scrollIntoView({ block: 'start' });
      lastTop = scroller.scrollTop;
      lastHeight = scroller.scrollHeight;
    },
    close: () => { grown.disconnect(); scroller.removeEventListener('scroll', onScroll); },
  };
}
