//! The examples of the documentation are read as what they are examples of.

use std::collections::BTreeMap;
use std::path::Path;

use fastagency::ids::Name;
use fastagency::{config, workflow};

/// The fenced blocks of YAML, with their lines.
fn blocks(file: &str) -> Vec<(usize, String)> {
    let text = std::fs::read_to_string(file).expect("the documentation");
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, line) in text.lines().enumerate() {
        match &mut open {
            Some(_) if line.trim() == "```" => blocks.extend(open.take()),
            Some((_, block)) => {
                block.push_str(line);
                block.push('\n');
            }
            None if line.trim() == "```yaml" => open = Some((index + 2, String::new())),
            None => {}
        }
    }
    blocks
}

/// What a part of a workflow stands in: four agents, some declarations, and a first step.
const BEFORE: &str = "
version: 1
name: example
params: { type: object, properties: { topic: { type: string }, people: { type: array } } }
vars: { grade: null, tries: 0 }
agents:
  student: { system_message: You are a student. }
  teacher: { system_message: You are a teacher. }
  researcher: { system_message: You find facts. }
  writer: { system_message: You write. }
steps:
  - id: topic
    text_input: { prompt: What? }
";

const LESSON: &str = "
version: 1
name: lesson
params: { type: object, properties: { topic: { type: string } } }
steps: [ { return: { grade: A } } ]
";

fn whole_workflow(block: &str) -> String {
    if block.contains("version: 1\n") {
        block.to_owned()
    } else if block.starts_with("- ") {
        BEFORE.to_owned() + &block.lines().map(|line| format!("  {line}\n")).collect::<String>()
    } else if block.contains("steps:") {
        format!("version: 1\nname: example\n{block}")
    } else {
        format!("version: 1\nname: example\n{block}\nsteps: [ {{ message: x }} ]\n")
    }
}

#[test]
fn the_examples_of_workflows_are_right() {
    let blocks = blocks("docs/workflows.md");
    assert!(blocks.len() > 9, "only {} examples were found", blocks.len());
    for (line, block) in blocks {
        let source = whole_workflow(&block);
        let own = source.lines().find_map(|line| line.strip_prefix("name: ")).expect("a name");
        let name = Name::parse(own).expect("a name");
        let lesson = (Name::parse("lesson").expect("a name"), LESSON.to_owned());
        let sources = BTreeMap::from([lesson, (name.clone(), source)]);
        if let Err(problems) = workflow::from_definition(&workflow::Definition { name, sources }) {
            panic!("docs/workflows.md, line {line}:\n{problems}");
        }
    }
}

#[test]
fn the_examples_of_configuration_are_right() {
    let folder = tempfile::tempdir().expect("a folder");
    let blocks = blocks("docs/configuration.md");
    assert!(blocks.len() > 2, "only {} examples were found", blocks.len());
    for (line, block) in blocks {
        let source = if block.contains("version: 1\n") { block } else { format!("version: 1\n{block}") };
        let file = folder.path().join("fastagency.yaml");
        std::fs::write(&file, source).expect("a writable folder");
        if let Err(problems) = config::load(Path::new(&file), &|_| None) {
            panic!("docs/configuration.md, line {line}:\n{problems}");
        }
    }
}

/// The source of a module, by its path in this binary or in the program.
fn source(module: &str) -> Option<String> {
    let path = module.trim_end_matches("::tests").replace("::", "/");
    let places = ["tests/it/", "tests/it/gateway/", "src/"].into_iter();
    let files = places.flat_map(|folder| {
        [format!("{folder}{path}.rs"), format!("{folder}{path}/mod.rs"), format!("{folder}{path}/tests.rs")]
    });
    let texts: Vec<String> = files.filter_map(|file| std::fs::read_to_string(file).ok()).collect();
    (!texts.is_empty()).then(|| texts.concat())
}

#[test]
fn every_attack_in_the_table_names_tests_that_there_are() {
    let text = std::fs::read_to_string("docs/security.md").expect("the documentation");
    let table = text.split("| attack | test |").nth(1).expect("the table of attacks");
    let rows: Vec<&str> = table.lines().skip(2).take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() > 20, "{rows:?}");
    for row in rows {
        let tests: Vec<&str> = row.split('`').filter(|part| part.contains("::")).collect();
        assert!(!tests.is_empty(), "{row}");
        for test in tests {
            let (module, name) = test.rsplit_once("::").expect("a module and a test");
            let found = source(module).is_some_and(|text| text.contains(&format!("fn {name}()")));
            assert!(found, "there is no test {test}");
        }
    }
}
