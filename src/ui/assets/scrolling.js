// @ts-check
/**
 * Keeps the end of the conversation in sight while the reader is there, and never moves a reader who went back up.
 */

/** How far from the end still counts as being there. */
const NEAR_PX = 60;

/**
 * @param {HTMLElement} scroller @param {HTMLElement} content what grows inside it
 * @param {(atEnd: boolean) => void} onChange
 */
export function keepAtEnd(scroller, content, onChange) {
  let following = true;
  let lastTop = 0;
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
  };
  const onScroll = () => {
    // Only a movement upwards is a reader leaving: content that grows below moves nothing.
    if (isNear()) set(true);
    else if (scroller.scrollTop < lastTop - 2) set(false);
    lastTop = scroller.scrollTop;
  };
  scroller.addEventListener('scroll', onScroll, { passive: true });
  const grown = new ResizeObserver(() => { if (following) toEnd(); });
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
    close: () => { grown.disconnect(); scroller.removeEventListener('scroll', onScroll); },
  };
}
