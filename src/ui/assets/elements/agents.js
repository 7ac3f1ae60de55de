// @ts-check
/**
 * How an agent is told from another: initials and a hue that belong to its name.
 * Colour is never the only sign; the name always stands beside it.
 */

/** Hues far enough apart to be told from each other, on light and on dark ground. */
const HUES = [255, 135, 15, 295, 55, 175, 335, 95, 215];

/**
 * Returns the name's own hue, or the next free one if another agent of this run has it already.
 * @param {string} name
 * @param {readonly number[]} taken
 */
export function hueFor(name, taken = []) {
  let hash = 2166136261;
  for (let index = 0; index < name.length; index += 1) hash = Math.imul(hash ^ name.charCodeAt(index), 16777619);
  const first = (hash >>> 0) % HUES.length;
  for (let step = 0; step < HUES.length; step += 1) {
    const hue = HUES[(first + step) % HUES.length];
    if (!taken.includes(hue)) return hue;
  }
  return HUES[first];
}

/** Returns one or two letters: "Weather man" is WM, "weather_man" too, "Teacher" is Te. @param {string} name */
export function initialsOf(name) {
  const words = name.replace(/([a-z])([A-Z])/g, '$1 $2').split(/[^\p{L}\p{N}]+/u).filter(Boolean);
  if (words.length === 0) return '?';
  const letters = words.length > 1 ? [...words[0]][0] + [...words[words.length - 1]][0] : [...words[0]].slice(0, 2).join('');
  return words.length > 1 ? letters.toUpperCase() : letters[0].toUpperCase() + letters.slice(1);
}
