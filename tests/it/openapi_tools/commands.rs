//! `fastagency tools call` and `fastagency tools import`.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::server::ApiServer;

struct Said {
    code: i32,
    out: String,
    err: String,
}

fn tools(folder: &Path, arguments: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fastagency"));
    command
        .arg("tools")
        .args(arguments)
        .current_dir(folder)
        .env_remove("FASTAGENCY_CONFIG")
        .env("PET_KEY", "header-key-1");
    let ended = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { code: ended.status.code().unwrap(), out: text(&ended.stdout), err: text(&ended.stderr) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_calls_a_tool_with_the_secrets_of_the_project() {
    let api = ApiServer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let config = "version: 1\noutgoing: { allow_private: [127.0.0.1] }\nsecrets: { pets: { value: \"${PET_KEY}\", hosts: [127.0.0.1] } }\n";
    std::fs::write(folder.path().join("fastagency.yaml"), config).unwrap();
    std::fs::create_dir(folder.path().join("workflows")).unwrap();
    std::fs::write(folder.path().join("workflows/w.yaml"), "version: 1\nname: w\nsteps: [{ return: 1 }]\n").unwrap();
    let source = format!("{}/openapi.json", api.url);
    let call = |arguments: &[&str]| tools(folder.path(), &[&["call"], arguments].concat());
    let of = ["--openapi", &source, "--json"];
    let said = call(&[&["get_header"], &of[..], &["--security", "headerKey=pets"]].concat());
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let found: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(found["result"]["key"], "[secret pets]");
    assert_eq!(api.sent("/header")[0].header("x-key"), "header-key-1");
    let said = call(&[&["pay"], &of[..], &["--args", r#"{"amount": "x"}"#]].concat());
    let found: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(
        (said.code, &found),
        (1, &json!({"error": "the arguments do not fit: amount: \"x\" is not of type \"number\""}))
    );
    let said = call(&["get_digits", "--openapi", &source]);
    assert_eq!((said.code, said.out.as_str()), (0, "{\n  \"total\": 19.90,\n  \"id\": 12345678901234567890\n}\n"));
    for (arguments, words) in [
        (&["w", "get_open"][..], "the workflow \"w\" has no tool \"get_open\": there is none"),
        (&["v", "get_open"], "there is no workflow \"v\": there is w"),
        (&["get_open"], "name the workflow and the tool"),
        (
            &["get_open", "--openapi", &source, "--args", "[]"],
            r#"--args must be a JSON object, like --args '{"city": "Oslo"}'; "[]" is a list"#,
        ),
        (&["get_open", "--openapi", &source, "--args", "nojson"], "\"nojson\" is not JSON"),
        (
            &["get_open", "--openapi", &source, "--security", "headerKye=pets"],
            "has no security scheme \"headerKye\": did you mean \"headerKey\"?",
        ),
        (
            &["get_open", "--openapi", &source, "--server", "127.0.0.1:9101"],
            "--server is an address that begins with http:// or https://, and not \"127.0.0.1:9101\"",
        ),
    ] {
        let said = call(arguments);
        assert!(said.code == 2 && said.err.contains(words), "{}: {}", said.code, said.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_calls_every_kind_of_tool_that_needs_no_run() {
    let api = ApiServer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    std::fs::create_dir(folder.path().join("workflows")).unwrap();
    write(
        "fastagency.yaml",
        "version: 1\noutgoing: { allow_private: [127.0.0.1] }\npython: { interpreter: [python3, -S] }\n\
         commands: { report: { run: [cat] } }\n\
         secrets: { key: { value: sesame-0815, hosts: [127.0.0.1], tools: { command: [report], python: [a.py] } } }\n",
    );
    write("a.py", "def one(amount: int, key: str) -> list:\n    \"\"\"One\"\"\"\n    return [\"a\", amount, key]\n");
    write("b.py", "def one(amount: int) -> list:\n    \"\"\"One\"\"\"\n    return [\"b\", amount]\n");
    let params = "params: { type: object, properties: { amount: { type: integer } }, required: [amount] }";
    let inject = "inject: { key: { secret: key }, who: \"{{ user.id }}\" }";
    let workflow = format!(
        "version: 1\nname: w\nagents: {{ clerk: {{}} }}\ntools:\n\
         \u{20} single: {{ python: a.py:one, inject: {{ key: {{ secret: key }} }} }}\n\
         \u{20} a: {{ python: a.py, inject: {{ key: {{ secret: key }} }} }}\n  b: {{ python: b.py }}\n\
         \u{20} report: {{ description: d, {params}, {inject}, max_result: 100, command: report }}\n\
         \u{20} send: {{ description: d, {params}, {inject}, http: \"POST {}/open/{{{{ args.who }}}}\" }}\n\
         \u{20} look: {{ description: d, params: {{ properties: {{ q: {{ type: string }} }} }}, http: \"GET {}/open/{{{{ args.q }}}}\" }}\n\
         \u{20} two: {{ python: two.py }}\n  ask: {{ agent: clerk }}\n  other: {{ workflow: v }}\n\
         \u{20} steps: {{ description: d, do: [{{ return: 1 }}] }}\n\
         steps: [{{ return: 1 }}]\n",
        api.url, api.url
    );
    write("two.py", "def first() -> int:\n    return 1\ndef second() -> int:\n    return 2\n");
    write("workflows/w.yaml", &workflow);
    write("workflows/v.yaml", "version: 1\nname: v\nsteps: [{ return: 1 }]\n");
    let call =
        |tool: &str, args: &str| tools(folder.path(), &["call", "w", tool, "--args", args, "--user", "ann", "--json"]);
    let result = |tool: &str| -> Value {
        let said = call(tool, r#"{"amount": 7}"#);
        assert_eq!(said.code, 0, "{tool}: {}{}", said.out, said.err);
        serde_json::from_str::<Value>(&said.out).unwrap()["result"].clone()
    };
    assert_eq!(result("single"), json!(["a", 7, "[secret key]"]));
    assert_eq!((result("a.one"), result("b.one")), (json!(["a", 7, "[secret key]"]), json!(["b", 7])));
    assert_eq!(result("report"), json!({"amount": 7, "key": "[secret key]", "who": "ann"}));
    assert_eq!(result("send")["uri"], "/open/ann");
    let sent: Value = serde_json::from_str(&api.sent("/open/ann")[0].body).unwrap();
    assert_eq!(sent, json!({"amount": 7, "key": "sesame-0815"}));
    // What a run refuses is refused, in the same words.
    let said = call("report", "{}");
    assert!(said.code == 1 && said.out.contains("1 validation error for report"), "{}{}", said.out, said.err);
    let said = call("look", "{}");
    let words = "the address needs the argument \\\"q\\\", which was not given (it is optional in the tool's `params`)";
    assert!(said.code == 1 && said.out.contains(words), "{}{}", said.out, said.err);
    for (tool, words) in [
        ("two", "\"two\" is a set of 2 tools: name one of them, like first; there is first, second"),
        ("one", "several sets have a tool \"one\": name one of a.one, b.one, single.one"),
        ("reprot", "the workflow \"w\" has no tool \"reprot\": did you mean \"report\"?"),
        ("ask", "asks the agent \"clerk\", which needs a run"),
        ("other", "calls the workflow \"v\", which needs a run: fastagency run v"),
        ("steps", "call: { tool: steps, args: { … } }` into a workflow, and start it: fastagency run w"),
    ] {
        let said = call(tool, "{}");
        assert!(said.code == 2 && said.err.contains(words), "{tool}: {}: {}", said.code, said.err);
    }
}

#[test]
fn where_no_secret_opens_an_operation_that_is_said_and_no_secret_is_proposed() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let specification = r#"{"openapi": "3.0.3", "servers": [{"url": "https://api.example"}],
        "components": {"securitySchemes": {"dig": {"type": "http", "scheme": "digest"}}},
        "paths": {"/a": {"get": {"operationId": "leak_dig", "security": [{"dig": []}]}}}}"#;
    write("dig.json", specification);
    write("fastagency.yaml", "version: 1\n");
    let advice = "no secret makes it work: leave the operation out with `except`, or, if its server takes another login, write a tool with `http` and a header of your own";
    let said = tools(folder.path(), &["call", "leak_dig", "--openapi", "dig.json"]);
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(
        said.err.contains("the scheme digest of HTTP is not supported") && said.err.contains(advice),
        "{}",
        said.err
    );
    assert!(!said.err.contains("secrets:"), "{}", said.err);
    let said = tools(folder.path(), &["list", "--openapi", "dig.json"]);
    assert!(said.out.contains("leak_dig: each call is refused") && said.out.contains(advice), "{}", said.out);
    let said = tools(folder.path(), &["call", "leak_dg", "--openapi", "dig.json"]);
    assert!(said.err.contains("has no operation \"leak_dg\": did you mean \"leak_dig\"?"), "{}", said.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_from_an_address_of_this_network_names_it() {
    let api = ApiServer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let said =
        tools(folder.path(), &["import", "--openapi", &format!("{}/openapi.json", api.url), "--only", "get_header"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.contains("\noutgoing: { allow_private: [\"127.0.0.1\"] }\n"), "{}", said.out);
}

#[test]
fn a_person_calls_a_tool_with_what_the_workflow_gives_it() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    std::fs::create_dir(folder.path().join("workflows")).unwrap();
    let config = |tools: &str| {
        format!(
            "version: 1\npython: {{ interpreter: [python3, -S] }}\nsecrets: {{ books: {{ value: sesame-0815, tools: {{ python: [{tools}] }} }} }}\n"
        )
    };
    write("fastagency.yaml", &config("books.py"));
    write(
        "books.py",
        "def book(amount: int, who: str, call: str, vat: float, key: str) -> list:\n    \"\"\"Books\"\"\"\n    return [amount, who, len(call), vat, key]\n",
    );
    let inject = "{ who: \"{{ user.id }} {{ args.amount }}\", call: \"{{ call.id }}\", vat: 0.20, key: { secret: books }, other: x }";
    let workflow = format!(
        "version: 1\nname: w\ntools:\n  books: {{ python: books.py, inject: {inject} }}\nsteps: [{{ return: 1 }}]\n"
    );
    write("workflows/w.yaml", &workflow);
    let call = || {
        tools(folder.path(), &["call", "w", "book", "--args", r#"{"amount": 7, "vat": 9}"#, "--user", "ann", "--json"])
    };
    let said = call();
    let found: Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}{}", said.out, said.err));
    assert_eq!(found.to_string(), r#"{"result":[7,"ann 7",32,0.2,"[secret books]"]}"#, "{}", said.err);
    // A secret that is not for the tool is not given.
    write("fastagency.yaml", &config("other.py"));
    let said = call();
    assert!(
        said.code != 0 && said.out.contains("the secret \\\"books\\\"") && !said.out.contains("sesame"),
        "{}{}",
        said.out,
        said.err
    );
}

const PETS: &str = r##"
openapi: 3.0.3
info: { title: "Pets & more" }
servers: [{ url: "https://api.example/v1" }]
security: [{ legacy: [] }, { oauth: [read] }]
components:
  securitySchemes:
    legacy: { type: http, scheme: digest }
    oauth: { type: oauth2, flows: { clientCredentials: { tokenUrl: "https://id.example/token", scopes: { read: "" } } } }
    bearer: { type: http, scheme: bearer }
    admin key: { type: apiKey, in: header, name: X-Admin }
paths:
  /pets:
    get: { operationId: listPets, tags: [pets] }
    post: { operationId: "on", tags: [pets], security: [{ "admin key": [] }, { bearer: [] }] }
  /shops: { get: { operationId: listShops, tags: [shops], security: [] } }
"##;

#[test]
fn what_a_specification_needs_is_written_down_for_a_workflow_and_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("pets.yaml"), PETS).unwrap();
    let said = tools(folder.path(), &["import", "--openapi", "pets.yaml"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    insta::assert_snapshot!(said.out, @r#"
    # In the workflow; agents name the tools that they may use.
    tools:
      pets_more:
        openapi: pets.yaml
        only: # 3 operations; leave out what no agent needs
          - listPets # GET /pets
          - "on" # POST /pets
          - listShops # GET /shops
        security: # the schemes of the specification, and the secrets for them
          "admin key": pets_more_admin_key
          oauth: pets_more_oauth

    # In fastagency.yaml. Each secret is sent to its hosts and to no others.
    secrets:
      # a key in the header X-Admin
      pets_more_admin_key: { value: "${PETS_MORE_ADMIN_KEY}", hosts: [api.example] }
      # a token of OAuth 2.0
      pets_more_oauth: { oauth: { token_url: "https://id.example/token", client_id: "${PETS_MORE_OAUTH_ID}", client_secret: "${PETS_MORE_OAUTH_SECRET}" }, hosts: [api.example] }
      # or by a program that prints a token: { command: [PROGRAM, ARGUMENT], refresh: 5m, hosts: [api.example] }
    # Some operations take bearer as well: a bearer token.
    # Some operations take legacy as well: the scheme digest of HTTP, which is not supported.
    "#);
    let said = tools(folder.path(), &["import", "--openapi", "pets.yaml", "--only", "tag:shops", "--name", "shops"]);
    insta::assert_snapshot!(said.out, @r#"
    # In the workflow; agents name the tools that they may use.
    tools:
      shops:
        openapi: pets.yaml
        only: ["tag:shops"] # 1 operation
    "#);
    // The secrets are some that the configuration takes.
    let said = tools(folder.path(), &["import", "--openapi", "pets.yaml"]);
    let secrets = &said.out[said.out.find("secrets:").unwrap()..];
    std::fs::write(folder.path().join("fastagency.yaml"), format!("version: 1\n{secrets}")).unwrap();
    std::fs::create_dir(folder.path().join("workflows")).unwrap();
    std::fs::write(folder.path().join("workflows/w.yaml"), "version: 1\nname: w\nsteps: [{ return: 1 }]\n").unwrap();
    let checked =
        Command::new(env!("CARGO_BIN_EXE_fastagency")).arg("check").current_dir(folder.path()).output().unwrap();
    let complaints = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(!complaints.contains("unknown key") && !complaints.contains("needs"), "{complaints}");
}

const CONTACTS: &str = r##"
openapi: 3.1.0
info: { title: Contacts }
servers: [{ url: "https://crm.example" }]
components:
  securitySchemes:
    people:
      type: oauth2
      flows:
        authorizationCode:
          authorizationUrl: "https://id.example/authorize"
          tokenUrl: "https://id.example/token"
          scopes: { "contacts:read": "", "contacts:write": "", admin: "" }
paths:
  /contacts:
    get: { operationId: listContacts, security: [{ people: ["contacts:read"] }] }
    post: { operationId: addContact, security: [{ people: ["contacts:read", "contacts:write"] }] }
"##;

#[test]
fn where_people_sign_in_an_import_says_how_and_the_configuration_takes_it() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("contacts.yaml", CONTACTS);
    let said = tools(folder.path(), &["import", "--openapi", "contacts.yaml"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let secrets = &said.out[said.out.find("secrets:").unwrap()..];
    insta::assert_snapshot!(secrets, @r#"
    secrets:
      # a token of OAuth 2.0
      contacts_people: { oauth: { flow: authorization_code, authorization_url: "https://id.example/authorize", token_url: "https://id.example/token", client_id: "${CONTACTS_PEOPLE_ID}", scopes: ["contacts:read", "contacts:write"] }, hosts: [crm.example] }
      # a person signs in once, before the first run: fastagency login contacts_people
      # or by a program that prints a token: { command: [PROGRAM, ARGUMENT], refresh: 5m, hosts: [crm.example] }
    "#);
    write("fastagency.yaml", &format!("version: 1\n{secrets}"));
    std::fs::create_dir(folder.path().join("workflows")).unwrap();
    write("workflows/w.yaml", "version: 1\nname: w\nsteps: [{ return: 1 }]\n");
    let mut command = Command::new(env!("CARGO_BIN_EXE_fastagency"));
    command.arg("check").current_dir(folder.path()).env("CONTACTS_PEOPLE_ID", "app");
    let checked = command.env_remove("FASTAGENCY_CONFIG").output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn an_import_of_too_many_operations_names_the_tags_to_choose_from() {
    let folder = tempfile::tempdir().unwrap();
    let path = |number: usize| {
        format!("  /p{number}: {{ get: {{ tags: [{}] }} }}\n", if number < 100 { "most" } else { "few" })
    };
    let paths: String = (0..130).map(path).collect();
    std::fs::write(folder.path().join("many.yaml"), format!("openapi: 3.0.3\npaths:\n{paths}")).unwrap();
    let said = tools(folder.path(), &["import", "--openapi", "many.yaml"]);
    assert_eq!(said.code, 2);
    assert_eq!(
        said.err,
        "error: these are 130 tools, and an agent can have at most 128: choose some with --only; its tags: tag:most (100), tag:few (30)\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tools_of_an_agent_are_listed_as_its_model_is_sent_them() {
    const WORKFLOW: &str = "version: 1
name: w
tools:
  weather: { python: tools.py:weather }
  api: { openapi: SOURCE, only: [get_header, pay] }
  own:
    description: |
      Says hello.
      The second line is for models alone.
    params: { type: object, properties: { name: { type: string } }, required: [name] }
    do: [ { return: hello } ]
agents:
  helper: { system_message: Help., tools: [weather, api, own] }
  few: { system_message: Help., tools: [api.pay] }
  none: { system_message: Help. }
steps:
  - agent: { agent: helper, message: hi }
";
    let api = ApiServer::start().await;
    let mut model = HeardModel::start().await;
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("fastagency.yaml", &model.config());
    write(
        "tools.py",
        "def weather(city: str, days: int = 1) -> str:\n    \"\"\"The weather of a city.\"\"\"\n    return city\n",
    );
    std::fs::create_dir(folder.path().join("workflows")).unwrap();
    let source = format!("{}/openapi.json", api.url);
    write("workflows/w.yaml", &WORKFLOW.replace("SOURCE", &source));

    let list = |arguments: &[&str]| tools(folder.path(), &[&["list"], arguments].concat());
    let json_of = |said: Said| -> Value {
        assert_eq!((said.code, said.err.as_str()), (0, ""));
        serde_json::from_str(&said.out).unwrap()
    };
    let listed = tokio::task::block_in_place(|| json_of(list(&["w", "helper", "--json"])));
    let [sent]: [Value; 1] = model.requests_of_a_run(folder.path()).try_into().unwrap();
    assert_eq!(listed["agents"][0]["agent"], "helper");
    assert_eq!(listed["agents"][0]["tools"], sent["tools"]);
    assert_eq!(sent["tools"].as_array().unwrap().len(), 4);

    let said = tokio::task::block_in_place(|| list(&["w"]));
    let words: Vec<String> =
        said.out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(said.code, 0, "{}", said.err);
    for row in ["helper: 4 tools", "weather city, days? The weather of a city.", "own name Says hello.", "few: 1 tool"]
    {
        assert!(words.iter().any(|line| line == row), "{row} is not in {}", said.out);
    }
    assert!(!said.out.contains("none:"), "{}", said.out);
    for (arguments, words) in [
        (&["w", "helpr"][..], "the workflow \"w\" has no agent \"helpr\": did you mean \"helper\"?"),
        (&["v"], "there is no workflow \"v\": there is w"),
        (&["w", "--openapi", &source], "cannot be used with"),
        (&["w", "--only", "get_*"], "cannot be used with"),
        (&[], "<WORKFLOW>"),
    ] {
        let said = tokio::task::block_in_place(|| list(arguments));
        assert!(said.code == 2 && said.err.contains(words), "{arguments:?}: {}: {}", said.code, said.err);
    }
    // What cannot be asked is named; the others are listed.
    drop(api);
    write("tools.py", "def weather(city):\n    return city\n");
    let said = tokio::task::block_in_place(|| list(&["w", "helper"]));
    assert!(
        said.code == 1 && said.out.contains("own") && said.err.contains("tools.weather: "),
        "{}{}",
        said.out,
        said.err
    );
}

/// A model that says "hello" to everything, and what it was sent.
struct HeardModel {
    address: std::net::SocketAddr,
    requests: tokio::sync::mpsc::UnboundedReceiver<Value>,
}

impl HeardModel {
    async fn start() -> Self {
        let (asked, requests) = tokio::sync::mpsc::unbounded_channel::<Value>();
        let answer = move |axum::Json(request): axum::Json<Value>| {
            let asked = asked.clone();
            async move {
                asked.send(request).unwrap();
                let message = json!({"role": "assistant", "content": "hello"});
                axum::Json(json!({"choices": [{"index": 0, "finish_reason": "stop", "message": message}]}))
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = axum::Router::new().route("/v1/chat/completions", axum::routing::post(answer));
        tokio::spawn(async move { axum::serve(listener, served).await.unwrap() });
        Self { address, requests }
    }

    /// The configuration of a project that asks it.
    fn config(&self) -> String {
        let llm = format!("provider: openai, model: m, api_key: k, base_url: \"http://{}/v1\"", self.address);
        format!(
            "version: 1\noutgoing: {{ allow_private: [127.0.0.1] }}\nllms: {{ default: {{ {llm}, stream: false }} }}\n"
        )
    }

    /// What it is sent while the workflow `w` of a project runs.
    fn requests_of_a_run(&mut self, project: &Path) -> Vec<Value> {
        let mut run = Command::new(env!("CARGO_BIN_EXE_fastagency"));
        run.args(["run", "w"]).current_dir(project).env_remove("FASTAGENCY_CONFIG");
        let ended = tokio::task::block_in_place(|| run.output().unwrap());
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        std::iter::from_fn(|| self.requests.try_recv().ok()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hand_overs_and_the_tools_of_steps_are_listed_as_models_are_sent_them() {
    const WORKFLOW: &str = "version: 1
name: w
tools:
  close: { description: Closes a ticket., do: [ { return: closed } ] }
  find: { description: Finds a page., do: [ { return: found } ] }
agents:
  triage:
    handoffs:
      llm:
        - { target: expert, prompt: When it is hard. }
        - { target: terminate, prompt: When it is done., available: context.is_answered }
      after_work: terminate
  expert:
    system_message: Help.
    tools: [find]
    handoffs: { llm: [ { target: triage, prompt: When it is easy. } ] }
steps:
  - group: { initial_agent: triage, agents: [triage, expert], messages: hi, context_variables: { is_answered: true }, after_work: terminate }
  - when: \"true\"
    branch:
      - when: \"true\"
        do: [ { agent: { agent: expert, message: hi, tools: [close] } } ]
  - agent: { agent: expert, message: hi }
";
    let mut model = HeardModel::start().await;
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("fastagency.yaml", &model.config());
    std::fs::create_dir(folder.path().join("workflows")).unwrap();
    write("workflows/w.yaml", WORKFLOW);
    let said = tokio::task::block_in_place(|| tools(folder.path(), &["list", "w", "--json"]));
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let listed: Value = serde_json::from_str(&said.out).unwrap();
    let offer = |agent: &str, place: (&str, &str)| {
        let all = listed["agents"].as_array().unwrap().iter();
        let mut of_it = all.filter(|one| one["agent"] == agent && one[place.0] == place.1);
        of_it.next().unwrap_or_else(|| panic!("{agent} {place:?} is not in {listed}")).clone()
    };
    let (group, step) = (("group", "w.yaml:18"), ("step", "w.yaml:22"));
    let sent = model.requests_of_a_run(folder.path());
    assert_eq!(sent.len(), 3, "triage, and the expert twice: {sent:?}");
    assert_eq!(offer("triage", group)["tools"], sent[0]["tools"]);
    assert_eq!(offer("triage", group)["conditions"], json!({"transfer_to_terminate_2": "context.is_answered"}));
    assert_eq!(offer("expert", step)["tools"], sent[1]["tools"]);
    assert_eq!(offer("expert", group)["tools"].as_array().unwrap().len(), 2);
    let all = listed["agents"].as_array().unwrap();
    let plain =
        all.iter().find(|one| one["agent"] == "expert" && one.get("group").is_none() && one.get("step").is_none());
    assert_eq!(plain.unwrap()["tools"], sent[2]["tools"], "outside of the group it hands over to nobody");
    assert_eq!(all.len(), 4, "{listed}");
    let said = tokio::task::block_in_place(|| tools(folder.path(), &["list", "w"]));
    let words: Vec<String> =
        said.out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for row in [
        "triage in the group at w.yaml:18: 2 tools",
        "transfer_to_terminate_2 (if context.is_answered) When it is done.",
        "expert in the group at w.yaml:18: 2 tools",
        "expert: 1 tool",
        "expert in the step at w.yaml:22: 1 tool",
    ] {
        assert!(words.iter().any(|line| line == row), "{row} is not in {}", said.out);
    }
}
