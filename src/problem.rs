//! What is wrong where: one look for every mistake in a file that a person wrote. Whoever reads such a file collects all of
//! its problems before giving up; a [`Problems`] is that collection, sorted, and never empty.
//!
//! Written here and not with `miette`: a mistake begins with `file:line:column:`, which editors and CI read, the mistakes of all
//! files are sorted together, and `--json` and the API carry the same fields. What a library would add is the drawing.

use std::fmt;

/// One mistake in one file, with the line that it stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, as a person would name it.
    pub file: String,
    /// The line, from 1; 0: the file as a whole.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The place in the file's structure: `steps[1].chat.max_turns`; empty: none.
    pub path: String,
    /// A sentence without a full stop.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The line itself; none: nothing to show.
    pub source: Option<String>,
    /// How many characters are wrong, at least 1.
    pub width: usize,
}

/// How much of a long line is shown.
const LONGEST_SHOWN: usize = 110;

impl Problem {
    /// A problem of a file as a whole: it is missing, it cannot be read.
    pub fn of_file(file: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            line: 0,
            column: 0,
            path: String::new(),
            message: message.into(),
            hint: None,
            source: None,
            width: 1,
        }
    }

    /// Adds what to do about it.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The last part of the path: what a person calls the thing.
    fn label(&self) -> &str {
        self.path.rsplit('.').next().unwrap_or_default()
    }

    /// Writes it for people; `colour` for a terminal that has it.
    pub fn render(&self, colour: bool) -> String {
        let paint = |code: &str, text: &str| {
            if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
        };
        let place = match self.line {
            0 => self.file.clone(),
            line => format!("{}:{line}:{}", self.file, self.column),
        };
        let label = match self.label() {
            "" => String::new(),
            label => format!("{label}: "),
        };
        let mut text = format!("{} {label}{}\n", paint("1", &format!("{place}:")), paint("31", &self.message));
        if let Some(source) = &self.source {
            let (shown, before) = excerpt(source, self.column);
            let number = self.line.to_string();
            let margin = " ".repeat(number.len());
            let length = shown.chars().count();
            // What is a secret is not shown: the place may lie behind what is.
            let last = if shown.ends_with('…') { length.saturating_sub(1) } else { length };
            let before = before.min(last);
            let room = length.saturating_sub(before).max(1);
            let carets = "^".repeat(self.width.clamp(1, room));
            text += &format!("{margin} |\n{number} | {shown}\n");
            text += &format!("{margin} | {}{}\n", " ".repeat(before), paint("31", &carets));
        }
        if let Some(hint) = &self.hint {
            text += &format!("{} {hint}\n", paint("36", "hint:"));
        }
        text
    }
}

/// The part of a line around a column that is shown, and how many characters of it stand before the column.
fn excerpt(source: &str, column: usize) -> (String, usize) {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let before = column.saturating_sub(1);
    let length = source.trim_end().chars().count();
    let start = if length <= LONGEST_SHOWN || before < LONGEST_SHOWN - 20 { 0 } else { before - 20 };
    let mut shown: String = source.trim_end().chars().skip(start).take(LONGEST_SHOWN).map(plain).collect();
    if start > 0 {
        shown.insert_str(0, "… ");
    }
    if start + LONGEST_SHOWN < length {
        shown.push_str(" …");
    }
    (shown, before - start + if start > 0 { 2 } else { 0 })
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(false).trim_end())
    }
}

/// Everything that is wrong, sorted by file and line; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Sorts them; `None` if there are none.
    pub fn new(mut problems: Vec<Problem>) -> Option<Self> {
        problems.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
        problems.dedup();
        (!problems.is_empty()).then_some(Self(problems))
    }

    /// `Ok` if there are none.
    pub fn refuse(problems: Vec<Problem>) -> Result<(), Self> {
        Self::new(problems).map_or(Ok(()), Err)
    }

    /// Writes all of them for people.
    pub fn render(&self, colour: bool) -> String {
        self.0.iter().map(|problem| problem.render(colour)).collect::<Vec<_>>().join("\n")
    }

    /// All of them.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}
impl IntoIterator for Problems {
    type Item = Problem;
    type IntoIter = std::vec::IntoIter<Problem>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(false).trim_end())
    }
}
impl std::error::Error for Problems {}

/// `did you mean "…"?`, if one of the known words is near to the one that was written.
pub fn did_you_mean<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let lower = written.to_lowercase().replace('-', "_");
    known
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(&lower, &word.to_lowercase().replace('-', "_")), word))
        // A word of which nothing would be left is no proposal.
        .filter(|(distance, word)| *distance < word.chars().count().min(lower.chars().count()))
        .filter(|(distance, word)| *distance <= (word.chars().count().max(lower.chars().count()) / 3).max(1))
        .min()
        .map(|(_, word)| format!("did you mean {word:?}?"))
}

/// An error and its causes in one line. What a cause repeats of the words before it is left out.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !words.contains(&text) {
            words.push_str(": ");
            words.push_str(&text);
        }
        cause = error.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem() -> Problem {
        Problem {
            file: "workflows/lesson.yaml".to_owned(),
            line: 14,
            column: 18,
            path: "steps[1].chat.max_turns".to_owned(),
            message: "\"three\" is not a number".to_owned(),
            hint: Some("write a whole number".to_owned()),
            source: Some("      max_turns: three".to_owned()),
            width: 5,
        }
    }

    #[test]
    fn a_problem_shows_its_line_and_a_caret() {
        let expected = "workflows/lesson.yaml:14:18: max_turns: \"three\" is not a number\n   |\n14 |       max_turns: three\n   \
                        |                  ^^^^^\nhint: write a whole number";
        assert_eq!(problem().to_string(), expected);
        assert!(problem().render(true).contains("\x1b[31m^^^^^\x1b[0m"));
    }

    #[test]
    fn a_long_line_is_cut_around_the_column() {
        let source = format!("{}three{}", "x".repeat(300), "y".repeat(300));
        let text = Problem { source: Some(source), column: 301, ..problem() }.to_string();
        assert!(text.lines().all(|line| line.chars().count() < 130), "{text}");
        let caret = text.lines().nth(3).unwrap().find('^').unwrap();
        let line: Vec<char> = text.lines().nth(2).unwrap().chars().collect();
        assert_eq!(line[caret..caret + 5].iter().collect::<String>(), "three");
    }

    #[test]
    fn a_place_that_is_not_shown_is_marked_at_the_end_of_what_is() {
        let source = "  password: …".to_owned();
        let text = Problem { source: Some(source.clone()), column: 40, width: 9, ..problem() }.to_string();
        let marks = text.lines().nth(3).unwrap().trim_start_matches("   | ");
        assert_eq!(marks, " ".repeat(source.chars().count() - 1) + "^");
    }

    #[test]
    fn the_nearest_known_word_is_proposed() {
        let known = ["max_turns", "message", "recipient"];
        assert_eq!(did_you_mean("max_turn", known).unwrap(), "did you mean \"max_turns\"?");
        assert_eq!(did_you_mean("maxTurns", known).unwrap(), "did you mean \"max_turns\"?");
        assert_eq!(did_you_mean("colour", known), None);
    }

    #[test]
    fn problems_are_sorted_and_never_empty() {
        assert!(Problems::new(vec![]).is_none());
        let later = Problem { line: 20, ..problem() };
        let problems = Problems::new(vec![later, problem(), problem()]).unwrap();
        assert_eq!(problems.iter().map(|p| p.line).collect::<Vec<_>>(), [14, 20]);
    }
}
