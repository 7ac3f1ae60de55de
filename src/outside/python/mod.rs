//! Functions of the project's own Python files, as they are: listed by the rules of AG2's `autogen.tools` and called in one process
//! that the worker keeps (`host`), which executes the files in `scripts/`.

use std::fmt;
use std::path::{Component, Path};
use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::Value;

use super::hidden::HiddenTexts;
use super::toolset::{ListedTool, Toolset, ToolsetAnswer, ToolsetCall, ToolsetError};
use super::toolsets::ToolsetOpener;
use crate::bounds::{OUTSIDE, UnfitJson, cut_off, read};
use crate::config::PythonConfig;
use crate::workflow::{PythonSource, ToolsetSource};

mod child;
mod child_log;
mod child_state;
mod frames;
mod host;

pub use host::PythonHost;

use child_state::ReturnedResult;

/// The functions of a file, or one of them.
pub struct PythonToolset {
    host: Arc<PythonHost>,
    source: PythonSource,
}

/// Opens the Python files that workflows name.
#[derive(Debug)]
pub struct PythonTools(Arc<PythonHost>);

impl PythonTools {
    /// With the Python of a project, and what no text of it may show.
    pub fn new(config: PythonConfig, project: &Arc<HiddenTexts>) -> Self {
        Self(Arc::new(PythonHost::new(config).beside(project)))
    }
}

#[async_trait]
impl ToolsetOpener for PythonTools {
    fn open(&self, source: &ToolsetSource) -> Option<Result<Arc<dyn Toolset>, ToolsetError>> {
        let ToolsetSource::Python(source) = source else { return None };
        let opened = PythonToolset::new(self.0.clone(), &source.file, source.function.as_deref());
        Some(opened.map(|set| Arc::new(set) as Arc<dyn Toolset>).map_err(ToolsetError::Unavailable))
    }

    async fn close(&self) {
        self.0.close().await;
    }
}

/// What is in a file.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct PythonListing {
    /// The functions that are tools.
    pub tools: Vec<PythonFunction>,
    /// A sentence for each public function that is none.
    pub left_out: Vec<String>,
}

/// A function that is a tool.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct PythonFunction {
    /// Its name.
    pub name: String,
    /// Its docstring.
    pub description: String,
    /// The JSON Schema of its parameters.
    pub params: Value,
}

impl PythonToolset {
    /// The functions of a file, or one of them. The error is a sentence for the author of the workflow.
    pub fn new(host: Arc<PythonHost>, file: &str, function: Option<&str>) -> Result<Self, String> {
        check_source(file, function)?;
        let source = PythonSource { file: file.to_owned(), function: function.map(str::to_owned) };
        Ok(Self { host, source })
    }

    /// What is in the file now, with the reasons why something is left out.
    pub async fn listing(&self) -> Result<PythonListing, ToolsetError> {
        let text = self.host.listed(&self.source).await?;
        read(text.as_bytes(), &OUTSIDE)
            .map_err(|unfit| ToolsetError::Unavailable(format!("{}: its list of functions {unfit}", self.source.file)))
    }
}

/// What is wrong with the name of a file or of a function, if anything is.
pub fn check_source(file: &str, function: Option<&str>) -> Result<(), String> {
    let is_below = Path::new(file).components().all(|part| matches!(part, Component::Normal(_)));
    if !is_below || file.is_empty() || file.contains('\\') || file.chars().any(char::is_control) {
        return Err(format!("{file:?} is not a file below the folder of the project's Python (no `..`, not absolute)"));
    }
    if !file.ends_with(".py") || file.ends_with("/.py") || file == ".py" {
        return Err(format!("{file:?} is not a Python file: its name must end with .py"));
    }
    let is_name = |name: &str| {
        !name.starts_with(|first: char| first.is_ascii_digit())
            && !name.is_empty()
            && name.chars().all(|letter| letter.is_alphanumeric() || letter == '_')
    };
    match function {
        Some(name) if !is_name(name) => Err(format!("{name:?} is not the name of a function")),
        _ => Ok(()),
    }
}

impl fmt::Debug for PythonToolset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PythonToolset").field("source", &self.source).finish_non_exhaustive()
    }
}

#[async_trait]
impl Toolset for PythonToolset {
    async fn list(&self) -> Result<Vec<ListedTool>, ToolsetError> {
        let listing = self.listing().await?;
        for sentence in &listing.left_out {
            tracing::warn!("{sentence}");
        }
        if listing.tools.is_empty() {
            let why = listing.left_out.first().map(|one| format!(" ({one})")).unwrap_or_default();
            return Err(ToolsetError::Unavailable(format!(
                "{} has no functions that are tools{why}",
                self.source.file
            )));
        }
        let listed = |PythonFunction { name, description, params }| ListedTool {
            name,
            description,
            params,
            // Nobody but its author knows what a function does; the workflow may say it.
            idempotent: false,
        };
        let hidden = |tool: ListedTool| tool.without_secrets(|value| self.host.hidden_in(value));
        Ok(listing.tools.into_iter().map(listed).map(hidden).collect())
    }

    async fn call(&self, call: ToolsetCall<'_>) -> Result<ToolsetAnswer, ToolsetError> {
        let result = self.host.called(&self.source, &call).await?;
        let value = value_of(&result, call.max_result, self.host.hidden_texts())
            .map_err(|unfit| ToolsetError::Failed(format!("the result of {} cannot be taken: {unfit}", call.tool)))?;
        Ok(ToolsetAnswer::Value(value))
    }
}

/// A result without secrets, and of one that is too long the beginning, as a text.
fn value_of(result: &ReturnedResult, max_result: u64, hidden: &HiddenTexts) -> Result<Value, UnfitJson> {
    let ReturnedResult { text, is_text, is_broken_off } = result;
    let most = usize::try_from(max_result).unwrap_or(usize::MAX);
    if *is_broken_off || text.len() > most {
        let shown = hidden.hidden_beginning(text, *is_broken_off);
        return Ok(cut_off(&shown, most).into());
    }
    match is_text {
        true => Ok(hidden.hidden(text).into()),
        false => read(text.as_bytes(), &OUTSIDE).map(|value| hidden.hidden_in(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_cut_where_its_secrets_are_hidden_already() {
        let hidden = HiddenTexts::default();
        hidden.add("hk", "CUTSECRET123456789");
        let value = |text: &str, is_text, is_broken_off| {
            let result = ReturnedResult { text: text.to_owned(), is_text, is_broken_off };
            value_of(&result, 40, &hidden).unwrap()
        };
        for count in 0..60 {
            let result = format!("{{\"a\":\"{}\",\"k\":\"CUTSECRET123456789\"}}", "x".repeat(count));
            // So much comes from the process.
            let sent = &result[..result.len().min(40 + hidden.longest())];
            let shown = value(sent, false, sent.len() < result.len()).to_string();
            assert!(!shown.contains("CUT"), "{count}: {shown}");
        }
        assert_eq!(value("{\"k\":\"CUTSECRET123456789\"}", false, false), serde_json::json!({"k": "[secret hk]"}));
        assert_eq!(value("12", true, false), "12");
        assert_eq!(value(&"ü".repeat(30), true, false), format!("{}… [cut off after 40 bytes]", "ü".repeat(20)));
    }

    #[test]
    fn only_files_below_the_folder_are_taken() {
        for (file, function) in [("tools.py", None), ("a/b.py", Some("get_weather")), ("ü.py", Some("größe"))] {
            assert_eq!(check_source(file, function), Ok(()), "{file}");
        }
        for (file, function) in [
            ("../tools.py", None),
            ("a/../b.py", None),
            ("./tools.py", None),
            ("/etc/tools.py", None),
            ("", None),
            (".py", None),
            ("tools.txt", None),
            ("a\\b.py", None),
            ("tools.py", Some("")),
            ("tools.py", Some("a.b")),
            ("tools.py", Some("1a")),
            ("tools.py", Some("a; b")),
        ] {
            assert!(check_source(file, function).is_err(), "{file} {function:?}");
        }
    }
}
