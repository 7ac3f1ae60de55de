//! How the Python process ends, and what becomes of the calls in it and of what they have started.

use std::path::Path;
use std::time::Duration;

use fastagency::outside::toolset::ToolsetError;
use serde_json::json;

use super::{BARE_PYTHON, PythonProject, called, called_within, lives, process, with_process};
use crate::support::eventually::{eventually, soon};

#[tokio::test]
async fn a_call_that_cannot_be_stopped_costs_no_other_call() {
    let project = PythonProject::new(&[(
        "tools.py",
        &with_process(
            r#"
import asyncio, pathlib, time


def stuck() -> str:
    while True:
        time.sleep(0.05)


async def waits(file: str) -> str:
    try:
        pathlib.Path(file + ".begun").write_text("")
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        pathlib.Path(file).write_text("cancelled")
        raise


def until(file: str) -> int:
    while not pathlib.Path(file).exists():
        time.sleep(0.01)
    return os.getpid()
"#,
        ),
    )]);
    let tools = project.tools();
    let first = process(&tools).await;
    // An async function is cancelled, whether its time is over or nobody waits any more.
    let late = called_within(&tools, "waits", json!({"file": "late"}), Duration::from_millis(500)).await;
    assert_eq!(late, Err(ToolsetError::TimedOut("waits did not return within 500ms".to_owned())));
    eventually("the function has been cancelled", async || project.path("late").exists()).await;
    {
        let dropped = called(&tools, "waits", json!({"file": "dropped"}));
        tokio::select! {
            _ = dropped => panic!("it waits for an hour"),
            () = eventually("the call has begun", async || project.path("dropped.begun").exists()) => {}
        }
    }
    eventually("the function has been cancelled", async || project.path("dropped").exists()).await;
    assert_eq!(process(&tools).await, first, "what can be stopped leaves the process as it is");
    let other = called(&tools, "until", json!({"file": "go"}));
    let stuck = called_within(&tools, "stuck", json!({}), Duration::from_millis(200));
    let goes_on = async {
        let next = eventually("calls go to another process", async || {
            Some(process(&tools).await).filter(|next| *next != first)
        })
        .await;
        assert!(lives(first), "it has a call that goes on");
        project.write("go", "");
        next
    };
    let (other, stuck, next) = tokio::join!(other, stuck, goes_on);
    assert_eq!(other.unwrap(), first);
    assert!(matches!(stuck, Err(ToolsetError::TimedOut(_))));
    eventually("the old process has ended", async || !lives(first)).await;
    assert_eq!(process(&tools).await, next);
}

#[tokio::test]
async fn a_process_that_ends_costs_only_the_calls_that_were_in_it() {
    let project = PythonProject::new(&[(
        "tools.py",
        &with_process("def ends():\n    os.kill(os.getpid(), 9)\n\n\ndef exits():\n    os._exit(7)\n"),
    )]);
    let tools = project.tools();
    let first = process(&tools).await;
    let lost = called(&tools, "ends", json!({})).await;
    let words = "the Python process ended during ends (signal: 9 (SIGKILL)), so nobody knows whether it was done";
    assert_eq!(lost, Err(ToolsetError::Lost(words.to_owned())));
    assert_ne!(process(&tools).await, first);
    let exited = called(&tools, "exits", json!({})).await;
    assert!(matches!(exited, Err(ToolsetError::Lost(_))), "{exited:?}");
    process(&tools).await;
}

#[tokio::test]
async fn what_a_function_has_started_ends_with_the_process() {
    let source = with_process(
        "import subprocess\n\n\ndef starts() -> int:\n    return subprocess.Popen(['sleep', '3600']).pid\n",
    );
    for is_closed in [true, false] {
        let project = PythonProject::new(&[("tools.py", &source)]);
        let tools = project.tools();
        let python = process(&tools).await;
        let sleep = called(&tools, "starts", json!({})).await.unwrap().as_u64().unwrap();
        assert!(lives(sleep) && lives(python));
        if is_closed {
            project.host.close().await;
            assert!(!lives(python), "it was waited for");
            let refused = called(&tools, "process", json!({})).await;
            assert_eq!(refused, Err(ToolsetError::Unavailable("the worker is ending".to_owned())));
        }
        drop((tools, project));
        eventually("nothing is left", async || !lives(sleep) && !lives(python)).await;
    }
}

#[tokio::test]
async fn what_a_function_does_to_the_pipes_of_its_process_costs_no_later_call() {
    let project = PythonProject::new(&[(
        "tools.py",
        &with_process(
            r#"
import sys


def floods(descriptor: int) -> str:
    for _ in range(20000):
        os.write(descriptor, b"Listening on stdio " + b"x" * 200 + b"\n")
    return "done"


def reads() -> str:
    return sys.stdin.read() + os.read(0, 10).decode()


def closes(end: int) -> str:
    os.closerange(0, end)
    return "done"


def writes_everywhere() -> str:
    for descriptor in range(64):
        try:
            os.write(descriptor, b"Listening on stdio\n" * 10)
        except OSError:
            pass
    return "done"
"#,
        ),
    )]);
    let tools = project.tools();
    let first = process(&tools).await;
    for descriptor in [1, 2] {
        let floods = called(&tools, "floods", json!({"descriptor": descriptor}));
        let (flooded, meanwhile) = tokio::join!(floods, process(&tools));
        assert_eq!((flooded, meanwhile), (Ok(json!("done")), first), "{descriptor}");
    }
    assert_eq!(called(&tools, "reads", json!({})).await, Ok(json!("")), "there is nothing to read");
    assert_eq!(called(&tools, "closes", json!({"end": 3})).await, Ok(json!("done")));
    assert_eq!(process(&tools).await, first);
    for (function, arguments) in [("closes", json!({"end": 256})), ("writes_everywhere", json!({}))] {
        let before = process(&tools).await;
        let lost = called(&tools, function, arguments).await;
        assert!(matches!(lost, Err(ToolsetError::Lost(_))), "{function}: {lost:?}");
        assert_ne!(process(&tools).await, before, "{function}");
        eventually("the process is gone, and waited for", async || {
            !Path::new("/proc").join(before.to_string()).exists()
        })
        .await;
    }
}

/// What holds the interpreter lets nothing else run: no other call, no cancelling.
#[tokio::test]
async fn a_function_that_holds_the_interpreter_costs_no_later_call() {
    let source = "import pathlib, re\n\n\ndef holds():\n    pathlib.Path('begun').write_text('')\n    re.match('(a+)+b', 'a' * 60)\n";
    let project = PythonProject::new(&[("tools.py", &with_process(source))]);
    let tools = project.tools();
    let first = process(&tools).await;
    let held = called_within(&tools, "holds", json!({}), Duration::from_secs(1)).await;
    assert!(matches!(held, Err(ToolsetError::TimedOut(_))), "{held:?}");
    assert!(project.path("begun").exists());
    let second = eventually("later calls go to another process", async || {
        called_within(&tools, "process", json!({}), Duration::from_secs(1)).await
    })
    .await;
    assert_ne!(second, json!(first));
    eventually("the first one is gone, and waited for", async || !Path::new("/proc").join(first.to_string()).exists())
        .await;
}

/// The process as the worker starts it, with nobody to end it but itself.
struct OrphanPython {
    process: tokio::process::Child,
}

impl OrphanPython {
    async fn start(folder: &Path) -> Self {
        use tokio::io::AsyncWriteExt;
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/outside/python/scripts");
        let source = |name: &str| std::fs::read_to_string(sources.join(format!("{name}.py"))).unwrap();
        let modules = ["values", "output", "types", "tools", "files", "child"].map(|name| format!("fastagency_{name}"));
        let modules = json!(modules.map(|name| (name.clone(), source(&name)))).to_string();
        let mut command = tokio::process::Command::new(BARE_PYTHON[0]);
        command.arg(BARE_PYTHON[1]).arg("-c").arg(source("fastagency_start")).process_group(0).kill_on_drop(true);
        command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut process = command.spawn().unwrap();
        let beginning = format!("{}\n{modules}", modules.len());
        process.stdin.as_mut().unwrap().write_all(beginning.as_bytes()).await.unwrap();
        let mut this = Self { process };
        this.send(&json!({"folder": folder, "threads": 2}).to_string()).await;
        assert!(this.read().await.contains("ready"));
        this
    }

    async fn send(&mut self, text: &str) {
        use tokio::io::AsyncWriteExt;
        let stdin = self.process.stdin.as_mut().unwrap();
        stdin.write_u32(text.len().try_into().unwrap()).await.unwrap();
        stdin.write_all(text.as_bytes()).await.unwrap();
    }

    async fn read(&mut self) -> String {
        use tokio::io::AsyncReadExt;
        let stdout = self.process.stdout.as_mut().unwrap();
        let mut text = vec![0; stdout.read_u32().await.unwrap() as usize];
        stdout.read_exact(&mut text).await.unwrap();
        String::from_utf8(text).unwrap()
    }
}

#[tokio::test]
async fn the_process_ends_by_itself_when_its_worker_was_killed() {
    let source = "import subprocess, time\n\n\ndef starts() -> int:\n    return subprocess.Popen(['sleep', '3600']).pid\n\n\n\
                  def busy():\n    while True:\n        pass\n";
    let project = PythonProject::new(&[("tools.py", source)]);
    let mut python = OrphanPython::start(&project.folder.path().canonicalize().unwrap()).await;
    let call = |id: u64, tool: &str| json!({"kind": "call", "id": id, "file": "tools.py", "function": null, "tool": tool, "max_result": 99, "hidden": 0});
    python.send(&format!("{}\n{{}}", call(1, "starts"))).await;
    let answer = python.read().await;
    let sleep: u64 = answer.lines().last().unwrap().parse().unwrap_or_else(|_| panic!("{answer}"));
    python.send(&format!("{}\n{{}}", call(2, "busy"))).await;
    assert!(lives(sleep));
    // What a killed worker leaves is a closed pipe.
    drop(python.process.stdin.take());
    let status = soon(python.process.wait()).await.unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    eventually("nothing is left", async || !lives(sleep)).await;
}
