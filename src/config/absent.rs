//! What a configuration names that this machine does not have: programs, folders and files of tools and secrets. It is no mistake in
//! the file: the worker, which needs them, may run on another machine.

use std::path::{Path, PathBuf};

use super::Environment;
use super::secrets::entries_of;
use crate::problem::Problem;
use crate::yaml::{FieldReader, MapReader};

/// What to do about something that is not here.
const HINT: &str =
    "install it where the worker runs, or correct its name; `fastagency doctor` looks at the machine that it runs on";

/// What the configuration names that is not on this machine.
pub(super) fn absent(fields: &MapReader<'_>, folder: &Path, environment: Environment<'_>) -> Vec<Problem> {
    let machine = Machine { folder, path: environment("PATH") };
    let mut problems = Vec::new();
    for program in named(fields, "commands") {
        problems.extend(machine.command(&program));
    }
    for server in named(fields, "mcp") {
        problems.extend(machine.server(&server));
    }
    for secret in named(fields, "secrets") {
        problems.extend(machine.secret(&secret));
    }
    if let Some(python) = fields.get("python").filter(FieldReader::is_map) {
        let interpreter = part(&python, "interpreter").and_then(|field| first(&field));
        problems.extend(interpreter.and_then(|program| machine.program(&program, Some(folder))));
        problems.extend(part(&python, "folder").and_then(|field| machine.folder(&field)));
    }
    problems
}

/// The entries of a section.
fn named<'a>(fields: &MapReader<'a>, section: &'static str) -> Vec<FieldReader<'a>> {
    let section = fields.get(section).map(|field| entries_of(&field)).unwrap_or_default();
    section.into_iter().map(|(_, entry)| entry).collect()
}

/// What stands in a map under a key.
fn part<'a>(field: &FieldReader<'a>, key: &str) -> Option<FieldReader<'a>> {
    entries_of(field).into_iter().find(|(entry, _)| entry.key == key).map(|(_, value)| value)
}

/// The program of a list of words; of one word that.
fn first<'a>(field: &FieldReader<'a>) -> Option<FieldReader<'a>> {
    if field.is_list() { field.items()?.into_iter().next() } else { Some(field.clone()) }
}

/// A text that says something here: the variables that it comes from are set.
fn text<'a>(field: &FieldReader<'a>) -> Option<&'a str> {
    let scalar = field.scalar().filter(|scalar| scalar.missing.is_none() && !scalar.text.is_empty())?;
    Some(scalar.text.as_str())
}

/// Where things are looked for.
struct Machine<'m> {
    /// The folder of the file.
    folder: &'m Path,
    /// The folders of programs; none: nobody knows.
    path: Option<String>,
}

impl Machine<'_> {
    /// An entry of `commands`.
    fn command(&self, program: &FieldReader<'_>) -> Vec<Problem> {
        let sandbox = part(program, "sandbox").and_then(|field| text(&field)).unwrap_or("none");
        let folder = part(program, "folder");
        let starts_in = folder.as_ref().and_then(text).map(|written| self.folder.join(written));
        let run = part(program, "run").and_then(|field| first(&field));
        let wrong = match sandbox {
            // The program is the image's own.
            "docker" | "podman" | "bwrap" => {
                let place = part(program, "sandbox");
                place.filter(|_| !self.has_program(sandbox)).map(|place| absent_program(&place, sandbox))
            }
            _ => run.and_then(|run| self.program(&run, starts_in.as_deref())),
        };
        wrong.into_iter().chain(folder.and_then(|folder| self.folder(&folder))).collect()
    }

    /// An entry of `mcp`.
    fn server(&self, server: &FieldReader<'_>) -> Vec<Problem> {
        let folder = part(server, "folder");
        let starts_in = match folder.as_ref().and_then(text) {
            Some(written) => self.folder.join(written),
            None => self.folder.to_owned(),
        };
        let program = part(server, "command").and_then(|field| first(&field));
        let wrong = program.and_then(|program| self.program(&program, Some(&starts_in)));
        wrong.into_iter().chain(folder.and_then(|folder| self.folder(&folder))).collect()
    }

    /// An entry of `secrets`.
    fn secret(&self, secret: &FieldReader<'_>) -> Vec<Problem> {
        let files = ["file", "certificate", "key"].into_iter().filter_map(|key| self.file(&part(secret, key)?));
        let command = part(secret, "command").and_then(|field| first(&field));
        files.chain(command.and_then(|program| self.program(&program, None))).collect()
    }

    /// A program, by its name or by its path, which may be relative to where it starts.
    fn program(&self, field: &FieldReader<'_>, starts_in: Option<&Path>) -> Option<Problem> {
        let name = text(field)?;
        let is_there = match (name.contains('/'), starts_in) {
            (false, _) => self.has_program(name),
            (true, Some(folder)) => is_program(&folder.join(name)),
            // It starts where nobody knows: in an empty folder, or where the worker was started.
            (true, None) => !Path::new(name).is_absolute() || is_program(Path::new(name)),
        };
        (!is_there).then(|| absent_program(field, name))
    }

    fn has_program(&self, name: &str) -> bool {
        let Some(path) = &self.path else { return true };
        std::env::split_paths(path).any(|folder| is_program(&folder.join(name)))
    }

    fn folder(&self, field: &FieldReader<'_>) -> Option<Problem> {
        let path = self.folder.join(text(field)?);
        (!path.is_dir()).then(|| said(field, format!("there is no folder {} on this machine", path.display())))
    }

    fn file(&self, field: &FieldReader<'_>) -> Option<Problem> {
        let path = self.folder.join(text(field)?);
        (!path.is_file()).then(|| said(field, format!("there is no file {} on this machine", path.display())))
    }
}

fn absent_program(field: &FieldReader<'_>, name: &str) -> Problem {
    let place = if name.contains('/') { "" } else { ", in none of the folders of PATH" };
    said(field, format!("there is no program {name:?} on this machine{place}"))
}

fn said(field: &FieldReader<'_>, message: String) -> Problem {
    field.problem(message).with_hint(HINT)
}

/// Whether a file is there that may be a program.
fn is_program(path: &Path) -> bool {
    let with_ending = || {
        let mut name = path.as_os_str().to_owned();
        name.push(std::env::consts::EXE_SUFFIX);
        PathBuf::from(name)
    };
    path.is_file() || with_ending().is_file()
}
