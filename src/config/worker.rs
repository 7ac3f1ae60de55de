//! `worker:`: the tier that executes runs.

use std::time::Duration;

use secrecy::SecretString;

use super::fields::{definition_keys, long_secret};
use super::shapes::WORKER;
use crate::signing::PublicKey;
use crate::yaml::FieldReader;

/// `worker:`.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// Runs in memory at once, at most (default 10 000).
    pub max_runs: usize,
    /// What the log of one run may hold, in bytes (default 64 MiB); none: no limit.
    pub max_run_bytes: Option<u64>,
    /// How long a run that only waits is kept in memory (default 60 s).
    pub park_after: Duration,
    /// How long a worker that says nothing is believed to live (default 10 s).
    pub lease: Duration,
    /// The gateways without whose word nothing is done in anybody's name; none: whoever can write to the broker is believed.
    pub trusted_gateways: Vec<PublicKey>,
    /// The key that it signs with for the runs that workflows start; none: it does not.
    pub signing_key: Option<SecretString>,
    /// What it signs the workflows with that it announces; none: nothing is signed.
    pub definition_key: Option<SecretString>,
    /// The workers whose workflows are executed; none: those that anybody announces.
    pub trusted_definition_keys: Vec<PublicKey>,
}

/// What the log of one run may hold unless it is said.
const MAX_RUN_BYTES: u64 = 64 << 20;

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            max_runs: 10_000,
            max_run_bytes: Some(MAX_RUN_BYTES),
            park_after: Duration::from_secs(60),
            lease: Duration::from_secs(10),
            trusted_gateways: Vec::new(),
            signing_key: None,
            definition_key: None,
            trusted_definition_keys: Vec::new(),
        }
    }
}

pub(super) fn worker(field: &FieldReader<'_>) -> Option<WorkerConfig> {
    let fields = field.fields(&WORKER)?;
    let lease = fields.read("lease", |field| {
        let lease = field.duration()?;
        if lease < Duration::from_secs(1) { field.is_not("at least a second") } else { Some(lease) }
    });
    Some(WorkerConfig {
        max_runs: fields.read("max_runs", |field| field.whole(1)).unwrap_or(10_000),
        max_run_bytes: Some(fields.read("max_run_bytes", FieldReader::size).unwrap_or(MAX_RUN_BYTES))
            .filter(|most| *most > 0),
        park_after: fields.read("park_after", FieldReader::duration).unwrap_or(Duration::from_secs(60)),
        lease: lease.unwrap_or(Duration::from_secs(10)),
        trusted_gateways: fields.read("trusted_gateways", public_keys).unwrap_or_default(),
        signing_key: long_secret(&fields, "signing_key"),
        definition_key: long_secret(&fields, "definition_key"),
        trusted_definition_keys: fields.read("trusted_definition_keys", definition_keys).unwrap_or_default(),
    })
}

/// The keys of gateways: one at least, as none would mean that everybody is believed.
fn public_keys(field: &FieldReader<'_>) -> Option<Vec<PublicKey>> {
    let key = |field: &FieldReader<'_>| match PublicKey::parse(field.text()?) {
        Some(key) => Some(key),
        None => field.is_not("the public key of a gateway: one with a `signing_key` says it when it starts"),
    };
    let items = field.items()?;
    if items.is_empty() {
        return field.is_not(
            "a list of public keys of gateways; leave it out to trust every process that can write to the broker",
        );
    }
    items.iter().map(key).collect()
}
