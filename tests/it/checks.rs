//! What `fastagency check` says before any run of what would fail in every run, or can be guessed.

use std::path::Path;

use assert_cmd::Command;

const API: &str = r#"{
  "openapi": "3.1.0", "info": {"title": "Pets", "version": "1"}, "servers": [{"url": "https://api.example.com"}],
  "components": {"securitySchemes": {"petKey": {"type": "apiKey", "in": "header", "name": "X-Key"}}},
  "paths": {"/pets": {"get": {"operationId": "list_pets", "security": [{"petKey": []}], "parameters": [
    {"name": "tenant", "in": "query", "schema": {"type": "string"}}]}}}
}"#;

/// What `check` prints of a project with these tools and steps, and this in its configuration.
fn said(config: &str, tools: &str, steps: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    std::fs::create_dir(folder.path().join("workflows")).unwrap();
    write("fastagency.yaml", &format!("version: 1\nllms: {{ default: {{ provider: scripted }} }}\n{config}"));
    write("pets.json", API);
    write("workflows/w.yaml", &format!("version: 1\nname: w\n{tools}\nsteps:\n{steps}\n"));
    checked(folder.path())
}

fn checked(folder: &Path) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fastagency"));
    command.env_remove("FASTAGENCY_CONFIG").env_remove("NATS_URL").arg("check").current_dir(folder);
    let output = command.output().expect("the program starts");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

const STEPS: &str = "  - return: 1";
const SECRET: &str = "secrets: { z: { value: sesame-0815, hosts: [api.example.com] } }\n";

#[test]
fn sets_that_fail_in_every_run_are_said() {
    for (tools, words) in [
        (
            "tools:\n  a: { openapi: pets.json }\n  b: { openapi: pets.json }",
            "a and b have a tool \"list_pets\" each; give one of them a `prefix`",
        ),
        ("tools:\n  a: { openapi: pets.json, except: [\"*\"] }", "`except` leaves no operation of pets.json"),
        ("tools:\n  a: { openapi: pets.json, security: { petKye: z } }", "pets.json has no security scheme \"petKye\""),
        (
            "tools:\n  a: { openapi: pets.json, inject: { tennant: x } }",
            "no tool of a has an argument \"tennant\", which `inject` gives",
        ),
    ] {
        let said = said(SECRET, tools, STEPS);
        assert!(said.contains(words), "{tools}: {said}");
    }
    let right = "tools:\n  a: { openapi: pets.json, prefix: x_, security: { petKey: z }, inject: { tenant: x } }\n  b: { openapi: pets.json }";
    let said = said(SECRET, right, STEPS);
    assert!(!said.contains("-->") && said.contains("1 in "), "{said}");
}

#[test]
fn tools_that_nobody_executes_code_that_no_argument_has_and_addresses_that_are_refused_are_said() {
    let chat = |executes: &str| {
        let agents = format!(
            "agents:\n  asks: {{ kind: user_proxy, executes: [{executes}] }}\n  calls: {{ system_message: x, tools: [one, two] }}\n"
        );
        let tool = |name: &str| format!("  {name}: {{ description: x, do: [ {{ return: 1 }} ] }}\n");
        said(
            "",
            &format!("{agents}tools:\n{}{}", tool("one"), tool("two")),
            "  - chat: { sender: asks, recipient: calls, message: x }",
        )
    };
    assert!(chat("one").contains("calls may call two, and asks does not execute it"), "{}", chat("one"));
    assert!(!chat("one, two").contains("does not execute"), "{}", chat("one, two"));
    let command = "commands: { code: { run: [python3, \"-\"], stdin: code, sandbox: none } }\n";
    let tool = |params: &str| format!("tools:\n  t: {{ description: x, {params} command: code }}");
    let none = said(command, &tool(""), STEPS);
    assert!(none.contains("the command \"code\" reads code, and the tool has no argument `code`"), "{none}");
    let right = said(command, &tool("params: { type: object, properties: { code: { type: string } } },"), STEPS);
    assert!(!right.contains("no argument `code`"), "{right}");
    let mcp = |more: &str| {
        said(&format!("mcp: {{ s: {{ url: \"http://127.0.0.1:9/mcp\" }} }}\n{more}"), "tools:\n  s: { mcp: s }", STEPS)
    };
    assert!(mcp("").contains("the MCP server \"s\" cannot be asked: 127.0.0.1 is an address"), "{}", mcp(""));
    let allowed = mcp("outgoing: { allow_private: [127.0.0.1] }\n");
    assert!(!allowed.contains("cannot be asked"), "{allowed}");
}

#[test]
fn a_function_that_a_python_file_makes_when_it_runs_is_not_missed() {
    let made = |source: &str| {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        std::fs::create_dir(folder.path().join("workflows")).unwrap();
        write("fastagency.yaml", "version: 1\n");
        write("tools.py", source);
        write(
            "workflows/w.yaml",
            "version: 1\nname: w\ntools:\n  t: { python: tools.py:book }\nsteps: [ { call: { tool: t } } ]\n",
        );
        checked(folder.path())
    };
    let missed = "tools.py has no function \"book\"";
    assert!(made("def other(): ...\n").contains(missed));
    for source in [
        "for name in ['book']:\n    globals()[name] = print\n",
        "with open('x') as book:\n    pass\n",
        "for book in [print]:\n    pass\n",
        "print(book := print)\n",
        "match 1:\n    case 1:\n        def book(): ...\n",
        "import sys\nsetattr(sys.modules[__name__], 'book', print)\n",
    ] {
        let said = made(source);
        assert!(!said.contains(missed), "{source}: {said}");
    }
}

#[test]
fn a_secret_that_is_empty_is_named_with_its_variable() {
    let said = said(
        "secrets: { z: { value: \"${NO_SUCH_VARIABLE_0815:-}\", hosts: [api.example.com] } }\n",
        "tools:\n  a: { openapi: pets.json, security: { petKey: z } }",
        STEPS,
    );
    let words = "the secret \"z\" has no value: the environment variable NO_SUCH_VARIABLE_0815 is not set, or empty";
    assert!(said.contains(words), "{said}");
}

#[test]
fn an_agent_has_no_more_tools_than_models_take() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    std::fs::create_dir(folder.path().join("workflows")).unwrap();
    write("fastagency.yaml", "version: 1\nllms: { default: { provider: scripted } }\n");
    let paths: Vec<String> = (0..65).map(|number| format!("\"/p{number}\": {{\"get\": {{}}}}")).collect();
    let api = API.replace("\"paths\": {", &format!("\"paths\": {{ {},", paths.join(",")));
    write("api.json", &api);
    let said = |agent: &str, tools: &str| {
        write(
            "workflows/w.yaml",
            &format!("version: 1\nname: w\nagents: {{ x: {agent} }}\n{tools}\nsteps:\n{STEPS}\n"),
        );
        checked(folder.path())
    };
    let two = "tools:\n  a: { openapi: api.json, except: [list_pets] }\n  b: { openapi: api.json, except: [list_pets], prefix: b_ }";
    let too_many = said("{ tools: [a, b] }", two);
    let words = "the agent x has 130 tools, and models take 128 at most. Choose some of a set (only: [\"get_*\"]; or offer SET.TOOL), \
                 or share them out among several agents";
    assert!(too_many.contains(words) && too_many.contains("w.yaml:"), "{too_many}");
    let fitting = said("{ tools: [a] }", two);
    assert!(!fitting.contains("models take"), "{fitting}");
    let own: Vec<String> = (0..129).map(|number| format!("t{number}")).collect();
    let declared: Vec<String> =
        own.iter().map(|name| format!("  {name}: {{ description: d, do: [ {{ return: 1 }} ] }}")).collect();
    let many = said(&format!("{{ tools: [{}] }}", own.join(", ")), &format!("tools:\n{}", declared.join("\n")));
    assert!(many.contains("these are 129 tools, and models take 128 at most"), "{many}");
}

#[test]
fn what_is_wrong_with_python_files_is_said_and_nothing_of_them_is_run() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    std::fs::create_dir(folder.path().join("workflows")).unwrap();
    write("fastagency.yaml", "version: 1\npython: { interpreter: [python3, -S] }\n");
    write("right.py", "open('run', 'w')\nfrom json import dumps\ndef book(amount: int):\n    'Books'\n");
    write("wrong.py", "def book(:\n");
    let tools = "tools:\n  broken: { python: wrong.py }\n  near: { python: \"right.py:bok\" }\n  dumps: { python: \"right.py:dumps\" }\n\
                 \u{20} one: { python: \"right.py:book\", inject: { amuont: 1 } }\n  set: { python: right.py, inject: { amount: 1 } }\n";
    write("workflows/w.yaml", &format!("version: 1\nname: w\n{tools}\nsteps:\n{STEPS}\n"));
    let said = checked(folder.path());
    for words in [
        "Python cannot read wrong.py: line 1: ",
        "right.py has no function \"bok\"",
        "did you mean \"book\"?",
        "no tool of one has an argument \"amuont\", which `inject` gives",
        "did you mean \"amount\"?",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!(said.matches("workflows/w.yaml:").count(), 3, "{said}");
    assert!(!folder.path().join("run").exists());
}

#[test]
fn names_and_numbers_in_a_tool_that_mean_nothing_are_said() {
    let tool = |keys: &str| format!("tools:\n  t: {{ description: d, command: shout, {keys} }}");
    let config = "commands: { shout: { run: [cat] } }\n";
    for (keys, words) in [
        ("inject: { k: { secrt: z } }", "\"secrt\" is not `secret`"),
        ("inject: { k: \"{{ call.idd }}\" }", "`call` has no \"idd\""),
        ("inject: { k: \"{{ user.nme }}\" }", "did you mean \"name\"?"),
        ("timeout: 0s", "\"0s\" is not more than no time"),
        ("max_result: 0", "0 is not more than nothing"),
    ] {
        let said = said(config, &tool(keys), STEPS);
        assert!(said.contains(words), "{keys}: {said}");
    }
    let right = tool(
        "inject: { k: \"{{ call.id }} {{ user.name }} {{ run.id }}\", m: { other: 1, secrt: 2 } }, timeout: 1s, max_result: 1",
    );
    assert!(!said(config, &right, STEPS).contains("w.yaml:"));
}

#[test]
fn a_secret_that_cannot_do_what_it_is_for_is_said() {
    let openapi = "tools:\n  a: { openapi: pets.json, security: { petKey: g } }";
    let secret = |keys: &str| format!("commands: {{ report: {{ run: [cat] }} }}\nsecrets: {{ g: {{ {keys} }} }}\n");
    let no_hosts = said(&secret("value: sesame-0815, tools: { command: [report] }"), openapi, STEPS);
    assert!(no_hosts.contains("the secret \"g\" has no hosts, so no server gets it"), "{no_hosts}");
    let short = said(&secret("value: abcde, hosts: [a.example]"), "", STEPS);
    assert!(short.contains("warning") && short.contains("the secret \"g\" has fewer than 6 characters"), "{short}");
    assert!(!short.contains("abcde"), "{short}");
    let unknown =
        said(&secret("value: sesame-0815, tools: { command: [reprot], python: [no.py], mcp: [docs] }"), "", STEPS);
    for words in ["no command \"reprot\"", "did you mean \"report\"?", "no file \"no.py\"", "no MCP server \"docs\""] {
        assert!(unknown.contains(words), "{words}: {unknown}");
    }
    let steps =
        format!("  - http: {{ url: \"https://a.example/x\", headers: {{ X: \"{{{{ secrets.g }}}}\" }} }}\n{STEPS}");
    let unset = said(&secret("value: \"${NO_SUCH_VARIABLE_0815}\", hosts: [a.example]"), "", &steps);
    let words = "the secret \"g\" has no value: the environment variable NO_SUCH_VARIABLE_0815 is not set";
    assert!(unset.contains(words), "{unset}");
}

/// A mistake in one place hides no mistake in another that does not depend on it.
#[test]
fn mistakes_of_all_kinds_are_said_at_once() {
    let config = "gateway: { port: 70000 }\n";
    let tools = "agents: { x: { llm: big } }\ntools:\n  a: { openapi: pets.json, security: { petKey: g }, inject: { tennant: x } }\n\
                 \u{20} b: { description: d, command: shout, wrong: 1 }\n";
    let steps = format!("  - http: {{ url: \"http://127.0.0.1:9/x\" }}\n{STEPS}");
    let said = said(config, tools, &steps);
    for words in [
        "70000 is not a port",
        "unknown key \"wrong\"",
        "there is no model \"big\"",
        "there is no secret \"g\"",
        "has an argument \"tennant\"",
        "there is no command \"shout\"",
        "network reaches",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn a_request_to_an_address_that_is_never_asked_is_said() {
    for host in ["127.0.0.1:9", "10.0.0.7", "[::1]:9", "localhost:9", "169.254.169.254"] {
        let steps = format!("  - http: {{ url: \"http://{host}/x\" }}\n{STEPS}");
        let named = said("", "", &steps);
        assert!(named.contains("only this machine or its network reaches"), "{host}: {named}");
        assert!(named.contains("allow_private"), "{host}: {named}");
    }
    for (config, host) in [("", "93.184.215.14"), ("outgoing: { allow_private: [127.0.0.1] }\n", "127.0.0.1:9")] {
        let steps = format!("  - http: {{ url: \"http://{host}/x\" }}\n{STEPS}");
        let named = said(config, "", &steps);
        assert!(!named.contains("network reaches"), "{host}: {named}");
    }
}

#[test]
fn a_word_that_is_no_secret_is_shown_and_a_secret_is_not() {
    let oauth = |flow: &str| {
        format!(
            "secrets: {{ z: {{ oauth: {{ flow: {flow}, client_id: c, client_secret: sesame-0815 }}, hosts: [a.example] }} }}\n"
        )
    };
    let said_of = said(&oauth("client_credential"), "", STEPS);
    assert!(
        said_of.contains("\"client_credential\" is not one of client_credentials, authorization_code"),
        "{said_of}"
    );
    let said_of = said(&oauth("sesame-0815"), "", STEPS);
    assert!(!said_of.contains("sesame"), "{said_of}");
}

#[test]
fn a_hint_fits_the_kind_of_the_secret_and_a_name_that_is_near() {
    let config = "secrets: { z: { oauth: { client_id: c, client_secret: sesame-0815 }, hosts: [a.example] } }\n\
                  commands: { shout: { run: [cat] } }\n";
    let steps =
        format!("  - http: {{ url: \"https://a.example/x\", headers: {{ X: \"{{{{ secrets.z }}}}\" }} }}\n{STEPS}");
    let said_of = said(config, "", &steps);
    assert!(said_of.contains("secrets.z.oauth: { token_url:") && !said_of.contains("{ value:"), "{said_of}");
    let tools = "tools:\n  t: { description: d, command: shuot }";
    let said_of = said(config, tools, STEPS);
    assert!(said_of.contains("did you mean \"shout\"?"), "{said_of}");
}

#[test]
fn a_key_that_can_be_guessed_is_warned_of_and_not_shown() {
    let said_of = said("seal_key: abcxyz\naudit: { key: abcxyz }\n", "", STEPS);
    for name in ["seal_key", "audit.key"] {
        assert!(said_of.contains(&format!("{name} has fewer than 32 bytes, so it can be guessed")), "{said_of}");
    }
    assert!(!said_of.contains("abcxyz"), "{said_of}");
    let long = "seal_key: 0123456789abcdef0123456789abcdef\n";
    assert!(!said(long, "", STEPS).contains("guessed"));
}
