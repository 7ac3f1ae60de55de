//! Telling of a question that nobody answers: when, and who may answer, too, from then on. What was told is in the log, so that
//! no restart tells it again; when it is due is in the question, so that none is told late.

use std::time::Duration;

use super::{LONGEST_WAIT, ScopedEffects};
use crate::chat::Result;
use crate::clock::{self, Timestamp};
use crate::engine::journal::RememberedEffect;
use crate::ids::MessageId;
use crate::protocol::answerers::{AnswererRule, QuestionEscalation, QuestionReminder};
use crate::protocol::effect_key::EffectKey;
use crate::protocol::log::{EffectOutcome, RecordBody};
use crate::workflow::AnswererTerms;

/// What a question that is asked now says of who may answer.
pub(super) fn rule(terms: &AnswererTerms, now: Timestamp) -> AnswererRule {
    let after = |after: Duration| clock::after(now, after.min(LONGEST_WAIT));
    AnswererRule {
        by: terms.by.clone(),
        not_by_starter: terms.not_by_starter,
        remind_at: terms.remind.iter().map(|time| after(*time)).collect(),
        escalate: terms
            .escalate
            .iter()
            .map(|(time, to)| QuestionEscalation { at: after(*time), to: to.clone() })
            .collect(),
    }
}

/// The reminders of one question that are still to come, the next one first.
pub(super) struct ReminderSchedule {
    key: EffectKey,
    question: MessageId,
    rule: AnswererRule,
    /// Each with its number, from 1.
    steps: Vec<(u32, ReminderStep)>,
    /// How many escalations were told.
    escalated: usize,
}

struct ReminderStep {
    at: Timestamp,
    /// The place among the escalations; none: a plain reminder.
    escalation: Option<(usize, QuestionEscalation)>,
}

impl ReminderSchedule {
    /// What the log does not have yet of the reminders of the question with this key.
    pub(super) fn new(effects: &ScopedEffects, key: &EffectKey, question: MessageId, rule: &AnswererRule) -> Self {
        let plain = rule.remind_at.iter().map(|at| ReminderStep { at: *at, escalation: None });
        let escalations = rule.escalate.iter().enumerate();
        let escalations =
            escalations.map(|(place, step)| ReminderStep { at: step.at, escalation: Some((place, step.clone())) });
        let mut steps: Vec<ReminderStep> = plain.chain(escalations).collect();
        steps.sort_by_key(|step| step.at);
        let mut schedule = Self {
            key: key.clone(),
            question,
            rule: rule.clone(),
            steps: Vec::with_capacity(steps.len()),
            escalated: 0,
        };
        for (number, step) in (1..).zip(steps) {
            match effects.journal.log.remembered(&key.reminder(number)) {
                // Those before it were left out when it was told.
                Some(RememberedEffect::Did(EffectOutcome::Reminded(_))) => {
                    schedule.steps.clear();
                    schedule.took(&step);
                }
                _ => schedule.steps.push((number, step)),
            }
        }
        schedule.steps.reverse();
        schedule
    }

    /// How many escalations the log has.
    pub(super) fn escalated(&self) -> usize {
        self.escalated
    }

    /// When the next one is due.
    pub(super) fn next_at(&self) -> Option<Timestamp> {
        self.steps.last().map(|(_, step)| step.at)
    }

    fn took(&mut self, step: &ReminderStep) {
        if let Some((place, _)) = &step.escalation {
            self.escalated = place + 1;
        }
    }

    /// Tells the next one. One that is late is left out where a later one is due, too, unless it lets others answer.
    pub(super) async fn tell_next(&mut self, effects: &ScopedEffects, now: Timestamp) -> Result<()> {
        while let Some((number, step)) = self.steps.pop() {
            let is_superseded = step.escalation.is_none() && self.next_at().is_some_and(|next| next <= now);
            if is_superseded {
                continue;
            }
            let key = self.key.reminder(number);
            self.took(&step);
            let reminder = QuestionReminder {
                question: self.question,
                notice: effects.message_id(&key),
                escalated_to: step.escalation.map(|(_, escalation)| escalation.to),
                escalated: self.escalated,
                answerers: Box::new(self.rule.clone()),
            };
            let outcome = EffectOutcome::Reminded(Box::new(reminder));
            return effects.journal.log.append(RecordBody::Did { key, outcome }).await;
        }
        Ok(())
    }
}
