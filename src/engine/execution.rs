//! A workflow being executed, as each of its steps sees it.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::chat::{Result, Stop};
use crate::engine::journal::Journal;
use crate::engine::scope::Scope;
use crate::ids::Name;
use crate::message::Within;
use crate::protocol::effect_key::EffectScope;
use crate::protocol::failure::FailureKind;
use crate::workflow::{Agent, Step, Workflow};

/// How a body ends.
pub(super) enum Flow {
    /// With the value of its last step.
    Next(Value),
    /// With a `return`: the workflow ends.
    Return(Value),
}

/// Executes steps in order. The steps of a tool are executed in the middle of a conversation, which is a step itself: so those
/// who stand below the steps are given this.
pub(super) type ExecuteBody =
    for<'f> fn(&'f Execution<'_>, &'f [Step], &'f mut Scope, EffectScope) -> BoxFuture<'f, Result<Flow>>;

/// A workflow being executed.
pub(super) struct Execution<'a> {
    pub workflow: &'a Workflow,
    pub journal: &'a Arc<Journal>,
    /// The conversations that it is inside of, if another workflow called it.
    pub within: Vec<Within>,
    pub execute_body: ExecuteBody,
}

impl Execution<'_> {
    /// Executes steps in order. `at` names the place for the keys of their effects.
    pub(super) fn body<'f>(
        &'f self,
        steps: &'f [Step],
        scope: &'f mut Scope,
        at: EffectScope,
    ) -> BoxFuture<'f, Result<Flow>> {
        (self.execute_body)(self, steps, scope, at)
    }

    /// An agent of the workflow.
    pub(super) fn agent(&self, name: &Name) -> Result<&Agent> {
        // The check has seen to it; a definition that came from elsewhere may still be wrong.
        self.workflow
            .agents
            .get(name)
            .map(Arc::as_ref)
            .ok_or_else(|| Stop::failed(FailureKind::Workflow, format!("there is no agent {name:?}")))
    }
}

impl Flow {
    /// What it comes to where a workflow, or a tool, ends with it.
    pub(super) fn into_returned(self) -> Value {
        match self {
            Flow::Return(value) => value,
            Flow::Next(_) => Value::Null,
        }
    }
}
