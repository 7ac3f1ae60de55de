//! Each dependency in `Cargo.toml` is used: what nobody names any more is size, build time and advisories for nothing.

use std::path::{Path, PathBuf};

/// The crates of a table of a `Cargo.toml`, by the names that code calls them.
fn crates_in(manifest: &str, table: &str) -> Vec<String> {
    let header = format!("[{table}]");
    let lines = manifest.lines().skip_while(|line| line.trim() != header).skip(1);
    let lines = lines.take_while(|line| !line.starts_with('['));
    let keys = lines.filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(" = "));
    keys.map(|(name, _)| name.trim().replace('-', "_")).collect()
}

fn collect_sources(folder: &Path, code: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path: PathBuf = entry.expect("a readable entry").path();
        if path.is_dir() {
            collect_sources(&path, code);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("a readable source");
            for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
                code.push_str(line);
                code.push('\n');
            }
        }
    }
}

fn code_in(root: &Path, folders: &[&str]) -> String {
    let mut code = String::new();
    folders.iter().for_each(|folder| collect_sources(&root.join(folder), &mut code));
    code
}

/// Whether code names a crate: `name::` at the beginning of a path, or `use name;`.
fn is_named(name: &str, code: &str) -> bool {
    let begins_a_path = |at: usize| {
        let before = code[..at].strip_suffix("::").unwrap_or(&code[..at]);
        !before.ends_with(|letter: char| letter.is_alphanumeric() || letter == '_')
    };
    let path = format!("{name}::");
    code.match_indices(&path).any(|(at, _)| begins_a_path(at))
        || code.contains(&format!("use {name};"))
        || code.contains(&format!("use {name} as "))
}

#[test]
fn every_dependency_is_named_in_the_code() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tables: [(&str, &str, &[&str], usize); 3] = [
        ("Cargo.toml", "dependencies", &["src"], 40),
        ("Cargo.toml", "dev-dependencies", &["src", "tests/it", "examples"], 3),
        ("fuzz/Cargo.toml", "dependencies", &["fuzz/fuzz_targets"], 3),
    ];
    for (file, table, folders, at_least) in tables {
        let manifest = std::fs::read_to_string(root.join(file)).expect("a manifest");
        let crates = crates_in(&manifest, table);
        assert!(crates.len() >= at_least, "{file}, {table}: {crates:?}");
        let code = code_in(root, folders);
        let unused: Vec<String> = crates.into_iter().filter(|name| !is_named(name, &code)).collect();
        assert!(unused.is_empty(), "{file}, [{table}]: nothing in {folders:?} names {unused:?}");
    }
}

#[test]
fn a_module_or_a_longer_name_is_not_taken_for_a_crate() {
    assert!(is_named("bytes", "use bytes::Bytes;"));
    assert!(is_named("bytes", "let x = ::bytes::Bytes::new();"));
    assert!(is_named("ring", "use ring;"));
    assert!(!is_named("bytes", "use crate::bytes::Bytes;"));
    assert!(!is_named("bytes", "use more_bytes::Bytes;"));
    assert!(!is_named("bytes", "let bytes = 3;"));
}
