//! Answers that were given beforehand (`--answer`): each is used once.

use crate::client::event::ClientMessage;
use crate::ids::MessageId;

/// The answers that are left.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PreparedAnswers(Vec<PreparedAnswer>);

#[derive(Debug, Clone, PartialEq)]
struct PreparedAnswer {
    wanted: QuestionSelector,
    answer: String,
    typed: String,
}

/// Which question an answer is for.
#[derive(Debug, Clone, PartialEq)]
enum QuestionSelector {
    /// The one with this id.
    Id(MessageId),
    /// The one with this number in its run, from 1.
    Number(usize),
    /// The first one whose prompt begins so, whatever the case.
    Prompt(String),
    /// The next one that no other answer is for.
    Next,
}

impl PreparedAnswers {
    /// Reads answers as they were typed: `2=text` (the second question of the run), `<message id>=text`, `What is your=text`
    /// (a question that begins so), `text` or `=text` (the next question; the latter if the text has a `=` in it).
    pub fn parse(typed: &[String]) -> Self {
        Self(typed.iter().map(|typed| one(typed)).collect())
    }

    /// The answer to a question, if one was given: the most particular one.
    pub fn take(&mut self, number: usize, question: &ClientMessage) -> Option<String> {
        let prompt = question.says.prompt().unwrap_or_default().trim_start().to_lowercase();
        let fits: [&dyn Fn(&QuestionSelector) -> bool; 4] = [
            &|wanted| matches!(wanted, QuestionSelector::Id(id) if *id == question.uuid),
            &|wanted| *wanted == QuestionSelector::Number(number),
            &|wanted| matches!(wanted, QuestionSelector::Prompt(begin) if prompt.starts_with(begin.as_str())),
            &|wanted| *wanted == QuestionSelector::Next,
        ];
        let at = fits.iter().find_map(|fits| self.0.iter().position(|one| fits(&one.wanted)))?;
        Some(self.0.remove(at).answer)
    }

    /// What no question has taken, as it was typed.
    pub fn unused(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|one| one.typed.as_str())
    }
}

fn one(typed: &str) -> PreparedAnswer {
    let Some((wanted, answer)) = typed.split_once('=') else {
        return PreparedAnswer { wanted: QuestionSelector::Next, answer: typed.to_owned(), typed: typed.to_owned() };
    };
    let wanted = wanted.trim();
    let wanted = if wanted.is_empty() {
        QuestionSelector::Next
    } else if let Ok(number) = wanted.parse() {
        QuestionSelector::Number(number)
    } else if let Ok(id) = MessageId::parse(wanted) {
        QuestionSelector::Id(id)
    } else {
        QuestionSelector::Prompt(wanted.to_lowercase())
    };
    PreparedAnswer { wanted, answer: answer.to_owned(), typed: typed.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{MessageContent, TextInput};

    fn question(digit: char, prompt: &str) -> ClientMessage {
        ClientMessage {
            uuid: MessageId::parse(&digit.to_string().repeat(32)).unwrap(),
            sender: None,
            recipient: None,
            says: MessageContent::TextInput(TextInput { prompt: Some(prompt.into()), ..TextInput::default() }),
            waits_for: None,
        }
    }

    #[test]
    fn an_answer_finds_its_question_and_is_used_once() {
        let id = "b".repeat(32);
        let typed = ["first", "2=second", "what is your=x=y", "=a=b", &format!("{id}=by id")].map(str::to_owned);
        let mut given = PreparedAnswers::parse(&typed);
        let mut take = |number, question: &ClientMessage| given.take(number, question);
        assert_eq!(take(7, &question('b', "What is your name?")).as_deref(), Some("by id"));
        assert_eq!(take(2, &question('c', "What is your name?")).as_deref(), Some("second"));
        assert_eq!(take(3, &question('d', "What is your name?")).as_deref(), Some("x=y"));
        assert_eq!(take(4, &question('d', "What is your name?")).as_deref(), Some("first"));
        assert_eq!(take(5, &question('d', "And then?")).as_deref(), Some("a=b"));
        assert_eq!(take(6, &question('d', "And then?")), None);
        assert_eq!(given.unused().count(), 0);
        let mut given = PreparedAnswers::parse(&["other=x".to_owned()]);
        assert_eq!(given.take(1, &question('d', "And then?")), None);
        assert_eq!(given.unused().collect::<Vec<_>>(), ["other=x"]);
    }
}
