//! The templates of `fastagency init`: their texts are the files in `templates/`, with the name of the project, of the workflow and
//! an answer put in.

use anyhow::Context;
use clap::ValueEnum;

use crate::{config, workflow};

/// What a project begins with.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ProjectTemplate {
    /// An agent calls a Python function of tools.py.
    Tools,
    /// Two agents talk about a subject that a person names.
    Chat,
    /// An agent hands a person over to those who can help.
    Team,
    /// A person allows or denies the call of a tool.
    Approval,
    /// A workflow that greets, without agents.
    Empty,
}

/// A file of a project.
pub(super) struct ProjectFile {
    /// Where it lies in the folder of the project.
    pub(super) path: &'static str,
    pub(super) text: String,
}

/// What stands in the files for the name of the project.
const PROJECT: &str = "my_project";
/// What stands in the files for the name of the workflow.
const WORKFLOW: &str = "my_workflow";
/// What stands in the files for the answers of a run.
const ANSWERS: &str = " -a my_answer";

/// The files that every project has, and where they lie.
const COMMON: [(&str, &str); 4] = [
    ("AGENTS.md", include_str!("../../../templates/common/AGENTS.md")),
    (".env.example", include_str!("../../../templates/common/env.example")),
    (".gitignore", include_str!("../../../templates/common/gitignore")),
    (".vscode/settings.json", include_str!("../../../templates/common/vscode/settings.json")),
];
/// The end of each README.md.
const README_END: &str = include_str!("../../../templates/common/README.md");

/// What one template has.
struct TemplateTexts {
    /// The name of its workflow.
    workflow: &'static str,
    /// Answers with which a run of the workflow comes to its end without a person, as options of `fastagency run`.
    answers: &'static str,
    readme: &'static str,
    /// Its own files, and where they lie.
    files: &'static [(&'static str, &'static str)],
}

macro_rules! template_file {
    ($template:literal, $path:literal) => {
        ($path, include_str!(concat!("../../../templates/", $template, "/", $path)))
    };
}

impl ProjectTemplate {
    /// What is typed for it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Chat => "chat",
            Self::Team => "team",
            Self::Approval => "approval",
            Self::Empty => "empty",
        }
    }

    fn texts(self) -> TemplateTexts {
        match self {
            Self::Tools => TemplateTexts {
                workflow: "weather",
                answers: " -a \"Will it rain in Zagreb?\"",
                readme: include_str!("../../../templates/tools/README.md"),
                files: &[
                    template_file!("tools", "fastagency.yaml"),
                    template_file!("tools", "workflows/weather.yaml"),
                    template_file!("tools", "tools.py"),
                ],
            },
            Self::Chat => TemplateTexts {
                workflow: "lesson",
                answers: " -a Triangles",
                readme: include_str!("../../../templates/chat/README.md"),
                files: &[template_file!("chat", "fastagency.yaml"), template_file!("chat", "workflows/lesson.yaml")],
            },
            Self::Team => TemplateTexts {
                workflow: "support",
                answers: " -a \"My invoice is wrong\" -a exit",
                readme: include_str!("../../../templates/team/README.md"),
                files: &[template_file!("team", "fastagency.yaml"), template_file!("team", "workflows/support.yaml")],
            },
            Self::Approval => TemplateTexts {
                workflow: "refund",
                answers: " -a \"Order A-17 came broken\" -a once",
                readme: include_str!("../../../templates/approval/README.md"),
                files: &[
                    template_file!("approval", "fastagency.yaml"),
                    template_file!("approval", "workflows/refund.yaml"),
                ],
            },
            Self::Empty => TemplateTexts {
                workflow: "hello",
                answers: "",
                readme: include_str!("../../../templates/empty/README.md"),
                files: &[template_file!("empty", "fastagency.yaml"), template_file!("empty", "workflows/hello.yaml")],
            },
        }
    }
}

/// The files of a project with this name.
pub(super) fn project_files(template: ProjectTemplate, name: &str) -> anyhow::Result<Vec<ProjectFile>> {
    let texts = template.texts();
    let own = texts.files.iter().map(|(path, text)| (*path, (*text).to_owned()));
    let readme = ("README.md", format!("{}\n{README_END}", texts.readme));
    let common = COMMON.iter().map(|(path, text)| (*path, (*text).to_owned()));
    // The name last: it may hold the words that stand for the others.
    let named = |text: String| {
        let text = text.replace(WORKFLOW, texts.workflow).replace(ANSWERS, texts.answers);
        text.replace(PROJECT, &yaml_word(name))
    };
    let files = own.chain([readme]).chain(common).map(|(path, text)| ProjectFile { path, text: named(text) });
    let mut files: Vec<ProjectFile> = files.collect();
    // As `fastagency schema` prints them.
    let schemas = [
        (".fastagency/schemas/workflow.json", workflow::json_schema()),
        (".fastagency/schemas/config.json", config::json_schema()),
    ];
    for (path, schema) in schemas {
        let text = serde_json::to_string_pretty(&schema).context("a schema could not be written")? + "\n";
        files.push(ProjectFile { path, text });
    }
    Ok(files)
}

/// A text as a value of fastagency.yaml: in quotes, unless it can be nothing but a text.
fn yaml_word(text: &str) -> String {
    const OTHERWISE_READ: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let is_plain = text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.chars().all(|letter| letter.is_ascii_alphanumeric() || "_-".contains(letter))
        && !OTHERWISE_READ.contains(&text.to_ascii_lowercase().as_str());
    match is_plain {
        true => text.to_owned(),
        // A text of JSON is one of YAML. `${` would be a variable.
        false => serde_json::Value::from(text.replace("${", "$${")).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::{ProjectTemplate, project_files, yaml_word};

    #[test]
    fn a_name_stays_a_text_in_yaml() {
        for (name, written) in [
            ("my-demo_1", "my-demo_1"),
            ("True", "\"True\""),
            ("17", "\"17\""),
            ("a \"b\": ${HOME}", r#""a \"b\": $${HOME}""#),
        ] {
            assert_eq!(yaml_word(name), written);
        }
    }

    #[test]
    fn nothing_is_left_of_what_stands_for_names_and_answers() {
        for template in ProjectTemplate::value_variants() {
            for file in project_files(*template, "demo").unwrap() {
                for word in ["my_project", "my_workflow", "my_answer"] {
                    assert!(!file.text.contains(word), "{}: {}: {word}", template.name(), file.path);
                }
            }
        }
    }
}
