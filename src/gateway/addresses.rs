//! Addresses that stand in a text without any mark: `https://…`, `www.…` and mail. Where one begins and ends is as GitHub has it, and
//! for scripts that put no spaces between words it ends where their letters or punctuation begin.

use std::borrow::Cow;
use std::ops::Range;

use unicode_general_category::{GeneralCategory, get_general_category};

use crate::gateway::emphasis::{is_punctuation, is_spaceless};
use crate::gateway::{link_targets, placeholders};

/// The longest part of a mail address before its `@`, as RFC 5321 has it.
const LONGEST_LOCAL_PART: usize = 64;

/// An address in a text.
#[derive(Debug, PartialEq)]
pub struct BareAddress {
    /// Where it stands.
    pub place: Range<usize>,
    /// What a link to it begins with, before its own words.
    pub scheme: &'static str,
}

/// The addresses in a text, in their order.
pub fn find(text: &str) -> Vec<BareAddress> {
    let mut found: Vec<BareAddress> = Vec::new();
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(place) = bytes[at..].iter().position(|byte| matches!(byte, b':' | b'@' | b'w' | b'W')) {
        let candidate = at + place;
        at = candidate + 1;
        let free_from = found.last().map_or(0, |last| last.place.end);
        let address = match bytes[candidate] {
            b':' => web(text, candidate, free_from),
            b'@' => mail(text, candidate, free_from),
            _ => www(text, candidate),
        };
        if let Some(address) = address {
            at = address.place.end.max(at);
            found.push(address);
        }
    }
    found
}

/// The text, in which no mark inside of an address is one of Markdown.
pub fn shielded(text: &str) -> Cow<'_, str> {
    let found = find(text);
    if found.is_empty() {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut at = 0;
    for BareAddress { place, .. } in found {
        out.push_str(&text[at..place.start]);
        out.extend(text[place.clone()].chars().map(|c| placeholders::of(c).unwrap_or(c)));
        at = place.end;
    }
    out.push_str(&text[at..]);
    out.into()
}

/// `http://` or `https://`, at its colon.
fn web(text: &str, colon: usize, free_from: usize) -> Option<BareAddress> {
    let after = text[colon..].strip_prefix("://")?;
    let before = &text[free_from..colon];
    let scheme = before.len() - before.trim_end_matches(|c: char| c.is_ascii_alphanumeric()).len();
    let start = colon - scheme;
    if !matches!(text[start..colon].to_ascii_lowercase().as_str(), "http" | "https") {
        return None;
    }
    let end = colon + 3 + length(after);
    let host = &text[colon + 3..end];
    let begins = |c: char| c.is_alphanumeric() || c == '[' && host.contains(']');
    host.starts_with(begins).then_some(BareAddress { place: start..end, scheme: "" })
}

/// `www.`, at its first letter.
fn www(text: &str, start: usize) -> Option<BareAddress> {
    if !text.get(start..start + 4)?.eq_ignore_ascii_case("www.") {
        return None;
    }
    let before = text[..start].chars().next_back();
    if before.is_some_and(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | '@' | ':')) {
        return None;
    }
    let end = start + length(&text[start..]);
    let host = text.get(start + 4..end)?.split(['/', '?', '#', ':']).next()?;
    is_domain(host).then_some(BareAddress { place: start..end, scheme: "http://" })
}

/// A mail address, at its `@`.
fn mail(text: &str, at: usize, free_from: usize) -> Option<BareAddress> {
    let local = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '-' | '_');
    let before = &text[free_from..at];
    let start = at - (before.len() - before.trim_end_matches(local).len());
    let start = at - text[start..at].trim_start_matches(['.', '-', '_', '+']).len();
    let is_part = text[free_from..start].ends_with(['/', '@', '=', '&', '?', '%', '#']);
    if start == at || at - start > LONGEST_LOCAL_PART || is_part || text[start..at].ends_with('.') {
        return None;
    }
    let rest = &text[at + 1..];
    let domain =
        &rest[..rest.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '-')).unwrap_or(rest.len())];
    let domain = domain.trim_end_matches(['.', '-']);
    let end = at + 1 + domain.len();
    let behind = &text[end..];
    // `git@host:path` is where a program finds something, and `a@b@c` nothing that people write to.
    let is_other = behind.starts_with(['@', '_', '/'])
        || behind
            .strip_prefix(':')
            .is_some_and(|path| path.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/'));
    if is_other || !is_domain(domain) || domain.rsplit('.').next().is_some_and(link_targets::is_file_ending) {
        return None;
    }
    let (start, scheme) = match text[free_from..start].strip_suffix("mailto:") {
        Some(_) => (start - "mailto:".len(), ""),
        None => (start, "mailto:"),
    };
    Some(BareAddress { place: start..end, scheme })
}

/// Names with dots between them, the last of which is a word.
fn is_domain(host: &str) -> bool {
    let Some((before, last)) = host.rsplit_once('.') else { return false };
    let is_last = last.len() >= 2 && last.chars().all(|c| c.is_alphabetic() || last.starts_with("xn--"));
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && label.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_')
    };
    is_last && before.split('.').all(is_label)
}

/// How far an address goes in a text that begins with it.
fn length(text: &str) -> usize {
    let mut before = '/';
    let mut end = text.len();
    for (at, c) in text.char_indices() {
        if !goes_on(before, c) {
            end = at;
            break;
        }
        before = c;
    }
    trimmed(&text[..end])
}

/// Whether an address goes on with this letter.
fn goes_on(before: char, c: char) -> bool {
    if c.is_ascii() {
        return !c.is_ascii_control() && !matches!(c, ' ' | '<' | '>' | '"' | '`' | '\\' | '|' | '^' | '{' | '}');
    }
    if is_punctuation(c) || c.is_whitespace() || c.is_control() {
        return false;
    }
    if matches!(
        get_general_category(c),
        GeneralCategory::Format | GeneralCategory::Unassigned | GeneralCategory::PrivateUse
    ) {
        return false;
    }
    // After `…/docs` Han begins the next sentence, after `…/wiki/` a name.
    !is_spaceless(c) || !before.is_ascii() || matches!(before, '/' | '.' | '=' | '-' | '_' | '#' | '?' | '&')
}

/// The length without what ends the sentence around it, and without brackets that were opened before it.
fn trimmed(address: &str) -> usize {
    let opened = |bracket: char| address.matches(bracket).count();
    let mut round = opened(')').saturating_sub(opened('('));
    let mut square = opened(']').saturating_sub(opened('['));
    let mut rest = address;
    while let Some(last) = rest.chars().next_back() {
        match last {
            '?' | '!' | '.' | ',' | ':' | ';' | '*' | '_' | '~' | '\'' => {}
            ')' if round > 0 => round -= 1,
            ']' if square > 0 => square -= 1,
            '(' | '[' => {}
            _ => break,
        }
        rest = &rest[..rest.len() - last.len_utf8()];
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts, and the targets of the links in them; the page is tested with the same.
    const TABLE: &str = include_str!("../../tests/page/addresses.tsv");

    fn links(text: &str) -> String {
        let targets = find(text).into_iter().map(|BareAddress { place, scheme }| format!("{scheme}{}", &text[place]));
        targets.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn an_address_ends_where_its_sentence_goes_on_and_what_only_looks_like_one_is_none() {
        for line in TABLE.lines() {
            let (text, targets) = line.split_once('\t').unwrap();
            assert_eq!(links(text), targets, "{text}");
        }
        assert_eq!(links("https://a.example/\u{202e}gpj.exe"), "https://a.example/");
    }

    #[test]
    fn marks_inside_of_an_address_are_none_of_markdown() {
        let text = "https://a.example/_x_/~ann/*b*?$top=1 *and* www.a_b.example";
        let shielded = shielded(text);
        assert!(!shielded.contains(['_', '~', '$']) && shielded.contains(" *and* "), "{shielded}");
    }
}
