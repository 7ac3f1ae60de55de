//! Letters that a reader cannot see, or takes for others: written out as JSON escapes (`\u200b`), so that what is shown is what
//! there is. [`one_line`] is for logs, [`written_out`] for what people decide on; the page, the terminal, exports and
//! FastAgency's clients get the same text.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::LazyLock;

use serde_json::Value;
use unicode_general_category::{GeneralCategory, get_general_category};
use unicode_script::{Script, UnicodeScript};
use unicode_security::skeleton;

/// Letters and marks that Unicode calls default-ignorable, but that are of a category that is otherwise seen; and the one
/// symbol that is blank.
fn is_blank(c: char) -> bool {
    matches!(c,
        '\u{34f}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{2065}'
        | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// Whether a character moves, ends or hides others, or is not seen itself: control and format characters (those that turn the
/// direction of writing are among them), separators of lines, and fillers.
pub fn is_hidden(c: char) -> bool {
    use GeneralCategory::{Control, Format, LineSeparator, ParagraphSeparator};
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    is_blank(c) || matches!(get_general_category(c), Control | Format | LineSeparator | ParagraphSeparator)
}

/// What joins letters and pictures into others, and chooses between two pictures of one: it stands in many texts.
pub fn is_joining(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}' | '\u{fe0e}' | '\u{fe0f}')
}

/// Why a text is not taken where one line is asked for, such as a title or a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnfitLine {
    /// It is too long, or more than one line.
    #[error("must be one line of at most {0} characters")]
    Long(usize),
    /// It has a character that nobody sees, or that moves or turns around others.
    #[error("has the character U+{:04X}, which cannot be seen; leave it out", u32::from(*.0))]
    Hidden(char),
}

/// Takes a text as one line, in which nothing is hidden, without spaces at its ends. What joins letters and emoji may be there,
/// as on the page. `longest` is in characters.
pub fn checked_line(text: &str, longest: usize) -> Result<&str, UnfitLine> {
    let text = text.trim();
    if text.chars().count() > longest || text.contains(['\n', '\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}'])
    {
        return Err(UnfitLine::Long(longest));
    }
    match text.chars().find(|c| is_hidden(*c) && !is_joining(*c)) {
        Some(hidden) => Err(UnfitLine::Hidden(hidden)),
        None => Ok(text),
    }
}

/// Whether a character cannot be told from a plain space or from nothing, or has no picture that everybody knows.
fn is_unseen(c: char) -> bool {
    use GeneralCategory::{PrivateUse, SpaceSeparator, Unassigned};
    is_hidden(c) || !c.is_ascii() && matches!(get_general_category(c), SpaceSeparator | PrivateUse | Unassigned)
}

fn write_escape(out: &mut String, c: char) {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c => {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
}

/// A text as one line, in which nothing is hidden. Borrowed if there is nothing to write out.
pub fn one_line(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) || !text.chars().any(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_hidden(c) { write_escape(&mut line, c) } else { line.push(c) }
    }
    Cow::Owned(line)
}

/// A text with all that is unseen, and all that looks like something else, written out. Line breaks and tabs stay. In a text
/// that is JSON it stays the same JSON.
pub fn written_out(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n' | b'\t')) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 32);
    for line in text.split_inclusive('\n') {
        write_line(&mut out, line);
    }
    if out == text { Cow::Borrowed(text) } else { Cow::Owned(out) }
}

/// A value as JSON text with exactly its digits, laid out for people, and [`written_out`].
pub fn json(value: &Value) -> String {
    let text = format!("{value:#}");
    match written_out(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(written) => written,
    }
}

fn write_line(out: &mut String, line: &str) {
    let scripts: HashSet<Script> =
        line.chars().filter(|c| !c.is_ascii() && !has_twin(*c)).map(|c| c.script()).collect();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        // `\n` in JSON is an escape, and no letter of the word behind it.
        if first == '\\' {
            let length = rest.chars().take(2).map(char::len_utf8).sum();
            let (escape, behind) = rest.split_at(length);
            escape.chars().for_each(|c| write_char(out, c, is_unseen(c) || !c.is_ascii()));
            rest = behind;
        } else if is_of_word(first) {
            let end = rest.find(|c| !is_of_word(c)).unwrap_or(rest.len());
            write_word(out, &rest[..end], &scripts);
            rest = &rest[end..];
        } else {
            write_char(out, first, is_unseen(first) || is_false_sign(first, &scripts));
            rest = &rest[first.len_utf8()..];
        }
    }
}

fn write_char(out: &mut String, c: char, escaped: bool) {
    if escaped && !matches!(c, '\n' | '\t') { write_escape(out, c) } else { out.push(c) }
}

fn is_of_word(c: char) -> bool {
    use GeneralCategory::{EnclosingMark, NonspacingMark, SpacingMark};
    c.is_alphanumeric() && !is_unseen(c)
        || !c.is_ascii()
            && !is_unseen(c)
            && matches!(get_general_category(c), NonspacingMark | SpacingMark | EnclosingMark)
}

/// A letter that looks like one of ASCII is written out, unless the word, or for a single letter the line, shows that its
/// writing is meant: "Москва" stays as it is, the "а" in "pаypal" does not.
fn write_word(out: &mut String, word: &str, scripts: &HashSet<Script>) {
    if word.is_ascii() {
        return out.push_str(word);
    }
    let has_latin = word.chars().any(|c| c.is_ascii_alphanumeric() || c.script() == Script::Latin && !has_twin(c));
    let is_single = word.chars().nth(1).is_none();
    let is_meant = |script: Script| {
        !matches!(script, Script::Common | Script::Inherited | Script::Latin)
            && !has_latin
            && (is_single && scripts.contains(&script) || word.chars().any(|c| c.script() == script && !has_twin(c)))
    };
    for c in word.chars() {
        write_char(out, c, has_twin(c) && !is_meant(c.script()));
    }
}

/// A sign that looks like one of ASCII: `∕` for `/`. What printers use is known to readers, and what belongs to the writing of the
/// line is meant.
fn is_false_sign(c: char, scripts: &HashSet<Script>) -> bool {
    let is_printers = matches!(c, '\u{2013}' | '\u{2014}' | '\u{2018}'..='\u{201f}' | '\u{2026}' | '´' | '¸');
    let is_wide = matches!(c, '\u{3000}'..='\u{303f}' | '\u{ff01}'..='\u{ff65}');
    let east = [Script::Han, Script::Hiragana, Script::Katakana, Script::Hangul];
    let is_meant = is_printers
        || scripts.contains(&c.script()) && !matches!(c.script(), Script::Common | Script::Inherited | Script::Latin)
        || is_wide && east.iter().any(|script| scripts.contains(script));
    has_twin(c) && !is_meant
}

/// Whether a character that is not of ASCII looks like one that is (UTS 39: they have the same skeleton).
fn has_twin(c: char) -> bool {
    static ASCII: LazyLock<HashSet<String>> =
        LazyLock::new(|| ('!'..='~').map(|c| skeleton(c.encode_utf8(&mut [0; 4])).collect()).collect());
    // Turkish is written with a dotless i.
    if c.is_ascii() || c == 'ı' {
        return false;
    }
    let looks: String = skeleton(c.encode_utf8(&mut [0; 4])).collect();
    ASCII.contains(&looks)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What was seen as it is in an approval, and the rest of its kind: fillers, tags, blanks, selectors, joiners, spaces,
    /// controls, what turns the direction, private use.
    const UNSEEN: [char; 34] = [
        '\u{3164}',
        '\u{e0041}',
        '\u{e0001}',
        '\u{2800}',
        '\u{115f}',
        '\u{1160}',
        '\u{fe0f}',
        '\u{fe00}',
        '\u{e0100}',
        '\u{34f}',
        '\u{a0}',
        '\u{ffa0}',
        '\u{1d173}',
        '\u{202e}',
        '\u{200b}',
        '\u{ad}',
        '\u{2066}',
        '\u{180e}',
        '\u{feff}',
        '\u{2028}',
        '\u{85}',
        '\u{7f}',
        '\u{9b}',
        '\u{61c}',
        '\u{200e}',
        '\u{2003}',
        '\u{3000}',
        '\u{2065}',
        '\u{fff9}',
        '\u{1bca0}',
        '\u{17b4}',
        '\u{e000}',
        '\u{378}',
        '\u{2060}',
    ];

    #[test]
    fn what_cannot_be_seen_is_written_out_and_stays_the_same_json() {
        for c in UNSEEN {
            let value = json!({format!("ke{c}y"): format!("a{c}b"), "more": [c.to_string()]});
            let shown = json(&value);
            assert!(shown.chars().all(|c| c == '\n' || (' '..='~').contains(&c)), "U+{:04X} {shown:?}", u32::from(c));
            assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), value, "{shown}");
        }
        assert_eq!(written_out("a\u{3164}b\u{e0041}"), "a\\u3164b\\udb40\\udc41");
    }

    #[test]
    fn a_letter_that_looks_like_another_is_written_out_and_a_language_is_not() {
        for (text, shown) in [
            ("p\u{430}ypal", "p\\u0430ypal"),
            ("\u{430}", "\\u0430"),
            ("\u{430}\u{440}\u{440}\u{4cf}\u{435}", "\\u0430\\u0440\\u0440\\u04cf\\u0435"),
            ("\u{3bf}pen", "\\u03bfpen"),
            ("\u{ff41}dmin", "\\uff41dmin"),
            ("\u{1d5ba}", "\\ud835\\uddba"),
            ("bank.com\u{2215}evil", "bank.com\\u2215evil"),
            ("a\u{2024}b", "a\\u2024b"),
            ("1\u{9ea}", "1\\u09ea"),
            ("{\"p\u{430}y\": \"\\n\u{43e}\u{43d}\"}", "{\"p\\u0430y\": \"\\n\u{43e}\u{43d}\"}"),
        ] {
            assert_eq!(written_out(text), shown, "{text}");
        }
        for meant in [
            "Zahlt 5 € an Müller & Søn, naïve façade, “quoted” – ok… ısı",
            "Москва, а также Киев с нами",
            "Αθήνα και ο κόσμος",
            "東京都、千代田区。カタカナ",
            "서울특별시",
            "שלום עולם",
            "مرحبا بالعالم",
            "ไทย हिन्दी",
        ] {
            assert_eq!(written_out(meant), meant);
        }
    }

    #[test]
    fn digits_are_those_of_the_value() {
        let value: Value =
            serde_json::from_str("{\"a\": 9007199254740993, \"b\": 18446744073709551615, \"c\": 0.1}").unwrap();
        assert_eq!(json(&value), "{\n  \"a\": 9007199254740993,\n  \"b\": 18446744073709551615,\n  \"c\": 0.1\n}");
    }

    #[test]
    fn a_line_stays_one_line() {
        assert_eq!(one_line("a\r\nb\u{2028}c\u{85}d\x1b[31m\u{202e}"), "a\\r\\nb\\u2028c\\u0085d\\u001b[31m\\u202e");
        assert!(matches!(one_line("Grüße, 5 € · ok"), Cow::Borrowed(_)));
    }
}
