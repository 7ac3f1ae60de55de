// @ts-check
/**
 * JSON with the digits that stand in it: a number that JavaScript would round is kept as its text. What somebody allows must not
 * come back as another number than the one that was shown. Pure.
 */

/** A number that JavaScript would write in other digits; arithmetic works as with any other. */
export class ExactNumber extends Number {
  #text;

  /** @param {string} text */
  constructor(text) {
    super(text);
    this.#text = text;
  }

  toString() {
    return this.#text;
  }
}

/** Whether a value is a list or an object with nothing in it; a number is something. @param {unknown} value */
export const isEmptyObject = (value) => isObject(value) && Object.keys(value).length === 0;

/** Whether a value is a list or an object. @param {unknown} value @returns {value is object} */
export const isObject = (value) => typeof value === 'object' && value !== null && !(value instanceof ExactNumber);

/** Nothing that comes over the network holds it: it is made here, anew for every page. */
const MARK = `exact-${Math.random().toString(36).slice(2)}-${Math.random().toString(36).slice(2)}`;
const TOKEN = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;

/** @param {string} written as a person writes a number, or JSON does */
export function numberOf(written) {
  const number = written.trim().replace(/^\+/, '').replace(/^(-?)0+(?=\d)/, '$1');
  if (!NUMBER.test(number)) return Number(written);
  return String(Number(number)) === number ? Number(number) : new ExactNumber(number);
}

/** Whether a number is an integer as JSON Schema counts, where 1.0 and 1e3 are: its text decides, which is not rounded. @param {ExactNumber | number} number */
export function isInteger(number) {
  const [, whole, fraction = '', exponent = '0'] = /^-?(\d+)(?:\.(\d+))?(?:e([+-]?\d+))?$/i.exec(String(number)) ?? [];
  if (whole === undefined) return false;
  const significant = (whole + fraction).replace(/0+$/, '').length;
  return /^0*$/.test(whole + fraction) || whole.length + Number(exponent) >= significant;
}

/** What begins like a number that is not kept: few texts have one. */
const LIKELY = /(?:^|[[:,\s])-?(?:\d{9}|\d+\.\d*(?:0(?!\d)|\d{7})|\d+(?:\.\d+)?e|0(?<=-0)(?![.\d]))/i;

/** @param {string} text @returns {any} */
export function exactParse(text) {
  if (!LIKELY.test(text)) return JSON.parse(text);
  const marked = text.replace(TOKEN, (token) => {
    if (token.startsWith('"') || !(numberOf(token) instanceof ExactNumber)) return token;
    return `{"${MARK}":"${token}"}`;
  });
  return JSON.parse(marked, (_, value) => value && typeof value === 'object' && typeof value[MARK] === 'string' ? new ExactNumber(value[MARK]) : value);
}

/** @param {unknown} value @param {number} [indent] @returns {string} */
export function exactText(value, indent) {
  /** @this {any} @param {string} key @param {unknown} each */
  const replacer = function mark(key, each) {
    return this[key] instanceof ExactNumber ? `${MARK}${this[key]}` : each;
  };
  const text = JSON.stringify(value, replacer, indent) ?? '';
  return text.includes(MARK) ? text.replaceAll(new RegExp(`"${MARK}([^"]*)"`, 'g'), '$1') : text;
}
