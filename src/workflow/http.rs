//! Requests to servers outside, as a step and as a tool: `http: GET https://…`. Scheme and host stand in the workflow as they are, so
//! that no value decides where a request goes; values in the path and the query are encoded, so that none leaves its place.

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::{Method, Url};

use super::address::args_in;
use super::expression::NamePath;
use super::reader::StepReader;
use super::scope::NameScope;
use super::shapes::{HTTP, METHODS};
use super::values::{data, entries, template};
use super::{AddressPart, DataTemplate, Expression, InjectedArguments, SecretReceiver, Template, ToolRate};
use crate::yaml::FieldReader;

/// How long a request may take unless it is said.
const WITHIN: Duration = Duration::from_secs(30);
/// What is read of an answer unless it is said, in bytes.
const MAX_RESULT: u64 = 256 << 10;

/// Headers that say where a request ends and whom it is for.
const OF_THE_CONNECTION: [&str; 9] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "upgrade",
    "proxy-connection",
];

/// A request to a server.
#[derive(Debug, Clone)]
pub struct HttpRequest {
    /// Its method.
    pub method: Method,
    /// The host that it goes to, as the standard of URLs reads it: it stands in the workflow as it is.
    pub host: String,
    /// Its address, in pieces.
    pub url: Vec<AddressPart>,
    /// How long each attempt may take.
    pub within: Duration,
    /// What is added to the query.
    pub query: Vec<(String, DataTemplate)>,
    /// Its headers.
    pub headers: Vec<(String, Template)>,
    /// Its body.
    pub body: HttpBody,
    /// Of a tool: the arguments that address and headers do not name go along, in the query or, as JSON, in the body.
    pub rest_of_args: bool,
    /// Whether it may be sent again if nobody knows whether it was.
    pub idempotent: bool,
    /// Whether the value is the whole response, whatever its status.
    pub whole_response: bool,
    /// What is read of the answer, in bytes.
    pub max_result: u64,
    /// The words for models and people in place of the server's own.
    pub error_message: Option<String>,
    /// Of a tool: arguments that models do not see.
    pub inject: InjectedArguments,
    /// Of a tool: how often it may be called.
    pub rate: Option<ToolRate>,
    /// Whether a tool consists of it.
    pub is_whole_tool: bool,
}

/// What a request carries.
#[derive(Debug, Clone)]
pub enum HttpBody {
    /// Nothing.
    None,
    /// JSON.
    Json(DataTemplate),
    /// A form.
    Form(Vec<(String, DataTemplate)>),
    /// A text.
    Text(Template),
}

impl HttpRequest {
    /// The arguments of the tool that its address and its headers name.
    pub fn named_args(&self) -> BTreeSet<&str> {
        let in_headers = self.headers.iter().flat_map(|(_, template)| template.names());
        let names = in_headers.filter(|path| path.first().is_some_and(|root| root == "args"));
        args_in(&self.url).into_iter().chain(names.filter_map(|path| path.get(1)).map(String::as_str)).collect()
    }

    /// The secrets that it names, and those that it is given as arguments.
    pub fn secrets(&self) -> BTreeSet<&str> {
        let names = self.templates().filter(|path| path.first().is_some_and(|root| root == "secrets"));
        let injected = self.inject.secrets.iter().map(|one| one.secret.as_str());
        names.filter_map(|path| path.get(1)).map(String::as_str).chain(injected).collect()
    }

    /// What its headers, query and body look up.
    fn templates(&self) -> impl Iterator<Item = &NamePath> {
        let texts = self.headers.iter().flat_map(|(_, template)| template.names());
        let data = self.query.iter().flat_map(|(_, data)| data.names());
        let body = match &self.body {
            HttpBody::None => Vec::new(),
            HttpBody::Json(data) => data.names(),
            HttpBody::Form(fields) => fields.iter().flat_map(|(_, data)| data.names()).collect(),
            HttpBody::Text(template) => template.names(),
        };
        texts.chain(data).chain(body)
    }

    /// Whether it has a body.
    fn sends_a_body(&self) -> bool {
        !matches!(self.method, Method::GET | Method::HEAD | Method::DELETE)
    }

    /// Whether the rest of the arguments goes into the query.
    pub fn rest_in_query(&self) -> bool {
        self.rest_of_args && !self.sends_a_body()
    }

    /// Whether the rest of the arguments is the body.
    pub fn rest_in_body(&self) -> bool {
        self.rest_of_args && self.sends_a_body()
    }
}

/// Reads `http`: one line, or a map. In a tool its arguments go along, unless a map says what does.
pub(super) fn http_request(
    reader: &StepReader<'_>,
    field: &FieldReader<'_>,
    scope: &NameScope<'_>,
    is_tool: bool,
) -> Option<HttpRequest> {
    if !field.is_map() {
        let line = field.text()?;
        let (method, address) = match line.trim().split_once(char::is_whitespace) {
            Some((method, address)) if METHODS.contains(&method) => (method, address.trim()),
            Some((method, _)) if !method.contains("://") => {
                let hint =
                    format!("one of {}, and the address: GET https://api.example.com/things", METHODS.join(", "));
                field.note_with_hint(format!("{method:?} is no method"), hint);
                return None;
            }
            _ => ("GET", line.trim()),
        };
        let address = address_parts(field, address, scope)?;
        reader.note_host(&address.0, field.problem(""));
        return Some(request(method.parse().ok()?, address, is_tool));
    }
    let fields = field.fields(&HTTP)?;
    let address = fields.read("url", |field| address_parts(field, field.text()?.trim(), scope));
    let within = scope.with_local("secrets");
    let query = fields.read("query", |field| entries(field, &within));
    let headers = fields.read("headers", |field| {
        let headers = field.entries()?.into_iter().map(|(entry, value)| {
            if reqwest::header::HeaderName::try_from(entry.key.as_str()).is_err() {
                value.note(format!("{:?} is no name of a header", entry.key));
            }
            if OF_THE_CONNECTION.contains(&entry.key.to_ascii_lowercase().as_str()) {
                value.note(format!("the header {} is set by the connection itself", entry.key));
            }
            Some((entry.key.clone(), template(&value, &within)?))
        });
        headers.collect::<Vec<_>>().into_iter().collect::<Option<Vec<_>>>()
    });
    let json = fields.read("json", |field| data(field, &within).map(HttpBody::Json));
    let form = fields.read("form", |field| entries(field, &within).map(HttpBody::Form));
    let text = fields.read("text", |field| template(field, &within).map(HttpBody::Text));
    let given = ["json", "form", "text"].into_iter().filter(|key| fields.get(key).is_some());
    if let [first, second, ..] = given.collect::<Vec<_>>()[..] {
        let message = format!("a request has one body; this one has {first:?} already");
        field.review.add(fields.problem_at_key(second, message));
    }
    let body = json.or(form).or(text).unwrap_or(HttpBody::None);
    let method = fields.read("method", |field| field.one_of(&METHODS.map(|method| (method, method))));
    let method = method.unwrap_or(if matches!(body, HttpBody::None) { "GET" } else { "POST" });
    if matches!(method, "GET" | "HEAD") && !matches!(body, HttpBody::None) {
        field.note_with_hint(format!("a {method} request has no body"), "say `method: POST`, or put it into `query`");
    }
    let names_all = |template: &Template| template.names().iter().any(|path| path.len() == 1 && path[0] == "args");
    let in_headers = headers.iter().flatten().any(|(_, template)| names_all(template));
    let says_what_goes = query.is_some() || in_headers || !matches!(body, HttpBody::None);
    let usual = request(method.parse().ok()?, address?, is_tool && !says_what_goes);
    let request = HttpRequest {
        query: query.unwrap_or_default(),
        headers: headers.unwrap_or_default(),
        body,
        idempotent: fields.read("idempotent", FieldReader::bool).unwrap_or(usual.idempotent),
        whole_response: fields
            .read("returns", |field| field.one_of(&[("body", false), ("response", true)]))
            .unwrap_or(false),
        max_result: fields.read("max_result", FieldReader::some_size).unwrap_or(MAX_RESULT),
        error_message: fields.read("error_message", FieldReader::text).map(str::to_owned),
        ..usual
    };
    if request.templates().any(|path| path.len() == 1 && path[0] == "secrets") {
        field.note_with_hint("which secret is sent stands in the workflow as it is", "write secrets.name");
    }
    reader.note_host(&request.host, field.problem(""));
    for name in request.secrets() {
        reader.note_secret(name, SecretReceiver::Host(request.host.clone()), field.problem(""));
    }
    Some(request)
}

fn request(method: Method, (host, url): (String, Vec<AddressPart>), rest_of_args: bool) -> HttpRequest {
    // RFC 9110, 9.2.1.
    let idempotent = method.is_safe();
    HttpRequest {
        method,
        host,
        url,
        within: WITHIN,
        query: Vec::new(),
        headers: Vec::new(),
        body: HttpBody::None,
        rest_of_args,
        idempotent,
        whole_response: false,
        max_result: MAX_RESULT,
        error_message: None,
        inject: InjectedArguments::default(),
        rate: None,
        is_whole_tool: false,
    }
}

/// The host of an address, and the address in pieces.
fn address_parts(field: &FieldReader<'_>, address: &str, scope: &NameScope<'_>) -> Option<(String, Vec<AddressPart>)> {
    let parts = pieces(field, address, scope)?;
    Some((host_of(field, address)?, parts))
}

/// A text in pieces, the first of which is a text: what stands in braces is an expression.
pub(super) fn pieces(field: &FieldReader<'_>, text: &str, scope: &NameScope<'_>) -> Option<Vec<AddressPart>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((text, behind)) = rest.split_once("{{") {
        let Some((inner, behind)) = behind.split_once("}}") else {
            field.note("an expression in the address is not closed with }}");
            return None;
        };
        let expression = match Expression::parse(inner.trim()) {
            Ok(expression) => expression,
            Err(error) => {
                field.note(error.message);
                return None;
            }
        };
        scope.check(field, expression.names());
        parts.extend([AddressPart::Text(text.to_owned()), AddressPart::Value(expression)]);
        rest = behind;
    }
    parts.push(AddressPart::Text(rest.to_owned()));
    Some(parts)
}

/// The host that an address names; what is wrong with the server that it names is noted.
fn host_of(field: &FieldReader<'_>, address: &str) -> Option<String> {
    let like = "like https://api.example.com/things/{{ args.id }}";
    let Some((scheme @ ("http" | "https"), behind)) = address.split_once("://") else {
        return field.is_not("an address that begins with https:// or http://");
    };
    let end = behind.find(['/', '?', '#']).unwrap_or(behind.len());
    let server = &behind[..end];
    if server.contains("{{") {
        field.note_with_hint(
            "scheme, host and port stand in the workflow as they are: no value decides where a request goes",
            like,
        );
        return None;
    }
    // The standard of URLs takes a backslash for a slash, and leaves out what cannot be seen.
    if server.contains(|letter: char| letter == '\\' || letter.is_control() || letter.is_whitespace()) {
        return field.is_not("the address of a server");
    }
    if server.contains('@') {
        let hint = "write a header: Authorization: Bearer {{ secrets.name }}";
        field.note_with_hint("an address holds no user and no password", hint);
        return None;
    }
    let host = Url::parse(&format!("{scheme}://{server}/")).ok().and_then(|url| Some(url.host_str()?.to_owned()));
    match host.filter(|host| !host.is_empty()) {
        None => field.is_not("the address of a server"),
        host => host,
    }
}
