// @ts-check
/** Server-sent events out of the text of a stream; for pages and for what they share (events-worker.js). */

/**
 * Returns a function that takes the stream's text in pieces, cut anywhere, and hands out whole events.
 * @param {(name: string, data: string, id: string) => void} onEvent
 */
export function eventParser(onEvent) {
  let rest = '';
  let name = '';
  let id = '';
  /** @type {string[]} */
  let data = [];
  /** @param {string} line */
  const take = (line) => {
    if (line === '') {
      if (data.length > 0) onEvent(name || 'message', data.join('\n'), id);
      name = '';
      id = '';
      data = [];
      return;
    }
    const colon = line.indexOf(':');
    if (colon === 0) return;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(line[colon + 1] === ' ' ? colon + 2 : colon + 1);
    if (field === 'event') name = value;
    if (field === 'id') id = value;
    if (field === 'data') data.push(value);
  };
  /** @param {string} chunk */
  return (chunk) => {
    let from = 0;
    for (let end = chunk.indexOf('\n'); end >= 0; end = chunk.indexOf('\n', from)) {
      const line = rest + chunk.slice(from, end);
      rest = '';
      from = end + 1;
      take(line.endsWith('\r') ? line.slice(0, -1) : line);
    }
    rest += chunk.slice(from);
  };
}
