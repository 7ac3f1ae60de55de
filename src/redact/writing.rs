//! Redaction of a text while it is written. A piece is shown once nothing that a pattern finds can reach into it any more: what
//! may still become a find is held back, as far as it goes, and no farther.

use std::sync::Arc;

use parking_lot::Mutex;
use regex::Regex;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson;
use regex_automata::{Anchored, Input, MatchKind};
use regex_syntax::hir::{Hir, HirKind};

use super::json::may_be_json;
use super::{BEFORE, Redactor, decoded, without};

/// What is shown so far of a text that is being written.
#[derive(Debug, Clone, Default)]
pub struct ShownText {
    text: String,
    /// How long it is, in Unicode scalar values.
    letters: usize,
    /// How much of what is written that stands for, in bytes.
    settled: usize,
    /// How long what was written was when it was looked at last.
    looked_at: usize,
}

/// So much that is held back is looked at with each piece, in bytes.
const SMALL_TEXT: usize = 512;
/// How many bytes of what is held back one look may go over to prove that no find goes on there; what is not proven then is
/// held back for longer. So many of them for each byte, and so many more.
const STEPS_PER_BYTE: usize = 16;
const STEPS: usize = 256 << 10;
/// What is held back beyond that is looked at when it has grown by this part of it: all looks together then cost no more than a
/// few at the whole text.
const LOOK_AGAIN_AFTER_PART: usize = 8;

impl ShownText {
    /// What is shown.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Shows more of what is `written`, which begins as it did before, and returns where that goes (in Unicode scalar values)
    /// and what it is; empty: nothing yet.
    pub fn go_on(&mut self, redactor: &Redactor, written: &str) -> (usize, String) {
        let held = self.looked_at.saturating_sub(self.settled);
        if held > SMALL_TEXT && written.len() < self.looked_at + held / LOOK_AGAIN_AFTER_PART {
            return (self.letters, String::new());
        }
        self.looked_at = written.len();
        let upto = settled(redactor, written, self.settled);
        let more = between(redactor, written, self.settled, upto);
        let offset = self.letters;
        self.letters += more.chars().count();
        self.text.push_str(&more);
        self.settled = upto;
        (offset, more)
    }
}

/// A text that begins with more blanks than this, in bytes, is not taken for JSON.
const LONGEST_BLANK: usize = 4096;

/// How far a text can be shown that goes on from what it is, and is shown up to `from`.
fn settled(redactor: &Redactor, text: &str, from: usize) -> usize {
    if !redactor.is_empty() && from < LONGEST_BLANK && may_be_json(text) {
        // JSON: which field a value is of is known when all of it is there.
        return from;
    }
    let mut upto = match &redactor.lookout {
        None if redactor.patterns.is_empty() => return text.len(),
        None => return from,
        Some(lookout) => {
            let open = lookout.first_open(text, from).unwrap_or(text.len());
            let before = text.floor_char_boundary(from.saturating_sub(BEFORE));
            let read = decoded::rounds(text, before).into_iter().map(|decoded| {
                // What an escape will be is known when it is whole; until then the text ends before it.
                let whole = &decoded.text[..decoded.open];
                let at = decoded.first_from(from).min(decoded.open);
                decoded.place(lookout.first_open(whole, at).unwrap_or(decoded.open))
            });
            read.chain([open]).min().unwrap_or(open).max(from)
        }
    };
    // A find is shown as one, or not yet.
    let finds = redactor.finds(text, from);
    while let Some(start) = finds.iter().filter(|find| find.0 < upto && find.1 > upto).map(|find| find.0).min() {
        upto = start.max(from);
    }
    upto
}

/// A part of a text, redacted; no find reaches out of it.
fn between(redactor: &Redactor, text: &str, from: usize, upto: usize) -> String {
    let mut finds = redactor.finds(text, from);
    finds.retain(|find| find.1 <= upto);
    without(text, from, upto, &finds)
}

/// Sees where a find may have begun that the text does not finish.
#[derive(Debug)]
pub(super) struct UnfinishedFinds(Vec<(DFA, Mutex<Cache>)>);

impl UnfinishedFinds {
    /// One for all the patterns; none if they are too much for it.
    pub(super) fn new(patterns: &[Regex]) -> Option<Arc<Self>> {
        let one = |pattern: &Regex| {
            let parsed = regex_syntax::parse(pattern.as_str()).ok()?;
            // Without its edges a pattern's first way may fit where only its second one does.
            let every_way = !parsed.properties().look_set().is_empty();
            let kind = if every_way { MatchKind::All } else { MatchKind::LeftmostFirst };
            let nfa = thompson::Compiler::new().build_from_hir(&without_edges(parsed)).ok()?;
            let automaton = DFA::builder().configure(DFA::config().match_kind(kind)).build_from_nfa(nfa).ok()?;
            let cache = Mutex::new(automaton.create_cache());
            Some((automaton, cache))
        };
        Some(Arc::new(Self(patterns.iter().map(one).collect::<Option<_>>()?)))
    }

    /// The first place from which a find may go on behind the end of the text.
    fn first_open(&self, text: &str, from: usize) -> Option<usize> {
        let first = |(automaton, cache): &(DFA, Mutex<Cache>)| {
            let mut steps = STEPS + STEPS_PER_BYTE * (text.len() - from);
            let mut cache = cache.lock();
            let mut places = text[from..].char_indices().map(|(at, _)| from + at);
            places.find(|&at| is_open(automaton, &mut cache, text, at, &mut steps))
        };
        self.0.iter().filter_map(first).min()
    }
}

/// Whether a find that begins there may go on behind the end of the text, or whether that takes too many steps to tell.
fn is_open(automaton: &DFA, cache: &mut Cache, text: &str, at: usize, steps: &mut usize) -> bool {
    let input = Input::new(text).range(at..).anchored(Anchored::Yes);
    let Ok(mut state) = automaton.start_state_forward(cache, &input) else { return true };
    for &byte in &text.as_bytes()[at..] {
        match steps.checked_sub(1) {
            Some(left) => *steps = left,
            None => return true,
        }
        match automaton.next_state(cache, state, byte) {
            Ok(next) if next.is_dead() => return false,
            Ok(next) => state = next,
            Err(_) => return true,
        }
    }
    true
}

/// A pattern without its demands on what is around it (the edge of a word, of a line): where these are not yet known, it finds
/// whatever the whole one may find.
fn without_edges(pattern: Hir) -> Hir {
    match pattern.into_kind() {
        HirKind::Look(_) => Hir::empty(),
        HirKind::Repetition(mut repeated) => {
            repeated.sub = Box::new(without_edges(*repeated.sub));
            Hir::repetition(repeated)
        }
        HirKind::Capture(group) => without_edges(*group.sub),
        HirKind::Concat(parts) => Hir::concat(parts.into_iter().map(without_edges).collect()),
        HirKind::Alternation(ways) => Hir::alternation(ways.into_iter().map(without_edges).collect()),
        HirKind::Empty => Hir::empty(),
        HirKind::Literal(literal) => Hir::literal(literal.0),
        HirKind::Class(class) => Hir::class(class),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redactor(patterns: &[&str]) -> Redactor {
        Redactor::new(&[], patterns.iter().map(|pattern| Regex::new(pattern).unwrap()).collect())
    }

    /// What is shown of a text that comes in these pieces, and what is held back at the end.
    fn stream(redactor: &Redactor, pieces: &[&str]) -> (Vec<String>, String) {
        let (mut shown, mut written) = (ShownText::default(), String::new());
        let mut told: Vec<String> = Vec::new();
        for piece in pieces {
            written.push_str(piece);
            let (offset, more) = shown.go_on(redactor, &written);
            assert_eq!(offset, told.concat().chars().count());
            told.push(more);
        }
        assert_eq!(told.concat(), shown.text());
        (told, written[shown.settled..].to_owned())
    }

    #[test]
    fn wherever_a_text_is_cut_it_is_shown_as_the_whole_is() {
        let patterns = [r"\b\d{4}-\d{4}\b", r"[\w.]+@[\w.]+\w", "(?i)secret(?: word)?", r"sk-[a-z0-9]{4,}"];
        let redactor = redactor(&patterns);
        let texts = [
            "Card 1234-5678, or x1234-5678 and 1234-56789; 12-34.",
            "Write to ann.b@example.org. Käthe's is käthe@exämple.org, not @home.",
            "The SECRET word is not secret wording, sk-abc but sk-abcd1 is",
            "äöü 1234-5678ä",
            "",
        ];
        for text in texts {
            let places: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
            for &first in &places {
                for &second in places.iter().filter(|&&second| second >= first) {
                    let (told, held) = stream(&redactor, &[&text[..first], &text[first..second], &text[second..]]);
                    let whole = told.concat() + &redactor.text(&held);
                    assert_eq!(whole, redactor.text(text), "{first} {second} {told:?} {held:?}");
                }
            }
            let single: Vec<&str> = places.windows(2).map(|at| &text[at[0]..at[1]]).collect();
            let (told, held) = stream(&redactor, &single);
            assert_eq!(told.concat() + &redactor.text(&held), redactor.text(text), "{told:?} {held:?}");
        }
    }

    #[test]
    fn what_only_reads_as_a_find_is_not_shown_either() {
        let redactor = redactor(&[r"\b\d{4}-\d{4}\b", r"sk-[a-z0-9]{4,}"]);
        for text in [
            r"It is \u0031234-5678, x",
            "It is %31234%2D5678, %41 and 100%",
            "It is &#49;234&hyphen;5678 & more &amp; s&#107;-abcd.",
            "It is 1234\u{200B}-56\u{AD}78, 12\u{200B}34 and 1234\u{2011}567",
            "It is %2531234-5678, s%256B-abcd1 \\u0061",
            r#"{"a": "\u0031234-5678", "b": 1}"#,
            r"[1] It is 1234\-5678 [2]",
        ] {
            let places: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
            for (first, &at) in places.iter().enumerate() {
                for &next in &places[first..] {
                    let (told, held) = stream(&redactor, &[&text[..at], &text[at..next], &text[next..]]);
                    assert_eq!(
                        told.concat() + &redactor.text(&held),
                        redactor.text(text),
                        "{at} {next} {told:?} {held:?}"
                    );
                }
            }
            let single: Vec<&str> = places.windows(2).map(|at| &text[at[0]..at[1]]).collect();
            let (told, held) = stream(&redactor, &single);
            assert_eq!(told.concat() + &redactor.text(&held), redactor.text(text), "{told:?} {held:?}");
        }
    }

    #[test]
    fn no_more_is_held_back_than_what_may_become_a_find() {
        let redactor = redactor(&[r"\b\d{4}-\d{4}\b", "PRIVATE(?s:.)*?END"]);
        let pieces = ["It is 12", "34", " o'clock; P", "RIVA", "CY. PRIVATE is ", "this END.", " So"];
        let (told, held) = stream(&redactor, &pieces);
        // That a find is over is known a letter later.
        assert_eq!(told, ["It is ", "", "1234 o'clock; ", "", "PRIVACY. ", "", "[redacted]. So"]);
        assert_eq!(held, "");
        // What goes on without end is not shown before its end.
        assert_eq!(stream(&redactor, &["PRIVATE", " a", " b"]), (vec![String::new(); 3], "PRIVATE a b".to_owned()));
    }

    /// However small the pieces are in which a text comes that nothing of may be shown yet.
    #[test]
    fn what_is_held_back_is_not_looked_at_again_with_each_letter() {
        let redactor = redactor(&[r"[\w.]+@[\w.]+\w"]);
        let word = "a".repeat(200_000);
        let (mut shown, begun) = (ShownText::default(), std::time::Instant::now());
        let mut looks = 0;
        for end in 1..=word.len() {
            let before = shown.looked_at;
            assert_eq!(shown.go_on(&redactor, &word[..end]).1, "");
            looks += usize::from(shown.looked_at != before);
        }
        assert!(looks < 1000, "{looks} looks");
        assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
        // That no find goes on in all of it would take too long to prove at once.
        let all = format!("{word} and {}", "more ".repeat(20_000));
        assert!(shown.go_on(&redactor, &all).1.starts_with('a'));
        assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
        // A long address is no matter.
        let address = format!("see https://example.org/{} there ", "ab0".repeat(150));
        assert_eq!(stream(&redactor, &[address.as_str()]).0, [address]);
    }

    #[test]
    fn without_patterns_everything_is_shown_at_once_but_for_json_with_fields() {
        let plain = Redactor::default();
        assert_eq!(stream(&plain, &["{\"a\"", ": 1}"]), (vec!["{\"a\"".to_owned(), ": 1}".to_owned()], String::new()));
        let fields = Redactor::new(&["ssn".to_owned()], Vec::new());
        assert_eq!(stream(&fields, &["{\"ssn\": ", "1}"]).0, ["", ""]);
        assert_eq!(stream(&fields, &["my ssn ", "is"]).0, ["my ssn ", "is"]);
    }
}
