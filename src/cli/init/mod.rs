//! `fastagency init`: a project to start from, written into a folder in which nothing is overwritten.

mod folder;
mod template;

use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use clap::Args;
use tokio::process::Command;

use crate::cli::outcome::{CliError, shown};
use crate::config::PythonConfig;
use crate::visible;

use template::{ProjectTemplate, project_files};

/// What `--help` says at its end.
const WHAT_IS_MADE: &str = "\
A project is fastagency.yaml, a workflow in workflows/, .env.example, .gitignore, README.md, AGENTS.md for coding agents, and
for editors the JSON Schemas in .fastagency/schemas with .vscode/settings.json. The template `tools` has tools.py, too.

Nothing is overwritten: if the folder has one of these files, nothing is written and each of them is named.

Exit codes: 0 the project is made, 1 it could not be written, 2 wrong use, or the folder has such files.";

/// What asks a Python whether it is new enough (docs/how-to/python-tools.md, \"Which Python\").
const IS_NEW_ENOUGH: &str = "import sys; sys.exit(sys.version_info < (3, 9))";
/// How long Python may take to start; one that takes longer counts as none.
const PYTHON_WITHIN: Duration = Duration::from_secs(10);
/// How many letters of a folder's name become the name of its project.
const LONGEST_NAME: usize = 60;

/// Makes a project: configuration, a workflow, and what editors and coding agents need.
#[derive(Args)]
#[command(after_help = WHAT_IS_MADE)]
pub(super) struct InitCommand {
    /// The folder of the project. If it is not there, it is made.
    #[arg(value_name = "DIR", default_value = ".", hide_default_value = true)]
    folder: PathBuf,
    /// What the project begins with. Without it: tools, or chat where there is no Python.
    #[arg(long, value_enum)]
    template: Option<ProjectTemplate>,
}

impl InitCommand {
    pub(super) async fn run(self) -> Result<ExitCode, CliError> {
        if self.folder.as_os_str().is_empty() {
            return Err(CliError::Usage("DIR is empty: name a folder, or leave it out for this one".to_owned()));
        }
        let asked = self.template.unwrap_or(ProjectTemplate::Tools);
        let lacks_python = asked == ProjectTemplate::Tools && !has_python(&self.folder).await;
        let template = match self.template {
            None if lacks_python => ProjectTemplate::Chat,
            _ => asked,
        };
        let files = project_files(template, &project_name(&self.folder))?;
        folder::write(&self.folder, &files)?;
        let paths: Vec<&str> = files.iter().map(|file| file.path).collect();
        println!("made a project of the template {} in {}:", template.name(), folder::in_words(&self.folder));
        for line in lines_of(&paths) {
            println!("  {line}");
        }
        if lacks_python {
            eprintln!("{}", without_python(self.template.is_none()));
        }
        println!("next:");
        if self.folder != Path::new(".") {
            println!("  cd {}", shown(&shell_word(&self.folder)));
        }
        println!("  {} all --mock-llm", shown(&program()));
        Ok(ExitCode::SUCCESS)
    }
}

/// The sentence for a machine without Python.
fn without_python(is_replaced: bool) -> &'static str {
    if is_replaced {
        "note: python3 (3.9 or later) was not found, so this is the template chat: for one with a Python function, install Python \
         and type `fastagency init` with --template tools and another folder"
    } else {
        "note: python3 (3.9 or later) was not found: install Python before you start the project"
    }
}

/// Whether the Python that the project's worker would start is there and new enough.
async fn has_python(folder: &Path) -> bool {
    let (program, arguments) = {
        let config = PythonConfig::default_in(folder);
        let (program, arguments) = config.command(folder);
        (program, arguments.to_vec())
    };
    let started = Command::new(program)
        .args(arguments)
        .args(["-I", "-c", IS_NEW_ENOUGH])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .status();
    matches!(tokio::time::timeout(PYTHON_WITHIN, started).await, Ok(Ok(status)) if status.success())
}

/// The name of the project: that of its folder.
fn project_name(folder: &Path) -> String {
    let whole = folder.canonicalize().or_else(|_| std::path::absolute(folder)).unwrap_or_else(|_| folder.to_owned());
    let name = whole.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let name: String = visible::one_line(&name).chars().take(LONGEST_NAME).collect();
    if name.trim().is_empty() { "fastagency".to_owned() } else { name }
}

/// The files in lines that fit a terminal.
fn lines_of(paths: &[&str]) -> Vec<String> {
    const WIDTH: usize = 90;
    let mut lines: Vec<String> = Vec::new();
    for path in paths {
        match lines.last_mut() {
            Some(line) if line.len() + path.len() + 2 <= WIDTH => {
                line.push_str("  ");
                line.push_str(path);
            }
            _ => lines.push((*path).to_owned()),
        }
    }
    lines
}

/// A path as a word of a shell.
fn shell_word(path: &Path) -> String {
    let text = path.to_string_lossy();
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "_-./+:,@%".contains(letter);
    // An option is no folder.
    let text = if text.starts_with('-') { format!("./{text}") } else { text.into_owned() };
    match text.chars().all(is_plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// What to type for this program: its name if a shell finds it by that, else its path.
fn program() -> String {
    const NAME: &str = "fastagency";
    let Ok(this) = std::env::current_exe().and_then(|path| path.canonicalize()) else { return NAME.to_owned() };
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&folders).map(|folder| folder.join(NAME)).find(|path| path.is_file());
    match found.and_then(|path| path.canonicalize().ok()) {
        Some(found) if found == this => NAME.to_owned(),
        _ => shell_word(&this),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_written_as_a_shell_takes_it() {
        let word = |text: &str| shell_word(Path::new(text));
        assert_eq!(word("demo/a-b_1.2"), "demo/a-b_1.2");
        assert_eq!(word("my demo"), "'my demo'");
        assert_eq!(word("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(word("-x"), "./-x");
        assert_eq!(word("~"), "'~'");
    }

    #[test]
    fn the_list_of_files_has_short_lines() {
        let paths = ["a".repeat(50), "b".repeat(38), "c".to_owned()];
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        assert_eq!(lines_of(&paths), [format!("{}  {}", paths[0], paths[1]), "c".to_owned()]);
    }
}
