//! Who may answer a question, as a workflow's file says it: `by`, `not_by_starter`, `remind` and `escalate`.

use std::sync::Arc;
use std::time::Duration;

use super::shapes::{ANSWERERS, ESCALATE};
use super::{StepAction, Workflow};
use crate::problem::Problem;
use crate::protocol::answerers::Answerers;
use crate::yaml::{FieldReader, MapReader};

/// Who may answer a question, and who is told when nobody does.
#[derive(Debug, Clone)]
pub struct AnswererTerms {
    /// Only these; none: all who may answer in the run.
    pub by: Option<Answerers>,
    /// Not the user who started the run.
    pub not_by_starter: bool,
    /// After how long it is told again that the question is open.
    pub remind: Vec<Duration>,
    /// Who may answer, too, after how long; the shortest time first.
    pub escalate: Vec<(Duration, Answerers)>,
    /// A problem at the place of the first of these keys; its message is to be filled in.
    pub problem: Problem,
}

/// The most reminders, and the most escalations, of one question.
const MOST_STEPS: usize = 20;

/// Reads the keys of a question, an approval or an agent; none: it has none of them.
pub(super) fn answerers(fields: &MapReader<'_>) -> Option<Arc<AnswererTerms>> {
    let key = ["by", "not_by_starter", "remind", "escalate"].into_iter().find(|key| fields.get(key).is_some())?;
    let by = fields.get("by").and_then(|field| members(&field));
    let remind = fields.read("remind", |field| {
        let after = |field: &FieldReader<'_>| field.duration().filter(|after| is_some_time(field, *after));
        let times: Vec<_> = several(field)?.iter().filter_map(after).collect();
        Some(times)
    });
    let escalate = fields.read("escalate", |field| Some(several(field)?.iter().filter_map(escalation).collect()));
    let mut terms = AnswererTerms {
        by,
        not_by_starter: fields.read("not_by_starter", FieldReader::bool).unwrap_or(false),
        remind: remind.unwrap_or_default(),
        escalate: escalate.unwrap_or_default(),
        problem: fields.problem_at_key(key, ""),
    };
    let named = terms.by.iter().chain(terms.escalate.iter().map(|(_, to)| to));
    if terms.not_by_starter
        && named.into_iter().any(|members| members.starter)
        && let Some(field) = fields.get("not_by_starter")
    {
        field.note("the user who started the run cannot be asked (`starter: true`) and kept from answering");
    }
    terms.remind.sort();
    terms.escalate.sort_by_key(|(after, _)| *after);
    Some(Arc::new(terms))
}

/// The items of a list, or the one that stands for itself.
fn several<'f>(field: &FieldReader<'f>) -> Option<Vec<FieldReader<'f>>> {
    if !field.is_list() {
        return Some(vec![field.clone()]);
    }
    let items = field.items()?;
    if items.len() > MOST_STEPS {
        field.note(format!("{} of them; the most are {MOST_STEPS}", items.len()));
    }
    Some(items)
}

fn is_some_time(field: &FieldReader<'_>, after: Duration) -> bool {
    if after.is_zero() {
        field.note("this must be longer than no time");
    }
    !after.is_zero()
}

fn escalation(field: &FieldReader<'_>) -> Option<(Duration, Answerers)> {
    let fields = field.fields(&ESCALATE)?;
    let after = fields.read("after", |field| field.duration().filter(|after| is_some_time(field, *after)));
    let to = fields.get("to").and_then(|field| members(&field));
    Some((after?, to?))
}

/// Some people, of whom there must be at least one.
fn members(field: &FieldReader<'_>) -> Option<Answerers> {
    let hint = "write: { groups: [support] }, { users: [alice] }, { starter: true }, or several of them";
    if !field.is_map() {
        field.note_with_hint("this names people", hint);
        return None;
    }
    let fields = field.fields(&ANSWERERS)?;
    let names = |key: &'static str| {
        let text = |field: &FieldReader<'_>| field.text().map(str::to_owned);
        fields.read(key, |field| Some(field.items()?.iter().filter_map(text).collect::<Vec<_>>())).unwrap_or_default()
    };
    let starter = fields.read("starter", FieldReader::bool).unwrap_or(false);
    let members = Answerers { users: names("users"), groups: names("groups"), starter };
    if members.is_empty() {
        field.note_with_hint("this names nobody, so nobody could answer", hint);
        return None;
    }
    Some(members)
}

/// All that a workflow says of who may answer: of its agents, its tools, its sets of tools, its steps and the managers of its groups.
pub fn answerer_terms(workflow: &Workflow) -> Vec<&AnswererTerms> {
    let agents = workflow.agents.values();
    let mut terms: Vec<&AnswererTerms> = agents.filter_map(|agent| agent.answerers.as_deref()).collect();
    terms.extend(workflow.tools.approvals().filter_map(|(_, approval)| approval.answerers.as_deref()));
    terms.extend(workflow.every_step().into_iter().filter_map(|step| match &step.action {
        StepAction::TextInput { asking, .. }
        | StepAction::MultipleChoice { asking, .. }
        | StepAction::Form { asking, .. } => asking.answerers.as_deref(),
        StepAction::GroupChat(chat) => chat.manager.answerers.as_deref(),
        StepAction::Group(group) => group.manager.answerers.as_deref(),
        _ => None,
    }));
    terms
}
