//! Following a run over server-sent events. A connection that ends before the run does is made again, after the last record
//! that was given; nothing is given twice and nothing is left out.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use sse_stream::{Sse, SseByteStream};
use tokio::time::Instant;

use super::event::{Body, ClientEvent, ClientRecord};
use super::{Error, GatewayClient, GatewayRefusal, Result, in_words, pause};
use crate::ids::RunId;
use crate::protocol::api::{ApiErrorBody, CaughtUpView};

/// A follower of one run.
pub struct RunFollower {
    client: GatewayClient,
    run: RunId,
    /// The sequence of the last record that was given, with all that have the same place.
    after: u64,
    /// Of the records of the next place, the last that was given: its sequence, and which of them it is.
    within: (u64, u32),
    stream: Option<BoxStream<'static, Result<Sse, sse_stream::Error>>>,
    caught_up: bool,
    ended: bool,
    attempt: u32,
    lost_since: Option<Instant>,
    said_lost: bool,
    give_up_after: Option<Duration>,
}

impl RunFollower {
    pub(super) fn new(client: GatewayClient, run: RunId, after: u64) -> Self {
        Self {
            client,
            run,
            after,
            within: (0, 0),
            stream: None,
            caught_up: false,
            ended: false,
            attempt: 0,
            lost_since: None,
            said_lost: false,
            give_up_after: None,
        }
    }

    /// Lets it fail when the gateway stays away for longer; else it tries for ever.
    pub fn give_up_after(mut self, patience: Duration) -> Self {
        self.give_up_after = Some(patience);
        self
    }

    /// The sequence behind which a follower goes on where this one is.
    pub fn after(&self) -> u64 {
        self.after
    }

    /// The next thing that happens; `None` after the record that ended the run. Safe to drop and call again.
    pub async fn next(&mut self) -> Result<Option<ClientEvent>> {
        loop {
            if self.ended {
                return Ok(None);
            }
            let Some(stream) = &mut self.stream else {
                if let Some(event) = self.connect().await? {
                    return Ok(Some(event));
                }
                continue;
            };
            match stream.next().await {
                Some(Ok(event)) => {
                    if let Some(event) = self.take(event)? {
                        return Ok(Some(event));
                    }
                }
                // The gateway went without a word, or the stream was cut.
                None => self.lose(),
                Some(Err(error)) => {
                    tracing::debug!("the stream of events broke: {error}");
                    self.lose();
                }
            }
        }
    }

    async fn connect(&mut self) -> Result<Option<ClientEvent>> {
        if self.attempt > 0 {
            tokio::time::sleep(pause(self.attempt)).await;
        }
        match self.client.events(self.run, self.after).await {
            Ok(response) => {
                let bytes =
                    response.bytes_stream().map(|chunk| chunk.map_err(|error| BrokenConnection(in_words(error))));
                self.stream = Some(SseByteStream::new(bytes).boxed());
                Ok(None)
            }
            Err(error) if error.will_pass() => {
                self.attempt += 1;
                let since = *self.lost_since.get_or_insert_with(Instant::now);
                if self.give_up_after.is_some_and(|patience| since.elapsed() >= patience) {
                    return Err(error);
                }
                let first = !std::mem::replace(&mut self.said_lost, true);
                Ok(first.then(|| ClientEvent::Lost { why: error.to_string() }))
            }
            Err(error) => Err(error),
        }
    }

    /// The stream is over. The next connection comes at once if this one gave something, since then the gateway works.
    fn lose(&mut self) {
        self.stream = None;
        self.attempt += 1;
    }

    fn take(&mut self, event: Sse) -> Result<Option<ClientEvent>> {
        let data = event.data.unwrap_or_default();
        let strange = |error: crate::bounds::UnfitJson| Error::Strange {
            url: self.client.url().to_owned(),
            what: format!("an event that cannot be read: {error}"),
        };
        let taken = match event.event.as_deref() {
            Some("record") => {
                let record = ClientRecord::parse(data).map_err(strange)?;
                // A gateway that repeats itself is not repeated.
                if record.seq <= self.after || record.step.is_some_and(|step| (record.seq, step) <= self.within) {
                    return Ok(None);
                }
                match record.step {
                    Some(step) => self.within = (record.seq, step),
                    None => self.after = record.seq,
                }
                self.ended = matches!(record.body, Body::Ended(_));
                Some(ClientEvent::Record(Box::new(record)))
            }
            Some("caught_up") => {
                let CaughtUpView { seq } = crate::bounds::parse(data.as_bytes()).map_err(strange)?;
                let first = !std::mem::replace(&mut self.caught_up, true);
                first.then_some(ClientEvent::CaughtUp { seq })
            }
            Some("delta") => Some(ClientEvent::Delta(crate::bounds::parse(data.as_bytes()).map_err(strange)?)),
            Some("goodbye") => {
                self.stream = None;
                // Not at once: another gateway takes over, or this one comes back.
                self.attempt = 1;
                None
            }
            Some("error") => {
                return Err(refused(&data).unwrap_or_else(|| Error::Strange {
                    url: self.client.url().to_owned(),
                    what: "an error without words".to_owned(),
                }));
            }
            // A comment, or what a later version tells.
            _ => None,
        };
        if self.stream.is_some() && taken.is_some() {
            self.attempt = 0;
            self.lost_since = None;
            self.said_lost = false;
        }
        Ok(taken)
    }
}

fn refused(data: &str) -> Option<Error> {
    let ApiErrorBody { error } = crate::bounds::parse(data.as_bytes()).ok()?;
    Some(Error::Refused(Box::new(GatewayRefusal { status: 0, error })))
}

/// A connection that broke, in words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct BrokenConnection(String);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::testing::{played, streamed};

    fn record(seq: u64, kind: &str) -> String {
        format!("event: record\nid: {seq}\ndata: {{\"seq\":{seq},\"at\":\"2026-11-22T10:00:00.123Z\",{kind}}}\n\n")
    }

    #[tokio::test]
    async fn a_stream_that_breaks_goes_on_after_the_last_record_that_was_given() {
        let unavailable = r#"{"error":{"code":"broker_unavailable","message":"the broker is out of reach"}}"#;
        let (url, mut asked) = played(vec![
            streamed(&format!(
                "{}{}: alive\n\nevent: caught_up\ndata: {{\"seq\":4}}\n\nevent: record\nid: 9\ndata: {{\"se",
                record(1, r#""kind":"created","workflow":"echo","params":{},"user":null"#),
                record(4, r#""kind":"parked""#),
            )),
            format!("HTTP/1.1 503 Service Unavailable\r\ncontent-length: {}\r\n\r\n{unavailable}", unavailable.len()),
            // A gateway that repeats a record, then goes down.
            streamed(&format!(
                "{}{}event: caught_up\ndata: {{\"seq\":9}}\n\nevent: goodbye\ndata: {{\"after\":9}}\n\n",
                record(4, r#""kind":"parked""#),
                record(9, r#""kind":"of a later version""#),
            )),
            streamed(&record(12, r#""kind":"ended","outcome":"completed","result":"x""#)),
        ])
        .await;
        let run = RunId::random();
        let mut follower = GatewayClient::new(&url).unwrap().follow(run, 0);
        let mut seen = Vec::new();
        while let Some(event) = follower.next().await.unwrap() {
            seen.push(match event {
                ClientEvent::Record(record) => record.seq.to_string(),
                ClientEvent::CaughtUp { seq } => format!("caught up {seq}"),
                ClientEvent::Delta(_) => "delta".to_owned(),
                ClientEvent::Lost { why } => why,
            });
        }
        assert_eq!(seen, ["1", "4", "caught up 4", "the broker is out of reach", "9", "12"]);
        let path = |after| format!("/api/runs/{run}/events?after={after}");
        assert_eq!(asked.join_next().await.unwrap().unwrap(), [path(0), path(4), path(4), path(9)]);
    }

    #[tokio::test]
    async fn a_stream_that_breaks_between_records_of_one_place_goes_on_with_the_next_of_them() {
        let step = |step: u32, kind: &str| record(9, kind).replace("\"seq\":9", &format!("\"seq\":9,\"step\":{step}"));
        let (claimed, answered) = (step(1, r#""kind":"of a later version""#), step(2, r#""kind":"parked""#));
        let ended = record(9, r#""kind":"ended","outcome":"completed","result":"x""#);
        let (url, mut asked) = played(vec![
            streamed(&format!("{}{claimed}", record(4, r#""kind":"parked""#))),
            streamed(&format!("{claimed}{answered}{ended}")),
        ])
        .await;
        let run = RunId::random();
        let mut follower = GatewayClient::new(&url).unwrap().follow(run, 0);
        let mut seen = Vec::new();
        while let Some(event) = follower.next().await.unwrap() {
            let ClientEvent::Record(record) = event else { panic!("{event:?}") };
            seen.push((record.seq, record.step));
        }
        assert_eq!(seen, [(4, None), (9, Some(1)), (9, Some(2)), (9, None)]);
        let path = |after| format!("/api/runs/{run}/events?after={after}");
        assert_eq!(asked.join_next().await.unwrap().unwrap(), [path(0), path(4)]);
    }

    #[tokio::test]
    async fn a_run_that_is_not_there_is_an_error_and_not_a_loop() {
        let body = r#"{"error":{"code":"unknown_run","message":"there is no run \"x\""}}"#;
        let (url, _asked) =
            played(vec![format!("HTTP/1.1 404 Not Found\r\ncontent-length: {}\r\n\r\n{body}", body.len())]).await;
        let error = GatewayClient::new(&url).unwrap().follow(RunId::random(), 0).next().await.unwrap_err();
        assert_eq!(error.code(), Some("unknown_run"));
    }
}
