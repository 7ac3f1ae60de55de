//! The configuration as it is read.

use secrecy::ExposeSecret;

use super::*;
use crate::money::Usd;

fn nothing(_: &str) -> Option<String> {
    None
}

fn read(source: &str, environment: Environment<'_>) -> Result<Config, String> {
    reading::read(Path::new("fastagency.yaml"), source, Path::new("project"), environment)
        .map_err(|problems| problems.to_string())
}

fn llm(source: &str, environment: Environment<'_>) -> LlmConfig {
    let source = format!("version: 1\nllms:\n  default: {source}");
    read(&source, environment).unwrap_or_else(|problems| panic!("{problems}")).llms["default"].clone()
}

#[test]
fn the_sample_is_right() {
    let config = load(Path::new("fastagency.yaml"), &nothing).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(config.name, "my_agency");
    assert_eq!(config.nats().unwrap().url, "nats://127.0.0.1:4222");
    assert_eq!(config.worker.max_runs, 20_000);
    assert_eq!(config.ui.title, "My agency");
    let llm = &config.llms["default"];
    assert!(llm.api_key.is_none());
    assert_eq!(llm.api_key_variable.as_deref(), Some("OPENAI_API_KEY"));
    assert_eq!(llm.parameters, serde_json::json!({"temperature": 0.8}).as_object().unwrap().clone());
}

#[test]
fn a_project_without_a_file_has_defaults() {
    let environment = |name: &str| (name == "OPENAI_API_KEY").then(|| "sk-secret".to_owned());
    let config = Config::default_in(Path::new("."), &environment).unwrap();
    assert_eq!(config.llms["default"].api_key.as_ref().unwrap().expose_secret(), "sk-secret");
    assert_eq!(config.nats().unwrap().user.as_deref(), Some("fastagency"));
    assert_eq!((config.workflows.as_path(), config.data_dir.as_path()), (Path::new("workflows"), Path::new("data")));
    assert!(!format!("{config:?}").contains("sk-secret"));
    assert!(!format!("{config:?}").contains("fastagency_nats_password"));
}

#[test]
fn a_missing_file_is_named() {
    let problems = load(Path::new("nowhere/x.yaml"), &nothing).unwrap_err().to_string();
    assert_eq!(
        problems,
        "nowhere/x.yaml: there is no such file\nhint: -c names the configuration (default fastagency.yaml)"
    );
}

#[test]
fn what_is_not_set_matters_where_it_is_used() {
    let source = "version: 1\nnats: { url: '${URL}', user: me, password: '${PASSWORD}' }\nui: { port: '${PORT}' }\nllms:\n  default: { \
                  provider: openai, model: m, api_key: '${KEY}', base_url: '${BASE}' }";
    let mut config = read(source, &nothing).unwrap();
    let missing =
        |config: &Config| config.nats().unwrap_err().iter().map(|problem| problem.message.clone()).collect::<Vec<_>>();
    assert_eq!(
        missing(&config),
        ["the environment variable URL is not set", "the environment variable PASSWORD is not set"]
    );
    config.override_nats_url("nats://other:4222");
    assert_eq!(missing(&config), ["the environment variable PASSWORD is not set"]);
    assert!(config.usable(ConfigSection::Gateway).is_ok());
    assert!(config.usable(ConfigSection::Ui).is_err());
    let llm = &config.llms["default"];
    assert_eq!(llm.unset, ["the environment variable BASE is not set"]);
    assert_eq!((llm.api_key_variable.as_deref(), llm.base_url.as_str()), (Some("KEY"), ""));
    assert!(
        read("version: 1\nworkflows: ${FOLDER}", &nothing)
            .unwrap_err()
            .contains("the environment variable FOLDER is not set")
    );

    let set = |name: &str| Some(if name == "PORT" { "9000" } else { "http://x" }.to_owned());
    let config = read(source, &set).unwrap();
    assert_eq!((config.ui.port, config.nats().unwrap().url.as_str()), (9000, "http://x"));
    let key = |name: &str| (name == "KEY").then(|| "12345".to_owned());
    let source = "{ provider: openai, model: m, api_key: '${KEY}' }";
    assert_eq!(llm_key(source, &key), Some("12345".to_owned()));
}

fn llm_key(source: &str, environment: Environment<'_>) -> Option<String> {
    llm(source, environment).api_key.map(|key| key.expose_secret().to_owned())
}

#[test]
fn an_empty_key_is_not_set() {
    let empty = |_: &str| Some(String::new());
    for source in ["'${KEY}'", "'${KEY:-}'", "\"\"", "null"] {
        assert_eq!(llm_key(&format!("{{ provider: openai, model: m, api_key: {source} }}"), &empty), None, "{source}");
    }
    let unnamed = llm("{ provider: openai, model: m }", &|name| (name == "OPENAI_API_KEY").then(|| "k".to_owned()));
    assert_eq!(unnamed.api_key.unwrap().expose_secret(), "k");
    assert_eq!(llm("{ provider: openai, model: m }", &nothing).api_key_variable.as_deref(), Some("OPENAI_API_KEY"));
    assert_eq!(llm("{ provider: scripted }", &nothing).api_key_variable, None);
}

#[test]
fn each_provider_has_its_place_and_its_key() {
    let set = |name: &str| name.ends_with("_KEY").then(|| format!("the value of {name}"));
    for (provider, base_url, variable) in [
        ("openai", "https://api.openai.com/v1", "OPENAI_API_KEY"),
        ("anthropic", "https://api.anthropic.com", "ANTHROPIC_API_KEY"),
        ("gemini", "https://generativelanguage.googleapis.com/v1beta", "GEMINI_API_KEY"),
    ] {
        let source = format!("{{ provider: {provider}, model: m }}");
        let found = llm(&source, &set);
        assert_eq!((found.base_url.as_str(), found.api_key_variable.as_deref()), (base_url, Some(variable)));
        assert_eq!(found.api_key.unwrap().expose_secret(), format!("the value of {variable}"));
        assert_eq!(llm(&source, &nothing).api_key_variable.as_deref(), Some(variable));
    }
    let azure = |base_url: &str| llm(&format!("{{ provider: azure, model: m, base_url: '{base_url}' }}"), &set);
    let by_date = azure("https://x.openai.azure.com");
    assert_eq!(by_date.api_version.as_deref(), Some("2024-10-21"));
    assert_eq!(by_date.api_key.unwrap().expose_secret(), "the value of AZURE_OPENAI_API_KEY");
    assert_eq!(azure("https://x.openai.azure.com/openai/v1").api_version, None);
}

#[test]
fn a_known_server_has_its_place_its_key_and_its_dialect() {
    let set = |name: &str| name.ends_with("_KEY").then(|| format!("the value of {name}"));
    let groq = llm("{ provider: groq, model: m }", &set);
    assert_eq!((groq.provider, groq.base_url.as_str()), (ModelProvider::Compatible, "https://api.groq.com/openai/v1"));
    assert_eq!(groq.api_key.as_ref().unwrap().expose_secret(), "the value of GROQ_API_KEY");
    assert!(groq.needs_key() && !groq.dialect.names);
    let ollama = llm("{ provider: ollama, model: m }", &set);
    assert_eq!((ollama.base_url.as_str(), ollama.api_key.is_none()), ("http://127.0.0.1:11434/v1", true));
    assert!(!ollama.needs_key());
    // A proxy in front of it, or its address without its name.
    let proxied = llm("{ provider: mistral, model: m, base_url: 'http://proxy/v1', api_key: x }", &nothing);
    assert_eq!((proxied.base_url.as_str(), proxied.dialect.call_ids), ("http://proxy/v1", CallIdForm::Nine));
    let unnamed = llm("{ provider: compatible, model: m, base_url: 'https://api.mistral.ai:443/v1' }", &nothing);
    assert_eq!((unnamed.dialect, unnamed.needs_key()), (proxied.dialect, false));
    let [kimi, moonshot] = ["kimi", "moonshot"].map(|word| llm(&format!("{{ provider: {word}, model: m }}"), &set));
    assert_eq!((kimi.dialect, kimi.base_url), (moonshot.dialect, moonshot.base_url));
    assert!(!moonshot.dialect.empty_content && !ollama.dialect.any_arguments);
    assert_eq!(llm("{ provider: deepseek, model: m }", &set).dialect.response_format, FormRequest::Object);
    assert_eq!(llm("{ provider: openai, model: m }", &set).dialect, ChatDialect::OPENAI);
    assert_eq!(llm("{ provider: compatible, model: m, base_url: 'http://x' }", &set).dialect, ChatDialect::OPEN);
    // The list for editors and the table of servers are one.
    for word in model_shapes::PROVIDERS {
        let place = if matches!(*word, "azure" | "compatible") { ", base_url: 'http://x'" } else { "" };
        let found = llm(&format!("{{ provider: {word}, model: m{place} }}"), &set);
        assert!(*word == "scripted" || !found.base_url.is_empty(), "{word}");
    }
}

#[test]
fn a_dialect_goes_before_what_is_known_of_a_server() {
    let described = llm(
        "{ provider: groq, model: m, dialect: { names: true, roles_alternate: true, system: false, max_tokens_key: max_completion_tokens, \
         call_ids: plain, reasoning: always, any_arguments: true, empty_content: false, null_content: false, \
         calls_without_tools: false, response_format: words, leave_out: [temperature] } }",
        &nothing,
    );
    let expected = ChatDialect {
        names: true,
        system: false,
        roles_alternate: true,
        stream_options: true,
        max_tokens_key: Some(TokenLimitKey::MaxCompletionTokens),
        call_ids: CallIdForm::Plain,
        reasoning: ReasoningReturn::Always,
        signatures: false,
        any_arguments: true,
        empty_content: false,
        null_content: false,
        calls_without_tools: false,
        response_format: FormRequest::Words,
    };
    assert_eq!(described.dialect, expected);
    assert_eq!(described.leave_out.into_iter().collect::<Vec<_>>(), ["temperature"]);
    let wrong = |llm: &str| read(&format!("version: 1\nllms:\n  default: {llm}"), &nothing).unwrap_err();
    assert!(wrong("{ provider: groq, model: m, dialect: { name: false } }").contains("did you mean \"names\"?"));
    assert!(
        wrong("{ provider: groq, model: m, dialect: { call_ids: ten } }")
            .contains("is not one of any, distinct, plain, nine")
    );
    let anthropic = wrong("{ provider: anthropic, model: m, dialect: { names: false, leave_out: [temperature] } }");
    assert!(
        anthropic
            .contains("names: this is for servers of chat completions; here is only leave_out and response_format"),
        "{anthropic}"
    );
    let gemini = llm("{ provider: gemini, model: m, dialect: { signatures: true, leave_out: [top_p] } }", &nothing);
    assert!(gemini.dialect.signatures && gemini.leave_out.contains("top_p"));
}

#[test]
fn the_whole_address_of_an_interface_is_taken_as_its_base() {
    let base = |provider: &str, url: &str| {
        llm(&format!("{{ provider: {provider}, model: m, base_url: '{url}', api_key: x }}"), &nothing).base_url
    };
    assert_eq!(base("openai", "https://x/v1/chat/completions"), "https://x/v1");
    assert_eq!(base("compatible", "https://x/v1/chat/completions/"), "https://x/v1");
    assert_eq!(base("compatible", "https://x/v1?a=/chat/completions"), "https://x/v1?a=/chat/completions");
    assert_eq!(
        base("azure", "https://x/openai/deployments/d/chat/completions?api-version=1"),
        "https://x/openai/deployments/d?api-version=1"
    );
    assert_eq!(base("anthropic", "https://x/v1/messages"), "https://x/v1");
    assert_eq!(base("gemini", "https://x/v1beta/models/gemini-2.5-flash:generateContent"), "https://x/v1beta");
    assert_eq!(base("gemini", "https://x/v1beta"), "https://x/v1beta");
    let source =
        "version: 1\nllms:\n  a: { provider: azure, model: m, base_url: 'https://x/openai/responses?api-version=1' }";
    let problem = read(source, &nothing).unwrap_err();
    assert!(problem.contains("this is the address of OpenAI's Responses"), "{problem}");
}

#[test]
fn prices_belong_to_models_by_the_name_that_the_provider_knows() {
    let source = "version: 1\nllms:\n  a: { provider: openai, model: gpt-4.1 }\n  b: { provider: openai, model: gpt-4.1, fallback: [c] }\n  \
                  c: { provider: gemini, model: x }\n  d: { provider: scripted, fallback: [b] }\n  e: { provider: scripted }\nprices:\n  \
                  gpt-4.1: { input: 2, output: 8, cached_input: 0.5 }\n  elsewhere: { input: 1, output: 1 }";
    let config = read(source, &nothing).unwrap();
    let usd = Usd::from_dollars;
    let price = ModelPrice { input: usd(2.0), output: usd(8.0), cached_input: Some(usd(0.5)), cache_write: None };
    assert_eq!((config.llms["a"].price, config.llms["b"].price), (Some(price), Some(price)));
    let names: Vec<_> = unpriced(&config.llms).into_iter().map(|name| name.to_string()).collect();
    assert_eq!(names, ["b", "c", "d"], "those that have none, and those that lead to them");
}

#[test]
fn a_model_keeps_its_parameters_as_written() {
    let llm = llm(
        "{ provider: compatible, model: m, base_url: 'http://localhost:1/v1/', temperature: 1, stop: [a, b], seed: 7, user: '${U:-42}', \
         timeout: 90s, max_retries: 0, stream: false, extra: { top_k: 5, nested: { a: [1] } } }",
        &nothing,
    );
    let expected = serde_json::json!({"temperature": 1, "stop": ["a", "b"], "seed": 7, "user": "42", "top_k": 5, "nested": {"a": [1]}});
    assert_eq!(serde_json::Value::Object(llm.parameters), expected);
    assert_eq!(llm.base_url, "http://localhost:1/v1");
    let seconds = Duration::from_secs;
    assert_eq!(llm.timeout, ModelTimeouts { first_token: seconds(90), idle: seconds(90), total: seconds(90) });
    assert_eq!((llm.max_retries, llm.stream), (0, false));
}

#[test]
fn durations_are_read_as_people_write_them() {
    let park_after = |text: &str| {
        read(&format!("version: 1\nworker: {{ park_after: {text} }}"), &nothing)
            .map(|config| config.worker.park_after.as_millis())
    };
    for (text, millis) in [
        ("60s", 60_000),
        ("90", 90_000),
        ("1.5", 1500),
        ("2h 30m", 9_000_000),
        ("1m30s", 90_000),
        ("250ms", 250),
        ("30d", 2_592_000_000),
        ("2 hours", 7_200_000),
        ("PT1M", 60_000),
    ] {
        assert_eq!(park_after(text), Ok(millis), "{text}");
    }
    for text in ["soon", "-5s", "-1", "true", "[1]", "1e300", "1y"] {
        assert!(park_after(text).unwrap_err().contains("is not a duration"), "{text}: {:?}", park_after(text));
    }
}

/// No message shows a secret, whatever is wrong with it.
#[test]
fn no_message_shows_a_secret_or_the_line_that_it_stands_on() {
    let set = |name: &str| (name == "HIDDEN").then(|| "hunter22-from-outside".to_owned());
    for wrong in [
        "12345678",
        "[hunter22]",
        "{ hunter22: hunter22 }",
        "hunter22",
        "0x1234567",
        "'${HIDDEN}'",
        "'${HIDDEN:-hunter22}'",
        "\n            hunter22",
        "\"hunter22",
        "hunter22: hunter22",
        "\n            x: hunter22",
    ] {
        for source in [
            "nats: { user: me, password: SECRET }",
            "nats:\n  password: SECRET\n  token: SECRET",
            "nats:\n  pasword: SECRET",
            "nats: { url: 'nats://me:SECRET@host', passwort: SECRET }",
            "gateway:\n  signing_key: SECRET",
            "worker:\n  signing_key: SECRET",
            "ui:\n  session_key: SECRET",
            "seal_key: SECRET",
            "secrets: { billing: { value: SECRET, hosts: [a.example] } }\nworker: { lease: 0 }",
            "secrets: { billing: { value: SECRET } }",
            "secrets:\n  billing: SECRET",
            "secret:\n  billing: SECRET",
            "audit:\n  key: SECRET",
            "metrics: { listen: x, token: SECRET }",
            "llms:\n  default: { provider: openai, model: m, api_key: SECRET, token: SECRET }",
            "llms:\n  default: { provider: compatible, base_url: 'https//me:SECRET@host' }",
            "auth:\n  mode: jwt\n  jwt:\n    algorithms: [HS256]\n    secret: SECRET",
            "auth:\n  mode: oidc\n  oidc:\n    client_secret: SECRET",
            "auth:\n  mode: basic\n  token: { secret: SECRET }",
            "webhooks:\n  all:\n    secret: SECRET",
            "webhooks: { all: { url: 'https://me:SECRET@', secret: SECRET } }",
            "telemetry:\n  otlp:\n    headers: { x-key: SECRET }",
            "telemetry:\n  otlp:\n    headers:\n      x-key: SECRET",
        ] {
            // With these it is no address.
            if source.contains('@') && wrong.contains([' ', '"', '\'', '$', '\n', '[']) {
                continue;
            }
            let said = read(&format!("version: one\n{}\n", source.replace("SECRET", wrong)), &set).unwrap_err();
            // The place is shown where it may be.
            let hidden = !said.contains("hunter22") && !said.contains("12345678") && !said.contains("0x1234567");
            assert!(hidden, "{source} with {wrong}:\n{said}");
        }
    }
    let said = read("version: 1\nnats: { password: 12345678 }", &nothing).unwrap_err();
    assert!(said.contains("password") && said.contains("2:19") && said.contains("put it in quotes"), "{said}");
}

#[test]
fn the_page_may_be_below_a_path_that_means_one_thing() {
    let public_url = |url: &str| {
        let read = read(&format!("version: 1\nui: {{ public_url: \"{url}\" }}\n"), &nothing);
        read.map(|config| config.ui.public_url.unwrap_or_default())
    };
    for (written, kept) in [
        ("https://Chat.Example.com", "https://chat.example.com"),
        ("https://chat.example.com/", "https://chat.example.com"),
        ("https://Example.com/Agents/", "https://example.com/Agents"),
        ("http://127.0.0.1:8080/a/b-c_d.e~f", "http://127.0.0.1:8080/a/b-c_d.e~f"),
        ("https://example.com/fastagency/", "https://example.com/fastagency"),
        ("https://example.com/my/api", "https://example.com/my/api"),
    ] {
        assert_eq!(public_url(written).as_deref(), Ok(kept), "{written}");
    }
    for wrong in [
        "https://example.com/a//b",
        "https://example.com//a",
        "https://example.com/../a",
        "https://example.com/./a",
        "https://example.com/a%2fb",
        "https://example.com/a;b",
        "https://example.com/a?b",
        "https://example.com/a#b",
        "https://me@example.com/a",
        "https:///a",
        "https://example.com/é",
    ] {
        let problems = public_url(wrong).expect_err(wrong);
        assert!(problems.contains("is not an address like"), "{wrong}: {problems}");
    }
    for first in PATHS_OF_THE_PAGE {
        let problems = public_url(&format!("https://example.com/{first}/x")).expect_err(first);
        assert!(problems.contains(&format!("the page has a path /{first} of its own")), "{problems}");
    }
}

#[test]
fn mcp_servers_are_programs_or_addresses() {
    let source = "version: 1\nmcp:\n  docs: { command: [npx, docs], env: { KEY: '${KEY}' }, only: [search] }\n  tickets: { url: \
                  'https://mcp.example.com/mcp?key=abcdefgh', headers: { Authorization: 'Bearer ${KEY}' }, protocol: \
                  '2025-11-25', total: 1h }";
    let config = read(source, &|_| Some("sesame-0815".to_owned())).unwrap();
    assert!(!format!("{config:?}").contains("sesame") && !format!("{config:?}").contains("abcdefgh"));
    let docs = &config.mcp["docs"];
    let McpReach::Command(command) = &docs.reach else { panic!("{docs:?}") };
    assert_eq!((command.program.as_str(), command.arguments.len()), ("npx", 1));
    assert_eq!((command.folder.as_path(), docs.timeout.as_secs()), (Path::new("project"), 60));
    assert_eq!(command.environment["KEY"].expose_secret(), "sesame-0815");
    let tickets = &config.mcp["tickets"];
    assert_eq!((tickets.protocol, tickets.total.as_secs()), (Some(McpRevision::Session), 3600));
    let unset = read(source, &nothing).unwrap();
    assert!(unset.usable(ConfigSection::Worker).is_err() && unset.usable(ConfigSection::Ui).is_ok());
}
