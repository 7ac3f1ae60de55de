//! Letters that stand for marks which mean nothing in a text: the parser of Markdown sees a letter, and the reader the mark. They are
//! noncharacters of Unicode, which no text holds, and are put back in everything that the parser gives out, so it does no harm
//! to put one into code or into an address.

use std::borrow::Cow;

use pulldown_cmark::{CodeBlockKind, CowStr, Event, Tag};

/// Makes what stands beside it a letter, and is nothing itself.
pub const JOINER: char = '\u{fdd0}';
/// Stands for a dollar.
pub const DOLLAR: char = '\u{fdd1}';
/// Stands for an asterisk.
pub const ASTERISK: char = '\u{fdd2}';
/// Stands for an underscore.
pub const UNDERSCORE: char = '\u{fdd3}';
/// Stands for a tilde.
pub const TILDE: char = '\u{fdd4}';

const ALL: [char; 5] = [JOINER, DOLLAR, ASTERISK, UNDERSCORE, TILDE];

/// A text without them.
pub fn without(text: &str) -> Cow<'_, str> {
    if text.contains(ALL) { text.replace(ALL, "").into() } else { text.into() }
}

/// What stands for a mark.
pub fn of(mark: char) -> Option<char> {
    match mark {
        '$' => Some(DOLLAR),
        '*' => Some(ASTERISK),
        '_' => Some(UNDERSCORE),
        '~' => Some(TILDE),
        _ => None,
    }
}

/// The event with the marks that were meant.
pub fn restored(event: Event<'_>) -> Event<'_> {
    match event {
        Event::Text(text) => Event::Text(words(text)),
        Event::Code(text) => Event::Code(words(text)),
        Event::Html(text) => Event::Html(words(text)),
        Event::InlineHtml(text) => Event::InlineHtml(words(text)),
        Event::InlineMath(text) => Event::InlineMath(words(text)),
        Event::DisplayMath(text) => Event::DisplayMath(words(text)),
        Event::FootnoteReference(label) => Event::FootnoteReference(words(label)),
        Event::Start(Tag::FootnoteDefinition(label)) => Event::Start(Tag::FootnoteDefinition(words(label))),
        Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) => {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(words(info))))
        }
        Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
            Event::Start(Tag::Link { link_type, dest_url: words(dest_url), title: words(title), id: words(id) })
        }
        Event::Start(Tag::Image { link_type, dest_url, title, id }) => {
            Event::Start(Tag::Image { link_type, dest_url: words(dest_url), title: words(title), id: words(id) })
        }
        other => other,
    }
}

fn words(text: CowStr<'_>) -> CowStr<'_> {
    if !text.contains(ALL) {
        return text;
    }
    let meant = text.chars().filter_map(|letter| match letter {
        JOINER => None,
        DOLLAR => Some('$'),
        ASTERISK => Some('*'),
        UNDERSCORE => Some('_'),
        TILDE => Some('~'),
        other => Some(other),
    });
    CowStr::from(meant.collect::<String>())
}
