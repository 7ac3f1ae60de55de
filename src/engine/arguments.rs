//! What a tool is called with, where its arguments are sent on: what the model gave, and what it does not see.

use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

use crate::chat::{Result, WorkflowStop};
use crate::engine::effects::ScopedEffects;
use crate::engine::scope::ExpressionScope;
use crate::ids::{RunId, UserId};
use crate::outside::secrets::{CredentialRequest, Secrets};
use crate::outside::toolset::ListedTool;
use crate::protocol::failure::FailureKind;
use crate::protocol::log::{RunCreation, RunOrigin};
use crate::workflow::expression::{seen, seen_map};
use crate::workflow::{InjectedArguments, InjectedSecret, SecretReceiver, ToolsetDeclaration, Workflow, WorkflowTool};

/// The arguments, without the secrets among them.
pub(super) fn with_data(
    scope: &mut ExpressionScope,
    inject: &InjectedArguments,
    key: &str,
) -> Result<Map<String, Value>> {
    let mut arguments = scope.args()?;
    // What a model gives for a secret is not sent, whatever becomes of the secret.
    arguments.retain(|name, _| !inject.secrets.iter().any(|one| one.argument == *name));
    if !inject.data.is_empty() {
        let hidden = scope.bind("call", seen(&json!({ "id": key })));
        let injected = scope.map(&inject.data);
        scope.unbind("call", hidden);
        arguments.extend(injected?);
    }
    Ok(arguments)
}

/// What stands for the key of a call that is not made yet.
const CALL_ID: &str = "[the id of the call]";

/// What the workflow gives a tool besides its arguments, for the person who is asked about the call. Secrets are no part of it. If it
/// cannot be made, there is none: the call fails by it.
pub(super) fn shown_data(
    scope: &ExpressionScope,
    tool: &WorkflowTool,
    arguments: &Map<String, Value>,
    context: Option<&Map<String, Value>>,
) -> Map<String, Value> {
    match tool.injected().filter(|inject| !inject.data.is_empty()) {
        None => Map::new(),
        Some(inject) => {
            let mut within = scope.of_tool(tool, arguments, context);
            within.bind("call", seen(&json!({ "id": CALL_ID })));
            within.map(&inject.data).unwrap_or_default()
        }
    }
}

/// All arguments, for who gets them now and nobody else.
pub(super) async fn with_injected(
    effects: &ScopedEffects,
    scope: &mut ExpressionScope,
    inject: &InjectedArguments,
    key: &str,
    receiver: &SecretReceiver,
) -> Result<Map<String, Value>> {
    let arguments = with_data(scope, inject, key)?;
    let request = CredentialRequest { caller: Some(&effects.journal.caller_token), ..CredentialRequest::default() };
    with_secrets(&effects.journal.context.outside.secrets, request, arguments, inject, receiver).await
}

async fn with_secrets(
    secrets: &Secrets,
    wanted: CredentialRequest<'_>,
    mut arguments: Map<String, Value>,
    inject: &InjectedArguments,
    receiver: &SecretReceiver,
) -> Result<Map<String, Value>> {
    let failed = |why: String| WorkflowStop::failed(FailureKind::Tool, secrets.hidden(&why));
    for one in &inject.secrets {
        if let Some(why) = secrets.refuses_receiver(&one.secret, receiver) {
            return Err(failed(why));
        }
        let value = secrets.value(&one.secret, wanted).await.map_err(&failed)?;
        arguments.insert(one.argument.clone(), value.expose_secret().into());
    }
    Ok(arguments)
}

/// A call of a tool that no run makes.
#[derive(Debug)]
pub struct SingleCall<'a> {
    /// The workflow that has the tool.
    pub workflow: &'a Workflow,
    /// The set that has it.
    pub set: &'a ToolsetDeclaration,
    /// The tool.
    pub tool: &'a ListedTool,
    /// What it is called with.
    pub arguments: &'a Map<String, Value>,
    /// What stands for the run, and for the key of the call.
    pub run: RunId,
    /// Who calls.
    pub user: Option<UserId>,
}

impl SingleCall<'_> {
    /// All arguments, with those that the workflow gives. The secrets are apart where the owner of the tool alone knows who gets them.
    pub async fn arguments(&self, secrets: &Secrets) -> std::result::Result<SingleCallArguments, String> {
        let inject = self.set.injected_into(self.tool);
        let created = RunCreation {
            workflow: self.workflow.name.clone(),
            definition: None,
            params: Map::new(),
            user: self.user.clone(),
            groups: Box::default(),
            origin: RunOrigin::Gateway,
            trace: None,
            signature: None,
        };
        let mut scope = ExpressionScope::new(self.workflow, self.run, &created, &created.params);
        scope.bind("args", seen_map(self.arguments));
        scope.bind("context", seen_map(&Map::new()));
        let in_words = |stop: WorkflowStop| match stop {
            WorkflowStop::Failed(failure) => failure.message,
            stop => format!("{stop:?}"),
        };
        let data = with_data(&mut scope, &inject, &self.run.to_string()).map_err(in_words)?;
        match self.set.secret_receiver() {
            SecretReceiver::Api => Ok(SingleCallArguments { arguments: data, secrets: inject.secrets }),
            receiver => {
                let wanted = CredentialRequest::default();
                let arguments = with_secrets(secrets, wanted, data, &inject, &receiver).await.map_err(in_words)?;
                Ok(SingleCallArguments { arguments, secrets: Vec::new() })
            }
        }
    }
}

/// What a tool is called with.
#[derive(Debug)]
pub struct SingleCallArguments {
    /// The arguments.
    pub arguments: Map<String, Value>,
    /// The secrets among them that its owner puts in.
    pub secrets: Vec<InjectedSecret>,
}

/// A failure without the secrets that its words may hold.
pub(super) fn without_secrets(effects: &ScopedEffects, stop: WorkflowStop) -> WorkflowStop {
    match stop {
        WorkflowStop::Failed(mut failure) => {
            failure.message = effects.journal.context.outside.secrets.hidden(&failure.message);
            WorkflowStop::Failed(failure)
        }
        halted => halted,
    }
}
