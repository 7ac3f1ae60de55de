//! What conversations cost, as far as it can be seen from here: messages and bytes of the NATS server, which its monitoring
//! tells, and the processor time of processes on this machine, which `/proc` tells. Each is read before and after.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::measurements::processor_time;
use crate::broker::nats::baseline;

/// How long the monitoring may take to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// A process of this machine whose processor time is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchedProcess {
    /// What it is called in the report.
    pub name: String,
    /// Its id.
    pub pid: u32,
}

/// Why there are no measurements.
#[derive(Debug, thiserror::Error)]
pub enum CostError {
    /// The monitoring does not answer.
    #[error("the NATS server's monitoring does not answer at {url}: {why}")]
    Monitoring {
        /// Where.
        url: String,
        /// Why, in words.
        why: String,
    },
    /// No such process, or one that has ended.
    #[error("the processor time of {name} cannot be read: there is no process {pid} on this machine")]
    Process {
        /// What it is called.
        name: String,
        /// The id.
        pid: u32,
    },
}

/// Reads what NATS servers and processes have done since they began.
pub struct CostMeter {
    http: reqwest::Client,
    monitors: Vec<String>,
    processes: Vec<WatchedProcess>,
}

/// What the servers and processes have done since they began.
#[derive(Debug, Clone, PartialEq)]
pub struct CostReading {
    nats: Option<NatsTraffic<u64>>,
    processes: Vec<(String, Duration)>,
}

/// Messages and bytes of clients and of replicas, over all servers that are asked.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct NatsTraffic<N> {
    /// To the server.
    pub messages_in: N,
    /// From the server.
    pub messages_out: N,
    /// To the server.
    pub bytes_in: N,
    /// From the server.
    pub bytes_out: N,
    /// Messages that were stored in streams.
    pub messages_stored: N,
}

/// What one conversation took.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ConversationCost {
    /// Of NATS, if its monitoring is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nats: Option<NatsTraffic<f64>>,
    /// Of the processes that are watched.
    pub processes: Vec<ProcessCost>,
}

/// The processor time of one process for one conversation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProcessCost {
    /// Which process.
    pub name: String,
    /// How long it kept a processor busy.
    pub processor_ms: f64,
}

impl CostMeter {
    /// One that asks the servers whose monitoring is at these addresses, and looks at these processes.
    pub fn new(http: reqwest::Client, monitors: Vec<String>, processes: Vec<WatchedProcess>) -> Self {
        Self { http, monitors, processes }
    }

    /// Whether there is nothing to read.
    pub fn is_blind(&self) -> bool {
        self.monitors.is_empty() && self.processes.is_empty()
    }

    /// Reads all of it now.
    pub async fn read(&self) -> Result<CostReading, CostError> {
        let mut nats = (!self.monitors.is_empty()).then(NatsTraffic::default);
        for monitor in &self.monitors {
            let varz = self.ask(monitor, "varz").await?;
            let jsz = self.ask(monitor, "jsz?streams=true").await?;
            if let Some(nats) = &mut nats {
                nats.add(&varz, &jsz);
            }
        }
        let processes = self.processes.iter().map(WatchedProcess::used).collect::<Result<_, _>>()?;
        Ok(CostReading { nats, processes })
    }

    async fn ask(&self, monitor: &str, what: &str) -> Result<Value, CostError> {
        let url = format!("{}/{what}", monitor.trim_end_matches('/'));
        let failed = |why: String| CostError::Monitoring { url: url.clone(), why };
        let answer = self.http.get(&url).timeout(ANSWER_WAIT).send().await;
        let answer = answer.and_then(reqwest::Response::error_for_status).map_err(|error| failed(error.to_string()))?;
        let body = answer.bytes().await.map_err(|error| failed(error.to_string()))?;
        crate::bounds::parse(&body).map_err(|error| failed(error.to_string()))
    }
}

impl WatchedProcess {
    fn used(&self) -> Result<(String, Duration), CostError> {
        let used = processor_time(&self.pid.to_string());
        let used = used.ok_or_else(|| CostError::Process { name: self.name.clone(), pid: self.pid })?;
        Ok((self.name.clone(), used))
    }
}

impl NatsTraffic<u64> {
    /// Adds what one server tells. A stream counts where its leader is, so that its replicas are not counted again.
    fn add(&mut self, varz: &Value, jsz: &Value) {
        let count = |key: &str| varz[key].as_u64().unwrap_or_default();
        self.messages_in += count("in_msgs");
        self.messages_out += count("out_msgs");
        self.bytes_in += count("in_bytes");
        self.bytes_out += count("out_bytes");
        let server = varz["server_name"].as_str();
        let accounts = jsz["account_details"].as_array().into_iter().flatten();
        let streams = accounts.flat_map(|account| account["stream_detail"].as_array().into_iter().flatten());
        let led =
            streams.filter(|stream| stream["cluster"]["leader"].as_str().is_none_or(|leader| Some(leader) == server));
        let kept = led.filter(|stream| stream["name"].as_str() != Some(baseline::STREAM));
        self.messages_stored +=
            kept.map(|stream| stream["state"]["last_seq"].as_u64().unwrap_or_default()).sum::<u64>();
    }
}

impl CostReading {
    /// What each of `conversations` took since `before`, which the same meter has read.
    pub fn since(&self, before: &Self, conversations: usize) -> ConversationCost {
        let each = |total: f64| total / conversations.max(1) as f64;
        let grown = |now: u64, then: u64| each(now.saturating_sub(then) as f64);
        let nats = self.nats.zip(before.nats).map(|(now, then)| NatsTraffic {
            messages_in: grown(now.messages_in, then.messages_in),
            messages_out: grown(now.messages_out, then.messages_out),
            bytes_in: grown(now.bytes_in, then.bytes_in),
            bytes_out: grown(now.bytes_out, then.bytes_out),
            messages_stored: grown(now.messages_stored, then.messages_stored),
        });
        let processes = self.processes.iter().zip(&before.processes);
        let processes = processes.map(|((name, now), (_, then))| ProcessCost {
            name: name.clone(),
            processor_ms: each(now.saturating_sub(*then).as_secs_f64() * 1000.0),
        });
        ConversationCost { nats, processes: processes.collect() }
    }
}

impl ConversationCost {
    /// The processor time of all processes together, if any is watched.
    pub fn processor_ms(&self) -> Option<f64> {
        (!self.processes.is_empty()).then(|| self.processes.iter().map(|process| process.processor_ms).sum())
    }
}

impl fmt::Display for ConversationCost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("each conversation")?;
        if let Some(nats) = &self.nats {
            let NatsTraffic { messages_in, messages_out, bytes_in, bytes_out, messages_stored } = nats;
            write!(
                f,
                "\n  NATS messages    {messages_in:.1} to the server, {messages_out:.1} from it, {messages_stored:.1} stored\
                 \n  NATS bytes       {bytes_in:.0} to the server, {bytes_out:.0} from it"
            )?;
        }
        if let Some(whole) = self.processor_ms() {
            write!(f, "\n  processor time   {whole:.2} ms")?;
            let parts: Vec<String> =
                self.processes.iter().map(|part| format!("{} {:.2} ms", part.name, part.processor_ms)).collect();
            write!(f, " ({})", parts.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reading(messages: u64, stored: u64, worker_millis: u64) -> CostReading {
        let varz =
            json!({"server_name": "one", "in_msgs": messages, "out_msgs": 2 * messages, "in_bytes": 10 * messages});
        let stream = |name: &str, last: u64| json!({"name": name, "state": {"last_seq": last}});
        let jsz = json!({"account_details": [
            {"stream_detail": [stream("FA_RUNS", stored), stream(baseline::STREAM, 1_000_000)]},
            {"stream_detail": [stream("FA_QUEUE", stored)]},
            {},
        ]});
        let mut nats = NatsTraffic::default();
        nats.add(&varz, &jsz);
        CostReading { nats: Some(nats), processes: vec![("worker".to_owned(), Duration::from_millis(worker_millis))] }
    }

    #[test]
    fn a_conversation_costs_what_was_added_while_it_was_held() {
        let cost = reading(1500, 600, 2500).since(&reading(500, 100, 500), 100);
        let nats = cost.nats.unwrap();
        assert_eq!((nats.messages_in, nats.messages_out, nats.bytes_in), (10.0, 20.0, 100.0));
        assert_eq!(nats.messages_stored, 10.0, "of both streams, and not of the baseline's");
        assert_eq!(cost.processor_ms(), Some(20.0));
        assert!(cost.to_string().ends_with("20.00 ms (worker 20.00 ms)"), "{cost}");
    }

    #[test]
    fn a_stream_with_replicas_is_counted_once() {
        let mut traffic = NatsTraffic::default();
        for server in ["one", "two", "three"] {
            let stream = json!({"name": "FA_RUNS", "cluster": {"leader": "two"}, "state": {"last_seq": 7}});
            traffic.add(&json!({"server_name": server}), &json!({"account_details": [{"stream_detail": [stream]}]}));
        }
        assert_eq!(traffic.messages_stored, 7);
    }

    #[test]
    fn a_process_that_is_not_there_is_named() {
        let nobody = WatchedProcess { name: "gateway".to_owned(), pid: u32::MAX };
        let said = nobody.used().unwrap_err().to_string();
        assert!(said.contains("gateway") && said.contains(&u32::MAX.to_string()), "{said}");
    }
}
