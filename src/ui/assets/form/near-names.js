// @ts-check
/** Names that a workflow does not have, with those that were probably meant. Few pages need it: it is loaded when one does. Pure. */

/** @typedef {import('./schema.js').Field} Field */

/** Names from a link as a person reads them, each with the known one that is near to it, if there is one. @param {string[]} names @param {readonly Field[]} fields */
export function meantNames(names, fields) {
  return names.map((name) => {
    const near = nearest(name, fields.map((field) => field.name));
    return near === null ? name : `${name} (did you mean “${near}”?)`;
  }).join(', ');
}

/** The known word that is near to the one that was written, as the gateway proposes it. @param {string} written @param {string[]} known */
function nearest(written, known) {
  const plain = (/** @type {string} */ word) => word.toLowerCase().replaceAll('-', '_');
  const near = known.map((word) => ({ word, far: distance(plain(written), plain(word)), longest: Math.max(word.length, written.length) }))
    .filter(({ word, far, longest }) => far < Math.min(word.length, written.length) && far <= Math.max(Math.floor(longest / 3), 1))
    .sort((one, other) => one.far - other.far);
  return near[0]?.word ?? null;
}

/** How many letters are to be put in, taken out, changed or swapped with the next. @param {string} one @param {string} other */
function distance(one, other) {
  const rows = [Array.from({ length: other.length + 1 }, (_, column) => column)];
  for (let row = 1; row <= one.length; row += 1) {
    rows[row] = [row];
    for (let column = 1; column <= other.length; column += 1) {
      const change = rows[row - 1][column - 1] + (one[row - 1] === other[column - 1] ? 0 : 1);
      const isSwapped = row > 1 && column > 1 && one[row - 1] === other[column - 2] && one[row - 2] === other[column - 1];
      const swap = isSwapped ? rows[row - 2][column - 2] + 1 : Infinity;
      rows[row][column] = Math.min(rows[row - 1][column] + 1, rows[row][column - 1] + 1, change, swap);
    }
  }
  return rows[one.length][other.length];
}
