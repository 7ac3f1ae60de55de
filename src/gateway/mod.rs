//! The gateway: HTTP in, broker calls out, and back. It keeps no state of a run: any gateway can serve any run at any moment.
//!
//! Two interfaces over the same runs (`docs/reference/api.md`): FastAgency's own endpoints and `/api`. `routes` is the table of both.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::audit::verify::LogVerifier;
use crate::auth::{AdminLink, Authenticator, RequestFilter, UnprotectedListener};
use crate::broker::Broker;
use crate::clock::Clock;
use crate::config;
use crate::fastagency::foreign_worker;
use crate::lifecycle::Shutdown;
use crate::redact::Redactor;
use crate::seal::Sealer;
use crate::serving;
use crate::signing::{PublicKey, StatementSigner};

mod addresses;
mod answers;
mod audit;
mod body;
mod caller_token;
mod docs;
mod emphasis;
mod error;
mod events;
mod fastagency;
mod formulas;
mod front_end;
mod guard;
mod health;
mod idempotency;
mod limits;
mod link_targets;
mod markdown;
mod merged_events;
mod openapi;
mod overview;
mod params;
mod permissions;
mod placeholders;
mod projection;
mod query_check;
mod query_schema;
mod recent_ends;
mod routes;
mod run_start;
mod runs;
mod sessions;
mod socket;
mod workflow_cache;

pub use error::ApiError;
pub use front_end::{PrivatePath, check as check_front_end};
pub use socket::reads_first_frame;

/// What the gateway must be told.
#[derive(Clone)]
pub struct Settings {
    /// Who may call.
    pub auth: config::AuthConfig,
    /// What opens audit, overview and erasure where no one is asked who calls; none: nothing does.
    pub admin_link: Option<Arc<AdminLink>>,
    /// Where browsers find the page, if that is configured.
    pub public_url: Option<String>,
    /// A folder of the user's own front end, served at `/`.
    pub static_dir: Option<PathBuf>,
    /// Seals passwords for the log; none: they are told to the run and stored nowhere.
    pub sealer: Option<Sealer>,
    /// Whether the access tokens that callers show are passed on, sealed, to the runs whose workflows make calls with them.
    pub passes_caller_tokens: bool,
    /// The key that it signs with for its users; none: it does not.
    pub gateway_signer: Option<StatementSigner>,
    /// The workers whose workflows are started; none: those that anybody announces.
    pub trusted_definition_keys: Vec<PublicKey>,
    /// What is not to be seen.
    pub redactor: Redactor,
    /// How long it is kept what a removed run was, and who removed it.
    pub keep_evidence: Duration,
    /// What tells whether logs are what was written; none: they are not chained.
    pub verifier: Option<LogVerifier>,
    /// How often a comment goes over a silent stream of events: proxies commonly give up after 60 s.
    pub keep_alive: Duration,
    /// What one caller may take.
    pub limits: config::CallerLimits,
    /// How long the headers of a request may take.
    pub headers_within: Duration,
    /// How long FastAgency's socket stays open after the last message. Its clients close by themselves as soon as they have
    /// read it; those that never do must not hold a socket for ever.
    pub socket_linger: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            auth: config::AuthConfig::default(),
            admin_link: None,
            public_url: None,
            static_dir: None,
            sealer: None,
            passes_caller_tokens: false,
            gateway_signer: None,
            trusted_definition_keys: Vec::new(),
            redactor: Redactor::default(),
            keep_evidence: config::KEEP_EVIDENCE,
            verifier: None,
            keep_alive: Duration::from_secs(15),
            limits: config::CallerLimits::default(),
            headers_within: serving::HEADERS_WITHIN,
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
    /// No one is asked who calls, and other machines can.
    #[error(transparent)]
    Open(#[from] UnprotectedListener),
    /// Nobody can be asked who he is.
    #[error("auth: {0}")]
    Auth(#[from] crate::auth::Error),
}

/// What `auth.open` means, for logs and operators.
const OPEN_ACCESS_WARNING: &str = "auth.open is true and auth.mode is none: everyone who reaches this gateway can start, read, answer and \
    remove runs without signing in";

/// What every handler is given.
struct GatewayState {
    broker: Broker,
    auth: Authenticator,
    limits: limits::LimitCounters,
    filter: RequestFilter,
    /// Whether other machines can call, and no one is asked who does.
    is_open: bool,
    settings: Settings,
    known: workflow_cache::WorkflowCache,
    sessions: sessions::EndedSessions,
    idempotency: idempotency::IdempotencyKeys,
    unclaimed: run_start::UnclaimedRuns,
    recent_ends: recent_ends::RecentEnds,
    /// Whole audits that read every log: verifications and exports.
    audits: Arc<Semaphore>,
    clock: Arc<dyn Clock>,
    shutdown: Shutdown,
}

/// Serves until the end begins; then takes no more, tells streams and sockets to come back, and returns when all have gone.
pub async fn serve(listener: TcpListener, broker: Broker, settings: Settings, shutdown: Shutdown) -> Result<(), Error> {
    let (unclaimed, watching) =
        run_start::UnclaimedRuns::new(broker.clone(), settings.redactor.clone(), shutdown.clone());
    let auth = Authenticator::new(&settings.auth)?;
    let filter = RequestFilter::new(&settings.auth, settings.public_url.as_deref());
    let address = listener.local_addr()?;
    filter.check_listener(address)?;
    let is_open = filter.is_open_at(address);
    if is_open {
        tracing::warn!("{OPEN_ACCESS_WARNING} at {address}");
    }
    for warning in crate::auth::warnings(&settings.auth) {
        tracing::warn!("{warning}");
    }
    let gateway = Arc::new(GatewayState {
        auth,
        limits: limits::LimitCounters::new(settings.limits),
        filter,
        is_open,
        known: workflow_cache::WorkflowCache::new(broker.clone(), settings.trusted_definition_keys.clone()),
        sessions: sessions::EndedSessions::new(broker.clone()),
        idempotency: idempotency::IdempotencyKeys::default(),
        unclaimed,
        recent_ends: recent_ends::RecentEnds::default(),
        audits: Arc::new(Semaphore::new(audit::AT_ONCE)),
        clock: crate::clock::system(),
        shutdown: shutdown.clone(),
        broker: broker.clone(),
        settings,
    });
    shutdown.run(watching);
    if broker.contract.is_some() {
        shutdown.run(foreign_worker::serve(broker, gateway.settings.redactor.clone(), shutdown.clone()));
    }
    let keeper = gateway.clone();
    let until = shutdown.clone();
    shutdown.run(async move { keeper.known.keep(until).await });
    let keeper = gateway.clone();
    let until = shutdown.clone();
    shutdown.run(async move { keeper.sessions.keep(&keeper, until).await });

    let connections = serving::ConnectionLimits {
        headers_within: gateway.settings.headers_within,
        most: gateway.settings.limits.connections,
        per_address: gateway.settings.limits.connections_per_address,
        unlimited: gateway.settings.auth.proxies.clone(),
    };
    serving::serve(listener, routes::app(gateway), connections, shutdown).await;
    Ok(())
}
