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
