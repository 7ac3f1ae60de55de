//! Calls whose connection is kept open while a person answers (revisions up to 2025-11-25). They are in this process alone: when it
//! ends, they are lost.

use std::collections::HashMap;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::time::Instant;
use uuid::Uuid;

use super::pending::PendingRequest;
use super::requests::LONGEST_WAIT;
use crate::outside::toolset::ElicitationAnswer;

/// Calls of a worker that wait so.
const MOST_WAITING: usize = 1000;

/// The calls.
#[derive(Debug)]
pub(super) struct WaitingCalls {
    process: String,
    calls: Mutex<HashMap<String, (Instant, WaitingCall)>>,
}

/// A call that waits.
#[derive(Debug)]
pub(super) struct WaitingCall {
    /// Its request.
    pub(super) pending: PendingRequest,
    /// Takes the answer.
    pub(super) reply: oneshot::Sender<ElicitationAnswer>,
}

/// Where to find a call again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct WaitingTicket {
    process: String,
    call: String,
}

impl WaitingCalls {
    pub(super) fn new() -> Self {
        Self { process: Uuid::new_v4().to_string(), calls: Mutex::default() }
    }

    /// Keeps a call; none: there is no room.
    pub(super) fn put(&self, call: WaitingCall) -> Option<WaitingTicket> {
        let mut calls = self.calls.lock();
        // Also of runs that were stopped meanwhile: nobody takes theirs.
        calls.retain(|_, (since, call)| since.elapsed() < LONGEST_WAIT && !call.reply.is_closed());
        if calls.len() >= MOST_WAITING {
            return None;
        }
        let ticket = WaitingTicket { process: self.process.clone(), call: Uuid::new_v4().to_string() };
        calls.insert(ticket.call.clone(), (Instant::now(), call));
        Some(ticket)
    }

    /// A call, if it is here and was not taken before.
    pub(super) fn take(&self, ticket: &WaitingTicket) -> Option<WaitingCall> {
        let is_here = ticket.process == self.process;
        is_here.then(|| self.calls.lock().remove(&ticket.call)).flatten().map(|(_, call)| call)
    }

    /// Lets all of them go.
    pub(super) fn clear(&self) {
        self.calls.lock().clear();
    }
}
