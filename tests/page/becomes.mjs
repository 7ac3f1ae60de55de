// @ts-check
/** How tests look at a page: what is to be seen there may come a moment after what brings it about. */

import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';

/** Longer than anything takes that a page shows. */
const PATIENCE = 15_000;

/**
 * Reads until it is what is expected (a pattern is matched), and says the difference if it never is. What must not be there even
 * for a moment is read once instead, when it would have been there.
 * @template T
 * @param {() => T | Promise<T>} read @param {Awaited<T> | RegExp} expected @param {string} [message]
 */
export async function becomes(read, expected, message) {
  for (const deadline = Date.now() + PATIENCE;;) {
    const now = await read();
    try {
      if (expected instanceof RegExp) assert.match(String(now), expected, message);
      else assert.deepEqual(now, expected, message);
      return;
    } catch (difference) {
      if (Date.now() > deadline) throw difference;
    }
    await pause(20);
  }
}
