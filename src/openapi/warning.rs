//! What of a specification cannot be used as it is written, and where that stands in it.

use std::fmt;

/// Something that is not used as it is written. The tool works nevertheless.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenApiWarning {
    /// Where, as a JSON pointer: `#/paths/~1pets/get/parameters/0`; in another file its name comes first.
    pub place: String,
    /// What is so, and what follows from it. A sentence without a full stop.
    pub message: String,
}

impl fmt::Display for OpenApiWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at {})", self.message, self.place)
    }
}

/// The most warnings of one tool that are kept; one more counts the rest.
const MOST_WARNINGS: usize = 20;

/// The warnings of one tool or document, each once.
#[derive(Debug, Default, Clone)]
pub(super) struct WarningList {
    kept: Vec<OpenApiWarning>,
    left_out: usize,
}

impl WarningList {
    pub(super) fn add(&mut self, place: &JsonPointer<'_>, message: impl Into<String>) {
        let warning = OpenApiWarning { place: place.to_string(), message: message.into() };
        if self.kept.contains(&warning) {
            return;
        }
        if self.kept.len() == MOST_WARNINGS {
            self.left_out += 1;
        } else {
            self.kept.push(warning);
        }
    }

    pub(super) fn extend(&mut self, other: &WarningList) {
        let room = MOST_WARNINGS.saturating_sub(self.kept.len());
        self.kept.extend(other.kept.iter().take(room).cloned());
        self.left_out += other.left_out + other.kept.len().saturating_sub(room);
    }

    pub(super) fn finish(mut self, whole: &JsonPointer<'_>) -> Vec<OpenApiWarning> {
        if self.left_out > 0 {
            let message = format!("{} more warnings", self.left_out);
            self.kept.push(OpenApiWarning { place: whole.to_string(), message });
        }
        self.kept
    }
}

/// A place in a document: a chain that costs nothing until it is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct JsonPointer<'p> {
    parent: Option<&'p JsonPointer<'p>>,
    part: PointerPart<'p>,
}

#[derive(Debug, Clone, Copy)]
enum PointerPart<'p> {
    /// Where the chain begins: `#`, or a whole pointer.
    Root(&'p str),
    Key(&'p str),
    Index(usize),
}

impl<'p> JsonPointer<'p> {
    pub(super) fn root(text: &'p str) -> Self {
        Self { parent: None, part: PointerPart::Root(text) }
    }

    pub(super) fn key(&'p self, key: &'p str) -> JsonPointer<'p> {
        JsonPointer { parent: Some(self), part: PointerPart::Key(key) }
    }

    pub(super) fn index(&'p self, index: usize) -> JsonPointer<'p> {
        JsonPointer { parent: Some(self), part: PointerPart::Index(index) }
    }
}

impl fmt::Display for JsonPointer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.part {
            PointerPart::Root(text) => f.write_str(text),
            PointerPart::Key(key) => write!(f, "/{}", key.replace('~', "~0").replace('/', "~1")),
            PointerPart::Index(index) => write!(f, "/{index}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_written_as_a_json_pointer() {
        let root = JsonPointer::root("#");
        let (paths, list) = (root.key("paths"), JsonPointer::root("parts.yaml#/x~y"));
        assert_eq!(paths.key("/a~b").index(3).to_string(), "#/paths/~1a~0b/3");
        assert_eq!(list.key("y").to_string(), "parts.yaml#/x~y/y");
    }

    #[test]
    fn a_warning_is_kept_once_and_too_many_are_counted() {
        let root = JsonPointer::root("#");
        let mut list = WarningList::default();
        for number in 0..30 {
            list.add(&root.index(number), "odd");
            list.add(&root.index(number), "odd");
        }
        let warnings = list.finish(&root);
        assert_eq!(warnings.len(), 21);
        // Those past the limit are not compared with each other.
        assert_eq!(warnings[20].to_string(), "20 more warnings (at #)");
    }
}
