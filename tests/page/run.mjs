// @ts-check
/**
 * Passes the tests of the page, file by file, as CI does: `npm test`, or `node run.mjs one.test.mjs` for some. A file that failed is
 * tried once more: if it passes then, it is named FLAKY, for somebody to mend, and nothing else is lost by it.
 */

import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';

const folder = import.meta.dirname;
const files = process.argv.length > 2 ? process.argv.slice(2) : (await readdir(folder)).filter((name) => name.endsWith('.test.mjs')).sort();

/** @type {Record<string, number>} */
const counts = {};
const failed = await thoseThatFail(files, count);
const failedTwice = await thoseThatFail(failed, () => {});

console.log(Object.entries(counts).map(([what, number]) => `${what} ${number}`).join(', '));
for (const name of failed.filter((each) => !failedTwice.includes(each))) console.log(`FLAKY ${name}: failed, and passed when it was tried once more`);
for (const name of failedTwice) console.log(`FAILED ${name}: twice`);
process.exitCode = failedTwice.length > 0 ? 1 : 0;

/** @param {string[]} names @param {(words: string) => void} onSummary hears what a file says of itself at its end */
async function thoseThatFail(names, onSummary) {
  const found = [];
  for (const name of names) {
    console.log(`== ${name}`);
    let passes = true;
    const events = run({ files: [join(folder, name)] });
    events.on('test:fail', () => { passes = false; });
    events.on('test:diagnostic', ({ message }) => onSummary(message));
    for await (const text of events.compose(new spec())) process.stdout.write(text);
    if (!passes) found.push(name);
  }
  return found;
}

/** @param {string} words */
function count(words) {
  const [, what, number] = /^(tests|pass|fail|skipped) (\d+)$/.exec(words) ?? [];
  if (what) counts[what] = (counts[what] ?? 0) + Number(number);
}
