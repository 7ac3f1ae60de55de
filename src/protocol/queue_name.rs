//! The names of queues. Each workflow has one for its runs, each webhook one for its notices.

use std::fmt;

use crate::ids::Name;

/// How the text of a webhook's queue begins. No name of a workflow has a `~`, and what stands for one in a subject has only
/// hexadecimal digits after it.
const WEBHOOK: &str = "~webhook-";

/// The name of a queue.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum QueueName {
    /// Of the runs of a workflow.
    Workflow(Name),
    /// Of the notices for a webhook.
    Webhook(Name),
}

impl QueueName {
    /// Reads what [`QueueName`]'s `Display` wrote; `None`: it is no name of a queue.
    pub fn read(text: &str) -> Option<Self> {
        match text.strip_prefix(WEBHOOK) {
            Some(webhook) => Name::parse(webhook).ok().map(Self::Webhook),
            None => Name::foreign(text).ok().map(Self::Workflow),
        }
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workflow(workflow) => workflow.fmt(f),
            Self::Webhook(webhook) => write!(f, "{WEBHOOK}{webhook}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_queue_is_written_and_read() {
        let name = |text: &str| Name::foreign(text).unwrap();
        for (queue, text) in [
            (QueueName::Workflow(name("desk")), "desk"),
            (QueueName::Workflow(name("webhook--desk")), "webhook--desk"),
            (QueueName::Workflow(name("a.b/c=")), "a.b/c="),
            (QueueName::Webhook(name("desk")), "~webhook-desk"),
        ] {
            assert_eq!(queue.to_string(), text);
            assert_eq!(QueueName::read(text), Some(queue));
        }
        for text in ["", "~", "~webhook-", "~desk", "~webhook-a.b"] {
            assert_eq!(QueueName::read(text), None, "{text}");
        }
    }
}
