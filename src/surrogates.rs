//! Half letters: JSON can write a letter outside of the first 65536 as two escapes, a pair of surrogates (`\ud83d\ude00`), and
//! programs that cut texts by UTF-16 units send one of them alone. A lone half stands for no letter. It is read as U+FFFD, as
//! browsers do, and not as a mistake that makes all of the text unreadable. Two halves in two pieces of a stream are one letter.

use std::borrow::Cow;

use memchr::memmem;

/// What a lone half is read as, as an escape of the same length: places in the text stay where they are.
const REPLACEMENT: &[u8] = b"\\ufffd";
/// The length of an escape.
const ESCAPE: usize = REPLACEMENT.len();
/// Where the letters begin that stand for halves until the other half has come. They are the last ones of a private plane, where
/// no letter of any language is; a text that has one of them is never marked.
const MARKS: u32 = 0x10_F800;
const SURROGATES: u32 = 0xD800;

/// A JSON text in which each lone half of a pair is U+FFFD. What is right stays as it is, and costs one search for `\u`.
pub fn mended(json: &[u8]) -> Cow<'_, [u8]> {
    replaced(json, |_, mended| mended.extend_from_slice(REPLACEMENT))
}

/// The same for a text.
pub fn mended_text(json: &str) -> Cow<'_, str> {
    match mended(json.as_bytes()) {
        Cow::Borrowed(_) => Cow::Borrowed(json),
        // An escape was put in the place of another one.
        Cow::Owned(mended) => Cow::Owned(String::from_utf8(mended).expect("it was UTF-8 before")),
    }
}

/// A piece of a stream in which a letter stands for each lone half, for [`HalfJoiner`]. None: it has no lone half, or letters in
/// it that would be taken for halves.
pub fn marked(json: &[u8]) -> Option<Vec<u8>> {
    let written = |byte: &[u8]| byte.starts_with(&[0xF4, 0x8F]) && byte.get(2).is_some_and(|byte| *byte >= 0xA0);
    let has_marks = memmem::find_iter(json, &[0xF4, 0x8F]).any(|at| written(&json[at..]))
        || escapes(json).any(|(_, unit)| matches!(unit, 0xDBFE | 0xDBFF));
    if has_marks {
        return None;
    }
    let mark = |half: u16, marked: &mut Vec<u8>| {
        let letter = char::from_u32(MARKS + u32::from(half) - SURROGATES).expect("it is in the private plane");
        marked.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
    };
    match replaced(json, mark) {
        Cow::Owned(marked) => Some(marked),
        Cow::Borrowed(_) => None,
    }
}

/// Puts letters together whose halves come in two pieces of a text.
#[derive(Debug, Default)]
pub struct HalfJoiner {
    first: Option<u16>,
}

impl HalfJoiner {
    /// The next piece of a text with marks ([`marked`]), as far as its letters are whole: a half at its end waits for the other.
    pub fn next(&mut self, piece: &str) -> String {
        let mut joined = String::with_capacity(piece.len());
        for letter in piece.chars() {
            let half = half_of(letter);
            match (self.first.take(), half) {
                (Some(first), Some(second @ 0xDC00..)) => {
                    let pair = char::decode_utf16([first, second]).next();
                    joined.push(pair.and_then(Result::ok).unwrap_or(char::REPLACEMENT_CHARACTER));
                    continue;
                }
                (Some(_), _) => joined.push(char::REPLACEMENT_CHARACTER),
                (None, _) => {}
            }
            match half {
                Some(first @ ..0xDC00) => self.first = Some(first),
                Some(_) => joined.push(char::REPLACEMENT_CHARACTER),
                None => joined.push(letter),
            }
        }
        joined
    }

    /// What is left at the end of the text.
    pub fn end(&mut self) -> &'static str {
        if self.first.take().is_some() { "\u{fffd}" } else { "" }
    }

    /// A text of several pieces, with all of its letters whole.
    pub fn whole(text: &str) -> String {
        let mut joiner = Self::default();
        let mut joined = joiner.next(text);
        joined.push_str(joiner.end());
        joined
    }
}

/// The half that a letter stands for.
fn half_of(letter: char) -> Option<u16> {
    let half = u32::from(letter).checked_sub(MARKS)?;
    u16::try_from(half + SURROGATES).ok()
}

/// A JSON text with something else in the place of each lone half.
fn replaced(json: &[u8], mut put: impl FnMut(u16, &mut Vec<u8>)) -> Cow<'_, [u8]> {
    let mut replaced: Option<Vec<u8>> = None;
    let mut kept = 0;
    let mut escapes = escapes(json).peekable();
    while let Some((at, unit)) = escapes.next() {
        match unit {
            0xD800..0xDC00 => {
                let is_pair = |next: &(usize, u16)| next.0 == at + ESCAPE && matches!(next.1, 0xDC00..0xE000);
                if escapes.next_if(is_pair).is_some() {
                    continue;
                }
            }
            0xDC00..0xE000 => {}
            _ => continue,
        }
        let replaced = replaced.get_or_insert_with(|| Vec::with_capacity(json.len()));
        replaced.extend_from_slice(&json[kept..at]);
        put(unit, replaced);
        kept = at + ESCAPE;
    }
    match replaced {
        Some(mut replaced) => {
            replaced.extend_from_slice(&json[kept..]);
            Cow::Owned(replaced)
        }
        None => Cow::Borrowed(json),
    }
}

/// The escapes `\uXXXX` of a JSON text: where each begins, and its unit.
fn escapes(json: &[u8]) -> impl Iterator<Item = (usize, u16)> {
    memmem::find_iter(json, b"\\u").filter_map(|at| {
        // A backslash after an odd number of others is a letter of the text.
        let before = json[..at].iter().rev().take_while(|byte| **byte == b'\\').count();
        let digits = json.get(at + 2..at + ESCAPE)?;
        let is_escape = before % 2 == 0 && digits.iter().all(u8::is_ascii_hexdigit);
        let unit = std::str::from_utf8(digits).ok().and_then(|digits| u16::from_str_radix(digits, 16).ok());
        unit.filter(|_| is_escape).map(|unit| (at, unit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_half_is_one_replacement_and_what_is_right_stays() {
        for (json, wanted) in [
            (r#""\ud83d""#, r#""\ufffd""#),
            (r#""a\uD83Db""#, r#""a\ufffdb""#),
            (r#""\ude00""#, r#""\ufffd""#),
            (r#""\ude00\ud83d""#, r#""\ufffd\ufffd""#),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (r#""\ud83d \ude00""#, r#""\ufffd \ufffd""#),
            (r#""\\\ud83d""#, r#""\\\ufffd""#),
            (r#"{"\udbff": ["\udfff"]}"#, r#"{"\ufffd": ["\ufffd"]}"#),
        ] {
            assert_eq!(mended_text(json), wanted, "{json}");
            assert_eq!(mended(json.as_bytes()).len(), json.len(), "places stay where they are");
        }
        for right in [
            r#""\ud83d\ude00""#,
            r#""\\ud83d""#,
            r#""\\\\ud83d""#,
            r#""\u00e9 \ud7ff\ue000""#,
            "😀",
            r#""\ud8""#,
            "\\u",
            "",
        ] {
            assert!(matches!(mended(right.as_bytes()), Cow::Borrowed(_)), "{right}");
        }
    }

    #[test]
    fn two_halves_in_two_pieces_are_one_letter() {
        let read = |json: &str| {
            let marked = marked(json.as_bytes()).map(|marked| String::from_utf8(marked).unwrap());
            serde_json::from_str::<String>(marked.as_deref().unwrap_or(json)).unwrap()
        };
        let mut joiner = HalfJoiner::default();
        assert_eq!(joiner.next(&read(r#""Hi \ud83d""#)), "Hi ");
        assert_eq!(joiner.next(&read(r#""""#)), "");
        assert_eq!(joiner.next(&read(r#""\ude00! \ud83d""#)), "😀! ");
        assert_eq!(joiner.next(&read(r#""\ud83d""#)), "\u{fffd}");
        assert_eq!(joiner.next("x"), "\u{fffd}x");
        assert_eq!(joiner.next(&read(r#""\ude00\ud83d""#)), "\u{fffd}");
        assert_eq!((joiner.end(), joiner.end()), ("\u{fffd}", ""));
        assert_eq!(HalfJoiner::whole(&(read(r#""\ud83d""#) + &read(r#""\ude00""#))), "😀");
    }

    #[test]
    fn a_text_with_letters_of_the_private_plane_is_not_marked() {
        for json in ["\"\u{10F83D} \\ud83d\"", r#""\udbfe\udc3d \ud83d""#] {
            assert_eq!(marked(json.as_bytes()), None, "{json}");
        }
        assert!(marked(r#""\ud83d""#.as_bytes()).is_some());
        assert_eq!(marked(r#""\ud83d\ude00 é""#.as_bytes()), None, "nothing is to be marked");
    }

    #[test]
    fn noise_does_no_harm() {
        use rand::{RngExt, SeedableRng};
        let mut random = rand::rngs::StdRng::seed_from_u64(3);
        let parts = ["\\", "\\\\", "\\u", "\\ud83d", "\\ude00", "\\u00e9", "\"", "d83d", "😀", "\u{10FFFF}", "x"];
        for _ in 0..20_000 {
            let count = random.random_range(0..12);
            let text: String = (0..count).map(|_| parts[random.random_range(0..parts.len())]).collect();
            let mended = mended_text(&text);
            assert_eq!(mended_text(&mended), mended, "{text}");
            // What was JSON before is so now, and means the same.
            let json = format!("\"{text}\"");
            if let Ok(before) = serde_json::from_str::<String>(&json) {
                assert_eq!(serde_json::from_str::<String>(&mended_text(&json)).unwrap(), before, "{json}");
            }
            if let Some(marked) = marked(json.as_bytes()) {
                String::from_utf8(marked).unwrap();
            }
            HalfJoiner::whole(&text);
        }
    }
}
