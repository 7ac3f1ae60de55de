//! A workflow being executed, as each of its steps sees it.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::chat::{Result, WorkflowStop};
use crate::engine::effects::CutOffCall;
use crate::engine::journal::Journal;
use crate::engine::scope::ExpressionScope;
use crate::ids::Name;
use crate::message::InnerConversation;
use crate::protocol::effect_key::EffectScope;
use crate::protocol::failure::FailureKind;
use crate::workflow::{Agent, Workflow, WorkflowStep};

/// How a body ends.
pub(super) enum BodyEnd {
    /// With the value of its last step.
    Next(Value),
    /// With a `return`: the workflow ends.
    Return(Value),
}

/// Executes steps in order. The steps of a tool are executed in the middle of a conversation, which is a step itself: so those
/// who stand below the steps are given this.
pub(super) type BodyExecutor = for<'f> fn(
    &'f WorkflowExecution<'_>,
    &'f [WorkflowStep],
    &'f mut ExpressionScope,
    EffectScope,
) -> BoxFuture<'f, Result<BodyEnd>>;

/// A workflow being executed.
pub(super) struct WorkflowExecution<'a> {
    pub workflow: &'a Workflow,
    pub journal: &'a Arc<Journal>,
    /// The conversations that it is inside of, if another workflow called it.
    pub within: Vec<InnerConversation>,
    /// The call of a tool whose steps these are, of which a person decides if it is cut off.
    pub call: Option<Arc<CutOffCall>>,
    pub execute_body: BodyExecutor,
}

impl WorkflowExecution<'_> {
    /// Executes steps in order. `at` names the place for the keys of their effects.
    pub(super) fn body<'f>(
        &'f self,
        steps: &'f [WorkflowStep],
        scope: &'f mut ExpressionScope,
        at: EffectScope,
    ) -> BoxFuture<'f, Result<BodyEnd>> {
        (self.execute_body)(self, steps, scope, at)
    }

    /// An agent of the workflow.
    pub(super) fn agent(&self, name: &Name) -> Result<&Agent> {
        // The check has seen to it; a definition that came from elsewhere may still be wrong.
        self.workflow
            .agents
            .get(name)
            .map(Arc::as_ref)
            .ok_or_else(|| WorkflowStop::failed(FailureKind::Workflow, format!("there is no agent {name:?}")))
    }
}

impl BodyEnd {
    /// What it comes to where a workflow, or a tool, ends with it.
    pub(super) fn into_returned(self) -> Value {
        match self {
            BodyEnd::Return(value) => value,
            BodyEnd::Next(_) => Value::Null,
        }
    }
}
