//! Files that people write: a configuration, and a workflow.
#![no_main]

use std::collections::BTreeMap;
use std::path::Path;

use fastagency::ids::Name;
use fastagency::{config, workflow};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let name = Name::parse("fuzzed").expect("a name");
    let definition =
        workflow::WorkflowDefinition { name: name.clone(), sources: BTreeMap::from([(name, text.to_owned())]) };
    let _ = workflow::from_definition(&definition);
    let _ = config::from_text(Path::new("fuzzed.yaml"), text, Path::new("/nonexistent"), &|_| None);
});
