//! Rust source as the test of the floors reads it: which modules a file names, its comments, strings and tests left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A path to a module or to something in it, without `crate`.
pub type Names = Vec<String>;

/// A module with a file of its own.
pub struct Module {
    pub file: PathBuf,
    /// What is compiled without tests, and neither comment nor text.
    pub code: String,
    /// What it names, with whole paths.
    pub named: Vec<Names>,
    /// What it shows under its own name although it is another module's: the name, and whose it is.
    shown: Vec<(String, Names)>,
}

/// The modules of a crate, by their paths.
pub struct Modules(pub BTreeMap<Names, Module>);

impl Modules {
    /// Reads all files below a folder. Those that only tests have are left out.
    pub fn read(root: &Path) -> Self {
        let mut files = Vec::new();
        sources(root, &mut files);
        let mut texts = BTreeMap::new();
        let mut tests = BTreeSet::new();
        for file in files {
            let text = std::fs::read_to_string(&file).expect("a readable source");
            let relative = file.strip_prefix(root).expect("a file below the root").with_extension("");
            let mut names: Names = relative.iter().map(|part| part.to_string_lossy().into_owned()).collect();
            let plain = plain(&text);
            let (code, test_files) = without_tests(&plain, &text);
            let folder = match names.last().map(String::as_str) {
                Some("mod" | "lib" | "main") => file.parent().expect("a folder").to_owned(),
                _ => file.with_extension(""),
            };
            for test in test_files {
                // As `#[path]` says, beside the file; or in the module's folder.
                tests.insert(folder.join(&test));
                tests.insert(file.with_file_name(&test));
            }
            if names.len() > 1 {
                names.pop_if(|last| last == "mod");
            }
            texts.insert(names, (file, code));
        }
        texts.retain(|_, (file, _)| !tests.contains(file));
        Self::of(texts)
    }

    fn of(texts: BTreeMap<Names, (PathBuf, String)>) -> Self {
        let known: BTreeSet<Names> = texts.keys().cloned().collect();
        let module = |(names, (file, code)): (Names, (PathBuf, String))| {
            let children: BTreeSet<String> = known
                .iter()
                .filter(|other| other.split_last().is_some_and(|(_, parent)| parent == names))
                .filter_map(|child| child.last().cloned())
                .collect();
            let named = named(&code, &names, &children);
            let shown = shown(&code, &names, &children);
            (names, Module { file, code, named, shown })
        };
        Self(texts.into_iter().map(module).collect())
    }

    /// The module that a path leads to, through what modules show of others.
    pub fn target(&self, path: &[String]) -> Option<&Names> {
        let mut path = path.to_vec();
        // What is shown may be shown again; a chain of that many has a circle.
        for _ in 0..8 {
            let length = (1..=path.len()).rev().find(|length| self.0.contains_key(&path[..*length]))?;
            let (names, module) = self.0.get_key_value(&path[..length])?;
            let Some(next) = path.get(length) else { return Some(names) };
            match module.shown.iter().find(|(name, _)| name == next) {
                Some((_, real)) => path = real.iter().chain(&path[length + 1..]).cloned().collect(),
                None => return Some(names),
            }
        }
        None
    }

    /// Neighbours in one module, each naming the other, if only by way of others: the names of each such circle, with the
    /// path of the module that they are in.
    pub fn circles(&self) -> Vec<String> {
        let mut arrows: BTreeMap<Names, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
        for (names, module) in &self.0 {
            for path in &module.named {
                let Some(target) = self.target(path) else { continue };
                let common = names.iter().zip(target).take_while(|(one, other)| one == other).count();
                if let (Some(from), Some(to)) = (names.get(common), target.get(common)) {
                    let inside = arrows.entry(names[..common].to_vec()).or_default();
                    inside.entry(from.clone()).or_default().insert(to.clone());
                }
            }
        }
        let mut circles = Vec::new();
        for (inside, arrows) in arrows {
            let reached: BTreeMap<&String, BTreeSet<&String>> =
                arrows.keys().map(|from| (from, reachable(from, &arrows))).collect();
            let mut told = BTreeSet::new();
            for (from, reaches) in &reached {
                let circle: Vec<&str> = reached
                    .iter()
                    .filter(|(other, back)| reaches.contains(*other) && back.contains(from))
                    .map(|(other, _)| other.as_str())
                    .collect();
                if !circle.is_empty() && told.insert(circle.clone()) {
                    circles.push(format!("{}: {}", inside.join("::"), circle.join(", ")));
                }
            }
        }
        circles
    }
}

fn reachable<'a>(from: &'a String, arrows: &'a BTreeMap<String, BTreeSet<String>>) -> BTreeSet<&'a String> {
    let mut found = BTreeSet::new();
    let mut next = vec![from];
    while let Some(name) = next.pop() {
        for to in arrows.get(name).into_iter().flatten() {
            if found.insert(to) {
                next.push(to);
            }
        }
    }
    found
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The text with every comment and every letter of a literal as a space: each place stays where it was.
pub fn plain(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text.as_bytes()[at..];
        let length = match rest {
            [b'/', b'/', ..] => rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()),
            [b'/', b'*', ..] => find(rest, b"*/").map_or(rest.len(), |end| end + 2),
            [b'"', ..] => quoted(rest),
            [b'\'', ..] => character(rest),
            [b'r', b'"' | b'#', ..] if at == 0 || !is_word(bytes[at - 1]) || bytes[at - 1] == b'b' => raw(rest),
            _ => 0,
        };
        plain[at..at + length].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
        at += length.max(1);
    }
    String::from_utf8_lossy(&plain).into_owned()
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

/// The length of a text in quotes.
fn quoted(text: &[u8]) -> usize {
    let mut at = 1;
    while at < text.len() && text[at] != b'"' {
        at += if text[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(text.len())
}

/// The length of a character in quotes; 0: it is a lifetime.
fn character(text: &[u8]) -> usize {
    let first = if text.get(1) == Some(&b'\\') { 3 } else { 2 };
    // Letters of other scripts have up to four bytes; an escape up to ten.
    let most = if first == 3 { 12 } else { 5 };
    (first..=most).find(|end| text.get(*end) == Some(&b'\'')).map_or(0, |end| end + 1)
}

/// The length of a raw text; 0: it is a raw name.
fn raw(text: &[u8]) -> usize {
    let hashes = text[1..].iter().take_while(|byte| **byte == b'#').count();
    if text.get(1 + hashes) != Some(&b'"') {
        return 0;
    }
    let end = [b"\"".as_slice(), &vec![b'#'; hashes]].concat();
    let begin = 2 + hashes;
    find(&text[begin..], &end).map_or(text.len(), |at| begin + at + end.len())
}

/// The code without what only tests have, and the names of the files that only tests have. `text` is what `plain` was.
fn without_tests(plain: &str, text: &str) -> (String, Vec<String>) {
    const TEST: &str = "#[cfg(test)]";
    let mut code = String::new();
    let (mut files, mut at) = (Vec::new(), 0);
    while let Some(found) = plain[at..].find(TEST) {
        code.push_str(&plain[at..at + found]);
        let begin = at + found;
        at = begin + TEST.len() + item(&plain[begin + TEST.len()..]);
        // The name in `#[path]` is no code.
        let whole = &text[begin..at];
        let named = whole.split("#[path = \"").nth(1).and_then(|rest| rest.split('"').next());
        let module = plain[begin..at].trim_end().strip_suffix(';').and_then(|item| item.rsplit("mod ").next());
        if let (true, Some(module)) = (whole.contains("mod "), module) {
            files.push(named.map_or_else(|| format!("{}.rs", module.trim()), str::to_owned));
        }
    }
    code.push_str(&plain[at..]);
    (code, files)
}

/// The length of the item that the code begins with, attributes included.
fn item(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate() {
        match byte {
            b'{' | b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            b';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// What the code of a module names of its crate, with whole paths.
pub fn named(code: &str, module: &[String], children: &BTreeSet<String>) -> Vec<Names> {
    let mut found = Vec::new();
    for (at, word) in words(code) {
        let after = at + word.len();
        let is_path = code[after..].starts_with("::");
        let is_inside = code[..at].ends_with("::") || code[..at].ends_with('$');
        if !is_path || is_inside {
            continue;
        }
        let is_child = children.contains(word);
        if matches!(word, "crate" | "self" | "super") || is_child {
            let (paths, _) = tree(&code[at..]);
            found.extend(paths.into_iter().map(|path| whole(path, module, children)));
        }
    }
    found
}

/// What the code of a module shows as its own although it is another's.
fn shown(code: &str, module: &[String], children: &BTreeSet<String>) -> Vec<(String, Names)> {
    let mut found = Vec::new();
    let mut before = ["", ""];
    for (at, word) in words(code) {
        let is_public = before[1] == "pub" || before[0] == "pub";
        if word == "use" && is_public {
            let (paths, _) = tree(code[at + word.len()..].trim_start());
            let whole = paths.into_iter().map(|path| whole(path, module, children));
            found.extend(whole.filter_map(|path| Some((path.last()?.clone(), path))));
        }
        before = [before[1], word];
    }
    found
}

/// The types that the code gives functions of their own although it does not define them. What a macro writes is not seen.
pub fn strangers(code: &str) -> Vec<String> {
    let all: Vec<(usize, &str)> = words(code).collect();
    let defined: BTreeSet<&str> = all
        .windows(2)
        .filter(|pair| matches!(pair[0].1, "struct" | "enum" | "union" | "type"))
        .map(|pair| pair[1].1)
        .collect();
    let mut found = Vec::new();
    for (at, word) in &all {
        // An item begins a line; `impl Trait` is a type.
        let line = code[..*at].rfind('\n').map_or(0, |end| end + 1);
        if *word != "impl" || !code[line..*at].trim().is_empty() {
            continue;
        }
        let Some(header) = code[at + word.len()..].split('{').next() else { continue };
        let name = without_generics(header);
        let name = name.trim();
        let is_plain = !name.contains(char::is_whitespace) && !name.contains('$');
        let name = name.rsplit("::").next().unwrap_or(name);
        if is_plain && !defined.contains(name) {
            found.push(name.to_owned());
        }
    }
    found
}

/// A header of an `impl` without what stands in angle brackets, and without its conditions.
fn without_generics(header: &str) -> String {
    let mut plain = String::new();
    let mut depth = 0_usize;
    let mut before = ' ';
    for letter in header.chars() {
        match letter {
            '<' => depth += 1,
            '>' if before != '-' => depth = depth.saturating_sub(1),
            _ if depth == 0 => plain.push(letter),
            _ => {}
        }
        before = letter;
    }
    let words: Vec<&str> = plain.split_whitespace().take_while(|word| *word != "where").collect();
    words.join(" ")
}

fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_in = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut at = 0;
    std::iter::from_fn(move || {
        at += code[at..].find(is_in)?;
        let begin = at;
        at += code[at..].find(|c| !is_in(c)).unwrap_or(code.len() - at);
        Some((begin, &code[begin..at]))
    })
}

/// The paths of a use tree that the code begins with, and its length. What a name is called instead is left out.
fn tree(code: &str) -> (Vec<Names>, usize) {
    let mut names = Names::new();
    let mut at = 0;
    loop {
        let rest = &code[at..];
        if rest.starts_with('{') {
            let mut paths = Vec::new();
            let mut inside = at + 1;
            loop {
                inside += group_space(&code[inside..]);
                if code[inside..].is_empty() || code[inside..].starts_with('}') {
                    break;
                }
                let (branches, length) = tree(&code[inside..]);
                paths.extend(branches.into_iter().map(|branch| names.iter().cloned().chain(branch).collect()));
                // Nothing that belongs here: not a use tree at all.
                inside += length.max(1);
                if let Some(name) = code[inside..].trim_start().strip_prefix("as ") {
                    inside = code.len() - name.len();
                    inside += name.find([',', '}']).unwrap_or(name.len());
                }
            }
            return (paths, inside + 1);
        }
        if rest.starts_with('*') {
            return (vec![names], at + 1);
        }
        let length = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        if length > 0 {
            names.push(rest[..length].to_owned());
        }
        at += length;
        match code[at..].strip_prefix("::") {
            Some(_) if length > 0 => at += 2,
            _ => return (vec![names], at),
        }
    }
}

fn group_space(code: &str) -> usize {
    code.len() - code.trim_start_matches(|c: char| c.is_whitespace() || c == ',').len()
}

/// The path from the crate's root.
fn whole(path: Names, module: &[String], children: &BTreeSet<String>) -> Names {
    let mut base: Names = Vec::new();
    let mut rest = path.as_slice();
    match rest.first().map(String::as_str) {
        Some("crate") => rest = &rest[1..],
        Some("self") => (base, rest) = (module.to_vec(), &rest[1..]),
        Some("super") => base = module.to_vec(),
        Some(child) if children.contains(child) => base = module.to_vec(),
        _ => {}
    }
    while rest.first().is_some_and(|name| name == "super") {
        base.pop();
        rest = &rest[1..];
    }
    base.extend(rest.iter().filter(|name| *name != "self").cloned());
    base
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &str) -> Names {
        path.split("::").map(str::to_owned).collect()
    }

    fn modules<const N: usize>(texts: [(&str, &str); N]) -> Modules {
        let code = |text: &str| without_tests(&plain(text), text).0;
        Modules::of(texts.into_iter().map(|(path, text)| (names(path), (PathBuf::new(), code(text)))).collect())
    }

    #[test]
    fn every_name_of_a_group_is_seen() {
        let code = plain("use crate::{a, b::{c, d as e}, f::*}; // crate::g\nlet h = \"crate::i\";");
        let found: Vec<String> = named(&code, &[], &BTreeSet::new()).iter().map(|path| path.join("::")).collect();
        assert_eq!(found, ["a", "b::c", "b::d", "f"]);
    }

    #[test]
    fn what_comes_after_a_test_is_read() {
        let text = "use crate::a;\n#[cfg(test)]\nmod tests { use crate::b; }\nfn f<'a>(c: char) { c == '{' || crate::c::d() }\n\
                    #[cfg(test)]\n#[path = \"x_tests.rs\"]\nmod x;\nuse crate::e;";
        let (code, files) = without_tests(&plain(text), text);
        let found: Vec<String> = named(&code, &[], &BTreeSet::new()).iter().map(|path| path.join("::")).collect();
        assert_eq!(found, ["a", "c::d", "e"]);
        assert_eq!(files, ["x_tests.rs"]);
    }

    #[test]
    fn a_circle_inside_a_module_is_found_through_what_the_module_shows() {
        let chat = |b: &'static str| {
            modules([
                ("chat", "mod a; mod b; mod c; pub use c::Led;"),
                ("chat::a", "use super::b::x;"),
                ("chat::b", b),
                ("chat::c", "use crate::chat::a;"),
            ])
        };
        assert_eq!(chat("").circles(), Vec::<String>::new());
        assert_eq!(chat("use crate::chat::a;").circles(), ["chat: a, b"]);
        assert_eq!(chat("use crate::chat::Led;").circles(), ["chat: a, b, c"]);
    }

    #[test]
    fn functions_of_a_type_that_is_elsewhere_are_found() {
        let code = "struct A<T>(T);\nimpl<T: Fn() -> u8> A<T> {}\nimpl Trait for B {}\nimpl<'a> b::C<'a> {}\n\
                    fn f() -> impl Iterator<Item = u8> {}\nimpl A<u8>\nwhere\n    u8: Copy,\n{\n}";
        assert_eq!(strangers(code), ["C"]);
    }
}
