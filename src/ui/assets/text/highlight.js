// @ts-check
/**
 * Colours code a little: comments, strings, numbers and keywords of the languages that models write most. One expression for
 * all of them: a wrong colour now and then costs nothing, a grammar for each language would cost the page its lightness.
 */

import { h } from '../elements/dom.js';

/** Longer code stays plain, so that one huge block cannot hold up the page. */
const LONGEST = 40_000;

const HASH_COMMENTS = new Set(['python', 'py', 'bash', 'sh', 'shell', 'yaml', 'yml', 'toml', 'ruby', 'rb', 'r', 'dockerfile']);
const PLAIN = new Set(['', 'text', 'txt', 'plain', 'plaintext', 'markdown', 'md', 'output', 'console', 'diff']);

const KEYWORDS = new Set((`abstract and as assert async await bool break case catch char class const continue def default del
do double elif else enum except export extends false finally float fn for from func function global if impl implements
import in int interface is lambda let long loop match mod mut new nil none None not null or package pass private protected
pub public raise ref return self static str string struct super switch this throw trait true True False try type typeof
undefined unsafe use using var void where while with yield select SELECT FROM WHERE INSERT INTO VALUES UPDATE SET DELETE
CREATE TABLE JOIN LEFT ON GROUP BY ORDER LIMIT AND OR NOT NULL AS echo then fi done esac`).split(/\s+/));

/** @param {HTMLElement} code @param {string} language */
export function highlight(code, language) {
  const text = code.textContent ?? '';
  if (PLAIN.has(language) || text.length > LONGEST) return;
  const comment = HASH_COMMENTS.has(language) ? '#[^\\n]*' : language === 'sql' ? '--[^\\n]*' : '\\/\\/[^\\n]*|\\/\\*[\\s\\S]*?\\*\\/|<!--[\\s\\S]*?-->';
  const token = new RegExp(
    `(?<comment>${comment})`
    + '|(?<string>"(?:[^"\\\\\\n]|\\\\.)*"|\'(?:[^\'\\\\\\n]|\\\\.)*\'|`(?:[^`\\\\]|\\\\.)*`)'
    + '|(?<number>\\b\\d[\\d_]*(?:\\.\\d+)?(?:[eE][+-]?\\d+)?\\b)'
    + '|(?<word>[A-Za-z_$][\\w$]*)', 'g');
  /** @type {(string | Node)[]} */
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(token)) {
    const groups = match.groups ?? {};
    const kind = groups.comment ? 'comment' : groups.string ? 'string' : groups.number ? 'number'
      : KEYWORDS.has(groups.word) ? 'keyword' : text[match.index + match[0].length] === '(' ? 'call' : null;
    if (!kind) continue;
    parts.push(text.slice(end, match.index), h('span', { class: `code-${kind}` }, match[0]));
    end = match.index + match[0].length;
  }
  code.replaceChildren(...parts, text.slice(end));
}
