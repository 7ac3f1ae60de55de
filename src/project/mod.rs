//! A whole project checked at once: its configuration, all of its workflows, and that they fit together.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use crate::config::{self, Config, Environment};
use crate::ids::Name;
use crate::outside::addresses::AddressRules;
use crate::outside::programs::Programs;
use crate::outside::secrets::Secrets;
use crate::problem::{Problem, Problems};
use crate::workflow::{self, SecretReceiver};

mod answerers;
mod caller_tokens;
mod toolsets;

pub use answerers::{answerer_warnings, check_answerers};
pub use caller_tokens::{check_caller_token_key, check_caller_tokens, has_caller_tokens};

/// The file that is read if none is named.
pub const DEFAULT_FILE: &str = "fastagency.yaml";

/// What was found in a project.
#[derive(Debug)]
pub struct ProjectReport {
    /// What is there.
    pub summary: ProjectSummary,
    /// All that is wrong, in all files.
    pub problems: Option<Problems>,
    /// What is not wrong, and what an operator should know.
    pub warnings: Option<Problems>,
}

/// What is in a project; shown in a few lines.
#[derive(Debug, Default)]
pub struct ProjectSummary {
    /// The configuration: its file, or none for the defaults.
    pub config: Option<String>,
    /// The folder of workflows.
    pub folder: String,
    /// The names of the workflows; `None` if one of them could not be read.
    pub workflows: Option<Vec<Name>>,
    /// The names of the models.
    pub models: Vec<Name>,
}

/// Reads the configuration that is named, else `fastagency.yaml` here if it is there, else the defaults.
pub fn load_config(named: Option<&Path>, environment: Environment<'_>) -> Result<Config, Problems> {
    match named {
        Some(path) => config::load(path, environment),
        None if Path::new(DEFAULT_FILE).exists() => config::load(Path::new(DEFAULT_FILE), environment),
        None => Config::default_in(Path::new(""), environment),
    }
}

/// Checks the configuration and all workflows. If the configuration is wrong, the workflows are looked for in `workflows`
/// beside it all the same.
pub fn check_project(named: Option<&Path>, environment: Environment<'_>) -> ProjectReport {
    let (mut problems, mut warnings): (Vec<Problem>, Vec<Problem>) = (Vec::new(), Vec::new());
    let config = load_config(named, environment).map_err(|wrong| problems.extend(wrong)).ok();
    let beside = named.and_then(Path::parent).unwrap_or(Path::new("")).join("workflows");
    let folder = config.as_ref().map_or(beside, |config| config.workflows.clone());
    let mut summary = ProjectSummary {
        config: config.as_ref().map(|config| config.path.display().to_string()),
        folder: folder.display().to_string(),
        ..ProjectSummary::default()
    };
    problems.extend(config.iter().filter_map(|config| check_caller_tokens(config).err()).flatten());
    warnings.extend(config.iter().flat_map(|config| config.short_keys.clone()));
    let models: Option<BTreeSet<Name>> = config.as_ref().map(|config| config.llms.keys().cloned().collect());
    match workflow::load_folder(&folder) {
        Ok(workflows) => {
            // Without a configuration nobody knows the models.
            if let (Some(models), Some(config)) = (&models, &config) {
                let unpriced = config::unpriced(&config.llms);
                let secrets = Secrets::new(config.secrets.clone());
                let rules = AddressRules::new(&config.outgoing.allow_private);
                let programs = Programs::new(config.commands.clone());
                for workflow in &workflows {
                    problems.extend(workflow::check_models(workflow, models, &unpriced).err().into_iter().flatten());
                    let refuses = |name: &str, receiver: &SecretReceiver| secrets.refuses_receiver(name, receiver);
                    let repair = |name: &str, receiver: &SecretReceiver| secrets.repair(name, receiver);
                    problems.extend(workflow::check_secrets(workflow, refuses, repair).err().into_iter().flatten());
                    let refuses = |host: &str| rules.refuses_host(host);
                    problems.extend(workflow::check_hosts(workflow, refuses).err().into_iter().flatten());
                    let refuses = |name: &str| programs.check(name).err();
                    problems.extend(toolsets::check_toolsets(workflow, config));
                    problems.extend(
                        workflow::check_programs(workflow, refuses, |name| programs.near(name))
                            .err()
                            .into_iter()
                            .flatten(),
                    );
                    problems.extend(check_answerers(workflow, &config.auth).err().into_iter().flatten());
                }
                warnings.extend(answerer_warnings(&workflows, &config.auth));
            }
            summary.workflows = Some(workflows.into_iter().map(|workflow| workflow.name).collect());
        }
        // Missing workflows are no second mistake where the configuration, which may name them, is the first.
        Err(wrong) if config.is_some() || folder.exists() => {
            problems.extend(wrong);
            problems.extend(models.iter().flat_map(|models| workflow::unknown_models(&folder, models)));
        }
        Err(_) => {}
    }
    summary.models = models.into_iter().flatten().collect();
    ProjectReport { summary, problems: Problems::new(problems), warnings: Problems::new(warnings) }
}

impl fmt::Display for ProjectSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listed = |names: &[Name]| match names {
            [] => "none".to_owned(),
            names => names.iter().map(Name::as_str).collect::<Vec<_>>().join(", "),
        };
        writeln!(f, "configuration  {}", self.config.as_deref().unwrap_or("not usable"))?;
        writeln!(f, "models         {}", listed(&self.models))?;
        match &self.workflows {
            Some(names) => write!(f, "workflows      {} in {}: {}", names.len(), self.folder, listed(names)),
            None => write!(f, "workflows      not usable, in {}", self.folder),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_of_a_security_scheme_that_there_is_not_is_marked_where_it_stands() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        std::fs::create_dir(folder.path().join("workflows")).unwrap();
        write("fastagency.yaml", "version: 1\nsecrets: { shop: { value: sesame, hosts: [shop.example] } }\n");
        let tools =
            "  shop:\n    openapi: shop.json\n    security:\n      key: shop\n      login: shpo\n      other: gone\n";
        let workflow = format!("version: 1\nname: a\ntools:\n{tools}steps: [ {{ message: x }} ]\n");
        write("workflows/a.yaml", &workflow);
        let report = check_project(Some(&folder.path().join("fastagency.yaml")), &|_| None);
        let problems = report.problems.unwrap();
        let found: Vec<_> = problems.iter().map(|one| (one.line, one.message.as_str(), one.path.as_str())).collect();
        assert_eq!(
            found,
            [
                (8, "there is no secret \"shpo\"", "tools.shop.security.login"),
                (9, "there is no secret \"gone\"", "tools.shop.security.other"),
            ]
        );
        assert!(problems.to_string().contains("shop\""), "{problems}");
    }

    #[test]
    fn all_problems_of_all_files_are_found_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        std::fs::create_dir(folder.path().join("workflows")).unwrap();
        write("fastagency.yaml", "version: 1\nllms: { default: { provider: scripted } }\n");
        write("workflows/a.yaml", "version: 1\nname: a\nagents: { x: { llm: big } }\nsteps: [ { message: x } ]\n");
        let file = folder.path().join("fastagency.yaml");
        let report = || check_project(Some(&file), &|_| None);
        let problems = report().problems.unwrap();
        assert_eq!(
            problems.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>(),
            ["there is no model \"big\""]
        );
        assert!(report().summary.to_string().contains("workflows      1 in "), "{}", report().summary);

        write("workflows/c.yaml", "version: 1\nname: c\nagents: { y: { llm: gpt4 } }\n");
        let problems = report().problems.unwrap();
        let messages: Vec<_> = problems.iter().map(|problem| problem.message.as_str()).collect();
        let all = ["there is no model \"big\"", "\"steps\" is missing", "there is no model \"gpt4\""];
        assert_eq!(messages, all, "models, too, beside everything else");
        std::fs::remove_file(folder.path().join("workflows/c.yaml")).unwrap();

        write("fastagency.yaml", "version: 2\n");
        write("workflows/b.yaml", "version: 1\nname: b\n");
        let problems = report().problems.unwrap();
        assert!(report().summary.to_string().contains("workflows      not usable, in "), "{}", report().summary);
        let messages: Vec<_> = problems.iter().map(|problem| problem.message.as_str()).collect();
        assert_eq!(messages, ["2 is not a version of this language", "\"steps\" is missing"]);

        write("fastagency.yaml", "version: 1\nworkflows: elsewhere\n");
        let problems = report().problems.unwrap().to_string();
        assert!(problems.contains("elsewhere: the folder of workflows cannot be read"), "{problems}");
    }

    #[test]
    fn a_secret_is_no_argument_of_a_tool_that_it_is_not_for() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        std::fs::create_dir(folder.path().join("workflows")).unwrap();
        let config = |tools: &str| {
            format!(
                "version: 1\nllms: {{ default: {{ provider: scripted }} }}\ncommands: {{ report: {{ run: [cat] }} }}\n\
                 secrets: {{ key: {{ value: sesame-1, hosts: [a.example]{tools} }} }}\n"
            )
        };
        let tool = |kind: &str| format!("{{ description: d, inject: {{ k: {{ secret: key }} }}, {kind} }}");
        let kinds = ["command: report", "nats: \"orders.{{ user.id }}\"", "http: POST https://b.example/x"].map(tool);
        let [report, orders, http] = &kinds;
        write(
            "workflows/a.yaml",
            &format!(
                "version: 1\nname: a\ntools:\n  report: {report}\n  orders: {orders}\n  http: {http}\nsteps: [ {{ message: x }} ]\n"
            ),
        );
        let file = folder.path().join("fastagency.yaml");
        let messages = |tools: &str| -> Vec<String> {
            write("fastagency.yaml", &config(tools));
            let problems = check_project(Some(&file), &|_| None).problems.into_iter().flatten();
            problems.map(|problem| problem.message).collect()
        };
        let all = [
            "the secret \"key\" is for a.example alone, and would go to b.example",
            "the secret \"key\" is not for the command \"report\" (fastagency.yaml: secrets.key.tools)",
            "the secret \"key\" is not for the subject \"orders.*\" (fastagency.yaml: secrets.key.tools)",
        ];
        let mut found = messages("");
        found.sort();
        assert_eq!(found, all);
        assert_eq!(messages(", tools: { command: [report], nats: [\"orders.*\"] }"), all[..1]);
    }

    #[test]
    fn the_sample_project_is_right() {
        let report = check_project(None, &|_| None);
        assert_eq!(report.problems, None);
        let expected = "configuration  fastagency.yaml\nmodels         default\nworkflows      4 in workflows: echo, exam_practice, simple_learning, tour";
        assert_eq!(report.summary.to_string(), expected);
    }
}
