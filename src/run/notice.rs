//! Telling programs outside that a run waits for a person, or has ended. A notice is queued before the record that it tells
//! of is appended, so that no crash can lose it; whoever delivers it looks whether the record is there. So a notice may come
//! twice, under the same id, and is never lost.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::broker::{self, Broker, Job, JobReason};
use crate::clock::ExponentialBackoff;
use crate::config::{WebhookConfig, WebhookTrigger};
use crate::ids::{MessageId, Name, RunId};
use crate::protocol::log::{EffectOutcome, RecordBody};
use crate::protocol::queue_name::QueueName;

/// The longest pause between two tries while the broker is away.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Whom to tell what.
pub struct WebhookNotices {
    broker: Broker,
    queues: Vec<(QueueName, Vec<WebhookTrigger>)>,
}

impl WebhookNotices {
    /// Notices for these webhooks.
    pub fn new(broker: Broker, webhooks: &BTreeMap<Name, WebhookConfig>) -> Self {
        let queues = webhooks.iter().map(|(name, webhook)| (QueueName::Webhook(name.clone()), webhook.on.clone()));
        let queues = queues.collect();
        Self { broker, queues }
    }

    /// Queues the notices of a record that is about to be appended, if it is one that anybody is told of. While the broker is
    /// away it waits, as the record itself will.
    pub async fn announce(&self, run: RunId, body: &RecordBody) -> broker::Result<()> {
        let Some((occasion, about)) = occasion(body) else { return Ok(()) };
        let job = Job { run, reason: JobReason::Notice { about } };
        for (queue, _) in self.queues.iter().filter(|(_, on)| on.contains(&occasion)) {
            let mut backoff = ExponentialBackoff::new(Duration::from_millis(50), LONGEST_PAUSE);
            while let Err(error) = self.broker.queue.enqueue(queue, &job, &format!("{queue}.{run}.{about}")).await {
                let (broker::Error::Unavailable { .. } | broker::Error::Full { .. }) = error else { return Err(error) };
                backoff.pause().await;
            }
        }
        Ok(())
    }
}

/// What a record is the occasion for, and the message that it carries.
pub fn occasion(body: &RecordBody) -> Option<(WebhookTrigger, MessageId)> {
    match body {
        RecordBody::Said { message, .. } if message.says.asks() => Some((WebhookTrigger::Waiting, message.uuid)),
        RecordBody::Did { outcome: EffectOutcome::Reminded(reminder), .. } => {
            let is_escalated = reminder.escalated_to.is_some();
            Some((if is_escalated { WebhookTrigger::Escalated } else { WebhookTrigger::Reminded }, reminder.notice))
        }
        RecordBody::Ended(ended) => Some((WebhookTrigger::Ended, ended.message.uuid)),
        _ => None,
    }
}
