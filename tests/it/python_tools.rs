//! Functions of Python files as tools: in a real Python process, with what can go wrong there.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fastagency::config::{Environment, PythonConfig, from_text};
use fastagency::outside::python::{PythonHost, PythonToolset};
use fastagency::outside::toolset::{Toolset, ToolsetAnswer, ToolsetCall, ToolsetError};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::eventually::eventually;

mod processes;
mod schemas;

/// Without what is installed for this machine's Python: no pydantic.
const BARE_PYTHON: [&str; 2] = ["python3", "-S"];
const WITHIN: Duration = Duration::from_secs(30);

/// A project with Python files.
struct PythonProject {
    folder: TempDir,
    host: Arc<PythonHost>,
}

impl PythonProject {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let config = PythonConfig::default_in(folder.path()).with_interpreter(&BARE_PYTHON);
        Self { host: Arc::new(PythonHost::new(config)), folder }
    }

    /// With this `python:` in its `fastagency.yaml`.
    fn configured(files: &[(&str, &str)], python: &str, environment: Environment<'_>) -> Self {
        let project = Self::new(files);
        let text = format!("version: 1\npython: {python}\n");
        let config = from_text(Path::new("fastagency.yaml"), &text, project.folder.path(), environment).unwrap();
        Self { host: Arc::new(PythonHost::new(config.python)), ..project }
    }

    fn tools(&self) -> PythonToolset {
        PythonToolset::new(self.host.clone(), "tools.py", None).unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }
}

async fn called_within(
    tools: &PythonToolset,
    tool: &str,
    arguments: Value,
    within: Duration,
) -> Result<Value, ToolsetError> {
    let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
    let call = ToolsetCall {
        tool,
        arguments: &arguments,
        secrets: &[],
        caller: None,
        key: "k",
        run: "r",
        within,
        max_result: 1000,
        resumed: None,
    };
    match tools.call(call).await? {
        ToolsetAnswer::Value(value) => Ok(value),
        other => panic!("a function answers at once: {other:?}"),
    }
}

async fn called(tools: &PythonToolset, tool: &str, arguments: Value) -> Result<Value, ToolsetError> {
    called_within(tools, tool, arguments, WITHIN).await
}

/// The process in which functions are called now.
async fn process(tools: &PythonToolset) -> u64 {
    called(tools, "process", json!({})).await.unwrap().as_u64().unwrap()
}

fn lives(process: u64) -> bool {
    // One that has ended and was not waited for is none.
    let state = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    !state.is_empty() && !state.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z')
}

const PROCESS: &str = "import os\n\n\ndef process() -> int:\n    return os.getpid()\n\n\n";

fn with_process(rest: &str) -> String {
    format!("{PROCESS}{rest}")
}

#[tokio::test]
async fn functions_of_each_kind_are_called_with_what_their_annotations_say() {
    let project = PythonProject::new(&[
        (
            "tools.py",
            r#"
import asyncio
import dataclasses
import decimal
import enum
import itertools
from typing import Annotated, List, Optional

from helper import half


class Unit(enum.Enum):
    C = "celsius"


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.5


def ordinary(city: Annotated[str, "Name"], unit: Unit = Unit.C) -> str:
    return f"{city} in {unit.name}"


async def later(points: List[Point], none: Optional[int] = None):
    await asyncio.sleep(0)
    return {"points": points, "sum": sum(point.x for point in points), "none": none}


def amounts(amount: decimal.Decimal, number: int, fraction: float):
    return [amount, number + 1, fraction, half(number), decimal.Decimal("1.10"), {1, 1}, (True, None), Unit.C]


def awaited(text: str):
    return later([Point(1)])


def big() -> str:
    return "é" * 1000


def big_list() -> list:
    return list(range(1000))


def unicode(größe: str) -> str:
    return größe + " 大小 🦀 \ud800"


def endless():
    return itertools.count()


def wrong() -> float:
    return float("nan")


def strange():
    return object()


def deep():
    value = []
    for _ in range(200):
        value = [value]
    return value


def _hidden(a: int): ...
"#,
        ),
        ("helper.py", "def half(number: int):\n    return number // 2\n"),
    ]);
    let tools = project.tools();
    let names: Vec<String> = tools.list().await.unwrap().into_iter().map(|tool| tool.name).collect();
    let expected = [
        "ordinary", "later", "amounts", "awaited", "big", "big_list", "unicode", "endless", "wrong", "strange", "deep",
    ];
    assert_eq!(names, expected, "those that are imported and hidden are not listed");
    let call = async |tool: &str, arguments: Value| called(&tools, tool, arguments).await;
    let failed = async |tool: &str, arguments: Value| match called(&tools, tool, arguments).await {
        Err(ToolsetError::Failed(why)) => why,
        other => panic!("{tool}: {other:?}"),
    };
    assert_eq!(call("ordinary", json!({"city": "Rome", "more": 1})).await, Ok(json!("Rome in C")));
    let points = json!({"points": [{"x": "3"}, {"x": 4, "y": 2}]});
    let shown = json!({"points": [{"x": 3, "y": 0.5}, {"x": 4, "y": serde_json::from_str::<Value>("2.0").unwrap()}], "sum": 7, "none": null});
    assert_eq!(call("later", points).await, Ok(shown));
    let given: Value = serde_json::from_str(
        r#"{"amount": 0.10000000000000000000010, "number": 123456789012345678901234567890, "fraction": 0.5}"#,
    )
    .unwrap();
    let amounts = call("amounts", given).await.unwrap().to_string();
    let digits = r#"[0.10000000000000000000010,123456789012345678901234567891,0.5,61728394506172839450617283945,1.10,[1],[true,null],"celsius"]"#;
    assert_eq!(amounts, digits);
    assert_eq!(call("awaited", json!({"text": "x"})).await.unwrap()["sum"], 1);
    let cut = call("big", json!({})).await.unwrap();
    assert_eq!(cut, json!(format!("{}… [cut off after 1000 bytes]", "é".repeat(500))));
    let cut = call("big_list", json!({})).await.unwrap();
    assert!(cut.as_str().is_some_and(|text| text.starts_with("[0,1,2,") && text.ends_with(" bytes]")), "{cut}");
    let cut = call("endless", json!({})).await.unwrap();
    assert!(cut.as_str().is_some_and(|text| text.starts_with("[0,1,2,") && text.ends_with(" bytes]")), "{cut}");
    assert_eq!(call("unicode", json!({"größe": "ü"})).await, Ok(json!("ü 大小 🦀 \u{fffd}")));
    assert_eq!(failed("wrong", json!({})).await, "the result of wrong holds NaN, which is no number in JSON");
    let strange = failed("strange", json!({})).await;
    assert_eq!(
        strange,
        "the result of strange holds an object, which is no JSON: return a text, a dictionary or a model"
    );
    assert!(failed("deep", json!({})).await.contains("levels deep"));
    let unfit = failed("later", json!({"points": [{"y": 1}, {"x": []}]})).await;
    assert_eq!(
        unfit,
        "later was called with arguments that do not fit: points.0.x: Field required; points.1.x: Input should be a valid integer"
    );
    assert_eq!(
        called(&tools, "half", json!({})).await,
        Err(ToolsetError::Unavailable("tools.py has no function half any more".to_owned()))
    );
}

#[tokio::test]
async fn what_is_printed_goes_into_the_log_and_nowhere_else() {
    let project = PythonProject::new(&[(
        "tools.py",
        r#"
import os, subprocess, sys
print("at import")


def noisy(word: str) -> str:
    print("printed", word)
    sys.stderr.write("an error of " + word + "\n")
    os.write(1, b"past Python\n")
    sys.stdout.buffer.write(b"bytes\n")
    sys.stdout.flush()
    subprocess.run(["echo", "of a program"])
    print("x" * 100_000)
    for number in range(1000):
        print("line", number)
    print("no end", end="")
    return input() if word == "asks" else word
"#,
    )]);
    let written = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer({
        let written = written.clone();
        move || LogWriter(written.clone())
    });
    let _logging = tracing::subscriber::set_default(subscriber.finish());
    let tools = project.tools();
    assert_eq!(called(&tools, "noisy", json!({"word": "hello"})).await, Ok(json!("hello")));
    let asks = called(&tools, "noisy", json!({"word": "asks"})).await;
    assert_eq!(asks, Err(ToolsetError::Failed("EOFError: EOF when reading a line".to_owned())));
    let log = || String::from_utf8(written.lock().clone()).unwrap();
    eventually("all that was printed is in the log", async || {
        let log = log();
        ["past Python", "of a program", "bytes"].iter().all(|line| log.contains(line))
    })
    .await;
    let log = log();
    for line in ["printed hello", "an error of hello", "at import"] {
        let line = log.lines().find(|one| one.contains(line)).unwrap_or_else(|| panic!("{line} is missing in {log}"));
        assert!(line.contains("INFO") && line.contains("function="), "{line}");
    }
    assert!(log.contains("the rest of what this call prints is not shown"), "{log}");
    assert!(!log.contains("line 999") && log.lines().all(|line| line.len() < 5000), "{log}");
}

/// Where a test's log goes.
struct LogWriter(Arc<parking_lot::Mutex<Vec<u8>>>);

impl std::io::Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn an_exception_is_a_sentence_without_the_paths_of_the_machine() {
    let project = PythonProject::new(&[(
        "tools.py",
        r#"
import os, sys


class NoSuchCity(Exception):
    pass


def fails(how: str):
    if how == "own":
        raise NoSuchCity("no city \u201cX\u201d")
    if how == "path":
        open(os.path.join(os.getcwd(), "data", "x.csv"))
    if how == "elsewhere":
        open("/usr/lib/nowhere/x.csv")
    if how == "exit":
        sys.exit(3)
    if how == "empty":
        raise ValueError
    raise RuntimeError("https://example.com/a/b /v1/items " + "x" * 5000)
"#,
    )]);
    let tools = project.tools();
    let failed = async |how: &str| match called(&tools, "fails", json!({"how": how})).await {
        Err(ToolsetError::Failed(why)) => why,
        other => panic!("{other:?}"),
    };
    assert_eq!(failed("own").await, "NoSuchCity: no city “X”");
    assert_eq!(failed("path").await, "FileNotFoundError: [Errno 2] No such file or directory: 'data/x.csv'");
    assert_eq!(failed("elsewhere").await, "FileNotFoundError: [Errno 2] No such file or directory: '…/x.csv'");
    assert_eq!(failed("exit").await, "SystemExit: the code asked to end the process (3)");
    assert_eq!(failed("empty").await, "ValueError");
    let long = failed("long").await;
    assert!(
        long.starts_with("RuntimeError: https://example.com/a/b /v1/items xxx")
            && long.ends_with("x… [cut off after 2000 characters]"),
        "{long}"
    );
    assert!(long.len() < 2100);
}

#[tokio::test]
async fn many_calls_are_under_way_at_once() {
    let project = PythonProject::new(&[(
        "tools.py",
        "import threading\n\nbarrier = threading.Barrier(20)\n\n\ndef together(number: int) -> int:\n    barrier.wait(30)\n    return number\n",
    )]);
    let tools = project.tools();
    let calls = (0..20).map(|number| called(&tools, "together", json!({"number": number})));
    let all = futures_util::future::join_all(calls).await;
    assert_eq!(all, (0..20).map(|number| Ok(json!(number))).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_told_in_a_sentence() {
    let project = PythonProject::new(&[
        ("tools.py", "x = 1\n"),
        ("broken.py", "def f():\n    return (\n\ndef g(: int)\n"),
        ("missing.py", "\nimport no_such_module_here\n"),
        ("indirect.py", "import broken\n"),
        ("raises.py", "def f():\n    raise ValueError('not today')\n\n\nf()\n"),
        ("exits.py", "import sys\nsys.exit(1)\n"),
        ("ends.py", "import os\nos._exit(1)\n"),
        ("all.py", "__all__ = ['f', 'g']\n\n\ndef f(): ...\n"),
        ("some.py", "def f(a): ...\n\n\ndef g(a: int): ...\n\n\nclass C: ...\n\n\ndef h():\n    yield 1\n"),
        ("chosen.py", "from some import g\n\n__all__ = ['g', '_f']\n\n\ndef _f(): ...\n\n\ndef h(): ...\n"),
    ]);
    std::os::unix::fs::symlink("/etc/hosts", project.path("link.py")).unwrap();
    let of = async |file: &str, function: Option<&str>| {
        PythonToolset::new(project.host.clone(), file, function).unwrap().listing().await
    };
    let why = async |file: &str, function: Option<&str>| match of(file, function).await {
        Err(ToolsetError::Unavailable(why)) => why,
        other => panic!("{file}: {other:?}"),
    };
    let nothing = project.tools().list().await;
    assert_eq!(nothing, Err(ToolsetError::Unavailable("tools.py has no functions that are tools".to_owned())));
    let broken = why("broken.py", None).await;
    assert!(
        broken.starts_with("broken.py, line 2: '(' was never closed") || broken.starts_with("broken.py, line 4: "),
        "{broken}"
    );
    assert!(why("indirect.py", None).await.starts_with("broken.py, line "));
    assert_eq!(
        why("missing.py", None).await,
        "missing.py, line 2: ModuleNotFoundError: No module named 'no_such_module_here'"
    );
    assert_eq!(why("raises.py", None).await, "raises.py, line 2: ValueError: not today");
    assert_eq!(why("exits.py", None).await, "exits.py, line 2: SystemExit: the code asked to end the process (1)");
    assert_eq!(why("ends.py", None).await, "the Python process ended while ends.py was imported (exit status: 1)");
    assert_eq!(why("all.py", None).await, "all.py: __all__ names g, which is not there");
    assert_eq!(why("nowhere.py", None).await, "nowhere.py: there is no such file");
    assert_eq!(why("link.py", None).await, "link.py: the file is outside of python.folder");
    assert_eq!(why("some.py", Some("x")).await, "some.py has no function x");
    assert_eq!(why("some.py", Some("C")).await, "some.py: C is no tool: it is a type, not a function");
    let listing = of("some.py", None).await.unwrap();
    assert_eq!(listing.tools.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>(), ["g"]);
    let left_out = [
        "some.py: f is no tool: its parameter a has no annotation and no default",
        "some.py: h is no tool: it yields values one by one; return a list",
    ];
    assert_eq!(listing.left_out, left_out);
    let chosen = of("chosen.py", None).await.unwrap();
    assert_eq!(chosen.tools.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>(), ["g", "_f"]);
    assert!(PythonToolset::new(project.host.clone(), "../tools.py", None).is_err());
}

#[tokio::test]
async fn changed_files_are_imported_anew_while_calls_of_the_old_ones_go_on() {
    let before = with_process(
        "import pathlib, time\nfrom part import word\n\n\ndef old(file: str) -> str:\n    while not pathlib.Path(file).exists():\n        time.sleep(0.01)\n    return word\n",
    );
    let project = PythonProject::new(&[("tools.py", &before), ("part.py", "word = 'before'\n")]);
    let tools = project.tools();
    assert_eq!(tools.list().await.unwrap().len(), 2);
    let first = process(&tools).await;
    let old = called(&tools, "old", json!({"file": "go"}));
    let change = async {
        assert_eq!(process(&tools).await, first, "the call before this one has begun");
        project.write("part.py", "word = 'after the change'\n");
        assert_eq!(tools.list().await.unwrap().len(), 2);
        assert_ne!(process(&tools).await, first);
        project.write("go", "");
    };
    let (old, ()) = tokio::join!(old, change);
    assert_eq!(old, Ok(json!("before")));
    assert_eq!(called(&tools, "old", json!({"file": "go"})).await, Ok(json!("after the change")));
    eventually("the old process has ended", async || !lives(first)).await;
}

#[tokio::test]
async fn the_environment_is_what_the_configuration_names_and_secrets_are_hidden() {
    let source = r#"
import os


def environment() -> list:
    """What is there."""
    return sorted(name for name in os.environ if name not in ("LC_CTYPE", "PWD", "SHLVL", "_", "OLDPWD") and "PYENV" not in name)


def shows(fails: bool):
    value = {"key": os.environ["BILLING_KEY"], "region": os.environ["REGION"]}
    if fails:
        raise ValueError(f"refused {value['key']}")
    return value
"#;
    let environment = |name: &str| (name == "KEY").then(|| "sesame-0815".to_owned());
    let python = r#"{ interpreter: [python3, -S], folder: ., env: { BILLING_KEY: "${KEY}", REGION: europe } }"#;
    let project = PythonProject::configured(&[("tools.py", source)], python, &environment);
    let tools = project.tools();
    let names = called(&tools, "environment", json!({})).await.unwrap();
    let mut expected = vec!["BILLING_KEY", "REGION"];
    expected.extend(["HOME", "LANG", "PATH", "TMPDIR"].iter().filter(|name| std::env::var_os(name).is_some()));
    expected.sort_unstable();
    assert_eq!(names, json!(expected));
    let shown = called(&tools, "shows", json!({"fails": false})).await;
    assert_eq!(shown, Ok(json!({"key": "[secret BILLING_KEY]", "region": "europe"})));
    let failed = called(&tools, "shows", json!({"fails": true})).await;
    assert_eq!(failed, Err(ToolsetError::Failed("ValueError: refused [secret BILLING_KEY]".to_owned())));
    assert!(!format!("{:?}", project.host).contains("sesame"));
}

/// A secret of eighteen letters stands at every place around the end of what is kept.
#[tokio::test]
async fn nothing_is_cut_before_its_secrets_are_hidden() {
    let source = r#"
import os
import sys

KEY = os.environ["BILLING_KEY"]


def dictionary(n: int) -> dict:
    return {"a": "x" * n, "k": KEY}


def text(n: int) -> str:
    return "x" * n + KEY


def fails(n: int):
    raise ValueError("x" * n + KEY)


def prints(n: int):
    print("p" * n + KEY + "q" * 5000)
    os.write(2, ("e" * (n + 2000) + KEY + "q" * 5000 + "\n").encode())


prints(1990)
"#;
    let environment = |name: &str| (name == "KEY").then(|| "CUTSECRET123456789".to_owned());
    let python = r#"{ interpreter: [python3, -S], folder: ., env: { BILLING_KEY: "${KEY}" } }"#;
    let project = PythonProject::configured(&[("tools.py", source)], python, &environment);
    let written = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer({
        let written = written.clone();
        move || LogWriter(written.clone())
    });
    let _logging = tracing::subscriber::set_default(subscriber.finish());
    let tools = project.tools();
    for n in 970..1002 {
        for tool in ["dictionary", "text"] {
            let shown = called(&tools, tool, json!({"n": n})).await.unwrap().to_string();
            assert!(!shown.contains("CUT"), "{tool} {n}: {}", &shown[900..]);
        }
    }
    for n in 1970..2002 {
        let failed = called(&tools, "fails", json!({"n": n})).await.unwrap_err().to_string();
        assert!(!failed.contains("CUT"), "{n}: {}", &failed[1900..]);
        called(&tools, "prints", json!({"n": n})).await.unwrap();
    }
    let log = || String::from_utf8(written.lock().clone()).unwrap();
    eventually("all that was printed is in the log", async || {
        log().lines().filter(|line| line.contains("eee")).count() == 33
    })
    .await;
    assert!(!log().contains("CUT"));
}

#[tokio::test]
async fn without_python_the_sentence_says_what_to_do() {
    let of = |interpreter: &str| {
        PythonProject::configured(&[("tools.py", "")], &format!("{{ interpreter: {interpreter} }}"), &|_| None)
    };
    let missing = of(".venv/bin/python").tools().list().await;
    let words = "Python (.venv/bin/python) is not there: set python.interpreter in fastagency.yaml, or install it";
    assert_eq!(missing, Err(ToolsetError::Unavailable(words.to_owned())));
    let other = of("[sh, -c, \"echo sorry >&2; exit 4\"]").tools().list().await;
    let words = "Python (sh -c echo sorry >&2; exit 4) ended at once: sorry";
    assert_eq!(other, Err(ToolsetError::Unavailable(words.to_owned())));
}
