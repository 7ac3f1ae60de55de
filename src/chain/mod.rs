//! The chain: each record of a run's log carries a keyed link to the one before it, so that whoever has the key can tell
//! whether the log is what was written. The key is not in the store; who can write the store, but has no key, can change nothing
//! unseen. Where each log ended is written down apart from the store (`anchors`), so that a log cannot be cut short, either.
//!
//! A link covers the run, the record's number, when it was written, the place and the link of the record before it, and a
//! digest of what is stored. As it is the digest and not the words, a record whose words were taken away later can still be
//! shown to have been there.
//!
//! It lies around the broker's log: whoever writes a log knows nothing of it, and no append takes another round trip.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use ring::hmac;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest as _, Sha256};

use crate::clock::Timestamp;
use crate::ids::RunId;

pub mod anchors;
mod log;

pub use log::chained;

/// What a link begins with, at the end of a payload.
const LINK_BEGIN: &[u8] = b",\"chain\":\"";
/// What a covered digest begins with.
const COVERED: &str = "~";
/// How many random bytes are in a covered digest: none is covered twice in the same way.
const NONCE: usize = 16;
/// The most bytes that a link adds to a payload.
pub const ROOM: usize = 192;

/// A digest of a payload, a link, or the mark of an anchor.
pub type ChainMark = [u8; 32];

/// What links are made with.
#[derive(Clone)]
pub struct ChainKey {
    key: hmac::Key,
    /// From before: they make no links.
    previous: Arc<[ChainKey]>,
}

impl ChainKey {
    /// Takes a secret: any text.
    pub fn new(secret: &SecretString) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
        Self { key, previous: Arc::default() }
    }

    /// Knows links that were made with these keys, too.
    pub fn with_previous(self, secrets: &[SecretString]) -> Self {
        Self { previous: secrets.iter().map(Self::new).collect(), ..self }
    }

    /// Whether something holds with this key or with one from before.
    fn any(&self, holds: impl Fn(&Self) -> bool) -> bool {
        holds(self) || self.previous.iter().any(holds)
    }

    /// The digest of a record that is not to be read any more, so that only who has the key can try words at it.
    pub fn cover(&self, run: RunId, seq: u64, digest: &ChainMark) -> String {
        let nonce = rand::random::<[u8; NONCE]>();
        let covered = self.pad(run, seq, &nonce, digest);
        format!("{COVERED}{}", URL_SAFE_NO_PAD.encode([&nonce[..], &covered].concat()))
    }

    /// What a covered digest may be, by this key and by those from before; nothing if it is not covered.
    pub fn uncover(&self, run: RunId, seq: u64, text: &str) -> Vec<ChainMark> {
        let read = text.strip_prefix(COVERED).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
        let read = read.as_deref().and_then(|bytes| bytes.split_at_checked(NONCE));
        let Some((nonce, covered)) = read.and_then(|(nonce, mark)| Some((nonce, ChainMark::try_from(mark).ok()?)))
        else {
            return Vec::new();
        };
        std::iter::once(self).chain(self.previous.iter()).map(|key| key.pad(run, seq, nonce, &covered)).collect()
    }

    fn pad(&self, run: RunId, seq: u64, nonce: &[u8], mark: &ChainMark) -> ChainMark {
        let pad = self.mark(&[b"fastagency digest v1\0", run.to_string().as_bytes(), &seq.to_be_bytes(), nonce]);
        std::array::from_fn(|at| mark[at] ^ pad[at])
    }

    fn mark(&self, parts: &[&[u8]]) -> ChainMark {
        let mut context = hmac::Context::with_key(&self.key);
        parts.iter().for_each(|part| context.update(part));
        context.sign().as_ref().try_into().expect("HMAC-SHA256 has 32 bytes")
    }
}

/// Where a log is: what the next link is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChainHead {
    /// The sequence of the last record; 0 if there is none.
    pub seq: u64,
    /// Its number in the chain, from 1; 0 if it is not chained.
    pub number: u64,
    /// Its mark.
    pub mark: ChainMark,
}

/// The link of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainLink {
    /// Its number in the chain, from 1.
    pub number: u64,
    /// When it was written, by the writer's clock.
    pub at: Timestamp,
    /// The mark.
    pub mark: ChainMark,
    /// What came before, where that is not to be found any more.
    pub before: Option<(u64, ChainMark)>,
}

/// A payload as it was before it was linked, and its link.
#[derive(Debug, Clone, Copy)]
pub struct LinkedPayload<'p> {
    body: &'p [u8],
    /// The link as it is written.
    pub text: &'p str,
    /// The link.
    pub link: ChainLink,
}

impl LinkedPayload<'_> {
    /// The payload without its link.
    pub fn payload(&self) -> Bytes {
        [self.body, b"}"].concat().into()
    }

    /// The digest of the payload without its link.
    pub fn digest(&self) -> ChainMark {
        Sha256::new().chain_update(self.body).chain_update(b"}").finalize().into()
    }
}

/// The digest of a payload that has no link.
pub fn digest(payload: &[u8]) -> ChainMark {
    Sha256::digest(payload).into()
}

/// A mark as text.
pub fn written(mark: &ChainMark) -> String {
    URL_SAFE_NO_PAD.encode(mark)
}

/// A mark from text.
pub fn read_mark(text: &str) -> Option<ChainMark> {
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

impl ChainLink {
    /// The link of a payload with this digest after a record.
    pub fn after(key: &ChainKey, run: RunId, before: &ChainHead, at: Timestamp, digest: &ChainMark) -> Self {
        // The number of what somebody else has stored may be anything.
        let number = before.number.saturating_add(1);
        let mark = key.mark(&[
            b"fastagency link v1\0",
            run.to_string().as_bytes(),
            &number.to_be_bytes(),
            &at.as_millisecond().to_be_bytes(),
            &before.seq.to_be_bytes(),
            &before.mark,
            digest,
        ]);
        Self { number, at, mark, before: None }
    }

    /// Whether it is the link of a payload with this digest after that record.
    pub fn fits(&self, key: &ChainKey, run: RunId, before: &ChainHead, digest: &ChainMark) -> bool {
        before.number.checked_add(1) == Some(self.number)
            && key.any(|key| Self::after(key, run, before, self.at, digest).mark == self.mark)
    }

    /// Writes it into a payload, which must be a JSON object that is not empty.
    fn write_into(&self, payload: &[u8]) -> Bytes {
        let Some((b'}', body)) = payload.split_last() else { return Bytes::copy_from_slice(payload) };
        let text = self.text();
        [body, LINK_BEGIN, text.as_bytes(), b"\"}"].concat().into()
    }

    fn text(&self) -> String {
        let text = format!("{}.{}.{}", self.number, self.at.as_millisecond(), written(&self.mark));
        match &self.before {
            None => text,
            Some((seq, mark)) => format!("{text}.{seq}.{}", written(mark)),
        }
    }

    /// Reads it from its text. Only exactly what `text` writes is one.
    pub fn read(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let link = Self {
            number: parts.next()?.parse().ok()?,
            at: Timestamp::from_millisecond(parts.next()?.parse().ok()?).ok()?,
            mark: read_mark(parts.next()?)?,
            before: match parts.next() {
                None => None,
                Some(seq) => Some((seq.parse().ok()?, read_mark(parts.next()?)?)),
            },
        };
        (link.text() == text).then_some(link)
    }
}

/// Takes a payload apart; `None` if it has no link.
pub fn linked(payload: &[u8]) -> Option<LinkedPayload<'_>> {
    let rest = payload.strip_suffix(b"\"}")?;
    // A link is short: what looks like the beginning of one farther away is not.
    let from = rest.len().saturating_sub(ROOM);
    let at = from + rest[from..].windows(LINK_BEGIN.len()).rposition(|window| window == LINK_BEGIN)?;
    let text = std::str::from_utf8(&rest[at + LINK_BEGIN.len()..]).ok()?;
    Some(LinkedPayload { body: &payload[..at], text, link: ChainLink::read(text)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_read_as_it_was_written_and_fits_only_its_place() {
        let (key, run) = (ChainKey::new(&"key".into()), RunId::random());
        let at = Timestamp::from_millisecond(1_795_334_391_817).unwrap();
        let payload = br#"{"text":",\"chain\":\"1.2.x\""}"#;
        let head = ChainHead { seq: 7, number: 3, mark: [1; 32] };
        let link = ChainLink::after(&key, run, &head, at, &digest(payload));
        let stored = link.write_into(payload);
        assert!(serde_json::from_slice::<serde_json::Value>(&stored).is_ok());
        assert!(stored.len() <= payload.len() + ROOM);
        let found = linked(&stored).unwrap();
        assert_eq!((found.link, found.payload(), found.digest()), (link, Bytes::from_static(payload), digest(payload)));
        assert!(link.fits(&key, run, &head, &digest(payload)));
        assert!(!link.fits(&ChainKey::new(&"other".into()), run, &head, &digest(payload)));
        let rotated = ChainKey::new(&"new".into()).with_previous(&["other".into(), "key".into()]);
        assert!(link.fits(&rotated, run, &head, &digest(payload)));
        assert!(!ChainLink::after(&rotated, run, &head, at, &digest(payload)).fits(&key, run, &head, &digest(payload)));
        assert!(!link.fits(&key, RunId::random(), &head, &digest(payload)));
        assert!(!link.fits(&key, run, &ChainHead { seq: 8, ..head }, &digest(payload)));
        assert!(!link.fits(&key, run, &ChainHead { mark: [2; 32], ..head }, &digest(payload)));
        assert!(!link.fits(&key, run, &head, &digest(b"{}")));
        assert!(linked(payload).is_none());
        let standing = ChainLink { before: Some((7, [1; 32])), ..link };
        assert_eq!(ChainLink::read(&standing.text()), Some(standing));
        assert!(standing.text().len() + LINK_BEGIN.len() + 2 <= ROOM);
        assert_eq!(ChainLink::read(&format!("0{}", link.text())), None, "one link has one form");
    }
}
