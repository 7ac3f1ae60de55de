//! Texts as they are shown: a few characters of unusual make can cost a browser or a terminal seconds to lay out, so that no
//! letter carries more marks, and no cluster has more parts, than any language needs. Close to the Stream-Safe Text Format of
//! UAX #15, with a visible sign where something was left out. What is stored, exported or given to programs stays as it is.

use std::borrow::Cow;

use unicode_general_category::{GeneralCategory, get_general_category};

/// Marks in a row. With those that a letter may bring with it there are at most 30 when all are taken apart (UAX #15).
const MOST_MARKS: usize = 26;
/// Characters of what is drawn as one, such as a family of emoji or a syllable of an Indian script.
const MOST_JOINED: usize = 64;
/// Controls of the direction in one text; a name in each line of a long one needs two.
const MOST_DIRECTIONS: usize = 2_000;
/// What stands where something was left out.
pub const LEFT_OUT: char = '\u{fffd}';

#[derive(Clone, Copy, PartialEq, Eq)]
enum CharacterKind {
    /// Begins something new.
    Other,
    /// Belongs to what is before it.
    Mark,
    /// Joins what is before it with what follows.
    Joiner,
    /// The first part of a Korean syllable, which joins with others of its kind.
    Leading,
    /// Changes the direction.
    Direction,
}

fn kind(c: char) -> CharacterKind {
    match c {
        // Nearly all that is written; none of it combines.
        '\0'..='\u{2ff}' | '\u{3041}'..='\u{3098}' | '\u{309b}'..='\u{a66e}' | '\u{ac00}'..='\u{d7a3}' => {
            CharacterKind::Other
        }
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}' => {
            CharacterKind::Direction
        }
        '\u{200d}' => CharacterKind::Joiner,
        _ if VIRAMAS.binary_search(&c).is_ok() => CharacterKind::Joiner,
        '\u{1100}'..='\u{115f}' | '\u{a960}'..='\u{a97c}' => CharacterKind::Leading,
        '\u{1160}'..='\u{11ff}' | '\u{d7b0}'..='\u{d7fb}' | '\u{1f3fb}'..='\u{1f3ff}' => CharacterKind::Mark,
        _ => match get_general_category(c) {
            GeneralCategory::NonspacingMark
            | GeneralCategory::SpacingMark
            | GeneralCategory::EnclosingMark
            | GeneralCategory::Format => CharacterKind::Mark,
            _ => CharacterKind::Other,
        },
    }
}

/// Signs that join two letters of an Indian or neighbouring script into one shape, in order.
const VIRAMAS: [char; 32] = [
    '\u{94d}',
    '\u{9cd}',
    '\u{a4d}',
    '\u{acd}',
    '\u{b4d}',
    '\u{bcd}',
    '\u{c4d}',
    '\u{ccd}',
    '\u{d3b}',
    '\u{d3c}',
    '\u{d4d}',
    '\u{dca}',
    '\u{e3a}',
    '\u{eba}',
    '\u{f84}',
    '\u{1039}',
    '\u{103a}',
    '\u{17d2}',
    '\u{1a60}',
    '\u{1b44}',
    '\u{1baa}',
    '\u{1bab}',
    '\u{2d7f}',
    '\u{a806}',
    '\u{a8c4}',
    '\u{a953}',
    '\u{a9c0}',
    '\u{aaf6}',
    '\u{abed}',
    '\u{10a3f}',
    '\u{11046}',
    '\u{1107f}',
];

/// The text as it may be shown. A text that anybody writes comes back as it is, without a copy.
pub fn legible(text: &str) -> Cow<'_, str> {
    LegibleFlow::default().take(text)
}

/// A text that comes in pieces.
#[derive(Clone, Default)]
pub struct LegibleFlow {
    bounds: MarkBounds,
    leaving_out: bool,
}

impl LegibleFlow {
    /// The next piece as it may be shown.
    pub fn take<'t>(&mut self, piece: &'t str) -> Cow<'t, str> {
        if piece.is_ascii() {
            if !piece.is_empty() {
                *self = Self {
                    bounds: MarkBounds { directions: self.bounds.directions, ..MarkBounds::default() },
                    leaving_out: false,
                };
            }
            return Cow::Borrowed(piece);
        }
        let mut bounds = self.bounds.clone();
        if piece.chars().all(|c| bounds.takes(c)) {
            *self = Self { bounds, leaving_out: false };
            return Cow::Borrowed(piece);
        }
        let mut shown = String::with_capacity(piece.len());
        for c in piece.chars() {
            if self.bounds.takes(c) {
                self.leaving_out = false;
                shown.push(c);
            } else if !std::mem::replace(&mut self.leaving_out, true) {
                shown.push(LEFT_OUT);
            }
        }
        Cow::Owned(shown)
    }
}

/// How far what is being shown has grown.
#[derive(Clone, Default)]
struct MarkBounds {
    marks: usize,
    joined: usize,
    directions: usize,
    before: Option<CharacterKind>,
}

impl MarkBounds {
    /// Whether there is room for the next character.
    fn takes(&mut self, c: char) -> bool {
        let kind = kind(c);
        let before = self.before.replace(kind);
        let goes_on = match kind {
            CharacterKind::Other => before == Some(CharacterKind::Joiner),
            CharacterKind::Leading => matches!(before, Some(CharacterKind::Leading | CharacterKind::Joiner)),
            CharacterKind::Mark | CharacterKind::Joiner | CharacterKind::Direction => true,
        };
        self.joined = if goes_on { self.joined + 1 } else { 1 };
        self.marks = match kind {
            CharacterKind::Other | CharacterKind::Leading => 0,
            // Two marks in one.
            _ if matches!(c, '\u{344}' | '\u{f73}' | '\u{f75}' | '\u{f81}') => self.marks + 2,
            _ => self.marks + 1,
        };
        self.directions += usize::from(kind == CharacterKind::Direction);
        let too_many = kind == CharacterKind::Direction && self.directions > MOST_DIRECTIONS;
        self.marks <= MOST_MARKS && self.joined <= MOST_JOINED && !too_many
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_stays_as_it_is_and_is_not_copied() {
        for text in [
            "A triangle has three sides.",
            "Ça coûte 5 €, s’il vous plaît",
            "e\u{301}e\u{301}e\u{301}",
            "Việt Nam, Tiê\u{301}ng Viê\u{323}t",
            "नमस्ते दुनिया, क्षत्रिय",
            "שָׁלוֹם, مَرْحَبًا",
            "สวัสดีชาวโลก ยิ้ม",
            "한국어와 \u{1112}\u{1161}\u{11ab}\u{1100}\u{1173}\u{11af}",
            "日本語、中文",
            "👩‍👩‍👧‍👦 👍🏽 🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f} ❤️",
        ] {
            assert!(matches!(legible(text), Cow::Borrowed(same) if same == text), "{text}");
        }
        let korean = "\u{1112}\u{1161}\u{11ab}".repeat(500);
        assert_eq!(legible(&korean), korean);
        assert!(VIRAMAS.is_sorted());
    }

    #[test]
    fn marks_in_a_row_are_bounded_and_what_is_left_out_is_seen() {
        let many = format!("Zalgo a{}b", "\u{301}".repeat(40));
        assert_eq!(legible(&many), format!("Zalgo a{}\u{fffd}b", "\u{301}".repeat(26)));
        for part in
            ["\u{489}", "\u{94d}", "\u{903}", "\u{200d}", "\u{fe0f}", "\u{e0061}", "\u{11a8}", "\u{202e}", "\u{34f}"]
        {
            let shown = legible(&format!("a{}", part.repeat(100))).into_owned();
            assert!(shown.chars().count() <= MOST_MARKS + 2 && shown.ends_with(LEFT_OUT), "{part:?}: {shown:?}");
        }
        let double = legible(&"\u{344}".repeat(100)).chars().count();
        assert_eq!(double, MOST_MARKS / 2 + 1);
    }

    #[test]
    fn what_is_drawn_as_one_is_bounded_too() {
        for part in ["😀\u{200d}", "क\u{94d}", "\u{1100}"] {
            let shown = legible(&part.repeat(100)).into_owned();
            assert!(shown.chars().count() <= MOST_JOINED + 40, "{part:?}: {}", shown.chars().count());
            assert!(shown.contains(LEFT_OUT), "{part:?}");
        }
        let mut flow = LegibleFlow::default();
        let pieces: String = (0..100).map(|_| flow.take("\u{301}").into_owned()).collect();
        assert_eq!(pieces.chars().count(), MOST_MARKS + 1, "however it is cut");
        assert_eq!(flow.take("b\u{301}"), "b\u{301}");
        let turning = "a\u{202e}".repeat(5_000);
        assert_eq!(legible(&turning).chars().filter(|c| *c == '\u{202e}').count(), MOST_DIRECTIONS);
    }
}
