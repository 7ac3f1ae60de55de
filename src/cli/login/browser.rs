//! The browser of this machine: opening it, and listening for it to come back (RFC 8252).

use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use reqwest::Url;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Callbacks that wait: one is the right one, others are somebody's mistake.
const MOST_WAITING: usize = 8;
/// Where a browser comes back to.
const PATH: &str = "/callback";

/// Listens on this machine for the browser.
pub(super) struct CallbackListener {
    url: String,
    called: mpsc::Receiver<Callback>,
    ending: CancellationToken,
    serving: JoinSet<()>,
}

/// A browser that came back; it waits for a page.
pub(super) struct Callback {
    /// What came with it.
    pub(super) query: String,
    page: oneshot::Sender<(StatusCode, String)>,
}

impl Callback {
    /// Says that all is well.
    pub(super) fn welcome(self, words: &str) {
        let _ = self.page.send((StatusCode::OK, words.to_owned()));
    }

    /// Says that it is not.
    pub(super) fn refuse(self, words: &str) {
        let _ = self.page.send((StatusCode::BAD_REQUEST, words.to_owned()));
    }
}

impl CallbackListener {
    /// Listens at the address that is configured, or at a free port.
    pub(super) async fn open(configured: Option<&Url>) -> Result<Self, String> {
        let default = || Url::parse(&format!("http://127.0.0.1{PATH}")).expect("it is an address");
        let mut url = configured.cloned().unwrap_or_else(default);
        let port = url.port().unwrap_or(0);
        let listener = match url.host_str() {
            Some("[::1]") => TcpListener::bind((std::net::Ipv6Addr::LOCALHOST, port)).await,
            _ => TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await,
        };
        let listener = listener.map_err(|error| match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                format!("port {port} of this machine is in use; stop what uses it, or choose another `redirect_url` here and at the server")
            }
            _ => format!("this machine does not let the program listen for the browser: {error}"),
        })?;
        let port = listener.local_addr().map_err(|error| error.to_string())?.port();
        url.set_port(Some(port)).map_err(|()| "the `redirect_url` takes no port".to_owned())?;
        let (sender, called) = mpsc::channel(MOST_WAITING);
        let path = url.path().to_owned();
        let routes = Router::new().route(&path, get(answer)).with_state(Arc::new(sender));
        let ending = CancellationToken::new();
        let end = ending.clone().cancelled_owned();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            if let Err(error) = axum::serve(listener, routes).with_graceful_shutdown(end).await {
                tracing::error!("the listener for the browser has ended: {error}");
            }
        });
        Ok(Self { url: url.to_string(), called, ending, serving })
    }

    /// The address that the browser comes back to.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Waits for the next browser.
    pub(super) async fn next(&mut self) -> Option<Callback> {
        self.called.recv().await
    }

    /// Ends when the last page has been sent.
    pub(super) async fn close(mut self) {
        self.ending.cancel();
        while self.serving.join_next().await.is_some() {}
    }
}

async fn answer(State(sender): State<Arc<mpsc::Sender<Callback>>>, RawQuery(query): RawQuery) -> Response {
    let (page, words) = oneshot::channel();
    let called = sender.try_send(Callback { query: query.unwrap_or_default(), page });
    let (status, words) = match called {
        Ok(()) => words.await.unwrap_or((StatusCode::GONE, "The program in the terminal has ended.".to_owned())),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "The program in the terminal is busy.".to_owned()),
    };
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        // The address of this page has the code in it.
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONNECTION, "close"),
    ];
    (status, headers, words).into_response()
}

/// Opens the browser of this machine; whether there is one.
pub(super) fn open(url: &Url) -> bool {
    let program = std::env::var("BROWSER").ok().filter(|program| !program.is_empty());
    let words: Vec<String> = match program {
        Some(program) => program.split_whitespace().map(str::to_owned).collect(),
        None => default_browser(),
    };
    let Some((program, arguments)) = words.split_first() else { return false };
    let mut command = Command::new(program);
    command.args(arguments).arg(url.as_str());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().is_ok()
}

/// What opens an address on this system; nothing where no screen is.
fn default_browser() -> Vec<String> {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let words: &[&str] = match std::env::consts::OS {
        "macos" => &["open"],
        "windows" => &["rundll32", "url.dll,FileProtocolHandler"],
        _ if is_set("DISPLAY") || is_set("WAYLAND_DISPLAY") => &["xdg-open"],
        _ => &[],
    };
    words.iter().map(|&word| word.to_owned()).collect()
}
