//! What stands in the Python files of a project: whether Python can read them, and which functions with which arguments they have.
//! Python parses them; nothing of them is run.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde::Deserialize;

use crate::bounds;
use crate::config::Config;
use crate::problem::{Problem, did_you_mean};
use crate::workflow::{PythonSource, ToolsetDeclaration, ToolsetSource, Workflow};

/// What parses the files.
const SCRIPT: &str = include_str!("python_files.py");
/// How long Python may take; then nothing is said of the files.
const LOOK_WITHIN: Duration = Duration::from_secs(5);

/// The files that were looked at, by their names in workflows.
#[derive(Debug, Default)]
pub(super) struct PythonFiles(BTreeMap<String, PythonFile>);

#[derive(Debug, Deserialize)]
struct PythonFile {
    functions: BTreeMap<String, PythonFunction>,
    /// What else it has: classes, values, what it imports.
    names: BTreeSet<String>,
    /// Whether it may have more than that.
    is_open: bool,
    /// Why Python cannot read it.
    mistake: Option<SyntaxMistake>,
}

#[derive(Debug, Deserialize)]
struct PythonFunction {
    arguments: BTreeSet<String>,
    /// Whether it may take others, too.
    takes_any: bool,
}

#[derive(Debug, Deserialize)]
struct SyntaxMistake {
    line: usize,
    message: String,
}

impl PythonFiles {
    /// Looks at the files that workflows name. Where there is no Python to do it, none is looked at.
    pub(super) fn look_at(workflows: &[&Workflow], config: &Config) -> Self {
        let sets = workflows.iter().flat_map(|workflow| workflow.tools.sets().values());
        let names: BTreeSet<&str> = sets
            .filter_map(|set| match &set.source {
                ToolsetSource::Python(source) => Some(source.file.as_str()),
                _ => None,
            })
            .filter(|file| config.python.folder.join(file).is_file())
            .collect();
        if names.is_empty() {
            return Self::default();
        }
        let path = |name: &str| config.python.folder.join(name).display().to_string();
        let paths: Vec<String> = names.iter().map(|name| path(name)).collect();
        let Some(mut found) = parsed(&paths, config) else { return Self::default() };
        Self(names.iter().filter_map(|name| Some(((*name).to_owned(), found.remove(&path(name))??))).collect())
    }

    /// What is wrong with a set of functions; none: nothing that can be seen.
    pub(super) fn check(
        &self,
        set: &ToolsetDeclaration,
        source: &PythonSource,
        problem: impl Fn(String) -> Problem,
    ) -> Option<Problem> {
        let file = self.0.get(&source.file)?;
        if let Some(SyntaxMistake { line, message }) = &file.mistake {
            return Some(problem(format!("Python cannot read {}: line {line}: {message}", source.file)));
        }
        let functions: Vec<&PythonFunction> = match &source.function {
            None => file.functions.values().collect(),
            Some(name) => match file.functions.get(name) {
                Some(function) => vec![function],
                None if file.is_open || file.names.contains(name) => return None,
                None => return Some(no_function(file, source, name, problem)),
            },
        };
        let is_open = source.function.is_none() && (file.is_open || functions.is_empty());
        if is_open || functions.iter().any(|function| function.takes_any) {
            return None;
        }
        let known: BTreeSet<&str> =
            functions.iter().flat_map(|function| &function.arguments).map(String::as_str).collect();
        let unknown = set.inject.names().find(|name| !known.contains(name))?;
        let hint = did_you_mean(unknown, known.iter().copied())
            .unwrap_or_else(|| "`inject` gives arguments of the functions, by their names".to_owned());
        let message = format!("no tool of {} has an argument {unknown:?}, which `inject` gives", set.name);
        Some(problem(message).with_hint(hint))
    }
}

fn no_function(file: &PythonFile, source: &PythonSource, name: &str, problem: impl Fn(String) -> Problem) -> Problem {
    let known = || file.functions.keys().map(String::as_str);
    let hint = did_you_mean(name, known()).unwrap_or_else(|| match file.functions.is_empty() {
        true => "it has no functions".to_owned(),
        false => format!("it has {}", known().collect::<Vec<_>>().join(", ")),
    });
    problem(format!("{} has no function {name:?}", source.file)).with_hint(hint)
}

/// What Python finds in the files; none: there is no Python that can be asked quickly.
fn parsed(paths: &[String], config: &Config) -> Option<BTreeMap<String, Option<PythonFile>>> {
    let (program, arguments) = config.python.command(&config.python.folder);
    // Others, such as `uv run python`, may first install something.
    let name = Path::new(&program).file_name()?.to_str()?;
    if !name.starts_with("python") && !name.starts_with("pypy") {
        return None;
    }
    let mut command = Command::new(&program);
    command.args(arguments).args(["-I", "-c", SCRIPT]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let (mut input, mut output) = (child.stdin.take()?, child.stdout.take()?);
    let paths = serde_json::to_vec(paths).ok()?;
    let (told, heard) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let mut text = String::new();
        let done = input.write_all(&paths).and_then(|()| {
            drop(input);
            output.read_to_string(&mut text)
        });
        let _ = told.send(done.map(|_| text));
    });
    let came = heard.recv_timeout(LOOK_WITHIN);
    let _ = child.kill();
    let _ = child.wait();
    bounds::read(came.ok()?.ok()?.as_bytes(), &bounds::OUTSIDE).ok()
}
