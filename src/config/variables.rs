//! `${VAR}`, `${VAR:-default}` and `${file:/run/secrets/x}`, put into the scalars of a file after it was parsed: whatever a
//! variable holds, it cannot become another key. `$${` stands for `${`. A variable that is not set leaves its scalar without
//! a value ([`YamlScalar::missing`]); whether that matters is decided where the scalar is used.

use std::path::{Path, PathBuf};

use crate::yaml::{FileReview, YamlNode, YamlScalar};

/// The environment: what a variable holds, if it is set.
pub type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// Puts variables into all scalars, and returns the files that are named. Files are relative to the folder.
pub fn substitute(
    root: &mut YamlNode,
    environment: Environment<'_>,
    folder: &Path,
    review: &FileReview,
) -> Vec<PathBuf> {
    let mut files = Vec::new();
    root.for_each_scalar(&mut |place, scalar| {
        if let Err(message) = substitute_one(scalar, environment, folder, &mut files) {
            review.note(place, "", message);
        }
    });
    files
}

fn substitute_one(
    scalar: &mut YamlScalar,
    environment: Environment<'_>,
    folder: &Path,
    files: &mut Vec<PathBuf>,
) -> Result<(), String> {
    if !scalar.text.contains("${") {
        return Ok(());
    }
    let only = scalar.text.strip_prefix("${file:").and_then(|rest| rest.strip_suffix('}'));
    scalar.file = only.filter(|path| !path.contains('}')).map(|path| folder.join(path));
    let mut text = String::new();
    let mut rest = scalar.text.as_str();
    let mut missing = None;
    while let Some(at) = rest.find("${") {
        if let Some(escaped) = rest[..at].strip_suffix('$') {
            text += escaped;
            text += "${";
            rest = &rest[at + 2..];
            continue;
        }
        text += &rest[..at];
        let inner = &rest[at + 2..];
        let end = inner.find('}').ok_or("`${` without `}`; `$${` is a `${` that means itself")?;
        rest = &inner[end + 1..];
        scalar.substituted = true;
        files.extend(inner[..end].strip_prefix("file:").map(|file| folder.join(file)));
        match value(&inner[..end], environment, folder, &mut scalar.variables)? {
            Ok(value) => text += &value,
            Err(reason) => missing = Some(reason),
        }
    }
    text += rest;
    scalar.text = text;
    scalar.missing = missing;
    Ok(())
}

/// The value of what stands between the braces, or why there is none.
fn value(
    inner: &str,
    environment: Environment<'_>,
    folder: &Path,
    variables: &mut Vec<String>,
) -> Result<Result<String, String>, String> {
    if let Some(file) = inner.strip_prefix("file:") {
        let read = std::fs::read_to_string(folder.join(file));
        return Ok(match read {
            Ok(text) => Ok(text.trim_end_matches(['\r', '\n']).to_owned()),
            Err(error) => Err(format!("the file {file} cannot be read: {error}")),
        });
    }
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    let is_name = !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !is_name {
        return Err(format!(
            "`${{{inner}}}` is not ${{VAR}}, ${{VAR:-default}} or ${{file:/path}}; `$${{` is a `${{` that means itself"
        ));
    }
    variables.push(name.to_owned());
    // As in a shell, a default also stands in for what is set to nothing.
    let set = environment(name).filter(|value| default.is_none() || !value.is_empty());
    Ok(set.or_else(|| default.map(str::to_owned)).ok_or_else(|| format!("the environment variable {name} is not set")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_put_into_scalars() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), "from a file\n").unwrap();
        let environment = |name: &str| match name {
            "A" => Some("a value".to_owned()),
            "EMPTY" => Some(String::new()),
            "TRICKY" => Some("x\nport: 1 ${A}".to_owned()),
            _ => None,
        };
        let substituted = |text: &str| {
            let mut scalar = YamlScalar::new(text.to_owned(), true);
            substitute_one(&mut scalar, &environment, folder.path(), &mut Vec::new())
                .map(|()| scalar.missing.map_or(Ok(scalar.text), Err))
        };
        for (text, value) in [
            ("plain $A {A}", "plain $A {A}"),
            ("${A}", "a value"),
            ("<${A}-${A}>", "<a value-a value>"),
            ("${B:-default: with ${A}", "default: with ${A"),
            ("${A:-x}", "a value"),
            ("${EMPTY}", ""),
            ("${EMPTY:-x}", "x"),
            ("${B:-}", ""),
            ("$${A} costs $5", "${A} costs $5"),
            ("${TRICKY}", "x\nport: 1 ${A}"),
            ("${file:secret}", "from a file"),
        ] {
            assert_eq!(substituted(text), Ok(Ok(value.to_owned())), "{text}");
        }
        assert_eq!(substituted("a ${B} c"), Ok(Err("the environment variable B is not set".to_owned())));
        assert!(substituted("${file:nothing}").unwrap().unwrap_err().starts_with("the file nothing cannot be read"));
        for text in ["${A", "${}", "${A B}", "${A-x}", "${1A}", "${A:?x}"] {
            assert!(substituted(text).is_err(), "{text}");
        }
    }
}
