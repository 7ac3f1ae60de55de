// @ts-check
/** The parameters of a workflow in a link, as people write them there: lists as `a,b`, objects as JSON. Pure. */

import { exactParse, exactText } from '../gateway/exact-json.js';
import { checkList, checkText } from './schema.js';

/**
 * @typedef {import('./schema.js').Field} Field
 * @typedef {{written: string, problem: string}} Misfit   what a link brings and its field cannot take
 */

/** What a link says beside the parameters. */
const OWN = ['workflow', 'theme', 'autostart'];

/**
 * Reads the parameters of a link. `given` is what it brings, `value` has the defaults, too; `complete` says that nothing
 * required is missing and all of it fits; `unknown` are those that the workflow does not have.
 * @param {readonly Field[]} fields @param {URLSearchParams} query
 */
export function fromLink(fields, query) {
  /** @type {Record<string, unknown>} */
  const value = {};
  /** @type {Record<string, unknown>} */
  const given = {};
  /** @type {Record<string, Misfit>} */
  const misfits = {};
  let complete = true;
  for (const field of fields) {
    const written = query.get(field.name) ?? '';
    const checked = checkWritten(field, written);
    if ('value' in checked) value[field.name] = given[field.name] = checked.value;
    else if (written !== '' && 'problem' in checked) misfits[field.name] = { written, problem: checked.problem };
    else if (field.initial !== undefined) value[field.name] = field.initial;
    else if (field.required) complete = false;
  }
  const unknown = [...query.keys()].filter((name) => !OWN.includes(name) && !fields.some((field) => field.name === name));
  return { value, given, misfits, unknown, complete: complete && unknown.length === 0 && Object.keys(misfits).length === 0 };
}

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

/** @param {Field} field @param {string} written */
function checkWritten(field, written) {
  const isList = ['lines', 'choices'].includes(field.kind) || (field.kind === 'json' && field.schema.type === 'array');
  if (written === '' || !isList) return checkText(field, written);
  const items = listIn(written);
  const parts = written.split(',').map((item) => item.trim()).filter(Boolean);
  if (field.kind === 'json') return checkText(field, exactText(items ?? parts.map(meant)));
  return checkList(field, items?.map(textOf) ?? parts);
}

/** A list written as JSON: `["a, b", "c"]`. @param {string} written @returns {unknown[] | null} */
function listIn(written) {
  if (!written.trimStart().startsWith('[')) return null;
  try {
    return exactParse(written);
  } catch {
    return null;
  }
}

/** @param {unknown} item */
const textOf = (item) => typeof item === 'string' ? item : exactText(item);

/** What an item means in a list of anything: `1` is a number there. @param {string} item */
function meant(item) {
  try {
    return exactParse(item);
  } catch {
    return item;
  }
}

/** The link that brings these parameters, as `fromLink` reads it. @param {string} workflow @param {unknown} params */
export function toLink(workflow, params) {
  const query = new URLSearchParams({ workflow });
  for (const [name, value] of Object.entries(params && typeof params === 'object' ? params : {})) {
    // What has no value is what a link does not bring.
    if (value !== null) query.set(name, isPlainList(value) ? value.join(',') : textOf(value));
  }
  return `/?${query}`;
}

/** Whether commas alone tell the items apart. @param {unknown} value @returns {value is unknown[]} */
function isPlainList(value) {
  return Array.isArray(value) && value.length > 0 && value.every((item) => typeof item === 'string'
    ? item !== '' && item === item.trim() && !/[,[]/.test(item) && meant(item) === item : typeof item === 'number' || typeof item === 'boolean');
}
