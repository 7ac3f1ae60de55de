//! The headers that we set and read, and the tokens of an acknowledgement's subject.

use std::time::Duration;

use async_nats::{HeaderMap, HeaderName, Message};

use crate::clock::Timestamp;

/// The sequence that the last message on the subject must have.
pub(super) const EXPECTED_SEQUENCE: HeaderName = async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
/// Which subject that is, where it is not the message's own.
pub(super) const EXPECTED_SUBJECT: HeaderName = HeaderName::from_static("Nats-Expected-Last-Subject-Sequence-Subject");
/// The id by which the server knows a message that comes twice.
pub(super) const MESSAGE_ID: HeaderName = async_nats::header::NATS_MESSAGE_ID;
/// How long a message lives.
pub(super) const TTL: HeaderName = HeaderName::from_static("Nats-TTL");
/// When a scheduled message is due.
pub(super) const SCHEDULE: HeaderName = HeaderName::from_static("Nats-Schedule");
/// Where a scheduled message goes then.
pub(super) const SCHEDULE_TARGET: HeaderName = HeaderName::from_static("Nats-Schedule-Target");
/// What a key-value store does with a message.
pub(super) const KV_OPERATION: HeaderName = HeaderName::from_static("KV-Operation");
/// Why the server put a marker in the place of a message.
pub(super) const MARKER_REASON: HeaderName = HeaderName::from_static("Nats-Marker-Reason");
/// Ours: the sequence of the run's record before this one. The server's own `Nats-Last-Sequence` is that of the subject,
/// and a run has two.
pub(super) const PREVIOUS: HeaderName = HeaderName::from_static("Fa-Previous");
/// Ours: the sequence in the run's log of the message that this one is a copy of.
pub(super) const COPY_OF: HeaderName = HeaderName::from_static("Fa-Seq");

/// Ours: the slot of an inbox that this message is in is open again; it holds nothing.
pub(super) const SLOT_OPEN: HeaderName = HeaderName::from_static("Fa-Open");

/// Where in a trace the message belongs.
pub(super) const TRACE: HeaderName = HeaderName::from_static(crate::traces::HEADER);

const SEQUENCE: HeaderName = async_nats::header::NATS_SEQUENCE;
const TIME_STAMP: HeaderName = async_nats::header::NATS_TIME_STAMP;
const PENDING: HeaderName = HeaderName::from_static("Nats-Num-Pending");
const SUBJECT: HeaderName = async_nats::header::NATS_SUBJECT;

/// Where a republished or directly read message is stored.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MessagePlace {
    /// Its sequence in the stream.
    pub(super) seq: u64,
    /// When it was stored.
    pub(super) at: Timestamp,
}

/// The place of a message, if it has one.
pub(super) fn place(message: &Message) -> Option<MessagePlace> {
    let headers = message.headers.as_ref()?;
    let seq = number(headers, SEQUENCE)?;
    let at = headers.get_last(TIME_STAMP)?.as_str().parse().ok()?;
    Some(MessagePlace { seq, at })
}

/// How many messages are left after a batch.
pub(super) fn pending(end: &Message) -> u64 {
    end.headers.as_ref().and_then(|headers| number(headers, PENDING)).unwrap_or(1)
}

/// The subject under which a directly read message is stored.
pub(super) fn stored_subject(message: &Message) -> Option<&str> {
    Some(message.headers.as_ref()?.get_last(SUBJECT)?.as_str())
}

/// A header's number. The last one counts: the server's come after a publisher's.
pub(super) fn number(headers: &HeaderMap, name: HeaderName) -> Option<u64> {
    headers.get_last(name)?.as_str().parse().ok()
}

/// Whether the headers say that the key is gone: deleted, or expired.
pub(super) fn is_gone(headers: Option<&HeaderMap>) -> bool {
    headers.is_some_and(|headers| {
        headers.get(MARKER_REASON).is_some()
            || headers.get(KV_OPERATION).is_some_and(|operation| matches!(operation.as_str(), "DEL" | "PURGE"))
    })
}

/// Reads a block of headers as a stream keeps it.
pub(super) fn parse_block(block: &str) -> HeaderMap {
    let lines = block.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    lines.fold(HeaderMap::new(), |mut headers, (name, value)| {
        // A name that async-nats would not take is no header of ours.
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.trim().parse::<async_nats::HeaderValue>()) {
            headers.append(name, value);
        }
        headers
    })
}

/// What the reply subject of a consumer's message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DeliveryMetadata {
    /// How often it was delivered, this time included.
    pub(super) attempt: u64,
    /// Its sequence in the stream.
    pub(super) stream_seq: u64,
    /// Its sequence among what the consumer has delivered.
    pub(super) consumer_seq: u64,
    /// When it was stored.
    pub(super) at: Timestamp,
    /// How many are left.
    pub(super) pending: u64,
}

/// Reads `$JS.ACK.<stream>.<consumer>.<attempt>.<stream seq>.<consumer seq>.<time>.<pending>`, or the longer form that has a
/// domain and an account before the stream and may have a token more at its end.
pub(super) fn delivered(reply: &str) -> Option<DeliveryMetadata> {
    let tokens: Vec<&str> = reply.strip_prefix("$JS.ACK.")?.split('.').collect();
    let numbers = match tokens.len() {
        7 => &tokens[2..],
        9.. => &tokens[4..],
        _ => return None,
    };
    Some(DeliveryMetadata {
        attempt: numbers[0].parse().ok()?,
        stream_seq: numbers[1].parse().ok()?,
        consumer_seq: numbers[2].parse().ok()?,
        at: Timestamp::from_nanosecond(numbers[3].parse().ok()?).ok()?,
        pending: numbers[4].parse().ok()?,
    })
}

/// A time to live as the server reads it: whole seconds, one at least.
pub(super) fn seconds(ttl: Duration) -> String {
    let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
    format!("{}s", seconds.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(headers: &[(&str, &str)]) -> Message {
        let headers = headers.iter().fold(HeaderMap::new(), |mut map, (name, value)| {
            map.append(*name, *value);
            map
        });
        Message {
            subject: "s".into(),
            reply: None,
            payload: Default::default(),
            headers: Some(headers),
            status: None,
            description: None,
            length: 0,
        }
    }

    #[test]
    fn a_place_is_read_from_what_the_server_adds() {
        let stored = message(&[
            ("Nats-Sequence", "12"),
            ("Nats-Time-Stamp", "2026-11-22T07:59:36.869247287Z"),
            ("Nats-Subject", "fa.run.x.did"),
        ]);
        let place = place(&stored).unwrap();
        assert_eq!((place.seq, place.at.to_string().as_str()), (12, "2026-11-22T07:59:36.869247287Z"));
        assert_eq!(stored_subject(&stored), Some("fa.run.x.did"));
        assert_eq!(super::place(&message(&[("Nats-Sequence", "x")])), None);
        assert_eq!(super::place(&message(&[("Nats-Sequence", "1"), ("Nats-Time-Stamp", "now")])), None);
    }

    #[test]
    fn both_forms_of_an_acknowledgement_are_read() {
        let at = Timestamp::from_nanosecond(1_795_334_391_817_584_680).unwrap();
        let expected = Some(DeliveryMetadata { attempt: 2, stream_seq: 50, consumer_seq: 7, at, pending: 0 });
        assert_eq!(delivered("$JS.ACK.FA_QUEUE.work_w.2.50.7.1795334391817584680.0"), expected);
        assert_eq!(delivered("$JS.ACK.hub.ACC.FA_QUEUE.work_w.2.50.7.1795334391817584680.0.x"), expected);
        assert_eq!(delivered("$JS.ACK.hub.ACC.FA_QUEUE.work_w.2.50.7.1795334391817584680.0"), expected);
        for bad in ["", "_INBOX.a", "$JS.ACK.a.b.c", "$JS.ACK.S.C.x.1.1.1.0"] {
            assert_eq!(delivered(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_block_of_headers_is_read_and_says_what_is_gone() {
        let gone = parse_block("NATS/1.0\r\nNats-Marker-Reason: MaxAge\r\nNats-TTL: 1m0s\r\n\r\n");
        assert!(is_gone(Some(&gone)));
        assert!(is_gone(Some(&parse_block("NATS/1.0\r\nKV-Operation: DEL\r\n\r\n"))));
        assert!(!is_gone(Some(&parse_block("NATS/1.0\r\nFa-Seq:7\r\nodd line\r\n\r\n"))));
        assert!(!is_gone(None));
        assert_eq!(number(&parse_block("NATS/1.0\r\nFa-Seq: 7\r\n\r\n"), COPY_OF), Some(7));
    }
}
