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
use crate::workflow::{self, SecretReceiver, Workflow};

mod answerers;
mod caller_tokens;
mod findings;
mod python_files;
mod set_outline;
mod tool_calls;
mod toolsets;

pub use answerers::{answerer_warnings, check_answerers};
use findings::ProjectFindings;
use python_files::PythonFiles;
use toolsets::check_tools;

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
    /// What it names and this machine does not have; the worker's may have it.
    pub absent: Option<Problems>,
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

/// Refuses a folder in which there is no project: no configuration is named, and neither its file nor a folder of workflows is here.
pub fn check_has_project(named: Option<&Path>, config: &Config) -> Result<(), Problems> {
    if named.is_some() || Path::new(DEFAULT_FILE).exists() || config.workflows.exists() {
        return Ok(());
    }
    let message = "there is no project in this folder: neither this file nor a folder of workflows is here";
    let hint = "`fastagency init` makes a project here, and `fastagency init DIR` in another folder; `-c FILE` names the configuration of one that is elsewhere";
    Err(Problem::of_file(DEFAULT_FILE, message).with_hint(hint).into())
}

/// Checks the configuration and all workflows. Where one of them is wrong, what else can be said of the others is said all the same.
pub fn check_project(named: Option<&Path>, environment: Environment<'_>) -> ProjectReport {
    let (mut problems, mut warnings): (Vec<Problem>, Vec<Problem>) = (Vec::new(), Vec::new());
    let (config, unread) = look_through_config(named, environment, &mut problems);
    let is_usable = problems.is_empty();
    let beside = named.and_then(Path::parent).unwrap_or(Path::new("")).join("workflows");
    let folder = config.as_ref().map_or(beside, |config| config.workflows.clone());
    let usable = config.as_ref().filter(|_| is_usable);
    let mut summary = ProjectSummary {
        config: usable.map(|config| config.path.display().to_string()),
        folder: folder.display().to_string(),
        models: usable.map(|config| config.llms.keys().cloned().collect()).unwrap_or_default(),
        ..ProjectSummary::default()
    };
    problems.extend(usable.and_then(|config| check_caller_tokens(config).err()).into_iter().flatten());
    warnings.extend(config.iter().flat_map(|config| config.warnings.clone()));
    let absent: Vec<Problem> = config.iter().flat_map(|config| config.absent.clone()).collect();
    match workflow::look_through(&folder) {
        Ok(found) => {
            if found.problems.is_empty() {
                summary.workflows = Some(found.workflows.iter().map(|workflow| workflow.name.clone()).collect());
            }
            problems.extend(found.problems);
            let all = || found.workflows.iter().chain(&found.incomplete);
            warnings.extend(all().flat_map(|workflow| workflow.doubts().iter().cloned()));
            let known = problems.clone();
            if let Some(config) = &config {
                let together = check_together(&all().collect::<Vec<_>>(), config, &unread);
                problems.extend(together.problems.into_iter().filter(|problem| !known.contains(problem)));
                warnings.extend(together.warnings);
                if !unread.contains("auth") {
                    warnings.extend(answerer_warnings(&found.workflows, &config.auth));
                }
            }
        }
        // Missing workflows are no second mistake where the configuration, which may name them, is the first.
        Err(wrong) if is_usable || folder.exists() => {
            let absent = config.as_ref().and_then(|config| check_has_project(named, config).err());
            problems.extend(absent.unwrap_or(wrong));
        }
        Err(_) => {}
    }
    ProjectReport {
        summary,
        problems: Problems::new(problems),
        warnings: Problems::new(warnings),
        absent: Problems::new(absent),
    }
}

/// The parts of a configuration that workflows can be compared with although others are wrong.
const COMPARED_SECTIONS: [&str; 16] = [
    "llms",
    "prices",
    "secrets",
    "commands",
    "python",
    "mcp",
    "outgoing",
    "auth",
    "gateway",
    "ui",
    "nats",
    "worker",
    "webhooks",
    "audit",
    "metrics",
    "telemetry",
];

/// The configuration as far as it can be read, with the names of its sections that cannot. None: nothing can be said of what it means.
fn look_through_config(
    named: Option<&Path>,
    environment: Environment<'_>,
    problems: &mut Vec<Problem>,
) -> (Option<Config>, BTreeSet<String>) {
    let file = named.or_else(|| Some(Path::new(DEFAULT_FILE)).filter(|file| file.exists()));
    let (config, wrong) = match file {
        Some(path) => config::look_through(path, environment),
        None => match Config::default_in(Path::new(""), environment) {
            Ok(config) => (Some(config), None),
            Err(wrong) => (None, Some(wrong)),
        },
    };
    let wrong: Vec<Problem> = wrong.into_iter().flatten().collect();
    let section = |problem: &Problem| problem.path.split(['.', '[']).next().unwrap_or_default().to_owned();
    let unread: BTreeSet<String> = wrong.iter().map(section).collect();
    problems.extend(wrong);
    // A key that nobody knows may be one of the others, misspelt.
    let is_comparable = unread.iter().all(|name| COMPARED_SECTIONS.contains(&name.as_str()));
    (config.filter(|_| is_comparable), unread)
}

/// What only the workflows and the configuration together tell. `unread`: the sections of the configuration that are wrong.
fn check_together(workflows: &[&Workflow], config: &Config, unread: &BTreeSet<String>) -> ProjectFindings {
    let has = |sections: &[&str]| !sections.iter().any(|section| unread.contains(*section));
    let mut together = ProjectFindings::default();
    let mut add = |found: Result<(), Problems>| together.problems.extend(found.err().into_iter().flatten());
    let models: BTreeSet<Name> = config.llms.keys().cloned().collect();
    let unpriced = config::unpriced(&config.llms);
    let secrets = Secrets::new(config.secrets.clone());
    let rules = AddressRules::new(&config.outgoing.allow_private);
    let programs = Programs::new(config.commands.clone());
    for workflow in workflows {
        if has(&["llms", "prices"]) {
            add(workflow::check_models(workflow, &models, &unpriced));
        }
        if has(&["secrets"]) {
            let refuses = |name: &str, receiver: &SecretReceiver| secrets.refuses_receiver(name, receiver);
            let repair = |name: &str, receiver: &SecretReceiver| secrets.repair(name, receiver);
            add(workflow::check_secrets(workflow, refuses, repair));
        }
        if has(&["outgoing"]) {
            add(workflow::check_hosts(workflow, |host: &str| rules.refuses_host(host)));
        }
        if has(&["outgoing", "mcp"]) {
            add(Problems::refuse(toolsets::check_addresses(workflow, config)));
        }
        if has(&["commands"]) {
            let refuses = |name: &str| programs.check(name).err();
            add(workflow::check_programs(
                workflow,
                refuses,
                |name| programs.near(name),
                |name| programs.takes_code(name),
            ));
        }
        if has(&["auth"]) {
            add(check_answerers(workflow, &config.auth));
        }
    }
    if has(&["secrets", "mcp", "python"]) {
        together.add(look_at_toolsets(workflows, config));
    }
    together
}

fn look_at_toolsets(workflows: &[&Workflow], config: &Config) -> ProjectFindings {
    let files = PythonFiles::look_at(workflows, config);
    let mut found = ProjectFindings::default();
    for workflow in workflows {
        found.add(check_tools(workflow, config, &files));
    }
    found
}

/// Says which tools cannot be taken from where workflows take them, as far as files and the configuration tell.
pub fn check_toolsets(workflows: &[Workflow], config: &Config) -> Result<(), Problems> {
    Problems::refuse(look_at_toolsets(&workflows.iter().collect::<Vec<_>>(), config).problems)
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
                (5, "shop.json cannot be read: No such file or directory (os error 2)", "tools.shop.openapi"),
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
