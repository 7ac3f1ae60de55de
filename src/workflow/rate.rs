//! How often a tool may be called: `rate: 10/s`.

use std::fmt;
use std::time::Duration;

use crate::ids::Name;
use crate::yaml::{FieldReader, MapReader};

/// How long a call waits for its turn, where the tool says no `timeout`.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// The words for times.
const WINDOWS: [(&str, Duration); 3] =
    [("s", Duration::from_secs(1)), ("min", Duration::from_secs(60)), ("h", Duration::from_secs(3600))];

/// How often a tool, or all tools of a set together, may be called.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ToolRate {
    /// Whose calls are counted: the workflow, and the name in its `tools`.
    pub tool: (Name, Name),
    /// How many.
    pub calls: u64,
    /// In which time.
    pub window: Duration,
    /// How long a call waits for its turn.
    pub longest_wait: Duration,
}

impl fmt::Display for ToolRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = WINDOWS.iter().find(|(_, window)| *window == self.window).map_or("?", |(word, _)| word);
        write!(f, "{}/{word}", self.calls)
    }
}

/// Reads `rate` of a tool.
pub(super) fn rate(fields: &MapReader<'_>, workflow: &Name, tool: &Name) -> Option<ToolRate> {
    let (calls, window) = fields.read("rate", |field| {
        let text = field.text()?;
        parsed(text).or_else(|| field.is_not("a number of calls and a time: 10/s, 100/min or 1000/h"))
    })?;
    let longest_wait = fields.read("timeout", FieldReader::duration);
    let tool = (workflow.clone(), tool.clone());
    Some(ToolRate { tool, calls, window, longest_wait: longest_wait.unwrap_or(LONGEST_WAIT) })
}

fn parsed(text: &str) -> Option<(u64, Duration)> {
    let (calls, word) = text.trim().split_once('/')?;
    let calls: u64 = calls.trim_end().parse().ok().filter(|calls| *calls > 0)?;
    let (_, window) = WINDOWS.iter().find(|(known, _)| *known == word.trim())?;
    Some((calls, *window))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_and_a_time() {
        let second = Duration::from_secs(1);
        assert_eq!(parsed("10/s"), Some((10, second)));
        assert_eq!(parsed("100 / min"), Some((100, 60 * second)));
        assert_eq!(parsed("1/h"), Some((1, 3600 * second)));
        for wrong in ["", "10", "0/s", "-1/s", "1.5/s", "10/d", "10/", "/s", "s/10", "10/s/s"] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }
}
