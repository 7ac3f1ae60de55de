//! What holds across the parts of the program, checked on the real things: one test binary for all of it.

#![expect(clippy::disallowed_methods, reason = "a test waits for the tasks that it starts by itself")]

mod ag2;
mod approvals;
mod audit;
mod auditing;
mod backup;
mod bounds;
mod broken_yaml;
mod broker;
mod chaos;
mod citations;
mod cli;
mod cluster;
mod crash;
mod dependencies;
mod deploys;
mod dialects;
mod digits;
mod doctor;
mod documentation;
mod floors;
mod gateway;
mod hardship;
mod histories;
mod kept;
mod logins;
mod midstream;
mod names;
mod operation;
mod ownership;
mod parked;
mod permissions;
mod poisoned;
mod renewal;
mod replies;
mod rolling;
mod runs;
mod schemas;
mod stalled;
mod support;
mod sweep;
mod talks;
mod tiers;
mod waits;
mod words;
