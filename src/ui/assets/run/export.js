// @ts-check
/**
 * A conversation as Markdown, from the same view that the page draws. Pure.
 *
 * What agents wrote is Markdown already; only its headings go below the speakers' own. What people wrote is not: it is escaped, so that it
 * reads as it was written.
 */

import { labelled } from '../form/schema.js';
import { reasonOf } from './state.js';
import { aboutReader, answererWords, answerText, buttonLabel, exactTime, outcomeWords, prettyJson, reasonWords } from '../text/words.js';
import { titleOf } from '../gateway/workflow-titles.js';

/** The speakers' headings are of the second rank; what is in a message is below them. */
const RANKS_BELOW = 2;

/** @param {import('./state.js').RunView} view @param {string} title @param {string | null} reader who takes it away */
export function toMarkdown(view, title, reader = null) {
  const started = view.createdAt ? exactTime(view.createdAt) : '';
  const by = view.user ? `${started ? '' : ', started'} by ${escapedLine(view.user)}` : '';
  const head = [`# ${escapedLine(title)}`, `Workflow: ${escapedLine(titleOf(view.workflow ?? ''))}${started ? `, started ${started}` : ''}${by}`,
    ...(reader ? [escapedLine(aboutReader(reader))] : [])];
  const body = view.items.flatMap((item) => itemMarkdown(item, reader));
  return [...head, ...body, ...endMarkdown(view, reader)].join('\n\n') + '\n';
}

/** @param {import('./state.js').Item} item @param {string | null} reader @returns {string[]} */
function itemMarkdown(item, reader) {
  const inside = item.within.length > 0 ? ` (inside ${item.within.map(({ title }) => title).join(' › ')})` : '';
  const speakers = escapedLine([item.sender, item.recipient].filter(Boolean).join(' → ') + inside);
  switch (item.kind) {
    // It stands there already, as the answer to the question for it, or as its buttons.
    case 'text': return item.standsInQuestion ? [] : [`## ${speakers || 'Message'}`, below(item.text) + (item.stopped ? ' … (stopped)' : item.cut && item.cut !== 'refusal' ? ' … (cut off)' : '')];
    case 'tool': return [
      `## ${speakers || 'Tool'}`, `Tool \`${item.name}\``,
      ...(item.asked ? [fenced(item.argumentsText ?? prettyJson(item.arguments ?? {}), 'json')] : []),
      ...(item.executed ? ['Result:', fenced(prettyJson(item.result), typeof item.result === 'string' ? '' : 'json')] : []),
    ];
    case 'question': return questionMarkdown(item, inside, reader);
    case 'system': return [`## ${speakers || 'System'}`, systemMarkdown(item.message)];
    case 'started': return item.description ? [escaped(item.description)] : [];
    case 'error': return [`## Error${speakers ? ` (${speakers})` : ''}`, escaped(item.short), ...(item.long ? [fenced(item.long, '')] : [])];
    case 'unknown': return [`## ${speakers || escapedLine(item.type)}`, fenced(prettyJson(item.raw), 'json')];
    default: return [];
  }
}

/** @param {import('./state.js').QuestionItem} item @param {string} inside @param {string | null} reader @returns {string[]} */
function questionMarkdown(item, inside, reader) {
  if (item.answer?.refused != null) return [];
  // What was said for an agent is told as said by it.
  const speakers = escapedLine([item.sender, item.saidTo ?? item.recipient].filter(Boolean).join(' → ') + inside);
  const asked = item.saidTo === null ? [below(item.content.in_short?.prompt ?? item.content.prompt ?? '')] : [];
  return [`## ${speakers || 'Question'}`, ...asked, item.answer ? quoted(answerMarkdown(item, item.answer, reader)) : '*(not answered)*'];
}

/** @param {import('./state.js').QuestionItem} item @param {import('./state.js').Answer} answer @param {string | null} reader */
function answerMarkdown(item, answer, reader) {
  const who = `**${answer.onTimeout ? 'Default' : escapedLine(answererWords(answer, reader))}:**`;
  if (item.question === 'form' && answer.value && typeof answer.value === 'object') {
    const lines = labelled(item.content.schema, answer.value).map(({ label, words }) => `- ${escapedLine(label)}: ${escaped(words).replaceAll('\n', '\n  ')}`);
    return [who, lines.join('\n')].join('\n\n');
  }
  const changed = item.question === 'approval' && answer.value?.arguments;
  return `${who} ${escaped(buttonLabel(item.content, answer.text) ?? answerText(answer))}${changed ? `\n\nWith other arguments:\n\n${fenced(answer.argumentsText ?? prettyJson(changed), 'json')}` : ''}`;
}

/** @param {any} message */
function systemMarkdown(message) {
  if (typeof message === 'string') return below(message);
  if (typeof message?.body === 'string') return [message.heading && `**${escapedLine(String(message.heading))}**`, below(message.body)].filter(Boolean).join('\n\n');
  return fenced(prettyJson(message), 'json');
}

/** @param {import('./state.js').RunView} view @param {string | null} reader */
function endMarkdown(view, reader) {
  if (!view.ending) return ['*(this run is still going on)*'];
  const { outcome, result, at } = view.ending;
  const reason = reasonOf(view);
  const ended = `The run ${outcome === 'cancelled' ? 'was' : 'has'} ${outcomeWords(outcome)} (${exactTime(at)})${reason ? `: ${escaped(reasonWords(reason, reader))}` : ''}`;
  if (outcome !== 'completed' || result === null || result === '') return ['---', ended];
  return ['---', ended, typeof result === 'string' ? below(result) : fenced(prettyJson(result), 'json')];
}

/** What begins or ends a mark of Markdown or HTML; an underscore inside a word does not, and an ampersand only before the name of a letter. */
const MARKS = /[\\`*[\]<~]|(?<!\w)_|_(?!\w)|&(?=#?\w+;)/g;
/** What is a mark at the beginning of a line only. */
const MARK_OF_A_LINE = /^([-+=#>|]|:(?=-))/;
const NUMBER_OF_A_LINE = /^(\d{1,9})(?=[.)](\s|$))/;

/** A text as it was written, whatever stands in it. @param {string} text */
function escaped(text) {
  const lines = text.replace(/\r\n?/g, '\n').split('\n').map((line) => {
    // Four spaces would make it code.
    const [indent] = /^[ \t]*/.exec(line) ?? [''];
    const words = line.slice(indent.length).replace(MARKS, '\\$&').replace(MARK_OF_A_LINE, '\\$1').replace(NUMBER_OF_A_LINE, '$1\\');
    return words === '' ? '' : '\u00a0'.repeat(indent.replaceAll('\t', '    ').length) + words;
  });
  // A backslash at its end keeps a line from running into the next.
  return lines.map((line, position) => (line && lines[position + 1] ? `${line}\\` : line)).join('\n');
}

/** @param {string} text */
const escapedLine = (text) => escaped(text.replace(/\s+/g, ' ').trim());

/**
 * Markdown inside a message: its headings go down to below the speaker's, but not what only looks like one inside of code. Code that was
 * never ended ends here, so that it does not swallow what the others said.
 * @param {string} markdown
 */
function below(markdown) {
  /** @type {string[]} */
  const lines = [];
  let fence = '';
  for (const line of markdown.replace(/\r\n?/g, '\n').split('\n')) {
    if (fence) {
      const marks = line.replace(/^[\s>]+/, '').trimEnd();
      if (marks.length >= fence.length && marks === fence[0].repeat(marks.length)) fence = '';
      lines.push(line);
      continue;
    }
    fence = /^[\s>]*(?:[-*+]\s+|\d+[.)]\s+)?(`{3,}(?=[^`]*$)|~{3,})/.exec(line)?.[1] ?? '';
    const underline = /^ {0,3}(=+|-+)\s*$/.exec(line)?.[1];
    if (underline && isParagraph(lines.at(-1))) {
      const from = lines.findLastIndex((each) => !isParagraph(each)) + 1;
      lines.push(`${'#'.repeat((underline[0] === '=' ? 1 : 2) + RANKS_BELOW)} ${lines.splice(from).map((each) => each.trim()).join(' ')}`);
    } else lines.push(line.replace(/^((?: {0,3}>)* {0,3})(#{1,6})(?=\s|$)/, (_, before, marks) => before + '#'.repeat(Math.min(6, marks.length + RANKS_BELOW))));
  }
  return [...lines, ...(fence ? [fence] : [])].join('\n');
}

/** Whether a line belongs to a paragraph, which a line of `===` below it makes a heading. @param {string | undefined} line */
function isParagraph(line) {
  return line !== undefined && line.trim() !== '' && !/^\s*(#{1,6}(\s|$)|>|[-*+]\s|\d+[.)]\s|\||`{3}|~{3})|^ {4}|^\t/.test(line);
}

/** The fence is longer than any inside. @param {string} text @param {string} language */
function fenced(text, language) {
  const longest = Math.max(2, ...[...text.matchAll(/`+/g)].map((run) => run[0].length));
  const fence = '`'.repeat(longest + 1);
  return `${fence}${language}\n${text}\n${fence}`;
}

/** @param {string} text */
const quoted = (text) => text.split('\n').map((line) => `> ${line}`.trimEnd()).join('\n');
