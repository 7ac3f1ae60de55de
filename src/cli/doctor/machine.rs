//! This machine: the data folder, the disk, and the ports.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use super::DoctorFindings;
use crate::auth::RequestFilter;
use crate::config::Config;
use crate::problem::Problem;

/// Less room than this is soon used up.
const LITTLE_ROOM: u64 = 1 << 30;
/// How long a port of this machine may take to answer.
const PORT_TIMEOUT: Duration = Duration::from_millis(500);

pub(super) fn look(config: &Config, findings: &mut DoctorFindings) {
    data_folder(&config.data_dir, findings);
    for (tier, host, port) in
        [("gateway", config.gateway.host, config.gateway.port), ("ui", config.ui.host, config.ui.port)]
    {
        port_of(tier, host, port, findings);
        reach(config, tier, SocketAddr::new(host, port), findings);
    }
    if let Some(listen) = config.metrics.listen {
        port_of("metrics", listen.ip(), listen.port(), findings);
    }
}

/// What the configuration names and this machine does not have.
pub(super) fn absent<'p>(problems: impl Iterator<Item = &'p Problem>, findings: &mut DoctorFindings) {
    for problem in problems {
        let topic = match problem.path.split('.').next() {
            Some("python") => "python",
            Some("secrets") => "secrets",
            _ => "tools",
        };
        let todo =
            "install it here, or correct its name; where no worker runs on this machine, run doctor on the worker's";
        findings.fail(topic, format!("{}: {}", problem.path, problem.message), todo);
    }
}

/// Whether other machines reach a tier that asks no one who calls.
fn reach(config: &Config, tier: &str, address: SocketAddr, findings: &mut DoctorFindings) {
    const TOPIC: &str = "auth";
    let filter = RequestFilter::new(&config.auth, config.ui.public_url.as_deref());
    let todo = "set another auth.mode (basic, oidc, …), or listen on 127.0.0.1";
    if let Err(error) = filter.check_listener(address) {
        findings.fail(TOPIC, format!("{tier} will not start: {error}"), format!("{todo}; auth.open: true allows it"));
    } else if filter.is_open_at(address) {
        let found =
            format!("auth.open is true and auth.mode is none: everyone who reaches the {tier} at {address} can use it");
        findings.warn(TOPIC, found, todo);
    }
}

fn data_folder(folder: &Path, findings: &mut DoctorFindings) {
    const TOPIC: &str = "data";
    let shown = folder.display();
    // Only `all` keeps anything here: one that is not there is none that is missing.
    let there = if folder.exists() {
        folder
    } else {
        folder.parent().filter(|up| !up.as_os_str().is_empty()).unwrap_or(Path::new("."))
    };
    if folder.exists() {
        match tempfile_in(folder) {
            Ok(()) => findings.ok(TOPIC, format!("{shown} can be written")),
            Err(error) => findings.fail(
                TOPIC,
                format!("{shown} cannot be written: {error}"),
                "give the folder to the user that runs fastagency, or name another one as data_dir",
            ),
        }
        open_to_others(folder, findings);
    }
    #[cfg(unix)]
    if let Ok(space) = rustix::fs::statvfs(there) {
        let free = space.f_bavail.saturating_mul(space.f_frsize);
        let room = format!("{:.1} GB are free for {shown}", free as f64 / 1e9);
        if free < LITTLE_ROOM {
            findings.warn(TOPIC, room, "make room: a full disk stops every run, and loses none");
        } else {
            findings.ok(TOPIC, room);
        }
    }
    let _ = there;
}

/// Writes a file and takes it away again.
fn tempfile_in(folder: &Path) -> std::io::Result<()> {
    let path = folder.join(format!(".doctor-{}", std::process::id()));
    std::fs::OpenOptions::new().write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)
}

#[cfg(unix)]
fn open_to_others(folder: &Path, findings: &mut DoctorFindings) {
    use std::os::unix::fs::PermissionsExt;
    let key = crate::cli::project::seal_key_file(folder);
    if let Ok(about) = std::fs::metadata(&key)
        && about.permissions().mode() & 0o077 != 0
    {
        let found = format!("others on this machine can read {}, which seals passwords", key.display());
        findings.fail("data", found, format!("chmod 600 {}", key.display()));
    }
}

#[cfg(not(unix))]
fn open_to_others(_: &Path, _: &mut DoctorFindings) {}

/// Whether a tier can listen, or does so already.
fn port_of(tier: &str, host: IpAddr, port: u16, findings: &mut DoctorFindings) {
    const TOPIC: &str = "ports";
    let address = SocketAddr::new(host, port);
    let near =
        if host.is_unspecified() { SocketAddr::new(std::net::Ipv4Addr::LOCALHOST.into(), port) } else { address };
    if TcpStream::connect_timeout(&near, PORT_TIMEOUT).is_ok() {
        // Who it is that answers is found out by `tiers`.
        return findings.ok(TOPIC, format!("{tier}: somebody answers at {address}"));
    }
    match TcpListener::bind(address) {
        Ok(_) => findings.ok(TOPIC, format!("{tier}: {address} is free")),
        Err(error) => findings.fail(
            TOPIC,
            format!("{tier}: nobody can listen at {address}: {error}"),
            format!("name an address of this machine and a port that is free (`{tier}:` in the configuration)"),
        ),
    }
}
