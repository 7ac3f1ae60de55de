//! Formulas in Markdown: most models write `\(…\)` and `\[…\]`, which Markdown takes for escaped brackets. Here they become the
//! dollars that the parser knows, except in code.

use std::borrow::Cow;

/// The longest formula that is looked for, in bytes: a text of nothing but opened brackets must not cost its square.
const LONGEST: usize = 4000;

/// The text with every formula between dollars.
pub fn with_dollars(text: &str) -> Cow<'_, str> {
    if !text.contains("\\(") && !text.contains("\\[") {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(place) = rest.find(['\\', '`', '~']) {
        out.push_str(&rest[..place]);
        rest = &rest[place..];
        let taken = if rest.starts_with('\\') { formula(rest, &mut out) } else { code(rest, &mut out) };
        rest = &rest[taken..];
    }
    out.push_str(rest);
    out.into()
}

/// Whether what stands between two dollars is the first of two prices: `$5-$10`, `$5/$6`.
pub fn is_money(between: &str) -> bool {
    between.starts_with(|c: char| c.is_ascii_digit())
        && between.ends_with(['-', '–', '—', '/', ',', '+', '~', '(', ':', ';'])
}

/// Takes a formula, or a backslash and what it escapes. Returns how much was taken.
fn formula(rest: &str, out: &mut String) -> usize {
    let (end, dollars) = match rest.as_bytes().get(1) {
        Some(b'(') => ("\\)", "$"),
        Some(b'[') => ("\\]", "$$"),
        _ => {
            let escaped = rest.chars().nth(1).map_or(1, |escaped| 1 + escaped.len_utf8());
            out.push_str(&rest[..escaped]);
            return escaped;
        }
    };
    let window = &rest.as_bytes()[2..rest.len().min(2 + LONGEST)];
    let inside = window.windows(2).position(|pair| pair == end.as_bytes()).map(|length| &rest[2..2 + length]);
    match inside {
        // A formula ends with its paragraph.
        Some(inside) if !inside.trim().is_empty() && !inside.contains(['$', '`']) && !has_empty_line(inside) => {
            out.push_str(dollars);
            out.push_str(inside.trim());
            out.push_str(dollars);
            2 + inside.len() + end.len()
        }
        _ => {
            out.push_str(&rest[..2]);
            2
        }
    }
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
