//! Swagger 2.0 in the words of OpenAPI 3: servers, request bodies, security schemes and styles. `definitions` stay where they
//! are, since references lead there.

use serde_json::{Map, Value, json};

use super::operations::METHODS;

/// The keys of a parameter of Swagger 2.0 that say nothing of its value.
const NOT_OF_THE_VALUE: [&str; 8] =
    ["name", "in", "description", "required", "collectionFormat", "allowEmptyValue", "schema", "x-example"];

/// Rewrites a document.
pub(super) fn rewrite(root: &mut Value) {
    let Some(map) = root.as_object_mut() else { return };
    let servers = servers(map);
    map.insert("servers".to_owned(), servers);
    let consumes = texts(map.get("consumes"));
    let produces = texts(map.get("produces"));
    let shared = map.get("parameters").cloned().unwrap_or_default();
    for parameter in map.get_mut("parameters").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut) {
        modernise(parameter);
    }
    if let Some(Value::Object(schemes)) = map.remove("securityDefinitions") {
        let schemes: Map<String, Value> =
            schemes.into_iter().map(|(name, scheme)| (name, security_scheme(scheme))).collect();
        map.insert("components".to_owned(), json!({ "securitySchemes": schemes }));
    }
    let paths = map.get_mut("paths").and_then(Value::as_object_mut);
    for item in paths.into_iter().flat_map(Map::values_mut).filter_map(Value::as_object_mut) {
        let common = take_body_parameters(item, &shared);
        for (key, _) in METHODS {
            if let Some(operation) = item.get_mut(key).and_then(Value::as_object_mut) {
                rewrite_operation(operation, &common, &shared, &consumes, &produces);
            }
        }
    }
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

/// Takes the parameters out of an object that are (parts of) a body. References to such ones among `shared` are followed.
fn take_body_parameters(holder: &mut Map<String, Value>, shared: &Value) -> Vec<Value> {
    let mut taken = Vec::new();
    let Some(parameters) = holder.get_mut("parameters").and_then(Value::as_array_mut) else { return taken };
    let all = std::mem::take(parameters);
    for mut parameter in all {
        let target = match parameter.get("$ref").and_then(Value::as_str) {
            Some(reference) => reference
                .strip_prefix("#/parameters/")
                .and_then(|name| shared.get(name.replace("~1", "/").replace("~0", "~"))),
            None => Some(&parameter),
        };
        let is_body =
            target.and_then(|target| target.get("in")).is_some_and(|place| place == "body" || place == "formData");
        if is_body {
            taken.extend(target.cloned());
        } else {
            modernise(&mut parameter);
            parameters.push(parameter);
        }
    }
    taken
}

fn rewrite_operation(
    operation: &mut Map<String, Value>,
    common: &[Value],
    shared: &Value,
    consumes: &[String],
    produces: &[String],
) {
    let own = take_body_parameters(operation, shared);
    let named = |parameter: &Value| (parameter.get("name").cloned(), parameter.get("in").cloned());
    let has_own_body = own.iter().any(|parameter| parameter.get("in").is_some_and(|place| place == "body"));
    let inherited = common.iter().filter(|parameter| {
        let is_body = parameter.get("in").is_some_and(|place| place == "body");
        let is_replaced = own.iter().any(|own| named(own) == named(parameter)) || is_body && has_own_body;
        !is_replaced
    });
    let parameters: Vec<Value> = inherited.chain(&own).cloned().collect();
    let consumes = match operation.get("consumes") {
        Some(own) => texts(Some(own)),
        None => consumes.to_vec(),
    };
    if let Some(body) = request_body(&parameters, &consumes) {
        operation.insert("requestBody".to_owned(), body);
    }
    let produces = match operation.get("produces") {
        Some(own) => texts(Some(own)),
        None => produces.to_vec(),
    };
    let content: Map<String, Value> = produces.into_iter().map(|kind| (kind, json!({}))).collect();
    operation.insert("responses".to_owned(), json!({ "200": { "content": content } }));
}

fn request_body(parameters: &[Value], consumes: &[String]) -> Option<Value> {
    let is_in = |parameter: &Value, place: &str| parameter.get("in").is_some_and(|found| found == place);
    if let Some(body) = parameters.iter().find(|parameter| is_in(parameter, "body")) {
        let schema = body.get("schema").cloned().unwrap_or_else(|| json!({}));
        let is_form = |kind: &&String| kind.starts_with("multipart/") || kind.contains("x-www-form-urlencoded");
        let mut kinds: Vec<&String> = consumes.iter().filter(|kind| !is_form(kind)).collect();
        let json = "application/json".to_owned();
        if kinds.is_empty() {
            kinds.push(&json);
        }
        let content: Map<String, Value> =
            kinds.into_iter().map(|kind| (kind.clone(), json!({ "schema": schema }))).collect();
        let mut rewritten = Map::new();
        for key in ["description", "required"] {
            rewritten.extend(body.get(key).map(|value| (key.to_owned(), value.clone())));
        }
        rewritten.insert("content".to_owned(), Value::Object(content));
        return Some(Value::Object(rewritten));
    }
    let (mut properties, mut required, mut encoding) = (Map::new(), Vec::new(), Map::new());
    let mut has_file = false;
    for parameter in parameters.iter().filter(|parameter| is_in(parameter, "formData")) {
        has_file |= parameter.get("type").is_some_and(|kind| kind == "file");
        let mut parameter = parameter.clone();
        modernise(&mut parameter);
        let Some(name) = parameter.get("name").and_then(Value::as_str).map(str::to_owned) else { continue };
        if parameter.get("required").is_some_and(|required| required == true) {
            required.push(Value::String(name.clone()));
        }
        if let Some(explode) = parameter.get("explode") {
            encoding.insert(name.clone(), json!({ "style": "form", "explode": explode }));
        }
        let mut schema = parameter.get("schema").cloned().unwrap_or_else(|| json!({}));
        if let (Some(schema), Some(description)) = (schema.as_object_mut(), parameter.get("description")) {
            schema.insert("description".to_owned(), description.clone());
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

    #[test]
    fn swagger_2_is_put_into_the_words_of_openapi_3() {
        let mut root = json!({
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
        });
        rewrite(&mut root);
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
        assert_eq!(pets["post"]["parameters"], json!([]));
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
            let mut root = document;
            rewrite(&mut root);
            assert_eq!(root["servers"][0]["url"], url);
        }
    }
}
