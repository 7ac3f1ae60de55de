//! `python:`: the functions of the project's own that agents call.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::SecretConfig;
use super::fields::path;
use super::shapes::PYTHON;
use crate::yaml::{FieldReader, MapReader, secrets};

/// Where Python is if nobody says it, relative to its folder.
const OWN_PYTHON: &str = ".venv/bin/python";

/// `python:`.
#[derive(Debug, Clone)]
pub struct PythonConfig {
    /// The program that is Python, with its arguments, as it is written; empty: `.venv/bin/python` below the folder, or `python3`.
    interpreter: Vec<String>,
    /// The folder of the file, which a path in `interpreter` is relative to.
    beside: PathBuf,
    /// The folder that files of functions lie in (default: that of `fastagency.yaml`).
    pub folder: PathBuf,
    /// What its environment holds, beside `PATH`, `HOME`, `LANG` and `TMPDIR`.
    pub env: BTreeMap<String, PythonVariable>,
}

/// A variable of Python's environment.
#[derive(Debug, Clone)]
pub struct PythonVariable {
    /// What it holds; none: the variable that it comes from is not set.
    pub value: Option<SecretString>,
    /// It comes from outside of the file, or its name is that of a secret: it is shown nowhere.
    pub is_secret: bool,
}

impl PythonConfig {
    /// What a project has that says nothing about Python.
    pub fn default_in(folder: &Path) -> Self {
        let folder = if folder == Path::new("") { PathBuf::from(".") } else { folder.to_owned() };
        Self { interpreter: Vec::new(), beside: folder.clone(), folder, env: BTreeMap::new() }
    }

    /// With another interpreter: a program and its arguments.
    pub fn with_interpreter(mut self, interpreter: &[&str]) -> Self {
        self.interpreter = interpreter.iter().map(|part| (*part).to_owned()).collect();
        self
    }

    /// The program that is started for the files of a folder, and its arguments.
    pub fn command(&self, folder: &Path) -> (OsString, &[String]) {
        match self.interpreter.split_first() {
            None => {
                let own = folder.join(OWN_PYTHON);
                let program = if own.exists() { own.into() } else { "python3".into() };
                (program, &[])
            }
            // The process begins in another folder than the worker's.
            Some((program, arguments)) if program.contains('/') => {
                let program = self.beside.join(program);
                (std::path::absolute(&program).unwrap_or(program).into(), arguments)
            }
            Some((program, arguments)) => (program.into(), arguments),
        }
    }

    /// The interpreter, for people.
    pub fn shown_interpreter(&self) -> String {
        match self.interpreter.is_empty() {
            false => self.interpreter.join(" "),
            true if self.folder.join(OWN_PYTHON).exists() => OWN_PYTHON.to_owned(),
            true => "python3".to_owned(),
        }
    }

    /// What its environment holds that is shown nowhere, by the variables' names.
    pub fn secrets(&self) -> BTreeMap<String, SecretConfig> {
        let hidden = self.env.iter().filter(|(_, variable)| variable.is_secret);
        hidden.map(|(name, variable)| (name.clone(), SecretConfig::only_hidden(variable.value.clone()))).collect()
    }
}

pub(super) fn python(field: &FieldReader<'_>, folder: &Path) -> Option<PythonConfig> {
    let fields = field.fields(&PYTHON)?;
    let usual = PythonConfig::default_in(folder);
    Some(PythonConfig {
        interpreter: fields.read("interpreter", interpreter).unwrap_or_default(),
        folder: path(&fields, "folder", folder).unwrap_or_else(|| usual.folder.clone()),
        env: env(&fields).unwrap_or_default(),
        ..usual
    })
}

/// A program, or a program and its arguments.
fn interpreter(field: &FieldReader<'_>) -> Option<Vec<String>> {
    let parts = if field.is_list() {
        field.items()?.iter().map(|part| part.text().map(str::to_owned)).collect::<Option<Vec<_>>>()?
    } else {
        vec![field.text()?.to_owned()]
    };
    if parts.iter().any(String::is_empty) || parts.is_empty() {
        return field.is_not(
            "a program, like .venv/bin/python, or a list of a program and its arguments, like [uv, run, python]",
        );
    }
    Some(parts)
}

fn env(fields: &MapReader<'_>) -> Option<BTreeMap<String, PythonVariable>> {
    let mut env = BTreeMap::new();
    for (entry, field) in fields.get("env")?.entries()? {
        let name = entry.key.clone();
        let is_name = !name.starts_with(|first: char| first.is_ascii_digit())
            && !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_name {
            field.note(format!("{name:?} is not the name of an environment variable"));
            continue;
        }
        let is_secret = field.scalar().is_some_and(|scalar| scalar.substituted) || secrets::is_secret(&name);
        let value = field.text();
        if value.is_some_and(|value| value.contains('\0')) {
            field.note("a variable cannot hold a NUL character");
            continue;
        }
        env.insert(name, PythonVariable { value: value.map(|value| value.to_owned().into()), is_secret });
    }
    Some(env)
}

#[cfg(test)]
mod tests {
    use crate::config::{SecretConfig, SecretSource};
    use std::path::Path;

    use secrecy::ExposeSecret;

    use super::super::from_text;
    use super::PythonConfig;

    fn read(python: &str, folder: &Path) -> PythonConfig {
        let environment = |name: &str| (name == "KEY").then(|| "sesame-0815".to_owned());
        let text = format!("version: 1\npython: {python}\n");
        from_text(Path::new("fastagency.yaml"), &text, folder, &environment).unwrap().python
    }

    #[test]
    fn the_interpreter_is_the_one_that_is_named_or_the_projects_own() {
        let folder = tempfile::tempdir().unwrap();
        let (beside, tools) = (folder.path(), folder.path().join("tools"));
        let command = |python: &str| {
            let config = read(python, beside);
            let (program, arguments) = config.command(&config.folder);
            (program.into_string().unwrap(), arguments.join(" "), config.shown_interpreter())
        };
        let own = |arguments: &str, shown: &str| (arguments.to_owned(), shown.to_owned());
        let (program, arguments, shown) = command("{ interpreter: [uv, run, python] }");
        assert_eq!((program.as_str(), (arguments, shown)), ("uv", own("run python", "uv run python")));
        let (program, _, shown) = command("{ interpreter: env/bin/python }");
        assert_eq!(
            (program, shown.as_str()),
            (beside.join("env/bin/python").to_str().unwrap().to_owned(), "env/bin/python")
        );
        assert_eq!(command("{ folder: tools }").0, "python3");
        std::fs::create_dir_all(tools.join(".venv/bin")).unwrap();
        std::fs::write(tools.join(".venv/bin/python"), "").unwrap();
        let (program, _, shown) = command("{ folder: tools }");
        assert_eq!(
            (program, shown.as_str()),
            (tools.join(".venv/bin/python").to_str().unwrap().to_owned(), ".venv/bin/python")
        );
    }

    #[test]
    fn what_comes_from_outside_or_is_called_a_secret_is_one() {
        let env = "{ env: { WORD: \"${KEY}\", API_TOKEN: plain-0815, REGION: europe } }";
        let config = read(env, Path::new(""));
        let secrets = config.secrets();
        let value = |secret: &SecretConfig| match &secret.source {
            SecretSource::Value(Some(value)) => value.expose_secret().to_owned(),
            other => panic!("{other:?}"),
        };
        let values: Vec<String> = secrets.values().map(value).collect();
        assert_eq!(values, ["plain-0815", "sesame-0815"]);
        assert!(!format!("{config:?}").contains("0815"));
        let wrong = from_text(
            Path::new("f"),
            "version: 1\npython: { env: { \"A B\": x }, interpreter: [] }\n",
            Path::new(""),
            &|_| None,
        );
        let wrong = wrong.unwrap_err().to_string();
        assert!(wrong.contains("\"A B\" is not the name of an environment variable"), "{wrong}");
    }
}
