//! Programs in a sandbox: what they reach, and how they end. What is not on this machine is skipped by name.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use fastagency::config::{ProgramConfig, ProgramInput, SandboxConfig};
use fastagency::outside::programs::{ProgramCall, Programs};
use fastagency::outside::toolset::ToolsetError;
use serde_json::{Value, json};

use crate::support::eventually::{eventually, soon};

/// Longer than any of these programs takes.
const WITHIN: Duration = Duration::from_secs(30);
/// What a result may be, in bytes.
const MAX_RESULT: u64 = 4000;

/// A sandbox that works here.
struct Sandbox {
    config: SandboxConfig,
}

impl Sandbox {
    /// `None`: there is none, which is said with the name of the test that is skipped.
    fn bwrap(test: &str) -> Option<Self> {
        let arguments = ["--unshare-all", "--ro-bind", "/", "/", "true"];
        Self::that_works(test, "bwrap", &arguments, SandboxConfig::Bwrap)
    }

    /// The image is given by `FASTAGENCY_PODMAN_IMAGE` or `FASTAGENCY_DOCKER_IMAGE`; it has a `sh`.
    fn container(test: &str, engine: &'static str) -> Option<Self> {
        let variable = format!("FASTAGENCY_{}_IMAGE", engine.to_uppercase());
        let Ok(image) = std::env::var(&variable) else {
            let _ = writeln!(std::io::stderr(), "SKIPPED {test}: no {variable} (scripts/container-image.sh {engine})");
            return None;
        };
        let config = SandboxConfig::Container { engine, image: image.clone() };
        Self::that_works(test, engine, &["run", "--rm", "--network", "none", &image, "true"], config)
    }

    fn that_works(test: &str, program: &str, arguments: &[&str], config: SandboxConfig) -> Option<Self> {
        let tried = Command::new(program).args(arguments).stdin(Stdio::null()).output();
        let why = match tried {
            Ok(output) if output.status.success() => return Some(Self { config }),
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {program} does not work here: {why}");
        None
    }

    fn programs(&self, run: &[&str], stdin: ProgramInput) -> Programs {
        let config = ProgramConfig {
            run: run.iter().map(|&word| word.to_owned()).collect(),
            env: BTreeMap::from([("DESK_KEY".to_owned(), "sesame-0815".into())]),
            folder: None,
            stdin,
            sandbox: Some(self.config.clone()),
        };
        Programs::new(BTreeMap::from([("it".to_owned(), config)]))
    }

    /// Runs a script of the shell.
    async fn shell(&self, script: &str, within: Duration) -> Result<Value, ToolsetError> {
        called(&self.programs(&["sh", "-c", script], ProgramInput::Json), json!({}), within).await
    }
}

async fn called(programs: &Programs, arguments: Value, within: Duration) -> Result<Value, ToolsetError> {
    let arguments = arguments.as_object().unwrap().clone();
    let call = ProgramCall { program: "it", arguments: &arguments, key: "k1", within, max_result: MAX_RESULT };
    soon(programs.call(call)).await
}

/// The processes of this machine that have a word in their command line.
fn processes_with(word: &str) -> Vec<String> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = all.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(word)).collect()
}

/// What a program that a model wrote tries. It prints what came of each attempt.
const ATTEMPTS: &str = r#"
import ctypes, json, os, pathlib, socket

def attempt(act):
    try:
        act()
        return "done"
    except OSError as error:
        return type(error).__name__

def remount():
    # MS_REMOUNT and MS_BIND: without MS_RDONLY.
    if ctypes.CDLL(None, use_errno=True).mount(None, b"/usr", None, 32 | 4096, None):
        raise OSError(ctypes.get_errno(), "mount")

def environments():
    for path in pathlib.Path("/proc").glob("[0-9]*/environ"):
        yield path.read_text()

print(json.dumps({
    "connect": attempt(lambda: socket.create_connection(("127.0.0.1", PORT), 3)),
    "home": attempt(lambda: os.listdir(HOME)),
    "file": attempt(lambda: open(FILE).read()),
    "remount": attempt(remount),
    "write": attempt(lambda: open("/usr/fastagency-was-here", "w")),
    "own": attempt(lambda: open(os.environ["TMPDIR"] + "/own", "w").write("x")),
    "here": os.getcwd(),
    "names": sorted(os.environ),
    "key": os.environ["DESK_KEY"],
    "interfaces": [line.split(":")[0].strip() for line in open("/proc/net/dev") if ":" in line],
    "processes": sum(1 for name in os.listdir("/proc") if name.isdigit()),
    "sees": any("CARGO" in text for text in environments()),
    "capabilities": [line.split()[1] for line in open("/proc/self/status") if line.startswith("CapEff")],
}))
"#;

#[tokio::test]
async fn in_bwrap_the_code_of_a_model_reaches_no_network_no_home_no_environment_and_no_file() {
    let Some(sandbox) = Sandbox::bwrap("in_bwrap_the_code_of_a_model_reaches_nothing") else { return };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, "x").unwrap();
    let home = std::env::var("HOME").expect("a home");
    assert!(std::env::vars().any(|(name, _)| name.contains("CARGO")), "the worker has something to hide");
    let code = ATTEMPTS.replace("PORT", &port.to_string());
    let code = code.replace("HOME", &json!(home).to_string()).replace("FILE", &json!(file).to_string());
    let programs = sandbox.programs(&["python3", "-I", "-"], ProgramInput::Code);
    let came = called(&programs, json!({"code": code}), WITHIN).await.unwrap();
    for place in ["connect", "home", "file", "remount", "write"] {
        assert_ne!(came[place], "done", "{place}: {came}");
    }
    assert_eq!((&came["own"], &came["here"], &came["interfaces"]), (&json!("done"), &json!("/tmp"), &json!(["lo"])));
    let accepted = listener.accept().map_err(|error| error.kind());
    assert!(matches!(accepted, Err(std::io::ErrorKind::WouldBlock)), "nobody has come: {accepted:?}");
    let allowed = ["DESK_KEY", "FASTAGENCY_CALL_ID", "HOME", "LANG", "LC_CTYPE", "PATH", "PWD", "TMPDIR"];
    let names: Vec<&str> = came["names"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(names.iter().all(|name| allowed.contains(name)), "{names:?}");
    assert_eq!((&came["key"], &came["sees"]), (&json!("[secret DESK_KEY]"), &json!(false)));
    assert!(came["processes"].as_u64().unwrap() <= 3, "it sees its own processes: {came}");
    assert_eq!(came["capabilities"], json!(["0000000000000000"]), "not even the worker's, where that is root");
    assert!(!Path::new("/usr/fastagency-was-here").exists());
}

/// What a program tries in `/proc`: each file is opened, and nothing is ever written.
const OPENINGS: &str = r#"
import json, os

def opens(path, flags):
    try:
        os.close(os.open(path, flags))
        return True
    except OSError:
        return False

def files(place):
    if not os.path.isdir(place):
        return [place]
    return [os.path.join(folder, name) for folder, _, names in os.walk(place) for name in names]

written = ["bus", "fs", "irq", "sys", "sysrq-trigger"]
read = ["acpi", "asound", "interrupts", "kcore", "keys", "latency_stats", "sched_debug", "scsi", "timer_list", "timer_stats"]
print(json.dumps({
    "written": [file for name in written for file in files("/proc/" + name) if opens(file, os.O_WRONLY)][:5],
    "read": [file for name in read for file in files("/proc/" + name) if opens(file, os.O_RDONLY)],
    "is_there": os.path.exists("/proc/sys/kernel/ostype"),
    "user": os.getuid(),
}))
"#;

/// Runs a test of this program once more, as a user without rights. `false`: that is not possible here.
fn passes_as_nobody(test: &str) -> bool {
    let program = std::env::current_exe().expect("the path of the tests");
    let mut as_nobody = Command::new("setpriv");
    as_nobody.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(program).current_dir("/");
    let output = as_nobody.args([test, "--exact", "--nocapture"]).stdin(Stdio::null()).output();
    let said = match &output {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr),
        Err(error) => error.to_string(),
    };
    if !said.contains("running 1 test") || said.contains("SKIPPED") {
        let _ = writeln!(std::io::stderr(), "SKIPPED {test} as another user: {said}");
        return false;
    }
    assert!(output.is_ok_and(|output| output.status.success()), "as a user without rights: {said}");
    true
}

#[tokio::test]
async fn in_bwrap_the_settings_of_the_kernel_are_not_written_whoever_the_worker_is() {
    let test = "sandboxes::in_bwrap_the_settings_of_the_kernel_are_not_written_whoever_the_worker_is";
    let Some(sandbox) = Sandbox::bwrap(test) else { return };
    let programs = sandbox.programs(&["python3", "-I", "-"], ProgramInput::Code);
    let came = called(&programs, json!({"code": OPENINGS}), WITHIN).await.unwrap();
    assert_eq!((&came["written"], &came["read"], &came["is_there"]), (&json!([]), &json!([]), &json!(true)), "{came}");
    if rustix::process::getuid().is_root() {
        assert_eq!(came["user"], 0, "it was tried as root");
        passes_as_nobody(test);
    } else {
        let _ = writeln!(std::io::stderr(), "{test} was tried as a user without rights");
    }
}

/// What holds for programs in the open holds in a sandbox.
async fn ends_as_it_should(sandbox: &Sandbox) {
    let shell = async |script: &str| sandbox.shell(script, WITHIN).await;
    assert_eq!(shell("cat").await, Ok(json!({})), "the arguments come in");
    let failed = shell("echo no such order >&2; exit 3").await;
    assert_eq!(failed, Err(ToolsetError::Failed("it failed (exit code 3): no such order".to_owned())));
    let long = shell("yes | head -c 3000000").await.unwrap();
    let long = long.as_str().unwrap();
    assert!(long.ends_with("… [cut off after 4000 bytes]") && long.len() < 5000, "{}", long.len());

    // The numbers are those of this test alone.
    let mark = format!("{}", 10_000_000 + std::process::id());
    let script = format!("(setsid sleep {mark} &) ; sleep {mark} & sleep {mark}");
    let late = {
        let call = sandbox.shell(&script, Duration::from_secs(3));
        let begun = eventually("all three are there", async || processes_with(&mark).len() >= 3);
        tokio::join!(call, begun).0
    };
    assert!(matches!(late, Err(ToolsetError::TimedOut(_))), "{late:?}");
    eventually("nothing is left after the time-out", async || {
        let left = processes_with(&mark);
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
    {
        let call = sandbox.shell(&script, WITHIN);
        tokio::select! {
            came = call => panic!("it sleeps: {came:?}"),
            () = eventually("all three are there", async || processes_with(&mark).len() >= 3) => {}
        }
    }
    eventually("nothing is left of a call that nobody waits for", async || {
        let left = processes_with(&mark);
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
    let endless = sandbox.shell("yes", Duration::from_secs(1)).await;
    assert!(matches!(endless, Err(ToolsetError::TimedOut(_))), "{endless:?}");
    // What a program leaves behind ends with it.
    let left = format!("(setsid sleep {mark} > /dev/null 2>&1 &) ; echo done");
    assert_eq!(sandbox.shell(&left, WITHIN).await, Ok(json!("done")));
    eventually("nothing is left of a program that has ended", async || processes_with(&mark).is_empty()).await;
}

#[tokio::test]
async fn in_bwrap_output_time_and_processes_are_bounded() {
    let Some(sandbox) = Sandbox::bwrap("in_bwrap_output_time_and_processes_are_bounded") else { return };
    ends_as_it_should(&sandbox).await;
}

/// Besides: what a container may, which is nothing.
async fn is_a_closed_container(sandbox: &Sandbox) {
    ends_as_it_should(sandbox).await;
    let shell = async |script: &str| sandbox.shell(script, WITHIN).await.unwrap();
    assert_eq!(shell("id -u").await, json!(65534));
    assert_eq!(shell("grep -c : /proc/net/dev").await, json!(1), "lo alone");
    assert_eq!(shell("touch /x 2> /dev/null || echo refused").await, json!("refused"));
    assert_eq!(shell("pwd; touch own && ls own").await, json!("/tmp\nown"));
    assert_eq!(shell("grep CapEff /proc/self/status").await, json!("CapEff:\t0000000000000000"));
    assert_eq!(shell("echo $DESK_KEY").await, json!("[secret DESK_KEY]"));
}

#[tokio::test]
async fn in_a_container_of_podman_output_time_and_processes_are_bounded() {
    let test = "in_a_container_of_podman_output_time_and_processes_are_bounded";
    let Some(sandbox) = Sandbox::container(test, "podman") else { return };
    is_a_closed_container(&sandbox).await;
}

#[tokio::test]
async fn in_a_container_of_docker_output_time_and_processes_are_bounded() {
    let test = "in_a_container_of_docker_output_time_and_processes_are_bounded";
    let Some(sandbox) = Sandbox::container(test, "docker") else { return };
    is_a_closed_container(&sandbox).await;
}
