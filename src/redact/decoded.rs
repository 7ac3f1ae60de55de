//! A text as whoever decodes it would read it: escapes of JSON, of URLs, of HTML and of Markdown undone, letters that cannot be
//! seen left out, wide digits and odd dashes made plain ones. Patterns look at it beside the text itself, and what they find
//! there is taken out of the text.

/// How often escapes are undone: what is escaped in something that is escaped.
const ROUNDS: usize = 3;
/// The longest escape that is waited for while a text is written, in bytes.
const LONGEST_ESCAPE: usize = 14;

/// A text with escapes undone, and where each byte of it comes from.
pub(super) struct DecodedText {
    /// What it reads.
    pub(super) text: String,
    /// Where the letter of each byte begins in the text that it was made from; one more for the end.
    places: Vec<usize>,
    /// From here on an escape may go on behind the end.
    pub(super) open: usize,
}

impl DecodedText {
    /// Where a byte comes from.
    pub(super) fn place(&self, at: usize) -> usize {
        self.places[at]
    }

    /// The first byte that comes from there or later.
    pub(super) fn first_from(&self, place: usize) -> usize {
        self.places.partition_point(|known| *known < place).min(self.text.len())
    }
}

/// What a text reads as from a place on, with escapes undone once, twice, and so on; nothing if there are none.
pub(super) fn rounds(text: &str, from: usize) -> Vec<DecodedText> {
    let mut rounds: Vec<DecodedText> = Vec::new();
    if !text[from..].bytes().any(|byte| !byte.is_ascii() || b"\\%&".contains(&byte)) {
        return rounds;
    }
    for _ in 0..ROUNDS {
        let next = match rounds.last() {
            None => decode(&text[from..], |at| from + at),
            Some(last) => decode(&last.text, |at| last.places[at]),
        };
        if let Some(last) = rounds.last_mut().filter(|last| last.text == next.text) {
            // What it ends with may still become an escape of what was read.
            last.open = last.open.min(next.open);
            break;
        }
        rounds.push(next);
    }
    rounds
}

fn decode(text: &str, place: impl Fn(usize) -> usize) -> DecodedText {
    let mut decoded =
        DecodedText { text: String::with_capacity(text.len()), places: Vec::with_capacity(text.len() + 1), open: 0 };
    let mut at = 0;
    let mut open = None;
    while at < text.len() {
        let rest = &text[at..];
        let letter = rest.chars().next().expect("there is more");
        let (read, length) = match letter {
            '\\' | '%' | '&' => escape(rest).unwrap_or((Some(letter), 1)),
            _ => (plain(letter), letter.len_utf8()),
        };
        if open.is_none() && "\\%&".contains(letter) && may_go_on(rest) {
            open = Some(decoded.text.len());
        }
        if let Some(read) = read {
            decoded.text.push(read);
            decoded.places.resize(decoded.text.len(), place(at));
        }
        at += length;
    }
    decoded.places.push(place(text.len()));
    decoded.open = open.unwrap_or(decoded.text.len());
    decoded
}

/// The letter that an escape at the beginning stands for, and the length of the escape.
fn escape(text: &str) -> Option<(Option<char>, usize)> {
    let bytes = text.as_bytes();
    let read = |letter: char, length: usize| Some((plain(letter), length));
    match (bytes[0], bytes.get(1)?) {
        (b'\\', b'u') if bytes.get(2) == Some(&b'{') => {
            let end = text[..text.len().min(LONGEST_ESCAPE)].find('}')?;
            read(char::from_u32(u32::from_str_radix(text.get(3..end)?, 16).ok()?)?, end + 1)
        }
        (b'\\', b'u') => {
            let first = hex(text, 2, 4)?;
            if let Some(letter) = char::from_u32(first) {
                return read(letter, 6);
            }
            let second = text.get(6..8).filter(|begin| *begin == "\\u").and_then(|_| hex(text, 8, 4))?;
            let mut pair = char::decode_utf16([first as u16, second as u16]);
            read(pair.next()?.ok()?, 12)
        }
        (b'\\', b'x') => read(char::from_u32(hex(text, 2, 2)?)?, 4),
        // As JSON and Markdown have it.
        (b'\\', second) if second.is_ascii_punctuation() => read(char::from(*second), 2),
        (b'%', _) => {
            let first = hex(text, 1, 2)? as u8;
            let length = match first {
                0..0x80 => 1,
                0xC0..0xE0 => 2,
                0xE0..0xF0 => 3,
                _ => 4,
            };
            let mut letter = Vec::with_capacity(length);
            for at in 0..length {
                (bytes.get(3 * at) == Some(&b'%')).then_some(())?;
                letter.push(hex(text, 3 * at + 1, 2)? as u8);
            }
            read(std::str::from_utf8(&letter).ok()?.chars().next()?, 3 * length)
        }
        (b'&', _) => {
            let end = bytes.iter().take(LONGEST_ESCAPE).position(|byte| *byte == b';')?;
            let name = &text[1..end];
            let letter = match name.strip_prefix('#') {
                Some(number) => {
                    let number = match number.strip_prefix(['x', 'X']) {
                        Some(digits) => u32::from_str_radix(digits, 16),
                        None => number.parse(),
                    };
                    char::from_u32(number.ok()?)?
                }
                None => ENTITIES.iter().find(|(known, _)| *known == name)?.1,
            };
            read(letter, end + 1)
        }
        _ => None,
    }
}

/// The names of HTML for what stands between digits and letters of what a pattern may be for.
const ENTITIES: [(&str, char); 22] = [
    ("amp", '&'),
    ("lt", '<'),
    ("gt", '>'),
    ("quot", '"'),
    ("apos", '\''),
    ("nbsp", ' '),
    ("period", '.'),
    ("commat", '@'),
    ("hyphen", '-'),
    ("dash", '-'),
    ("ndash", '-'),
    ("mdash", '-'),
    ("minus", '-'),
    ("lowbar", '_'),
    ("num", '#'),
    ("plus", '+'),
    ("colon", ':'),
    ("sol", '/'),
    ("lpar", '('),
    ("rpar", ')'),
    ("comma", ','),
    ("equals", '='),
];

fn hex(text: &str, from: usize, digits: usize) -> Option<u32> {
    let digits = text.get(from..from + digits)?;
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
}

/// Whether what begins like an escape and goes up to the end may become one, or a longer one.
fn may_go_on(text: &str) -> bool {
    if text.len() >= LONGEST_ESCAPE {
        return false;
    }
    let bytes = text.as_bytes();
    let all_hex = |from: usize| bytes[from.min(bytes.len())..].iter().all(u8::is_ascii_hexdigit);
    match (bytes[0], bytes.get(1)) {
        (_, None) => true,
        (b'\\', Some(b'u')) if bytes.get(2) == Some(&b'{') => all_hex(3),
        (b'\\', Some(b'u')) => {
            // The second half of a letter may come.
            let half = hex(text, 2, 4).is_some_and(|first| (0xD800..0xDC00).contains(&first));
            (bytes.len() < 6 && all_hex(2))
                || (half && bytes.len() < 12 && "\\u".starts_with(&text[6..text.len().min(8)]))
        }
        (b'\\', Some(b'x')) => bytes.len() < 4 && all_hex(2),
        (b'%', _) => {
            bytes.chunks(3).all(|part| part[0] == b'%' && part[1..].iter().all(u8::is_ascii_hexdigit))
                && escape(text).is_none()
        }
        (b'&', _) => bytes[1..].iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'#'),
        _ => false,
    }
}

/// A letter as it is looked for; none: it cannot be seen.
fn plain(letter: char) -> Option<char> {
    Some(match letter {
        '\0'..='\x7F' => letter,
        '\u{AD}'
        | '\u{34F}'
        | '\u{61C}'
        | '\u{115F}'
        | '\u{1160}'
        | '\u{17B4}'
        | '\u{17B5}'
        | '\u{180B}'..='\u{180F}' => {
            return None;
        }
        '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{3164}' => return None,
        '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{1D173}'..='\u{1D17A}' => return None,
        '\u{E0000}'..='\u{E0FFF}' => return None,
        '\u{A0}' | '\u{2000}'..='\u{200A}' | '\u{202F}' | '\u{205F}' | '\u{3000}' => ' ',
        '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{FE63}' => '-',
        '\u{FF01}'..='\u{FF5E}' => char::from_u32(letter as u32 - 0xFF01 + 0x21).unwrap_or(letter),
        '\u{1D7CE}'..='\u{1D7FF}' => char::from_digit((letter as u32 - 0x1D7CE) % 10, 10).unwrap_or(letter),
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        rounds(text, 0).pop().map_or_else(|| text.to_owned(), |decoded| decoded.text)
    }

    #[test]
    fn escapes_are_undone_as_deep_as_they_are_nested() {
        for (text, reads) in [
            (r"\u0030\x31\u{32}\-", "012-"),
            (r"\\u0030", "0"),
            ("%30%2531", "01"),
            ("%C3%A9%zz%", "é%zz%"),
            ("&#48;&#x31;&hyphen;&amp;#50;&unknown;", "01-2&unknown;"),
            ("0\u{200B}1\u{AD}2\u{FF13}\u{2011}\u{1D7D2}", "0123-4"),
            (r"\ud835\udfcf", "1"),
            (r"C:\new\ and 100% & more", r"C:\new\ and 100% & more"),
            ("äöü", "äöü"),
        ] {
            assert_eq!(read(text), reads, "{text}");
        }
    }

    #[test]
    fn each_letter_knows_where_it_comes_from() {
        let text = r"a\u0031b%32c";
        let decoded = rounds(text, 1).remove(0);
        assert_eq!(decoded.text, "1b2c");
        let places: Vec<usize> = (0..=4).map(|at| decoded.place(at)).collect();
        assert_eq!(places, [1, 7, 8, 11, 12]);
        assert_eq!((decoded.first_from(2), decoded.first_from(8)), (1, 2));
    }

    #[test]
    fn an_escape_that_is_not_whole_is_waited_for() {
        for begun in [
            r"x\",
            r"x\u",
            r"x\u00",
            r"x\u003",
            r"x\x3",
            "x%",
            "x%3",
            "x%C3",
            "x%C3%",
            "x&",
            "x&#4",
            "x&amp",
            r"x\ud835",
            r"x\ud835\u",
        ] {
            assert_eq!(rounds(begun, 0)[0].open, 1, "{begun}");
        }
        for whole in [r"x\u0030", "x%30", "x&#48;", "x& y", "x%y", r"x\-", r"x\ud835\udfcf"] {
            let decoded = rounds(whole, 0).remove(0);
            assert_eq!(decoded.open, decoded.text.len(), "{whole}");
        }
    }
}
