//! What a workflow's templates and expressions can see, and what its agents remember. A parallel branch has a copy of its
//! own; what it set is merged in declared order when all branches have ended.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use minijinja::Value as Seen;
use serde_json::{Map, Value};

use crate::bounds::{MADE, check_value};
use crate::chat::{AgentMemory, ReplyEnds, Result, WorkflowStop};
use crate::ids::{Name, RunId};
use crate::protocol::failure::FailureKind;
use crate::protocol::log::RunCreation;
use crate::workflow::expression::{seen, seen_map};
use crate::workflow::{
    DataTemplate, EvaluationError, Expression, Template, Workflow, WorkflowStep, WorkflowTool, all_steps,
};

/// The context of a place in a workflow.
#[derive(Clone)]
pub(super) struct ExpressionScope {
    params: Seen,
    user: Seen,
    run: Seen,
    vars: BTreeMap<String, Seen>,
    steps: BTreeMap<String, Seen>,
    /// How the replies of models ended, by the step that asked.
    replies: BTreeMap<String, Seen>,
    locals: BTreeMap<String, Seen>,
    /// What was set and which steps ended since the branch began: the last value of each.
    changes: Vec<ScopeChange>,
    /// What the agents remember.
    pub memory: AgentMemory,
    /// How the replies of models ended in the step that ended last; none: it asked none.
    pub reply_ends: Option<ReplyEnds>,
    /// How many tools called each other to come here.
    pub depth: u32,
}

/// Something that a branch has set, or a step of it that has ended.
#[derive(Clone)]
pub(super) enum ScopeChange {
    Var(String, Seen),
    Step(String, Seen),
    Reply(String, Seen),
}

impl ScopeChange {
    fn replaces(&self, other: &ScopeChange) -> bool {
        match (self, other) {
            (ScopeChange::Var(one, _), ScopeChange::Var(other, _))
            | (ScopeChange::Step(one, _), ScopeChange::Step(other, _))
            | (ScopeChange::Reply(one, _), ScopeChange::Reply(other, _)) => one == other,
            _ => false,
        }
    }
}

/// Most runs where nobody logs in have no user, and share this.
static NOBODY: LazyLock<Seen> =
    LazyLock::new(|| minijinja::context! { id => (), name => (), groups => Vec::<String>::new() });

fn user(created: &RunCreation) -> Seen {
    let Some(user) = created.user.as_ref().map(|user| user.as_str()) else { return NOBODY.clone() };
    minijinja::context! { id => user, name => user, groups => created.groups.to_vec() }
}

impl ExpressionScope {
    /// The context in which a workflow begins.
    pub(super) fn new(workflow: &Workflow, run: RunId, created: &RunCreation, params: &Map<String, Value>) -> Self {
        let (steps, replies) = declared(&workflow.steps);
        Self {
            params: seen_map(params),
            user: user(created),
            run: minijinja::context! { id => run.to_string(), workflow => created.workflow.as_str() },
            vars: workflow.vars.iter().map(|(name, value)| (name.clone(), seen(value))).collect(),
            steps,
            replies,
            locals: BTreeMap::new(),
            changes: Vec::new(),
            memory: AgentMemory::default(),
            reply_ends: None,
            depth: 0,
        }
    }

    /// A copy for a branch that runs beside others.
    pub(super) fn branch(&self) -> Self {
        Self { changes: Vec::new(), ..self.clone() }
    }

    /// Takes over what a branch has set, and which steps ended in it.
    pub(super) fn merge(&mut self, branch: ExpressionScope) {
        self.take_over(branch.changes);
    }

    /// What a branch has set: all that its ending leaves.
    pub(super) fn into_changes(self) -> Vec<ScopeChange> {
        self.changes
    }

    /// Takes over what was set elsewhere.
    pub(super) fn take_over(&mut self, changes: Vec<ScopeChange>) {
        for change in changes {
            match &change {
                ScopeChange::Var(name, value) => self.vars.insert(name.clone(), value.clone()),
                ScopeChange::Step(id, value) => self.steps.insert(id.clone(), value.clone()),
                ScopeChange::Reply(id, value) => self.replies.insert(id.clone(), value.clone()),
            };
            self.note(change);
        }
    }

    /// A loop sets the same again and again: only what it set last counts.
    fn note(&mut self, change: ScopeChange) {
        match self.changes.iter_mut().find(|before| change.replaces(before)) {
            Some(before) => *before = change,
            None => self.changes.push(change),
        }
    }

    /// The context in which a tool begins: the workflow's variables, its own steps, and agents that remember nothing.
    pub(super) fn of_tool(
        &self,
        tool: &WorkflowTool,
        arguments: &Map<String, Value>,
        context: Option<&Map<String, Value>>,
    ) -> Self {
        let (steps, replies) = declared(&tool.steps);
        let mut locals = BTreeMap::from([("args".to_owned(), seen_map(arguments))]);
        locals.insert("context".to_owned(), context.map_or_else(|| seen_map(&Map::new()), seen_map));
        let memory = AgentMemory::default();
        Self { steps, replies, locals, changes: Vec::new(), memory, depth: self.depth + 1, ..self.clone() }
    }

    /// Takes over the variables that a tool has set.
    pub(super) fn merge_variables(&mut self, tool: ExpressionScope) {
        let changes = tool.changes.into_iter().filter(|change| matches!(change, ScopeChange::Var(..))).collect();
        self.merge(ExpressionScope { changes, steps: BTreeMap::new(), ..tool });
    }

    /// Makes a name known inside a body (`item`, `loop`, `error`), and returns what it hid.
    pub(super) fn bind(&mut self, name: &str, value: Seen) -> Option<Seen> {
        self.locals.insert(name.to_owned(), value)
    }

    /// Ends what [`ExpressionScope::bind`] began.
    pub(super) fn unbind(&mut self, name: &str, hidden: Option<Seen>) {
        match hidden {
            Some(value) => self.locals.insert(name.to_owned(), value),
            None => self.locals.remove(name),
        };
    }

    /// Sets a variable.
    pub(super) fn set(&mut self, name: &Name, value: &Value) {
        let value = seen(value);
        self.vars.insert(name.to_string(), value.clone());
        self.note(ScopeChange::Var(name.to_string(), value));
    }

    /// Notes the value of a step that has ended.
    pub(super) fn ended(&mut self, id: &Name, value: &Value) {
        let value = seen(value);
        self.steps.insert(id.to_string(), value.clone());
        self.note(ScopeChange::Step(id.to_string(), value));
        if let Some(ends) = self.reply_ends.take() {
            let ends = minijinja::context! { finish_reason => ends.finish_reason, cut => ends.cut };
            self.replies.insert(id.to_string(), ends.clone());
            self.note(ScopeChange::Reply(id.to_string(), ends));
        }
    }

    fn context(&self) -> Seen {
        let mut context = self.locals.clone();
        context.insert("params".to_owned(), self.params.clone());
        context.insert("user".to_owned(), self.user.clone());
        context.insert("run".to_owned(), self.run.clone());
        context.insert("vars".to_owned(), Seen::from_pairs(self.vars.clone()));
        context.insert("steps".to_owned(), Seen::from_pairs(self.steps.clone()));
        context.insert("replies".to_owned(), Seen::from_pairs(self.replies.clone()));
        Seen::from_pairs(context)
    }

    /// A template as text.
    pub(super) fn text(&self, template: &Template) -> Result<String> {
        match template.as_plain() {
            Some(text) => Ok(text.to_owned()),
            None => template.render(&self.context()).map_err(in_words),
        }
    }

    /// Whether an expression holds.
    pub(super) fn holds(&self, expression: &Expression) -> Result<bool> {
        expression.holds(&self.context()).map_err(in_words)
    }

    /// The value of an expression.
    pub(super) fn expression(&self, expression: &Expression) -> Result<Value> {
        within_bounds(expression.evaluate(&self.context()).map_err(in_words)?)
    }

    /// The arguments of the tool whose steps these are.
    pub(super) fn args(&self) -> Result<Map<String, Value>> {
        match self.expression(&Expression::parse("args").map_err(in_words)?)? {
            Value::Object(args) => Ok(args),
            _ => Ok(Map::new()),
        }
    }

    /// The value of an expression in an address or a subject. An argument that may be left out, and was, is named.
    pub(super) fn needed(&self, expression: &Expression, place: &str) -> Result<Value> {
        self.expression(expression).map_err(|stop| match (stop, self.left_out(expression)) {
            (WorkflowStop::Failed(mut failure), Some(name)) => {
                failure.message = format!(
                    "the {place} needs the argument {name:?}, which was not given (it is optional in the tool's `params`)"
                );
                WorkflowStop::Failed(failure)
            }
            (stop, _) => stop,
        })
    }

    /// The argument that an expression names and that was not given.
    fn left_out<'e>(&self, expression: &'e Expression) -> Option<&'e str> {
        let args = self.args().ok()?;
        let named = expression.names().iter().filter(|path| path.first().is_some_and(|root| root == "args"));
        named.filter_map(|path| path.get(1)).map(String::as_str).find(|name| !args.contains_key(*name))
    }

    /// The value of data with templates in it.
    pub(super) fn value(&self, data: &DataTemplate) -> Result<Value> {
        match data {
            DataTemplate::Plain(value) => Ok(value.clone()),
            DataTemplate::Text(template) if template.as_plain().is_some() => self.text(template).map(Value::String),
            other => within_bounds(other.evaluate(&self.context()).map_err(in_words)?),
        }
    }

    /// The values of a map.
    pub(super) fn map(&self, entries: &[(String, DataTemplate)]) -> Result<Map<String, Value>> {
        entries.iter().map(|(key, data)| Ok((key.clone(), self.value(data)?))).collect()
    }
}

/// A value that a workflow has made, if it is no more than can be stored, shown and given on.
pub(super) fn within_bounds(value: Value) -> Result<Value> {
    match check_value(&value, &MADE) {
        Ok(()) => Ok(value),
        Err(exceeded) => Err(WorkflowStop::failed(FailureKind::Template, format!("the value is too much: {exceeded}"))),
    }
}

fn in_words(error: EvaluationError) -> WorkflowStop {
    WorkflowStop::failed(FailureKind::Template, error.to_string())
}

/// No reply yet.
static NO_REPLY: LazyLock<Seen> = LazyLock::new(|| minijinja::context! { finish_reason => (), cut => false });

/// What is known of steps before they run: the value of each is null, and models have replied nothing.
fn declared(steps: &[WorkflowStep]) -> (BTreeMap<String, Seen>, BTreeMap<String, Seen>) {
    let (mut values, mut replies) = (BTreeMap::new(), BTreeMap::new());
    for step in all_steps(steps) {
        if let Some(id) = &step.id {
            values.insert(id.to_string(), Seen::from(()));
            if step.action.asks_a_model() {
                replies.insert(id.to_string(), NO_REPLY.clone());
            }
        }
    }
    (values, replies)
}
