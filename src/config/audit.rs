//! `audit:`: what proves the logs, and what is not to be seen in them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;

use super::fields::{path, secret, secrets};
use super::shapes::{AUDIT, REDACT};
use crate::redact::Redactor;
use crate::yaml::FieldReader;

/// `audit:`.
#[derive(Debug, Clone)]
pub struct AuditConfig {
    /// What the logs are chained with; none: they are not, but for those of an embedded broker, which makes a key.
    pub key: Option<SecretString>,
    /// What they were chained with before, the newest first: those links still prove something.
    pub previous_keys: Vec<SecretString>,
    /// The folder of the anchors (default: `audit` in the data folder).
    pub anchors: PathBuf,
    /// What is redacted.
    pub redactor: Redactor,
    /// How long it is kept what a removed run was, and who removed it (default a year).
    pub keep_evidence: Duration,
}

/// How long it is kept what a removed run was: a year, as accounts are looked through once a year.
pub const KEEP_EVIDENCE: Duration = Duration::from_secs(365 * 24 * 3600);

impl AuditConfig {
    /// What counts where nothing is configured.
    pub(super) fn default_with(anchors: PathBuf) -> Self {
        Self {
            key: None,
            previous_keys: Vec::new(),
            anchors,
            redactor: Redactor::default(),
            keep_evidence: KEEP_EVIDENCE,
        }
    }
}

pub(super) fn audit(field: &FieldReader<'_>, folder: &Path, anchors: &Path) -> Option<AuditConfig> {
    let fields = field.fields(&AUDIT)?;
    Some(AuditConfig {
        key: secret(&fields, "key"),
        previous_keys: secrets(&fields, "previous_keys"),
        anchors: path(&fields, "anchors", folder).unwrap_or_else(|| anchors.to_owned()),
        redactor: fields.read("redact", redactor).unwrap_or_default(),
        keep_evidence: fields.read("keep_evidence", FieldReader::duration).unwrap_or(KEEP_EVIDENCE),
    })
}

fn redactor(field: &FieldReader<'_>) -> Option<Redactor> {
    let fields = field.fields(&REDACT)?;
    let name = |field: &FieldReader<'_>| field.text().filter(|name| !name.is_empty()).map(str::to_owned);
    let names: Option<Vec<String>> =
        fields.read("fields", |field| Some(field.items()?.iter().filter_map(name).collect()));
    let pattern = |field: &FieldReader<'_>| {
        let text = field.text()?;
        match regex::Regex::new(text) {
            // It would match everywhere.
            Ok(pattern) if pattern.is_match("") => {
                field.note(format!("{text:?} matches where there is nothing"));
                None
            }
            Ok(pattern) => Some(pattern),
            Err(error) => {
                let why = error.to_string().lines().last().unwrap_or_default().to_owned();
                field.note(format!("{text:?} is no regular expression: {why}"));
                None
            }
        }
    };
    let patterns = fields.read("patterns", |field| Some(field.items()?.iter().filter_map(pattern).collect()));
    Some(Redactor::new(&names.unwrap_or_default(), patterns.unwrap_or_default()))
}
