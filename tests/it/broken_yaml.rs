//! What people read when a file is wrong: one file in `tests/broken` for each kind of mistake, and beside it the text that it
//! leads to. `BLESS=1` writes the texts anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use fastagency::ids::Name;
use fastagency::problem::Problems;
use fastagency::{config, project, workflow};

/// What is said of a case: of a project also what is no mistake, and should be known.
fn said_of(case: &Path) -> String {
    let file = case.join("fastagency.yaml");
    if !file.is_file() {
        return problems(case).map_or_else(|| NOTHING.to_owned(), |problems| format!("{problems}\n"));
    }
    let environment = |name: &str| (name == "PATH").then(|| "/usr/bin:/bin".to_owned());
    let report = project::check_project(Some(&file), &environment);
    let warnings = report.warnings.iter().chain(&report.absent).flatten().map(|warning| format!("warning: {warning}"));
    let problems = report.problems.iter().flatten().map(ToString::to_string);
    let all: Vec<String> = problems.chain(warnings).collect();
    if all.is_empty() { NOTHING.to_owned() } else { all.join("\n\n") + "\n" }
}

const NOTHING: &str = "nothing is wrong\n";

/// Reads a case: a configuration (`config_*.yaml`), one workflow, or a folder of them.
fn problems(case: &Path) -> Option<Problems> {
    let stem = case.file_stem()?.to_str()?;
    if case.is_dir() {
        return workflow::load_folder(case).err();
    }
    if stem.starts_with("config_") {
        return config::load(case, &|_| None).err();
    }
    let name = Name::parse(stem).expect("a case is named like a workflow");
    let source = fs::read_to_string(case).expect("a readable case");
    let sources = BTreeMap::from([(name.clone(), source)]);
    workflow::from_definition(&workflow::WorkflowDefinition { name, sources }).err()
}

fn cases() -> Vec<PathBuf> {
    let mut cases: Vec<PathBuf> =
        fs::read_dir("tests/broken").expect("the cases").map(|entry| entry.expect("a case").path()).collect();
    cases.retain(|path| path.is_dir() || path.extension().is_some_and(|extension| extension == "yaml"));
    cases.sort();
    cases
}

#[test]
fn each_mistake_has_its_message() {
    let mut wrong = Vec::new();
    for case in cases() {
        let text = said_of(&case);
        let expected = case.with_extension("txt");
        if std::env::var_os("BLESS").is_some() {
            fs::write(&expected, &text).expect("a writable folder");
        } else if fs::read_to_string(&expected).ok().as_ref() != Some(&text) {
            wrong.push(format!("{}:\n{text}", case.display()));
        }
        assert!(!text.starts_with("nothing"), "{} is not broken", case.display());
    }
    assert!(wrong.is_empty(), "other messages than expected (BLESS=1 takes them over):\n\n{}", wrong.join("\n"));
}

/// Whatever a file is cut to or mixed with, it is read or refused, and what is said of it can be shown.
#[test]
fn no_text_breaks_the_reader() {
    let mut texts: Vec<String> = cases().iter().filter_map(|case| fs::read_to_string(case).ok()).collect();
    for sample in ["tests/samples/every_key.yaml", "tests/samples/every_key_config.yaml", "workflows/tour.yaml"] {
        texts.push(fs::read_to_string(sample).expect("the sample"));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("x.yaml");
    let name = Name::parse("x").expect("a name");
    let check = |text: &str| {
        let sources = BTreeMap::from([(name.clone(), text.to_owned())]);
        if let Err(problems) = workflow::from_definition(&workflow::WorkflowDefinition { name: name.clone(), sources })
        {
            assert!(!problems.render(true).is_empty());
        }
    };
    for text in &texts {
        let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        for (index, at) in ends.iter().enumerate().step_by(7) {
            check(&text[..*at]);
            for odd in ["{{", "\"", "\u{fffd}\u{301}ü", "\t", ": ", "&a *a", "\r\n"] {
                if index % 35 == 0 {
                    check(&format!("{}{odd}{}", &text[..*at], &text[*at..]));
                }
            }
        }
        fs::write(&file, text).expect("a writable folder");
        if let Err(problems) = config::load(&file, &|_| Some("${X} \"'\n".to_owned())) {
            assert!(!problems.to_string().is_empty());
        }
    }
}
