//! Formulas in Markdown: most models write `\(…\)` and `\[…\]`, which Markdown takes for escaped brackets. Here they become the
//! dollars that the parser knows, except in code.

use std::borrow::Cow;

/// A longer formula, in bytes, is none.
const LONGEST: usize = 4000;

/// The text with every formula between dollars.
pub fn with_dollars(text: &str) -> Cow<'_, str> {
    if !text.contains("\\(") && !text.contains("\\[") {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut ends = [End::new("\\)"), End::new("\\]")];
    let mut at = 0;
    while let Some(place) = text[at..].find(['\\', '`', '~']) {
        out.push_str(&text[at..at + place]);
        at += place;
        at += match &text.as_bytes()[at..] {
            [b'\\', b'(', ..] => formula(text, at, &mut ends[0], "$", &mut out),
            [b'\\', b'[', ..] => formula(text, at, &mut ends[1], "$$", &mut out),
            [b'\\', ..] => escaped(&text[at..], &mut out),
            _ => code(&text[at..], &mut out),
        };
    }
    out.push_str(&text[at..]);
    out.into()
}

/// Where the next closing bracket of a kind stands. It is looked for once and not from every opening one: a text of nothing but
/// opening ones must not cost its square.
struct End {
    bracket: &'static str,
    next: Option<usize>,
    was_searched: bool,
}

impl End {
    fn new(bracket: &'static str) -> Self {
        Self { bracket, next: None, was_searched: false }
    }

    fn after(&mut self, text: &str, from: usize) -> Option<usize> {
        if !self.was_searched || self.next.is_some_and(|next| next < from) {
            self.next = text[from..].find(self.bracket).map(|place| from + place);
            self.was_searched = true;
        }
        self.next
    }
}

/// Whether what stands between two dollars is the first of two prices: `$5-$10`, `$5/$6`.
pub fn is_money(between: &str) -> bool {
    between.starts_with(|c: char| c.is_ascii_digit())
        && between.ends_with(['-', '–', '—', '/', ',', '+', '~', '(', ':', ';'])
}

/// Takes a formula, or the bracket that opens none. Returns how much was taken.
fn formula(text: &str, at: usize, end: &mut End, dollars: &str, out: &mut String) -> usize {
    let from = at + 2;
    let inside = end.after(text, from).map(|place| &text[from..place]);
    match inside {
        // A formula ends with its paragraph.
        Some(inside)
            if inside.len() <= LONGEST
                && !inside.trim().is_empty()
                && !inside.contains(['$', '`'])
                && !has_empty_line(inside) =>
        {
            out.push_str(dollars);
            out.push_str(inside.trim());
            out.push_str(dollars);
            2 + inside.len() + 2
        }
        _ => {
            out.push_str(&text[at..from]);
            2
        }
    }
}

/// Takes a backslash and what it escapes. Returns how much was taken.
fn escaped(rest: &str, out: &mut String) -> usize {
    let length = rest.chars().take(2).map(char::len_utf8).sum();
    out.push_str(&rest[..length]);
    length
}

fn has_empty_line(text: &str) -> bool {
    text.trim().lines().any(|line| line.trim().is_empty())
}

/// Takes code as it is: from a run of marks to the next run of the same length, or to the end. Returns how much was taken.
fn code(rest: &str, out: &mut String) -> usize {
    let mark = &rest[..1];
    let length = rest.len() - rest.trim_start_matches(mark).len();
    let run = &rest[..length];
    // A tilde or two are no code; a run that is never closed is code only if it opens a block.
    let end = rest[length..].find(run).map(|place| length + place + length);
    let taken = match end {
        _ if mark == "~" && length < 3 => length,
        Some(end) => end,
        None if length >= 3 => rest.len(),
        None => length,
    };
    out.push_str(&rest[..taken]);
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_become_dollars_except_in_code() {
        for (written, read) in [
            ("area \\( a^2 \\) and \\(b\\)", "area $a^2$ and $b$"),
            ("\\[\nE = mc^2\n\\]", "$$E = mc^2$$"),
            ("\\[ a \\\\[4pt] b \\]", "$$a \\\\[4pt] b$$"),
            ("`\\(code\\)` and \\(x\\)", "`\\(code\\)` and $x$"),
            ("```tex\n\\(code\\)\n```\n\\(x\\)", "```tex\n\\(code\\)\n```\n$x$"),
            ("```tex\n\\(never closed\\)", "```tex\n\\(never closed\\)"),
            ("~~no~~ \\(x\\)", "~~no~~ $x$"),
            ("\\(one\n\ntwo\\)", "\\(one\n\ntwo\\)"),
            ("an open \\( bracket", "an open \\( bracket"),
            ("\\(5 $\\)", "\\(5 $\\)"),
            ("ends with \\", "ends with \\"),
            ("an escaped \\é \\(ü\\)", "an escaped \\é $ü$"),
            ("nothing", "nothing"),
        ] {
            assert_eq!(with_dollars(written), read, "{written}");
        }
    }
}
