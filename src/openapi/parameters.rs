//! The parameters of an operation, from its path and of its own.

use serde_json::Value;

use super::documents::{DocumentSet, Located};
use super::operations::FoundOperation;
use super::security::{CredentialPlace, SecurityAlternative};
use super::style::ParameterStyle;
use super::swagger;
use super::warning::{JsonPointer, WarningList};

/// Where a parameter goes. The order is the one in which parameters keep their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ParameterLocation {
    Path,
    Query,
    Header,
    Cookie,
}

impl ParameterLocation {
    pub(super) fn word(self) -> &'static str {
        match self {
            ParameterLocation::Path => "path",
            ParameterLocation::Query => "query",
            ParameterLocation::Header => "header",
            ParameterLocation::Cookie => "cookie",
        }
    }
}

/// How a parameter is sent.
#[derive(Debug, Clone)]
pub(super) struct RequestParameter {
    /// Its name in the request.
    pub(super) name: String,
    pub(super) location: ParameterLocation,
    pub(super) style: ParameterStyle,
    pub(super) explode: bool,
    pub(super) allow_reserved: bool,
    /// The value is sent as JSON.
    pub(super) is_json: bool,
    pub(super) required: bool,
    /// The only value that it may have: nobody is asked for it.
    pub(super) constant: Option<Value>,
}

/// A parameter as a document has it.
pub(super) struct ParameterDeclaration<'d> {
    pub(super) parameter: RequestParameter,
    pub(super) schema: ParameterSchema<'d>,
    pub(super) description: String,
    pub(super) place: String,
}

/// What a document says of a parameter's value.
pub(super) enum ParameterSchema<'d> {
    /// A schema, and the key of the parameter that it stands under.
    Schema(Located<'d>, &'static str),
    /// A schema as another version of OpenAPI has it, and the document that its references are in.
    Rewritten(Box<Value>, usize),
    /// Nothing: it is taken for a text.
    Text,
}

/// Headers that the sending of a request decides, and no model. OpenAPI wants the first three ignored.
const RESERVED_HEADERS: [&str; 15] = [
    "accept",
    "content-type",
    "authorization",
    "connection",
    "content-length",
    "cookie",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The parameters of an operation; the error is why it cannot be called.
pub(super) fn declarations<'d>(
    documents: &'d DocumentSet,
    found: FoundOperation<'d>,
    security: &[SecurityAlternative],
    place: &JsonPointer<'_>,
    warnings: &mut WarningList,
) -> Result<Vec<ParameterDeclaration<'d>>, String> {
    let mut declarations: Vec<ParameterDeclaration<'d>> = Vec::new();
    // Those of the operation come first: they take the place of the path's.
    for holder in [found.operation, found.path_item] {
        let list = match holder.value.get("parameters") {
            Some(Value::Array(list)) => list.as_slice(),
            Some(Value::Null) | None => continue,
            Some(_) => {
                warnings.add(&place.key("parameters"), "`parameters` is not a list and is not used");
                continue;
            }
        };
        let list_place = place.key("parameters");
        for (index, item) in list.iter().enumerate() {
            let item_place = list_place.index(index);
            let has_body = found.operation.value.get("requestBody").is_some();
            match declaration(documents, holder.with(item), security, has_body, &item_place, warnings)? {
                Some(new) if !declarations.iter().any(|known| is_same(&known.parameter, &new.parameter)) => {
                    declarations.push(new);
                }
                _ => {}
            }
        }
    }
    declarations.sort_by_key(|declaration| declaration.parameter.location);
    Ok(declarations)
}

fn is_same(one: &RequestParameter, other: &RequestParameter) -> bool {
    let same_name = match one.location {
        ParameterLocation::Header => one.name.eq_ignore_ascii_case(&other.name),
        _ => one.name == other.name,
    };
    one.location == other.location && same_name
}

fn declaration<'d>(
    documents: &'d DocumentSet,
    item: Located<'d>,
    security: &[SecurityAlternative],
    has_body: bool,
    place: &JsonPointer<'_>,
    warnings: &mut WarningList,
) -> Result<Option<ParameterDeclaration<'d>>, String> {
    let found = match documents.follow(item) {
        Ok(found) => found,
        Err(why) => {
            warnings.add(place, format!("{why}; the parameter is left out"));
            return Ok(None);
        }
    };
    let text = |key: &str| found.value.get(key).and_then(Value::as_str);
    let is_set = |key: &str| found.value.get(key).is_some_and(|truth| truth == true);
    let Some(name) = text("name").filter(|name| !name.is_empty()) else {
        warnings.add(place, "a parameter without a name is left out");
        return Ok(None);
    };
    let required = is_set("required");
    let location = match text("in").map(str::to_ascii_lowercase).as_deref() {
        Some("path") => ParameterLocation::Path,
        Some("query") => ParameterLocation::Query,
        Some("header") => ParameterLocation::Header,
        Some("cookie") => ParameterLocation::Cookie,
        Some("querystring") => {
            return Err(format!("the parameter {name:?} is the whole query (`in: querystring` of OpenAPI 3.2)"));
        }
        // Of Swagger 2.0 a body is made of them.
        Some("body" | "formdata") if has_body => return Ok(None),
        Some(other @ ("body" | "formdata")) => {
            return Err(format!("the parameter {name:?} of Swagger 2.0 (`in: {other}`) stands where it is not read"));
        }
        _ if required => return Err(format!("nothing says where the required parameter {name:?} goes")),
        _ => {
            warnings.add(place, format!("nothing says where the parameter {name:?} goes; it is left out"));
            return Ok(None);
        }
    };
    if is_left_to_sender(name, location, required, security, place, warnings)? {
        return Ok(None);
    }
    let (schema, is_json) = schema_of(found, place, warnings);
    let schema_value = match &schema {
        ParameterSchema::Schema(schema, _) => documents.follow(*schema).ok().map(|schema| schema.value),
        ParameterSchema::Rewritten(schema, _) => Some(&**schema),
        ParameterSchema::Text => None,
    };
    let style = style_of(text("style"), location, place, warnings);
    let explode = match found.value.get("explode").and_then(Value::as_bool) {
        Some(explode) => explode,
        None => matches!(style, ParameterStyle::Form | ParameterStyle::DeepObject),
    };
    let kind = schema_value.and_then(|schema| schema.get("type")).and_then(Value::as_str);
    if style == ParameterStyle::DeepObject && kind == Some("array") {
        warnings
            .add(place, format!("`deepObject` of a list is sent as {name}[0]=…, which the specification leaves open"));
    }
    let required = required || location == ParameterLocation::Path;
    let constant = schema_value.filter(|_| required).and_then(constant);
    let parameter = RequestParameter {
        name: name.to_owned(),
        location,
        style,
        explode,
        allow_reserved: is_set("allowReserved") && location == ParameterLocation::Query,
        is_json,
        required,
        constant,
    };
    let description = text("description").unwrap_or_default().to_owned();
    Ok(Some(ParameterDeclaration { parameter, schema, description, place: place.to_string() }))
}

/// Whether a parameter is none of a model's business: the sending decides it, or a credential goes there.
fn is_left_to_sender(
    name: &str,
    location: ParameterLocation,
    required: bool,
    security: &[SecurityAlternative],
    place: &JsonPointer<'_>,
    warnings: &mut WarningList,
) -> Result<bool, String> {
    let is_credential = security.iter().flat_map(|alternative| &alternative.schemes).any(|scheme| {
        match (scheme.kind.place(), location) {
            (Some(CredentialPlace::Header(header)), ParameterLocation::Header) => header.eq_ignore_ascii_case(name),
            (Some(CredentialPlace::Query(query)), ParameterLocation::Query) => query == name,
            (Some(CredentialPlace::Cookie(cookie)), ParameterLocation::Cookie) => cookie == name,
            _ => false,
        }
    });
    if is_credential {
        return Ok(true);
    }
    match location {
        ParameterLocation::Header => {}
        ParameterLocation::Cookie if !is_token(name) => {
            warnings.add(place, format!("{name:?} is no name of a cookie; the parameter is left out"));
            return Ok(true);
        }
        _ => return Ok(false),
    }
    let lower = name.to_ascii_lowercase();
    if lower == "authorization" && required {
        warnings.add(place, "no model is asked for the header Authorization; set a credential for it");
    }
    if RESERVED_HEADERS.contains(&lower.as_str()) {
        return Ok(true);
    }
    if is_token(name) {
        return Ok(false);
    }
    if required {
        return Err(format!("{name:?} is no name of a header, and is required"));
    }
    warnings.add(place, format!("{name:?} is no name of a header; the parameter is left out"));
    Ok(true)
}

/// Whether a text may be the name of a header or a cookie (a token of RFC 9110).
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// The schema of a parameter, and whether its value is sent as JSON.
fn schema_of<'d>(
    found: Located<'d>,
    place: &JsonPointer<'_>,
    warnings: &mut WarningList,
) -> (ParameterSchema<'d>, bool) {
    if let Some(schema) = found.get("schema") {
        return (ParameterSchema::Schema(schema, "schema"), false);
    }
    let media = found.value.get("content").and_then(Value::as_object).and_then(|content| content.iter().next());
    if let Some((kind, media)) = media {
        let is_json = kind.to_ascii_lowercase().contains("json") || kind.contains('*');
        let schema = found.with(media).get("schema");
        return (schema.map_or(ParameterSchema::Text, |schema| ParameterSchema::Schema(schema, "content")), is_json);
    }
    let mut rewritten = found.value.clone();
    swagger::modernise(&mut rewritten);
    match rewritten.get_mut("schema").map(Value::take) {
        Some(schema) if schema.as_object().is_some_and(|schema| schema.contains_key("type")) => {
            (ParameterSchema::Rewritten(Box::new(schema), found.document), false)
        }
        _ => {
            warnings.add(place, "nothing says what the value of the parameter is; it is taken for a text");
            (ParameterSchema::Text, false)
        }
    }
}

fn style_of(
    name: Option<&str>,
    location: ParameterLocation,
    place: &JsonPointer<'_>,
    warnings: &mut WarningList,
) -> ParameterStyle {
    use ParameterStyle::{DeepObject, Form, Label, Matrix, PipeDelimited, Simple, SpaceDelimited};
    let default = match location {
        ParameterLocation::Path | ParameterLocation::Header => Simple,
        ParameterLocation::Query | ParameterLocation::Cookie => Form,
    };
    let Some(name) = name else { return default };
    let fits = |style: &ParameterStyle| match location {
        ParameterLocation::Path => matches!(style, Simple | Label | Matrix),
        ParameterLocation::Query => matches!(style, Form | DeepObject | SpaceDelimited | PipeDelimited),
        ParameterLocation::Header => matches!(style, Simple),
        ParameterLocation::Cookie => matches!(style, Form),
    };
    ParameterStyle::parse(name).filter(fits).unwrap_or_else(|| {
        let message =
            format!("the style {name:?} is not one of a {} parameter; the usual one is taken", location.word());
        warnings.add(&place.key("style"), message);
        default
    })
}

/// The only value that a schema takes.
fn constant(schema: &Value) -> Option<Value> {
    let only = match (schema.get("const"), schema.get("enum").and_then(Value::as_array).map(Vec::as_slice)) {
        (Some(only), _) | (None, Some([only])) => only,
        _ => return None,
    };
    (only.is_string() || only.is_number() || only.is_boolean()).then(|| only.clone())
}
