//! Whether tools may be called: a person is asked where the tool says so, and what was allowed for the whole run is in its log,
//! so that no branch and no restart asks again.

use serde_json::{Map, Value, json};

use crate::chat::{Answer, Permission, Question, Result, Stop};
use crate::engine::effects::Scoped;
use crate::engine::steps::Execution;
use crate::message::{Approval, Content, Decision, Verdict};
use crate::workflow::{Approve, Tool};

/// A call that somebody wants to make.
pub(super) struct Wanted<'a> {
    /// What is to be called.
    pub tool: &'a Tool,
    /// What it is to be called with.
    pub arguments: &'a Map<String, Value>,
    /// Who would call it.
    pub by: &'a str,
    /// The model's call that it is; none: a step.
    pub call_id: Option<&'a str>,
}

impl Execution<'_> {
    /// Asks a person for permission, unless the run has it. To be called for every call of a tool.
    pub(super) async fn permit(&self, fx: &Scoped, wanted: Wanted<'_>) -> Result<Permission> {
        let tool = wanted.tool;
        if tool.approve == Approve::Never {
            return Ok(Permission::Granted);
        }
        let standing = format!("{}/{}", self.workflow.name, tool.name);
        // Remembered, whatever it is: another branch may be given the permission at the same time.
        if fx.once(|| json!(self.journal.is_allowed(&standing))).await? == json!(true) {
            return Ok(Permission::Granted);
        }
        let Verdict { decision, arguments, reason } = ask(fx, wanted).await?;
        match (decision, tool.approve) {
            (Decision::Deny, _) => return Ok(Permission::Denied(reason)),
            (Decision::Always, _) | (Decision::Once, Approve::First) => self.journal.allow(standing).await?,
            (Decision::Once, _) => {}
        }
        Ok(arguments.map_or(Permission::Granted, Permission::Changed))
    }
}

async fn ask(fx: &Scoped, wanted: Wanted<'_>) -> Result<Verdict> {
    let Wanted { tool, arguments, by, call_id } = wanted;
    let says = Content::Approval(Approval {
        prompt: Some(format!("May I call `{}`? ({})", tool.name, tool.description.trim().trim_end_matches('.'))),
        function_name: tool.name.to_string(),
        call_id: call_id.map(str::to_owned),
        arguments: arguments.clone(),
        schema: Some(tool.params.json.clone()),
        ..Approval::default()
    });
    let question = Question { sender: by.to_owned(), recipient: "User".to_owned(), says, timeout: None, default: None };
    let answer = match fx.ask(question).await? {
        Answer::Given(answer) => answer,
        Answer::TimedOut => return Err(Stop::Halted("a question without a deadline cannot be too late".to_owned())),
    };
    // It was checked when it came.
    serde_json::from_value(answer).map_err(|error| Stop::Halted(format!("an approval is no decision: {error}")))
}
