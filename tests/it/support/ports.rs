//! Ports for programs that the tests start.

use std::collections::HashSet;
use std::net::TcpListener;
use std::sync::{LazyLock, Mutex};

/// Where the ports are taken from: below those that a connection going out is given (from 32 768 on Linux, 49 152 elsewhere),
/// so that none of those takes a port between the moment it was found free and the moment its program listens.
const PORTS: std::ops::Range<u16> = 10_000..20_000;

/// A port of a machine that is not there. A proxy on the way may answer for every machine, at the ports of servers.
pub const PORT_ELSEWHERE: u16 = 50_001;

/// The ports that this process was given.
static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);

/// A port that nobody has, that this process was not given before, and that no connection is given meanwhile.
pub fn free_port() -> u16 {
    loop {
        let port = rand::random_range(PORTS);
        if GIVEN.lock().expect("no test panics here").insert(port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
