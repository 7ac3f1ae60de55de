//! Serving HTTP on a listener, for gateway and page: each connection with an end to its patience and a bound to what it holds,
//! so that a client that opens many connections and says little (slow loris), sends much and never ends, or reads nothing,
//! costs a moment and a few kilobytes.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{ConnectInfo, Request};
use axum::http::StatusCode;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use ipnet::IpNet;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::MissedTickBehavior;
use tower::ServiceExt;

use crate::lifecycle::Shutdown;

/// What files of secrets and data are called; what is served to everybody is never called so.
const PRIVATE_KINDS: [&str; 17] = [
    "key",
    "pem",
    "p12",
    "pfx",
    "jks",
    "creds",
    "nk",
    "seed",
    "sqlite",
    "sqlite3",
    "sqlite-wal",
    "sqlite-shm",
    "db",
    "env",
    "conf",
    "kdbx",
    "htpasswd",
];

/// How copies of a file end.
const COPIES: [&str; 5] = [".bak", ".old", ".orig", ".save", ".swp"];

/// Whether a file is called as secrets, data or a configuration of ours are.
pub fn is_private_file(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    // Copies that editors and people leave (`server.key.bak`, `access.yaml~`), too.
    let mut original = name.trim_end_matches('~');
    while let Some(before) = COPIES.iter().find_map(|copy| original.strip_suffix(copy)) {
        original = before.trim_end_matches('~');
    }
    let is_kind = original.rsplit_once('.').is_some_and(|(_, kind)| PRIVATE_KINDS.contains(&kind));
    let is_ours = ["fastagency.y", "access.y"].iter().any(|ours| name.starts_with(ours));
    // `ssh-keygen` calls its keys so; the public halves may be served.
    let is_ssh_key = original.starts_with("id_") && !original.contains('.');
    is_kind || is_ours || is_ssh_key
}

mod connection_slots;
mod counted_stream;
mod served_body;

pub use connection_slots::{ALWAYS_FREE, ByteBudget, ConnectionSlot, ReservedBytes};
use connection_slots::{ConnectionOrder, ConnectionSlots, SlotRefusal};
use counted_stream::CountedStream;
use served_body::ServedBody;

/// How long a connection that is kept may wait for its next request. Proxies commonly keep a connection for 60 s: they close
/// it, and no request meets one that just went.
pub const KEPT_FOR: Duration = Duration::from_secs(65);
/// How long the headers of a request may take, from the first byte of them, or from the opening of the connection.
pub const HEADERS_WITHIN: Duration = Duration::from_secs(10);
/// How long a client may take nothing of what it is sent.
pub const READ_WITHIN: Duration = Duration::from_secs(60);
/// The most bytes that the headers of a request may have for sure; what comes with the last of them may double it.
pub const LARGEST_HEADERS: usize = 32 * 1024;
/// Connections that wait too long are looked for ten times in the time that headers may take, but no more often than this.
const SHORTEST_ROUND: Duration = Duration::from_millis(50);
/// The pause after the system had no room for another connection.
const NO_ROOM: Duration = Duration::from_millis(500);
/// What an address is told that has too many connections.
const TOO_MANY: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 10\r\nconnection: close\r\n\
    content-type: application/json\r\ncontent-length: 100\r\n\r\n\
    {\"error\":{\"code\":\"too_many_requests\",\"message\":\"this address has too many connections; close some\"}}";
/// What a client is told when all places are taken by connections that are at work.
const FULL_RESPONSE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 10\r\nconnection: close\r\n\
    content-type: application/json\r\ncontent-length: 94\r\n\r\n\
    {\"error\":{\"code\":\"too_many_connections\",\"message\":\"too many connections are open; come back\"}}";

/// What connections may take.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// How long the headers of a request may take ([`HEADERS_WITHIN`]).
    pub headers_within: Duration,
    /// How many there may be at once; of more, those go that ask nothing.
    pub most: Option<u32>,
    /// How many an address may have at once.
    pub per_address: Option<u32>,
    /// Addresses that may have as many as they want: proxies, behind which everybody is.
    pub unlimited: Vec<IpNet>,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self { headers_within: HEADERS_WITHIN, most: None, per_address: None, unlimited: Vec::new() }
    }
}

/// Serves until the end begins. Connections that are open then end when what is under way on them has; the lifecycle waits
/// for them.
pub async fn serve(listener: TcpListener, app: Router, connections: ConnectionLimits, shutdown: Shutdown) {
    let places = ConnectionSlots::new(connections.most.map(within_the_systems));
    let mut rounds = tokio::time::interval((connections.headers_within / 10).max(SHORTEST_ROUND));
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let accepted = tokio::select! {
            () = shutdown.soft() => break,
            accepted = listener.accept() => accepted,
            _ = rounds.tick() => {
                places.send_late_away(connections.headers_within, KEPT_FOR.max(connections.headers_within));
                continue;
            }
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_of_one_connection(&error) => continue,
            Err(error) => {
                tracing::error!("no connection can be taken now: {error}");
                tokio::time::sleep(NO_ROOM).await;
                continue;
            }
        };
        // Events are small and each is wanted at once.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!("a connection keeps its delay: {error}");
        }
        let address = peer.ip().to_canonical();
        let limit = connections.per_address.filter(|_| !connections.unlimited.iter().any(|net| net.contains(&address)));
        match places.take(subscriber(address), limit) {
            Ok(place) => {
                let line = CountedStream::new(stream, place.clone());
                let (app, shutdown_too) = (app.clone(), shutdown.clone());
                shutdown.run(connection(line, peer, app, place, shutdown_too));
            }
            Err(SlotRefusal::OfAddress) => drop(shutdown.run(refuse(stream, TOO_MANY))),
            Err(SlotRefusal::Full) => drop(shutdown.run(refuse(stream, FULL_RESPONSE))),
        }
    }
    places.finish();
}

/// No more than the system gives this process files for: the broker, the models and the logs need some, too.
fn within_the_systems(most: u32) -> u32 {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let files = files.map_or(u32::MAX, |files| u32::try_from(files).unwrap_or(u32::MAX));
    most.min(files - files / 4).max(1)
}

async fn connection(
    line: CountedStream,
    peer: SocketAddr,
    app: Router,
    place: Arc<ConnectionSlot>,
    shutdown: Shutdown,
) {
    let held = place.clone();
    let service = TowerToHyperService::new(tower::service_fn(move |request: Request<Incoming>| {
        let (app, place, mut request) = (app.clone(), held.clone(), request.map(Body::new));
        place.asked();
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(place.clone());
        async move {
            let response = app.oneshot(request).await.unwrap_or_else(|never| match never {});
            Ok::<Response, Infallible>(answered(response, place))
        }
    }));
    let mut server = http1::Builder::new();
    // How long headers may take is measured for all connections together ([`ConnectionSlots::send_late_away`]).
    server.header_read_timeout(None).max_buf_size(LARGEST_HEADERS);
    let connection = server.serve_connection(TokioIo::new(line), service).with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let told = poll_fn(|context| match place.told(context) {
        // How a connection ended is between its two ends.
        ConnectionOrder::Stay => connection.as_mut().poll(context).map(|_| ConnectionOrder::Go),
        told => Poll::Ready(told),
    });
    if told.await == ConnectionOrder::Finish {
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            _ = connection.as_mut() => {}
            () = shutdown.hard() => {}
        }
    }
}

/// The address that stands for a subscriber of an Internet provider: an IPv4 address itself, of an IPv6 address its /64. One
/// subscriber has all of these 2^64 addresses, so whatever is counted by address is counted by this one.
pub fn subscriber(address: IpAddr) -> IpAddr {
    prefix(address, 64)
}

/// The address with only the first bits of an IPv6 address; an IPv4 address stays as it is.
pub fn prefix(address: IpAddr, bits: u32) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !(u128::MAX.checked_shr(bits).unwrap_or(0))).into()
        }
        address => address,
    }
}

/// An answer, whose connection is at work until its last piece was taken.
fn answered(response: Response, place: Arc<ConnectionSlot>) -> Response {
    // A socket's connection is at work until it is closed.
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return response;
    }
    if response.body().size_hint().exact().is_some_and(|size| size <= LARGEST_HEADERS as u64) {
        place.answered();
        return response;
    }
    response.map(|body| Body::new(ServedBody::new(body, place)))
}

async fn refuse(mut stream: TcpStream, words: &[u8]) {
    // A client that does not even read this is not waited for.
    let _ = tokio::time::timeout(Duration::from_secs(1), async {
        stream.write_all(words).await?;
        stream.shutdown().await
    })
    .await;
}

/// Whether only the connection that was to be taken is gone.
fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscriber_is_an_ipv4_address_or_the_64_bits_of_an_ipv6_address() {
        let of = |text: &str| subscriber(text.parse().unwrap()).to_string();
        assert_eq!(of("192.0.2.7"), "192.0.2.7");
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(
            (of("2001:db8:1:2:3::4"), of("2001:db8:1:2:ffff::")),
            ("2001:db8:1:2::".into(), of("2001:db8:1:2::"))
        );
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(prefix("2001:db8:1:2::1".parse().unwrap(), 48).to_string(), "2001:db8:1::");
    }

    #[test]
    fn copies_of_private_files_are_private_and_a_front_ends_files_are_not() {
        for private in
            ["server.key", "server.key.bak", "a.pem~", "x.sqlite.old~", "id_rsa", "id_ed25519.bak", ".env.orig"]
        {
            assert!(is_private_file(Path::new(private)), "{private}");
        }
        for open in ["index.html", "id_rsa.pub", "app.js.bak", "id.js", "keys.html", "id_card.png"] {
            assert!(!is_private_file(Path::new(open)), "{open}");
        }
    }

    #[test]
    fn the_refusal_is_as_long_as_it_says() {
        for refusal in [TOO_MANY, FULL_RESPONSE] {
            let text = std::str::from_utf8(refusal).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.ends_with(&format!("content-length: {}", body.len())), "{}", body.len());
        }
    }
}
