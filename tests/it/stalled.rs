//! A consumer that gets nothing any more, no messages and no signs of life, while everything else on its connection goes on.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use crate::support::deployment::{Deployment, LESSON, claims, llms, question};
use crate::support::eventually::eventually;
use crate::support::nats_server::NatsServer;
use crate::support::project::Project;

/// Stands between a worker and the server, and can swallow what comes for the subscription that new runs come to.
#[derive(Default)]
struct Proxy {
    /// The subscription that the last new run came to.
    jobs: Mutex<Option<String>>,
    stalled: Mutex<Option<String>>,
}

impl Proxy {
    /// Where it listens.
    async fn start(self: &Arc<Self>, server: String) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("nats://{}", listener.local_addr().unwrap());
        let proxy = self.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = TcpStream::connect(&server).await.unwrap().into_split();
                tokio::spawn(copy(from_client, to_server));
                tokio::spawn(proxy.clone().filter(from_server, to_client));
            }
        });
        url
    }

    /// Swallows from now on what comes for the subscription that new runs have come to.
    async fn stall(&self) {
        // The first run may have been brought by a job of the queue, before the worker had this subscription.
        let jobs = eventually("a new run has come", async || self.jobs.lock().unwrap().clone()).await;
        *self.stalled.lock().unwrap() = Some(jobs);
    }

    async fn filter(self: Arc<Self>, server: OwnedReadHalf, mut client: OwnedWriteHalf) {
        let mut server = BufReader::new(server);
        loop {
            let mut message = Vec::new();
            if server.read_until(b'\n', &mut message).await.unwrap_or(0) == 0 {
                return;
            }
            let line = String::from_utf8_lossy(&message).into_owned();
            let words: Vec<&str> = line.split_whitespace().collect();
            // [H]MSG subject subscription [reply] [size of the headers] size
            if let ["MSG" | "HMSG", _, subscription, .., size] = words.as_slice() {
                let mut payload = vec![0; size.parse::<usize>().expect("a size") + 2];
                if server.read_exact(&mut payload).await.is_err() {
                    return;
                }
                message.extend(payload);
                // Who goes round all runs is brought their first records too.
                if words.iter().any(|word| word.starts_with("$JS.ACK.FA_RUNS.new_lesson.")) {
                    *self.jobs.lock().unwrap() = Some((*subscription).to_owned());
                }
                if self.stalled.lock().unwrap().as_deref() == Some(subscription) {
                    continue;
                }
            }
            if client.write_all(&message).await.is_err() {
                return;
            }
        }
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let _ = tokio::io::copy(&mut from, &mut to).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_falls_silent_is_pulled_from_anew_and_nothing_is_lost() {
    let Some(nats) = NatsServer::start("stalled::silent") else { return };
    let server = nats.url().trim_start_matches("nats://").to_owned();
    let deployment = Deployment::over(nats).pace(Duration::from_millis(50)).start().await;
    let proxy = Arc::new(Proxy::default());
    let config = format!(
        "version: 1\nnats: {{ url: '{}' }}\nworker: {{ lease: 3s }}\n{}",
        proxy.start(server).await,
        llms(&deployment.model)
    );
    let behind = Project::new(&config, &[("lesson.yaml", LESSON)]);
    let worker = behind.start("worker", &["worker"]);
    worker.says("worker ready").await;
    let first = deployment.answered().await;
    deployment.ended(&first).await;

    proxy.stall().await;
    let gateways = deployment.gateways();
    let run = gateways.start("lesson", json!({}), "swallowed").await;
    let asked = question(&gateways, &run).await;
    assert!(gateways.answer(&run, &asked, "squares").await);
    let log = deployment.ended(&run).await;
    assert_eq!(claims(&log).len(), 1, "{log:#?}");
    eventually("the worker notices", async || worker.log().contains("a consumer fell silent")).await;
}
