//! Programs that tools run: each call is one process, with the arguments on its standard input and the result on its standard
//! output. It has a process group of its own, an environment of few names, and is ended with all that it has started.

use std::collections::BTreeMap;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};

use super::hidden::HiddenTexts;
use super::toolset::ToolsetError;
use crate::bounds::{OUTSIDE, cut_off, read};
use crate::config::{ProgramConfig, ProgramInput, SandboxConfig};
use crate::problem::did_you_mean;

/// The names of the worker's environment that a program has, too.
const INHERITED: [&str; 4] = ["PATH", "HOME", "LANG", "TMPDIR"];
/// What is kept of what a program says on its standard error, in bytes.
const MOST_SAID: u64 = 4096;
/// The memory that a container has.
const MEMORY: &str = "512m";
/// The processes that a container has, at most.
const MOST_PROCESSES: &str = "128";
/// What `bwrap` leaves to write for a program of root, as the files are root's: the settings of the kernel. To be read alone, as in a
/// container.
const READ_ONLY_IN_PROC: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
/// What says more of the machine than a program needs. Not to be read, as in a container.
const MASKED_IN_PROC: [&str; 10] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
];
/// Who runs a program in a container.
const NOBODY: &str = "65534:65534";
/// The folder that a program in a container may write to. Docker keeps the mode of the image's folder, whatever is said here, so the
/// folder belongs to the program.
const TMP_OF_DOCKER: &str = "/tmp:mode=1777,uid=65534,gid=65534";
/// The same for podman, which knows no owner here.
const TMP_OF_PODMAN: &str = "/tmp:mode=1777";
/// The exit codes with which `docker` and `podman` say that they did not start the program.
const OF_THE_ENGINE: [i32; 3] = [125, 126, 127];
/// How the lines begin in which they say why, the best first.
const WORDS_OF_THE_ENGINE: [&str; 3] = ["docker: ", "Error: ", "Unable to find image"];
/// How long the end of the output is waited for once the program has ended: children that it has left may keep it open.
const OUTPUT_AFTER_END: Duration = Duration::from_secs(1);

/// The programs of a worker.
#[derive(Debug, Default)]
pub struct Programs {
    programs: BTreeMap<String, (ProgramConfig, HiddenTexts)>,
}

/// A call of a program.
#[derive(Debug, Clone, Copy)]
pub struct ProgramCall<'a> {
    /// Its name in `commands:`.
    pub program: &'a str,
    /// What it is called with.
    pub arguments: &'a Map<String, Value>,
    /// The key of the call, which it has in its environment as `FASTAGENCY_CALL_ID`.
    pub key: &'a str,
    /// How long it may take.
    pub within: Duration,
    /// What is kept of its result, in bytes.
    pub max_result: u64,
}

/// Ends a process with all that it has started.
struct ProcessGroup {
    group: Option<Pid>,
    /// What ends a container, which is no child of this process.
    container: Option<(&'static str, String)>,
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            let _ = kill_process_group(group, Signal::KILL);
        }
        if let Some((engine, name)) = &self.container {
            let _ = std::process::Command::new(engine)
                .args(["rm", "--force", name])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .map(|mut child| std::thread::spawn(move || child.wait()));
        }
    }
}

impl Programs {
    /// Those with these names.
    pub fn new(programs: BTreeMap<String, ProgramConfig>) -> Self {
        let with_hidden = |(name, program): (String, ProgramConfig)| {
            let hidden = HiddenTexts::default();
            for (variable, value) in &program.env {
                hidden.add(variable, value.expose_secret());
            }
            (name, (program, hidden))
        };
        Self { programs: programs.into_iter().map(with_hidden).collect() }
    }

    /// The same, where these texts are hidden, too.
    pub fn beside(mut self, others: &Arc<HiddenTexts>) -> Self {
        for (_, hidden) in self.programs.values_mut() {
            hidden.put_beside(others.clone());
        }
        self
    }

    /// Whether there is a program of this name; the error is a sentence.
    pub fn check(&self, name: &str) -> Result<(), String> {
        match self.programs.contains_key(name) {
            true => Ok(()),
            false => Err(format!("there is no command {name:?} (fastagency.yaml: commands)")),
        }
    }

    /// Whether it reads the argument `code` instead of all as JSON.
    pub fn takes_code(&self, name: &str) -> bool {
        self.programs.get(name).is_some_and(|(program, _)| program.stdin == ProgramInput::Code)
    }

    /// The name that was probably meant, in a sentence.
    pub fn near(&self, name: &str) -> Option<String> {
        did_you_mean(name, self.programs.keys().map(String::as_str))
    }

    /// Runs a program. Dropped: the program is ended.
    pub async fn call(&self, call: ProgramCall<'_>) -> Result<Value, ToolsetError> {
        self.check(call.program).map_err(ToolsetError::Unavailable)?;
        let (program, hidden) = &self.programs[call.program];
        let input = match program.stdin {
            ProgramInput::Json => Value::Object(call.arguments.clone()).to_string(),
            ProgramInput::Code => match call.arguments.get("code") {
                Some(Value::String(code)) => code.clone(),
                _ => return Err(ToolsetError::Failed("the argument `code` is missing: the program to run".to_owned())),
            },
        };
        match tokio::time::timeout(call.within, run(program, call, input, hidden)).await {
            Ok(Ok(value)) => Ok(hidden.hidden_in(value)),
            Ok(Err(error)) => Err(error.map_words(|words| hidden.hidden(&words))),
            Err(_) => Err(ToolsetError::TimedOut(format!("{} took longer than {:?}", call.program, call.within))),
        }
    }
}

async fn run(
    program: &ProgramConfig,
    call: ProgramCall<'_>,
    input: String,
    hidden: &HiddenTexts,
) -> Result<Value, ToolsetError> {
    let own = match &program.folder {
        Some(_) => None,
        None => Some(tempfile::tempdir().map_err(|error| not_started(call.program, program, &error))?),
    };
    let container = match &program.sandbox {
        Some(SandboxConfig::Container { engine, .. }) => {
            Some((*engine, format!("fastagency-{}", crate::ids::hex(&rand::random::<[u8; 8]>()))))
        }
        _ => None,
    };
    let mut command = command(program, call.key, container.as_ref().map(|(_, name)| name.as_str()));
    let folder = program.folder.as_deref().or(own.as_ref().map(tempfile::TempDir::path));
    if let Some(folder) = folder {
        command.current_dir(folder);
    }
    let mut child = command.spawn().map_err(|error| not_started(call.program, program, &error))?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let _ended = ProcessGroup { group, container };
    // A secret that stands across the end is hidden before anything is cut off.
    let more = u64::try_from(hidden.longest()).unwrap_or(0);
    let (mut said, mut printed) = (ProgramOutput::default(), ProgramOutput::default());
    let status = ended(&mut child, &input, (&mut said, MOST_SAID + more), (&mut printed, call.max_result + more)).await;
    let status = status.map_err(|error| not_started(call.program, program, &error))?;
    let text = |output: ProgramOutput, most: u64| {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let is_cut = output.is_longer || output.kept.len() > most;
        // What is hidden makes the text shorter, and the end of what was kept may be half a secret.
        let is_broken_off = output.kept.len() >= most.saturating_add(hidden.longest());
        let text = hidden.hidden_beginning(&String::from_utf8_lossy(&output.kept), is_broken_off);
        if is_cut { cut_off(&text, most) } else { text }
    };
    let (said, printed) = (text(said, MOST_SAID), text(printed, call.max_result));
    if !said.trim().is_empty() {
        tracing::info!(command = call.program, call = call.key, "{}", hidden.hidden(said.trim()));
    }
    if !status.success() {
        let how = match status.code() {
            Some(code) => format!("exit code {code}"),
            None => "ended by a signal".to_owned(),
        };
        let own = match (&program.sandbox, status.code()) {
            (Some(SandboxConfig::Container { .. }), Some(code)) if OF_THE_ENGINE.contains(&code) => engine_words(&said),
            _ => None,
        };
        let last = || said.lines().rev().find(|line| !line.trim().is_empty());
        let words = own.or_else(last).unwrap_or(&printed).trim();
        let words = if words.is_empty() { String::new() } else { format!(": {words}") };
        return Err(ToolsetError::Failed(format!("{} failed ({how}){words}", call.program)));
    }
    Ok(match read::<Value>(printed.trim().as_bytes(), &OUTSIDE) {
        Ok(value) => value,
        Err(_) if printed.trim().is_empty() => Value::Null,
        Err(_) => Value::String(printed.trim_end().to_owned()),
    })
}

fn not_started(name: &str, program: &ProgramConfig, error: &std::io::Error) -> ToolsetError {
    let folder = program.folder.as_deref().map(|folder| folder.display().to_string());
    tracing::warn!(command = name, program = program.run[0], folder, "the program cannot be run: {error}");
    // What is started is the sandbox, where there is one.
    let what = match &program.sandbox {
        _ if program.folder.as_ref().is_some_and(|folder| !folder.is_dir()) => "its folder",
        None | Some(SandboxConfig::None) => "its program",
        Some(SandboxConfig::Bwrap) => "its sandbox (bwrap)",
        Some(SandboxConfig::Container { engine: "docker", .. }) => "its sandbox (docker)",
        Some(SandboxConfig::Container { .. }) => "its sandbox (podman)",
    };
    let why = match error.kind() {
        std::io::ErrorKind::NotFound => "is not there",
        std::io::ErrorKind::PermissionDenied => "may not be executed",
        _ => "cannot be started",
    };
    ToolsetError::Unavailable(format!("the command {name} cannot be run: {what} {why}"))
}

/// The process to start, in its sandbox.
fn command(program: &ProgramConfig, key: &str, container: Option<&str>) -> Command {
    let mut command = match &program.sandbox {
        None | Some(SandboxConfig::None) => {
            let mut command = Command::new(&program.run[0]);
            command.args(&program.run[1..]);
            command
        }
        Some(SandboxConfig::Bwrap) => {
            let mut command = Command::new("bwrap");
            command.args(["--unshare-all", "--die-with-parent", "--new-session", "--proc", "/proc", "--dev", "/dev"]);
            // A worker that is root would hand on what makes the system's folders writable again.
            command.args(["--cap-drop", "ALL"]);
            close_proc(&mut command);
            for place in ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/alternatives", "/etc/ld.so.cache"] {
                command.args(["--ro-bind-try", place, place]);
            }
            command.args(["--tmpfs", "/tmp", "--chdir", "/tmp"]);
            // The worker's own folders are not there.
            command.args(["--setenv", "HOME", "/tmp", "--setenv", "TMPDIR", "/tmp", "--"]).args(&program.run);
            command
        }
        Some(SandboxConfig::Container { engine, image }) => {
            let mut command = Command::new(engine);
            command.args(["run", "--rm", "--interactive", "--network", "none", "--cap-drop", "ALL"]);
            command.args(["--security-opt", "no-new-privileges", "--memory", MEMORY, "--pids-limit", MOST_PROCESSES]);
            // Without a mode, `/tmp` is root's alone where the image has none: the engine makes the folder for `--workdir`.
            let writable = if *engine == "docker" { TMP_OF_DOCKER } else { TMP_OF_PODMAN };
            command.args(["--read-only", "--tmpfs", writable, "--workdir", "/tmp", "--user", NOBODY]);
            command.args(["--name", container.unwrap_or_default(), "--env", "FASTAGENCY_CALL_ID"]);
            for name in program.env.keys() {
                command.args(["--env", name]);
            }
            command.arg(image).args(&program.run);
            command
        }
    };
    command.env_clear();
    command.envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command.envs(program.env.iter().map(|(name, value): (&String, &SecretString)| (name, value.expose_secret())));
    command.env("FASTAGENCY_CALL_ID", key);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0).kill_on_drop(true);
    command
}

/// Closes what `/proc` of a sandbox shows of the machine, for `bwrap`.
fn close_proc(command: &mut Command) {
    for place in READ_ONLY_IN_PROC {
        command.args(["--ro-bind-try", place, place]);
    }
    // Nothing can be made in `/proc`: a place that this kernel does not have is left out.
    for place in MASKED_IN_PROC {
        match std::fs::metadata(place) {
            Ok(found) if found.is_dir() => command.args(["--tmpfs", place, "--remount-ro", place]),
            Ok(_) => command.args(["--ro-bind", "/dev/null", place]),
            Err(_) => continue,
        };
    }
}

/// Gives a program its input. One that does not read it to its end has its reasons.
async fn give(stdin: Option<ChildStdin>, input: &str) {
    if let Some(mut stdin) = stdin {
        let _ = stdin.write_all(input.as_bytes()).await;
    }
}

/// Why an engine did not start a container, in its words. It often says last where its help is.
fn engine_words(said: &str) -> Option<&str> {
    WORDS_OF_THE_ENGINE.iter().find_map(|beginning| said.lines().rev().find(|line| line.starts_with(beginning)))
}

/// The end of a program. What has left its process group may hold its output open for as long as it likes: that is not waited for.
async fn ended(
    child: &mut Child,
    input: &str,
    (said, most_said): (&mut ProgramOutput, u64),
    (printed, most_printed): (&mut ProgramOutput, u64),
) -> std::io::Result<ExitStatus> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let output = async { tokio::join!(said.read(stderr, most_said), printed.read(stdout, most_printed)) };
    let mut output = pin!(output);
    let mut given = pin!(give(stdin, input));
    let (mut is_given, mut is_read) = (false, false);
    loop {
        tokio::select! {
            _ = &mut output, if !is_read => is_read = true,
            () = &mut given, if !is_given => is_given = true,
            status = child.wait() => {
                if !is_read {
                    let _ = tokio::time::timeout(OUTPUT_AFTER_END, output).await;
                }
                return status;
            }
        }
    }
}

/// The beginning of what a program writes.
#[derive(Default)]
struct ProgramOutput {
    kept: Vec<u8>,
    /// Whether there was more.
    is_longer: bool,
}

impl ProgramOutput {
    /// Keeps the beginning; the rest is read and forgotten, so that the program can go on.
    async fn read(&mut self, from: Option<impl AsyncRead + Unpin>, most: u64) {
        let Some(from) = from else { return };
        let mut first = from.take(most);
        let _ = first.read_to_end(&mut self.kept).await;
        let mut rest = first.into_inner();
        let mut more = [0; 8192];
        while let Ok(1..) = rest.read(&mut more).await {
            self.is_longer = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn programs(run: &[&str]) -> Programs {
        let config = ProgramConfig {
            run: run.iter().map(|&word| word.to_owned()).collect(),
            env: BTreeMap::from([("KEY".to_owned(), SecretString::from("value"))]),
            folder: None,
            stdin: ProgramInput::Json,
            sandbox: None,
        };
        Programs::new(BTreeMap::from([("it".to_owned(), config)]))
    }

    async fn called(run: &[&str], arguments: Value, within: Duration) -> Result<Value, ToolsetError> {
        let arguments = arguments.as_object().unwrap().clone();
        let call = ProgramCall { program: "it", arguments: &arguments, key: "k1", within, max_result: 1000 };
        programs(run).call(call).await
    }

    const SOON: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn arguments_come_in_and_the_result_goes_out() {
        let arguments = json!({"n": 12_345_678_901_234_567_890_u64, "text": "a; rm -rf /"});
        assert_eq!(called(&["cat"], arguments.clone(), SOON).await.unwrap(), arguments);
        assert_eq!(called(&["echo", "$HOME; ls"], json!({}), SOON).await.unwrap(), json!("$HOME; ls"));
        assert_eq!(called(&["true"], json!({}), SOON).await.unwrap(), Value::Null);
        let names = called(
            &["sh", "-c", "env | cut -d= -f1 | sort | grep -v '^PWD$\\|^_$\\|^SHLVL$\\|^OLDPWD$'"],
            json!({}),
            SOON,
        );
        let names = names.await.unwrap();
        for name in names.as_str().unwrap().lines() {
            assert!(INHERITED.contains(&name) || ["KEY", "FASTAGENCY_CALL_ID"].contains(&name), "{name}");
        }
    }

    #[tokio::test]
    async fn what_is_too_long_is_cut_and_marked() {
        let long = called(&["sh", "-c", "yes | head -c 100000"], json!({}), SOON).await.unwrap();
        assert!(
            long.as_str().unwrap().ends_with("… [cut off after 1000 bytes]") && long.as_str().unwrap().len() < 1100
        );
    }

    #[tokio::test]
    async fn many_secrets_in_a_row_leave_no_half_of_one() {
        let mut programs = programs(&["sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do printf %s \"$KEY\"; done"]);
        let (config, hidden) = programs.programs.get_mut("it").unwrap();
        let key = "CUTSECRET-of-forty-letters-0123456789-xy";
        config.env.insert("KEY".to_owned(), SecretString::from(key));
        hidden.add("KEY", key);
        let arguments = Map::new();
        for max_result in 90..140 {
            let call = ProgramCall { program: "it", arguments: &arguments, key: "k1", within: SOON, max_result };
            let shown = programs.call(call).await.unwrap();
            assert!(!shown.as_str().unwrap().contains("CUT"), "{max_result}: {shown}");
        }
    }

    #[tokio::test]
    async fn a_failure_says_what_the_program_said_last() {
        let failed = called(&["sh", "-c", "echo first >&2; echo no such order >&2; exit 3"], json!({}), SOON).await;
        assert_eq!(failed, Err(ToolsetError::Failed("it failed (exit code 3): no such order".to_owned())));
        let missing = called(&["no-such-program-here"], json!({}), SOON).await;
        let words = "the command it cannot be run: its program is not there";
        assert_eq!(missing, Err(ToolsetError::Unavailable(words.to_owned())));
    }

    #[test]
    fn an_engine_that_starts_nothing_is_quoted_with_the_line_that_says_why() {
        let docker = "Unable to find image 'x:latest' locally\ndocker: Error response from daemon: no such host\n\n\
                      Run 'docker run --help' for more information\n";
        assert_eq!(engine_words(docker), Some("docker: Error response from daemon: no such host"));
        assert_eq!(engine_words("Trying to pull x\nError: x: image not known\n"), Some("Error: x: image not known"));
        let missing = "Unable to find image 'x:latest' locally";
        assert_eq!(engine_words(&format!("{missing}\nPulling\n")), Some(missing));
        assert_eq!(engine_words("sh: no-such: not found\n"), None, "the program's own");
    }

    #[tokio::test]
    async fn a_child_that_has_left_the_process_group_does_not_hold_the_call() {
        let script = "setsid sleep 1000 & echo $!; echo said >&2";
        let ended = called(&["sh", "-c", script], json!({}), SOON).await;
        let pid = ended.expect("the program has ended, whatever its child does").as_i64().expect("the child's id");
        let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        // It is not this program's to end, so the test does it.
        rustix::process::kill_process(pid, Signal::KILL).expect("the child lives on");
    }

    #[tokio::test]
    async fn one_that_takes_too_long_is_ended_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}; wait", file.display());
        let ended = called(&["sh", "-c", &script], json!({}), Duration::from_millis(1500)).await;
        assert!(matches!(ended, Err(ToolsetError::TimedOut(_))), "{ended:?}");
        let pid = std::fs::read_to_string(&file).unwrap().trim().to_owned();
        let is_gone = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        };
        let until = std::time::Instant::now() + SOON;
        while !is_gone() {
            assert!(std::time::Instant::now() < until, "the grandchild {pid} lives");
            tokio::task::yield_now().await;
        }
    }
}
