// @ts-check
/**
 * Keeps the page above the keyboard of a phone. Where the browser makes the page smaller for it (index.html asks for that), there is
 * nothing to do; some lay the keyboard over the page, and tell only how much of it is still to be seen.
 */

/** What the bars of a browser take and give back while somebody scrolls is less. */
const LOWEST_KEYBOARD_PX = 120;

export function keepAboveKeyboard() {
  const seen = window.visualViewport;
  if (!seen) return;
  const fit = () => {
    // Enlarged by two fingers, a part of the page is seen, too: no keyboard.
    const isCovered = seen.scale < 1.05 && innerHeight - seen.height > LOWEST_KEYBOARD_PX;
    const { style } = document.documentElement;
    if (!isCovered) {
      style.removeProperty('--page-height');
      return;
    }
    style.setProperty('--page-height', `${seen.height}px`);
    // The browser has moved the page up, to show the field where it was.
    scrollTo(0, 0);
    document.activeElement?.scrollIntoView({ block: 'nearest' });
  };
  seen.addEventListener('resize', fit);
}
