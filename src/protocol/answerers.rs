//! Who may answer a question, and who is told when nobody does: as a question in the log says it. Every tier decides by the
//! same rule: a gateway before it takes an answer, and the worker, which trusts no gateway's check alone.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ids::{MessageId, UserId};

/// Some people who may answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Answerers {
    /// The users.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<String>,
    /// The groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Whether the user who started the run is one of them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub starter: bool,
}

/// Who may answer a question.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AnswererRule {
    /// Only these; left out: all who may answer in the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Answerers>,
    /// Not the user who started the run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub not_by_starter: bool,
    /// When it is told again that the question is open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remind_at: Vec<Timestamp>,
    /// Who may answer, too, once nobody else has for a while; the earliest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub escalate: Vec<QuestionEscalation>,
}

/// From when on others may answer, too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QuestionEscalation {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub to: Answerers,
}

/// That nobody had answered a question for a while: who was told, and who may answer, too, from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuestionReminder {
    /// The question.
    pub question: MessageId,
    /// The id of the notice that tells of it.
    pub notice: MessageId,
    /// Who may answer, too, from now on; none: it was only told again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalated_to: Option<Answerers>,
    /// How many escalations the question has seen, this one included.
    pub escalated: usize,
    /// Who may answer, as the question says it.
    pub answerers: Box<AnswererRule>,
}

/// A user who wants to answer, as far as a gateway has authenticated them.
#[derive(Debug, Clone, Copy)]
pub struct AnsweringUser<'a> {
    /// Who; none: nobody in particular.
    pub user: Option<&'a UserId>,
    /// The groups that they belonged to at that time.
    pub groups: &'a [String],
}

impl Answerers {
    /// Whether a user is one of them.
    pub fn include(&self, answering: AnsweringUser<'_>, starter: Option<&UserId>) -> bool {
        // Somebody without a name has no groups that anybody vouches for, and may be anybody.
        answering.user.is_some_and(|user| {
            (self.starter && starter == Some(user))
                || self.users.iter().any(|name| user.is_named(name))
                || answering.groups.iter().any(|group| self.groups.contains(group))
        })
    }

    /// Whether nobody is named.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty() && self.groups.is_empty() && !self.starter
    }

    fn names(&self) -> impl Iterator<Item = String> + '_ {
        let starter = self.starter.then(|| "the user who started the run".to_owned());
        let users = self.users.iter().map(|user| format!("the user {user:?}"));
        starter.into_iter().chain(users).chain(self.groups.iter().map(|group| format!("the group {group:?}")))
    }
}

impl fmt::Display for Answerers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&listed(&self.names().collect::<Vec<_>>()))
    }
}

impl AnswererRule {
    /// Whether somebody is kept from answering who may answer in the run.
    pub fn restricts(&self) -> bool {
        self.by.is_some() || self.not_by_starter
    }

    /// Whether a user may answer. `escalated`: how many of the escalations the log has.
    pub fn lets(&self, answering: AnsweringUser<'_>, starter: Option<&UserId>, escalated: usize) -> bool {
        if self.not_by_starter && answering.user == starter {
            return false;
        }
        let escalated = self.escalate.iter().take(escalated).any(|step| step.to.include(answering, starter));
        self.by.as_ref().is_none_or(|by| by.include(answering, starter)) || escalated
    }

    /// Who may answer, in words; none: all who may answer in the run.
    pub fn in_words(&self, escalated: usize) -> Option<String> {
        let but = "but not the user who started the run";
        let Some(words) = self.names_in_words(escalated) else {
            return self.not_by_starter.then(|| format!("all who may answer in this run, {but}"));
        };
        Some(if self.not_by_starter { format!("{words}, {but}") } else { words })
    }

    /// The names of those who may answer, in words; none: nobody is named.
    pub fn names_in_words(&self, escalated: usize) -> Option<String> {
        let also = self.escalate.iter().take(escalated).flat_map(|step| step.to.names());
        let mut names: Vec<String> = Vec::new();
        for name in self.by.as_ref()?.names().chain(also) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Some(listed(&names))
    }

    /// Why a user may not answer, in a sentence that names who may; none: the user may.
    pub fn refusal(&self, answering: AnsweringUser<'_>, starter: Option<&UserId>, escalated: usize) -> Option<String> {
        if self.lets(answering, starter, escalated) {
            return None;
        }
        let who = self.in_words(escalated).unwrap_or_default();
        Some(format!("you don't have permission to answer this question: it is for {who}"))
    }
}

/// `a`, `a or b`, `a, b or c`.
fn listed(names: &[String]) -> String {
    match names {
        [] => "nobody".to_owned(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn people(users: &[&str], groups: &[&str]) -> Answerers {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Answerers { users: owned(users), groups: owned(groups), starter: false }
    }

    #[test]
    fn only_who_is_named_may_answer_and_the_starter_only_where_nothing_is_said_against_it() {
        let (ann, sue, bob) = (UserId::new("ann"), UserId::new("sue"), UserId::new("bob"));
        let support = ["support".to_owned()];
        let rule = AnswererRule { by: Some(people(&["bob"], &["support"])), ..AnswererRule::default() };
        let lets = |rule: &AnswererRule, user: &Option<UserId>, groups: &[String]| {
            rule.lets(AnsweringUser { user: user.as_ref(), groups }, ann.as_ref(), 0)
        };
        assert!(lets(&rule, &bob, &[]) && lets(&rule, &sue, &support) && lets(&rule, &ann, &support));
        assert!(!lets(&rule, &sue, &[]) && !lets(&rule, &ann, &[]));
        // Groups without a user are nobody's.
        assert!(!lets(&rule, &None, &support));
        let not_ann = AnswererRule { not_by_starter: true, ..rule };
        assert!(lets(&not_ann, &sue, &support) && !lets(&not_ann, &ann, &support));
        let anybody_else = AnswererRule { not_by_starter: true, ..AnswererRule::default() };
        assert!(lets(&anybody_else, &sue, &[]) && !lets(&anybody_else, &ann, &support));
        // Where nobody signs in everybody is the one who started it.
        assert!(!anybody_else.lets(AnsweringUser { user: None, groups: &[] }, None, 0));
    }

    #[test]
    fn the_starter_alone_answers_where_the_question_is_for_the_starter() {
        let (ann, sue) = (UserId::new("ann"), UserId::new("sue"));
        let own = Answerers { starter: true, ..Answerers::default() };
        let rule = AnswererRule { by: Some(own), ..AnswererRule::default() };
        let lets = |user: &Option<UserId>, starter: &Option<UserId>| {
            rule.lets(AnsweringUser { user: user.as_ref(), groups: &[] }, starter.as_ref(), 0)
        };
        assert!(lets(&ann, &ann) && !lets(&sue, &ann));
        assert!(
            !lets(&None, &None) && !lets(&None, &ann) && !lets(&ann, &None),
            "somebody without a name is nobody in particular"
        );
        let asked = AnsweringUser { user: sue.as_ref(), groups: &[] };
        assert_eq!(
            rule.refusal(asked, ann.as_ref(), 0).unwrap(),
            "you don't have permission to answer this question: it is for the user who started the run"
        );
        assert_eq!(serde_json::to_string(&rule).unwrap(), r#"{"by":{"starter":true}}"#);
    }

    #[test]
    fn an_escalation_adds_who_may_answer_once_the_log_has_it() {
        let (ann, sue, lea) = (UserId::new("ann"), UserId::new("sue"), UserId::new("lea"));
        let step = |to| QuestionEscalation { at: Timestamp::UNIX_EPOCH, to };
        let rule = AnswererRule {
            by: Some(people(&["sue"], &[])),
            not_by_starter: true,
            escalate: vec![step(people(&["lea", "ann"], &[])), step(people(&[], &["leads"]))],
            ..AnswererRule::default()
        };
        let lets = |user: &Option<UserId>, groups: &[String], escalated| {
            rule.lets(AnsweringUser { user: user.as_ref(), groups }, ann.as_ref(), escalated)
        };
        assert!(!lets(&lea, &[], 0) && lets(&lea, &[], 1) && lets(&sue, &[], 1));
        assert!(!lets(&ann, &[], 2), "not the one who started it, whatever the time");
        let leads = ["leads".to_owned()];
        assert!(!lets(&UserId::new("max"), &leads, 1) && lets(&UserId::new("max"), &leads, 2));
        let nobody = AnsweringUser { user: lea.as_ref(), groups: &[] };
        assert_eq!(
            rule.refusal(nobody, ann.as_ref(), 0).unwrap(),
            "you don't have permission to answer this question: it is for the user \"sue\", but not the user who started the run"
        );
        assert_eq!(
            rule.in_words(2).unwrap(),
            "the user \"sue\", the user \"lea\", the user \"ann\" or the group \"leads\", but not the user who started the run"
        );
    }

    #[test]
    fn a_rule_is_written_without_what_it_does_not_say() {
        assert_eq!(serde_json::to_string(&AnswererRule::default()).unwrap(), "{}");
        let rule =
            AnswererRule { by: Some(people(&[], &["support"])), not_by_starter: true, ..AnswererRule::default() };
        let text = r#"{"by":{"groups":["support"]},"not_by_starter":true}"#;
        assert_eq!(serde_json::to_string(&rule).unwrap(), text);
        assert_eq!(serde_json::from_str::<AnswererRule>(text).unwrap(), rule);
    }

    #[test]
    fn a_reminder_is_read_as_it_is_kept_and_older_programs_leave_its_run_to_newer_ones() {
        use crate::protocol::log::{EffectOutcome, Record, RecordBody};
        let text = concat!(
            r#"{"v":4,"id":"33333333333333333333333333333333","kind":"did","key":"ask#0/reminder1","outcome":{"reminded":{"#,
            r#""question":"11111111111111111111111111111111","notice":"22222222222222222222222222222222","#,
            r#""escalated_to":{"groups":["leads"]},"escalated":1,"answerers":{"by":{"users":["sue"]},"#,
            r#""escalate":[{"at":"2026-11-29T12:00:00Z","to":{"groups":["leads"]}}]}}}}"#
        );
        let record: Record = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&record).unwrap(), text);
        let RecordBody::Did { outcome: EffectOutcome::Reminded(reminder), .. } = &record.body else {
            panic!("{record:?}")
        };
        let lea = UserId::new("lea");
        let leads = ["leads".to_owned()];
        let answering = AnsweringUser { user: lea.as_ref(), groups: &leads };
        assert!(reminder.answerers.lets(answering, None, reminder.escalated));
        assert_eq!(Record::new(record.body.clone()).version, 4);
    }
}
