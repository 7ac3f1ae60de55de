//! What servers ask people (elicitation), and what people answer, as the protocol writes both.

use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::bounds::{OUTSIDE, check_value};
use crate::outside::hidden::HiddenTexts;
use crate::outside::toolset::ElicitationAnswer;

/// The request that asks a person.
pub(super) const ELICITATION: &str = "elicitation/create";
/// The longest question, in bytes.
const LONGEST_QUESTION: usize = 16 << 10;
/// Questions of one round, at most.
const MOST_QUESTIONS: usize = 20;

/// What a server asks a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ServerQuestion {
    /// Its words; of a question that is answered elsewhere, with the address.
    pub(super) message: String,
    /// The form.
    pub(super) schema: Value,
    /// Whether it is answered at an address, so that nothing is filled in here.
    is_elsewhere: bool,
}

/// The questions of one round: asked one after the other, and answered together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct OpenQuestions {
    /// Those that were not asked yet, each with its key; the first one is.
    left: Vec<(String, ServerQuestion)>,
    /// The answers so far, by key.
    answers: Map<String, Value>,
}

impl ServerQuestion {
    /// Reads the params of a request. The words are without secrets before they are cut: what a cut leaves of one would be found by nobody.
    pub(super) fn read(params: &Value, hidden: &HiddenTexts) -> Result<Self, String> {
        let message = hidden.hidden(params["message"].as_str().unwrap_or_default());
        let message = &message[..message.floor_char_boundary(LONGEST_QUESTION)];
        if params["mode"].as_str() == Some("url") {
            let address = params["url"].as_str().and_then(|url| Url::parse(url).ok());
            let address = address.filter(|url| matches!(url.scheme(), "http" | "https") && url.as_str().len() <= 2048);
            let address = address.ok_or("it asks for an address that cannot be opened")?;
            let schema = json!({"type": "object", "properties": {}});
            return Ok(Self { message: format!("{message}\n{address}"), schema, is_elsewhere: true });
        }
        let schema = &params["requestedSchema"];
        if schema["type"] != "object" || check_value(schema, &OUTSIDE).is_err() {
            return Err("it asks with a form that is no object".to_owned());
        }
        Ok(Self { message: message.to_owned(), schema: schema.clone(), is_elsewhere: false })
    }

    /// An answer as the protocol writes it.
    pub(super) fn answer_json(&self, answer: &ElicitationAnswer) -> Value {
        match answer {
            ElicitationAnswer::Accept { .. } if self.is_elsewhere => json!({"action": "accept"}),
            ElicitationAnswer::Accept { content } => json!({"action": "accept", "content": content}),
            ElicitationAnswer::Decline => json!({"action": "decline"}),
            ElicitationAnswer::Cancel => json!({"action": "cancel"}),
        }
    }
}

impl OpenQuestions {
    /// Reads the `inputRequests` of a result, but for those whose keys are answered already.
    pub(super) fn read(requests: &Value, answered: &[String], hidden: &HiddenTexts) -> Result<Self, String> {
        let requests = requests.as_object().into_iter().flatten();
        let mut left = Vec::new();
        for (key, request) in requests.filter(|(key, _)| !answered.contains(key)) {
            let method = request["method"].as_str().unwrap_or_default();
            if method != ELICITATION {
                return Err(format!("it asks for {method}, which this client does not offer"));
            }
            left.push((key.clone(), ServerQuestion::read(&request["params"], hidden)?));
        }
        if left.len() > MOST_QUESTIONS {
            return Err(format!("it asks more than {MOST_QUESTIONS} questions at once"));
        }
        Ok(Self { left, answers: Map::new() })
    }

    /// The addresses of an error that says where a person has to go first (2025-11-25).
    pub(super) fn of_addresses(elicitations: &Value, hidden: &HiddenTexts) -> Result<Self, String> {
        let each = elicitations.as_array().into_iter().flatten().take(MOST_QUESTIONS).enumerate();
        let left = each.map(|(index, params)| Ok((index.to_string(), ServerQuestion::read(params, hidden)?)));
        Ok(Self { left: left.collect::<Result<_, String>>()?, answers: Map::new() })
    }

    /// What is asked now; none: all is answered.
    pub(super) fn next(&self) -> Option<&ServerQuestion> {
        self.left.first().map(|(_, question)| question)
    }

    /// Notes the answer to what was asked.
    pub(super) fn answer(&mut self, answer: &ElicitationAnswer) {
        if !self.left.is_empty() {
            let (key, question) = self.left.remove(0);
            self.answers.insert(key, question.answer_json(answer));
        }
    }

    /// The answers by key, when there are some.
    pub(super) fn answers(&self) -> &Map<String, Value> {
        &self.answers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_asked_in_turn_and_answered_together() {
        let form = json!({"type": "object", "properties": {"name": {"type": "string"}}});
        let requests = json!({
            "a": {"method": ELICITATION, "params": {"message": "Who?", "requestedSchema": form}},
            "b": {"method": ELICITATION, "params": {"mode": "url", "message": "Sign in", "url": "https://id.example/x"}},
            "c": {"method": ELICITATION, "params": {"message": "Again?", "requestedSchema": form}},
        });
        let mut open = OpenQuestions::read(&requests, &["c".to_owned()], &HiddenTexts::default()).unwrap();
        assert_eq!(open.next().unwrap().message, "Who?");
        open.answer(&ElicitationAnswer::Accept { content: json!({"name": "Ada"}) });
        assert_eq!(open.next().unwrap().message, "Sign in\nhttps://id.example/x");
        let open: OpenQuestions = crate::bounds::from_value(serde_json::to_value(&open).unwrap()).unwrap();
        let mut open = open;
        open.answer(&ElicitationAnswer::Accept { content: json!({}) });
        assert_eq!(open.next(), None);
        let answers = json!({"a": {"action": "accept", "content": {"name": "Ada"}}, "b": {"action": "accept"}});
        assert_eq!(Value::Object(open.answers().clone()), answers);
    }

    #[test]
    fn what_cannot_be_asked_is_said() {
        let read = |params: Value| ServerQuestion::read(&params, &HiddenTexts::default()).unwrap_err();
        assert!(
            read(json!({"mode": "url", "message": "x", "url": "javascript:alert(1)"})).contains("cannot be opened")
        );
        assert!(read(json!({"message": "x"})).contains("no object"));
        let sampling = json!({"a": {"method": "sampling/createMessage", "params": {}}});
        let refused = OpenQuestions::read(&sampling, &[], &HiddenTexts::default()).unwrap_err();
        assert!(refused.contains("sampling/createMessage"));
    }

    #[test]
    fn a_question_is_cut_where_its_secrets_are_hidden_already() {
        let hidden = HiddenTexts::default();
        hidden.add("key", "sesame-0815");
        let message = format!("{}sesame-0815", "x".repeat(LONGEST_QUESTION - 5));
        let params = json!({"message": message, "requestedSchema": {"type": "object"}});
        let question = ServerQuestion::read(&params, &hidden).unwrap();
        assert!(question.message.len() == LONGEST_QUESTION && question.message.ends_with("x[secr"));
    }
}
