//! A client of `/api` that knows several gateways, and goes to another when one is gone.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Value, json};

use super::eventually::eventually_within;

/// Longer than any answer but a stream takes.
const PATIENCE: Duration = Duration::from_secs(15);
/// Longer than all gateways, or their broker, are away in any test.
const OUTAGE: Duration = Duration::from_secs(120);

#[derive(Clone)]
pub struct Gateways {
    urls: Vec<String>,
    http: reqwest::Client,
}

/// Something of a run that its client was sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub name: String,
    pub id: Option<u64>,
    pub data: Value,
}

impl Gateways {
    pub fn new(urls: impl IntoIterator<Item = String>) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().connect_timeout(PATIENCE).build().expect("a client");
        Self { urls: urls.into_iter().collect(), http }
    }

    /// Calls until some gateway gives an answer that is no fault of its own.
    pub async fn call(&self, method: &str, path: &str, key: Option<&str>, body: Option<&Value>) -> (u16, Value) {
        let attempts = AtomicUsize::new(0);
        eventually_within(OUTAGE, "a gateway answers", async || {
            let attempt = attempts.fetch_add(1, Ordering::Relaxed);
            match self.try_call(attempt, method, path, key, body).await {
                Some((status, answer)) if status < 500 => Ok((status, answer)),
                other => Err(other),
            }
        })
        .await
    }

    /// One try, at one of the gateways; `None`: no answer.
    pub async fn try_call(
        &self,
        which: usize,
        method: &str,
        path: &str,
        key: Option<&str>,
        body: Option<&Value>,
    ) -> Option<(u16, Value)> {
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        let url = format!("{}{path}", self.urls[which % self.urls.len()]);
        let mut call = self.http.request(method, url).timeout(PATIENCE);
        if let Some(key) = key {
            call = call.header("idempotency-key", key);
        }
        if let Some(body) = body {
            call = call.json(body);
        }
        let answer = call.send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.json().await.unwrap_or(Value::Null)))
    }

    /// Starts a run, once, whatever goes wrong; returns its id.
    pub async fn start(&self, workflow: &str, params: Value, key: &str) -> String {
        let body = json!({"workflow": workflow, "params": params});
        eventually_within(OUTAGE, "a worker has announced the workflow", async || {
            let (status, run) = self.call("POST", "/api/runs", Some(key), Some(&body)).await;
            match status {
                200 | 201 => Ok(run["id"].as_str().expect("an id").to_owned()),
                404 => Err(run),
                _ => panic!("{status} {run}"),
            }
        })
        .await
    }

    /// Answers a question; whether this answer counts.
    pub async fn answer(&self, run: &str, question: &str, value: &str) -> bool {
        let path = format!("/api/runs/{run}/answers/{question}");
        let (status, answer) = self.call("POST", &path, None, Some(&json!({"value": value}))).await;
        assert!(matches!(status, 202 | 409), "{status} {answer}");
        status == 202
    }

    /// Follows a run from after `after` at one of the gateways, for as long as that lives, and hands on what comes.
    /// `false` from `take` ends it.
    pub async fn follow(&self, which: usize, run: &str, after: u64, take: impl FnMut(Event) -> bool) {
        let url = format!("{}/api/runs/{run}/events", self.urls[which % self.urls.len()]);
        Self::take_events(self.http.get(url).header("last-event-id", after.to_string()), take).await;
    }

    /// The same over the stream that all pages of a person share.
    pub async fn follow_as_a_page(&self, which: usize, run: &str, after: u64, take: impl FnMut(Event) -> bool) {
        let url = format!("{}/api/events?runs={run}:{after}", self.urls[which % self.urls.len()]);
        Self::take_events(self.http.get(url), take).await;
    }

    async fn take_events(call: reqwest::RequestBuilder, mut take: impl FnMut(Event) -> bool) {
        // A stopped gateway takes connections and says nothing; a living one sends a comment every 15 s.
        const SILENCE: Duration = Duration::from_secs(20);
        let Ok(Ok(answer)) = tokio::time::timeout(PATIENCE, call.send()).await else { return };
        if answer.status() != 200 {
            return;
        }
        let mut bytes = answer.bytes_stream();
        let mut text = String::new();
        while let Ok(Some(Ok(piece))) = tokio::time::timeout(SILENCE, bytes.next()).await {
            text.push_str(&String::from_utf8_lossy(&piece));
            while let Some(end) = text.find("\n\n") {
                let event = Event::parse(&text[..end]);
                text.drain(..end + 2);
                if let Some(event) = event
                    && !take(event)
                {
                    return;
                }
            }
        }
    }

    /// All that there is to see of a run.
    pub async fn history(&self, run: &str) -> Vec<Event> {
        let attempts = AtomicUsize::new(0);
        let mut events = eventually_within(OUTAGE, "a gateway shows the whole run", async || {
            let (mut events, mut whole) = (Vec::new(), false);
            self.follow(attempts.fetch_add(1, Ordering::Relaxed), run, 0, |event| {
                whole = event.name == "caught_up";
                events.push(event);
                !whole
            })
            .await;
            if whole { Ok(events) } else { Err(events) }
        })
        .await;
        events.retain(|event| event.name == "record");
        events
    }
}

impl Event {
    /// Reads one server-sent event; `None`: a comment.
    pub fn parse(text: &str) -> Option<Self> {
        let fields: HashMap<&str, &str> = text.lines().filter_map(|line| line.split_once(": ")).collect();
        Some(Self {
            name: (*fields.get("event")?).to_owned(),
            id: fields.get("id").and_then(|id| Self::seq(id)),
            data: serde_json::from_str(fields["data"]).expect("JSON"),
        })
    }

    /// The id of a record is its number; in the stream of several runs it comes after the run's id, which also stands alone.
    fn seq(id: &str) -> Option<u64> {
        let seq = match id.split_once(':') {
            Some((_, seq)) => seq,
            None if id.len() == 32 => return None,
            None => id,
        };
        Some(seq.parse().expect("a number"))
    }
}
