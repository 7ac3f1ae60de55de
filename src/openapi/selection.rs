//! Which operations become tools: globs, which are looked at before anything else is read of an operation.

use super::operations::{OperationEntry, SkippedOperation};

/// How a glob begins that is compared with tags.
const TAG: &str = "tag:";

/// Which operations become tools. A glob has `*` (any characters) and `?` (one character). One with a `/` in it is compared with
/// method and path (`GET /pets*`), one that begins with `tag:` with each tag (`tag:billing`), any other with the name of the tool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToolSelection {
    /// Only these; empty: all.
    pub include: Vec<String>,
    /// Never these.
    pub exclude: Vec<String>,
}

impl ToolSelection {
    /// Whether an operation is selected.
    pub fn selects(&self, entry: &OperationEntry) -> bool {
        self.decides(|glob| is_selected(glob, entry))
    }

    /// Whether an operation is selected that cannot be a tool: it has no name and no tags, only a method and a path.
    pub fn selects_skipped(&self, skipped: &SkippedOperation) -> bool {
        self.decides(|glob| match glob.strip_prefix(TAG) {
            None if glob.contains('/') => is_match(glob, &skipped.operation),
            Some(tag) => is_match(tag, ""),
            None => is_match(glob, ""),
        })
    }

    /// Whether a tool is selected that has a name and nothing else.
    pub fn selects_name(&self, name: &str) -> bool {
        self.decides(|glob| is_match(glob, name))
    }

    fn decides(&self, matches: impl Fn(&String) -> bool) -> bool {
        (self.include.is_empty() || self.include.iter().any(&matches)) && !self.exclude.iter().any(&matches)
    }

    /// The globs of `include` that fit none of these operations: probably misspelt.
    pub fn unmatched<'s>(&'s self, operations: &[OperationEntry]) -> Vec<&'s str> {
        fitting_nothing(&self.include, |glob| operations.iter().any(|entry| is_selected(glob, entry)))
    }

    /// The same of `exclude`.
    pub fn unmatched_exceptions<'s>(&'s self, operations: &[OperationEntry]) -> Vec<&'s str> {
        fitting_nothing(&self.exclude, |glob| operations.iter().any(|entry| is_selected(glob, entry)))
    }

    /// The globs of `include` that fit none of these tools, which have a name and nothing else.
    pub fn unmatched_names<'s>(&'s self, names: &[&str]) -> Vec<&'s str> {
        fitting_nothing(&self.include, |glob| names.iter().any(|name| is_match(glob, name)))
    }

    /// What is wrong with `except`, if it names one of these tools with other capitals or strokes, so that it would be offered. What is
    /// not there at all may have been removed by whoever makes the server, and hurts nobody.
    pub fn misspelt_exception(&self, names: &[&str]) -> Option<String> {
        let alike = |text: &str| text.to_lowercase().replace('-', "_");
        self.exclude.iter().filter(|glob| !names.contains(&glob.as_str())).find_map(|glob| {
            let meant = names.iter().find(|name| alike(name) == alike(glob))?;
            Some(format!("`except` names {glob:?}, and what is there is {meant:?}"))
        })
    }
}

fn fitting_nothing(globs: &[String], fits: impl Fn(&String) -> bool) -> Vec<&str> {
    globs.iter().filter(|glob| !fits(glob)).map(String::as_str).collect()
}

fn is_selected(glob: &str, entry: &OperationEntry) -> bool {
    match glob.strip_prefix(TAG) {
        Some(tag) => entry.tags.iter().any(|known| is_match(tag, known)),
        None if glob.contains('/') => is_match(glob, &entry.operation()),
        None => is_match(glob, &entry.name),
    }
}

/// Whether a glob matches all of a text, in a time that grows with both lengths multiplied at most.
fn is_match(glob: &str, text: &str) -> bool {
    let (glob, text): (Vec<char>, Vec<char>) = (glob.chars().collect(), text.chars().collect());
    let (mut at, mut position) = (0, 0);
    // The last star, and how far it reaches.
    let mut star = None;
    while position < text.len() {
        match glob.get(at) {
            Some('*') => {
                star = Some((at, position));
                at += 1;
            }
            Some(letter) if *letter == '?' || *letter == text[position] => {
                at += 1;
                position += 1;
            }
            _ => match star {
                Some((star_at, reached)) => {
                    star = Some((star_at, reached + 1));
                    at = star_at + 1;
                    position = reached + 1;
                }
                None => return false,
            },
        }
    }
    glob[at..].iter().all(|letter| *letter == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_that_no_name_fits_is_told() {
        let only = |globs: &[&str]| ToolSelection {
            include: globs.iter().map(|&glob| glob.to_owned()).collect(),
            exclude: Vec::new(),
        };
        assert_eq!(only(&["get_*", "serch_docs"]).unmatched_names(&["get_page", "search_docs"]), ["serch_docs"]);
        assert!(only(&[]).unmatched_names(&["a"]).is_empty());
        let told = |glob: &str| {
            let except = ToolSelection { include: Vec::new(), exclude: vec![glob.to_owned()] };
            except.misspelt_exception(&["createOrder", "getOrder"])
        };
        assert_eq!(told("createOrder"), None);
        assert_eq!(told("updateOrder"), None, "it may have been removed");
        assert!(told("createorder").unwrap().contains("createOrder"));
    }

    #[test]
    fn globs_select_by_name_or_by_method_and_path() {
        let selects = |include: &[&str], exclude: &[&str]| {
            let globs = |globs: &[&str]| globs.iter().map(|glob| (*glob).to_owned()).collect();
            let (name, path, tags) = ("listPets".into(), "/pets/{id}".into(), vec!["pets".into(), "store/all".into()]);
            let entry = OperationEntry { name, method: "GET", path, tags, key: "get" };
            ToolSelection { include: globs(include), exclude: globs(exclude) }.selects(&entry)
        };
        assert!(selects(&[], &[]));
        for glob in
            ["listPets", "list*", "*", "*Pets", "l*t*s", "list?ets", "**", "GET /pets/*", "* /pets/{id}", "GET /*/{id}"]
                .into_iter()
                .chain(["tag:pets", "tag:p*", "tag:store/all"])
        {
            assert!(selects(&[glob], &[]) && !selects(&[], &[glob]), "{glob}");
        }
        for glob in [
            "",
            "list",
            "Pets",
            "listpets",
            "list?Pets",
            "POST /pets/*",
            "/pets*",
            "l*x",
            "tag:",
            "tag:pet",
            "tag:store",
        ] {
            assert!(!selects(&[glob], &[]) && selects(&[], &[glob]), "{glob}");
        }
        assert!(!selects(&["list*"], &["*Pets"]));
        let many = format!("{}x", "*a".repeat(50));
        assert!(!is_match(&many, &"a".repeat(5000)));
    }
}
