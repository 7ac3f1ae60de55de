//! `commands:`: the programs that tools of workflows may run. They stand here and not in workflows, because a worker executes
//! workflows that other workers have announced.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::fields::path;
use super::shapes::COMMAND;
use crate::yaml::FieldReader;

/// A program.
#[derive(Debug, Clone)]
pub struct ProgramConfig {
    /// The program and its arguments. No shell reads them.
    pub run: Vec<String>,
    /// Its environment, beside `PATH`, `HOME`, `LANG` and `TMPDIR`.
    pub env: BTreeMap<String, SecretString>,
    /// Where it runs; none: an empty folder of its own.
    pub folder: Option<PathBuf>,
    /// What it gets on its standard input.
    pub stdin: ProgramInput,
    /// Where it is confined; none: it is not said, which is possible only for programs that run no code of models.
    pub sandbox: Option<SandboxConfig>,
}

/// What a program gets on its standard input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProgramInput {
    /// The arguments of the call, as a JSON object.
    #[default]
    Json,
    /// The argument `code` as it is: a program that a model wrote.
    Code,
}

/// Where a program is confined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SandboxConfig {
    /// Nowhere: it may do what the worker may.
    None,
    /// By bubblewrap: without network, with the system's files to read and an empty `/tmp`.
    Bwrap,
    /// In a container, without network.
    Container {
        /// `docker` or `podman`.
        engine: &'static str,
        /// The image.
        image: String,
    },
}

/// Programs by name.
pub(super) fn programs(field: &FieldReader<'_>, base: &Path) -> Option<BTreeMap<String, ProgramConfig>> {
    let mut programs = BTreeMap::new();
    for (name, _, field) in field.named_entries()? {
        programs.extend(program(&field, base).map(|program| (name.to_string(), program)));
    }
    Some(programs)
}

fn program(field: &FieldReader<'_>, base: &Path) -> Option<ProgramConfig> {
    let fields = field.fields(&COMMAND)?;
    let run = fields.read("run", |field| {
        let words: Option<Vec<String>> = field.items()?.iter().map(|item| item.text().map(str::to_owned)).collect();
        match words {
            Some(words) if words.first().is_some_and(|program| !program.is_empty()) => Some(words),
            _ => field.is_not("a program and its arguments, like [python3, /opt/tools/resize.py]"),
        }
    });
    let env = fields.read("env", |field| {
        let each = field.entries()?.into_iter().map(|(entry, value)| {
            if entry.key.is_empty() || entry.key.contains(['=', '\0']) {
                value.note(format!("{:?} is no name of a variable", entry.key));
            }
            Some((entry.key.clone(), SecretString::from(value.text()?.to_owned())))
        });
        each.collect::<Option<BTreeMap<_, _>>>()
    });
    let stdin = [("json", ProgramInput::Json), ("code", ProgramInput::Code)];
    let stdin = fields.read("stdin", |field| field.one_of(&stdin)).unwrap_or_default();
    let image = fields.read("image", |field| field.text().map(str::to_owned));
    let kinds = [("none", "none"), ("bwrap", "bwrap"), ("docker", "docker"), ("podman", "podman")];
    let kind = fields.read("sandbox", |field| field.one_of(&kinds));
    let sandbox = match (kind, image) {
        (Some(engine @ ("docker" | "podman")), Some(image)) if !image.is_empty() && !image.starts_with('-') => {
            Some(SandboxConfig::Container { engine, image })
        }
        (Some("docker" | "podman"), _) => {
            field.note_with_hint("a container needs an `image`", "like image: python:3.13-slim");
            None
        }
        (kind, Some(_)) => {
            field.review.add(fields.problem_at_key("image", "`image` is for `sandbox: docker` and `sandbox: podman`"));
            kind.map(|_| SandboxConfig::None)
        }
        (Some("bwrap"), None) => Some(SandboxConfig::Bwrap),
        (Some(_), None) => Some(SandboxConfig::None),
        (None, None) => None,
    };
    if stdin == ProgramInput::Code && fields.get("sandbox").is_none() {
        let hint = "sandbox: bwrap, docker or podman; `sandbox: none` runs it with all that the worker may do";
        field.note_with_hint("code that a model wrote runs only where `sandbox` says", hint);
    }
    let confined = matches!(sandbox, Some(SandboxConfig::Bwrap | SandboxConfig::Container { .. }));
    if confined && fields.get("folder").is_some() {
        field.review.add(fields.problem_at_key("folder", "in a sandbox a program runs in an empty folder"));
    }
    Some(ProgramConfig {
        run: run?,
        env: env.unwrap_or_default(),
        folder: path(&fields, "folder", base),
        stdin,
        sandbox,
    })
}
