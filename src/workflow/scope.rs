//! What a place in a workflow may name: the steps that ran before it, the declared variables and parameters, and what only
//! some places have (`item`, `loop`, `error`, `message`).

use std::collections::{BTreeMap, BTreeSet};

use crate::problem::did_you_mean;
use crate::workflow::expression::NamePath;
use crate::yaml::{FieldReader, NodeContent, SourcePlace, YamlNode};

/// What is known of a step's value before it ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StepOutcome {
    Chat,
    Text,
    Unknown,
}

const CHAT_RESULT: [&str; 8] =
    ["summary", "messages", "last", "turns", "stop_reason", "usage", "last_speaker", "context_variables"];

/// The steps that ask models, and what is known of how their replies ended (`replies.id`).
const ASKING_STEPS: [&str; 5] = ["agent", "chat", "chats", "group_chat", "group"];
const REPLY_ENDS: [&str; 2] = ["finish_reason", "cut"];

/// What the whole workflow declares.
#[derive(Debug, Default)]
pub struct WorkflowDeclarations {
    /// The variables.
    pub vars: BTreeSet<String>,
    /// The parameters by name; none: they are not known (any may be there).
    pub params: Option<BTreeSet<String>>,
    /// In a tool: its arguments by name; none: they are not known.
    args: Option<BTreeSet<String>>,
    /// Each step id of the workflow, wherever it is, with its places.
    steps: BTreeMap<String, Vec<(SourcePlace, StepOutcome)>>,
    /// Those among them that ask models.
    asking: BTreeSet<String>,
}

impl WorkflowDeclarations {
    /// Notes the ids of all steps of a list, and of the steps in them.
    pub fn find_steps(&mut self, list: &YamlNode) {
        let NodeContent::List(steps) = &list.content else { return };
        for step in steps {
            if let Some(YamlNode { content: NodeContent::Scalar(id), place }) = step.get("id") {
                let outcome = match () {
                    () if step.get("on_error").is_some() => StepOutcome::Unknown,
                    () if ["chat", "group_chat", "group"].iter().any(|talk| step.get(talk).is_some()) => {
                        StepOutcome::Chat
                    }
                    () if step.get("text_input").is_some() => StepOutcome::Text,
                    () => StepOutcome::Unknown,
                };
                self.steps.entry(id.text.clone()).or_default().push((*place, outcome));
                if ASKING_STEPS.iter().any(|asking| step.get(asking).is_some()) {
                    self.asking.insert(id.text.clone());
                }
            }
            let blocks = ["loop", "foreach", "on_error"].iter().filter_map(|block| step.get(block)?.get("do"));
            let arms = step.get("branch").into_iter().flat_map(YamlNode::items);
            let arms = arms.flat_map(|arm| ["do", "else"].into_iter().filter_map(|key| arm.get(key)));
            let beside = step.get("parallel").into_iter().flat_map(YamlNode::values);
            blocks.chain(arms).chain(beside).for_each(|body| self.find_steps(body));
        }
    }

    /// What is declared in a tool: the same, but its own steps and arguments.
    pub fn of_tool(&self, steps: &YamlNode, args: Option<BTreeSet<String>>) -> Self {
        let (vars, params) = (self.vars.clone(), self.params.clone());
        let mut declared = Self { vars, params, args, ..Self::default() };
        declared.find_steps(steps);
        declared
    }

    /// The ids of the steps of a list and of all bodies in it.
    pub fn steps_below(list: &YamlNode) -> BTreeSet<String> {
        let mut below = Self::default();
        below.find_steps(list);
        below.steps.into_keys().collect()
    }
}

/// Whether something whose parts are known has this one.
fn check_part(what: &str, part: &str, parts: &[&str]) -> Result<(), (String, Option<String>)> {
    if parts.contains(&part) {
        return Ok(());
    }
    let near = did_you_mean(part, parts.iter().copied());
    let hint = near.unwrap_or_else(|| format!("it has {}", parts.join(", ")));
    Err((format!("`{what}` has no {part:?}"), Some(hint)))
}

/// What may be named at one place.
#[derive(Debug, Clone)]
pub struct NameScope<'d> {
    declared: &'d WorkflowDeclarations,
    /// The steps that have run, or may have.
    steps: BTreeSet<String>,
    /// Names that only some places have.
    locals: BTreeSet<String>,
    /// Inside of a branch that runs beside others.
    pub in_parallel: bool,
    /// Only the locals may be named.
    only_locals: bool,
}

impl<'d> NameScope<'d> {
    /// Where the workflow begins.
    pub fn new(declared: &'d WorkflowDeclarations) -> Self {
        Self { declared, steps: BTreeSet::new(), locals: BTreeSet::new(), in_parallel: false, only_locals: false }
    }

    /// Where nothing but this is known.
    pub fn only(declared: &'d WorkflowDeclarations, local: &str) -> Self {
        Self { only_locals: true, ..Self::new(declared).with_local(local) }
    }

    /// The same, and a name that only this place has.
    pub fn with_local(&self, name: &str) -> Self {
        let mut scope = self.clone();
        scope.locals.insert(name.to_owned());
        scope
    }

    /// The same, and steps that may have run.
    pub fn with_steps(&self, ids: impl IntoIterator<Item = String>) -> Self {
        let mut scope = self.clone();
        scope.steps.extend(ids);
        scope
    }

    /// Notes that a step has run.
    pub fn ran(&mut self, ids: impl IntoIterator<Item = String>) {
        self.steps.extend(ids);
    }

    /// Checks that a variable is declared.
    pub fn check_var(&self, name: &str) -> Result<(), (String, Option<String>)> {
        if self.declared.vars.contains(name) {
            return Ok(());
        }
        let near = did_you_mean(name, self.declared.vars.iter().map(String::as_str));
        let hint = near.unwrap_or_else(|| format!("declare it at the top: `vars: {{ {name}: null }}`"));
        Err((format!("there is no variable {name:?}"), Some(hint)))
    }

    /// Notes what is wrong with the names that a template or an expression looks up.
    pub fn check<'p>(&self, field: &FieldReader<'_>, names: impl IntoIterator<Item = &'p NamePath>) {
        let mut seen = BTreeSet::new();
        let names: Vec<&NamePath> = names.into_iter().collect();
        // `steps.my-id` is read as `steps.my - id`: that is one mistake, not two.
        let heads =
            names.iter().filter(|path| path.len() == 2 && path[0] == "steps").filter_map(|path| self.dashed(&path[1]));
        let tails: BTreeSet<&str> = heads.flat_map(|id| id.split('-').skip(1)).collect();
        for path in &names {
            if let Err((message, hint)) = self.check_path(path)
                && !(path.len() == 1 && tails.contains(path[0].as_str()))
                && seen.insert(message.clone())
            {
                let known =
                    path.len().min(if path[0] == "steps" && path.get(1).is_some_and(|id| self.steps.contains(id)) {
                        3
                    } else {
                        2
                    });
                let problem = field.problem_at(&path[..known].join("."), message);
                field.review.add(match hint {
                    Some(hint) => problem.with_hint(hint),
                    None => problem,
                });
            }
        }
    }

    fn check_path(&self, path: &[String]) -> Result<(), (String, Option<String>)> {
        let Some((root, rest)) = path.split_first() else { return Ok(()) };
        if self.locals.contains(root) {
            return match (root.as_str(), rest.first()) {
                ("args", Some(name)) => self.check_arg(name),
                ("call", Some(part)) => check_part("call", part, &["id"]),
                _ => Ok(()),
            };
        }
        match (root.as_str(), rest.first()) {
            _ if self.only_locals => self.unknown(root),
            ("steps", Some(id)) => self.check_step(id, rest.get(1).map(String::as_str)),
            ("replies", Some(id)) => self.check_reply(id, rest.get(1).map(String::as_str)),
            ("vars", Some(name)) => self.check_var(name),
            ("params", Some(name)) => self.check_param(name),
            ("user", Some(part)) => check_part("user", part, &["id", "name", "groups"]),
            ("run", Some(part)) => check_part("run", part, &["id", "workflow"]),
            ("steps" | "replies" | "vars" | "params" | "user" | "run", _) => Ok(()),
            _ => self.unknown(root),
        }
    }

    fn check_step(&self, id: &str, part: Option<&str>) -> Result<(), (String, Option<String>)> {
        let Some(places) = self.declared.steps.get(id) else {
            let ids = || self.declared.steps.keys().map(String::as_str);
            let hint = match self.dashed(id) {
                Some(dashed) => Some(format!("a name with a dash is looked up as steps[\"{dashed}\"]")),
                None => did_you_mean(id, ids()),
            };
            return Err((format!("there is no step with the id {id:?}"), hint));
        };
        if !self.steps.contains(id) {
            let line = places[0].0.line;
            return Err((format!("the step {id:?} cannot have run here"), Some(format!("it stands on line {line}"))));
        }
        match part {
            Some(part)
                if places.iter().all(|(_, outcome)| *outcome == StepOutcome::Chat) && !CHAT_RESULT.contains(&part) =>
            {
                let hint =
                    did_you_mean(part, CHAT_RESULT).unwrap_or_else(|| format!("it has {}", CHAT_RESULT.join(", ")));
                Err((format!("the result of the chat {id:?} has no {part:?}"), Some(hint)))
            }
            Some(part)
                if places.iter().all(|(_, outcome)| *outcome == StepOutcome::Text) && part.parse::<i64>().is_err() =>
            {
                Err((format!("the value of {id:?} is a text, it has no {part:?}"), None))
            }
            _ => Ok(()),
        }
    }

    fn check_reply(&self, id: &str, part: Option<&str>) -> Result<(), (String, Option<String>)> {
        self.check_step(id, None)?;
        if !self.declared.asking.contains(id) {
            let hint = format!("only these steps do: {}", ASKING_STEPS.join(", "));
            return Err((format!("the step {id:?} asks no model"), Some(hint)));
        }
        match part {
            Some(part) if !REPLY_ENDS.contains(&part) => {
                let hint =
                    did_you_mean(part, REPLY_ENDS).unwrap_or_else(|| format!("it has {}", REPLY_ENDS.join(", ")));
                Err((format!("what is known of a reply has no {part:?}"), Some(hint)))
            }
            _ => Ok(()),
        }
    }

    /// A step whose id begins so and goes on after a dash.
    fn dashed(&self, head: &str) -> Option<&str> {
        let steps = &self.declared.steps;
        let dashed = || steps.keys().find(|id| id.strip_prefix(head).is_some_and(|rest| rest.starts_with('-')));
        if steps.contains_key(head) { None } else { dashed().map(String::as_str) }
    }

    fn check_param(&self, name: &str) -> Result<(), (String, Option<String>)> {
        let Some(params) = &self.declared.params else { return Ok(()) };
        if params.contains(name) {
            return Ok(());
        }
        let hint = did_you_mean(name, params.iter().map(String::as_str))
            .unwrap_or_else(|| "declare it at the top, in `params:`, a JSON Schema".to_owned());
        Err((format!("there is no parameter {name:?}"), Some(hint)))
    }

    fn check_arg(&self, name: &str) -> Result<(), (String, Option<String>)> {
        match &self.declared.args {
            Some(args) if !args.contains(name) => {
                let hint = did_you_mean(name, args.iter().map(String::as_str))
                    .unwrap_or_else(|| "declare it in the tool's `params:`, a JSON Schema".to_owned());
                Err((format!("the tool has no argument {name:?}"), Some(hint)))
            }
            _ => Ok(()),
        }
    }

    fn unknown(&self, root: &str) -> Result<(), (String, Option<String>)> {
        let hint = match root {
            "loop" => Some("`loop` is there only in the steps of a loop or a foreach".to_owned()),
            "error" => Some("`error` is there only in `on_error`".to_owned()),
            "message" => Some("`message` is there only in rules and nested chats of agents".to_owned()),
            "args" => Some("`args` is there only in the steps of a tool".to_owned()),
            "context" => Some("`context` is there only in the handoffs of agents and in tools".to_owned()),
            "secrets" if self.locals.contains("call") => Some(
                "write the argument as { secret: NAME }: then it is all of the secret, and nothing else sees it"
                    .to_owned(),
            ),
            "secrets" => Some(
                "a secret stands only in the query, a header or the body of an `http` request: not in its address, and in no prompt"
                    .to_owned(),
            ),
            "env" | "environment" => {
                Some("a template cannot see the environment: no prompt can leak it; use `params`".to_owned())
            }
            _ if self.only_locals => None,
            _ if self.declared.steps.contains_key(root) => Some(format!("the value of a step is steps.{root}")),
            _ if self.declared.vars.contains(root) => Some(format!("a variable is vars.{root}")),
            _ if self.declared.params.as_ref().is_some_and(|params| params.contains(root)) => {
                Some(format!("a parameter is params.{root}"))
            }
            _ => did_you_mean(
                root,
                ["steps", "replies", "vars", "params", "user", "run"]
                    .into_iter()
                    .chain(self.locals.iter().map(String::as_str)),
            ),
        };
        let mut known: Vec<_> = self.locals.iter().map(String::as_str).collect();
        if !self.only_locals {
            known.extend(["params", "replies", "run", "steps", "user", "vars"]);
        }
        Err((format!("there is no {root:?} here"), hint.or_else(|| Some(format!("there is {}", known.join(", "))))))
    }
}
