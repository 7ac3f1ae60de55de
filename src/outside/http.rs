//! Sends requests to servers outside: to addresses that are allowed, within time and size. A redirect to another server is followed only
//! where `outgoing.allow_hosts` names it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use parking_lot::Mutex;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, LOCATION};
use reqwest::{Client, Identity, Method, StatusCode, Url, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::addresses::AddressRules;
use super::hidden::HiddenTexts;
use crate::bounds::{OUTSIDE, cut_mark, read};
use crate::problem::chain;

/// Redirects on the same server that one request follows.
const MOST_REDIRECTS: usize = 5;
/// How long a connection may take to come about.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// Certificates that clients are kept for at once.
const MOST_CERTIFICATES: usize = 16;

/// Sends requests.
#[derive(Debug)]
pub struct HttpSender {
    client: Result<Client, String>,
    rules: Arc<AddressRules>,
    /// Other servers that an answer may send to.
    followed: AddressRules,
    /// It may hold a password.
    proxy: Option<SecretString>,
    /// Clients that show a certificate, by the hash of it.
    with_certificate: Mutex<HashMap<[u8; 32], Client>>,
}

/// A certificate of this program and its key, both in PEM.
#[derive(Debug, Clone)]
pub struct ClientCertificate(SecretString);

impl ClientCertificate {
    /// A certificate and its key.
    pub fn new(certificate: &str, key: &str) -> Self {
        Self(format!("{key}\n{certificate}").into())
    }
}

/// A request, ready to be sent.
#[derive(Debug)]
pub struct OutgoingRequest {
    /// Its method.
    pub method: Method,
    /// Where to.
    pub url: Url,
    /// Its headers.
    pub headers: HeaderMap,
    /// What it carries.
    pub body: Option<Bytes>,
    /// How long each attempt may take, its answer included.
    pub within: Duration,
}

/// A document that was fetched.
#[derive(Debug)]
pub struct FetchedDocument {
    /// Where it came from in the end.
    pub url: Url,
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// So much of it as was to be read, and one byte more if it is longer.
    pub bytes: Vec<u8>,
}

/// What a server answered.
#[derive(Debug, PartialEq)]
pub struct HttpAnswer {
    /// The server, for words: `https://api.example.com`.
    pub server: String,
    /// The status.
    pub status: u16,
    /// The status in words: `404 Not Found`.
    pub status_line: String,
    /// The headers; of one that comes several times the values are joined by commas.
    pub headers: Map<String, Value>,
    /// What it carries.
    pub body: HttpAnswerBody,
}

/// The body of an answer.
#[derive(Debug, PartialEq)]
pub enum HttpAnswerBody {
    /// JSON, read with all its digits.
    Json(Value),
    /// Anything else that is a text; of more than was to be read, the beginning and a mark.
    Text(String),
}

/// Where a host is, in words; one that is written as an address is not named twice.
fn private_place(host: &str, address: IpAddr) -> String {
    match host.trim_matches(['[', ']']).parse() == Ok(address) {
        true => format!("{host} is an address that only this machine or its network reaches"),
        false => format!("{host} is at {address}, an address that only this machine or its network reaches"),
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The client cannot be made.
    #[error("no request can be sent: {0}")]
    NoClient(String),
    /// The address is not one that is asked.
    #[error(
        "{}; if workflows may ask it, name it in fastagency.yaml: outgoing: {{ allow_private: [{host}] }}",
        private_place(host, *address)
    )]
    PrivateAddress {
        /// The host that was to be asked.
        host: String,
        /// Where it is.
        address: IpAddr,
    },
    /// The server sends elsewhere.
    #[error("{server} redirects to {target}, which is another server; if that is right, write its address into `url`{}", or_allow(*is_read))]
    RedirectsElsewhere {
        /// Who was asked.
        server: String,
        /// Where it sends.
        target: String,
        /// Whether it would be followed if `outgoing.allow_hosts` named the target.
        is_read: bool,
    },
    /// The server sends round in circles.
    #[error("{server} redirects more than {MOST_REDIRECTS} times")]
    TooManyRedirects {
        /// Who was asked.
        server: String,
    },
    /// It cannot be reached.
    #[error("{server} cannot be reached: {reason}")]
    Unreachable {
        /// Who was asked.
        server: String,
        /// Why.
        reason: String,
    },
    /// It did not answer in time.
    #[error("{server} did not answer in time")]
    TimedOut {
        /// Who was asked.
        server: String,
    },
    /// The same, of a request that does something.
    #[error("{server} did not answer in time, so nobody knows whether it was done")]
    TimedOutAfter {
        /// Who was asked.
        server: String,
    },
    /// It was reached, and the connection broke off.
    #[error("the connection to {server} was lost: {reason}")]
    Lost {
        /// Who was asked.
        server: String,
        /// Why.
        reason: String,
    },
    /// The same, of a request that does something.
    #[error(
        "the connection to {server} was lost after the request was sent, so nobody knows whether it was done: {reason}"
    )]
    LostAfter {
        /// Who was asked.
        server: String,
        /// Why.
        reason: String,
    },
    /// Its answer is neither JSON nor text.
    #[error("{server} answered with {kind}, which is no text")]
    NotText {
        /// Who was asked.
        server: String,
        /// What it sent.
        kind: String,
    },
}

/// What else may be done about a redirect to another server.
pub fn or_allow(is_read: bool) -> &'static str {
    if is_read { ", or its host into `outgoing.allow_hosts`" } else { "" }
}

impl HttpSender {
    /// One that asks what the rules allow.
    pub fn new(rules: AddressRules, proxy: Option<&str>) -> Self {
        // Where the proxy is, its operator has said.
        let at_proxy = proxy.and_then(|proxy| Url::parse(proxy).ok()?.host_str().map(str::to_owned));
        let rules = Arc::new(rules.with_name(at_proxy));
        let client = client(&rules, proxy, redirect::Policy::none(), None).map_err(|error| chain(&error));
        let (followed, proxy) = (AddressRules::default(), proxy.map(Into::into));
        Self { client, rules, followed, proxy, with_certificate: Mutex::default() }
    }

    /// The same, which goes on at these hosts, too, if a server sends there; what was for that server does not go along.
    pub fn following(self, hosts: &[String]) -> Self {
        Self { followed: AddressRules::new(hosts), ..self }
    }

    /// Whether a request for something that is only read goes on at this other server.
    fn follows(&self, target: &Url) -> bool {
        let host = target.host_str().unwrap_or_default();
        let address = host.trim_matches(['[', ']']).parse();
        self.followed.allows_name(host) || address.is_ok_and(|address| self.followed.names(address))
    }

    /// A client for connections that others keep open to this address, by the same rules: redirects are followed on the same
    /// server only.
    pub fn client_for(&self, url: &Url) -> Result<Client, SendError> {
        self.check_literal(url)?;
        let followed = redirect::Policy::custom(|attempt| {
            let is_same = attempt.previous().first().is_some_and(|first| first.origin() == attempt.url().origin());
            let is_asked_again = matches!(attempt.status().as_u16(), 307 | 308);
            if is_same && is_asked_again && attempt.previous().len() <= MOST_REDIRECTS {
                attempt.follow()
            } else {
                attempt.stop()
            }
        });
        client(&self.rules, self.proxy(), followed, None)
            .map_err(|error| SendError::NoClient(chain(&error.without_url())))
    }

    fn proxy(&self) -> Option<&str> {
        self.proxy.as_ref().map(ExposeSecret::expose_secret)
    }

    /// The client that shows this certificate, or none.
    fn client(&self, certificate: Option<&ClientCertificate>) -> Result<Client, SendError> {
        let Some(ClientCertificate(pem)) = certificate else {
            return self.client.clone().map_err(SendError::NoClient);
        };
        let hash: [u8; 32] = Sha256::digest(pem.expose_secret()).into();
        if let Some(client) = self.with_certificate.lock().get(&hash) {
            return Ok(client.clone());
        }
        let client = Identity::from_pem(pem.expose_secret().as_bytes())
            .and_then(|identity| client(&self.rules, self.proxy(), redirect::Policy::none(), Some(identity)))
            .map_err(|error| SendError::NoClient(format!("the certificate cannot be used: {}", chain(&error))))?;
        let mut known = self.with_certificate.lock();
        if known.len() == MOST_CERTIFICATES {
            known.clear();
        }
        known.insert(hash, client.clone());
        Ok(client)
    }

    /// Fetches a document: nothing is shown to its server, so that redirects are followed wherever they lead, within the rules.
    pub async fn fetch(
        &self,
        mut url: Url,
        headers: &HeaderMap,
        within: Duration,
        most: usize,
    ) -> Result<FetchedDocument, SendError> {
        let (client, server) = (self.client(None)?, server_of(&url));
        let end = tokio::time::Instant::now() + within;
        for _ in 0..=MOST_REDIRECTS {
            self.check_literal(&url)?;
            let left = end.saturating_duration_since(tokio::time::Instant::now());
            let call = client.get(url.clone()).headers(headers.clone()).timeout(left);
            let answer = call.send().await.map_err(|error| failed(&server, &Method::GET, error))?;
            if let Some(target) = redirection(&answer, &url) {
                url = target;
                continue;
            }
            let (status, headers) = (answer.status(), answer.headers().clone());
            let mut bytes = Vec::new();
            let mut pieces = answer.bytes_stream();
            while let Some(piece) = pieces.next().await {
                bytes.extend_from_slice(&piece.map_err(|error| failed(&server, &Method::GET, error))?);
                if bytes.len() > most {
                    bytes.truncate(most + 1);
                    break;
                }
            }
            return Ok(FetchedDocument { url, status, headers, bytes });
        }
        Err(SendError::TooManyRedirects { server })
    }

    /// Sends a request and reads at most so many bytes of its answer.
    pub async fn send(
        &self,
        request: OutgoingRequest,
        max_result: u64,
        hidden: &HiddenTexts,
    ) -> Result<HttpAnswer, SendError> {
        self.send_as(None, request, max_result, hidden).await
    }

    /// The same, with a certificate that is shown to the server.
    pub async fn send_as(
        &self,
        certificate: Option<&ClientCertificate>,
        request: OutgoingRequest,
        max_result: u64,
        hidden: &HiddenTexts,
    ) -> Result<HttpAnswer, SendError> {
        let mut client = self.client(certificate)?;
        let mut server = server_of(&request.url);
        let OutgoingRequest { mut method, mut url, mut headers, mut body, within } = request;
        for _ in 0..=MOST_REDIRECTS {
            self.check_literal(&url)?;
            let mut call = client.request(method.clone(), url.clone()).headers(headers.clone()).timeout(within);
            if let Some(body) = &body {
                call = call.body(body.clone());
            }
            let answer = call.send().await.map_err(|error| failed(&server, &method, error))?;
            let Some(target) = redirection(&answer, &url) else {
                return read_answer(server, &method, answer, max_result, hidden).await;
            };
            let is_see_other = answer.status() == StatusCode::SEE_OTHER;
            if target.origin() != url.origin() {
                let is_as_safe = target.scheme() == "https" || target.scheme() == url.scheme();
                let is_read = is_as_safe && (is_see_other || method.is_safe() && body.is_none());
                if !is_read || !self.follows(&target) {
                    return Err(SendError::RedirectsElsewhere { server, target: server_of(&target), is_read });
                }
                // Credentials were for the first server: nothing but the wish for a kind of answer goes along.
                let accept = headers.remove(ACCEPT).map(|accept| (ACCEPT, accept));
                (client, server, headers) = (self.client(None)?, server_of(&target), accept.into_iter().collect());
            }
            // 301 and 302 say of a POST either, depending on who reads them (RFC 9110, 15.4): nobody guesses here.
            let is_plain = matches!(answer.status(), StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND);
            if is_plain && !method.is_safe() {
                return read_answer(server, &method, answer, max_result, hidden).await;
            }
            if is_see_other && method != Method::HEAD {
                (method, body) = (Method::GET, None);
            }
            url = target;
        }
        Err(SendError::TooManyRedirects { server })
    }

    /// Whether a host is one that `outgoing.allow_private` names.
    pub fn is_named(&self, host: &str) -> bool {
        let address = host.trim_matches(['[', ']']).parse();
        self.rules.allows_name(host) || address.is_ok_and(|address| self.rules.names(address))
    }

    /// Refuses an address that stands in the URL itself, which no look-up sees.
    fn check_literal(&self, url: &Url) -> Result<(), SendError> {
        let host = url.host_str().unwrap_or_default();
        let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() else { return Ok(()) };
        match self.rules.allows(address) {
            true => Ok(()),
            false => Err(SendError::PrivateAddress { host: address.to_string(), address }),
        }
    }
}

/// A client that asks what the rules allow.
fn client(
    rules: &Arc<AddressRules>,
    proxy: Option<&str>,
    redirects: redirect::Policy,
    identity: Option<Identity>,
) -> reqwest::Result<Client> {
    // Another part of the process may have installed it: ring either way.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .user_agent(concat!("fastagency/", env!("CARGO_PKG_VERSION")))
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_WITHIN)
        .redirect(redirects)
        .retry(reqwest::retry::never())
        // Not one of the environment: a proxy looks names up itself, where nothing here sees what they lead to.
        .no_proxy()
        .dns_resolver(Arc::new(CheckedResolver(rules.clone())));
    if let Some(identity) = identity {
        builder = builder.identity(identity);
    }
    if let Some(proxy) = proxy.map(reqwest::Proxy::all).transpose()? {
        builder = builder.proxy(proxy);
    }
    builder.build()
}

/// Looks names up, and leaves out addresses that are not asked.
struct CheckedResolver(Arc<AddressRules>);

/// A name that leads only to addresses that are not asked.
#[derive(Debug, thiserror::Error)]
#[error("{host} is at {address}")]
struct RefusedAddress {
    host: String,
    address: IpAddr,
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let rules = self.0.clone();
        Box::pin(async move {
            let host = name.as_str();
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host, 0)).await?.collect();
            let is_named = rules.allows_name(host);
            let (allowed, refused): (Vec<_>, Vec<_>) =
                found.into_iter().partition(|address| is_named || rules.allows(address.ip()));
            match (allowed.is_empty(), refused.first()) {
                (true, Some(address)) => {
                    Err(RefusedAddress { host: host.to_owned(), address: address.ip().to_canonical() }.into())
                }
                _ => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}

/// The address that was not asked, if that is what stands behind an error.
pub fn refused_address(error: &(dyn std::error::Error + 'static)) -> Option<SendError> {
    let mut cause = Some(error);
    while let Some(one) = cause {
        if let Some(RefusedAddress { host, address }) = one.downcast_ref() {
            return Some(SendError::PrivateAddress { host: host.clone(), address: *address });
        }
        cause = one.source();
    }
    None
}

fn failed(server: &str, method: &Method, error: reqwest::Error) -> SendError {
    if let Some(refused) = refused_address(&error) {
        return refused;
    }
    let (server, is_unsent) = (server.to_owned(), error.is_connect() || error.is_builder());
    if error.is_timeout() && !is_unsent {
        return if method.is_safe() { SendError::TimedOut { server } } else { SendError::TimedOutAfter { server } };
    }
    let reason = chain(&error.without_url());
    match is_unsent {
        true => SendError::Unreachable { server, reason },
        false if method.is_safe() => SendError::Lost { server, reason },
        false => SendError::LostAfter { server, reason },
    }
}

/// Where an answer sends.
fn redirection(answer: &reqwest::Response, url: &Url) -> Option<Url> {
    if !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    url.join(answer.headers().get(LOCATION)?.to_str().ok()?).ok()
}

/// A server for words: scheme, host and port of an address.
pub fn server_of(url: &Url) -> String {
    url.origin().ascii_serialization()
}

async fn read_answer(
    server: String,
    method: &Method,
    answer: reqwest::Response,
    max_result: u64,
    hidden: &HiddenTexts,
) -> Result<HttpAnswer, SendError> {
    let (status, headers) = (answer.status(), answer.headers().clone());
    let of = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
    let packed = of(CONTENT_ENCODING);
    let kind = if packed.is_empty() || packed == "identity" { of(CONTENT_TYPE) } else { packed };
    let most = usize::try_from(max_result).unwrap_or(usize::MAX);
    // A secret that the cut would halve is whole in what is read.
    let read_most = most.saturating_add(hidden.longest());
    let mut body = BytesMut::new();
    let mut is_cut = false;
    let mut pieces = answer.bytes_stream();
    while let Some(piece) = pieces.next().await {
        body.extend_from_slice(&piece.map_err(|error| failed(&server, method, error))?);
        is_cut = body.len() > most;
        if body.len() > read_most {
            break;
        }
    }
    let body = if is_cut { cut(&body, most, hidden) } else { whole(&server, &kind, &body)? };
    let mut shown = Map::new();
    for (name, value) in &headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        match shown.get_mut(name.as_str()) {
            Some(Value::String(before)) => *before = format!("{before}, {value}"),
            _ => drop(shown.insert(name.as_str().to_owned(), value.into())),
        }
    }
    Ok(HttpAnswer { server, status: status.as_u16(), status_line: status.to_string(), headers: shown, body })
}

/// The beginning of an answer that is too long.
pub(super) fn cut(body: &[u8], most: usize, hidden: &HiddenTexts) -> HttpAnswerBody {
    // What is hidden makes the text shorter, and the end of what was read of more may be half a secret.
    let is_broken_off = body.len() > most.saturating_add(hidden.longest());
    let text = hidden.hidden_beginning(&String::from_utf8_lossy(body), is_broken_off);
    let text = text[..text.floor_char_boundary(most)].trim_end_matches('\u{fffd}');
    HttpAnswerBody::Text(text.to_owned() + &cut_mark(most, "bytes"))
}

/// An answer as it came: JSON where it is some and is called JSON, text, or nothing.
fn whole(server: &str, kind: &str, body: &[u8]) -> Result<HttpAnswerBody, SendError> {
    let essence = kind.split(';').next().unwrap_or_default().trim();
    let may_be_json =
        essence.is_empty() || essence.ends_with("json") || essence == "text/plain" || essence == "text/javascript";
    if may_be_json && let Ok(value) = read::<Value>(body, &OUTSIDE) {
        return Ok(HttpAnswerBody::Json(value));
    }
    match std::str::from_utf8(body) {
        Ok(text) => Ok(HttpAnswerBody::Text(text.trim_start_matches('\u{feff}').to_owned())),
        Err(_) if kind.contains("iso-8859-1") || kind.contains("windows-1252") => {
            Ok(HttpAnswerBody::Text(body.iter().map(|byte| char::from(*byte)).collect()))
        }
        Err(_) => {
            let kind = if essence.is_empty() { "bytes" } else { essence };
            Err(SendError::NotText { server: server.to_owned(), kind: kind.to_owned() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_by_what_it_is() {
        let read = |kind: &str, body: &[u8]| whole("https://h.example", kind, body);
        let json = |text: &str| HttpAnswerBody::Json(serde_json::from_str(text).unwrap());
        let text = |text: &str| HttpAnswerBody::Text(text.to_owned());
        assert_eq!(read("application/json", b"{\"a\": 1.10}").unwrap(), json("{\"a\": 1.10}"));
        assert_eq!(read("application/problem+json; charset=utf-8", b"[1]").unwrap(), json("[1]"));
        assert_eq!(read("text/plain", b"[1]").unwrap(), json("[1]"));
        assert_eq!(read("text/html", b"[1]").unwrap(), text("[1]"));
        assert_eq!(read("application/json", b"").unwrap(), text(""));
        assert_eq!(read("application/json", b"oops").unwrap(), text("oops"));
        assert_eq!(read("text/plain; charset=iso-8859-1", b"gr\xfc\xdfe").unwrap(), text("grüße"));
        assert!(matches!(read("image/png", b"\x89PNG\xff"), Err(SendError::NotText { .. })));
        assert_eq!(cut("grün".as_bytes(), 3, &HiddenTexts::default()), text("gr… [cut off after 3 bytes]"));
    }
}
