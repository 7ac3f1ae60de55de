//! What reading steps needs to know of the rest of the file, and what steps name outside of it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::names::DeclaredNames;
use super::scope::WorkflowDeclarations;
use super::{Agent, InjectedArguments, SecretReceiver};
use crate::ids::Name;
use crate::problem::Problem;

/// What reading steps needs to know of the rest of the file.
pub struct StepReader<'w> {
    file: &'w str,
    declared: &'w WorkflowDeclarations,
    names: &'w DeclaredNames,
    agents: &'w BTreeMap<Name, Arc<Agent>>,
    met: RefCell<OutsideReferences>,
}

/// A call of another workflow.
#[derive(Debug, Clone)]
pub struct WorkflowCall {
    /// The other workflow.
    pub name: Name,
    /// The names of the parameters that are given; none: a tool gives those that it is called with.
    pub params: Option<Vec<String>>,
    /// A problem at the place of the call; its message is to be filled in.
    pub problem: Problem,
}

/// A step that calls a tool.
#[derive(Debug, Clone)]
pub struct ToolCallStep {
    /// The tool: its name, that of a set, or `set.tool`.
    pub tool: Name,
    /// What it is called with; none: that could not be read.
    pub arguments: Option<Vec<WrittenArgument>>,
    /// A problem at the tool's name; the message is to be filled in.
    pub problem: Problem,
}

/// An argument of a call, as a workflow has it.
#[derive(Debug, Clone)]
pub struct WrittenArgument {
    /// Its name.
    pub name: String,
    /// Its value; none: a run makes it.
    pub value: Option<Value>,
    /// A problem at its name; the message is to be filled in.
    pub name_problem: Problem,
    /// A problem at its value; the message is to be filled in.
    pub value_problem: Problem,
}

/// A secret in a request, or among the arguments of a tool.
#[derive(Debug, Clone)]
pub struct SecretUse {
    /// The secret.
    pub name: String,
    /// Who gets it.
    pub receiver: SecretReceiver,
    /// A problem at its place; the message is to be filled in.
    pub problem: Problem,
}

/// A program that a tool names.
#[derive(Debug, Clone)]
pub struct ProgramUse {
    /// Its name in `commands:`.
    pub name: Name,
    /// Whether the tool has an argument `code`.
    pub has_code: bool,
    /// A problem at its place; the message is to be filled in.
    pub problem: Problem,
}

/// What steps name outside of their file.
#[derive(Debug, Default)]
pub struct OutsideReferences {
    /// The calls of other workflows.
    pub calls: Vec<WorkflowCall>,
    /// The models, each with a problem at its place; the message is to be filled in.
    pub models: Vec<(Name, Problem)>,
    /// The secrets, each with who would get it.
    pub secrets: Vec<SecretUse>,
    /// The servers that requests ask, each with a problem at its place; the message is to be filled in.
    pub hosts: Vec<(String, Problem)>,
    /// The programs.
    pub programs: Vec<ProgramUse>,
    /// A problem at the place of each tool that asks a service on NATS; the message is to be filled in.
    pub services: Vec<Problem>,
    /// The steps that call tools.
    pub tool_calls: Vec<ToolCallStep>,
    /// The tools of sets that steps offer to agents, each with a problem at its place; the message is to be filled in.
    pub offered: Vec<(Name, Problem)>,
    /// What is most likely not meant, and fails in some runs.
    pub doubts: Vec<Problem>,
}

impl OutsideReferences {
    /// Notes that these arguments go to somebody.
    pub(super) fn note_secrets(&mut self, inject: &InjectedArguments, receiver: &SecretReceiver) {
        self.secrets.extend(inject.secrets.iter().map(|one| SecretUse {
            name: one.secret.clone(),
            receiver: receiver.clone(),
            problem: one.problem.clone(),
        }));
    }

    /// Takes over what others have met.
    pub fn add(&mut self, other: OutsideReferences) {
        self.calls.extend(other.calls);
        self.models.extend(other.models);
        self.secrets.extend(other.secrets);
        self.hosts.extend(other.hosts);
        self.programs.extend(other.programs);
        self.services.extend(other.services);
        self.tool_calls.extend(other.tool_calls);
        self.offered.extend(other.offered);
        self.doubts.extend(other.doubts);
    }
}

impl<'w> StepReader<'w> {
    pub fn new(
        file: &'w str,
        declared: &'w WorkflowDeclarations,
        names: &'w DeclaredNames,
        agents: &'w BTreeMap<Name, Arc<Agent>>,
    ) -> Self {
        Self { file, declared, names, agents, met: RefCell::default() }
    }

    /// What was met outside of the file.
    pub fn into_met(self) -> OutsideReferences {
        self.met.into_inner()
    }

    pub(super) fn file(&self) -> &str {
        self.file
    }

    pub(super) fn names(&self) -> &DeclaredNames {
        self.names
    }

    pub(super) fn agents(&self) -> &BTreeMap<Name, Arc<Agent>> {
        self.agents
    }

    pub(super) fn declared(&self) -> &WorkflowDeclarations {
        self.declared
    }

    /// Notes what is most likely not meant.
    pub(super) fn note_doubt(&self, problem: Problem) {
        self.met.borrow_mut().doubts.push(problem);
    }

    /// Notes that a model is named.
    pub(super) fn note_model(&self, name: &Name, problem: Problem) {
        self.met.borrow_mut().models.push((name.clone(), problem));
    }

    /// Notes that a secret is named.
    pub(super) fn note_secret(&self, name: &str, receiver: SecretReceiver, problem: Problem) {
        self.met.borrow_mut().secrets.push(SecretUse { name: name.to_owned(), receiver, problem });
    }

    /// Notes that a server is asked.
    pub(super) fn note_host(&self, host: &str, problem: Problem) {
        self.met.borrow_mut().hosts.push((host.to_owned(), problem));
    }

    /// Notes that a tool is called.
    pub(super) fn note_tool_call(&self, call: ToolCallStep) {
        self.met.borrow_mut().tool_calls.push(call);
    }

    /// Notes that a tool of a set is offered to an agent.
    pub(super) fn note_offered(&self, name: Name, problem: Problem) {
        self.met.borrow_mut().offered.push((name, problem));
    }

    /// Notes that another workflow is called.
    pub(super) fn note_call(&self, call: WorkflowCall) {
        self.met.borrow_mut().calls.push(call);
    }
}
