// @ts-check
/** A conversation as Markdown, from the same view that the page draws. Pure. */

import { answererWords, answerText, outcomeWords, prettyJson, workflowTitle } from './words.js';

/** @param {import('./state.js').RunView} view @param {string} title */
export function toMarkdown(view, title) {
  const head = [`# ${title}`, `Workflow: ${workflowTitle({ name: view.workflow ?? '' })}${view.createdAt ? `, started ${view.createdAt}` : ''}`];
  const body = view.items.flatMap((item) => itemMarkdown(item, view));
  return [...head, ...body, ...endMarkdown(view)].join('\n\n') + '\n';
}

/** @param {import('./state.js').Item} item @param {import('./state.js').RunView} view @returns {string[]} */
function itemMarkdown(item, view) {
  const inside = item.within.length > 0 ? ` (inside ${item.within.map(({ title }) => title).join(' › ')})` : '';
  const speakers = [item.sender, item.recipient].filter(Boolean).join(' → ') + inside;
  switch (item.kind) {
    case 'text': return [`## ${speakers || 'Message'}`, item.text + (item.stopped ? ' … (stopped)' : '')];
    case 'tool': return [
      `## ${speakers || 'Tool'}`, `Tool \`${item.name}\``,
      ...(item.asked ? [fenced(prettyJson(item.arguments ?? {}), 'json')] : []),
      ...(item.executed ? ['Result:', fenced(prettyJson(item.result), typeof item.result === 'string' ? '' : 'json')] : []),
    ];
    case 'question': return item.answer?.refused != null ? [] : [
      `## ${speakers || 'Question'}`, item.content.prompt ?? '',
      item.answer ? quoted(`**${item.answer.onTimeout ? 'Default' : answererWords(item.answer, view.user)}:** ${answerText(item.answer)}`) : '*(not answered)*',
    ];
    case 'system': return [`## ${speakers || 'System'}`, systemMarkdown(item.message)];
    case 'started': return item.description ? [item.description] : [];
    case 'error': return [`## Error${speakers ? ` (${speakers})` : ''}`, item.short, ...(item.long ? [fenced(item.long, '')] : [])];
    case 'unknown': return [`## ${speakers || item.type}`, fenced(prettyJson(item.raw), 'json')];
    default: return [];
  }
}

/** @param {any} message */
function systemMarkdown(message) {
  if (typeof message === 'string') return message;
  if (typeof message?.body === 'string') return [message.heading && `**${message.heading}**`, message.body].filter(Boolean).join('\n\n');
  return fenced(prettyJson(message), 'json');
}

/** @param {import('./state.js').RunView} view */
function endMarkdown(view) {
  if (!view.ending) return ['*(this run is still going on)*'];
  const { outcome, reason, result } = view.ending;
  return ['---', `The run ${outcome === 'cancelled' ? 'was' : 'has'} ${outcomeWords(outcome)}${reason ? `: ${reason}` : ''}`,
    ...(result === null || result === '' ? [] : [typeof result === 'string' ? result : fenced(prettyJson(result), 'json')])];
}

/** The fence is longer than any inside. @param {string} text @param {string} language */
function fenced(text, language) {
  const longest = Math.max(2, ...[...text.matchAll(/`+/g)].map((run) => run[0].length));
  const fence = '`'.repeat(longest + 1);
  return `${fence}${language}\n${text}\n${fence}`;
}

/** @param {string} text */
const quoted = (text) => text.split('\n').map((line) => `> ${line}`).join('\n');
