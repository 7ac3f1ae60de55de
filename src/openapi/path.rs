//! Paths with parameters in braces. A value never leaves its segment: what an address or a server could read as a step up or
//! down is refused.

use percent_encoding::percent_decode_str;

use super::style::encoded;

/// A path as it is written in a document.
#[derive(Debug, Clone, Default)]
pub(super) struct PathTemplate {
    segments: Vec<Vec<PathPiece>>,
    /// What is written behind `?`: it goes in front of the parameters. Pieces, as it may have parameters, too.
    query: Vec<PathPiece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum PathPiece {
    /// As it goes into the address.
    Text(String),
    /// The name of a parameter.
    Parameter(String),
}

/// A path and a query with values in the place of parameters.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FilledPath {
    pub(super) path: String,
    pub(super) query: String,
}

impl PathTemplate {
    /// Reads a path. What stands behind `#` only tells operations of one path apart, and is never sent.
    pub(super) fn parse(path: &str) -> Self {
        let path = path.split('#').next().unwrap_or_default();
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let path = path.strip_prefix('/').unwrap_or(path);
        Self { segments: path.split('/').map(pieces).collect(), query: pieces(query) }
    }

    /// The names of the parameters, each once.
    pub(super) fn parameters(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for piece in self.segments.iter().flatten().chain(&self.query) {
            if let PathPiece::Parameter(name) = piece
                && !names.contains(&name.as_str())
            {
                names.push(name);
            }
        }
        names
    }

    /// The path with values, which are encoded already.
    pub(super) fn filled(&self, value: impl Fn(&str) -> Result<String, String>) -> Result<FilledPath, String> {
        let mut path = String::new();
        for segment in &self.segments {
            let text = filled(segment, &value)?;
            let has_parameter = segment.iter().any(|piece| matches!(piece, PathPiece::Parameter(_)));
            if has_parameter {
                check_segment(segment, &text)?;
            }
            path.push('/');
            path.push_str(&text);
        }
        Ok(FilledPath { path, query: filled(&self.query, &value)? })
    }
}

fn filled(pieces: &[PathPiece], value: impl Fn(&str) -> Result<String, String>) -> Result<String, String> {
    let mut text = String::new();
    for piece in pieces {
        match piece {
            PathPiece::Text(written) => text.push_str(written),
            PathPiece::Parameter(name) => text.push_str(&value(name)?),
        }
    }
    Ok(text)
}

/// Whether a segment is one segment, whatever a server makes of it.
fn check_segment(segment: &[PathPiece], text: &str) -> Result<(), String> {
    let names: Vec<&str> = segment
        .iter()
        .filter_map(|piece| match piece {
            PathPiece::Parameter(name) => Some(name.as_str()),
            PathPiece::Text(_) => None,
        })
        .collect();
    let names = names.join(" and ");
    if text.is_empty() {
        return Err(format!("{names}: a value in the path may not be empty"));
    }
    let decoded = percent_decode_str(text).decode_utf8_lossy();
    // Some servers decode first and split then.
    let is_step = decoded.split(['/', '\\']).any(|step| matches!(step.trim(), "." | ".."));
    if is_step {
        return Err(format!("{names}: a value in the path may not lead to another path ({decoded:?})"));
    }
    if decoded.chars().any(char::is_control) {
        return Err(format!("{names}: a value in the path may not have control characters"));
    }
    Ok(())
}

/// The texts and parameters of a part of a path. A brace that is not closed is text.
fn pieces(text: &str) -> Vec<PathPiece> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, behind)) = after.split_once('}') else { break };
        if !before.is_empty() {
            pieces.push(PathPiece::Text(as_written(before)));
        }
        // RFC 6570 marks what may have slashes in it (`{+path}`); here nothing may.
        pieces.push(PathPiece::Parameter(name.trim_start_matches('+').trim_end_matches('*').to_owned()));
        rest = behind;
    }
    if !rest.is_empty() {
        pieces.push(PathPiece::Text(as_written(rest)));
    }
    pieces
}

/// A text of the document, in which what has a meaning in an address stays.
fn as_written(text: &str) -> String {
    let mut written = String::new();
    for letter in text.chars() {
        if letter == '%' || letter == '&' || letter == '+' {
            written.push(letter);
        } else {
            written.push_str(&encoded(letter.encode_utf8(&mut [0; 4]), true));
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(path: &str, value: &str) -> Result<String, String> {
        let filled = PathTemplate::parse(path).filled(|_| Ok(encoded(value, false)))?;
        Ok(if filled.query.is_empty() { filled.path } else { format!("{}?{}", filled.path, filled.query) })
    }

    #[test]
    fn values_take_the_place_of_parameters() {
        for (path, value, wanted) in [
            ("/pets/{petId}", "7", "/pets/7"),
            ("/pets/{a}.{b}/x", "é", "/pets/%C3%A9.%C3%A9/x"),
            ("/pets({id})/$count", "7", "/pets(7)/$count"),
            ("/a b/{id}", "c d", "/a%20b/c%20d"),
            ("/{id", "x", "/%7Bid"),
            ("/", "x", "/"),
            ("/#Action=AddTags", "x", "/"),
            ("/files?upload&name={name}", "a&b", "/files?upload&name=a%26b"),
            ("/{+path}", "a/b", "/a%2Fb"),
            ("/v1:run/{id}:stop", "x", "/v1:run/x:stop"),
        ] {
            assert_eq!(fill(path, value).unwrap(), wanted);
        }
        assert_eq!(PathTemplate::parse("/{a}/{b}-{a}?c={c}").parameters(), ["a", "b", "c"]);
    }

    #[test]
    fn a_value_never_leaves_its_segment() {
        for value in [".", "..", "", "a/../b", "../", "..\\x", "a/.", "./a", "x/ .. /y", "\n", "a\0"] {
            assert!(fill("/files/{name}/meta", value).is_err(), "{value:?}");
        }
        for value in ["...", "a..b", ".git", "feature/x", "@scope/pkg", "%2e%2e", "~"] {
            let filled = fill("/files/{name}/meta", value).unwrap();
            assert_eq!(filled.matches('/').count(), 3, "{filled}");
        }
        // The pieces of one segment are looked at together.
        assert!(fill("/{a}{b}", ".").is_err());
        assert!(fill("/{a}.", ".").is_err());
    }
}
