//! The examples of the documentation are read as what they are examples of.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use fastagency::ids::Name;
use fastagency::{config, workflow};

use crate::support::system::System;

mod commands;
pub mod pages;

use pages::{blocks, files_below, pages};

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

/// YAML that is for other programs, by its first line.
const FOREIGN_YAML: [&str; 1] = ["# prometheus.yml"];

/// What a block of YAML is an example of.
#[derive(Debug, PartialEq)]
enum YamlExample {
    Workflow,
    Configuration,
}

/// The keys at the left of a block, and what they belong to: parts of a list are steps.
fn example_of(block: &str) -> YamlExample {
    let keys = |schema: serde_json::Value| -> BTreeSet<String> {
        schema["properties"].as_object().expect("properties").keys().cloned().collect()
    };
    let of_workflows = keys(workflow::json_schema());
    let mut left =
        block.lines().filter(|line| !line.starts_with([' ', '#', '}', ']'])).filter_map(|line| line.split_once(':'));
    let is_workflow = block.starts_with("- ") || left.all(|(key, _)| of_workflows.contains(key));
    if is_workflow { YamlExample::Workflow } else { YamlExample::Configuration }
}

/// What is wrong with an example of a workflow.
fn workflow_problems(block: &str) -> Option<String> {
    let source = whole_workflow(block);
    let own = source.lines().find_map(|line| line.strip_prefix("name: ")).expect("a name");
    let name = Name::parse(own).expect("a name");
    let lesson = (Name::parse("lesson").expect("a name"), LESSON.to_owned());
    let sources = BTreeMap::from([lesson, (name.clone(), source)]);
    let read = workflow::from_definition(&workflow::WorkflowDefinition { name, sources });
    read.err().map(|problems| problems.to_string())
}

/// What is wrong with an example of a configuration.
fn configuration_problems(block: &str, folder: &Path) -> Option<String> {
    let source = if block.contains("version: 1\n") { block.to_owned() } else { format!("version: 1\n{block}") };
    let file = folder.join("fastagency.yaml");
    std::fs::write(&file, source).expect("a writable folder");
    config::load(&file, &|_| None).err().map(|problems| problems.to_string())
}

#[test]
fn the_yaml_of_every_page_is_right() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut workflows, mut configurations, mut wrong) = (0, 0, Vec::new());
    for page in pages() {
        let page = page.display().to_string();
        for (line, block) in blocks(&page, "yaml") {
            if FOREIGN_YAML.iter().any(|first| block.starts_with(first)) {
                continue;
            }
            let problems = match example_of(&block) {
                YamlExample::Workflow => {
                    workflows += 1;
                    workflow_problems(&block)
                }
                YamlExample::Configuration => {
                    configurations += 1;
                    configuration_problems(&block, folder.path())
                }
            };
            wrong.extend(problems.map(|problems| format!("{page}, line {line}:\n{problems}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(workflows > 30 && configurations > 30, "{workflows} workflows and {configurations} configurations");
}

/// A path of the interface without its query, its parameters without their names.
fn plain_path(path: &str) -> String {
    let path = path.split('?').next().unwrap_or_default();
    let parts = path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part });
    parts.collect::<Vec<&str>>().join("/")
}

#[tokio::test]
async fn the_page_of_the_api_has_every_route_and_no_other() {
    let system = System::in_own_folder().gateway(|_| {}).start().await;
    let (status, described) = system.get("/openapi.json").await;
    assert_eq!(status, 200, "{described}");
    let paths = described["paths"].as_object().expect("paths");
    let routes: BTreeSet<(String, String)> = paths
        .iter()
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().expect("methods").keys();
            methods.map(move |method| (method.to_uppercase(), plain_path(path)))
        })
        .filter(|(method, _)| method != "PARAMETERS")
        .collect();
    let page = std::fs::read_to_string("docs/reference/api.md").expect("the documentation");
    let (mut named, mut made_up) = (BTreeSet::new(), Vec::new());
    for code in page.split('`').filter(|code| !code.contains('\n')) {
        let words: Vec<&str> = code.split_whitespace().collect();
        match words[..] {
            [method, path, ..] if path.starts_with('/') && method.chars().all(|letter| letter.is_ascii_uppercase()) => {
                let route = (method.to_owned(), plain_path(path));
                if !routes.contains(&route) {
                    made_up.push(code);
                }
                named.insert(route);
            }
            // A path alone: that of the socket, or one that a sentence comes back to.
            [path] if path.starts_with("/api/") && !path.contains('*') || path == "/fastagency/ws" => {
                let of_path: Vec<_> = routes.iter().filter(|(_, known)| *known == plain_path(path)).cloned().collect();
                if of_path.is_empty() {
                    made_up.push(code);
                }
                named.extend(of_path);
            }
            _ => {}
        }
    }
    assert!(made_up.is_empty(), "there are no such routes: {made_up:?}");
    let missing: Vec<_> = routes.difference(&named).collect();
    assert!(missing.is_empty(), "docs/reference/api.md does not have {missing:?}");
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
    let text = std::fs::read_to_string("docs/explanation/security.md").expect("the documentation");
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

/// The words of a command in a shell: blanks part them where no quotes are, and a comment ends it.
fn shell_words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for letter in line.chars() {
        match (quote, letter) {
            (None, '"' | '\'') => quote = Some(letter),
            (Some(open), _) if open == letter => quote = None,
            (None, '#' | '>' | '|' | '&') if words.last().is_some_and(String::is_empty) => break,
            (None, ' ') => words.push(String::new()),
            _ => words.last_mut().expect("a word").push(letter),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The commands of this program in a page.
fn commands(page: &str) -> Vec<(usize, Vec<String>)> {
    let blocks = blocks(page, "sh").into_iter();
    let lines = blocks.flat_map(|(first, block)| {
        let lines: Vec<String> = block.lines().map(str::to_owned).collect();
        lines.into_iter().enumerate().map(move |(index, line)| (first + index, line))
    });
    let parts = lines.flat_map(|(number, line)| {
        let parts: Vec<String> = line.split(" && ").map(str::to_owned).collect();
        parts.into_iter().map(move |part| (number, part))
    });
    let words = parts.map(|(number, part)| (number, shell_words(&part)));
    let ours = words.filter_map(|(number, mut words)| {
        let place = words.iter().take(2).position(|word| word == "fastagency" || word.ends_with("/fastagency"))?;
        Some((number, words.split_off(place)))
    });
    ours.filter(|(_, words)| words.len() > 1).collect()
}

#[test]
fn the_commands_in_the_pages_are_commands() {
    let mut count = 0;
    for page in pages() {
        for (line, words) in commands(page.to_str().expect("a path")) {
            count += 1;
            if let Err(error) = <fastagency::cli::Cli as clap::Parser>::try_parse_from(&words) {
                panic!("{}, line {line}: {words:?}\n{error}", page.display());
            }
        }
    }
    assert!(count > 20, "only {count} commands were found");
}

/// Words that readers stumble over: riddles by pronoun, and "he" for a process or a person.
const BANNED: [&str; 14] = [
    "whoever",
    "whomever",
    "whosoever",
    "he",
    "him",
    "his",
    "himself",
    "is told",
    "are told",
    "was told",
    "were told",
    "of his own",
    "of its own kind",
    "nobody in particular",
];

/// A banned word in a text, whole words only.
fn banned_in(text: &str) -> Option<&'static str> {
    let letters = text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty());
    let words = format!(" {} ", letters.collect::<Vec<&str>>().join(" ").to_lowercase());
    BANNED.into_iter().find(|banned| words.contains(&format!(" {banned} ")))
}

/// The prose of a page, line by line: without code, in which tests and keys have their names.
fn prose(page: &str) -> Vec<(usize, String)> {
    let mut in_code = false;
    let mut in_fence = false;
    let mut found = Vec::new();
    for (index, line) in page.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_fence = !in_fence;
            in_code = false;
            continue;
        }
        if in_fence || line.trim().is_empty() {
            // A comment in an example is prose, too.
            found.push((index + 1, line.split_once(" # ").map_or("", |(_, comment)| comment).to_owned()));
            in_code = false;
            continue;
        }
        let mut kept = String::new();
        for (part, text) in line.split('`').enumerate() {
            in_code ^= part > 0;
            if !in_code {
                kept.push_str(text);
            }
        }
        found.push((index + 1, kept));
    }
    found
}

/// What people read of a source file: its texts in quotes, and for the command line also the comments that are its help. Tests
/// at the end of a file are left out.
fn words_of_source(path: &Path, text: &str) -> Vec<(usize, String)> {
    let is_help = path.starts_with("src/cli");
    let program = text.lines().take_while(|line| !line.trim_start().starts_with("#[cfg(test)]"));
    let words = |line: &str| {
        let line = line.trim_start();
        match (line.strip_prefix("///"), line.starts_with("//")) {
            (Some(help), _) if is_help => help.to_owned(),
            (_, true) => String::new(),
            _ => line.split('"').skip(1).step_by(2).collect::<Vec<&str>>().join(" | "),
        }
    };
    program.enumerate().map(|(index, line)| (index + 1, words(line))).collect()
}

/// What people read of a file of the chat page.
fn words_of_page(text: &str) -> Vec<(usize, String)> {
    let is_comment = |line: &str| ["//", "/*", "*"].iter().any(|sign| line.trim_start().starts_with(sign));
    let words = |line: &str| {
        let line = line.split(" // ").next().unwrap_or_default();
        if is_comment(line) { String::new() } else { line.split("/** ").next().unwrap_or_default().to_owned() }
    };
    text.lines().enumerate().map(|(index, line)| (index + 1, words(line))).collect()
}

#[test]
fn what_people_read_is_in_plain_words() {
    let mut texts = Vec::new();
    let mut pages: Vec<std::path::PathBuf> =
        ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"].map(Into::into).into();
    files_below(Path::new("docs"), "md", &mut pages);
    files_below(Path::new("templates"), "md", &mut pages);
    for page in pages {
        texts.push((page.clone(), prose(&std::fs::read_to_string(&page).expect("a page"))));
    }
    let mut sources = Vec::new();
    files_below(Path::new("src"), "rs", &mut sources);
    for source in sources.into_iter().filter(|path| !path.ends_with("tests.rs")) {
        let text = std::fs::read_to_string(&source).expect("a source");
        texts.push((source.clone(), words_of_source(&source, &text)));
    }
    let mut assets = Vec::new();
    files_below(Path::new("src/ui/assets"), "js", &mut assets);
    files_below(Path::new("src/ui/assets"), "html", &mut assets);
    for asset in assets {
        texts.push((asset.clone(), words_of_page(&std::fs::read_to_string(&asset).expect("an asset"))));
    }
    assert!(texts.len() > 100, "only {} files were found", texts.len());
    let found = texts.iter().flat_map(|(path, lines)| {
        lines.iter().filter_map(move |(line, text)| {
            banned_in(text).map(|word| format!("{}:{line}: {word:?} in {}", path.display(), text.trim()))
        })
    });
    let found: Vec<String> = found.collect();
    assert!(found.is_empty(), "write these sentences in plain words (name the subject):\n{}", found.join("\n"));
}
