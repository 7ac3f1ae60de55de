//! The commands of the README and of the pages are run, in the order of each page, in a folder with the files that the page shows: what
//! a reader types has to work.
//!
//! A command runs in a shell as it stands, but for what is the page's own: the ports, the addresses of others and the ids of runs are
//! those of the test, and loads are small. What does not end (a tier, a stream of events) is waited for until it says that it
//! works.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use axum::Router;
use axum::routing::get;
use serde_json::Value;
use tempfile::TempDir;

use super::pages::{Block, all_blocks, pages};
use crate::support::eventually::eventually_blocking;
use crate::support::nats_server::NatsServer;
use crate::support::ports::free_port;

/// A page with commands, and what its reader has and does besides.
struct CommandPage {
    page: &'static str,
    /// Files that the reader has before: by name, with their text.
    files: &'static [(&'static str, &'static str)],
    /// Whether its tiers meet at a NATS server.
    over_nats: bool,
    /// What the prose has the reader do before a command that begins so. `stop`: end all tiers.
    before: &'static [(&'static str, &'static [&'static str])],
}

/// What a project without a file has.
const CONFIG: &str =
    "version: 1\nllms: { default: { provider: openai, model: gpt-4o-mini, api_key: \"${OPENAI_API_KEY:-}\" } }\n";
const CONFIG_OVER_NATS: &str = "version: 1\nnats: { url: nats://127.0.0.1:4222 }\n\
    llms: { default: { provider: ollama, model: qwen3 } }\n";
/// People who call with passwords, and an operator who may answer for all.
const CONFIG_WITH_USERS: &str = "version: 1\nllms: { default: { provider: openai, model: m, api_key: k } }\n\
    auth:\n  mode: basic\n  file: access.yaml\n  token: { secret: a-secret-of-at-least-32-characters }\n  access:\n  \
    - { workflows: [\"*\"] }\n  - { workflows: [\"*\"], groups: [support], may: [see, answer] }\n";
const ECHO: &str = include_str!("../../../workflows/echo.yaml");
const GREET: &str = "version: 1\nname: greet\nagents: { host: { system_message: You greet people. } }\nsteps:\n  \
    - { id: name, text_input: { prompt: What is your name? } }\n  \
    - { id: greeting, agent: { agent: host, message: \"Greet {{ steps.name }}.\" } }\n  \
    - return: \"{{ steps.greeting }}\"\n";
const REFUND: &str = "version: 1\nname: refund\nparams: { type: object, properties: { order: { type: string } } }\n\
    tools: { refund: { description: Refund an order, approve: always, do: [{ return: done }] } }\n\
    steps:\n  - { id: done, call: { tool: refund }, on_error: { value: denied } }\n  - return: \"{{ steps.done }}\"\n";
const TRIAGE: &str = "version: 1\nname: support_triage\n\
    tools: { close: { description: Closes a ticket, params: { properties: { id: { type: string } } }, do: [{ return: closed }] } }\n\
    agents: { support: { system_message: You help., tools: [close] } }\nsteps:\n  - agent: { agent: support, message: hi }\n";
const PETS: &str = "openapi: 3.0.3\ninfo: { title: Pets, version: '1' }\nservers: [{ url: https://api.example }]\n\
    components: { securitySchemes: { api_key: { type: apiKey, in: header, name: X-Key } } }\nsecurity: [{ api_key: [] }]\n\
    paths:\n  /pets: { get: { operationId: listPets, tags: [billing], responses: { '200': { description: Pets } } } }\n  \
    /pets/{petId}: { get: { operationId: getPet, responses: { '200': { description: A pet } }, \
    parameters: [{ name: petId, in: path, required: true, schema: { type: integer } }] } }\n";
const CONFIG_WITH_SECRETS: &str = "version: 1\noutgoing: { allow_private: [127.0.0.1] }\n\
    secrets: { petstore_api_key: { value: a-key, hosts: [127.0.0.1] } }\n";
const CONFIG_WITH_LOGIN: &str = "version: 1\nseal_key: a-key-of-at-least-thirty-two-bytes\nsecrets:\n  \
    crm: { oauth: { flow: authorization_code, issuer: https://id.example.com, client_id: me }, hosts: [crm.example.com] }\n";
const CONFIG_WITH_MODELS: &str = "version: 1\nllms: { default: { provider: ollama, model: qwen3 } }\n";

const PAGES: [CommandPage; 14] = [
    CommandPage {
        page: "README.md",
        files: &[("fastagency.yaml", include_str!("../../../fastagency.yaml")), ("workflows/echo.yaml", ECHO)],
        over_nats: true,
        before: &[("target/release/fastagency worker", &["stop"])],
    },
    CommandPage {
        page: "docs/get-started/first-run.md",
        files: &[("fastagency.yaml", CONFIG)],
        over_nats: false,
        before: &[],
    },
    CommandPage {
        page: "docs/get-started/from-ag2.md",
        files: &[("fastagency.yaml", CONFIG)],
        over_nats: false,
        before: &[],
    },
    CommandPage {
        page: "docs/how-to/approve-tool-calls.md",
        files: &[],
        over_nats: false,
        before: &[
            (
                "curl",
                &[
                    "fastagency key add ann -u ann -g customers",
                    "fastagency key add sue -u sue -g support",
                    "fastagency all --mock-llm",
                    "FASTAGENCY_KEY=$ANN fastagency run refund --gateway-url http://127.0.0.1:8008 -p order=A-1",
                ],
            ),
            (
                "FASTAGENCY_KEY=$KEY",
                &["FASTAGENCY_KEY=$ANN fastagency run refund --gateway-url http://127.0.0.1:8008 -p order=A-2"],
            ),
        ],
    },
    CommandPage {
        page: "docs/how-to/audit.md",
        files: &[("fastagency.yaml", CONFIG), ("workflows/greet.yaml", GREET)],
        over_nats: false,
        before: &[("fastagency audit list", &["fastagency run greet"])],
    },
    CommandPage {
        page: "docs/how-to/back-up.md",
        files: &[("fastagency.yaml", CONFIG), ("workflows/greet.yaml", GREET)],
        over_nats: false,
        before: &[("fastagency backup", &["fastagency run greet"]), ("fastagency restore", &["mv data lost"])],
    },
    CommandPage {
        page: "docs/how-to/call-a-server.md",
        files: &[("fastagency.yaml", CONFIG_WITH_LOGIN)],
        over_nats: false,
        before: &[],
    },
    CommandPage {
        page: "docs/how-to/control-access.md",
        files: &[("fastagency.yaml", CONFIG_WITH_USERS), ("workflows/greet.yaml", GREET)],
        over_nats: false,
        before: &[("curl -d", &["fastagency user add alice", "fastagency all"])],
    },
    CommandPage {
        page: "docs/how-to/deploy.md",
        files: &[("fastagency.yaml", CONFIG_OVER_NATS), ("workflows/greet.yaml", GREET)],
        over_nats: true,
        before: &[("curl http://127.0.0.1:8008", &["fastagency all"]), ("fastagency worker", &["stop"])],
    },
    CommandPage {
        page: "docs/how-to/measure.md",
        files: &[("fastagency.yaml", CONFIG_OVER_NATS), ("workflows/echo.yaml", ECHO)],
        over_nats: true,
        before: &[("fastagency bench", &["fastagency worker", "fastagency gateway"])],
    },
    CommandPage {
        page: "docs/how-to/models.md",
        files: &[("fastagency.yaml", CONFIG_WITH_MODELS)],
        over_nats: false,
        before: &[],
    },
    CommandPage {
        page: "docs/how-to/test-workflows.md",
        files: &[
            ("fastagency.yaml", CONFIG_WITH_USERS),
            ("workflows/greet.yaml", GREET),
            ("workflows/refund.yaml", REFUND),
        ],
        over_nats: false,
        before: &[
            (
                "FASTAGENCY_KEY=$KEY",
                &[
                    "fastagency key add sue -u sue -g support",
                    "fastagency all --mock-llm",
                    "FASTAGENCY_KEY=$KEY fastagency run refund --gateway-url http://127.0.0.1:8008 -p order=A-1",
                ],
            ),
            ("fastagency run greet -c", &["stop"]),
        ],
    },
    CommandPage {
        page: "docs/how-to/tools.md",
        files: &[
            ("fastagency.yaml", CONFIG_WITH_SECRETS),
            ("openapi.yaml", PETS),
            ("workflows/support_triage.yaml", TRIAGE),
        ],
        over_nats: false,
        before: &[],
    },
    CommandPage {
        page: "docs/how-to/upgrade.md",
        files: &[("fastagency.yaml", CONFIG), ("workflows/greet.yaml", GREET), ("operator.yaml", CONFIG_OVER_NATS)],
        over_nats: true,
        before: &[],
    },
];

/// Commands that are not run, by how they begin, with the reason.
const LEFT_OUT: [(&str, &str); 7] = [
    ("cargo build", "what it builds is what is tested here"),
    ("sudo ", "it installs into the machine"),
    ("scripts/nats.sh", "it gets a NATS server from elsewhere; the test has one"),
    ("nats stream ", "a program of another project"),
    ("fastagency login crm", "a person signs in at a server, in a browser: the tests `tokens::` do"),
    ("fastagency logout crm", "there is no such login: the tests `tokens::` have one"),
    ("fastagency bench --against", "it takes minutes: the tests `bench::` have a short one"),
];

/// What goes on by itself, by what is in the command, and what it says when it works.
const ENDLESS: [(&str, &str); 5] = [
    ("fastagency all", "page: http"),
    ("fastagency worker", "worker ready"),
    ("fastagency gateway", "gateway: http"),
    ("fastagency ui", "page: http"),
    ("/events\"", "caught_up"),
];

/// Exit codes that are right where not only 0 is, by what is in the command.
const EXIT_CODES: [(&str, &[i32]); 1] =
    // 1: there is no NATS server, or no server of models.
    [("fastagency doctor", &[0, 1])];
/// The exit code of `fastagency run` when a question waits for a person; here no terminal is there to ask in.
const WAITS: i32 = 5;

/// The password of everybody, asked for at a terminal; here it comes over standard input.
const PASSWORD: &str = "the-password-of-a-reader";
/// How the pages write the id of a run.
const RUN: &str = "0b9d6e5c7f4b4f2a8c1d2e3f4a5b6c7d";

/// What a page has its reader do: a file that it shows, or a command.
enum PageStep {
    File { path: String, text: String },
    Command { line: usize, text: String },
}

/// The steps of a page: YAML and Python with the path of its file in the first line, and the commands of a shell.
fn steps(page: &str) -> Vec<PageStep> {
    let mut steps = Vec::new();
    for Block { language, line, text } in all_blocks(page) {
        match language.as_str() {
            "sh" => steps.extend(commands(line, &text)),
            "yaml" | "python" => {
                let named = text.lines().next().and_then(|first| first.strip_prefix("# "));
                let is_file = |path: &str| (path.ends_with(".yaml") || path.ends_with(".py")) && !path.contains(' ');
                if let Some(path) = named.filter(|path| is_file(path)) {
                    steps.push(PageStep::File { path: path.to_owned(), text });
                }
            }
            _ => {}
        }
    }
    steps
}

/// The commands of a block; one that ends in `\` goes on in the next line.
fn commands(first: usize, block: &str) -> Vec<PageStep> {
    let mut found = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, line) in block.lines().enumerate() {
        let (number, mut text) = open.take().unwrap_or((first + index, String::new()));
        match line.strip_suffix('\\') {
            Some(begun) => open = Some((number, text + begun)),
            None => {
                text.push_str(line);
                if !text.trim().is_empty() && !text.starts_with('#') {
                    found.push(PageStep::Command { line: number, text });
                }
            }
        }
    }
    found
}

/// Something that goes on by itself; it is ended, with all that it has started, when this is dropped.
struct Running {
    /// As which it is known that it goes on.
    kind: &'static str,
    child: Child,
    output: PathBuf,
}

impl Running {
    fn said(&self) -> String {
        std::fs::read_to_string(&self.output).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.child.wait();
    }
}

/// Somebody who reads a page and types what it says.
struct Reader {
    page: &'static CommandPage,
    folder: TempDir,
    gateway: u16,
    ui: u16,
    monitor: u16,
    nats: Option<NatsServer>,
    /// Where a server of somebody else answers.
    api: String,
    /// What the reader has noted of what was shown: variables of the shell.
    noted: BTreeMap<String, String>,
    running: Vec<Running>,
}

impl Reader {
    /// None: there is no NATS server.
    fn new(page: &'static CommandPage, api: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let program = std::env::var_os("FASTAGENCY_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_fastagency").into());
        let program = std::fs::canonicalize(program).expect("the program");
        for name in ["bin/fastagency", "target/release/fastagency", "fastagency-new"] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            symlink(&program, path).expect("made");
        }
        let monitor = free_port();
        let nats = match page.over_nats {
            true => Some(NatsServer::start_with(page.page, &["-js", "-m", &monitor.to_string()])?),
            false => None,
        };
        let noted = BTreeMap::from([("PASSWORD".to_owned(), PASSWORD.to_owned())]);
        let (gateway, ui, api) = (free_port(), free_port(), api.to_owned());
        let reader = Self { page, folder, gateway, ui, monitor, nats, api, noted, running: Vec::new() };
        page.files.iter().for_each(|(path, text)| reader.write(path, text));
        Some(reader)
    }

    fn write(&self, path: &str, text: &str) {
        // Only the ports of a page's own configuration are not those of the test.
        let ports = if path == "fastagency.yaml" && !text.contains("port:") {
            "gateway: { port: 8008 }\nui: { port: 8888 }\n"
        } else {
            ""
        };
        let path = self.folder.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, self.localized(&format!("{text}{ports}"))).expect("written");
    }

    /// A text of a page with the addresses and ids of this test.
    fn localized(&self, text: &str) -> String {
        let (gateway, ui) = (self.gateway.to_string(), self.ui.to_string());
        let run = self.noted.get("RUN").map_or(RUN, String::as_str);
        let pid = |what: &str| {
            let tier = self.running.iter().find(|running| running.kind.contains(what));
            tier.map_or(0, |running| running.child.id()).to_string()
        };
        let nats = self.nats.as_ref().map_or_else(|| "nats://127.0.0.1:4222".to_owned(), NatsServer::url);
        let places = [
            ("cargo run --release -- ", "fastagency ".to_owned()),
            ("curl ", "curl -sSN --fail-with-body ".to_owned()),
            ("nats://127.0.0.1:4222", nats),
            ("127.0.0.1:8222", format!("127.0.0.1:{}", self.monitor)),
            ("8008", gateway),
            ("8888", ui.clone()),
            // What is open to others in a page is not in a test.
            ("0.0.0.0", "127.0.0.1".to_owned()),
            ("https://example.com/agents", format!("http://127.0.0.1:{ui}")),
            ("https://api.example", self.api.clone()),
            ("/etc/fastagency", self.folder.path().display().to_string()),
            (RUN, run.to_owned()),
            (&RUN[..8], run[..8].to_owned()),
            ("=4711", format!("={}", pid("worker"))),
            ("=4712", format!("={}", pid("gateway"))),
            ("-n 2000 -j 50", "-n 20 -j 5".to_owned()),
            ("-n 2000", "-n 20".to_owned()),
            ("-n 500 --others 1000 --offered 100", "-n 5 --others 5 --offered 10".to_owned()),
        ];
        places.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    }

    /// Types all that the page says.
    fn read(mut self) -> ReadPage {
        let mut read = ReadPage::default();
        let mut before: Vec<_> = self.page.before.to_vec();
        for step in steps(self.page.page) {
            let (line, text) = match step {
                PageStep::File { path, text } => {
                    self.write(&path, &text);
                    continue;
                }
                PageStep::Command { line, text } => (line, text),
            };
            if let Some((start, _)) = LEFT_OUT.iter().find(|(start, _)| text.starts_with(start)) {
                read.left_out.insert(start);
                continue;
            }
            if let Some(at) = before.iter().position(|(start, _)| text.starts_with(start)) {
                before.remove(at).1.iter().for_each(|command| self.types(line, command));
            }
            self.types(line, &text);
            read.count += 1;
        }
        assert!(before.is_empty(), "{}: these commands are not there: {before:?}", self.page.page);
        read
    }

    fn types(&mut self, line: usize, text: &str) {
        if text == "stop" {
            self.running.clear();
            return;
        }
        let place = format!("{}, line {line}: {text}", self.page.page);
        match ENDLESS.iter().find(|(part, _)| self.localized(text).contains(part)) {
            Some((part, words)) => self.starts(&place, text, part, words),
            None => self.runs(&place, text),
        }
    }

    fn shell(&self, text: &str) -> Command {
        let path = std::env::var("PATH").expect("a path");
        let mut command = Command::new("sh");
        command
            .args(["-c", &self.localized(text)])
            .current_dir(self.folder.path())
            .env("PATH", format!("{}:{path}", self.folder.path().join("bin").display()))
            .envs(&self.noted);
        for name in ["FASTAGENCY_CONFIG", "FASTAGENCY_KEY", "NATS_URL", "OPENAI_API_KEY", "RUST_LOG"] {
            command.env_remove(name);
        }
        command
    }

    /// Runs a command to its end.
    fn runs(&mut self, place: &str, text: &str) {
        let input = self.folder.path().join("typed");
        std::fs::write(&input, format!("{PASSWORD}\n")).expect("written");
        let ended = eventually_blocking(place, || {
            let typed = File::open(&input).expect("it is there");
            let ended = self.shell(text).stdin(typed).output().expect("a shell");
            // What has just begun to wait is listed a moment later.
            let is_early = ended.stdout == br#"{"questions":[]}"#;
            if is_early { Err(ended) } else { Ok(ended) }
        });
        let (out, err) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
        let right = EXIT_CODES.iter().find(|(part, _)| text.contains(part)).map_or(&[0][..], |(_, codes)| codes);
        let code = ended.status.code().unwrap_or(-1);
        let waits = code == WAITS && text.contains("fastagency run") && !text.contains(" -a ");
        assert!(right.contains(&code) || waits, "{place}\nended with {code}:\n{out}{err}");
        self.notes(text, &out, &err);
    }

    /// Starts what goes on by itself, and waits until it works. It stands in the place of what went on before it of its kind.
    fn starts(&mut self, place: &str, text: &str, kind: &'static str, words: &str) {
        self.running.retain(|running| running.kind != kind);
        let output = self.folder.path().join(format!("output-{}", self.running.len()));
        let file = File::create(&output).expect("made");
        let mut command = self.shell(text);
        command.stdin(Stdio::null()).stdout(file.try_clone().expect("a file")).stderr(file).process_group(0);
        let running = Running { kind, child: command.spawn().expect("a shell"), output };
        eventually_blocking(place, || if running.said().contains(words) { Ok(()) } else { Err(running.said()) });
        self.notes(text, &running.said(), "");
        if !text.contains("curl") {
            self.running.push(running);
        }
    }

    /// Keeps what later commands have a variable for.
    fn notes(&mut self, command: &str, out: &str, err: &str) {
        let after = |text: &str, mark: &str| {
            let rest = text.split_once(mark)?.1;
            Some(
                rest.split(|letter: char| !letter.is_ascii_alphanumeric() && !"._-".contains(letter))
                    .next()?
                    .to_owned(),
            )
        };
        let found = [
            ("TOKEN", after(out, "\"access_token\":\"")),
            ("DIGEST", after(out, "\"digest\":\"")),
            ("RUN", after(err, "fastagency run --run ")),
        ];
        self.noted.extend(found.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        // A key is noted as the newest one, and under its own name.
        if let Some(name) = after(command, "fastagency key add ") {
            self.noted.extend(["KEY".to_owned(), name.to_uppercase()].map(|name| (name, out.trim().to_owned())));
        }
        if let Ok(Value::Object(answer)) = serde_json::from_str(out)
            && let Some(id) = answer.get("questions").and_then(|questions| questions[0]["id"].as_str())
        {
            self.noted.insert("QUESTION".to_owned(), id.to_owned());
        }
    }
}

/// What came of a page.
#[derive(Default)]
struct ReadPage {
    count: usize,
    left_out: BTreeSet<&'static str>,
}

/// A server of somebody else, with a specification of what it answers; its address.
async fn api_server() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let specification = PETS.replace("https://api.example", &url);
    let app = Router::new()
        .route("/openapi.json", get(async move || specification))
        .route("/pets/{id}", get(async || axum::Json(serde_json::json!({"name": "Rex"}))));
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_the_pages_work_as_they_stand() {
    let has_commands =
        |page: &&PathBuf| all_blocks(&page.display().to_string()).iter().any(|block| block.language == "sh");
    let with_commands: BTreeSet<String> =
        pages().iter().filter(has_commands).map(|page| page.display().to_string()).collect();
    let known: BTreeSet<String> = PAGES.iter().map(|page| page.page.to_owned()).collect();
    assert_eq!(with_commands, known, "each page with commands has its entry");
    let api = api_server().await;
    let readers: Vec<Reader> = PAGES.iter().filter_map(|page| Reader::new(page, &api)).collect();
    let is_whole = readers.len() == PAGES.len();
    let reading: Vec<_> =
        readers.into_iter().map(|reader| tokio::task::spawn_blocking(move || reader.read())).collect();
    let (mut count, mut left_out, mut failed) = (0, BTreeSet::new(), 0);
    for page in reading {
        match page.await {
            Ok(read) => {
                count += read.count;
                left_out.extend(read.left_out);
            }
            Err(_) => failed += 1,
        }
    }
    assert_eq!(failed, 0, "pages have commands that do not work: see above");
    if is_whole {
        assert!(count > 45, "only {count} commands were run");
        let stale: Vec<_> = LEFT_OUT.iter().filter(|(start, _)| !left_out.contains(start)).collect();
        assert!(stale.is_empty(), "no page has these commands any more: {stale:?}");
    }
}

#[test]
fn a_command_goes_on_behind_a_backslash_and_has_its_line() {
    let found = commands(7, "# a comment\ncurl -H x \\\n  http://127.0.0.1\n\nfastagency check\n");
    let found: Vec<(usize, &str)> = found
        .iter()
        .map(|step| match step {
            PageStep::Command { line, text } => (*line, text.as_str()),
            PageStep::File { path, .. } => panic!("{path}"),
        })
        .collect();
    assert_eq!(found, [(8, "curl -H x   http://127.0.0.1"), (11, "fastagency check")]);
}
