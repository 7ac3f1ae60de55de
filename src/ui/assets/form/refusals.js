// @ts-check
/** A refusal of the server, taken apart: which of its problems belongs to which field of a form. Pure. */

/**
 * `{path}: {what is wrong}; …`, where a path's parts stand between "/" or ".": so the gateway says what does not fit a schema.
 * @typedef {{path: readonly string[], words: string}} Placed
 */

/**
 * @param {string} message @param {readonly (readonly string[])[]} paths of the fields that there are
 * @returns {{placed: Placed[], rest: string}} `rest` is what belongs to no field
 */
export function placesOf(message, paths) {
  /** @type {Placed[]} */
  const placed = [];
  const rest = [];
  // The longest first: "address.zip" is not a part of "address".
  const known = [...paths].sort((one, other) => other.length - one.length);
  for (const problem of message.replace(/^the parameters do not fit: /, '').split('; ')) {
    const found = known.map((path) => ({ path, words: wordsAt(path, problem) })).find(({ words }) => words !== null);
    if (found?.words) placed.push({ path: found.path, words: found.words });
    else rest.push(problem);
  }
  return { placed, rest: rest.join('; ') };
}

/** What a problem says about this place; null if it is about another one. @param {readonly string[]} path @param {string} problem */
function wordsAt(path, problem) {
  for (const separator of ['/', '.']) {
    const place = path.join(separator);
    // The server names what is missing, and where: around it.
    const around = path.slice(0, -1).join(separator);
    if (problem === `${around && `${around}: `}"${path.at(-1)}" is a required property`) return 'This is needed.';
    if (problem === `${place} is missing`) return 'This is needed.';
    if (problem.startsWith(`${place}: `)) return problem.slice(place.length + 2);
    if (!problem.startsWith(place + separator)) continue;
    // Inside a field that has none for it: an item of a list, a part of what is written as JSON.
    const inside = problem.slice(place.length + 1);
    return inside.replace(/^(\d+): /, (_, position) => `Number ${Number(position) + 1}: `);
  }
  return null;
}
