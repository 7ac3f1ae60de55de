//! An operation as a tool: what a model is offered, and the request that its arguments make.

use std::sync::{Arc, OnceLock};

use jsonschema::Validator;
use reqwest::Url;
use serde_json::{Map, Value};

use super::arguments::{self, ArgumentPlace, ArgumentTarget};
use super::body::{self, BodyForm, BodyPlan};
use super::documents::{DocumentSet, Located};
use super::operations::{FoundOperation, OperationEntry, find, object};
use super::parameters::{self, ParameterLocation, ParameterSchema, RequestParameter};
use super::path::PathTemplate;
use super::request::{OpenApiRequest, RequestError, check_header};
use super::schema::{self, SchemaCaches, SchemaDialect};
use super::security::{self, SecurityAlternative};
use super::servers::{ServerChoice, ServerList};
use super::style::{self, ParameterStyle};
use super::warning::{JsonPointer, OpenApiWarning, WarningList};

/// The longest description of a tool, in characters: OpenAI takes no longer one.
const LONGEST_DESCRIPTION: usize = 1000;
/// The most media types that are asked for.
const MOST_ACCEPTED: usize = 5;
/// The most problems of one call that a model is told.
const MOST_PROBLEMS: usize = 10;

/// An operation as a tool.
#[derive(Debug, Clone)]
pub struct OpenApiTool {
    /// The name that models know it by: 1 to 64 of `A-Z a-z 0-9 _ -`.
    pub name: String,
    /// What it does, for models: the summary and the description of the operation.
    pub description: String,
    /// `GET`, `POST`, ….
    pub method: &'static str,
    /// The path as the document has it.
    pub path: String,
    /// The tags of the operation.
    pub tags: Vec<String>,
    /// Whether the document calls it deprecated.
    pub deprecated: bool,
    /// What is not used as it is written.
    pub warnings: Vec<OpenApiWarning>,
    published: Arc<Value>,
    checked: Arc<Value>,
    validator: Arc<OnceLock<Result<Validator, String>>>,
    security: Arc<[SecurityAlternative]>,
    plan: Arc<RequestPlan>,
}

/// How arguments become a request.
#[derive(Debug)]
struct RequestPlan {
    path: PathTemplate,
    servers: ServerList,
    targets: Vec<ArgumentTarget>,
    constants: Vec<RequestParameter>,
    body: Option<BodyPlan>,
    accept: Option<String>,
}

/// Reads an operation; the error is why it is no tool.
pub(super) fn read(
    documents: &DocumentSet,
    dialect: SchemaDialect,
    entry: &OperationEntry,
    caches: &mut SchemaCaches,
) -> Result<OpenApiTool, String> {
    let found = find(documents, entry).ok_or("the operation is not there")?;
    entry.at_place(|place| read_at(documents, dialect, entry, found, caches, place))
}

fn read_at(
    documents: &DocumentSet,
    dialect: SchemaDialect,
    entry: &OperationEntry,
    found: FoundOperation<'_>,
    caches: &mut SchemaCaches,
    place: &JsonPointer<'_>,
) -> Result<OpenApiTool, String> {
    let mut warnings = WarningList::default();
    let operation = found.operation.value;
    let security = security::alternatives(documents, found.operation, place, &mut warnings);
    let servers = ServerList::read(documents, found);
    servers.warn(place, &mut warnings);
    let path = PathTemplate::parse(&entry.path);
    let mut declarations = parameters::declarations(documents, found, &security, place, &mut warnings)?;
    let in_path = path.parameters();
    declarations.retain(|declaration| {
        let parameter = &declaration.parameter;
        let is_used = parameter.location != ParameterLocation::Path || in_path.contains(&parameter.name.as_str());
        if !is_used {
            let message = format!("the path has no {{{}}}; the parameter is left out", parameter.name);
            warnings.add(&JsonPointer::root(&declaration.place), message);
        }
        is_used
    });
    for name in in_path {
        let is_known = |known: &parameters::ParameterDeclaration<'_>| {
            known.parameter.location == ParameterLocation::Path && known.parameter.name == name
        };
        if !declarations.iter().any(is_known) {
            warnings.add(
                place,
                format!("the path has {{{name}}}, and no parameter is declared for it; it is taken for a text"),
            );
            declarations.insert(0, undeclared(name, place));
        }
    }
    let mut arguments = arguments::of_parameters(&declarations);
    let body = read_body(documents, found.operation, entry, &mut arguments, place, &mut warnings)?;
    let schemas = arguments::schemas(documents, dialect, &arguments, caches, place, &mut warnings);
    let published = Arc::new(schemas.published);
    let checked = schemas.checked.map_or_else(|| published.clone(), Arc::new);
    let mut targets: Vec<ArgumentTarget> = arguments.into_iter().map(|argument| argument.target).collect();
    targets.retain(|target| !schemas.left_out.contains(&target.name));
    let constants = declarations.iter().filter(|one| one.parameter.constant.is_some());
    let plan = RequestPlan {
        path,
        servers,
        targets,
        constants: constants.map(|one| one.parameter.clone()).collect(),
        body,
        accept: accepted(documents, found.operation),
    };
    let deprecated = operation.get("deprecated").is_some_and(|truth| truth == true);
    Ok(OpenApiTool {
        name: entry.name.clone(),
        description: description(entry, found, deprecated),
        method: entry.method,
        path: entry.path.clone(),
        tags: entry.tags.clone(),
        deprecated,
        warnings: warnings.finish(place),
        published,
        checked,
        validator: Arc::new(OnceLock::new()),
        security: security.into(),
        plan: Arc::new(plan),
    })
}

fn undeclared<'d>(name: &str, place: &JsonPointer<'_>) -> parameters::ParameterDeclaration<'d> {
    let parameter = RequestParameter {
        name: name.to_owned(),
        location: ParameterLocation::Path,
        style: ParameterStyle::Simple,
        explode: false,
        allow_reserved: false,
        is_json: false,
        required: true,
        constant: None,
    };
    parameters::ParameterDeclaration {
        parameter,
        schema: ParameterSchema::Text,
        description: String::new(),
        place: place.to_string(),
    }
}

/// Reads the body and adds its arguments.
fn read_body<'d>(
    documents: &'d DocumentSet,
    operation: Located<'d>,
    entry: &OperationEntry,
    arguments: &mut Vec<arguments::Argument<'d>>,
    place: &JsonPointer<'_>,
    warnings: &mut WarningList,
) -> Result<Option<BodyPlan>, String> {
    let Some(written) = operation.get("requestBody").filter(|body| !body.value.is_null()) else { return Ok(None) };
    let place = place.key("requestBody");
    let body = documents.follow(written).map_err(|why| format!("its body cannot be read: {why}"))?;
    let content = body.value.get("content").and_then(Value::as_object);
    if content.is_none_or(Map::is_empty) {
        warnings.add(&place, "the body has no `content` and is not sent");
        return Ok(None);
    }
    let Some(choice) = body::choose(documents, body) else {
        let kinds: Vec<&str> = content.into_iter().flat_map(Map::keys).map(String::as_str).take(3).collect();
        let message = format!("no body of the type {} can be written", kinds.join(", "));
        if body.value.get("required").is_some_and(|truth| truth == true) {
            return Err(message);
        }
        warnings.add(&place, format!("{message}; the request has none"));
        return Ok(None);
    };
    match entry.method {
        "TRACE" => {
            warnings.add(&place, "a TRACE request has no body; it is left out");
            return Ok(None);
        }
        "GET" | "HEAD" => {
            warnings.add(&place, format!("many servers do not read the body of a {} request", entry.method))
        }
        _ => {}
    }
    if choice.form == BodyForm::Text && choice.content_type.contains("xml") {
        warnings.add(&place, "the body is XML, which the model writes as a text");
    } else if choice.form == BodyForm::Text
        && choice
            .media
            .value
            .get("schema")
            .is_some_and(|schema| schema.get("type").is_some_and(|kind| kind == "object"))
    {
        warnings.add(&place, format!("the body is {}, which the model writes as a text", choice.content_type));
    }
    let body_arguments = arguments::of_body(documents, body, &choice, arguments, &place);
    arguments.extend(body_arguments.arguments);
    Ok(Some(body_arguments.plan))
}

/// What a model is told of the operation.
fn description(entry: &OperationEntry, found: FoundOperation<'_>, deprecated: bool) -> String {
    let text = |holder: Located<'_>, key: &str| {
        let text = holder.value.get(key).and_then(Value::as_str).unwrap_or_default();
        schema::shortened(text, LONGEST_DESCRIPTION)
    };
    let of = |holder: Located<'_>| {
        let (summary, description) = (text(holder, "summary"), text(holder, "description"));
        if summary.is_empty() || description.starts_with(summary.trim_end_matches('.')) {
            return description;
        }
        if description.is_empty() {
            return summary;
        }
        format!("{}. {description}", summary.trim_end_matches('.'))
    };
    let mut words = of(found.operation);
    if words.is_empty() {
        words = of(found.path_item);
    }
    if words.is_empty() {
        words = entry.operation();
    }
    if deprecated {
        words.insert_str(0, "Deprecated. ");
    }
    schema::shortened(&words, LONGEST_DESCRIPTION)
}

/// The header `Accept`: the media types of answers that are well.
fn accepted(documents: &DocumentSet, operation: Located<'_>) -> Option<String> {
    let mut kinds: Vec<&str> = Vec::new();
    for (status, response) in object(operation.value.get("responses")) {
        if !status.starts_with('2') && status != "default" {
            continue;
        }
        let Ok(response) = documents.follow(operation.with(response)) else { continue };
        for (kind, _) in object(response.value.get("content")) {
            let is_kind = kind.contains('/') && check_header("Accept", kind).is_ok();
            if is_kind && !kinds.contains(&kind.as_str()) {
                kinds.push(kind);
            }
        }
    }
    // What a model reads best comes first.
    kinds.sort_by_key(|kind| !kind.contains("json"));
    kinds.truncate(MOST_ACCEPTED);
    (!kinds.is_empty()).then(|| kinds.join(", "))
}

impl OpenApiTool {
    /// The JSON Schema (draft 2020-12) of the arguments, as a model is offered it.
    pub fn schema(&self) -> &Arc<Value> {
        &self.published
    }

    /// The JSON Schema that arguments are checked against: as [`Self::schema`], and with what is only checked (a `multipleOf` of
    /// fractions, properties that are read-only).
    pub fn checked_schema(&self) -> &Arc<Value> {
        &self.checked
    }

    /// The schema, ready to check with. It is compiled when it is first asked for.
    pub fn validator(&self) -> Result<&Validator, String> {
        let compiled = self.validator.get_or_init(|| {
            crate::schema::validator(&self.checked)
                // A pattern that is one may still be too large for this check; the server has its own.
                .or_else(|_| crate::schema::validator(&schema::without_patterns(&self.checked)))
                .map_err(|error| format!("its schema cannot be used: {error}"))
        });
        compiled.as_ref().map_err(Clone::clone)
    }

    /// What is wrong with arguments, a sentence for each problem; empty: they fit.
    pub fn problems(&self, arguments: &Map<String, Value>) -> Vec<String> {
        let validator = match self.validator() {
            Ok(validator) => validator,
            Err(why) => return vec![why],
        };
        let value = Value::Object(arguments.clone());
        let problem = |error: jsonschema::ValidationError<'_>| {
            let place = error.instance_path().to_string();
            match place.trim_start_matches('/') {
                "" => error.to_string(),
                place => format!("{place}: {error}"),
            }
        };
        validator.iter_errors(&value).take(MOST_PROBLEMS).map(problem).collect()
    }

    /// The ways to be allowed to call it, in the order written; empty: no credential is needed, and none may be sent.
    pub fn security(&self) -> &[SecurityAlternative] {
        &self.security
    }

    /// The address that its path is added to.
    pub fn server(&self, choice: &ServerChoice) -> Result<Url, String> {
        self.plan.servers.address(choice)
    }

    /// Whether a header of this name is one of its parameters.
    pub fn has_header(&self, name: &str) -> bool {
        let is_it = |parameter: &RequestParameter| {
            parameter.location == ParameterLocation::Header && parameter.name.eq_ignore_ascii_case(name)
        };
        let mut declared = self.plan.targets.iter().filter_map(|target| match &target.place {
            ArgumentPlace::Parameter(parameter) => Some(parameter),
            _ => None,
        });
        declared.any(is_it) || self.plan.constants.iter().any(is_it)
    }

    /// Whether HTTP promises that a call changes nothing (RFC 9110: GET, HEAD, OPTIONS, TRACE), so that it may be made again. PUT and DELETE
    /// are idempotent by their definition, but many servers answer the second one otherwise, or have done something else meanwhile.
    pub fn is_safe(&self) -> bool {
        matches!(self.method, "GET" | "HEAD" | "OPTIONS" | "TRACE")
    }

    /// The request that these arguments make, which fit the schema. It has no credentials yet.
    pub fn request(
        &self,
        arguments: &Map<String, Value>,
        server: &ServerChoice,
    ) -> Result<OpenApiRequest, RequestError> {
        let base = self.server(server).map_err(RequestError::Server)?;
        self.plan.request(self, arguments, base)
    }
}

impl RequestPlan {
    /// The parameters that have a value, and their values.
    fn parameters<'a>(&'a self, arguments: &'a Map<String, Value>) -> Vec<(&'a RequestParameter, &'a Value, &'a str)> {
        let constants = self
            .constants
            .iter()
            .filter_map(|parameter| Some((parameter, parameter.constant.as_ref()?, parameter.name.as_str())));
        let given = self.targets.iter().filter_map(|target| match &target.place {
            ArgumentPlace::Parameter(parameter) => {
                Some((parameter, arguments.get(&target.name)?, target.name.as_str()))
            }
            _ => None,
        });
        constants.chain(given).collect()
    }

    fn request(
        &self,
        tool: &OpenApiTool,
        arguments: &Map<String, Value>,
        base: Url,
    ) -> Result<OpenApiRequest, RequestError> {
        let parameters = self.parameters(arguments);
        for target in &self.targets {
            if let ArgumentPlace::Parameter(parameter) = &target.place
                && parameter.required
                && !arguments.contains_key(&target.name)
            {
                return Err(RequestError::Argument(format!("{} is missing", target.name)));
            }
        }
        let mut query: Vec<String> = Vec::new();
        let mut headers: Vec<(String, String)> = Vec::new();
        let mut cookies: Vec<(String, String)> = Vec::new();
        for (parameter, value, argument) in &parameters {
            let wrong = |why: String| RequestError::Argument(format!("{argument} {why}"));
            let text;
            let value = if parameter.is_json {
                text = Value::String(value.to_string());
                &text
            } else {
                *value
            };
            let explode = parameter.explode;
            match parameter.location {
                ParameterLocation::Path => {}
                ParameterLocation::Query => {
                    let is_empty_list = value.as_array().is_some_and(Vec::is_empty);
                    if is_empty_list && parameter.required {
                        query.push(format!("{}=", style::encoded(&parameter.name, false)));
                    } else if !is_empty_list {
                        let (style, reserved) = (parameter.style, parameter.allow_reserved);
                        query.extend(style::in_query(&parameter.name, value, style, explode, reserved).map_err(wrong)?);
                    }
                }
                ParameterLocation::Header => {
                    let text = style::in_header(value, explode).map_err(wrong)?;
                    check_header(&parameter.name, &text).map_err(wrong)?;
                    headers.push((parameter.name.clone(), text));
                }
                ParameterLocation::Cookie => {
                    let pairs = style::in_cookie(&parameter.name, value, explode).map_err(wrong)?;
                    if pairs.iter().any(|(name, _)| !parameters::is_token(name)) {
                        return Err(wrong("has a name that no cookie may have".to_owned()));
                    }
                    cookies.extend(pairs);
                }
            }
        }
        let url = self.url(&parameters, &base, &query)?;
        if let Some(accept) = &self.accept {
            headers.push(("Accept".to_owned(), accept.clone()));
        }
        let body = self.body(arguments)?;
        Ok(OpenApiRequest::new(tool.method, url, headers, cookies, body, tool.security.clone()))
    }

    fn url(
        &self,
        parameters: &[(&RequestParameter, &Value, &str)],
        base: &Url,
        query: &[String],
    ) -> Result<Url, RequestError> {
        let value = |name: &str| {
            let is_it =
                |parameter: &RequestParameter| parameter.name == name && parameter.location == ParameterLocation::Path;
            let found = parameters.iter().find(|(parameter, ..)| is_it(parameter));
            let (parameter, value, argument) = found.ok_or_else(|| format!("{name} is missing"))?;
            let text = if parameter.is_json { Value::String(value.to_string()) } else { (*value).clone() };
            style::in_path(name, &text, parameter.style, parameter.explode).map_err(|why| format!("{argument} {why}"))
        };
        let filled = self.path.filled(value).map_err(RequestError::Argument)?;
        let path = format!("{}{}", base.path().trim_end_matches('/'), filled.path);
        let mut url = base.clone();
        url.set_path(&path);
        // A reader of addresses takes some steps itself. What it does not leave as it is leads somewhere else.
        if url.path() != path {
            return Err(RequestError::Argument(format!("the path {path:?} would lead somewhere else")));
        }
        let parts = [filled.query].into_iter().filter(|part| !part.is_empty()).chain(query.iter().cloned());
        let query = parts.collect::<Vec<_>>().join("&");
        url.set_query((!query.is_empty()).then_some(query.as_str()));
        Ok(url)
    }

    fn body(&self, arguments: &Map<String, Value>) -> Result<Option<super::RequestBody>, RequestError> {
        let Some(plan) = &self.body else { return Ok(None) };
        let mut fields = Map::new();
        let mut is_flat = false;
        for target in &self.targets {
            let given = arguments.get(&target.name);
            match &target.place {
                ArgumentPlace::Parameter(_) => {}
                ArgumentPlace::Body => {
                    return match given {
                        Some(value) => plan.write(value).map(Some).map_err(RequestError::Argument),
                        None if plan.required => Err(RequestError::Argument(format!("{} is missing", target.name))),
                        None => Ok(None),
                    };
                }
                ArgumentPlace::BodyField(name) => {
                    is_flat = true;
                    fields.extend(given.map(|value| (name.clone(), value.clone())));
                }
            }
        }
        if fields.is_empty() && !plan.required || !is_flat {
            return Ok(None);
        }
        plan.write(&Value::Object(fields)).map(Some).map_err(RequestError::Argument)
    }
}

#[cfg(test)]
#[path = "tool_tests.rs"]
mod tests;
