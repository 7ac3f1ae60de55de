//! What is found in a project where its files are compared.

use crate::problem::Problem;

/// What is found in a part of a project.
#[derive(Debug, Default)]
pub(super) struct ProjectFindings {
    /// What is wrong.
    pub(super) problems: Vec<Problem>,
    /// What is not wrong, and most likely not meant, or wrong on this machine alone.
    pub(super) warnings: Vec<Problem>,
}

impl ProjectFindings {
    /// Takes over what was found elsewhere.
    pub(super) fn add(&mut self, other: Self) {
        self.problems.extend(other.problems);
        self.warnings.extend(other.warnings);
    }
}
