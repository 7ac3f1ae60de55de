//! Which operations become tools: globs, which are looked at before anything else is read of an operation.

/// Which operations become tools. A glob has `*` (any characters) and `?` (one character). One with a `/` in it is compared with
/// method and path (`GET /pets*`), any other with the name of the tool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToolSelection {
    /// Only these; empty: all.
    pub include: Vec<String>,
    /// Never these.
    pub exclude: Vec<String>,
}

impl ToolSelection {
    /// Whether an operation is selected.
    pub fn selects(&self, name: &str, method: &str, path: &str) -> bool {
        let matches = |glob: &String| match glob.contains('/') {
            true => is_match(glob, &format!("{method} {path}")),
            false => is_match(glob, name),
        };
        (self.include.is_empty() || self.include.iter().any(matches)) && !self.exclude.iter().any(matches)
    }

    /// The globs of `include` that select none of these operations: probably misspelt.
    pub fn unmatched<'s>(&'s self, operations: &[super::OperationEntry]) -> Vec<&'s str> {
        let matches = |glob: &String| {
            let one = ToolSelection { include: vec![glob.clone()], exclude: Vec::new() };
            operations.iter().any(|entry| one.selects(&entry.name, entry.method, &entry.path))
        };
        self.include.iter().filter(|glob| !matches(glob)).map(String::as_str).collect()
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
    fn globs_select_by_name_or_by_method_and_path() {
        let selects = |include: &[&str], exclude: &[&str]| {
            let globs = |globs: &[&str]| globs.iter().map(|glob| (*glob).to_owned()).collect();
            ToolSelection { include: globs(include), exclude: globs(exclude) }.selects("listPets", "GET", "/pets/{id}")
        };
        assert!(selects(&[], &[]));
        for glob in
            ["listPets", "list*", "*", "*Pets", "l*t*s", "list?ets", "**", "GET /pets/*", "* /pets/{id}", "GET /*/{id}"]
        {
            assert!(selects(&[glob], &[]) && !selects(&[], &[glob]), "{glob}");
        }
        for glob in ["", "list", "Pets", "listpets", "list?Pets", "POST /pets/*", "/pets*", "l*x"] {
            assert!(!selects(&[glob], &[]) && selects(&[], &[glob]), "{glob}");
        }
        assert!(!selects(&["list*"], &["*Pets"]));
        let many = format!("{}x", "*a".repeat(50));
        assert!(!is_match(&many, &"a".repeat(5000)));
    }
}
