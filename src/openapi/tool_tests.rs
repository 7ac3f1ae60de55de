use serde_json::json;

use crate::openapi::{
    CredentialPlace, DocumentSource, OpenApiDocument, OpenApiTool, RequestError, ServerChoice, ToolSelection,
};
use serde_json::{Map, Value};

fn document(mut root: Value, source: &str) -> OpenApiDocument {
    if let Some(map) = root.as_object_mut() {
        if !map.contains_key("swagger") {
            map.entry("openapi").or_insert_with(|| json!("3.0.3"));
        }
        if !map.contains_key("servers") && !map.contains_key("swagger") {
            map.insert("servers".to_owned(), json!([{"url": "https://api.example/v1"}]));
        }
    }
    let source = DocumentSource::parse(source).unwrap();
    OpenApiDocument::read(root.to_string().as_bytes(), &source, &|_| Err("there is none".to_owned())).unwrap()
}

/// The tool of an operation `POST /x`, or of what the path has.
fn tool_at(path: &str, item: Value, more: Value) -> OpenApiTool {
    let mut root = json!({ "paths": { path: item } });
    root.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mut found = document(root, "api.json").tools(&ToolSelection::default());
    assert!(found.skipped.is_empty(), "{:?}", found.skipped);
    found.tools.remove(0)
}

fn tool(operation: Value) -> OpenApiTool {
    tool_at("/x", json!({ "post": operation }), json!({}))
}

fn map(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn url(tool: &OpenApiTool, arguments: Value) -> String {
    let arguments = map(arguments);
    assert_eq!(tool.problems(&arguments), [""; 0]);
    tool.request(&arguments, &ServerChoice::default()).unwrap().url().to_string()
}

fn body(tool: &OpenApiTool, arguments: Value) -> Option<(String, String)> {
    let arguments = map(arguments);
    assert_eq!(tool.problems(&arguments), [""; 0]);
    let request = tool.request(&arguments, &ServerChoice::default()).unwrap();
    request.body().map(|body| (body.content_type.clone(), String::from_utf8(body.bytes.clone()).unwrap()))
}

fn json_body(schema: Value) -> Value {
    json!({"requestBody": {"required": true, "content": {"application/json": {"schema": schema}}}})
}

#[test]
fn an_operation_is_a_tool() {
    let pets = json!({
        "parameters": [
            {"name": "petId", "in": "path", "required": true, "schema": {"type": "integer"}, "description": "Which pet"},
            {"name": "verbose", "in": "query", "schema": {"type": "boolean"}},
        ],
        "put": {
            "operationId": "update pet", "summary": "Update a pet.", "description": "All of it.", "tags": ["pets"],
            "parameters": [{"name": "verbose", "in": "query", "schema": {"type": "integer", "default": 1}}],
            "requestBody": {"content": {"application/json": {"schema": {"type": "object", "properties": {"name": {"type": "string", "nullable": true}}}}}},
            "responses": {"200": {"content": {"text/plain": {}, "application/json": {}}}, "404": {"content": {"text/html": {}}}},
        },
    });
    let tool = tool_at("/pets/{petId}", pets, json!({}));
    assert_eq!((tool.name.as_str(), tool.method, tool.path.as_str()), ("update_pet", "PUT", "/pets/{petId}"));
    assert_eq!(tool.description, "Update a pet. All of it.");
    assert_eq!(tool.tags, ["pets"]);
    assert!(!tool.is_safe() && tool.warnings.is_empty(), "{:?}", tool.warnings);
    let wanted = json!({
        "type": "object",
        "properties": {
            "petId": {"type": "integer", "description": "Which pet"},
            "verbose": {"type": "integer", "description": "(default: 1)"},
            "name": {"type": ["string", "null"]},
        },
        "required": ["petId"],
        "additionalProperties": false,
    });
    assert_eq!(**tool.schema(), wanted);
    let request = tool.request(&map(json!({"petId": 7, "name": null})), &ServerChoice::default()).unwrap();
    assert_eq!((request.method(), request.url().as_str()), ("PUT", "https://api.example/v1/pets/7"));
    // What is given is sent: null is a value of its own in JSON.
    assert_eq!(request.body().unwrap().bytes, br#"{"name":null}"#);
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let accept = header("Accept", "application/json, text/plain");
    assert_eq!(request.headers(), [accept, header("Content-Type", "application/json")]);
    // An optional body is not sent without a value for it.
    assert_eq!(body(&tool, json!({"petId": 7})), None);
}

#[test]
fn arguments_are_checked_with_sentences_for_the_model() {
    let tool = tool(json!({"parameters": [
        {"name": "n", "in": "query", "required": true, "schema": {"type": "integer", "minimum": 1}},
        {"name": "price", "in": "query", "schema": {"type": "number", "multipleOf": 0.01}},
        {"name": "note", "in": "query", "schema": {"type": "string", "nullable": true}},
    ]}));
    assert_eq!(tool.problems(&map(json!({"n": 0}))), ["n: 0 is less than the minimum of 1"]);
    assert_eq!(tool.problems(&map(json!({}))), ["\"n\" is a required property"]);
    assert_eq!(tool.problems(&map(json!({"n": 1, "price": 0.005}))), ["price: 0.005 is not a multiple of 0.01"]);
    assert_eq!(tool.problems(&map(json!({"n": 1, "more": 1}))).len(), 1);
    // A null is never dropped in silence.
    assert_eq!(tool.problems(&map(json!({"n": 1, "note": null}))), ["note: null is not of type \"string\""]);
    let missing = tool.request(&map(json!({})), &ServerChoice::default()).unwrap_err();
    assert_eq!(missing, RequestError::Argument("n is missing".to_owned()));
}

#[test]
fn parameters_go_where_the_document_says() {
    let parameter = |name: &str, place: &str, more: Value| {
        let mut parameter = json!({"name": name, "in": place, "required": place == "path", "schema": {}});
        parameter.as_object_mut().unwrap().extend(map(more));
        parameter
    };
    let list = json!({"type": "array", "items": {"type": "string"}});
    let item = json!({"get": {"parameters": [
        parameter("id", "path", json!({})),
        parameter("m", "path", json!({"style": "matrix"})),
        parameter("ids", "query", json!({"schema": list, "explode": false})),
        parameter("tags", "query", json!({"schema": list})),
        parameter("filter", "query", json!({"style": "deepObject", "schema": {"type": "object"}})),
        parameter("where", "query", json!({"schema": null, "content": {"application/json": {"schema": {"type": "object"}}}})),
        parameter("X-Trace", "header", json!({})),
        parameter("X-List", "header", json!({"schema": list})),
        parameter("theme", "cookie", json!({})),
        parameter("Accept", "header", json!({})),
        parameter("api_key", "query", json!({})),
    ], "security": [{"key": []}]}});
    let mut item = item;
    item["get"]["parameters"][5].as_object_mut().unwrap().remove("schema");
    let schemes =
        json!({"components": {"securitySchemes": {"key": {"type": "apiKey", "in": "query", "name": "api_key"}}}});
    let tool = tool_at("/a/{id}/b{m}", item, schemes);
    // The key is not the model's.
    let names: Vec<&String> = tool.schema()["properties"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["id", "m", "ids", "tags", "filter", "where", "X-Trace", "X-List", "theme"]);
    let arguments = json!({
        "id": "x/y", "m": 5, "ids": ["a", "b,c"], "tags": ["d", "e"], "filter": {"a": {"gt": 1}}, "where": {"q": "x y"},
        "X-Trace": "t1", "X-List": ["1", "2"], "theme": "dark red",
    });
    let mut request = tool.request(&map(arguments), &ServerChoice::default()).unwrap();
    assert_eq!(
        request.url().as_str(),
        "https://api.example/v1/a/x%2Fy/b;m=5?ids=a,b%2Cc&tags=d&tags=e&filter[a][gt]=1&where=%7B%22q%22%3A%22x%20y%22%7D"
    );
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        request.headers(),
        [header("X-Trace", "t1"), header("X-List", "1,2"), header("Cookie", "theme=dark%20red")]
    );
    let place = tool.security()[0].schemes[0].kind.place().unwrap();
    assert_eq!(place, CredentialPlace::Query("api_key".to_owned()));
    request.put_credential(&place, "k&1").unwrap();
    assert!(request.url().as_str().ends_with("&api_key=k%261"));
}

#[test]
fn no_argument_leaves_its_place() {
    let item = json!({"get": {"parameters": [
        {"name": "id", "in": "path", "required": true, "schema": {"type": "string"}},
        {"name": "q", "in": "query", "schema": {"type": "string"}},
        {"name": "X-H", "in": "header", "schema": {"type": "string"}},
    ]}});
    let tool = tool_at("/files/{id}/meta", item, json!({}));
    for id in ["..", ".", "", "a/../b", "..\\b", "../../admin", "\r\n", "\u{0}"] {
        let error = tool.request(&map(json!({"id": id})), &ServerChoice::default()).unwrap_err();
        assert!(matches!(error, RequestError::Argument(_)), "{id:?}");
    }
    // Random texts of letters that mean something in addresses: the request is the one that was meant, or there is none.
    let letters: Vec<char> = "./\\%?#&=;:@ 2eEfF5cC\u{e9}\u{2028}\t+,'\"<>{}|^`[]~".chars().collect();
    let mut seed = 1_u64;
    for _ in 0..20_000 {
        let mut text = String::new();
        for _ in 0..seed % 9 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text.push(letters[(seed >> 33) as usize % letters.len()]);
        }
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407) ^ (seed >> 7);
        let Ok(request) = tool.request(&map(json!({"id": text, "q": text})), &ServerChoice::default()) else {
            continue;
        };
        let url = request.url();
        assert_eq!(url.origin().ascii_serialization(), "https://api.example", "{text:?}");
        let segments: Vec<&str> = url.path_segments().unwrap().collect();
        assert_eq!((segments.len(), segments[1], segments[3]), (4, "files", "meta"), "{text:?}: {url}");
        let back = percent_encoding::percent_decode_str(segments[2]).decode_utf8().unwrap();
        assert_eq!(back, text);
        let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        assert_eq!(pairs, [("q".to_owned(), text.clone())]);
        assert_eq!(url.fragment(), None);
    }
    for value in ["a\r\nX-Evil: 1", "a\nb", "é"] {
        let error = tool.request(&map(json!({"id": "1", "X-H": value})), &ServerChoice::default()).unwrap_err();
        assert!(error.to_string().starts_with("X-H may not have"), "{error}");
    }
}

#[test]
fn numbers_keep_their_digits() {
    let mut operation =
        json_body(json!({"type": "object", "properties": {"price": {"type": "number"}, "id": {"type": "integer"}}}));
    operation["parameters"] = json!([{"name": "big", "in": "query", "schema": {"type": "integer"}}]);
    let tool = tool(operation);
    let arguments: Value =
        serde_json::from_str(r#"{"big": 12345678901234567890123, "price": 19.90, "id": 98765432109876543210}"#)
            .unwrap();
    assert_eq!(url(&tool, arguments.clone()), "https://api.example/v1/x?big=12345678901234567890123");
    assert_eq!(body(&tool, arguments).unwrap().1, r#"{"price":19.90,"id":98765432109876543210}"#);
}

#[test]
fn what_has_one_value_is_not_asked_for() {
    let item = json!({"get": {"operationId": "AddTags", "parameters": [
        {"name": "Action", "in": "query", "required": true, "schema": {"type": "string", "enum": ["AddTags"]}},
        {"name": "Version", "in": "query", "schema": {"type": "string", "enum": ["2012"]}},
    ]}});
    let tool = tool_at("/#Action=AddTags", item, json!({}));
    assert_eq!(tool.schema()["properties"], json!({"Version": {"type": "string", "enum": ["2012"]}}));
    assert_eq!(url(&tool, json!({})), "https://api.example/v1/?Action=AddTags");
}

#[test]
fn names_that_clash_are_told_apart() {
    let schema = json!({"type": "object", "properties": {"id": {"type": "string"}, "name": {"type": "string"}}});
    let mut operation = json_body(schema);
    operation["parameters"] = json!([
        {"name": "id", "in": "query", "schema": {"type": "integer"}},
        {"name": "id", "in": "path", "required": true, "schema": {"type": "integer"}},
        {"name": "ID", "in": "header", "schema": {"type": "string"}},
        {"name": "id", "in": "header", "schema": {"type": "string"}},
        {"name": "$id", "in": "query", "schema": {"type": "string"}},
    ]);
    let tool = tool_at("/x/{id}", json!({ "post": operation }), json!({}));
    let names: Vec<&String> = tool.schema()["properties"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["id", "query_id", "query_id_2", "ID", "body_id", "name"]);
    let arguments = json!({"id": 1, "query_id": 2, "query_id_2": "x", "ID": "h", "body_id": "b"});
    assert_eq!(url(&tool, arguments.clone()), "https://api.example/v1/x/1?id=2&%24id=x");
    assert_eq!(body(&tool, arguments).unwrap().1, r#"{"id":"b"}"#);
}

#[test]
fn a_body_is_flat_only_where_nothing_is_lost() {
    let names = |operation: Value| -> Vec<String> {
        tool(operation).schema()["properties"].as_object().unwrap().keys().cloned().collect()
    };
    let object =
        json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}, "id": {"readOnly": true}}});
    assert_eq!(names(json_body(object.clone())), ["a"]);
    let mut optional = json_body(object.clone());
    optional["requestBody"]["required"] = json!(false);
    assert_eq!(names(optional), ["body"]);
    let mut open = object.clone();
    open["additionalProperties"] = json!({"type": "string"});
    assert_eq!(names(json_body(open)), ["body"]);
    assert_eq!(names(json_body(json!({"allOf": [object.clone(), object]}))), ["body"]);
    assert_eq!(names(json_body(json!({"type": "array", "items": {}}))), ["body"]);
    assert_eq!(body(&tool(json_body(json!({"type": "array"}))), json!({"body": [1]})).unwrap().1, "[1]");
    let empty = tool(json_body(json!({"type": "object", "properties": {"a": {"type": "string"}}})));
    assert_eq!(body(&empty, json!({})).unwrap().1, "{}");
}

#[test]
fn forms_files_texts_and_bytes_are_bodies() {
    let with = |kind: &str, schema: Value| {
        tool(json!({"requestBody": {"required": true, "content": {kind: {"schema": schema}}}}))
    };
    let fields =
        json!({"type": "object", "properties": {"a": {"type": "string"}, "f": {"type": "string", "format": "binary"}}});
    let form = with("application/x-www-form-urlencoded", fields.clone());
    let (kind, written) = body(&form, json!({"a": "x y", "f": "z"})).unwrap();
    assert_eq!((kind.as_str(), written.as_str()), ("application/x-www-form-urlencoded", "a=x%20y&f=z"));
    let files = with("multipart/form-data", fields);
    assert_eq!(
        files.schema()["properties"]["f"],
        json!({"type": "string", "contentEncoding": "base64", "description": "In base64."})
    );
    let (kind, written) = body(&files, json!({"f": "aGk="})).unwrap();
    assert!(kind.starts_with("multipart/form-data; boundary=") && written.contains("\r\n\r\nhi\r\n"), "{written}");
    let xml = with("text/xml", json!({"type": "object"}));
    assert_eq!(xml.schema()["properties"]["body"], json!({"type": "string", "description": "XML as a text."}));
    assert_eq!(
        xml.warnings[0].to_string(),
        "the body is XML, which the model writes as a text (at #/paths/~1x/post/requestBody)"
    );
    assert_eq!(body(&xml, json!({"body": "<a/>"})).unwrap(), ("text/xml".to_owned(), "<a/>".to_owned()));
    let bytes = with("application/octet-stream", json!({"type": "string", "format": "binary"}));
    assert_eq!(body(&bytes, json!({"body": "aGk="})).unwrap().1, "hi");
    let wrong = bytes.request(&map(json!({"body": "?"})), &ServerChoice::default()).unwrap_err();
    assert_eq!(wrong.to_string(), "the body is not base64");
}

#[test]
fn operations_that_cannot_be_called_are_skipped_with_the_reason() {
    let document = document(
        json!({"openapi": "3.2.0", "paths": {
            "/find": {
                "query": {}, "additionalOperations": {"COPY": {}},
                "get": {"parameters": [{"name": "q", "in": "querystring", "content": {}}]},
                "post": {"requestBody": {"required": true, "content": {"multipart/mixed": {}}}},
                "put": {"requestBody": {"$ref": "#/components/requestBodies/None"}},
                "delete": {"parameters": [{"name": "a b", "in": "header", "required": true}]},
                "patch": "text",
                "head": {},
            },
            "/gone": {"$ref": "other.yaml#/x"},
            "/odd": [],
        }}),
        "api.json",
    );
    assert_eq!(document.warnings()[0].place, "#/openapi");
    let found = document.tools(&ToolSelection::default());
    assert_eq!(found.tools.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>(), ["head_find"]);
    let skipped: Vec<String> = found.skipped.iter().map(|one| format!("{}: {}", one.operation, one.reason)).collect();
    for wanted in [
        "QUERY /find: the method came with OpenAPI 3.2 and is not supported",
        "COPY /find: the method came with OpenAPI 3.2 and is not supported",
        "GET /find: the parameter \"q\" is the whole query (`in: querystring` of OpenAPI 3.2)",
        "POST /find: no body of the type multipart/mixed can be written",
        "PUT /find: its body cannot be read: the reference \"#/components/requestBodies/None\" leads nowhere",
        "DELETE /find: \"a b\" is no name of a header, and is required",
        "PATCH /find: the operation is not an object",
        "* /gone: the document \"other.yaml\" cannot be used: there is none",
        "* /odd: the path has no object with operations",
    ] {
        assert!(skipped.iter().any(|found| found == wanted), "{wanted}\n{skipped:#?}");
    }
}

#[test]
fn swagger_2_and_openapi_3_give_the_same_tool() {
    let old = json!({
        "swagger": "2.0", "host": "api.example", "basePath": "/v1", "schemes": ["https"], "consumes": ["application/json"], "produces": ["application/json"],
        "definitions": {"Pet": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "parent": {"$ref": "#/definitions/Pet"}}}},
        "paths": {"/pets/{id}": {"post": {"operationId": "save", "parameters": [
            {"name": "id", "in": "path", "required": true, "type": "integer", "format": "int64"},
            {"name": "tags", "in": "query", "type": "array", "items": {"type": "string"}, "collectionFormat": "multi"},
            {"name": "ids", "in": "query", "type": "array", "items": {"type": "string"}},
            {"name": "pet", "in": "body", "required": true, "schema": {"$ref": "#/definitions/Pet"}},
        ]}}},
    });
    let new = json!({
        "components": {"schemas": {"Pet": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "parent": {"$ref": "#/components/schemas/Pet"}}}}},
        "paths": {"/pets/{id}": {"post": {"operationId": "save", "responses": {"200": {"content": {"application/json": {}}}}, "parameters": [
            {"name": "id", "in": "path", "required": true, "schema": {"type": "integer", "format": "int64"}},
            {"name": "tags", "in": "query", "schema": {"type": "array", "items": {"type": "string"}}},
            {"name": "ids", "in": "query", "explode": false, "schema": {"type": "array", "items": {"type": "string"}}},
        ], "requestBody": {"required": true, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}}}}}},
    });
    let arguments = json!({"id": 7, "tags": ["a", "b"], "ids": ["a", "b"], "name": "Rex", "parent": {"name": "Max"}});
    let [old, new] = [old, new].map(|root| {
        let mut found = document(root, "api.json").tools(&ToolSelection::default());
        let tool = found.tools.remove(0);
        let request = tool.request(&map(arguments.clone()), &ServerChoice::default()).unwrap();
        assert_eq!(request.url().as_str(), "https://api.example/v1/pets/7?tags=a&tags=b&ids=a,b");
        (tool.name.clone(), tool.schema().to_string(), request.digest())
    });
    assert_eq!(old, new);
}

#[test]
fn swagger_2_in_several_files_gives_the_tools_of_one_file() {
    let pet = json!({"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "parent": {"$ref": "#/definitions/Pet"}}});
    let body = json!({"name": "pet", "in": "body", "required": true, "description": "The pet", "schema": {"$ref": "#/definitions/Pet"}});
    let photo =
        json!({"name": "photo", "in": "formData", "type": "file", "required": true, "description": "A picture"});
    let title = json!({"name": "title", "in": "formData", "type": "string", "maxLength": 9});
    let ids = json!({"name": "ids", "in": "query", "type": "array", "items": {"type": "string"}});
    let whole = |paths: Value, parameters: Value, definitions: Value| {
        let head = json!({"swagger": "2.0", "host": "api.example", "schemes": ["https"], "basePath": "/v1"});
        let mut root = map(head);
        let more = json!({"paths": paths, "parameters": parameters, "definitions": definitions});
        root.extend(map(more));
        Value::Object(root)
    };
    let definitions = json!({ "Pet": pet });
    let parameters = json!({ "Pet": body, "Photo": photo, "Title": title, "Ids": ids });
    let one = whole(
        json!({
            "/pets": {"parameters": [{"$ref": "#/parameters/Ids"}], "post": {"operationId": "save", "parameters": [{"$ref": "#/parameters/Pet"}]}},
            "/photos": {"put": {"operationId": "show", "parameters": [{"$ref": "#/parameters/Photo"}, {"$ref": "#/parameters/Title"}]}},
        }),
        parameters.clone(),
        definitions.clone(),
    );
    let several = whole(
        json!({
            "/pets": {"$ref": "parts/paths.json#/pets"},
            "/photos": {"put": {"operationId": "show", "parameters": [
                {"$ref": "parts/more.json#/parameters/Photo"}, {"$ref": "parts/more.json#/parameters/Title"},
            ]}},
        }),
        json!({}),
        json!({}),
    );
    let paths = json!({"pets": {
        "parameters": [{"$ref": "more.json#/parameters/Ids"}],
        "post": {"operationId": "save", "parameters": [{"$ref": "more.json#/parameters/Pet"}]},
    }});
    let more = json!({ "parameters": parameters, "definitions": definitions });
    let load = |source: &DocumentSource| match source.to_string().as_str() {
        "api/parts/paths.json" => Ok(paths.to_string().into_bytes()),
        "api/parts/more.json" => Ok(more.to_string().into_bytes()),
        other => Err(format!("{other} is not there")),
    };
    let source = DocumentSource::parse("api/main.json").unwrap();
    let [one, several] = [one, several].map(|root| {
        let document = OpenApiDocument::read(root.to_string().as_bytes(), &source, &load).unwrap();
        let found = document.tools(&ToolSelection::default());
        assert!(found.skipped.is_empty(), "{:?}", found.skipped);
        let [save, show] = &found.tools[..] else { panic!("{} tools", found.tools.len()) };
        assert!(save.warnings.is_empty() && show.warnings.is_empty(), "{:?} {:?}", save.warnings, show.warnings);
        let saved = json!({"ids": ["a", "b"], "name": "Rex", "parent": {"name": "Max"}});
        assert_eq!(save.problems(&map(saved.clone())), [""; 0]);
        let saved = save.request(&map(saved), &ServerChoice::default()).unwrap();
        assert_eq!(saved.url().as_str(), "https://api.example/v1/pets?ids=a,b");
        assert_eq!(saved.body().unwrap().bytes, br#"{"name":"Rex","parent":{"name":"Max"}}"#);
        let photo = &show.schema()["properties"]["photo"];
        assert_eq!(photo["description"], "A picture. In base64.");
        (save.schema().to_string(), show.schema().to_string(), saved.digest())
    });
    assert_eq!(one, several);
}

#[test]
fn a_body_in_base64_is_sent_as_it_is_and_bytes_are_decoded() {
    for (schema, sent) in [
        (json!({"type": "string", "format": "byte"}), "YWJj"),
        (json!({"type": "string", "contentEncoding": "base64"}), "YWJj"),
        (json!({"type": "string", "format": "binary"}), "abc"),
        (json!({}), "abc"),
    ] {
        let content = json!({"image/jpeg": {"schema": schema}});
        let tool = tool(json!({"requestBody": {"required": true, "content": content}}));
        let request = tool.request(&map(json!({"body": "YWJj"})), &ServerChoice::default()).unwrap();
        let body = request.body().unwrap();
        assert_eq!((body.content_type.as_str(), body.bytes.as_slice()), ("image/jpeg", sent.as_bytes()), "{schema}");
    }
}

#[test]
fn what_is_required_beside_a_reference_is_asked_for() {
    let ids = json!({"type": "object", "properties": {"ids": {"type": "array"}, "note": {"type": "string"}}});
    let schema = json!({"$ref": "#/components/schemas/Ids", "required": ["ids", "gone"]});
    let item = json!({"post": json_body(schema)});
    let tool = tool_at("/x", item, json!({"components": {"schemas": {"Ids": ids}}}));
    assert_eq!(tool.schema()["required"], json!(["ids"]));
}

#[test]
fn a_path_parameter_that_is_not_declared_is_a_text() {
    let tool = tool_at(
        "/a/{id}",
        json!({"get": {"parameters": [{"name": "other", "in": "path", "required": true, "schema": {}}]}}),
        json!({}),
    );
    assert_eq!(tool.schema()["properties"], json!({"id": {"type": "string"}}));
    assert_eq!(tool.warnings.len(), 2);
    assert_eq!(url(&tool, json!({"id": "7"})), "https://api.example/v1/a/7");
}

#[test]
fn a_document_without_a_server_needs_one_from_a_person() {
    let root = json!({"servers": [{"url": "/v1"}], "paths": {"/x": {"get": {}}}});
    let tool = document(root.clone(), "api.json").tools(&ToolSelection::default()).tools.remove(0);
    assert!(tool.warnings[0].message.ends_with("it is relative, and the document comes from a file; name a server"));
    let none = tool.request(&Map::new(), &ServerChoice::default()).unwrap_err();
    assert!(matches!(none, RequestError::Server(_)), "{none:?}");
    let choice = ServerChoice { url: Some("http://localhost:8000".to_owned()), ..ServerChoice::default() };
    assert_eq!(tool.request(&Map::new(), &choice).unwrap().url().as_str(), "http://localhost:8000/x");
    let from_url =
        document(root, "https://api.example/docs/openapi.json").tools(&ToolSelection::default()).tools.remove(0);
    assert_eq!(url(&from_url, json!({})), "https://api.example/v1/x");
}

#[test]
fn a_schema_that_is_too_large_is_shown_in_less_detail() {
    let text = "words ".repeat(50);
    let fields = |count: usize, deep: &Value| -> Value {
        (0..count).map(|number| (format!("field_{number}"), deep.clone())).collect::<Map<_, _>>().into()
    };
    let leaf = json!({"type": "string", "description": text});
    let item = json!({"type": "object", "properties": fields(40, &leaf)});
    let described = tool(json_body(json!({"type": "object", "properties": fields(5, &item)})));
    assert!(
        described.warnings[0].message.contains("without the descriptions of nested values it fits"),
        "{:?}",
        described.warnings
    );
    let huge = tool(json_body(json!({"type": "object", "properties": fields(60, &item)})));
    assert!(huge.warnings[0].message.contains("the model is shown its first level"), "{:?}", huge.warnings);
    let mut many =
        json!({"type": "object", "required": ["field_1999"], "properties": fields(2000, &json!({"type": "string"}))});
    many["properties"]["field_1999"] = json!({"type": "integer"});
    let many = tool(json_body(many));
    assert!(many.warnings.iter().any(|warning| warning.message.contains("optional arguments do not fit")));
    assert_eq!(many.schema()["required"], json!(["field_1999"]));
    for tool in [&described, &huge, &many] {
        let size = tool.schema().to_string().len();
        assert!((1000..=16 << 10).contains(&size), "{size}");
        tool.validator().unwrap();
    }
}

#[test]
fn names_do_not_depend_on_what_is_selected() {
    let root = json!({"paths": {
        "/a": {"get": {"operationId": "same"}, "put": {"operationId": "same"}},
        "/b": {"get": {"operationId": "other"}},
    }});
    let document = document(root, "api.json");
    let all: Vec<String> = document.operations().iter().map(|entry| entry.name.clone()).collect();
    let selection = ToolSelection { include: vec!["PUT /*".to_owned(), "nothing*".to_owned()], exclude: Vec::new() };
    let found = document.tools(&selection);
    assert_eq!(found.tools.len(), 1);
    assert_eq!(found.tools[0].name, all[1]);
    assert_eq!(selection.unmatched(document.operations()), ["nothing*"]);
}

#[test]
fn a_thousand_operations_are_read_at_once() {
    let mut paths = Map::new();
    for number in 0..1000 {
        let schema = json!({"$ref": "#/components/schemas/Pet"});
        paths.insert(
            format!("/pets/{number}/{{id}}"),
            json!({"post": {
                "operationId": format!("save_{number}"),
                "parameters": [{"name": "id", "in": "path", "required": true, "schema": {"type": "integer"}}],
                "requestBody": {"required": true, "content": {"application/json": {"schema": schema}}},
            }}),
        );
    }
    let pet = json!({"type": "object", "properties": {"name": {"type": "string", "pattern": "^[a-z]+$"}, "friends": {"type": "array", "items": {"$ref": "#/components/schemas/Pet"}}}});
    let document = document(json!({"paths": paths, "components": {"schemas": {"Pet": pet}}}), "api.json");
    let begun = std::time::Instant::now();
    let found = document.tools(&ToolSelection::default());
    assert_eq!((found.tools.len(), found.skipped.len()), (1000, 0));
    // Generous, for a build without optimisations on a machine that has other work.
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
}

#[test]
fn a_pattern_that_is_too_large_does_not_stop_the_check() {
    let field = json!({"type": "string", "pattern": "(?:a{1000}){1000}", "minLength": 2});
    let tool = tool(json_body(json!({"type": "object", "properties": {"a": field}})));
    assert_eq!(tool.problems(&map(json!({"a": "x"}))), ["a: \"x\" is shorter than 2 characters"]);
    assert_eq!(tool.problems(&map(json!({"a": "xx"}))), [""; 0]);
}
