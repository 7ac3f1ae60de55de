//! The gateway: HTTP in, broker calls out, and back. It keeps no state of a run: any gateway can serve any run at any moment.
//!
//! Two interfaces over the same runs (`docs/api.md`): FastAgency's own endpoints and `/api`. `routes` is the table of both.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt;
use tokio::net::TcpListener;

use crate::broker::Broker;
use crate::clock::Clock;
use crate::lifecycle::Shutdown;
use crate::seal::Sealer;

mod answers;
mod auth;
mod body;
mod bridge;
mod docs;
mod error;
mod events;
mod fastagency;
mod formulas;
mod frames;
mod health;
mod known;
mod markdown;
mod openapi;
mod params;
mod projection;
mod routes;
mod runs;
mod socket;
mod starting;

pub use error::ApiError;

/// What the gateway must be told.
#[derive(Clone)]
pub struct Settings {
    /// A folder of the user's own front end, served at `/`.
    pub static_dir: Option<PathBuf>,
    /// Seals passwords for the log; none: they are told to the run and stored nowhere.
    pub sealer: Option<Sealer>,
    /// How often a comment goes over a silent stream of events: proxies commonly give up after 60 s.
    pub keep_alive: Duration,
    /// How long FastAgency's socket stays open after the last message. Its clients close by themselves as soon as they have
    /// read it; those that never do must not hold a socket for ever.
    pub socket_linger: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            static_dir: None,
            sealer: None,
            keep_alive: Duration::from_secs(15),
            socket_linger: Duration::from_secs(30),
        }
    }
}

/// Why the gateway cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The listener failed.
    #[error("could not serve HTTP")]
    Serve(#[from] std::io::Error),
}

/// What every handler is given.
struct Gateway {
    broker: Broker,
    settings: Settings,
    known: known::Known,
    unclaimed: starting::Unclaimed,
    clock: Arc<dyn Clock>,
    shutdown: Shutdown,
}

/// Serves until the end begins; then takes no more, tells streams and sockets to come back, and returns when all have gone.
pub async fn serve(listener: TcpListener, broker: Broker, settings: Settings, shutdown: Shutdown) -> Result<(), Error> {
    let (unclaimed, watching) = starting::Unclaimed::new(broker.clone(), shutdown.clone());
    let gateway = Arc::new(Gateway {
        known: known::Known::new(broker.clone()),
        unclaimed,
        clock: crate::clock::system(),
        shutdown: shutdown.clone(),
        broker: broker.clone(),
        settings,
    });
    shutdown.run(watching);
    if broker.contract.is_some() {
        shutdown.run(bridge::serve(broker, shutdown.clone()));
    }
    let keeper = gateway.clone();
    let until = shutdown.clone();
    shutdown.run(async move { keeper.known.keep(until).await });

    let listener = listener.tap_io(|stream| {
        // Events are small and each is wanted at once.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!("a connection keeps its delay: {error}");
        }
    });
    let soft = shutdown.clone();
    let serving = axum::serve(listener, routes::app(gateway)).with_graceful_shutdown(async move { soft.soft().await });
    tokio::select! {
        outcome = serving => Ok(outcome?),
        () = shutdown.hard() => Ok(()),
    }
}
