// @ts-check
/**
 * JSON with the digits that stand in it: a number that JavaScript would round is kept as its text. What somebody allows must not
 * come back as another number than the one that was shown. Pure.
 */

/** A number with more digits than JavaScript keeps. */
export class ExactNumber {
  /** @param {string} text */
  constructor(text) {
    this.text = text;
  }

  toString() {
    return this.text;
  }

  /** `JSON.stringify` writes a plain number. */
  toJSON() {
    return Number(this.text);
  }
}

/** Nothing that comes over the network holds it: it is made here, anew for every page. */
const MARK = `exact-${Math.random().toString(36).slice(2)}-${Math.random().toString(36).slice(2)}`;
const TOKEN = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;

/** @param {string} written as a person writes a number, or JSON does */
export function numberOf(written) {
  const number = written.trim().replace(/^\+/, '').replace(/^(-?)0+(?=\d)/, '$1');
  if (!NUMBER.test(number)) return Number(written);
  const isWhole = /^-?\d+$/.test(number);
  const digits = number.replace(/[eE].*$/, '').replace(/[^\d]/g, '').replace(/^0+/, '');
  const isKept = isWhole ? Number.isSafeInteger(Number(number)) : digits.length <= 15;
  return isKept ? Number(number) : new ExactNumber(number);
}

/** @param {string} text @returns {any} */
export function exactParse(text) {
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
    return this[key] instanceof ExactNumber ? `${MARK}${this[key].text}` : each;
  };
  const text = JSON.stringify(value, replacer, indent) ?? '';
  return text.includes(MARK) ? text.replaceAll(new RegExp(`"${MARK}([^"]*)"`, 'g'), '$1') : text;
}
