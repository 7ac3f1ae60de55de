//! What stands in the Python files of a project: whether Python can read them, and which functions with which arguments they have.
//! Python parses them; nothing of them is run.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::set_outline::SetOutline;
use crate::bounds;
use crate::config::Config;
use crate::problem::{Problem, did_you_mean};
use crate::protocol::toolset::ListedTool;
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
    /// What models see of it.
    parameters: Vec<PythonParameter>,
    /// The first parameter that has no annotation and no default.
    unannotated: Option<String>,
    /// Whether it yields values one by one.
    is_generator: bool,
    /// Whether it is a tool for certain, where its file makes tools of functions.
    is_plain: bool,
}

#[derive(Debug, Deserialize)]
struct PythonParameter {
    name: String,
    is_required: bool,
    /// What JSON Schema calls its type; none: it is not one of the simple types.
    kind: Option<String>,
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
        if let Some((name, function)) = source.function.as_ref().zip(functions.first())
            && !file.names.contains(name)
            && let Some(unfit) = function.unfit()
        {
            return Some(problem(no_tool(source, name, &unfit)).with_hint(unfit.what_to_do()));
        }
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

    /// What is known of the tools of a set of functions; none: the file could not be looked at.
    pub(super) fn outline(&self, source: &PythonSource) -> Option<SetOutline> {
        let file = self.0.get(&source.file).filter(|file| file.mistake.is_none())?;
        // What it names is what there is.
        let is_open = file.is_open || file.names.contains("__all__");
        let is_certain = |name: &str, function: &PythonFunction| function.is_plain && !file.names.contains(name);
        let mut outline = SetOutline { tools: Vec::new(), perhaps: BTreeSet::new(), is_open };
        match &source.function {
            Some(name) => {
                outline.is_open = false;
                match file.functions.get_key_value(name).filter(|(name, function)| is_certain(name, function)) {
                    Some((name, function)) => outline.tools.push(listed(name, function)),
                    None => drop(outline.perhaps.insert(name.clone())),
                }
            }
            None => {
                let public = file.functions.iter().filter(|(name, _)| !name.starts_with('_'));
                for (name, function) in public {
                    match is_certain(name, function) && !is_open {
                        true => outline.tools.push(listed(name, function)),
                        false if function.unfit().is_some() => {}
                        false => drop(outline.perhaps.insert(name.clone())),
                    }
                }
                outline.perhaps.extend(file.names.iter().cloned());
            }
        }
        Some(outline)
    }

    /// A sentence for each function of a set that would be a tool if it were written otherwise, and what to do about it.
    pub(super) fn left_out(&self, source: &PythonSource) -> Vec<(String, &'static str)> {
        let Some(file) = self.0.get(&source.file).filter(|_| source.function.is_none()) else { return Vec::new() };
        if file.names.contains("__all__") {
            return Vec::new();
        }
        let public = file.functions.iter().filter(|(name, _)| !name.starts_with('_') && !file.names.contains(*name));
        let left_out = public.filter_map(|(name, function)| Some((name, function.unfit()?)));
        left_out.map(|(name, unfit)| (no_tool(source, name, &unfit), unfit.what_to_do())).collect()
    }
}

/// Why a function is no tool.
enum UnfitFunction<'f> {
    /// Nothing is known of a parameter that must be given.
    Unannotated(&'f str),
    /// A tool gives one result.
    Generator,
}

impl PythonFunction {
    fn unfit(&self) -> Option<UnfitFunction<'_>> {
        match &self.unannotated {
            Some(parameter) => Some(UnfitFunction::Unannotated(parameter)),
            None => self.is_generator.then_some(UnfitFunction::Generator),
        }
    }
}

impl UnfitFunction<'_> {
    fn what_to_do(&self) -> &'static str {
        match self {
            Self::Unannotated(_) => HOW_TO_ANNOTATE,
            Self::Generator => "return a list",
        }
    }
}

/// What to do about a parameter that nothing is known of.
const HOW_TO_ANNOTATE: &str = "write its type: `amount: float`";

fn no_tool(source: &PythonSource, function: &str, unfit: &UnfitFunction<'_>) -> String {
    let file = &source.file;
    match unfit {
        UnfitFunction::Unannotated(parameter) => {
            format!("{file}: {function} is no tool: its parameter {parameter} has no annotation and no default")
        }
        UnfitFunction::Generator => format!("{file}: {function} is no tool: it yields values one by one"),
    }
}

/// A function as a run will most likely list it.
fn listed(name: &str, function: &PythonFunction) -> ListedTool {
    let property = |parameter: &PythonParameter| {
        let schema = parameter.kind.as_ref().map_or_else(|| json!({}), |kind| json!({ "type": kind }));
        (parameter.name.clone(), schema)
    };
    let properties: Map<String, Value> = function.parameters.iter().map(property).collect();
    let required: Vec<&str> =
        function.parameters.iter().filter(|one| one.is_required).map(|one| one.name.as_str()).collect();
    ListedTool {
        name: name.to_owned(),
        description: String::new(),
        params: json!({ "type": "object", "properties": properties, "required": required }),
        idempotent: false,
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
