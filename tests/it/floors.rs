//! The house of `docs/explanation/architecture.md`, kept true: a module names only modules on lower floors, and neighbours on one
//! floor do not name each other.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Every top-level module and its floor.
const FLOORS: &[(&str, u8)] = &[
    ("bounds", 0),
    ("ids", 0),
    ("clock", 0),
    ("problem", 0),
    ("protocol", 0),
    ("yaml", 0),
    ("lifecycle", 0),
    ("money", 0),
    ("legible", 0),
    ("redact", 0),
    ("schema", 0),
    ("seal", 0),
    ("vouch", 0),
    ("telemetry", 0),
    ("visible", 0),
    ("metrics", 0),
    ("traces", 0),
    ("config", 1),
    ("workflow", 1),
    ("message", 1),
    ("serving", 1),
    ("project", 2),
    ("broker", 2),
    ("model", 2),
    ("auth", 2),
    ("observe", 2),
    ("chain", 3),
    ("run", 3),
    ("chat", 3),
    ("audit", 4),
    ("client", 4),
    ("fastagency", 4),
    ("engine", 5),
    ("worker", 6),
    ("gateway", 6),
    ("ui", 6),
    ("console", 6),
    ("bench", 6),
    ("cli", 7),
];

/// On the ground floor these stand on others of it.
const STEPS: [(&str, &str); 12] = [
    ("seal", "ids"),
    ("vouch", "ids"),
    ("protocol", "bounds"),
    ("protocol", "clock"),
    ("protocol", "ids"),
    ("protocol", "money"),
    ("protocol", "vouch"),
    ("redact", "bounds"),
    ("telemetry", "redact"),
    ("telemetry", "visible"),
    ("yaml", "problem"),
    ("yaml", "ids"),
];

/// These stand higher, and still do not name each other: what is stored, and how agents talk, knows no server of models.
const APART: [(&str, &str); 3] = [("run", "model"), ("chat", "model"), ("audit", "model")];

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

/// The top-level module that a file belongs to.
fn module_of(source: &Path, root: &Path) -> String {
    let relative = source.strip_prefix(root).expect("a file below src");
    let first = relative.iter().next().expect("a file name").to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// The top-level modules that a text names by `crate::`, its comments and tests left out.
fn named(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let mut names = Vec::new();
    for line in lines {
        for rest in line.split("crate::").skip(1) {
            let inside = rest.strip_prefix('{').unwrap_or(rest);
            let name: String = inside.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            names.push(name);
        }
    }
    names
}

#[test]
fn a_module_names_only_modules_on_lower_floors() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let floors: BTreeMap<&str, u8> = FLOORS.iter().copied().collect();
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut breaches = Vec::new();
    for file in files {
        let module = module_of(&file, &root);
        if module == "main" || module == "lib" {
            continue;
        }
        let Some(floor) = floors.get(module.as_str()) else {
            breaches.push(format!("{}: the module {module} has no floor", file.display()));
            continue;
        };
        let text = std::fs::read_to_string(&file).expect("a readable source");
        for name in named(&text) {
            let step = STEPS.contains(&(module.as_str(), name.as_str()));
            let below = floors.get(name.as_str()).is_some_and(|below| below < floor);
            // A macro or an item of the crate's root has no floor.
            let known = floors.contains_key(name.as_str());
            let apart = APART.contains(&(module.as_str(), name.as_str()));
            if name != module && known && (apart || !below && !step) {
                breaches.push(format!("{}: {module} (floor {floor}) names {name}", file.display()));
            }
        }
    }
    breaches.sort();
    breaches.dedup();
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}

/// What reads JSON without measuring it first, and where that harms nothing.
const UNMEASURED: [(&str, &str); 4] = [
    ("bounds.rs", "it measures"),
    ("message/permission.rs", "a number, which is in nothing"),
    ("redact/json.rs", "it cuts off what is too deep"),
    ("bench/websocket.rs", "the answers of a gateway to its own load"),
];

#[test]
fn json_is_measured_before_it_is_read() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let reads =
        ["serde_json::from_str", "serde_json::from_slice", "serde_json::from_reader", ".json::<", ".json().await"];
    let mut breaches = Vec::new();
    for file in files {
        let name = file.strip_prefix(&root).expect("a file below src").display().to_string();
        let is_test = ["tests.rs", "testing.rs"].iter().any(|test| name.ends_with(test));
        let text = std::fs::read_to_string(&file).expect("a readable source");
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let found = reads.iter().any(|read| code.contains(read));
        if found && !is_test && !UNMEASURED.iter().any(|(known, _)| *known == name) {
            breaches.push(format!("{name}: use bounds::read or bounds::parse"));
        }
    }
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}
