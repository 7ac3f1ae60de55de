//! What a tool is called with, where its arguments are sent on: what the model gave, and what it does not see.

use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

use crate::chat::{Result, WorkflowStop};
use crate::engine::call_reach::CallReach;
use crate::engine::scope::ExpressionScope;
use crate::outside::secrets::CredentialRequest;
use crate::protocol::failure::FailureKind;
use crate::workflow::expression::seen;
use crate::workflow::{InjectedArguments, SecretReceiver, WorkflowTool};

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
    reach: CallReach<'_>,
    scope: &mut ExpressionScope,
    inject: &InjectedArguments,
    key: &str,
    receiver: &SecretReceiver,
) -> Result<Map<String, Value>> {
    let mut arguments = with_data(scope, inject, key)?;
    let secrets = &reach.outside.secrets;
    let wanted = CredentialRequest { caller: reach.caller, ..CredentialRequest::default() };
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

/// A failure without the secrets that its words may hold.
pub(super) fn without_secrets(reach: CallReach<'_>, stop: WorkflowStop) -> WorkflowStop {
    match stop {
        WorkflowStop::Failed(mut failure) => {
            failure.message = reach.outside.secrets.hidden(&failure.message);
            WorkflowStop::Failed(failure)
        }
        halted => halted,
    }
}
