// @ts-check
/**
 * Formulas: the part of TeX that models write, as MathML, which every browser of today draws by itself. The server marks
 * formulas and leaves them as they were written; here they become elements, so nothing in a formula can ever be markup. What
 * this does not know stays readable as it was written.
 */

/** A longer or deeper formula stays as it was written. */
const LONGEST = 4_000;
const DEEPEST = 40;

/** @typedef {{tokens: string[], at: number, depth: number}} Reader */

class NotTeX extends Error {}

/** @param {string} text @param {boolean} isBlock @returns {Element | null} null: it is no formula that could be drawn */
export function mathOf(text, isBlock) {
  if (text.length > LONGEST) return null;
  try {
    const reader = { tokens: tokensOf(text), at: 0, depth: 0 };
    const row = readRow(reader, () => false);
    if (reader.at < reader.tokens.length) return null;
    const math = m('math', row);
    if (isBlock) math.setAttribute('display', 'block');
    math.setAttribute('alttext', text.trim());
    return math;
  } catch (error) {
    if (error instanceof NotTeX) return null;
    throw error;
  }
}

const NAMESPACE = 'http://www.w3.org/1998/Math/MathML';

/** @param {string} tag @param {...(Node | string)} children */
function m(tag, ...children) {
  const element = document.createElementNS(NAMESPACE, tag);
  element.append(...children);
  return element;
}

/** @param {string} tag @param {Record<string, string>} attributes @param {...(Node | string)} children */
function mWith(tag, attributes, ...children) {
  const element = m(tag, ...children);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

/** @param {string} text */
function tokensOf(text) {
  return text.match(/\\(?:[a-zA-Z]+\*?|[^])|\d+(?:[.,]\d+)*|%[^\n]*|\s+|[^]/gu)?.filter((token) => !token.startsWith('%')) ?? [];
}

/** @param {Reader} reader */
function peek(reader) {
  while (/^\s+$/.test(reader.tokens[reader.at] ?? '')) reader.at += 1;
  return reader.tokens[reader.at];
}

/** @param {Reader} reader */
function next(reader) {
  const token = peek(reader);
  if (token === undefined) throw new NotTeX('it ends too early');
  reader.at += 1;
  return token;
}

/** Reads up to a token that ends the row, which stays there. @param {Reader} reader @param {(token: string) => boolean} isEnd @returns {Element} */
function readRow(reader, isEnd) {
  reader.depth += 1;
  if (reader.depth > DEEPEST) throw new NotTeX('it is too deep');
  /** @type {Element[]} */
  const parts = [];
  for (let token = peek(reader); token !== undefined && token !== '}' && !isEnd(token); token = peek(reader)) {
    const part = readScripted(reader);
    if (part) parts.push(part);
  }
  reader.depth -= 1;
  return parts.length === 1 ? parts[0] : m('mrow', ...parts);
}

/** One thing with what stands above and below it. @param {Reader} reader @returns {Element | null} */
function readScripted(reader) {
  const first = peek(reader);
  const base = first === '^' || first === '_' ? m('mrow') : readAtom(reader);
  if (!base) return null;
  /** @type {Element | null} */
  let above = null;
  /** @type {Element | null} */
  let below = null;
  for (let token = peek(reader); token === '^' || token === '_' || token === "'"; token = peek(reader)) {
    reader.at += 1;
    if (token === "'") above = above ? m('mrow', above, m('mo', '′')) : m('mo', '′');
    else if (token === '^') above = above ? m('mrow', above, readArgument(reader)) : readArgument(reader);
    else below = readArgument(reader);
  }
  if (!above && !below) return base;
  const isLarge = base.getAttribute('movablelimits') === 'true';
  if (above && below) return m(isLarge ? 'munderover' : 'msubsup', base, below, above);
  return above ? m(isLarge ? 'mover' : 'msup', base, above) : m(isLarge ? 'munder' : 'msub', base, /** @type {Element} */ (below));
}

/** `{…}`, or the next thing. @param {Reader} reader @returns {Element} */
function readArgument(reader) {
  if (peek(reader) === '{') {
    reader.at += 1;
    const row = readRow(reader, () => false);
    if (next(reader) !== '}') throw new NotTeX('a brace is not closed');
    return row;
  }
  return readAtom(reader) ?? m('mrow');
}

/** The words in `{…}`, as they stand there. @param {Reader} reader */
function readWords(reader) {
  if (peek(reader) !== '{') return next(reader);
  reader.at += 1;
  let words = '';
  for (let depth = 1; ; reader.at += 1) {
    const token = reader.tokens[reader.at];
    if (token === undefined) throw new NotTeX('a brace is not closed');
    if (token === '{') depth += 1;
    if (token === '}') depth -= 1;
    if (depth === 0) break;
    words += token;
  }
  reader.at += 1;
  return words;
}

/** @param {Reader} reader @returns {Element | null} null: it shows nothing */
function readAtom(reader) {
  const token = next(reader);
  if (token === '{') {
    reader.at -= 1;
    return readArgument(reader);
  }
  if (token === '}' || token === '&') throw new NotTeX(`${token} stands alone`);
  if (token.startsWith('\\')) return readCommand(token.slice(1), reader);
  if (/^\d/.test(token)) return m('mn', token);
  if (/^\p{L}$/u.test(token)) return m('mi', token);
  if (token === '~') return mWith('mspace', { width: '0.33em' });
  return m('mo', { '-': '−', '*': '∗' }[token] ?? token);
}

/** @param {string} name @param {Reader} reader @returns {Element | null} */
function readCommand(name, reader) {
  if (Object.hasOwn(LETTERS, name)) return m('mi', LETTERS[name]);
  if (Object.hasOwn(OPERATORS, name)) return m('mo', OPERATORS[name]);
  if (Object.hasOwn(LARGE, name)) return mWith('mo', { movablelimits: String(!name.endsWith('int')), largeop: 'true' }, LARGE[name]);
  if (Object.hasOwn(ACCENTS, name)) return mWith('mover', { accent: 'true' }, readArgument(reader), mWith('mo', { stretchy: String(WIDE.has(name)) }, ACCENTS[name]));
  if (Object.hasOwn(SPACES, name)) return mWith('mspace', { width: SPACES[name] });
  if (Object.hasOwn(ALPHABETS, name)) return inAlphabet(readWords(reader), ALPHABETS[name]);
  if (LIMITS.has(name)) return mWith('mo', { movablelimits: 'true', lspace: '0', rspace: '0.17em' }, name);
  if (FUNCTIONS.has(name)) return m('mi', name);
  switch (name) {
    case 'frac': case 'dfrac': case 'tfrac': case 'cfrac': return m('mfrac', readArgument(reader), readArgument(reader));
    case 'binom': return m('mrow', m('mo', '('), mWith('mfrac', { linethickness: '0' }, readArgument(reader), readArgument(reader)), m('mo', ')'));
    case 'sqrt': {
      if (peek(reader) !== '[') return m('msqrt', readArgument(reader));
      reader.at += 1;
      const index = readRow(reader, (token) => token === ']');
      next(reader);
      return m('mroot', readArgument(reader), index);
    }
    case 'text': case 'textrm': case 'textbf': case 'textit': case 'mbox': return m('mtext', readWords(reader).replace(/\\(.)/g, '$1').replace(/^ | $/g, '\u00a0'));
    case 'mathrm': case 'operatorname': case 'operatorname*': case 'mathit': case 'mathsf': case 'mathtt': return mWith('mi', { mathvariant: 'normal' }, readWords(reader));
    case 'overline': return m('mover', readArgument(reader), mWith('mo', { stretchy: 'true' }, '‾'));
    case 'underline': return m('munder', readArgument(reader), mWith('mo', { stretchy: 'true' }, '_'));
    case 'overbrace': return m('mover', readArgument(reader), mWith('mo', { stretchy: 'true' }, '⏞'));
    case 'underbrace': return mWith('munder', {}, readArgument(reader), mWith('mo', { stretchy: 'true' }, '⏟'));
    case 'overset': case 'stackrel': { const over = readArgument(reader); return m('mover', readArgument(reader), over); }
    case 'underset': { const under = readArgument(reader); return m('munder', readArgument(reader), under); }
    case 'boxed': return readArgument(reader);
    case 'left': return readFence(reader);
    case 'big': case 'Big': case 'bigg': case 'Bigg': case 'bigl': case 'bigr': case 'Bigl': case 'Bigr': return m('mo', fence(next(reader)));
    case 'begin': return readEnvironment(reader);
    case 'displaystyle': case 'textstyle': case 'limits': case 'nolimits': case 'label': case 'nonumber': case 'notag': return null;
    case 'pmod': return m('mrow', m('mo', '('), m('mi', 'mod'), mWith('mspace', { width: '0.33em' }), readArgument(reader), m('mo', ')'));
    case '\\': return mWith('mspace', { linebreak: 'newline' });
    case 'right': case 'end': case 'middle': throw new NotTeX(`\\${name} stands alone`);
    default: return /^[a-zA-Z]/.test(name) ? m('mtext', `\\${name}`) : m('mo', name);
  }
}

/** @param {string} token */
function fence(token) {
  if (token === '.') return '';
  const name = token.replace(/^\\/, '');
  return Object.hasOwn(FENCES, name) ? FENCES[name] : OPERATORS[name] ?? name;
}

/** `\left( … \right)`, which are as high as what they hold. @param {Reader} reader */
function readFence(reader) {
  const tall = { stretchy: 'true', fence: 'true' };
  /** @type {Element[]} */
  const parts = [mWith('mo', tall, fence(next(reader)))];
  for (;;) {
    parts.push(readRow(reader, (token) => token === '\\right' || token === '\\middle'));
    const end = next(reader);
    parts.push(mWith('mo', tall, fence(next(reader))));
    if (end === '\\right') return m('mrow', ...parts);
    if (end !== '\\middle') throw new NotTeX('\\left has no \\right');
  }
}

/** Matrices, cases and equations one below the other. @param {Reader} reader */
function readEnvironment(reader) {
  const name = readWords(reader).replace('*', '');
  if (!Object.hasOwn(ENVIRONMENTS, name)) throw new NotTeX(`nobody knows ${name}`);
  if (name === 'array') readWords(reader);
  const [before, after] = ENVIRONMENTS[name];
  const isAligned = ['aligned', 'align', 'split', 'eqnarray', 'gathered', 'gather', 'equation'].includes(name);
  const table = m('mtable');
  if (isAligned) table.setAttribute('displaystyle', 'true');
  if (name === 'cases') table.setAttribute('columnalign', 'left');
  /** @type {Element[]} */
  let cells = [];
  const endRow = () => {
    if (cells.some((cell) => cell.childNodes.length > 0)) table.append(m('mtr', ...cells));
    cells = [];
  };
  for (;;) {
    const cell = m('mtd', readRow(reader, (token) => token === '&' || token === '\\\\' || token === '\\end'));
    if (isAligned) cell.setAttribute('class', cells.length % 2 === 0 ? 'align-right' : 'align-left');
    if (name === 'cases') cell.setAttribute('class', 'align-left');
    cells.push(cell);
    const token = next(reader);
    if (token === '\\\\') endRow();
    else if (token === '\\end') break;
    else if (token !== '&') throw new NotTeX('a table is not closed');
  }
  endRow();
  if (readWords(reader).replace('*', '') !== name) throw new NotTeX(`${name} is not closed`);
  const tall = { stretchy: 'true', fence: 'true' };
  return m('mrow', ...(before ? [mWith('mo', tall, before)] : []), table, ...(after ? [mWith('mo', tall, after)] : []));
}

/** Bold and other letters are characters of their own. @param {string} words @param {{upper: number, lower: number, except: Record<string, string>}} alphabet */
function inAlphabet(words, { upper, lower, except }) {
  const letters = [...words].map((letter) => {
    if (Object.hasOwn(except, letter)) return except[letter];
    const code = letter.codePointAt(0) ?? 0;
    if (/[A-Z]/.test(letter)) return String.fromCodePoint(upper + code - 65);
    return lower > 0 && /[a-z]/.test(letter) ? String.fromCodePoint(lower + code - 97) : letter;
  });
  return mWith('mi', { mathvariant: 'normal' }, letters.join(''));
}

/** @param {string} pairs "name character" pairs @returns {Record<string, string>} */
const table = (pairs) => Object.fromEntries(pairs.trim().split(/\s+/).map((_, position, all) => [all[position], all[position + 1]]).filter((_, position) => position % 2 === 0));

const LETTERS = table(`alpha α beta β gamma γ delta δ epsilon ϵ varepsilon ε zeta ζ eta η theta θ vartheta ϑ iota ι kappa κ lambda λ mu μ nu ν xi ξ
pi π varpi ϖ rho ρ varrho ϱ sigma σ varsigma ς tau τ upsilon υ phi ϕ varphi φ chi χ psi ψ omega ω Gamma Γ Delta Δ Theta Θ Lambda Λ
Xi Ξ Pi Π Sigma Σ Upsilon Υ Phi Φ Psi Ψ Omega Ω infty ∞ partial ∂ nabla ∇ ell ℓ hbar ℏ Re ℜ Im ℑ aleph ℵ emptyset ∅ varnothing ∅
angle ∠ triangle △ square □ ldots … dots … cdots ⋯ vdots ⋮ ddots ⋱ degree ° top ⊤ bot ⊥ checkmark ✓ % % $ $ # # _ _ & &`);
const OPERATORS = table(`times × cdot ⋅ div ÷ pm ± mp ∓ ast ∗ star ⋆ circ ∘ bullet • le ≤ leq ≤ ge ≥ geq ≥ ne ≠ neq ≠ ll ≪ gg ≫ approx ≈
equiv ≡ sim ∼ simeq ≃ cong ≅ propto ∝ to → rightarrow → leftarrow ← leftrightarrow ↔ Rightarrow ⇒ Leftarrow ⇐ Leftrightarrow ⇔ iff ⟺
implies ⟹ longrightarrow ⟶ mapsto ↦ uparrow ↑ downarrow ↓ in ∈ notin ∉ ni ∋ subset ⊂ subseteq ⊆ supset ⊃ supseteq ⊇ cup ∪ cap ∩
setminus ∖ land ∧ wedge ∧ lor ∨ vee ∨ neg ¬ lnot ¬ forall ∀ exists ∃ nexists ∄ mid ∣ parallel ∥ perp ⊥ oplus ⊕ otimes ⊗ colon :
langle ⟨ rangle ⟩ lfloor ⌊ rfloor ⌋ lceil ⌈ rceil ⌉ lvert | rvert | vert | Vert ‖ lVert ‖ rVert ‖ { { } } | ‖ prime ′ therefore ∴ because ∵
models ⊨ vdash ⊢ bmod mod`);
const LARGE = table('sum ∑ prod ∏ coprod ∐ int ∫ iint ∬ iiint ∭ oint ∮ bigcup ⋃ bigcap ⋂ bigoplus ⨁ bigotimes ⨂ bigvee ⋁ bigwedge ⋀');
const ACCENTS = table('hat ^ widehat ^ bar ¯ vec → tilde ~ widetilde ~ dot ˙ ddot ¨ overrightarrow → overleftarrow ←');
const WIDE = new Set(['widehat', 'widetilde', 'overrightarrow', 'overleftarrow']);
const SPACES = /** @type {Record<string, string>} */ ({ ',': '0.17em', ':': '0.22em', ';': '0.28em', '!': '-0.17em', ' ': '0.33em', quad: '1em', qquad: '2em', thinspace: '0.17em' });
const FENCES = table('lbrace { rbrace } { { } } | ‖ lbrack [ rbrack ] langle ⟨ rangle ⟩');
const ENVIRONMENTS = /** @type {Record<string, [string, string]>} */ ({
  matrix: ['', ''], pmatrix: ['(', ')'], bmatrix: ['[', ']'], Bmatrix: ['{', '}'], vmatrix: ['|', '|'], Vmatrix: ['‖', '‖'], cases: ['{', ''], array: ['', ''],
  aligned: ['', ''], align: ['', ''], split: ['', ''], eqnarray: ['', ''], gathered: ['', ''], gather: ['', ''], equation: ['', ''],
});
const ALPHABETS = /** @type {Record<string, {upper: number, lower: number, except: Record<string, string>}>} */ ({
  mathbf: { upper: 0x1d400, lower: 0x1d41a, except: {} }, boldsymbol: { upper: 0x1d468, lower: 0x1d482, except: {} }, bm: { upper: 0x1d468, lower: 0x1d482, except: {} },
  mathbb: { upper: 0x1d538, lower: 0x1d552, except: { C: 'ℂ', H: 'ℍ', N: 'ℕ', P: 'ℙ', Q: 'ℚ', R: 'ℝ', Z: 'ℤ' } },
  mathcal: { upper: 0x1d49c, lower: 0, except: { B: 'ℬ', E: 'ℰ', F: 'ℱ', H: 'ℋ', I: 'ℐ', L: 'ℒ', M: 'ℳ', R: 'ℛ' } },
  mathfrak: { upper: 0x1d504, lower: 0x1d51e, except: { C: 'ℭ', H: 'ℌ', I: 'ℑ', R: 'ℜ', Z: 'ℨ' } },
});
const FUNCTIONS = new Set('sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log ln lg exp dim ker deg arg hom'.split(' '));
const LIMITS = new Set('lim sup inf max min det gcd Pr limsup liminf argmax argmin'.split(' '));
