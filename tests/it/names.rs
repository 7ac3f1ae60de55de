//! What CONTRIBUTING.md says of names, kept true: no two public types share one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Names that several public types have, and why that confuses nobody. They are written with their module.
const SHARED: [(&str, &str); 3] = [
    ("Error", "each seam has one, as each crate has: `broker::Error`, `model::Error`"),
    ("Result", "the result of a module with an `Error`: `broker::Result`, `run::Result`"),
    ("Settings", "what a part must be told at its start: `gateway::Settings`, `ui::Settings`"),
];

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

/// The type that a line declares for others than its own module.
fn declared(line: &str) -> Option<&str> {
    let rest = line.trim_start().strip_prefix("pub")?;
    let rest = match rest.strip_prefix('(') {
        Some(inside) => inside.split_once(')')?.1,
        None => rest,
    };
    let (kind, rest) = rest.trim_start().split_once(' ')?;
    let is_type = matches!(kind, "struct" | "enum" | "union" | "trait" | "type");
    let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(rest.len());
    is_type.then_some(&rest[..end])
}

#[test]
fn no_two_public_types_share_a_name() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a readable source");
        let name = file.strip_prefix(&root).expect("a file below src").display().to_string();
        for (number, line) in text.lines().enumerate() {
            if let Some(declared) = declared(line) {
                places.entry(declared.to_owned()).or_default().push(format!("{name}:{}", number + 1));
            }
        }
    }
    assert!(places.len() > 100, "the types are found");
    let is_shared = |name: &str| SHARED.iter().any(|(shared, _)| *shared == name);
    let breaches: Vec<String> = places
        .iter()
        .filter(|(name, places)| places.len() > 1 && !is_shared(name))
        .map(|(name, places)| format!("{name}: {}", places.join(", ")))
        .collect();
    assert!(breaches.is_empty(), "give them names of their own:\n{}", breaches.join("\n"));
    let idle: Vec<&str> = SHARED
        .iter()
        .map(|(shared, _)| *shared)
        .filter(|shared| places.get(*shared).is_none_or(|places| places.len() < 2))
        .collect();
    assert!(idle.is_empty(), "no exceptions any more: {idle:?}");
}
