// @ts-check
/**
 * Addresses that stand in a text without any mark, where the server renders nothing: in what people write, and while a model writes.
 * As src/gateway/addresses.rs has it. Pure.
 */

/** Scripts without spaces between words. */
const SPACELESS = '\\u0e00-\\u0fff\\u1000-\\u109f\\u1100-\\u11ff\\u1780-\\u17ff\\u2e80-\\ua4cf\\ua960-\\ua97f\\uac00-\\ud7ff\\uf900-\\ufaff\\ufe10-\\ufe1f\\ufe30-\\ufe6f\\uff01-\\uffef\\u{20000}-\\u{3fffd}';
const GOES_ON = `(?:[!#-;=?-\\[\\]_a-zA-Z~]|(?![\\p{P}\\p{S}\\p{Z}\\p{C}${SPACELESS}])[^\\x00-\\x7f]|(?<=[/.=\\-_#?&]|[^\\x00-\\x7f])(?![\\p{P}\\p{S}\\p{Z}\\p{C}])[${SPACELESS}])`;
const PATTERN = new RegExp(`(?<![a-zA-Z0-9])(?<web>https?:[/]{2}(?=[\\p{L}\\p{N}[])${GOES_ON}+)`
  + `|(?<![a-zA-Z0-9/.@:_-])(?<www>www\\.(?=[\\p{L}\\p{N}-]+(?:\\.[\\p{L}\\p{N}-]+)*\\.?\\p{L}{2,})${GOES_ON}+)`
  + '|(?<![a-zA-Z0-9/@=&?%#._+-])(?<mail>(?:mailto:)?[a-zA-Z0-9][\\w.+-]{0,63}(?<!\\.)@(?:[a-zA-Z0-9][a-zA-Z0-9-]*\\.)+[a-zA-Z]{2,}(?![\\w@/-]|:[\\w/]))', 'giu');

const FILE = /\.(?:css|csv|docx|gif|html?|ini|jpe?g|js|json|lock|pdf|png|svg|toml|txt|xml|ya?ml)$/i;

/** @typedef {{at: number, words: string, target: string}} Address */

/** @param {string} text @returns {Address[]} */
export function addressesIn(text) {
  if (!/:\/\/|@|www\./i.test(text)) return [];
  return [...text.matchAll(PATTERN)].flatMap((match) => {
    const { web, www, mail } = match.groups ?? {};
    const words = mail ?? trimmed(web ?? www);
    if (www && !/^www\.[^/?#:]+\.[^/?#:.]{2,}/i.test(words)) return [];
    if (mail && FILE.test(mail)) return [];
    const target = mail ? mail.replace(/^(?!mailto:)/i, 'mailto:') : www ? ['http:', '', words].join('/') : words;
    return [{ at: match.index, words, target }];
  });
}

/** Without what ends the sentence around it, and without brackets that were opened before it. @param {string} address */
function trimmed(address) {
  let rest = address;
  for (;;) {
    const last = rest.at(-1) ?? '';
    const isOpened = last === ')' ? count(rest, ')') <= count(rest, '(') : last === ']' ? count(rest, ']') <= count(rest, '[') : true;
    if (!/[?!.,:;*_~'([]/.test(last) && isOpened) return rest;
    rest = rest.slice(0, -1);
  }
}

/** @param {string} text @param {string} letter */
const count = (text, letter) => text.split(letter).length - 1;

/**
 * The text in pieces, with something else in the place of each address.
 * @param {string} text @param {(address: Address) => (string | Node)[]} drawn @returns {(string | Node)[]}
 */
export function withAddresses(text, drawn) {
  /** @type {(string | Node)[]} */
  const parts = [];
  let end = 0;
  for (const address of addressesIn(text)) {
    parts.push(text.slice(end, address.at), ...drawn(address));
    end = address.at + address.words.length;
  }
  return [...parts, text.slice(end)];
}
