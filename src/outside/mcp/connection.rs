//! A connection to a server: how it comes about, what is sent over it, and how it ends.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use rmcp::model::{ClientRequest, CustomRequest, ProtocolVersion, RequestMetaObject, ServerResult};
use rmcp::service::{ClientInitializeError, PeerRequestOptions, RequestHandle, serve_client_with_lifecycle_and_ct};
use rmcp::transport::IntoTransport;
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::common::client_side_sse::ExponentialBackoff;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{ClientLifecycleMode, Peer, RoleClient, ServiceError};
use secrecy::ExposeSecret;
use serde_json::Value;
use tokio::sync::OnceCell;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::credential::TokenSupply;
use super::http_client::AnsweringClient;
use super::listing::KnownTools;
use super::probe;
use super::process::{ServerProcess, log_words};
use super::program_record::ProgramRecord;
use super::requests::{CallEvents, CallTable, ServerRequests};
use super::stdio::{LARGEST_MESSAGE, StdioTransport};
use super::words::{NoAnswer, of_opening, of_service};
use crate::config::{McpAddress, McpCommand, McpReach, McpRevision, McpServerConfig};
use crate::ids::Name;
use crate::outside::http::{HttpSender, SendError};
use crate::outside::secrets::Secrets;

/// Requests to one server at once, of those whose answer has not begun.
const MOST_REQUESTS: usize = 64;
/// What is read of an answer that says why there is none, in bytes.
const LONGEST_REFUSAL: usize = 4 << 10;
/// The longest pause before a stream of a server that is away is opened again.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long a program may take to answer which revision it speaks. Some old ones say nothing to what they do not know.
const ANSWERS_WITHIN: Duration = Duration::from_secs(15);
/// How long the end of a program's output may take to come after its input was closed.
const END_IS_READ_WITHIN: Duration = Duration::from_secs(1);

/// A connection that is open.
#[derive(Debug)]
pub(super) struct McpConnection {
    peer: Peer<RoleClient>,
    /// The revision that it speaks.
    pub(super) revision: McpRevision,
    /// What is under way on it.
    pub(super) calls: Arc<CallTable>,
    /// Its tools, when they were listed on it.
    pub(super) listed: OnceCell<Arc<KnownTools>>,
    /// What is known of the program at its other end, if it is one.
    program: Option<Arc<ProgramRecord>>,
    gone: CancellationToken,
    _end: DropGuard,
}

/// A request that was sent.
#[derive(Debug)]
pub(super) struct SentRequest {
    /// Its answer.
    pub(super) handle: RequestHandle<RoleClient>,
    /// What else the server says of it.
    pub(super) events: CallEvents,
}

/// How a connection ends.
#[derive(Debug)]
struct ConnectionEnd {
    /// Cancelled, to end it.
    asked: CancellationToken,
    /// Cancelled when nothing comes over it any more.
    gone: CancellationToken,
}

impl ConnectionEnd {
    fn new(ending: &CancellationToken) -> Self {
        let asked = ending.child_token();
        Self { gone: asked.child_token(), asked }
    }
}

/// What opens connections to a server.
#[derive(Debug)]
pub(super) struct ConnectionOpener {
    /// The server.
    pub(super) name: Name,
    /// How it is reached.
    pub(super) config: McpServerConfig,
    /// What sends requests over HTTP.
    pub(super) http: Arc<HttpSender>,
    /// What no text may hold.
    pub(super) secrets: Arc<Secrets>,
    /// Where the token comes from that the server is shown, if it is shown one.
    pub(super) supply: Option<Arc<TokenSupply>>,
    /// What waits for the tasks of connections.
    pub(super) tasks: TaskTracker,
    /// Ends all connections.
    pub(super) ending: CancellationToken,
}

impl ConnectionOpener {
    /// Opens a connection, of a revision that is known or asked for.
    pub(super) async fn open(&self, known: Option<McpRevision>) -> Result<McpConnection, NoAnswer> {
        if self.ending.is_cancelled() {
            return Err(NoAnswer::Refused("this worker is ending".to_owned()));
        }
        let known = self.config.protocol.or(known);
        let until = Instant::now() + self.config.timeout;
        match &self.config.reach {
            McpReach::Command(command) => self.open_command(command, known, until).await,
            McpReach::Address(address) => {
                let opening = self.open_address(address, known);
                tokio::time::timeout_at(until, opening).await.unwrap_or_else(|_| Err(self.too_late()))
            }
        }
    }

    fn too_late(&self) -> NoAnswer {
        NoAnswer::Refused(format!("it did not begin within {:?}", self.config.timeout))
    }

    async fn open_command(
        &self,
        command: &McpCommand,
        known: Option<McpRevision>,
        until: Instant,
    ) -> Result<McpConnection, NoAnswer> {
        let end = ConnectionEnd::new(&self.ending);
        let mut transport = self.start(command, &end)?;
        if let Some(revision) = known {
            return self.begin_program(transport, revision, end, until).await;
        }
        let asked_until = until.min(Instant::now() + ANSWERS_WITHIN);
        let asked = tokio::time::timeout_at(asked_until, transport.first_answer(&probe::question())).await;
        if let Ok(Ok(Some(answer))) = asked {
            return self.begin_program(transport, probe::revision_of(&answer)?, end, until).await;
        }
        if Instant::now() >= until {
            return Err(self.program_too_late(&transport.program.record));
        }
        // It gave up, or says nothing: so do old ones that wait for another first word. They get it from the beginning.
        transport.program.end().await;
        let end = ConnectionEnd::new(&self.ending);
        let transport = self.start(command, &end)?;
        self.begin_program(transport, McpRevision::Session, end, until).await
    }

    /// Begins to talk to a program. If it cannot be talked to, the log says why, in the program's own words.
    async fn begin_program(
        &self,
        transport: StdioTransport,
        revision: McpRevision,
        end: ConnectionEnd,
        until: Instant,
    ) -> Result<McpConnection, NoAnswer> {
        let program = transport.program.clone();
        let opening = self.begin(transport, revision, end);
        let Ok(opened) = tokio::time::timeout_at(until, opening).await else {
            return Err(self.program_too_late(&program.record));
        };
        match opened {
            Ok(connection) => Ok(McpConnection { program: Some(program.record.clone()), ..connection }),
            Err(ClientInitializeError::ConnectionClosed(_) | ClientInitializeError::TransportError { .. }) => {
                program.end().await;
                program.record.log_failure();
                Err(NoAnswer::Refused(program.record.why_it_ended()))
            }
            Err(error) => Err(of_opening(&error, &self.secrets)),
        }
    }

    fn program_too_late(&self, record: &ProgramRecord) -> NoAnswer {
        record.log_silence();
        NoAnswer::Refused(format!("it did not begin within {:?}{}", self.config.timeout, record.where_to_look()))
    }

    /// Starts the program.
    fn start(&self, command: &McpCommand, end: &ConnectionEnd) -> Result<StdioTransport, NoAnswer> {
        let (process, pipes) = ServerProcess::start(command).map_err(|error| {
            // Where the program is on this machine is for the operator, and not for models: they are told its name.
            tracing::warn!(mcp.server = %self.name, "{} cannot be started: {}: {error}", self.name, command.program);
            let program =
                Path::new(&command.program).file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
            let has_folder = command.folder.as_os_str().is_empty() || command.folder.is_dir();
            NoAnswer::Refused(match error.kind() {
                std::io::ErrorKind::NotFound if !has_folder => {
                    format!(
                        "the folder of its program {program:?} is not there (fastagency.yaml: mcp.{}.folder)",
                        self.name
                    )
                }
                std::io::ErrorKind::NotFound => {
                    format!("its program {program:?} is not there (fastagency.yaml: mcp.{}.command)", self.name)
                }
                _ => format!("its program {program:?} cannot be started; the log says why"),
            })
        })?;
        let record = Arc::new(ProgramRecord::new(self.name.clone(), self.secrets.clone()));
        self.tasks.spawn(log_words(self.name.clone(), pipes.words, record.clone(), self.ending.clone()));
        Ok(StdioTransport::new(process, pipes.input, pipes.output, record, end.gone.clone()))
    }

    async fn open_address(&self, address: &McpAddress, known: Option<McpRevision>) -> Result<McpConnection, NoAnswer> {
        let refused = |error: SendError| NoAnswer::Refused(error.to_string());
        let url = Url::parse(address.url.expose_secret())
            .map_err(|_| NoAnswer::Refused("its address cannot be used".to_owned()))?;
        let host = url.host_str().unwrap_or_default();
        let has_secrets = !address.headers.is_empty() || url.query().is_some() || self.supply.is_some();
        if url.scheme() == "http" && has_secrets && !self.http.is_named(host) {
            let hint = "write https, or name the host in outgoing.allow_private";
            return Err(NoAnswer::Refused(format!("its headers would go to {host} unencrypted: {hint}")));
        }
        let client = self.http.client_for(&url).map_err(refused)?;
        let headers = headers_of(address);
        let revision = match known {
            Some(revision) => revision,
            None => {
                let supply = self.supply.as_deref();
                probe::ask_http(&client, &url, &headers, supply, self.config.timeout).await?
            }
        };
        let headers: HashMap<HeaderName, HeaderValue> =
            headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let mut config = StreamableHttpClientTransportConfig::with_uri(url.as_str())
            .custom_headers(headers)
            .max_concurrent_requests(MOST_REQUESTS)
            // A lost session is begun anew here, once for a call, and not by the library besides.
            .reinit_on_expired_session(false)
            .max_sse_event_size(LARGEST_MESSAGE)
            .max_json_response_size(LARGEST_MESSAGE)
            .max_error_response_size(LONGEST_REFUSAL);
        let mut pauses = ExponentialBackoff::default();
        pauses.max_delay = Some(LONGEST_PAUSE);
        config.retry_config = Arc::new(pauses);
        let client = AnsweringClient { client, supply: self.supply.clone() };
        let transport = StreamableHttpClientTransport::with_client(client, config);
        let opened = self.begin(transport, revision, ConnectionEnd::new(&self.ending)).await;
        opened.map_err(|error| of_opening(&error, &self.secrets))
    }

    /// Begins to talk.
    async fn begin<T, E, A>(
        &self,
        transport: T,
        revision: McpRevision,
        end: ConnectionEnd,
    ) -> Result<McpConnection, ClientInitializeError>
    where
        T: IntoTransport<RoleClient, E, A>,
        E: std::error::Error + Send + Sync + 'static,
    {
        let calls = Arc::<CallTable>::default();
        let ConnectionEnd { asked, gone } = end;
        let requests = ServerRequests { calls: calls.clone(), gone: gone.clone(), secrets: self.secrets.clone() };
        // Always one or the other by name: what the library does by itself may end in a revision that nobody has agreed to.
        let lifecycle = match revision {
            McpRevision::Stateless => {
                ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] }
            }
            McpRevision::Session => ClientLifecycleMode::Initialize,
        };
        let service = serve_client_with_lifecycle_and_ct(requests, transport, lifecycle, asked.clone()).await?;
        let peer = service.peer().clone();
        let is_gone = gone.clone();
        self.tasks.spawn(async move {
            let _ = service.waiting().await;
            is_gone.cancel();
        });
        tracing::debug!(mcp.server = %self.name, "{} is connected ({revision:?})", self.name);
        let (listed, program) = (OnceCell::new(), None);
        Ok(McpConnection { peer, revision, calls, listed, program, gone, _end: asked.drop_guard() })
    }
}

impl McpConnection {
    /// Whether nothing comes over it any more.
    pub(super) fn is_over(&self) -> bool {
        self.gone.is_cancelled() || self.peer.is_transport_closed()
    }

    /// Waits until nothing comes over it any more.
    pub(super) async fn over(&self) {
        self.gone.cancelled().await;
    }

    /// Why a request on it has no answer.
    pub(super) async fn no_answer(&self, error: &ServiceError, secrets: &Secrets) -> NoAnswer {
        match error {
            ServiceError::TransportClosed | ServiceError::TransportSend(_) if self.program.is_some() => {
                // What cannot be written is known a little earlier than the end of what can be read.
                let _ = tokio::time::timeout(END_IS_READ_WITHIN, self.over()).await;
                NoAnswer::Lost(self.why_lost().await)
            }
            error => of_service(error, secrets),
        }
    }

    /// Why nothing comes over it any more.
    pub(super) async fn why_lost(&self) -> String {
        match &self.program {
            Some(program) => program.why_lost().await,
            None => "the connection was closed".to_owned(),
        }
    }

    /// Whether it answers at all, be it with an error.
    pub(super) async fn ping(&self) -> bool {
        // There is no ping in 2026-07-28.
        let method = match self.revision {
            McpRevision::Session => "ping",
            McpRevision::Stateless => "server/discover",
        };
        let sent = self.send(method, serde_json::json!({}), RequestMetaObject::default()).await;
        let Ok(SentRequest { handle, .. }) = sent else { return false };
        let id = handle.id.clone();
        let answer = handle.await_response().await;
        self.calls.leave(&id);
        matches!(answer, Ok(_) | Err(ServiceError::McpError(_)))
    }

    /// Sends a request.
    pub(super) async fn send(
        &self,
        method: &'static str,
        params: Value,
        meta: RequestMetaObject,
    ) -> Result<SentRequest, ServiceError> {
        if self.is_over() {
            return Err(ServiceError::TransportClosed);
        }
        let request = ClientRequest::CustomRequest(CustomRequest::new(method, Some(params)));
        let options = PeerRequestOptions::no_options().with_meta(meta);
        let _sending = self.calls.sending.lock().await;
        let handle = self.peer.send_request_with_option(request, options).await?;
        let events = self.calls.enter(handle.id.clone(), handle.progress_token.clone());
        Ok(SentRequest { handle, events })
    }
}

/// The headers of each request.
fn headers_of(address: &McpAddress) -> HeaderMap {
    let each = address.headers.iter().filter_map(|(name, value)| {
        let mut value = HeaderValue::from_str(value.expose_secret()).ok()?;
        value.set_sensitive(true);
        Some((HeaderName::try_from(name.as_str()).ok()?, value))
    });
    each.collect()
}

/// A result as JSON: what the library has no type for is read all the same.
pub(super) fn result_json(result: &ServerResult) -> Value {
    serde_json::to_value(result).unwrap_or_default()
}
