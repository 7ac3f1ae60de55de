//! Swagger 2.0 in the words of OpenAPI 3: servers, request bodies, security schemes and styles. `definitions` stay where they
//! are, since references lead there. Operations and parameters may stand in other documents; they are rewritten where they stand.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::documents::{DocumentPlace, DocumentSet};
use super::operations::METHODS;
use super::schema::shortened;

/// The keys of a parameter of Swagger 2.0 that say nothing of its value.
const NOT_OF_THE_VALUE: [&str; 8] =
    ["name", "in", "description", "required", "collectionFormat", "allowEmptyValue", "schema", "x-example"];

/// The keys of a parameter that say how it is a field of a form.
const OF_THE_FIELD: [&str; 5] = ["name", "in", "required", "type", "collectionFormat"];
/// The longest description of a body or of a field that is copied.
const LONGEST_DESCRIPTION: usize = 1000;

/// Rewrites a document, and what belongs to its operations in others.
pub(super) fn rewrite(documents: &mut DocumentSet) {
    let Some(map) = documents.root_mut().as_object_mut() else { return };
    let servers = servers(map);
    map.insert("servers".to_owned(), servers);
    if let Some(Value::Object(schemes)) = map.remove("securityDefinitions") {
        let schemes: Map<String, Value> =
            schemes.into_iter().map(|(name, scheme)| (name, security_scheme(scheme))).collect();
        map.insert("components".to_owned(), json!({ "securitySchemes": schemes }));
    }
    let media = MediaTypes { consumes: texts(map.get("consumes")), produces: texts(map.get("produces")) };
    let paths = map.get("paths").and_then(Value::as_object).into_iter().flat_map(Map::keys);
    let paths = paths.map(|path| DocumentPlace::root().with("paths").with(path)).collect::<Vec<_>>();
    // Several paths may have their operations in one place.
    let items: BTreeSet<DocumentPlace> = paths.into_iter().filter_map(|path| documents.followed(path).ok()).collect();
    // Everything is read before anything is written: references lead from one operation to the parameters of another.
    let mut parameters = BTreeSet::new();
    let mut rewritten = BTreeMap::new();
    for item in items {
        let common = parameters_of(documents, &item);
        for (key, _) in METHODS {
            let place = item.with(key);
            if documents.at(&place).is_some_and(Value::is_object) {
                let own = parameters_of(documents, &place);
                let operation = rewritten_operation(documents, &place, &common, &own, &media);
                parameters.extend(own.into_iter().map(|parameter| parameter.place));
                rewritten.insert(place, operation);
            }
        }
        parameters.extend(common.into_iter().map(|parameter| parameter.place));
    }
    for place in parameters {
        if let Some(parameter) = documents.at_mut(&place) {
            modernise(parameter);
        }
    }
    for (place, parts) in rewritten {
        if let Some(Value::Object(operation)) = documents.at_mut(&place) {
            operation.extend(parts);
        }
    }
}

/// The media types of requests and answers, where an operation does not say its own.
struct MediaTypes {
    consumes: Vec<String>,
    produces: Vec<String>,
}

/// A parameter of an operation or of a path.
struct FoundParameter {
    /// Where it stands, once its references are followed.
    place: DocumentPlace,
    /// Whether it stands in the list of parameters itself.
    is_inline: bool,
}

/// The parameters of an operation or of a path that can be found.
fn parameters_of(documents: &DocumentSet, holder: &DocumentPlace) -> Vec<FoundParameter> {
    let list = holder.with("parameters");
    let count = documents.at(&list).and_then(Value::as_array).map_or(0, Vec::len);
    let found = (0..count).filter_map(|index| {
        let written = list.with(&index.to_string());
        let place = documents.followed(written.clone()).ok()?;
        Some(FoundParameter { is_inline: place == written, place })
    });
    found.collect()
}

/// A parameter with its `schema`, `style` and `explode` as OpenAPI 3 has them.
pub(super) fn modernise(parameter: &mut Value) {
    let Some(map) = parameter.as_object_mut() else { return };
    if map.contains_key("schema") || map.contains_key("content") || map.contains_key("$ref") {
        return;
    }
    let (style, explode) =
        match (map.get("collectionFormat").and_then(Value::as_str), map.get("in").and_then(Value::as_str)) {
            (Some("ssv"), Some("query")) => (Some("spaceDelimited"), false),
            (Some("pipes"), Some("query")) => (Some("pipeDelimited"), false),
            (Some("multi"), _) => (None, true),
            _ => (None, false),
        };
    let mut schema = Map::new();
    let keys: Vec<String> = map.keys().filter(|key| !NOT_OF_THE_VALUE.contains(&key.as_str())).cloned().collect();
    for key in keys {
        if let Some(value) = map.shift_remove(&key) {
            schema.insert(key, value);
        }
    }
    if schema.get("type").is_some_and(|kind| kind == "file") {
        schema.insert("type".to_owned(), json!("string"));
        schema.insert("format".to_owned(), json!("binary"));
    }
    map.remove("collectionFormat");
    if schema.get("type").is_some_and(|kind| kind == "array") {
        map.insert("explode".to_owned(), json!(explode));
        if let Some(style) = style {
            map.insert("style".to_owned(), json!(style));
        }
    }
    map.insert("schema".to_owned(), Value::Object(schema));
}

fn servers(map: &Map<String, Value>) -> Value {
    let base = map.get("basePath").and_then(Value::as_str).unwrap_or_default().trim_end_matches('/');
    let base = if base.is_empty() || base.starts_with('/') { base.to_owned() } else { format!("/{base}") };
    let Some(host) = map.get("host").and_then(Value::as_str).filter(|host| !host.is_empty()) else {
        return json!([{ "url": if base.is_empty() { "/" } else { base.as_str() } }]);
    };
    let mut schemes = texts(map.get("schemes"));
    schemes.retain(|scheme| scheme == "https" || scheme == "http");
    schemes.sort_by_key(|scheme| scheme != "https");
    if schemes.is_empty() {
        // The scheme of the document itself.
        return json!([{ "url": format!("//{host}{base}") }]);
    }
    schemes.iter().map(|scheme| json!({ "url": format!("{scheme}://{host}{base}") })).collect()
}

/// What an operation has in the words of OpenAPI 3.
fn rewritten_operation(
    documents: &mut DocumentSet,
    place: &DocumentPlace,
    common: &[FoundParameter],
    own: &[FoundParameter],
    media: &MediaTypes,
) -> Map<String, Value> {
    let of = |documents: &DocumentSet, parameter: &FoundParameter, key: &str| -> Option<String> {
        documents.at(&parameter.place)?.get(key)?.as_str().map(str::to_owned)
    };
    let named = |documents: &DocumentSet, parameter: &FoundParameter| {
        (of(documents, parameter, "name"), of(documents, parameter, "in"))
    };
    let is_in = |documents: &DocumentSet, parameter: &FoundParameter, place: &str| {
        of(documents, parameter, "in").as_deref() == Some(place)
    };
    // Those of the operation take the place of the path's.
    let has_own_body = own.iter().any(|parameter| is_in(documents, parameter, "body"));
    let inherited = common.iter().filter(|parameter| {
        let is_replaced = own.iter().any(|own| named(documents, own) == named(documents, parameter));
        !(is_replaced || has_own_body && is_in(documents, parameter, "body"))
    });
    let parameters: Vec<&FoundParameter> = inherited.chain(own).collect();
    let body = parameters.iter().find(|parameter| is_in(documents, parameter, "body")).copied();
    let fields: Vec<&FoundParameter> =
        parameters.into_iter().filter(|parameter| is_in(documents, parameter, "formData")).collect();
    let operation = documents.at(place);
    let own_types = |key: &str, usual: &[String]| match operation.and_then(|operation| operation.get(key)) {
        Some(own) => texts(Some(own)),
        None => usual.to_vec(),
    };
    let (consumes, produces) = (own_types("consumes", &media.consumes), own_types("produces", &media.produces));
    let request_body = match body {
        Some(body) => Some(whole_body(documents, place, body, &consumes)),
        None => form_body(documents, place, &fields, &consumes),
    };
    let content: Map<String, Value> = produces.into_iter().map(|kind| (kind, json!({}))).collect();
    let mut rewritten = Map::new();
    rewritten.extend(request_body.map(|body| ("requestBody".to_owned(), body)));
    rewritten.insert("responses".to_owned(), json!({ "200": { "content": content } }));
    rewritten
}

/// The body of an operation that is one parameter.
fn whole_body(
    documents: &mut DocumentSet,
    operation: &DocumentPlace,
    body: &FoundParameter,
    consumes: &[String],
) -> Value {
    let is_form = |kind: &&String| kind.starts_with("multipart/") || kind.contains("x-www-form-urlencoded");
    let mut kinds: Vec<&String> = consumes.iter().filter(|kind| !is_form(kind)).collect();
    let json = "application/json".to_owned();
    if kinds.is_empty() {
        kinds.push(&json);
    }
    let parameter = documents.at(&body.place);
    let described = description(parameter);
    let required = parameter.and_then(|parameter| parameter.get("required")).cloned();
    let schema = match parameter.and_then(|parameter| parameter.get("schema")) {
        None => json!({}),
        // What several have is written once.
        Some(schema) if body.is_inline && kinds.len() == 1 => schema.clone(),
        Some(_) => {
            let place = body.place.with("schema");
            // Where nothing stands in the end, the reference to it says so.
            let place = documents.followed(place.clone()).unwrap_or(place);
            json!({ "$ref": documents.reference(operation.document, &place) })
        }
    };
    let content: Map<String, Value> =
        kinds.into_iter().map(|kind| (kind.clone(), json!({ "schema": schema }))).collect();
    let mut rewritten = Map::new();
    rewritten.extend(described.map(|text| ("description".to_owned(), text)));
    rewritten.extend(required.map(|required| ("required".to_owned(), required)));
    rewritten.insert("content".to_owned(), Value::Object(content));
    Value::Object(rewritten)
}

/// The body of an operation whose parameters are the fields of a form.
fn form_body(
    documents: &mut DocumentSet,
    operation: &DocumentPlace,
    fields: &[&FoundParameter],
    consumes: &[String],
) -> Option<Value> {
    let (mut properties, mut required, mut encoding) = (Map::new(), Vec::new(), Map::new());
    let mut has_file = false;
    for field in fields {
        let Some(Value::Object(written)) = documents.at(&field.place) else { continue };
        let described = description(documents.at(&field.place));
        // Of one that others share, the value stays where it is.
        let copied = written.iter().filter(|(key, _)| field.is_inline || OF_THE_FIELD.contains(&key.as_str()));
        let mut parameter = Value::Object(copied.map(|(key, value)| (key.clone(), value.clone())).collect());
        has_file |= parameter.get("type").is_some_and(|kind| kind == "file");
        modernise(&mut parameter);
        let Some(name) = parameter.get("name").and_then(Value::as_str).map(str::to_owned) else { continue };
        if parameter.get("required").is_some_and(|required| required == true) {
            required.push(Value::String(name.clone()));
        }
        if let Some(explode) = parameter.get("explode") {
            encoding.insert(name.clone(), json!({ "style": "form", "explode": explode }));
        }
        let mut schema = match field.is_inline {
            true => parameter.get("schema").cloned().unwrap_or_else(|| json!({})),
            // The parameter has its schema there when it is rewritten, too.
            false => json!({ "$ref": documents.reference(operation.document, &field.place.with("schema")) }),
        };
        if let (Some(schema), Some(described)) = (schema.as_object_mut(), described) {
            schema.insert("description".to_owned(), described);
        }
        properties.insert(name, schema);
    }
    if properties.is_empty() {
        return None;
    }
    let is_multipart = has_file
        || consumes.iter().any(|kind| kind.starts_with("multipart/"))
            && !consumes.iter().any(|kind| kind.contains("x-www-form-urlencoded"));
    let kind = if is_multipart { "multipart/form-data" } else { "application/x-www-form-urlencoded" };
    let is_required = !required.is_empty();
    let schema = json!({ "type": "object", "properties": properties, "required": required });
    Some(json!({ "required": is_required, "content": { kind: { "schema": schema, "encoding": encoding } } }))
}

/// The description of a parameter.
fn description(parameter: Option<&Value>) -> Option<Value> {
    let text = parameter?.get("description")?.as_str()?;
    Some(Value::String(shortened(text, LONGEST_DESCRIPTION)))
}

fn security_scheme(scheme: Value) -> Value {
    match scheme.get("type").and_then(Value::as_str) {
        Some("basic") => json!({ "type": "http", "scheme": "basic" }),
        Some("oauth2") => {
            let flow = match scheme.get("flow").and_then(Value::as_str) {
                Some("application") => "clientCredentials",
                Some("accessCode") => "authorizationCode",
                Some("password") => "password",
                _ => "implicit",
            };
            let mut parts = Map::new();
            for key in ["authorizationUrl", "tokenUrl", "scopes"] {
                parts.extend(scheme.get(key).map(|value| (key.to_owned(), value.clone())));
            }
            json!({ "type": "oauth2", "flows": { flow: parts } })
        }
        _ => scheme,
    }
}

fn texts(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Some(Value::String(text)) => vec![text.clone()],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openapi::DocumentSource;

    fn rewritten(root: Value) -> DocumentSet {
        let source = DocumentSource::parse("api/main.json").unwrap();
        let mut documents = DocumentSet::load(root, &source, &|source| match source.to_string().as_str() {
            "api/parts/pets.json" => Ok(PARTS.as_bytes().to_vec()),
            other => Err(format!("{other} is not there")),
        });
        rewrite(&mut documents);
        documents
    }

    const PARTS: &str = r##"{
        "Pet": {"name": "pet", "in": "body", "required": true, "schema": {"$ref": "#/Animal"}},
        "Photo": {"name": "photo", "in": "formData", "type": "file", "required": true, "description": "A picture"},
        "Page": {"name": "page", "in": "query", "type": "array", "items": {"type": "integer"}},
        "Animal": {"type": "object", "properties": {"name": {"type": "string"}}},
        "pets": {
            "parameters": [{"$ref": "../main.json#/parameters/Trace"}],
            "post": {"parameters": [{"$ref": "#/Pet"}]},
            "put": {"parameters": [{"$ref": "../main.json#/parameters/Whole"}]}
        }
    }"##;

    /// A body is behind a reference in three ways: the parameter, the whole path, and the parameter of that path.
    #[test]
    fn what_stands_in_other_documents_is_rewritten_there() {
        let documents = rewritten(json!({
            "swagger": "2.0",
            "parameters": {
                "Trace": {"name": "X-Trace", "in": "header", "type": "string"},
                "Whole": {"name": "whole", "in": "body", "schema": {"$ref": "#/definitions/Whole"}},
            },
            "definitions": {"Whole": {"type": "object"}},
            "paths": {
                "/a": {"post": {"parameters": [{"$ref": "parts/pets.json#/Pet"}, {"$ref": "parts/pets.json#/Page"}]}},
                "/b": {"post": {"parameters": [{"$ref": "parts/pets.json#/Photo"}]}},
                "/c": {"$ref": "parts/pets.json#/pets"},
                "/d": {"$ref": "parts/pets.json#/pets"},
            },
        }));
        let at = |path: &str, key: &str| {
            let item = documents.followed(DocumentPlace::root().with("paths").with(path)).unwrap();
            let operation = item.with(key);
            let body = &documents.at(&operation).unwrap()["requestBody"];
            let (kind, media) = body["content"].as_object().unwrap().iter().next().unwrap();
            (operation.document, kind.clone(), media["schema"].clone())
        };
        let followed = |(document, _, schema): (usize, String, Value)| {
            documents.resolve(document, schema["$ref"].as_str().unwrap()).unwrap().value.clone()
        };
        let animal = json!({"type": "object", "properties": {"name": {"type": "string"}}});
        assert_eq!(followed(at("/a", "post")), animal);
        assert_eq!(followed(at("/c", "post")), animal);
        assert_eq!(followed(at("/d", "post")), animal);
        assert_eq!(followed(at("/c", "put")), json!({"type": "object"}));
        let (document, kind, schema) = at("/b", "post");
        assert_eq!((kind.as_str(), &schema["required"]), ("multipart/form-data", &json!(["photo"])));
        let photo = &schema["properties"]["photo"];
        assert_eq!(photo["description"], "A picture");
        let photo = documents.resolve(document, photo["$ref"].as_str().unwrap()).unwrap().value;
        assert_eq!(photo, &json!({"type": "string", "format": "binary"}));
        let page = documents.resolve(0, "parts/pets.json#/Page").unwrap().value;
        assert_eq!(page["explode"], false);
        let trace = documents.resolve(0, "#/parameters/Trace").unwrap().value;
        assert_eq!(trace["schema"], json!({"type": "string"}));
    }

    #[test]
    fn swagger_2_is_put_into_the_words_of_openapi_3() {
        let documents = rewritten(json!({
            "swagger": "2.0", "host": "api.example", "basePath": "/v1/", "schemes": ["http", "https", "ws"],
            "consumes": ["application/json"], "produces": ["application/json"],
            "parameters": {
                "Page": {"name": "page", "in": "query", "type": "integer", "minimum": 1},
                "Pet": {"name": "pet", "in": "body", "required": true, "schema": {"$ref": "#/definitions/Pet"}},
            },
            "securityDefinitions": {
                "basic": {"type": "basic"},
                "key": {"type": "apiKey", "in": "header", "name": "X-Key"},
                "oauth": {"type": "oauth2", "flow": "application", "tokenUrl": "https://api.example/token", "scopes": {"a": ""}},
            },
            "paths": {
                "/pets": {
                    "parameters": [{"$ref": "#/parameters/Page"}],
                    "get": {"parameters": [
                        {"name": "ids", "in": "query", "type": "array", "items": {"type": "integer"}, "collectionFormat": "pipes"},
                        {"name": "tags", "in": "query", "type": "array", "items": {"type": "string"}},
                    ]},
                    "post": {"parameters": [{"$ref": "#/parameters/Pet"}], "consumes": ["text/json"]},
                },
                "/photos": {
                    "post": {"parameters": [
                        {"name": "photo", "in": "formData", "type": "file", "required": true},
                        {"name": "tags", "in": "formData", "type": "array", "items": {"type": "string"}, "collectionFormat": "multi", "description": "Words"},
                    ]},
                    "put": {"consumes": ["application/x-www-form-urlencoded"], "parameters": [{"name": "title", "in": "formData", "type": "string"}]},
                },
            },
            "definitions": {"Pet": {"type": "object"}},
        }));
        let root = documents.root().value;
        assert_eq!(root["servers"], json!([{"url": "https://api.example/v1"}, {"url": "http://api.example/v1"}]));
        assert_eq!(root["parameters"]["Page"]["schema"], json!({"type": "integer", "minimum": 1}));
        let schemes = &root["components"]["securitySchemes"];
        assert_eq!(schemes["basic"], json!({"type": "http", "scheme": "basic"}));
        let flow = json!({"clientCredentials": {"tokenUrl": "https://api.example/token", "scopes": {"a": ""}}});
        assert_eq!(schemes["oauth"]["flows"], flow);
        let pets = &root["paths"]["/pets"];
        assert_eq!(pets["get"]["parameters"][0]["style"], "pipeDelimited");
        assert_eq!(pets["get"]["parameters"][1]["explode"], false);
        let body = json!({"required": true, "content": {"text/json": {"schema": {"$ref": "#/definitions/Pet"}}}});
        assert_eq!(pets["post"]["requestBody"], body);
        let photo = &root["paths"]["/photos"]["post"]["requestBody"]["content"]["multipart/form-data"];
        assert_eq!(photo["schema"]["properties"]["photo"], json!({"type": "string", "format": "binary"}));
        assert_eq!(photo["schema"]["properties"]["tags"]["description"], "Words");
        assert_eq!(photo["encoding"]["tags"], json!({"style": "form", "explode": true}));
        let title = &root["paths"]["/photos"]["put"]["requestBody"];
        assert_eq!((&title["required"], title["content"].as_object().unwrap().len()), (&json!(false), 1));
    }

    #[test]
    fn a_host_without_a_scheme_takes_that_of_the_document() {
        for (document, url) in
            [(json!({"host": "api.example"}), "//api.example"), (json!({"basePath": "v1"}), "/v1"), (json!({}), "/")]
        {
            assert_eq!(rewritten(document).root().value["servers"][0]["url"], url);
        }
    }
}
