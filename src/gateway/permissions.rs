//! What a caller may do with a run and its questions, as the interface shows it: a page offers no more.

use crate::auth::{Caller, KeyScope};
use crate::config::AccessRight;
use crate::gateway::GatewayState;
use crate::ids::UserId;
use crate::protocol::answerers::{AnswererRule, AnsweringUser};
use crate::protocol::api::{QuestionView, RunQuestionView, RunRight, RunView};
use crate::protocol::log::RunCreation;
use crate::run::summary::{OpenQuestion, RunSummary};

/// What a caller may do with the run of a user.
pub struct RunPermissions<'a> {
    gateway: &'a GatewayState,
    caller: &'a Caller,
    workflow: &'a str,
    owner: Option<&'a UserId>,
}

impl<'a> RunPermissions<'a> {
    /// Those of a caller with the run of this summary.
    pub fn of_summary(gateway: &'a GatewayState, caller: &'a Caller, run: &'a RunSummary) -> Self {
        let workflow = run.workflow.as_ref().map(|name| name.as_str()).unwrap_or_default();
        Self { gateway, caller, workflow, owner: run.user.as_ref() }
    }

    /// Those of a caller with a run that began so.
    pub fn of_created(gateway: &'a GatewayState, caller: &'a Caller, created: &'a RunCreation) -> Self {
        Self { gateway, caller, workflow: created.workflow.as_str(), owner: created.user.as_ref() }
    }

    fn may(&self, right: AccessRight, scope: KeyScope) -> bool {
        self.gateway.auth.may(self.caller, right, self.workflow, self.owner) && self.caller.lacks(&[scope]).is_none()
    }

    /// What the caller may do.
    pub fn rights(&self) -> Vec<RunRight> {
        let mut rights = Vec::new();
        if self.may(AccessRight::Answer, KeyScope::Answer) {
            rights.push(RunRight::Answer);
        }
        if self.may(AccessRight::Cancel, KeyScope::Cancel) {
            rights.push(RunRight::Cancel);
        }
        let is_theirs = self.caller.is_admin || self.caller.user.as_ref() == self.owner;
        if is_theirs && self.caller.lacks(&[KeyScope::Cancel]).is_none() {
            rights.extend([RunRight::Rename, RunRight::Remove]);
        }
        rights
    }

    /// Whom a question waits for, if not for the caller.
    pub fn waits_for(&self, rule: Option<&AnswererRule>, escalated: usize) -> Option<String> {
        let answering = answering(self.caller);
        let is_let = rule.is_none_or(|rule| rule.lets(answering, self.owner, escalated));
        if is_let && self.may(AccessRight::Answer, KeyScope::Answer) {
            return None;
        }
        if let Some(rule) = rule.filter(|rule| rule.restricts()) {
            return Some(rule.names_in_words(escalated).unwrap_or_else(|| "somebody else".to_owned()));
        }
        Some(self.owner.map_or_else(|| "somebody else".to_owned(), |owner| format!("the user {:?}", owner.as_str())))
    }

    /// Whether the caller may answer an open question.
    pub fn may_answer(&self, question: &OpenQuestion) -> bool {
        self.waits_for(question.answerers.as_deref(), question.escalated).is_none()
    }
}

/// A caller as somebody who answers.
pub fn answering(caller: &Caller) -> AnsweringUser<'_> {
    AnsweringUser { user: caller.user.as_ref(), groups: &caller.groups }
}

/// A run as a caller sees it: with what the caller may do with it, and the question that the caller can answer before others.
pub fn run_view(gateway: &GatewayState, caller: &Caller, summary: &RunSummary) -> RunView {
    let permissions = RunPermissions::of_summary(gateway, caller, summary);
    let mut open = summary.questions.iter();
    let question = open.find(|open| permissions.may_answer(open)).or_else(|| summary.questions.first());
    let question = question.map(|open| RunQuestionView {
        id: open.id,
        prompt: open.prompt.clone(),
        reminded_at: open.reminded_at,
        waits_for: permissions.waits_for(open.answerers.as_deref(), open.escalated),
    });
    let mut rights = permissions.rights();
    if summary.outcome.is_some() {
        // There is nothing left to answer or to stop.
        rights.retain(|right| !matches!(right, RunRight::Answer | RunRight::Cancel));
    }
    RunView { question, may: Some(rights), ..RunView::from(summary) }
}

/// An open question as a caller sees it.
pub fn question_view(
    gateway: &GatewayState,
    caller: &Caller,
    run: &RunSummary,
    question: &OpenQuestion,
) -> QuestionView {
    let permissions = RunPermissions::of_summary(gateway, caller, run);
    let waits_for = permissions.waits_for(question.answerers.as_deref(), question.escalated);
    QuestionView { waits_for, ..QuestionView::from((run, question)) }
}
