//! Whether tools may be called: a person is asked where the tool says so, and what was allowed for the whole run is in its log,
//! so that no branch and no restart asks again.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::chat::{CallPermission, CallPermit, HumanQuestion, HumanReply, Result, WorkflowStop, checked_arguments};
use crate::engine::Error;
use crate::engine::answered_passwords::revealed;
use crate::engine::effects::{ScopedEffects, ask_and_show};
use crate::engine::execution::WorkflowExecution;
use crate::message::{
    ApprovalAnswer, ApprovalDecision, ApprovalQuestion, CalledTool, MessageContent, differ_in_number_format_only,
};
use crate::protocol::failure::FailureKind;
use crate::protocol::participant::USER;
use crate::workflow::{ApprovalRule, ApprovalTimeout, InjectedSecret, WorkflowTool};

/// What a tool is given besides these arguments.
pub(super) type InjectedValues<'a> = &'a (dyn Fn(&Map<String, Value>) -> Map<String, Value> + Sync);

/// A call that somebody wants to make.
#[derive(Clone, Copy)]
pub(super) struct RequestedCall<'a> {
    /// What is to be called.
    pub tool: &'a WorkflowTool,
    /// What it is to be called with.
    pub arguments: &'a Map<String, Value>,
    /// What it is given besides, with the arguments that it is called with in the end.
    pub injected: InjectedValues<'a>,
    /// Who would call it.
    pub by: &'a str,
    /// The model's call that it is; none: a step.
    pub call_id: Option<&'a str>,
}

/// A call as a digest stands for it.
#[derive(Clone, Copy)]
pub(super) struct DigestedCall<'a> {
    /// What is called.
    pub tool: &'a WorkflowTool,
    /// Who calls it.
    pub by: &'a str,
    /// What it is called with.
    pub arguments: &'a Map<String, Value>,
    /// What it is given besides.
    pub injected: &'a Map<String, Value>,
}

/// What a person said to a call.
struct PermissionAnswer {
    verdict: ApprovalAnswer,
    /// Those of the question.
    digest: Option<String>,
    salt: Option<String>,
    /// The arguments as they were shown.
    shown: Map<String, Value>,
}

/// Asks a person for permission, unless the run has it. To be called for every call of a tool.
pub(super) async fn permit(
    execution: &WorkflowExecution<'_>,
    effects: &ScopedEffects,
    wanted: RequestedCall<'_>,
) -> Result<CallPermission> {
    let RequestedCall { tool, by, .. } = wanted;
    if tool.approve.rule == ApprovalRule::Never {
        return Ok(CallPermission::Granted(None));
    }
    let standing = format!("{}/{}", execution.workflow.name, tool.name);
    let log = &execution.journal.log;
    let digest_with = |arguments: &Map<String, Value>, salt: &str| {
        let injected = (wanted.injected)(arguments);
        digest_of(execution, DigestedCall { tool, by, arguments, injected: &injected }, salt)
    };
    let allowed_call = || {
        let is_this = |permit: &CallPermit| digest_with(wanted.arguments, &permit.salt) == permit.digest;
        log.allowed_calls(&standing).into_iter().find(is_this)
    };
    // Remembered, whatever it is: another branch may be given the permission at the same time.
    if effects.once(|| json!(log.is_allowed(&standing) || allowed_call().is_some())).await? == json!(true) {
        return match log.is_allowed(&standing) {
            true => Ok(CallPermission::Granted(None)),
            false => {
                allowed_call().map(|permit| CallPermission::Granted(Some(permit))).ok_or_else(|| not_allowed(tool))
            }
        };
    }
    let PermissionAnswer { verdict: ApprovalAnswer { decision, arguments, reason, .. }, digest, salt, shown } =
        ask_for_permission(execution, effects, wanted).await?;
    if decision == ApprovalDecision::Deny {
        return Ok(CallPermission::Denied(reason));
    }
    // What a person changed them to, with what the tool fills in: exactly that is called. What does not fit the tool is told later.
    let others = arguments.map(|others| {
        let others = revealed(&others, &shown, wanted.arguments);
        checked_arguments(tool, others.clone()).unwrap_or(others)
    });
    let permit =
        salt.map(|salt| CallPermit { digest: digest_with(others.as_ref().unwrap_or(wanted.arguments), &salt), salt });
    match (decision, tool.approve.rule, &permit, digest) {
        (ApprovalDecision::Always, ..) | (ApprovalDecision::Once, ApprovalRule::First, ..) => {
            log.allow(standing.into()).await?
        }
        (ApprovalDecision::Same, _, Some(permit), Some(asked)) => {
            log.allow_call(&standing, permit.clone(), asked).await?
        }
        _ => {}
    }
    Ok(match others {
        Some(others) => CallPermission::Changed(others, permit),
        None => CallPermission::Granted(permit),
    })
}

/// Refuses to call what was not allowed in exactly this form. To be called right before the call is made.
pub(super) fn check_permit(
    execution: &WorkflowExecution<'_>,
    call: DigestedCall<'_>,
    permit: &CallPermit,
) -> Result<()> {
    match digest_of(execution, call, &permit.salt) == permit.digest {
        true => Ok(()),
        false => Err(not_allowed(call.tool)),
    }
}

/// The digest of a call as it is shown: passwords are no part of it, as who sees it could find them by trying.
fn digest_of(execution: &WorkflowExecution<'_>, call: DigestedCall<'_>, salt: &str) -> String {
    let passwords = execution.journal.secrets.passwords();
    let (arguments, injected) = (passwords.conceal(call.arguments), passwords.conceal(call.injected));
    call_of(execution, DigestedCall { arguments: &arguments, injected: &injected, ..call }).digest(salt)
}

fn call_of<'a>(execution: &'a WorkflowExecution<'_>, call: DigestedCall<'a>) -> CalledTool<'a> {
    let DigestedCall { tool, by, arguments, injected } = call;
    let definition = execution.journal.created.definition.as_deref();
    let (workflow, tool) = (execution.workflow.name.as_str(), tool.name.as_str());
    CalledTool { workflow, definition, tool, by, arguments, injected }
}

/// Asks, and makes sure that what the person saw is what is wanted now.
async fn ask_for_permission(
    execution: &WorkflowExecution<'_>,
    effects: &ScopedEffects,
    wanted: RequestedCall<'_>,
) -> Result<PermissionAnswer> {
    let RequestedCall { tool, arguments, by, call_id, .. } = wanted;
    let passwords = execution.journal.secrets.passwords();
    let (concealed, injected) = (passwords.conceal(arguments), passwords.conceal(&(wanted.injected)(arguments)));
    let call = DigestedCall { tool, by, arguments: &concealed, injected: &injected };
    let called = call_of(execution, call);
    let salt = crate::ids::hex(&rand::random::<[u8; 16]>());
    let says = MessageContent::Approval(Box::new(ApprovalQuestion {
        prompt: Some(prompt(tool)),
        function_name: tool.name.to_string(),
        call_id: call_id.map(str::to_owned),
        arguments: concealed.clone(),
        injected: injected.clone(),
        schema: Some(tool.params.json.clone()),
        digest: Some(called.digest(&salt)),
        salt: Some(salt),
        ..ApprovalQuestion::default()
    }));
    let question = HumanQuestion {
        sender: by.to_owned(),
        recipient: USER.to_owned(),
        says,
        timeout: tool.approve.timeout,
        default: tool.approve.timeout.filter(|_| tool.approve.on_timeout == ApprovalTimeout::Deny).map(denied_after),
        answerers: tool.approve.answerers.clone(),
    };
    let (answer, shown) = ask_and_show(effects, question).await?;
    let HumanReply::Given(answer) = answer else {
        let timeout = tool.approve.timeout.unwrap_or_default();
        return Err(WorkflowStop::failed(FailureKind::Timeout, format!("nobody answered within {timeout:?}")));
    };
    // It was checked when it came.
    let verdict: ApprovalAnswer = crate::bounds::from_value(answer)
        .map_err(|error| Error::unreadable(format!("an approval is no decision ({:?})", error.classify())))?;
    let MessageContent::Approval(shown) = shown else { return Err(not_allowed(tool)) };
    let called = if shown.arguments == *arguments {
        // An older program showed the passwords themselves.
        CalledTool { arguments, ..called }
    } else if differ_in_number_format_only(&shown.arguments, &concealed) {
        // One that did not keep digits showed 1.10 as 1.1.
        CalledTool { arguments: &shown.arguments, ..called }
    } else {
        called
    };
    // One that showed nothing of what the workflow gives has no digest of it either.
    let called = if shown.injected.is_empty() { CalledTool { injected: &shown.injected, ..called } } else { called };
    let is_named = match (&shown.digest, &shown.salt) {
        (Some(digest), Some(salt)) => {
            called.digest(salt) == *digest && verdict.digest.as_ref().is_none_or(|named| named == digest)
        }
        (None, None) => true, // Asked by an older program.
        _ => false,
    };
    let is_shown = shown.arguments == *called.arguments && shown.injected == *called.injected;
    let is_same = is_named && is_shown && shown.function_name == tool.name.as_str();
    if is_same || verdict.decision == ApprovalDecision::Deny {
        Ok(PermissionAnswer { verdict, digest: shown.digest, salt: shown.salt, shown: shown.arguments })
    } else {
        Err(not_allowed(tool))
    }
}

/// What counts as the answer if nobody gives one in time.
fn denied_after(timeout: Duration) -> Value {
    json!({ "decision": ApprovalDecision::Deny, "reason": format!("nobody answered within {timeout:?}") })
}

/// What a person is asked. Secrets among the arguments are named, and no part of what is shown and can be changed.
fn prompt(tool: &WorkflowTool) -> String {
    let mut words = format!("May I call `{}`? ({})", tool.name, tool.description.trim().trim_end_matches('.'));
    if let [first, more @ ..] = tool.secrets() {
        let shown = |one: &InjectedSecret| format!("`{}`: the secret `{}`", one.argument, one.secret);
        words = format!("{words} It is also given {}", shown(first));
        more.iter().for_each(|one| words = format!("{words}, {}", shown(one)));
        words.push('.');
    }
    words
}

fn not_allowed(tool: &WorkflowTool) -> WorkflowStop {
    let why = format!(
        "what was allowed is not what the tool {:?} would be called with now; it was not called",
        tool.name.as_str()
    );
    WorkflowStop::failed(FailureKind::Replay, why)
}
