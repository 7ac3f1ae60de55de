// @ts-check
/** As much Markdown as the played conversations use. The real server renders all of it, and makes it safe. */

/** @param {string} text */
const escaped = (text) => text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;').replace(/"/g, '&quot;');

/** @param {string} text */
const inline = (text) => escaped(text)
  .replace(/`([^`]+)`/g, '<code>$1</code>')
  .replace(/\$\$([^$]+)\$\$/g, '<code class="language-math-display">$1</code>')
  .replace(/\$([^$\n]+)\$/g, '<code class="language-math">$1</code>')
  .replace(/\*\*([^*]+)\*\*/g, '<strong>$1</strong>')
  .replace(/\*([^*]+)\*/g, '<em>$1</em>')
  .replace(/\[([^\]]+)\]\((https?:[^)\s]+)\)/g, '<a href="$2">$1</a>');

/** @param {string} text */
export function renderMarkdown(text) {
  /** @type {string[]} */
  const blocks = [];
  const pattern = /```(\w*)\n([\s\S]*?)```|((?:^\|.*\|$\n?)+)|((?:^- .*$\n?)+)|^(#{1,4}) (.*)$|([^\n]+(?:\n(?!```|\||- |#)[^\n]+)*)/gm;
  for (const match of text.matchAll(pattern)) {
    const [, language, code, table, list, marks, heading, paragraph] = match;
    if (code !== undefined) blocks.push(`<pre><code${language ? ` class="language-${language}"` : ''}>${escaped(code)}</code></pre>`);
    else if (table) blocks.push(tableOf(table));
    else if (list) blocks.push(`<ul>${list.trim().split('\n').map((line) => `<li>${inline(line.slice(2))}</li>`).join('')}</ul>`);
    else if (heading) blocks.push(`<h${marks.length}>${inline(heading)}</h${marks.length}>`);
    else blocks.push(`<p>${inline(paragraph)}</p>`);
  }
  return blocks.join('\n');
}

/** @param {string} table */
function tableOf(table) {
  const rows = table.trim().split('\n').map((line) => line.slice(1, -1).split('|').map((cell) => inline(cell.trim())));
  const body = rows.slice(2).map((cells) => `<tr>${cells.map((cell) => `<td>${cell}</td>`).join('')}</tr>`).join('');
  return `<table><thead><tr>${rows[0].map((cell) => `<th>${cell}</th>`).join('')}</tr></thead><tbody>${body}</tbody></table>`;
}
