//! The tiers that a bench starts for itself: NATS servers, a worker and a gateway of one program, in a folder of their own, on
//! ports of 127.0.0.1 that are free. They are ended, and the folder removed, when the bench ends.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::cost::WatchedProcess;
use crate::client::{self, GatewayClient};
use crate::config::NatsConfig;

/// How long a process may take to start, and to end after it was asked to.
const START_WAIT: Duration = Duration::from_secs(60);
const END_WAIT: Duration = Duration::from_secs(10);
/// How often it is looked whether a process has started.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// What a message about a process that failed shows of its log, in lines.
const LINES_SHOWN: usize = 8;
/// The login of the NATS servers, which listen on this machine only.
const USER: &str = "fastagency";
const PASSWORD: &str = "bench-on-this-machine";
/// The workflow that they serve.
const ECHO: &str = include_str!("../../workflows/echo.yaml");

/// What the tiers are made of.
#[derive(Debug, Clone)]
pub struct TiersPlan {
    /// The program that is the worker and the gateway.
    pub program: PathBuf,
    /// The NATS server's program.
    pub nats_server: PathBuf,
    /// How many NATS servers, each of which keeps everything.
    pub replicas: usize,
}

/// Why the tiers are not there.
#[derive(Debug, thiserror::Error)]
pub enum TiersError {
    /// Their folder cannot be written.
    #[error("the folder of the tiers cannot be written")]
    Folder(#[source] io::Error),
    /// A program cannot be started.
    #[error("{program:?} cannot be started as the {name}")]
    NotStarted {
        /// Which tier.
        name: &'static str,
        /// The program.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A tier ended at once.
    #[error("the {name} ended at its start ({status}); it said last:\n{log}")]
    Ended {
        /// Which tier.
        name: &'static str,
        /// How.
        status: ExitStatus,
        /// The end of its log.
        log: String,
    },
    /// A tier is not ready in time.
    #[error("the {name} was not ready within {} s; it said last:\n{log}", START_WAIT.as_secs())]
    NotReady {
        /// Which tier.
        name: &'static str,
        /// The end of its log.
        log: String,
    },
    /// The gateway's address is none.
    #[error(transparent)]
    Gateway(#[from] client::Error),
}

/// A worker, a gateway and their NATS servers at work. Dropping them kills the processes; [`BenchTiers::stop`] lets them end.
pub struct BenchTiers {
    // Dropped in this order: the processes go before what they write to.
    gateway: TierProcess,
    worker: TierProcess,
    servers: Vec<TierProcess>,
    client: GatewayClient,
    monitors: Vec<String>,
    nats: NatsConfig,
    _folder: TempDir,
}

impl BenchTiers {
    /// Starts them, and returns when the gateway serves the workflow `echo`.
    pub async fn start(plan: &TiersPlan) -> Result<Self, TiersError> {
        let folder = tempfile::Builder::new().prefix("fastagency-bench-").tempdir().map_err(TiersError::Folder)?;
        let started = start_servers(plan, folder.path()).await?;
        let urls: Vec<String> = started.iter().map(|server| server.url.clone()).collect();
        let url = urls.join(",");
        write_project(folder.path(), &url, plan.replicas).map_err(TiersError::Folder)?;
        let tier = |name, arguments: &[&str]| TierProcess::spawn(name, &plan.program, arguments, folder.path());
        let worker = tier("worker", &["worker"])?;
        let mut gateway = tier("gateway", &["gateway", "--port", "0"])?;
        let address = gateway.ready(|process| process.announced("gateway: ")).await?;
        let client = GatewayClient::new(&address)?;
        let nats = NatsConfig {
            url,
            user: Some(USER.to_owned()),
            password: Some(PASSWORD.into()),
            replicas: plan.replicas,
            ..NatsConfig::default()
        };
        let (servers, monitors) = started.into_iter().map(|server| (server.process, server.monitor)).unzip();
        let mut tiers = Self { gateway, worker, servers, client, monitors, nats, _folder: folder };
        tiers.served().await?;
        Ok(tiers)
    }

    /// Waits until the worker offers its workflow.
    async fn served(&mut self) -> Result<(), TiersError> {
        let begun = Instant::now();
        loop {
            let found = self.client.workflows().await;
            if found.is_ok_and(|workflows| workflows.iter().any(|workflow| workflow.available)) {
                return Ok(());
            }
            self.gateway.is_alive()?;
            self.worker.is_alive()?;
            if begun.elapsed() > START_WAIT {
                return Err(self.worker.not_ready());
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// A client of the gateway.
    pub fn client(&self) -> &GatewayClient {
        &self.client
    }

    /// How to reach the NATS servers.
    pub fn nats(&self) -> &NatsConfig {
        &self.nats
    }

    /// Where the monitoring of each NATS server answers.
    pub fn monitors(&self) -> &[String] {
        &self.monitors
    }

    /// The processes, in the order of the report.
    pub fn processes(&self) -> Vec<WatchedProcess> {
        let many = self.servers.len() > 1;
        let server = |(number, tier): (usize, &TierProcess)| {
            tier.watched(if many { format!("{} {}", tier.name, number + 1) } else { tier.name.to_owned() })
        };
        let servers = self.servers.iter().enumerate().filter_map(server);
        servers
            .chain([&self.worker, &self.gateway].into_iter().filter_map(|tier| tier.watched(tier.name.to_owned())))
            .collect()
    }

    /// Ends them as an operator does: gateway and worker first.
    pub async fn stop(self) {
        let Self { mut gateway, mut worker, mut servers, .. } = self;
        tokio::join!(gateway.end(), worker.end());
        for server in &mut servers {
            server.end().await;
        }
    }
}

/// The project of the tiers: the NATS servers, and the workflow.
fn write_project(folder: &Path, nats_url: &str, replicas: usize) -> io::Result<()> {
    let config = format!(
        "version: 1\nname: bench\nnats: {{ url: '{nats_url}', user: {USER}, password: {PASSWORD}, replicas: {replicas} }}\n"
    );
    std::fs::write(folder.join("fastagency.yaml"), config)?;
    std::fs::create_dir(folder.join("workflows"))?;
    std::fs::write(folder.join("workflows/echo.yaml"), ECHO)
}

/// A NATS server that listens.
struct StartedServer {
    process: TierProcess,
    url: String,
    monitor: String,
}

async fn start_servers(plan: &TiersPlan, folder: &Path) -> Result<Vec<StartedServer>, TiersError> {
    let routes = free_ports(if plan.replicas > 1 { plan.replicas } else { 0 }).map_err(TiersError::Folder)?;
    let mut processes = Vec::new();
    for number in 0..plan.replicas {
        let folder = folder.join(format!("nats-{number}"));
        std::fs::create_dir(&folder).map_err(TiersError::Folder)?;
        std::fs::write(folder.join("nats.conf"), server_settings(number, &routes)).map_err(TiersError::Folder)?;
        let process = TierProcess::spawn("nats-server", &plan.nats_server, &["-c", "nats.conf"], &folder)?;
        processes.push((process, folder));
    }
    let mut servers = Vec::new();
    for (mut process, folder) in processes {
        let (url, monitor) = process.ready(|_| ports(&folder)).await?;
        servers.push(StartedServer { process, url, monitor });
    }
    Ok(servers)
}

/// The settings of one server. It forces to the disk as often as the server that comes with the program (`nats-server.conf`).
fn server_settings(number: usize, routes: &[u16]) -> String {
    let cluster = match routes.get(number) {
        None => String::new(),
        Some(mine) => {
            let others: Vec<String> = routes.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
            format!("cluster {{ name: bench, listen: 127.0.0.1:{mine}, routes: [{}] }}\n", others.join(", "))
        }
    };
    format!(
        "server_name: bench-{number}\nlisten: 127.0.0.1:-1\nhttp: 127.0.0.1:-1\nports_file_dir: \".\"\n\
         authorization {{ user: {USER}, password: {PASSWORD} }}\n\
         jetstream {{ store_dir: \"store\", sync_interval: 1s }}\n{cluster}"
    )
}

/// The addresses that a NATS server has written down: for clients, and of its monitoring.
fn ports(folder: &Path) -> Option<(String, String)> {
    let files = std::fs::read_dir(folder).ok()?.filter_map(Result::ok).map(|entry| entry.path());
    let file = files.into_iter().find(|file| file.extension().is_some_and(|extension| extension == "ports"))?;
    let written: Value = crate::bounds::parse(&std::fs::read(file).ok()?).ok()?;
    let first = |of: &str| written[of][0].as_str().map(str::to_owned);
    Some((first("nats")?, first("monitoring")?))
}

/// Ports that are free now.
fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    // All are held until all are known, so that none comes twice.
    let listeners = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<io::Result<Vec<_>>>()?;
    listeners.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

/// A process of the bench. It is killed when this is dropped.
struct TierProcess {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl TierProcess {
    /// Starts a program in a folder; what it prints goes to a file there.
    fn spawn(name: &'static str, program: &Path, arguments: &[&str], folder: &Path) -> Result<Self, TiersError> {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log).map_err(TiersError::Folder)?;
        let not_started = |source| TiersError::NotStarted { name, program: program.to_owned(), source };
        let mut command = Command::new(program);
        // What the person's own project is told must not reach this one.
        let own =
            std::env::vars_os().map(|(name, _)| name).filter(|name| name.to_string_lossy().starts_with("FASTAGENCY_"));
        own.chain([OsString::from("NATS_URL")]).for_each(|name| {
            command.env_remove(name);
        });
        let child = command
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(file.try_clone().map_err(not_started)?)
            .stderr(file)
            // Ctrl-C is for the bench, which ends its tiers in their order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(not_started)?;
        Ok(Self { name, child, log })
    }

    /// Waits until `look` finds what shows that the process is ready.
    async fn ready<T>(&mut self, look: impl Fn(&Self) -> Option<T>) -> Result<T, TiersError> {
        let begun = Instant::now();
        loop {
            if let Some(found) = look(self) {
                return Ok(found);
            }
            self.is_alive()?;
            if begun.elapsed() > START_WAIT {
                return Err(self.not_ready());
            }
            sleep(LOOK_EVERY).await;
        }
    }

    fn is_alive(&mut self) -> Result<(), TiersError> {
        match self.child.try_wait() {
            Ok(Some(status)) => Err(TiersError::Ended { name: self.name, status, log: self.last_words() }),
            _ => Ok(()),
        }
    }

    /// As one whose processor time is counted, while it runs.
    fn watched(&self, name: String) -> Option<WatchedProcess> {
        Some(WatchedProcess { name, pid: self.child.id()? })
    }

    fn not_ready(&self) -> TiersError {
        TiersError::NotReady { name: self.name, log: self.last_words() }
    }

    /// What follows these words in a whole line of its log.
    fn announced(&self, words: &str) -> Option<String> {
        let log = std::fs::read_to_string(&self.log).ok()?;
        let line = log.lines().find_map(|line| line.strip_prefix(words))?;
        log.contains(&format!("{words}{line}\n")).then(|| line.trim().to_owned())
    }

    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n")
    }

    /// Asks the process to end, and kills it if it does not.
    async fn end(&mut self) {
        #[cfg(unix)]
        if let Some(pid) = self.child.id().and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed())) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            if timeout(END_WAIT, self.child.wait()).await.is_ok() {
                return;
            }
        }
        let _ = self.child.kill().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_that_is_none_is_named_with_its_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let spawn = |program: &str, arguments: &[&str]| {
            TierProcess::spawn("worker", Path::new(program), arguments, folder.path())
        };
        let missing = spawn("/no/such/program", &[]).err().unwrap().to_string();
        assert!(missing.contains("/no/such/program") && missing.contains("worker"), "{missing}");
        let mut ends = spawn("sh", &["-c", "echo 'unknown command'; exit 3"]).unwrap();
        let ended = ends.ready(|_| None::<()>).await.unwrap_err().to_string();
        assert!(ended.contains("exit status: 3") && ended.ends_with("unknown command"), "{ended}");
    }

    #[tokio::test]
    async fn an_address_is_read_when_its_line_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let process = TierProcess::spawn("gateway", Path::new("true"), &[], folder.path()).unwrap();
        std::fs::write(&process.log, "started\ngateway: http://127.0.0.1:80").unwrap();
        assert_eq!(process.announced("gateway: "), None);
        std::fs::write(&process.log, "started\ngateway: http://127.0.0.1:8008\nadmin: /x\n").unwrap();
        assert_eq!(process.announced("gateway: ").as_deref(), Some("http://127.0.0.1:8008"));
    }

    #[test]
    fn servers_of_a_cluster_know_each_other() {
        assert!(!server_settings(0, &[]).contains("cluster"));
        let second = server_settings(1, &[7001, 7002, 7003]);
        assert!(second.contains("listen: 127.0.0.1:7002, routes: [nats://127.0.0.1:7001,"), "{second}");
    }
}
