//! The house of `docs/explanation/architecture.md`, kept true: a module names only modules on lower floors, neighbours on one
//! floor do not name each other, and inside a module no neighbours name each other in a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

mod source;

use source::{Modules, strangers};

/// Every top-level module and its floor.
const FLOORS: &[(&str, u8)] = &[
    ("bounds", 0),
    ("ids", 0),
    ("clock", 0),
    ("output", 0),
    ("problem", 0),
    ("protocol", 0),
    ("yaml", 0),
    ("lifecycle", 0),
    ("money", 0),
    ("legible", 0),
    ("openapi", 0),
    ("rate", 0),
    ("redact", 0),
    ("schema", 0),
    ("seal", 0),
    ("signing", 0),
    ("surrogates", 0),
    ("telemetry", 0),
    ("visible", 0),
    ("metrics", 0),
    ("traces", 0),
    ("config", 1),
    ("workflow", 1),
    ("message", 1),
    ("serving", 1),
    ("project", 4),
    ("broker", 2),
    ("model", 2),
    ("auth", 2),
    ("observe", 2),
    ("outside", 2),
    ("chain", 3),
    ("run", 3),
    ("tokens", 3),
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
const STEPS: &[(&str, &str)] = &[
    ("lifecycle", "problem"),
    ("schema", "problem"),
    ("bounds", "surrogates"),
    ("openapi", "bounds"),
    ("openapi", "schema"),
    ("openapi", "yaml"),
    ("seal", "ids"),
    ("signing", "ids"),
    ("protocol", "bounds"),
    ("protocol", "clock"),
    ("protocol", "ids"),
    ("protocol", "money"),
    ("protocol", "signing"),
    ("redact", "bounds"),
    ("redact", "surrogates"),
    ("telemetry", "redact"),
    ("telemetry", "visible"),
    ("yaml", "problem"),
    ("yaml", "ids"),
];

/// These stand higher, and still do not name each other: what is stored, and how agents talk, knows no server of models.
const APART: [(&str, &str); 3] = [("run", "model"), ("chat", "model"), ("audit", "model")];

fn modules() -> Modules {
    Modules::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
}

#[test]
fn a_module_names_only_modules_on_lower_floors() {
    let floors: BTreeMap<&str, u8> = FLOORS.iter().copied().collect();
    let mut breaches = Vec::new();
    for (names, source) in modules().0 {
        let module = names[0].as_str();
        if module == "main" || module == "lib" {
            continue;
        }
        let Some(floor) = floors.get(module) else {
            breaches.push(format!("{}: the module {module} has no floor", source.file.display()));
            continue;
        };
        for name in source.named.iter().filter_map(|path| path.first()) {
            let step = STEPS.contains(&(module, name));
            let below = floors.get(name.as_str()).is_some_and(|below| below < floor);
            // A macro or an item of the crate's root has no floor.
            let known = floors.contains_key(name.as_str());
            let apart = APART.contains(&(module, name));
            if name != module && known && (apart || !below && !step) {
                breaches.push(format!("{}: {module} (floor {floor}) names {name}", source.file.display()));
            }
        }
    }
    breaches.sort();
    breaches.dedup();
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}

#[test]
fn inside_a_module_no_neighbours_name_each_other_in_a_circle() {
    let circles = modules().circles();
    assert!(circles.is_empty(), "\n{}", circles.join("\n"));
}

#[test]
fn the_functions_of_a_type_are_in_its_file() {
    let mut breaches = Vec::new();
    for source in modules().0.into_values() {
        // A macro writes the ids.
        let strangers = strangers(&source.code).into_iter().filter(|name| name != "RunId");
        breaches.extend(strangers.map(|name| format!("{}: functions of {name}", source.file.display())));
    }
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}

#[test]
fn a_module_with_files_of_its_own_is_a_folder_with_mod_rs() {
    let beside = |source: &source::Module| source.file.with_extension("").is_dir();
    let breaches: Vec<String> =
        modules().0.into_values().filter(beside).map(|source| source.file.display().to_string()).collect();
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}

/// Files outside of `src/fastagency` that treat runs of FastAgency's tiers in another way than ours. All else about FastAgency is in
/// that folder, in its endpoints (`src/gateway/fastagency.rs`, which stand on the gateway's own) and in the broker's thin port
/// (`contract.rs`).
const ASKS_FOR_FASTAGENCY: [(&str, &str); 7] = [
    ("protocol/log.rs", "the word is stored"),
    ("engine/mod.rs", "such a run is copied to FastAgency's stream"),
    ("run/start.rs", "no queue of ours has a run of a Python worker"),
    ("run/sweeper/calls.rs", "nor is it called again"),
    ("gateway/run_start.rs", "a workflow without a worker of ours is a Python worker's"),
    ("gateway/answers.rs", "its answers and its cancel go to the Python worker"),
    ("console/timeline.rs", "the terminal says where a run came from"),
];

#[test]
fn fastagencys_compatibility_is_one_room() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let asks = |source: &source::Module| {
        ["RunOrigin::FastAgency", "RunOrigin::ForeignWorker", "Self::ForeignWorker", "ForeignWorker,"]
            .iter()
            .any(|name| source.code.contains(name))
    };
    let files = modules()
        .0
        .into_values()
        .filter(asks)
        .map(|source| source.file.strip_prefix(&root).expect("a file below src").display().to_string());
    let asking: BTreeSet<String> = files.filter(|file| !file.starts_with("fastagency/")).collect();
    let known: BTreeSet<String> = ASKS_FOR_FASTAGENCY.iter().map(|(file, _)| (*file).to_owned()).collect();
    assert_eq!(asking, known, "put what is FastAgency's alone into src/fastagency");
}

/// What reads JSON without measuring it first, and where that harms nothing.
const UNMEASURED: [(&str, &str); 4] = [
    ("bounds/mod.rs", "it measures"),
    ("message/permission.rs", "a number, which is in nothing"),
    ("redact/json.rs", "it cuts off what is too deep"),
    ("bench/websocket.rs", "the answers of a gateway to its own load"),
];

#[test]
fn json_is_measured_before_it_is_read() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let reads =
        ["serde_json::from_str", "serde_json::from_slice", "serde_json::from_reader", ".json::<", ".json().await"];
    let mut breaches = Vec::new();
    for source in modules().0.into_values() {
        let name = source.file.strip_prefix(&root).expect("a file below src").display().to_string();
        let found = reads.iter().any(|read| source.code.contains(read));
        if found && !UNMEASURED.iter().any(|(known, _)| *known == name) {
            breaches.push(format!("{name}: use bounds::read or bounds::parse"));
        }
    }
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}
