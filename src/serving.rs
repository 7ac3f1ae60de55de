//! Serving HTTP on a listener, for gateway and page: each connection with an end to its patience, so that whoever opens many
//! and says little (slow loris) holds them for a moment and not for ever.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use ipnet::IpNet;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt;

use crate::lifecycle::Shutdown;

/// How long the headers of a request may take, the wait for it on a kept connection included. Proxies commonly keep a
/// connection for 60 s: they close it, and no request meets one that just went.
pub const HEADERS_WITHIN: Duration = Duration::from_secs(65);
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

/// Whether a file is called as secrets, data or a configuration of ours are.
pub fn is_private_file(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let is_kind = name.rsplit_once('.').is_some_and(|(_, kind)| PRIVATE_KINDS.contains(&kind));
    // Copies that editors leave (`access.yaml~`, `fastagency.yaml.bak`), too.
    is_kind || ["fastagency.y", "access.y"].iter().any(|ours| name.starts_with(ours))
}

/// The pause after the system had no room for another connection.
const NO_ROOM: Duration = Duration::from_millis(500);
/// What an address is told that has too many connections.
const TOO_MANY: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 10\r\nconnection: close\r\n\
    content-type: application/json\r\ncontent-length: 100\r\n\r\n\
    {\"error\":{\"code\":\"too_many_requests\",\"message\":\"this address has too many connections; close some\"}}";

/// What connections may take.
#[derive(Debug, Clone)]
pub struct Connections {
    /// How long the headers of a request may take ([`HEADERS_WITHIN`]).
    pub headers_within: Duration,
    /// How many an address may have at once.
    pub per_address: Option<u32>,
    /// Addresses that may have as many as they want: proxies, behind which everybody is.
    pub unlimited: Vec<IpNet>,
}

/// The connections of each address.
type Counts = Arc<Mutex<HashMap<IpAddr, u32>>>;

/// A connection's place among those of its address.
struct Place {
    counts: Counts,
    address: IpAddr,
}

impl Place {
    fn take(counts: &Counts, address: IpAddr, limit: u32) -> Option<Self> {
        let mut taken = counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(address).or_default();
        if *count >= limit {
            return None;
        }
        *count += 1;
        Some(Self { counts: counts.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.address);
            }
        }
    }
}

/// Serves until the end begins. Connections that are open then end when what is under way on them has; the lifecycle waits
/// for them.
pub async fn serve(listener: TcpListener, app: Router, connections: Connections, shutdown: Shutdown) {
    let counts = Counts::default();
    loop {
        let accepted = tokio::select! {
            () = shutdown.soft() => return,
            accepted = listener.accept() => accepted,
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
        let place = match limit.map(|limit| Place::take(&counts, address, limit)) {
            Some(None) => {
                shutdown.run(refuse(stream));
                continue;
            }
            place => place.flatten(),
        };
        shutdown.run(connection(stream, peer, app.clone(), connections.headers_within, place, shutdown.clone()));
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    app: Router,
    headers_within: Duration,
    place: Option<Place>,
    shutdown: Shutdown,
) {
    let service = TowerToHyperService::new(tower::service_fn(move |request: Request<Incoming>| {
        let (app, mut request) = (app.clone(), request.map(Body::new));
        request.extensions_mut().insert(ConnectInfo(peer));
        async move { Ok::<Response, Infallible>(app.oneshot(request).await.unwrap_or_else(|never| match never {})) }
    }));
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(headers_within);
    let connection = server.serve_connection(TokioIo::new(stream), service).with_upgrades();
    let mut connection = std::pin::pin!(connection);
    // How a connection ended is between its two ends.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = shutdown.soft() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                _ = connection.as_mut() => {}
                () = shutdown.hard() => {}
            }
        }
    }
    drop(place);
}

async fn refuse(mut stream: TcpStream) {
    // Whoever does not even read this is not waited for.
    let _ = tokio::time::timeout(Duration::from_secs(1), async {
        stream.write_all(TOO_MANY).await?;
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
    fn the_refusal_is_as_long_as_it_says() {
        let text = std::str::from_utf8(TOO_MANY).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
    }
}
