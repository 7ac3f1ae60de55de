//! The operations of an OpenAPI specification as a set of tools: the specification is loaded and kept, and a call becomes a request
//! with the credentials that it asks for.

mod credentials;
mod documents;

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use secrecy::ExposeSecret;
use serde_json::{Map, Value};

use super::http::{HttpAnswer, HttpSender, OutgoingRequest, SendError, or_allow};
use super::http_answer::{IDEMPOTENCY_KEY, value_or_failure, without_secrets};
use super::secrets::{CredentialRequest, Secrets};
use super::toolset::{ListedTool, Toolset, ToolsetAnswer, ToolsetCall, ToolsetError};
use super::toolsets::ToolsetOpener;
use crate::openapi::{OpenApiDeclaration, OpenApiRequest, OpenApiTool, OperationEntry, RequestError};
use crate::problem::did_you_mean;
use crate::workflow::{OpenApiSource, ToolsetSource};
use crate::yaml::secrets::without_logins;
use credentials::{CredentialPlan, FetchedCredentials};

pub use credentials::{SpecifiedLogin, described, needs_person, never_allowed, secret_line, unsupported, yaml_text};
pub use documents::{KeptDocument, OpenApiDocuments};

/// More tools no set has: servers of models refuse them.
pub const MOST_TOOLS: usize = 128;

/// A set of tools.
#[derive(Debug, Clone)]
pub struct OpenApiToolset {
    declaration: OpenApiDeclaration,
    documents: Arc<OpenApiDocuments>,
    http: Arc<HttpSender>,
    secrets: Arc<Secrets>,
}

/// Opens the specifications that workflows name.
#[derive(Debug)]
pub struct OpenApiSets {
    documents: Arc<OpenApiDocuments>,
    http: Arc<HttpSender>,
    secrets: Arc<Secrets>,
}

impl OpenApiSets {
    /// With what the worker reaches outside.
    pub fn new(documents: Arc<OpenApiDocuments>, http: Arc<HttpSender>, secrets: Arc<Secrets>) -> Self {
        Self { documents, http, secrets }
    }

    /// The set that a workflow declares.
    pub fn toolset(&self, source: &OpenApiSource) -> OpenApiToolset {
        let declaration = OpenApiDeclaration {
            source: source.document.clone(),
            only: source.only.clone(),
            except: source.except.clone(),
            server: source.server.clone(),
            security: source.security.clone(),
            ..OpenApiDeclaration::default()
        };
        OpenApiToolset::new(declaration, self.documents.clone(), self.http.clone(), self.secrets.clone())
    }
}

#[async_trait]
impl ToolsetOpener for OpenApiSets {
    fn open(&self, source: &ToolsetSource) -> Option<Result<Arc<dyn Toolset>, ToolsetError>> {
        let ToolsetSource::OpenApi(source) = source else { return None };
        Some(Ok(Arc::new(self.toolset(source))))
    }

    async fn close(&self) {}
}

/// A request that is ready but for its credentials.
struct PreparedCall<'t> {
    request: OpenApiRequest,
    plan: CredentialPlan<'t>,
}

impl OpenApiToolset {
    /// The set that a workflow declares, with what its worker reaches outside.
    pub fn new(
        declaration: OpenApiDeclaration,
        documents: Arc<OpenApiDocuments>,
        http: Arc<HttpSender>,
        secrets: Arc<Secrets>,
    ) -> Self {
        Self { declaration, documents, http, secrets }
    }

    /// What is wrong with the declaration, as far as that shows without asking a server. For `check`.
    pub fn problems(&self) -> Vec<String> {
        let declaration = &self.declaration;
        let unknown = declaration.security.values().filter(|name| self.secrets.source(name).is_none());
        let unknown = unknown.map(|name| format!("there is no secret {name:?} (fastagency.yaml: secrets)"));
        self.documents.refuses(&declaration.source).into_iter().chain(unknown).collect()
    }

    /// What is wrong with the names of `security`; none: each is the name of a security scheme.
    pub async fn unknown_scheme(&self) -> Result<Option<String>, ToolsetError> {
        let kept = self.document().await?;
        Ok(self.unknown_scheme_of(&kept))
    }

    fn unknown_scheme_of(&self, kept: &KeptDocument) -> Option<String> {
        let schemes = kept.document.security_schemes();
        let unknown = self.declaration.security.keys().find(|name| !schemes.contains(&name.as_str()))?;
        let near = did_you_mean(unknown, schemes.iter().copied()).unwrap_or_else(|| match schemes.is_empty() {
            true => "it has none".to_owned(),
            false => format!("it has {}", schemes.join(", ")),
        });
        let source = without_logins(&self.declaration.source);
        Some(format!("{source} has no security scheme {unknown:?}: {near}"))
    }

    /// Where people sign in for this secret, as the specification says; none: it says nothing, or of a host that the secret is not for.
    pub async fn login_server(&self, secret: &str) -> Result<Option<SpecifiedLogin>, ToolsetError> {
        let kept = self.document().await?;
        for entry in kept.document.operations() {
            let Ok(tool) = kept.tool(entry) else { continue };
            let found = credentials::login_server(tool.security(), &self.declaration.security, &self.secrets, secret);
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    async fn document(&self) -> Result<Arc<KeptDocument>, ToolsetError> {
        self.documents.document(&self.declaration.source).await.map_err(ToolsetError::Unavailable)
    }

    /// The selected operations, no more than a set may have.
    fn selected<'d>(&self, kept: &'d KeptDocument) -> Result<Vec<&'d OperationEntry>, String> {
        let selection = self.declaration.selection();
        let source = without_logins(&self.declaration.source);
        let entries: Vec<&OperationEntry> =
            kept.document.operations().iter().filter(|entry| selection.selects(entry)).collect();
        if entries.len() > MOST_TOOLS {
            return Err(format!(
                "{source} has {} operations, and an agent can have at most {MOST_TOOLS} tools: choose some with `only`, such as only: [\"get_*\", \"tag:billing\", \"GET /pets/*\"] (`fastagency tools list` shows them)",
                entries.len()
            ));
        }
        let unmatched = selection.unmatched(kept.document.operations());
        let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        if let Some(wrong) = selection.misspelt_exception(&names) {
            return Err(format!("of {source} nothing is offered: {wrong}"));
        }
        if entries.is_empty() {
            return Err(match (kept.document.operations().is_empty(), unmatched.is_empty()) {
                (true, _) => format!("{source} has no operation"),
                (false, true) => format!("`except` leaves no operation of {source}"),
                (false, false) => format!("{source} has no operation that matches {}", quoted(&unmatched)),
            });
        }
        if !unmatched.is_empty() {
            kept.warn_once(format!("{source} has no operation that matches {}", quoted(&unmatched)));
        }
        Ok(entries)
    }

    fn listed(&self, kept: &KeptDocument) -> Result<Vec<ListedTool>, String> {
        let mut tools = Vec::new();
        let mut skipped = Vec::new();
        if let Some(unknown) = self.unknown_scheme_of(kept) {
            kept.warn_once(unknown);
        }
        for entry in self.selected(kept)? {
            match kept.tool(entry) {
                Ok(tool) => tools.push(ListedTool {
                    name: tool.name.clone(),
                    description: tool.description.clone(),
                    params: Value::clone(tool.schema()),
                    idempotent: tool.is_safe(),
                }),
                Err(one) => skipped.push(format!("{}: {}", one.operation, one.reason)),
            }
        }
        let source = without_logins(&self.declaration.source);
        match (tools.is_empty(), skipped.first()) {
            (true, Some(why)) => return Err(format!("no operation of {source} can be a tool: {why}")),
            (false, Some(why)) => {
                kept.warn_once(format!("{} of the operations of {source} are no tools: {why}", skipped.len()));
            }
            _ => {}
        }
        Ok(tools)
    }

    /// The tool of a name, if it is one of this set.
    fn tool(&self, kept: &KeptDocument, name: &str) -> Result<OpenApiTool, ToolsetError> {
        let source = || without_logins(&self.declaration.source);
        let selection = self.declaration.selection();
        let mut selected = kept.document.operations().iter().filter(|entry| selection.selects(entry));
        let entry = selected.clone().find(|entry| entry.name == name).ok_or_else(|| {
            let near = did_you_mean(name, selected.by_ref().map(|entry| entry.name.as_str()));
            let near = near.map(|near| format!(": {near}")).unwrap_or_default();
            ToolsetError::Unavailable(format!("{} has no operation {name:?}{near}", source()))
        })?;
        kept.tool(entry).map_err(|skipped| {
            ToolsetError::Unavailable(format!("{name} is no tool of {}: {}", source(), skipped.reason))
        })
    }

    /// The arguments, with those that are secrets. That its server may have them is looked at before anything is sent.
    async fn all_arguments<'c>(&self, call: &ToolsetCall<'c>) -> Result<Cow<'c, Map<String, Value>>, ToolsetError> {
        let mut arguments = Cow::Borrowed(call.arguments);
        for one in call.secrets {
            let wanted = CredentialRequest { caller: call.caller, ..CredentialRequest::default() };
            let value = self.secrets.value(&one.secret, wanted).await;
            let value = value.map_err(|why| ToolsetError::Unavailable(self.secrets.hidden(&why)))?;
            arguments.to_mut().insert(one.argument.clone(), value.expose_secret().into());
        }
        Ok(arguments)
    }

    /// What is sent, but for the credentials.
    fn prepared<'t>(&self, tool: &'t OpenApiTool, call: &ToolsetCall<'_>) -> Result<PreparedCall<'t>, ToolsetError> {
        let problems = tool.problems(call.arguments);
        if !problems.is_empty() {
            return Err(ToolsetError::Arguments(format!("the arguments do not fit: {}", problems.join("; "))));
        }
        let request = tool.request(call.arguments, &self.declaration.server_choice()).map_err(|error| match error {
            RequestError::Argument(why) => ToolsetError::Arguments(format!("the arguments do not fit: {why}")),
            RequestError::Server(why) => ToolsetError::Unavailable(format!("{why}; write `server`")),
        })?;
        let host = request.url().host_str().unwrap_or_default().to_owned();
        if let Some(why) = call.secrets.iter().find_map(|one| self.secrets.refuses(&one.secret, &host)) {
            return Err(ToolsetError::Unavailable(format!("{}: {why}", tool.name)));
        }
        let plan = credentials::plan(tool.security(), &self.declaration.security, &self.secrets, &host)
            .map_err(|why| ToolsetError::Unavailable(format!("{}: {why}", tool.name)))?;
        let holds_secrets = !plan.is_empty() || !call.secrets.is_empty();
        if request.url().scheme() == "http" && holds_secrets && !self.http.is_named(&host) {
            return Err(ToolsetError::Unavailable(format!(
                "a secret would go to {host} unencrypted: name a `server` with https, or the host in outgoing.allow_private"
            )));
        }
        Ok(PreparedCall { request, plan })
    }

    /// Sends a call; a token that is refused is renewed once.
    async fn sent(
        &self,
        tool: &OpenApiTool,
        prepared: &PreparedCall<'_>,
        call: &ToolsetCall<'_>,
    ) -> Result<Value, ToolsetError> {
        let no_credential = |why: String| ToolsetError::Unavailable(self.secrets.hidden(&why));
        let mut credentials = prepared.plan.fetch(&self.secrets, None, call.caller).await.map_err(no_credential)?;
        let mut answer = self.sent_once(tool, prepared, &credentials, call).await?;
        if answer.status == 401 && !prepared.plan.is_empty() {
            let renewed = prepared.plan.fetch(&self.secrets, Some(&credentials), call.caller).await;
            let renewed = renewed.map_err(no_credential)?;
            if renewed.differs(&credentials) {
                credentials = renewed;
                answer = self.sent_once(tool, prepared, &credentials, call).await?;
            }
        }
        value_or_failure(without_secrets(answer, self.secrets.hidden_texts())).map_err(ToolsetError::Failed)
    }

    async fn sent_once(
        &self,
        tool: &OpenApiTool,
        prepared: &PreparedCall<'_>,
        credentials: &FetchedCredentials,
        call: &ToolsetCall<'_>,
    ) -> Result<HttpAnswer, ToolsetError> {
        let mut request = prepared.request.clone();
        prepared.plan.put(&mut request, credentials, &self.secrets).map_err(ToolsetError::Unavailable)?;
        let mut outgoing = outgoing(&request, call).map_err(ToolsetError::Failed)?;
        if !tool.is_safe() && !tool.has_header(IDEMPOTENCY_KEY.as_str()) {
            let key = HeaderValue::from_str(call.key).map_err(|error| ToolsetError::Failed(error.to_string()))?;
            outgoing.headers.insert(IDEMPOTENCY_KEY, key);
        }
        let certificate = credentials.certificate.as_ref();
        let answer = self.http.send_as(certificate, outgoing, call.max_result, self.secrets.hidden_texts()).await;
        answer.map_err(|error| self.failure(tool, &error))
    }

    fn failure(&self, tool: &OpenApiTool, error: &SendError) -> ToolsetError {
        let words = match error {
            SendError::RedirectsElsewhere { server, target, is_read } => {
                format!(
                    "{server} redirects to {target}, which is another server, and is not followed; if it is the right one, write `server`{}",
                    or_allow(*is_read)
                )
            }
            error => error.to_string(),
        };
        let words = self.secrets.hidden(&words);
        match error {
            SendError::NoClient(_) | SendError::PrivateAddress { .. } | SendError::Unreachable { .. } => {
                ToolsetError::Unavailable(words)
            }
            SendError::TimedOut { .. } | SendError::TimedOutAfter { .. } => ToolsetError::TimedOut(words),
            SendError::LostAfter { .. } if !tool.is_safe() => ToolsetError::Lost(words),
            _ => ToolsetError::Failed(words),
        }
    }

    /// A failure in the words of the declaration, if it has some.
    fn told(&self, error: ToolsetError, call: &ToolsetCall<'_>) -> ToolsetError {
        let Some(told) = self.declaration.error_message.clone() else { return error };
        tracing::warn!(run.id = %call.run, "a call of {} failed: {error}", call.tool);
        match error {
            ToolsetError::Failed(_) => ToolsetError::Failed(told),
            ToolsetError::Arguments(why) => ToolsetError::Arguments(why),
            ToolsetError::Unavailable(_) => ToolsetError::Unavailable(told),
            ToolsetError::TimedOut(_) => ToolsetError::TimedOut(told),
            ToolsetError::Lost(_) => ToolsetError::Lost(told),
        }
    }
}

/// Globs in words: one of letters alone would be read as one of them.
fn quoted(globs: &[&str]) -> String {
    globs.iter().map(|glob| format!("{glob:?}")).collect::<Vec<_>>().join(", ")
}

/// A request as the sender takes it.
fn outgoing(request: &OpenApiRequest, call: &ToolsetCall<'_>) -> Result<OutgoingRequest, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in request.headers() {
        let value = HeaderValue::from_str(&value)
            .map_err(|_| format!("the header {name} would hold a character that no header holds"))?;
        let name = HeaderName::try_from(name.as_str()).map_err(|_| format!("{name} is no name of a header"))?;
        headers.append(name, value);
    }
    let method: Method = request.method().parse().map_err(|_| format!("{} is no method", request.method()))?;
    let url: Url = request.url().clone();
    let body = request.body().map(|body| Bytes::from(body.bytes.clone()));
    Ok(OutgoingRequest { method, url, headers, body, within: call.within })
}

#[async_trait]
impl Toolset for OpenApiToolset {
    async fn list(&self) -> Result<Vec<ListedTool>, ToolsetError> {
        let kept = self.document().await?;
        let set = self.clone();
        // Schemas of a hundred operations take a while.
        let listed = tokio::task::spawn_blocking(move || set.listed(&kept)).await;
        listed.unwrap_or_else(|error| Err(error.to_string())).map_err(ToolsetError::Unavailable)
    }

    async fn call(&self, call: ToolsetCall<'_>) -> Result<ToolsetAnswer, ToolsetError> {
        let kept = self.document().await?;
        let tool = self.tool(&kept, call.tool)?;
        let arguments = self.all_arguments(&call).await?;
        let call = ToolsetCall { arguments: &arguments, ..call };
        let prepared = self.prepared(&tool, &call)?;
        let value = self.sent(&tool, &prepared, &call).await.map_err(|error| self.told(error, &call))?;
        Ok(ToolsetAnswer::Value(value))
    }
}
