//! The command line as a person or a script uses it: whole commands of the real program, in a project of their own.

use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::nats_server::NatsServer;
use crate::support::ports::free_port;
use crate::support::tier::Tier;

const ECHO: &str = r#"
version: 1
name: echo
description: Says it again
params:
  type: object
  properties:
    loud: { type: boolean, default: false }
steps:
  - id: said
    text_input: { prompt: "What shall I say?" }
  - return: "{{ steps.said | upper if params.loud else steps.said }}"
"#;

const FAILS: &str = r#"
version: 1
name: fails
steps:
  - fail: "it is broken"
"#;

const RINGS: &str = r#"
version: 1
name: rings
tools:
  ring: { description: Rings, approve: always, do: [ { return: ding } ] }
steps:
  - { id: rung, call: { tool: ring }, on_error: { value: "{{ error.message }}" } }
  - { return: "{{ steps.rung }}" }
"#;

fn project() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("workflows")).unwrap();
    std::fs::write(folder.path().join("fastagency.yaml"), "version: 1\nname: cli\n").unwrap();
    for (name, source) in [("echo", ECHO), ("fails", FAILS), ("rings", RINGS)] {
        std::fs::write(folder.path().join(format!("workflows/{name}.yaml")), source).unwrap();
    }
    folder
}

struct Said {
    code: i32,
    out: String,
    err: String,
}

fn fastagency(folder: &Path, arguments: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fastagency"));
    command.args(arguments).current_dir(folder).env_remove("FASTAGENCY_CONFIG").env_remove("NATS_URL");
    let output = command.output().expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Said { code: output.status.code().expect("an exit code"), out: text(output.stdout), err: text(output.stderr) }
}

#[test]
fn a_script_runs_a_workflow_and_reads_its_records() {
    let folder = project();
    let run = ["run", "echo", "--param", "loud=true", "--answer", "1=hello", "--json"];
    let said = fastagency(folder.path(), &run);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    let records: Vec<Value> = said.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let kinds: Vec<&str> = records.iter().map(|record| record["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["created", "claimed", "said", "answered", "ended"]);
    assert_eq!(records.last().unwrap()["result"], "HELLO");
}

#[test]
fn a_call_of_a_tool_is_allowed_or_denied_beforehand() {
    let folder = project();
    for (answer, result) in [("once", "ding"), ("deny: not now", "a person did not allow this call: not now")] {
        let said = fastagency(folder.path(), &["run", "rings", "--answer", answer]);
        assert_eq!(said.code, 0, "{}{}", said.out, said.err);
        assert!(said.out.contains(&format!("completed: {result}")), "{}", said.out);
    }
}

#[test]
fn a_question_about_a_number_of_more_than_64_bits_is_shown_and_answered() {
    let folder = project();
    let source = r#"
version: 1
name: long
params: { type: object, properties: { n: { type: [number, object] } } }
tools:
  t: { description: T, params: { type: object, properties: { n: {} } }, approve: always, do: [ { return: "{{ args.n }}" } ] }
steps:
  - { id: given, form: { prompt: How many?, schema: { type: object, properties: { n: { type: integer, maximum: 340282366920938463463374607431768211455 } } } } }
  - { id: called, call: { tool: t, args: { n: "{{ params.n }}" } } }
  - return: ["{{ steps.called }}", "{{ steps.given.n }}"]
"#;
    std::fs::write(folder.path().join("workflows/long.yaml"), source).unwrap();
    for number in
        ["18446744073709551616", "-9223372036854775809", "{\"deep\":[340282366920938463463374607431768211455]}"]
    {
        let param = format!("n={number}");
        let form = "How many?={\"n\": 18446744073709551616}";
        let run = ["run", "long", "-p", &param, "-a", form, "-a", "May I call=Allow once", "--json"];
        let said = fastagency(folder.path(), &run);
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
        let last: Value = serde_json::from_str(said.out.lines().last().unwrap()).expect("JSON");
        assert_eq!(last["result"].to_string(), format!("[{number},18446744073709551616]"));
        let unanswered = fastagency(folder.path(), &["run", "long", "-p", &param, "-a", form, "--json"]);
        assert_eq!(unanswered.code, 5, "{}{}", unanswered.out, unanswered.err);
    }
}

#[test]
fn a_whole_number_reaches_the_workflow_digit_for_digit_in_each_way_of_the_terminal() {
    let folder = project();
    let source = r#"
version: 1
name: tickets
params: { type: object, required: [ticket], properties: { ticket: { type: integer } } }
tools:
  pay: { description: Pays, params: { type: object, properties: { order: { type: integer } } }, approve: always, do: [ { return: "{{ args.order }}" } ] }
steps:
  - { id: filled, form: { prompt: Which?, schema: { type: object, required: [order], properties: { order: { type: integer } } } } }
  - { id: paid, call: { tool: pay, args: { order: 7 } } }
  - return: ["{{ params.ticket }}", "{{ steps.filled.order }}", "{{ steps.paid }}"]
"#;
    std::fs::write(folder.path().join("workflows/tickets.yaml"), source).unwrap();
    let whole = ["2512292042121000001", "123456789012345678901234567890", "-9223372036854775809", "1.0", "1e+3"];
    for number in whole {
        let (param, form) = (format!("ticket={number}"), format!("Which?={{\"order\": {number}}}"));
        let approval = format!("May I call=order={number}");
        let said = fastagency(folder.path(), &["run", "tickets", "-p", &param, "-a", &form, "-a", &approval, "--json"]);
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{number}: {}", said.out);
        let last: Value = serde_json::from_str(said.out.lines().last().unwrap()).expect("JSON");
        // An argument of a tool becomes an integer, as in AG2.
        let argument = match number {
            "1.0" => "1",
            "1e+3" => "1000",
            number => number,
        };
        assert_eq!(last["result"].to_string(), format!("[{number},{number},{argument}]"));
    }
    let refused = fastagency(folder.path(), &["run", "tickets", "-p", "ticket=12345678901234567890.5", "--json"]);
    assert_eq!(refused.code, 2, "{}{}", refused.out, refused.err);
    assert!(refused.err.contains("ticket"), "{}", refused.err);
}

#[test]
fn a_workflow_runs_beside_one_with_a_mistake_and_the_mistake_is_told() {
    let folder = project();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join("workflows").join(name), text).unwrap();
    write("bad.yaml", "version: 1\nname: bad\nstepps: []\n");
    write("calls.yaml", "version: 1\nname: calls\nsteps:\n  - workflow: { name: bad }\n");
    let run = |arguments: &[&str]| fastagency(folder.path(), &[&["run"], arguments, &["--json"]].concat());
    let said = run(&["echo", "--answer", "hello"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert!(
        said.err.contains("workflows/bad.yaml:3:1") && said.err.contains("there is no workflow \"bad\""),
        "{}",
        said.err
    );
    assert!(said.err.contains("\n\nleft out because of this: "), "it is a paragraph of its own: {}", said.err);
    assert!(said.err.ends_with("left out because of this: workflows/bad.yaml, workflows/calls.yaml\n"), "{}", said.err);
    for wrong in [&["bad"][..], &["calls"], &[]] {
        let said = run(wrong);
        assert_eq!(said.code, 2, "{}{}", said.out, said.err);
        assert!(said.err.contains("workflows/bad.yaml:3:1"), "{}", said.err);
    }
}

/// A tool whose function is in no file: `check` says so, and who starts a worker reads it.
#[test]
fn what_check_finds_wrong_with_tools_is_printed_at_the_start() {
    let folder = project();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("tools.py", "def book(): ...\n");
    write(
        "workflows/broken.yaml",
        "version: 1\nname: broken\ntools: { t: { python: tools.py:bok } }\nsteps: [ { call: { tool: t } } ]\n",
    );
    let words = "tools.py has no function \"bok\"";
    let said = fastagency(folder.path(), &["check"]);
    assert!(said.code == 2 && said.err.contains(words), "{}{}", said.out, said.err);
    let (port, ui_port) = (free_port().to_string(), free_port().to_string());
    let mut all = Tier::start(folder.path(), &["all", "--mock-llm", "--port", &port, "--ui-port", &ui_port]);
    all.says(words);
    all.says("runs that need these tools fail until it is mended");
    all.says("gateway: http://");
}

/// By hand a tool is called without the questions of a run: whoever types it is told.
#[test]
fn a_call_by_hand_says_what_a_run_would_do_otherwise() {
    let folder = project();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("fastagency.yaml", "version: 1\ncommands: { cat: { run: [cat] } }\n");
    let params = "params: { type: object, properties: { limit: { type: integer } } }";
    let tool = format!("pay: {{ description: Pays, {params}, approve: always, command: cat }}");
    write(
        "workflows/w.yaml",
        &format!("version: 1\nname: w\ntools: {{ {tool} }}\nsteps: [ {{ call: {{ tool: pay }} }} ]\n"),
    );
    write("workflows/bad.yaml", "version: 1\nname: bad\nstepps: []\n");
    let said = fastagency(folder.path(), &["tools", "call", "w", "pay", "--args", "{\"lmit\": 3}", "--json"]);
    assert_eq!((said.code, said.out.trim()), (0, "{\"result\":{}}"), "{}", said.err);
    for words in ["a run asks for approval before it calls pay", "did you mean \"limit\"?", "workflows/bad.yaml:3:1"] {
        assert!(said.err.contains(words), "{words}: {}", said.err);
    }
    let said = fastagency(folder.path(), &["tools", "list", "w"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let row = said.out.lines().find(|line| line.contains("pay")).expect("its steps call it");
    assert!(row.split_whitespace().eq(["pay", "limit?", "(asks", "for", "approval)", "Pays"]), "{}", said.out);
    let said = fastagency(folder.path(), &["tools", "list", "bad"]);
    assert!(said.code == 2 && said.err.contains("workflows/bad.yaml:3:1"), "{}{}", said.out, said.err);
}

/// What is to be typed to go on goes on with the same model, configuration and data.
#[test]
fn a_run_that_waits_says_what_goes_on_with_it() {
    let folder = project();
    std::fs::rename(folder.path().join("fastagency.yaml"), folder.path().join("other.yaml")).ok();
    std::fs::write(folder.path().join("other.yaml"), "version: 1\n").unwrap();
    let arguments = ["run", "echo", "--mock-llm", "-c", "other.yaml", "--data-dir", "kept"];
    let said = fastagency(folder.path(), &arguments);
    assert_eq!(said.code, 5, "{}{}", said.out, said.err);
    let hint =
        said.err.lines().find_map(|line| line.strip_prefix("go on with: fastagency ")).expect("a command").to_owned();
    for part in ["--mock-llm", "-c other.yaml", "--data-dir kept"] {
        assert!(hint.contains(part), "{part}: {hint}");
    }
    let typed: Vec<&str> = hint.split_whitespace().map(|word| if word == "…" { "hello" } else { word }).collect();
    let said = fastagency(folder.path(), &typed);
    assert!(said.code == 0 && said.out.contains("hello"), "{hint}: {}{}", said.out, said.err);
}

#[test]
fn a_workflow_that_is_not_there_is_told_with_those_that_are() {
    let folder = project();
    let said = fastagency(folder.path(), &["run", "something_else"]);
    assert_eq!(said.code, 2, "{}{}", said.out, said.err);
    let words = "there is no workflow named \"something_else\": there is echo, fails, rings\n";
    assert!(said.err.ends_with(words), "{}", said.err);
    for number in 0..10 {
        let workflow = format!("version: 1\nname: more_{number}\nsteps: [ {{ message: Hi. }} ]\n");
        std::fs::write(folder.path().join(format!("workflows/more_{number}.yaml")), workflow).unwrap();
    }
    let said = fastagency(folder.path(), &["run", "something_else"]);
    assert!(said.err.ends_with(", more_7, …\n"), "ten are named: {}", said.err);
}

#[test]
fn a_folder_without_a_project_is_told_so_and_stays_empty() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&["check"][..], &["all"], &["run"], &["run", "echo"], &["tools", "call", "echo", "tool"]] {
        let said = fastagency(folder.path(), arguments);
        assert_eq!(said.code, 2, "{arguments:?}: {}{}", said.out, said.err);
        for words in ["there is no project in this folder", "`fastagency init`", "`-c FILE`"] {
            assert!(said.err.contains(words), "{arguments:?}: {words}: {}", said.err);
        }
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "{arguments:?}: {left:?}");
    }
}

#[test]
fn a_port_that_is_in_use_is_told_with_the_flag_that_takes_another_one() {
    let folder = project();
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port().to_string();
    for (arguments, flag) in
        [(["--port", port.as_str(), "--ui-port", "0"], "--port"), (["--port", "0", "--ui-port", &port], "--ui-port")]
    {
        let said = fastagency(folder.path(), &[&["all"], &arguments[..]].concat());
        assert_eq!(said.code, 1, "{}{}", said.out, said.err);
        let words = format!("could not listen on 127.0.0.1:{port}; is another one running? {flag} takes another port");
        assert!(said.err.contains(&words), "{}", said.err);
    }
}

#[test]
fn a_question_that_nobody_answers_is_left_open_and_taken_up_again() {
    let folder = project();
    let left = fastagency(folder.path(), &["run", "echo", "--answer", "another=x"]);
    assert_eq!(left.code, 5, "{}{}", left.out, left.err);
    assert!(left.err.contains("unused --answer \"another=x\": no question matched it"), "{}", left.err);
    assert!(left.err.contains("waits for an answer to: What shall I say?"), "{}", left.err);
    let id = left.err.split_whitespace().find(|word| word.len() == 32).expect("the run's id").to_owned();
    let listed = fastagency(folder.path(), &["audit", "list"]);
    assert!(listed.out.contains(&id) && listed.out.contains("waiting"), "{}", listed.out);
    let ended = fastagency(folder.path(), &["run", "--run", &id, "--answer", "what shall=again"]);
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(ended.out.contains("completed: again"), "{}", ended.out);
    let shown = fastagency(folder.path(), &["audit", "show", &id]);
    for record in ["created", "claimed", "parked", "answered", "ended"] {
        assert!(shown.out.contains(record), "{record}: {}", shown.out);
    }
}

#[test]
fn a_run_at_a_gateway_that_is_not_there_is_no_run_to_wait_for() {
    let folder = project();
    let id = "0123456789abcdef0123456789abcdef";
    let left = fastagency(folder.path(), &["run", "--run", id, "--gateway-url", "http://127.0.0.1:1"]);
    assert_eq!(left.code, 3, "{}{}", left.out, left.err);
    assert!(left.err.contains("http://127.0.0.1:1"), "{}", left.err);
}

#[test]
fn where_the_configuration_names_a_server_a_list_of_the_data_folder_says_what_it_is_of() {
    let folder = project();
    let said = |arguments: &[&str]| {
        assert_eq!(fastagency(folder.path(), &["run", "fails"]).code, 1);
        fastagency(folder.path(), arguments)
    };
    assert_eq!(said(&["audit", "list"]).err, "");
    let config = "version: 1\nname: cli\nnats: { url: \"nats://127.0.0.1:4222\" }\n";
    std::fs::write(folder.path().join("fastagency.yaml"), config).unwrap();
    let listed = said(&["audit", "list"]);
    let words = "note: this is of the data folder data; --nats reads the NATS server that fastagency.yaml names\n";
    assert_eq!((listed.code, listed.err.as_str()), (0, words));
    assert_eq!(said(&["audit", "list", "--data-dir", "data"]).err, "");
}

#[test]
fn runs_are_listed_by_worker_by_time_and_by_words() {
    let folder = project();
    for (word, workflow) in [("apples", "echo"), ("pears", "echo")] {
        assert_eq!(fastagency(folder.path(), &["run", workflow, "--answer", word]).code, 0);
    }
    assert_eq!(fastagency(folder.path(), &["run", "fails"]).code, 1);
    let listed = |more: &[&str]| -> Vec<serde_json::Value> {
        let said = fastagency(folder.path(), &[&["audit", "list", "--json"], more].concat());
        assert_eq!(said.code, 0, "{}", said.err);
        said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let all = listed(&[]);
    assert_eq!(all.len(), 3);
    // Each run was done by a process, and so by a worker, of its own.
    let middle = &all[1];
    let (worker, at) = (middle["worker"].as_str().expect("a worker"), middle["created_at"].as_str().unwrap());
    assert_eq!(listed(&["--worker", worker]), std::slice::from_ref(middle));
    assert_eq!(listed(&["--until", at]), [all[2].clone()]);
    assert_eq!(listed(&["--since", at]), [all[0].clone(), middle.clone()]);
    assert_eq!(listed(&["-q", "it is BROKEN"]), [all[0].clone()]);
    assert_eq!(listed(&["-q", "nothing like it"]).len(), 0);
}

#[test]
fn the_exit_code_tells_how_it_went() {
    let folder = project();
    let failed = fastagency(folder.path(), &["run", "fails"]);
    assert_eq!(failed.code, 1, "{}", failed.err);
    assert!(failed.out.contains("it is broken"), "{}", failed.out);
    let unknown = fastagency(folder.path(), &["run", "ecko"]);
    assert_eq!(unknown.code, 2);
    assert!(unknown.err.contains("did you mean \"echo\"?"), "{}", unknown.err);
    let parameter = fastagency(folder.path(), &["run", "echo", "--param", "loud=perhaps"]);
    assert_eq!(parameter.code, 2, "{}", parameter.err);
    assert!(parameter.err.contains("loud"), "{}", parameter.err);
    let nowhere = fastagency(folder.path(), &["run", "echo", "--gateway-url", "http://127.0.0.1:1"]);
    assert_eq!(nowhere.code, 3, "{}", nowhere.err);
    let config = fastagency(folder.path(), &["-c", "nowhere.yaml", "check"]);
    assert_eq!(config.code, 2);
    assert!(config.err.contains("nowhere.yaml"), "{}", config.err);
}

#[test]
fn a_parameter_that_the_workflow_does_not_have_starts_nothing_and_names_the_one_that_was_meant() {
    let folder = project();
    let said = fastagency(folder.path(), &["run", "echo", "-p", "luod=true", "-a", "hello"]);
    assert_ne!(said.code, 0, "{}", said.out);
    assert!(said.err.contains("there is no parameter \"luod\" (did you mean \"loud\"?)"), "{}{}", said.out, said.err);
    assert!(!said.out.contains("hello"), "{}", said.out);
}

#[test]
fn check_shows_every_mistake_at_once_where_it_is() {
    let folder = project();
    assert_eq!(fastagency(folder.path(), &["check"]).code, 0);
    std::fs::write(folder.path().join("workflows/echo.yaml"), ECHO.replace("text_input", "text_imput")).unwrap();
    std::fs::write(folder.path().join("workflows/fails.yaml"), FAILS.replace("fail:", "fial:")).unwrap();
    let said = fastagency(folder.path(), &["check"]);
    assert_eq!(said.code, 2);
    for part in [
        "workflows/echo.yaml:11:5",
        "did you mean \"text_input\"?",
        "workflows/fails.yaml:5:5",
        "did you mean \"fail\"?",
        "^^^^^^^^^^",
    ] {
        assert!(said.err.contains(part) || said.out.contains(part), "{part}: {}{}", said.out, said.err);
    }
}

#[test]
fn users_and_keys_are_kept_and_let_people_in() {
    let folder = project();
    let config = "version: 1\nname: cli\nauth: { mode: basic, file: access.yaml }\n";
    std::fs::write(folder.path().join("fastagency.yaml"), config).unwrap();
    let with_input = |arguments: &[&str], input: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fastagency"));
        command
            .args(arguments)
            .current_dir(folder.path())
            .env_remove("FASTAGENCY_CONFIG")
            .write_stdin(input.to_owned());
        command.output().unwrap()
    };
    let added = with_input(&["user", "add", "alice", "--group", "teachers"], "a long password\n");
    assert!(added.status.success(), "{added:?}");
    assert!(!with_input(&["user", "add", "bob"], "short\n").status.success());
    assert_eq!(fastagency(folder.path(), &["user", "list"]).out, "alice (teachers)\n");
    let kept = std::fs::read_to_string(folder.path().join("access.yaml")).unwrap();
    assert!(kept.contains("argon2id") && !kept.contains("a long password"), "{kept}");

    let mut all = Tier::start(folder.path(), &["all", "--port", "0", "--ui-port", "0"]);
    let url = all.url("gateway");
    let run = |key: Option<&str>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fastagency"));
        command.args(["run", "echo", "--gateway-url", &url, "--answer", "hello"]).current_dir(folder.path());
        match key {
            Some(key) => command.env("FASTAGENCY_KEY", key),
            None => command.env_remove("FASTAGENCY_KEY"),
        };
        command.output().unwrap()
    };
    let refused = run(None);
    assert_eq!(refused.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("FASTAGENCY_KEY"), "{refused:?}");
    // A key that is added while the gateway runs counts a moment later.
    let key = fastagency(folder.path(), &["key", "add", "script", "--user", "nightly"]);
    assert_eq!(key.code, 0, "{}", key.err);
    let start = std::time::Instant::now();
    let ended = loop {
        let ended = run(Some(key.out.trim()));
        if ended.status.success() || start.elapsed() > std::time::Duration::from_secs(20) {
            break ended;
        }
    };
    assert!(String::from_utf8_lossy(&ended.stdout).contains("completed: hello"), "{ended:?}");
    assert!(all.terminate().success());
    assert!(!all.heard().concat().contains(key.out.trim()));
}

#[test]
fn a_user_who_is_removed_takes_keys_along_and_a_name_that_looks_like_anothers_is_refused() {
    let folder = project();
    let with_input = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fastagency"));
        command.args(arguments).args(["--file", "access.yaml"]).current_dir(folder.path());
        let said = command.write_stdin("a long password\n").output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (said.status.success(), text(said.stdout), text(said.stderr))
    };
    assert!(with_input(&["user", "add", "root", "--group", "operators"]).0);
    assert!(with_input(&["user", "add", "carol"]).0);
    for (name, user) in [("backup", "root"), ("nightly", "root"), ("desk", "carol")] {
        assert!(with_input(&["key", "add", name, "--user", user]).0);
    }
    let (done, _, told) = with_input(&["key", "add", "script", "--user", "a program"]);
    assert!(done && told.contains("there is no user \"a program\""), "{told}");
    let (done, said, told) = with_input(&["user", "add", "root"]);
    assert!(done && said.contains("sessions and tokens of the old password end"), "{said}");
    assert!(told.contains("these keys act as root, and stay: backup, nightly"), "{told}");
    let (done, said, _) = with_input(&["user", "remove", "root"]);
    assert!(done && said.contains("the keys that acted as root were removed, too: backup, nightly"), "{said}");
    assert_eq!(with_input(&["key", "list"]).1, "desk: user carol\nscript: user a program\n");
    for name in ["Carol", "CAROL", " carol", "carol\t", "a\nb"] {
        let (done, _, told) = with_input(&["user", "add", name]);
        assert!(!done && told.contains("a user"), "{name}: {told}");
    }
}

#[test]
fn a_run_whose_end_was_heard_is_listed_as_ended() {
    let folder = project();
    let mut all = Tier::start(folder.path(), &["all", "--port", "0", "--ui-port", "0"]);
    let url = all.url("gateway");
    for number in 1..=3 {
        let ran = fastagency(folder.path(), &["run", "echo", "--gateway-url", &url, "-a", "hello"]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        let listed = fastagency(folder.path(), &["audit", "list", "--json", "--gateway-url", &url]);
        assert_eq!(listed.code, 0, "{}", listed.err);
        let rows: Vec<Value> = listed.out.lines().map(|row| serde_json::from_str(row).unwrap()).collect();
        let ended = |row: &&Value| row["state"] == "ended" && row["outcome"] == "completed";
        assert_eq!((rows.len(), rows.iter().filter(ended).count()), (number, number), "{rows:?}");
    }
    assert!(all.terminate().success());
}

#[test]
fn a_key_for_a_user_has_the_groups_of_that_user() {
    let folder = project();
    let auth = "auth: { mode: basic, file: access.yaml, auditors: { groups: [leads] } }\n";
    std::fs::write(folder.path().join("fastagency.yaml"), format!("version: 1\nname: cli\n{auth}")).unwrap();
    for (user, group) in [("lea", "leads"), ("sue", "support"), ("sol", "support")] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fastagency"));
        command.args(["user", "add", user, "--group", group]).current_dir(folder.path());
        assert!(command.write_stdin("a long password\n").output().unwrap().status.success());
    }
    let key = |name: &str, more: &[&str]| {
        let made = fastagency(folder.path(), &[&["key", "add", name][..], more].concat());
        assert_eq!(made.code, 0, "{}", made.err);
        made.out.trim().to_owned()
    };
    let [of_lea, of_sue, of_sol] = ["lea", "sue", "sol"].map(|user| key(&format!("of-{user}"), &["--user", user]));
    let narrowed = key("starts-only", &["--user", "lea", "--scope", "start"]);
    let mut all = Tier::start(folder.path(), &["all", "--port", "0", "--ui-port", "0"]);
    let url = all.url("gateway");
    let with_key = |key: &str, arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fastagency"));
        command.args(arguments).args(["--gateway-url", &url]).current_dir(folder.path()).env("FASTAGENCY_KEY", key);
        let said = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (said.status.success(), text(&said.stdout), text(&said.stderr))
    };
    let (ran, _, told) = with_key(&of_sue, &["run", "echo", "-a", "hello"]);
    assert!(ran, "{told}");
    // The leads read the audit of all; others have the list of their own runs.
    for (key, users) in [(&of_lea, &["sue"][..]), (&of_sue, &["sue"]), (&of_sol, &[])] {
        let (read, listed, told) = with_key(key, &["audit", "list", "--json"]);
        assert!(read, "{told}");
        let rows = listed.lines().map(|row| serde_json::from_str::<Value>(row).unwrap()["user"].clone());
        assert_eq!(rows.collect::<Vec<_>>(), users, "{listed}");
    }
    let (read, _, told) = with_key(&narrowed, &["audit", "list"]);
    assert!(!read && told.contains("it has not the scope"), "{told}");
    assert!(all.terminate().success());
}

#[test]
fn a_header_that_says_who_calls_is_refused_behind_the_page_unless_it_is_safe() {
    let folder = project();
    let write = |auth: &str| {
        let config = format!("version: 1\nname: cli\nauth:\n  mode: trusted_header\n{auth}");
        std::fs::write(folder.path().join("fastagency.yaml"), config).unwrap();
    };
    let header = |from: &str| format!("  trusted_header: {{ user: X-Remote-User, from: [{from}] }}\n");
    for (auth, part) in [
        (header("127.0.0.1"), "from names 127.0.0.1, the address of the ui itself"),
        (
            format!("  proxies: [127.0.0.1]\n{}", header("127.0.0.0/8")),
            "from names 127.0.0.1, the address of the ui itself",
        ),
        (header("10.0.0.5"), "auth.proxies does not name 127.0.0.1, the address of the ui"),
        (header("0.0.0.0/0"), "the whole world"),
    ] {
        write(&auth);
        for arguments in [&["all", "--port", "0", "--ui-port", "0"][..], &["ui", "--port", "0"]] {
            let refused = fastagency(folder.path(), arguments);
            assert!(refused.code != 0 && refused.err.contains(part), "{auth}{}", refused.err);
        }
    }
    write(&format!("  proxies: [127.0.0.1]\n{}", header("127.0.0.2")));
    let mut all = Tier::start(folder.path(), &["all", "--port", "0", "--ui-port", "0"]);
    all.url("page");
    assert!(all.terminate().success());
}

#[test]
fn a_front_end_that_holds_what_is_private_is_not_served() {
    let folder = project();
    for made in ["data", "public"] {
        std::fs::create_dir(folder.path().join(made)).unwrap();
    }
    let refused = |config: &str, name: &str, why: &str| {
        std::fs::write(folder.path().join(name), format!("version: 1\nname: cli\n{config}")).unwrap();
        for arguments in [&["all", "--port", "0", "--ui-port", "0"][..], &["gateway", "--port", "0"]] {
            let said = fastagency(folder.path(), &[&["-c", name], arguments].concat());
            assert_eq!(said.code, 2, "{arguments:?} {config}{}{}", said.out, said.err);
            assert!(said.err.contains("gateway.static_dir: ") && said.err.contains(why), "{config}{}", said.err);
        }
    };
    let serves = |served: &str| format!("gateway: {{ static_dir: {served} }}\n");
    refused(&serves("."), "fastagency.yaml", "holds data_dir (");
    refused(&serves("data"), "fastagency.yaml", "holds data_dir (");
    refused(&serves("workflows"), "fastagency.yaml", "holds workflows (");
    let elsewhere = "workflows: ../workflows\ndata_dir: ../data\n";
    refused(&format!("{elsewhere}{}", serves(".")), "public/fastagency.yaml", "holds the configuration (");
    std::fs::write(folder.path().join("public/kept"), "a secret that nobody is to read").unwrap();
    for (config, what) in [
        ("audit: { anchors: public/kept }", "audit.anchors"),
        ("auth: { mode: basic, file: public/kept }", "auth.file"),
        ("nats: { nkey_seed_file: public/kept }", "nats.nkey_seed_file"),
        ("nats: { credentials_file: public/kept }", "nats.credentials_file"),
        ("nats: { tls: { cert_file: cert, key_file: public/kept } }", "nats.tls.key_file"),
        ("nats: { cleaner: { nkey_seed_file: public/kept } }", "an nkey_seed_file"),
        ("nats: { python: { credentials_file: public/kept } }", "a credentials_file"),
        ("llms: { a: { provider: openai, model: m, token_file: public/kept } }", "a token_file"),
        ("seal_key: \"${file:public/kept}\"", "a file of ${file:…}"),
    ] {
        refused(&format!("{config}\n{}", serves("public")), "fastagency.yaml", &format!("holds {what} ("));
    }
}

#[test]
fn schemas_and_the_version_are_printed() {
    let folder = tempfile::tempdir().unwrap();
    for kind in ["workflow", "config"] {
        let schema: Value = serde_json::from_str(&fastagency(folder.path(), &["schema", kind]).out).expect("JSON");
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    }
    let version = fastagency(folder.path(), &["--version"]);
    assert_eq!(version.out.trim(), format!("fastagency {}", env!("CARGO_PKG_VERSION")));
}

/// Every command that prints something and ends by itself, in the project of `Printer`. `RUN` is a run that has ended, `NEW` a name
/// that was not used before, `GATEWAY` and `NATS` are addresses.
const PRINTING: [&str; 34] = [
    "--help",
    "--version",
    "audit --help",
    "check",
    "run echo --answer hello",
    "run echo --answer hello --json",
    "audit list",
    "audit list --json",
    "audit show RUN",
    "audit show RUN --json",
    "audit tail RUN",
    "audit export",
    "audit export --format csv",
    "audit verify",
    "audit verify --json",
    "audit erase --user nobody --reason asked --yes",
    "user list",
    "key list",
    "key add NEW --user ada",
    "tools list --openapi api.json",
    "tools list --openapi api.json --json",
    "tools call get_healthz --openapi api.json",
    "tools call get_healthz --openapi api.json --json",
    "tools import --openapi api.json",
    "backup NEW",
    "restore kept --data-dir NEW",
    "login --list",
    "schema config",
    "schema workflow",
    "doctor",
    "doctor --json",
    "bench --gateway-url GATEWAY -n 1 -j 1",
    "bench --gateway-url GATEWAY -n 1 -j 1 --json",
    "nats setup --nats-url NATS",
];

/// A project in which each of them has something to print.
struct Printer {
    folder: TempDir,
    run: String,
    gateway: String,
    nats: Option<NatsServer>,
    names: std::cell::Cell<usize>,
    _served: (TempDir, Tier),
}

impl Printer {
    fn new(test: &str) -> Self {
        let (folder, served) = (project(), project());
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let mut tier = Tier::start(served.path(), &["all", "--mock-llm", "--port", "0", "--ui-port", "0"]);
        let gateway = tier.url("gateway");
        write(
            "fastagency.yaml",
            "version: 1\nname: cli\nauth: { mode: basic, file: access.yaml }\noutgoing: { allow_private: [127.0.0.1] }\n\
             mcp: { docs: { url: \"http://127.0.0.1:1/mcp\", oauth: {} } }\n",
        );
        write(
            "api.json",
            &serde_json::json!({"openapi": "3.1.0", "servers": [{"url": gateway}], "paths": {"/healthz": {"get": {}}}})
                .to_string(),
        );
        let with_password = Command::new(env!("CARGO_BIN_EXE_fastagency"))
            .args(["user", "add", "ada"])
            .write_stdin("a password of ada\n")
            .current_dir(folder.path())
            .ok();
        assert!(with_password.is_ok(), "{with_password:?}");
        for done in
            [&["run", "echo", "-a", "hello"][..], &["key", "add", "first", "--user", "ada"], &["backup", "kept"]]
        {
            let said = fastagency(folder.path(), done);
            assert_eq!(said.code, 0, "{}{}", said.out, said.err);
        }
        let listed = fastagency(folder.path(), &["audit", "list", "--json"]);
        let listed: Value = serde_json::from_str(listed.out.lines().next().unwrap()).expect("JSON");
        let run = listed["id"].as_str().unwrap().to_owned();
        Self { folder, run, gateway, nats: NatsServer::start(test), names: Default::default(), _served: (served, tier) }
    }

    /// Runs one of them with this standard output; none: there is no server that it needs.
    fn said(&self, command: &str, output: std::process::Stdio) -> Option<(i32, String)> {
        let nats = self.nats.as_ref().map(NatsServer::url);
        if command.contains("NATS") && nats.is_none() {
            return None;
        }
        self.names.set(self.names.get() + 1);
        let words = command.split(' ').map(|word| match word {
            "RUN" => self.run.clone(),
            "GATEWAY" => self.gateway.clone(),
            "NATS" => nats.clone().unwrap_or_default(),
            "NEW" => format!("new-{}", self.names.get()),
            word => word.to_owned(),
        });
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_fastagency"))
            .args(words)
            .current_dir(self.folder.path())
            .env_remove("FASTAGENCY_CONFIG")
            .env_remove("NATS_URL")
            .stdin(std::process::Stdio::null())
            .stdout(output)
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let ended = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(!said.contains("panicked"), "{command}: {said}");
        Some((ended.status.code().expect("an exit code"), said))
    }
}

#[test]
fn a_reader_that_leaves_ends_a_command_without_a_word() {
    let printer = Printer::new("cli::a_reader_that_leaves_ends_a_command_without_a_word");
    for command in PRINTING {
        let Some((code, said)) = printer.said(command, std::process::Stdio::piped()) else { continue };
        // How a run ends is its exit code, and here nobody has seen it end.
        let is_run = command.starts_with("run ");
        assert_eq!(code, i32::from(is_run), "{command}: {said}");
        assert!(!said.contains("error") && !said.contains("Broken pipe"), "{command}: {said}");
    }
}

#[test]
fn a_full_disk_is_an_error_of_the_command_that_prints() {
    let printer = Printer::new("cli::a_full_disk_is_an_error_of_the_command_that_prints");
    for command in PRINTING {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let Some((code, said)) = printer.said(command, full.into()) else { continue };
        assert_eq!(code, 1, "{command}: {said}");
        assert!(said.contains("error: ") && said.contains("No space left"), "{command}: {said}");
        assert!(!said.contains("unused --answer"), "{command}: {said}");
    }
}

#[test]
fn a_script_lists_the_tools_of_a_specification() {
    let folder = tempfile::tempdir().unwrap();
    let pets = r#"
openapi: 3.0.3
servers: [{ url: "https://api.example" }]
paths:
  /pets:
    get: { operationId: listPets }
    post: { operationId: createPet, requestBody: { $ref: "parts/pets.yaml#/Body" } }
    put: { requestBody: { required: true, content: { multipart/mixed: {} } } }
"#;
    let parts = "Body: { content: { text/xml: { schema: { type: object } } } }";
    std::fs::create_dir(folder.path().join("parts")).unwrap();
    std::fs::write(folder.path().join("openapi.yaml"), pets).unwrap();
    std::fs::write(folder.path().join("parts/pets.yaml"), parts).unwrap();
    std::fs::write(folder.path().join("page.json"), "<html>").unwrap();
    let list = ["tools", "list", "--openapi", "openapi.yaml", "--json"];
    let said = fastagency(folder.path(), &list);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let found: Value = serde_json::from_str(&said.out).expect("JSON");
    assert_eq!(
        found,
        serde_json::json!({
            "tools": [
                {"name": "listPets", "method": "GET", "path": "/pets", "warnings": []},
                {"name": "createPet", "method": "POST", "path": "/pets", "warnings": [
                    "the body is XML, which the model writes as a text (at #/paths/~1pets/post/requestBody)",
                ]},
            ],
            "skipped": [
                {"operation": "PUT /pets", "reason": "no body of the type multipart/mixed can be written"},
            ],
        })
    );
    let said = fastagency(folder.path(), &["tools", "list", "--openapi", "openapi.yaml", "--only", "list*", "no*"]);
    let words = "error: --only: no operation matches \"no*\" (without --only all operations are listed)\n";
    assert_eq!((said.code, said.err.as_str()), (2, words));
    assert_eq!(said.out, "NAME      METHOD  PATH\nlistPets  GET     /pets\n\n1 tool, 0 operations skipped\n");
    for (file, words) in
        [("page.json", "page.json: the document is neither JSON nor YAML"), ("none.json", "cannot be read")]
    {
        let said = fastagency(folder.path(), &["tools", "list", "--openapi", file]);
        assert!(said.code == 2 && said.err.contains(words), "{}: {}", said.code, said.err);
    }
}
