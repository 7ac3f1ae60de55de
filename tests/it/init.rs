//! `fastagency init`: each template is made by the program, checked, run and served, and each command that it writes down is typed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::documentation::pages::all_blocks;
use crate::support::eventually::eventually_blocking;
use crate::support::ports::free_port;

/// What is known of a template.
struct KnownTemplate {
    name: &'static str,
    workflow: &'static str,
    /// The answers with which its run ends.
    answers: &'static [&'static str],
    /// What has to be in the output of that run.
    says: &'static [&'static str],
}

const TEMPLATES: [KnownTemplate; 5] = [
    KnownTemplate {
        name: "tools",
        workflow: "weather",
        answers: &["Will it rain in Zagreb?"],
        // What `get_weather` of templates/tools/tools.py returns for what the mock calls it with.
        says: &["[mock] Name of the city: rain, 28 degrees celsius", "completed: [mock reply"],
    },
    KnownTemplate {
        name: "chat",
        workflow: "lesson",
        answers: &["Triangles"],
        says: &["teacher", "student", "completed: [mock summary]", "**Triangles**"],
    },
    KnownTemplate {
        name: "team",
        workflow: "support",
        answers: &["My invoice is wrong, I need billing", "now technical please", "exit"],
        says: &["hands over to billing", "hands over to technical", "completed: [mock reply 1]"],
    },
    KnownTemplate {
        name: "approval",
        workflow: "refund",
        answers: &["Order A-17 came broken", "once"],
        says: &["euros were paid back for order", "completed: [mock reply"],
    },
    KnownTemplate { name: "empty", workflow: "hello", answers: &[], says: &["Hello!", "completed"] },
];

/// A command of this program, without what the environment of the test says.
fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fastagency"));
    command.current_dir(folder).stdin(Stdio::null());
    for name in ["FASTAGENCY_CONFIG", "FASTAGENCY_KEY", "NATS_URL", "OPENAI_API_KEY", "OPENAI_BASE_URL", "RUST_LOG"] {
        command.env_remove(name);
    }
    command
}

#[derive(Debug, PartialEq)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        let code = output.status.code().expect("an exit code");
        Self { code, out: text(output.stdout), err: text(output.stderr) }
    }
}

fn fastagency(folder: &Path, arguments: &[&str]) -> Said {
    program(folder).args(arguments).output().expect("the program starts").into()
}

/// A project of this template: the folder `demo` in a folder of its own.
fn made(template: &str) -> (TempDir, PathBuf) {
    let here = tempfile::tempdir().unwrap();
    let said = fastagency(here.path(), &["init", "demo", "--template", template]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{template}: {}", said.out);
    let demo = here.path().join("demo");
    (here, demo)
}

/// All files below a folder, with what they hold; a link with where it leads.
fn files(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_symlink() {
            found.insert(path.clone(), format!("-> {}", fs::read_link(&path).unwrap().display()));
        } else if path.is_dir() {
            found.insert(path.clone(), "a folder".to_owned());
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), fs::read_to_string(&path).unwrap());
        }
    }
    found
}

#[test]
fn each_template_is_right_and_has_no_warning() {
    for KnownTemplate { name, .. } in TEMPLATES {
        let (_here, demo) = made(name);
        let said = fastagency(&demo, &["check"]);
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{name}: {}", said.out);
    }
}

#[test]
fn each_template_runs_to_its_result_without_a_model() {
    for KnownTemplate { name, workflow, answers, says } in TEMPLATES {
        let (_here, demo) = made(name);
        let answers = answers.iter().flat_map(|answer| ["-a", *answer]);
        let run: Vec<&str> = ["run", workflow, "--mock-llm"].into_iter().chain(answers).collect();
        let said = fastagency(&demo, &run);
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{name}: {}", said.out);
        for words in says {
            assert!(said.out.contains(words), "{name}: {words}: {}", said.out);
        }
    }
}

#[test]
fn the_files_for_editors_are_there_and_are_what_schema_prints() {
    for KnownTemplate { name, .. } in TEMPLATES {
        let (_here, demo) = made(name);
        for kind in ["workflow", "config"] {
            let written = fs::read_to_string(demo.join(format!(".fastagency/schemas/{kind}.json"))).unwrap();
            assert!(written == fastagency(&demo, &["schema", kind]).out, "{name}: {kind}.json is another schema");
        }
        let settings = fs::read_to_string(demo.join(".vscode/settings.json")).unwrap();
        let settings: Value = serde_json::from_str(&settings).unwrap();
        for path in settings["yaml.schemas"].as_object().unwrap().keys() {
            assert!(demo.join(path).is_file(), "{name}: .vscode/settings.json: {path}");
        }
        let mut count = 0;
        for (path, text) in files(&demo).into_iter().filter(|(path, _)| path.extension().is_some_and(|it| it == "yaml"))
        {
            let first = text.lines().next().unwrap();
            let schema = first.strip_prefix("# yaml-language-server: $schema=").unwrap_or_else(|| panic!("{first}"));
            assert!(path.parent().unwrap().join(schema).is_file(), "{name}: {}: {schema}", path.display());
            count += 1;
        }
        assert_eq!(count, 2, "{name}");
    }
}

/// Something that goes on by itself; it is ended, with all that it has started, when this is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-KILL", "--", &format!("-{}", self.0.id())]).status();
        let _ = self.0.wait();
    }
}

/// Somebody at a shell that finds `fastagency` by its name.
struct Shell {
    bin: TempDir,
}

impl Shell {
    fn new() -> Self {
        let bin = tempfile::tempdir().unwrap();
        symlink(env!("CARGO_BIN_EXE_fastagency"), bin.path().join("fastagency")).unwrap();
        Self { bin }
    }

    fn path(&self) -> String {
        format!("{}:{}", self.bin.path().display(), std::env::var("PATH").unwrap())
    }

    fn command(&self, folder: &Path, text: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-ec", text]).current_dir(folder).stdin(Stdio::null()).env("PATH", self.path());
        for name in ["FASTAGENCY_CONFIG", "FASTAGENCY_KEY", "NATS_URL", "OPENAI_API_KEY", "OPENAI_BASE_URL", "RUST_LOG"]
        {
            command.env_remove(name);
        }
        command
    }

    /// Types what ends by itself.
    fn types(&self, folder: &Path, text: &str) -> Said {
        self.command(folder, text).output().expect("a shell").into()
    }

    /// Types what serves the page, and waits until it does.
    fn serves(&self, folder: &Path, text: &str) {
        let output = self.bin.path().join("output");
        let file = fs::File::create(&output).unwrap();
        let mut command = self.command(folder, text);
        command.stdout(file.try_clone().unwrap()).stderr(file).process_group(0);
        let _running = Running(command.spawn().expect("a shell"));
        eventually_blocking(text, || {
            let said = fs::read_to_string(&output).unwrap();
            if said.contains("page: http") { Ok(()) } else { Err(said) }
        });
    }
}

/// The commands of README.md and AGENTS.md, one block after the other. All of them are typed.
#[test]
fn each_command_that_a_project_writes_down_works_as_it_stands() {
    let shell = Shell::new();
    for KnownTemplate { name, answers, .. } in TEMPLATES {
        let (_here, demo) = made(name);
        let config = demo.join("fastagency.yaml");
        let text = fs::read_to_string(&config).unwrap();
        let of_this_test = text.replace("8008", &free_port().to_string()).replace("8888", &free_port().to_string());
        assert_ne!(of_this_test, text);
        fs::write(&config, of_this_test).unwrap();
        let mut count = 0;
        for page in ["README.md", "AGENTS.md"] {
            for block in all_blocks(demo.join(page).to_str().unwrap()) {
                if block.language != "sh" {
                    continue;
                }
                count += 1;
                let place = format!("{name}: {page}, line {}: {}", block.line, block.text);
                if block.text.contains("fastagency all") {
                    shell.serves(&demo, &block.text);
                    continue;
                }
                let said = shell.types(&demo, &block.text);
                // A question waits where no person is at a terminal and no answer was given.
                let waits =
                    block.text.contains("fastagency run") && !block.text.contains(" -a ") && !answers.is_empty();
                assert_eq!(said.code, if waits { 5 } else { 0 }, "{place}\n{}{}", said.out, said.err);
            }
        }
        assert_eq!(count, 10, "{name}");
        // What was typed has changed nothing that belongs to the repository.
        let ignored: Vec<String> =
            fs::read_to_string(demo.join(".gitignore")).unwrap().lines().map(|line| line.replace('/', "")).collect();
        for entry in fs::read_dir(&demo).unwrap() {
            let entry = entry.unwrap().file_name().into_string().unwrap();
            let is_known = [
                ".env.example",
                ".fastagency",
                ".gitignore",
                ".vscode",
                "AGENTS.md",
                "README.md",
                "fastagency.yaml",
                "tools.py",
                "workflows",
            ]
            .contains(&entry.as_str());
            assert!(is_known || ignored.contains(&entry), "{name}: {entry}");
        }
    }
}

#[test]
fn the_example_for_coding_agents_is_a_workflow_that_runs() {
    let (_here, demo) = made("empty");
    let blocks = all_blocks(demo.join("AGENTS.md").to_str().unwrap());
    let example = blocks.iter().find(|block| block.language == "yaml").unwrap();
    fs::write(demo.join("workflows/example.yaml"), &example.text).unwrap();
    let said = fastagency(&demo, &["check"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    let said = fastagency(&demo, &["run", "example", "--mock-llm", "-a", "sober"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert!(said.out.contains("count_words") && said.out.contains("This is a sober text."), "{}", said.out);
}

/// Each of the ten mistakes of AGENTS.md, made, with what is said of it.
#[test]
fn each_mistake_that_coding_agents_are_warned_of_is_one() {
    let ask = "  - { id: age, text_input: { prompt: How old? } }\n";
    let mistakes = [
        ("  - return: {{ steps.age }}\n", "in quotes"),
        ("  - { when: \"{{ steps.age == 'x' }}\", message: x }\n", "without braces"),
        ("  - { set: { names: [a] } }\n  - { when: vars.names, message: x }\n", "neither true nor false"),
        ("  - message: \"{{ params.topic }}\"\n", "`params.topic` is not defined"),
        ("  - { when: steps.age > 18, message: x }\n", "the filters `int` and `float`"),
        ("  - chat: { sender: peer, recipient: caller, message: x, max_turns: 2 }\n", "Function t not found"),
        ("  - loop: { until: steps.age == 'x', do: [ { message: x } ] }\n", "\"max\" is missing"),
        ("  - call: { tool: untyped, args: { city: x } }\n", "has no annotation"),
        ("  - text_input: { prompt: x, by: { groups: [a] } }\n", "auth.mode is none"),
        ("  - message: \"${HOME}\"\n", "${HOME}"),
    ];
    let (_here, demo) = made("tools");
    let agents = fs::read_to_string(demo.join("AGENTS.md")).unwrap();
    let listed = agents
        .lines()
        .skip_while(|line| !line.starts_with("## Ten mistakes"))
        .filter(|line| line.split_once(". ").is_some_and(|(number, _)| number.parse::<usize>().is_ok()));
    assert_eq!(listed.count(), mistakes.len());
    fs::write(demo.join("tools.py"), "def untyped(city):\n    return city\n").unwrap();
    for (number, (mistake, words)) in (1..).zip(mistakes) {
        let tool = if number == 8 { "  untyped: { python: tools.py:untyped }\n" } else { "" };
        let workflow = format!(
            "version: 1\nname: weather\nparams: {{ type: object, properties: {{ topic: {{ type: string }} }} }}\nvars: {{ names: [] }}\nagents:\n  caller: {{ system_message: x, tools: [t] }}\n  peer: {{ system_message: x, \
             human_input_mode: NEVER }}\ntools:\n  t: {{ description: x, do: [ {{ return: done }} ] }}\n{tool}steps:\n{ask}{mistake}"
        );
        fs::write(demo.join("workflows/weather.yaml"), workflow).unwrap();
        let checked = fastagency(&demo, &["check"]);
        let ran = fastagency(&demo, &["run", "weather", "--mock-llm", "-a", "17"]);
        let all = format!("{}{}{}{}", checked.out, checked.err, ran.out, ran.err);
        assert!(all.contains(words), "mistake {number} ({words}):\n{all}");
    }
}

#[test]
fn what_is_commented_out_in_a_template_is_right_as_well() {
    let (_here, demo) = made("approval");
    let uncommented = |path: &str, from: &str, to: &[(&str, &str)]| {
        let text = fs::read_to_string(demo.join(path)).unwrap();
        let (before, after) = text.split_at(text.find(from).unwrap());
        let after = to.iter().fold(after.to_owned(), |text, (from, to)| text.replace(from, to));
        fs::write(demo.join(path), format!("{before}{after}")).unwrap();
    };
    uncommented("fastagency.yaml", "# auth:", &[("# ", "")]);
    uncommented(
        "workflows/refund.yaml",
        "    approve: always",
        &[("    approve: always\n", ""), ("# approve:", "approve:")],
    );
    for (user, group) in [("ann", "customers"), ("sue", "support")] {
        let mut command = program(&demo);
        command.args(["user", "add", user, "--group", group]).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"a-long-password-of-a-reader\n").unwrap();
        assert!(child.wait().unwrap().success());
    }
    let said = fastagency(&demo, &["check"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    // Now a run in the terminal does not answer for support.
    let said = fastagency(&demo, &["run", "refund", "--mock-llm", "-a", "It came broken", "-a", "once"]);
    assert_eq!(said.code, 5, "{}{}", said.out, said.err);

    let (_here, demo) = made("tools");
    let config = demo.join("fastagency.yaml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(
        &config,
        text.replace("# python: { interpreter: [uv, run, python] }", "python: { interpreter: [python3] }"),
    )
    .unwrap();
    assert!(fs::read_to_string(&config).unwrap().contains("\npython:"));
    let said = fastagency(&demo, &["check"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);

    for KnownTemplate { name, .. } in TEMPLATES {
        let (_here, demo) = made(name);
        let config = demo.join("fastagency.yaml");
        let text = fs::read_to_string(&config).unwrap();
        let connection = "# nats:\n#   url: nats://127.0.0.1:4222\n#   user: fastagency\n#   password: ${FASTAGENCY_NATS_PASSWORD}\n";
        fs::write(&config, text.replace(connection, &connection.replace("# ", ""))).unwrap();
        assert!(fs::read_to_string(&config).unwrap().contains("\nnats:\n  url: "), "{name}");
        let said = fastagency(&demo, &["check"]);
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{name}: {}", said.out);
    }
}

#[test]
fn what_was_made_and_the_next_two_commands_are_printed() {
    let shell = Shell::new();
    let here = tempfile::tempdir().unwrap();
    let said = shell.types(here.path(), "fastagency init demo");
    let words = "\
made a project of the template tools in demo:
  fastagency.yaml  workflows/weather.yaml  tools.py  README.md  AGENTS.md  .env.example
  .gitignore  .vscode/settings.json  .fastagency/schemas/workflow.json
  .fastagency/schemas/config.json
next:
  cd demo
  fastagency all --mock-llm
";
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (0, words, ""));
    let listed: Vec<&str> = words.lines().filter(|line| line.contains('.')).flat_map(str::split_whitespace).collect();
    let demo = here.path().join("demo");
    let written: Vec<PathBuf> = files(&demo).into_keys().filter(|path| path.is_file()).collect();
    assert_eq!(written.len(), listed.len());
    assert!(listed.iter().all(|path| demo.join(path).is_file()), "{listed:?}");

    // In a folder that is there nothing has to be entered, and a program that no shell finds is called by its path.
    let own = here.path().join("own");
    fs::create_dir(&own).unwrap();
    let said = fastagency(&own, &["init", "--template", "empty"]);
    let program = Path::new(env!("CARGO_BIN_EXE_fastagency")).canonicalize().unwrap();
    let ending = format!("next:\n  {} all --mock-llm\n", program.display());
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    assert!(said.out.starts_with("made a project of the template empty in this folder:\n"), "{}", said.out);
    assert!(said.out.ends_with(&ending), "{}", said.out);
    assert!(own.join("workflows/hello.yaml").is_file());
}

#[test]
fn a_folder_with_an_odd_name_is_entered_as_printed_and_gives_the_project_its_name() {
    let shell = Shell::new();
    let here = tempfile::tempdir().unwrap();
    for name in ["it's a \"demo\" of ${HOME}", "ünï cödé 天気", "true", "12", "a: b #c", "-x", "deep/er/one", "{{ x }}"]
    {
        let said = fastagency(here.path(), &["init", "--template", "empty", "--", name]);
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{name}");
        let enter = said.out.lines().find(|line| line.starts_with("  cd ")).unwrap();
        let said = shell.types(here.path(), &format!("{enter}\nfastagency check\nfastagency run hello"));
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{name}: {}", said.out);
        let config = here.path().join(name).join("fastagency.yaml");
        let config = fastagency::config::load(&config, &|_| None).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(config.name, name.rsplit('/').next().unwrap());
    }
}

#[test]
fn a_folder_with_a_repository_or_other_files_is_taken() {
    let here = tempfile::tempdir().unwrap();
    fs::create_dir(here.path().join(".git")).unwrap();
    fs::write(here.path().join(".git/config"), "mine").unwrap();
    fs::write(here.path().join(".gitattributes"), "mine").unwrap();
    fs::create_dir(here.path().join("workflows")).unwrap();
    fs::write(here.path().join("main.py"), "mine").unwrap();
    let before = files(here.path());
    let said = fastagency(here.path(), &["init", ".", "--template", "chat"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    let after = files(here.path());
    assert!(before.iter().all(|(path, text)| after.get(path) == Some(text)), "{after:?}");
    assert_eq!(fastagency(here.path(), &["check"]).code, 0);
}

#[test]
fn nothing_is_overwritten_and_each_file_in_the_way_is_named() {
    let here = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let demo = here.path().join("demo");
    fs::create_dir(&demo).unwrap();
    fs::write(demo.join("README.md"), "mine").unwrap();
    fs::write(demo.join(".gitignore"), "mine").unwrap();
    symlink("nowhere", demo.join("AGENTS.md")).unwrap();
    symlink(elsewhere.path(), demo.join("workflows")).unwrap();
    fs::write(demo.join(".vscode"), "mine").unwrap();
    fs::create_dir(demo.join("tools.py")).unwrap();
    let before = files(&demo);
    let said = fastagency(here.path(), &["init", "demo", "--template", "tools"]);
    let words = "error: nothing was written, because demo has workflows (a link), tools.py (a folder), README.md, AGENTS.md (a link), \
                 .gitignore, .vscode (a file) already: move them away, or name another folder\n";
    assert_eq!(said, Said { code: 2, out: String::new(), err: words.to_owned() });
    assert_eq!(files(&demo), before);
    assert!(files(elsewhere.path()).is_empty());

    // A project is not made twice.
    let (here, demo) = made("empty");
    let before = files(&demo);
    let said = fastagency(here.path(), &["init", "demo", "--template", "empty"]);
    assert_eq!(said.code, 2);
    for name in before.iter().filter(|(_, text)| *text != "a folder").map(|(path, _)| path.strip_prefix(&demo).unwrap())
    {
        assert!(said.err.contains(name.to_str().unwrap()), "{}: {}", name.display(), said.err);
    }
    assert_eq!(files(&demo), before);
}

#[test]
fn what_is_no_folder_is_said_in_a_sentence() {
    let here = tempfile::tempdir().unwrap();
    fs::write(here.path().join("demo"), "mine").unwrap();
    symlink("nowhere", here.path().join("link")).unwrap();
    for (folder, words) in [
        ("demo", "error: demo is a file: name a folder, or a name that is not taken yet\n"),
        ("demo/deeper", "error: demo is a file: name a folder, or a name that is not taken yet\n"),
        ("link", "error: link is a link that leads nowhere: name a folder, or a name that is not taken yet\n"),
    ] {
        let said = fastagency(here.path(), &["init", folder]);
        assert_eq!(said, Said { code: 2, out: String::new(), err: words.to_owned() });
    }
    assert_eq!(fs::read_to_string(here.path().join("demo")).unwrap(), "mine");
    assert!(!here.path().join("nowhere").exists());
    let said = fastagency(here.path(), &["init", "other", "--template", "team-work"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("[possible values: tools, chat, team, approval, empty]"), "{}", said.err);
    assert!(!here.path().join("other").exists());
}

/// No file may become larger than the schemas are, as on a disk that is full there.
#[test]
fn a_failure_half_way_leaves_nothing_behind() {
    let here = tempfile::tempdir().unwrap();
    let shell = Shell::new();
    let full = "trap '' XFSZ; ulimit -f 20;";
    let said = shell.types(here.path(), &format!("{full} fastagency init new/demo --template empty"));
    let words = "error: new/demo/.fastagency/schemas/workflow.json could not be written: File too large (os error 27); \
                 nothing of the project is left there\n";
    assert_eq!(said, Said { code: 1, out: String::new(), err: words.to_owned() });
    assert!(files(here.path()).is_empty());

    fs::create_dir(here.path().join("workflows")).unwrap();
    fs::write(here.path().join("main.py"), "mine").unwrap();
    let before = files(here.path());
    assert_eq!(shell.types(here.path(), &format!("{full} fastagency init --template empty")).code, 1);
    assert_eq!(files(here.path()), before);
}

fn write_program(path: &Path, script: &str) {
    fs::write(path, script).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn without_python_the_template_is_chat_unless_another_one_is_named() {
    let here = tempfile::tempdir().unwrap();
    for (name, script) in [("none", None), ("old", Some("#!/bin/sh\nexit 1\n"))] {
        // All that a shell finds: no Python, or one that says that it is too old.
        let bin = tempfile::tempdir().unwrap();
        if let Some(script) = script {
            write_program(&bin.path().join("python3"), script);
        }
        let init = |arguments: &[&str]| -> Said {
            program(here.path()).arg("init").args(arguments).env("PATH", bin.path()).output().unwrap().into()
        };
        let said = init(&[name]);
        let note = "note: python3 (3.9 or later) was not found, so this is the template chat: for one with a Python function, install \
                    Python and type `fastagency init` with --template tools and another folder\n";
        assert_eq!((said.code, said.err.as_str()), (0, note));
        assert!(said.out.contains("of the template chat in"), "{}", said.out);
        // With the note these are ten lines at most.
        assert!(said.out.lines().count() < 10, "{}", said.out);
        assert_eq!(fastagency(&here.path().join(name), &["check"]).err, "");

        let named = format!("{name}-named");
        let said = init(&[&named, "--template", "tools"]);
        let note = "note: python3 (3.9 or later) was not found: install Python before you start the project\n";
        assert_eq!((said.code, said.err.as_str()), (0, note));
        assert!(here.path().join(&named).join("tools.py").is_file());
        assert_eq!(init(&[&format!("{name}-team"), "--template", "team"]).err, "");

        // The Python of the folder itself is the one that its worker starts.
        let own = format!("{name}-own");
        let venv = here.path().join(&own).join(".venv/bin");
        fs::create_dir_all(&venv).unwrap();
        write_program(&venv.join("python"), "#!/bin/sh\nexit 0\n");
        assert_eq!(init(&[&own]).err, "");
        assert!(here.path().join(&own).join("tools.py").is_file());
    }
}
