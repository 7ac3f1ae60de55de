//! Replies made up from the request: the same request, the same reply. They are for looking at a workflow before there is a
//! key, and for load. Each says that it is mock. Tools that are offered are called, one after the other and each once, with
//! arguments that fit their schemas: tools are real even when models are not, and what they do is to be seen.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::content::{shortened, text_of};
use super::sample::sample;
use crate::protocol::dialogue::{ChatMessage, ChatRole, FunctionCall, ModelRequest, ToolCall};

/// How the functions are named by which an agent of a group hands over.
const HANDS_OVER: &str = "transfer_to_";
/// After so many replies a conversation has been seen, and an agent that was told how to end it ends it.
const ENDS_WITH_REPLY: usize = 3;

/// How many messages the asked agent has sent in answer.
pub(super) fn replies_so_far(messages: &[Arc<ChatMessage>]) -> usize {
    let answered = messages.iter().skip_while(|message| matches!(message.role, ChatRole::System | ChatRole::Assistant));
    answered.filter(|message| message.role == ChatRole::Assistant).count()
}

/// The call that is made instead of a reply: of the first tool that was not called yet, unless results are to be talked about
/// first, or the conversation as a whole is asked about.
pub(super) fn call(request: &ModelRequest) -> Option<ToolCall> {
    if request.messages.last().is_none_or(|last| matches!(last.role, ChatRole::Tool | ChatRole::System)) {
        return None;
    }
    let calls = request.messages.iter().flat_map(|message| &message.tool_calls);
    let called: Vec<&str> = calls.map(|call| call.function.name.as_str()).collect();
    let functions = request.tools.iter().filter_map(|tool| tool.get("function"));
    let functions = || functions.clone().filter_map(|function| Some((function.get("name")?.as_str()?, function)));
    let (name, function) = functions()
        .find(|(name, _)| !called.contains(name) && !name.starts_with(HANDS_OVER))
        .or_else(|| handover(request, functions().filter(|(name, _)| name.starts_with(HANDS_OVER))))?;
    let arguments = function.get("parameters").map_or_else(|| json!({}), |schema| arguments(schema, &request.messages));
    let turn = replies_so_far(&request.messages) + 1;
    Some(ToolCall {
        id: format!("call_mock_{turn}_{name}"),
        kind: "function".to_owned(),
        function: FunctionCall { name: name.to_owned(), arguments: arguments.to_string() },
        extra_content: None,
    })
}

/// To whom an agent of a group hands over: whom the last message names, so that a person can go to each of them, else the
/// first who has not spoken. After some replies an agent stays: a group does not show who has handed over already, and would
/// never end.
fn handover<'r>(
    request: &ModelRequest,
    offered: impl Iterator<Item = (&'r str, &'r Value)> + Clone,
) -> Option<(&'r str, &'r Value)> {
    if replies_so_far(&request.messages) >= ENDS_WITH_REPLY {
        return None;
    }
    let last = request.messages.last()?;
    let said = text(last).to_lowercase().replace('_', " ");
    let has_spoken = |target: &str| request.messages.iter().any(|message| message.name.as_deref() == Some(target));
    let named = |target: &str| said.contains(&target.to_lowercase().replace('_', " "));
    let is_last = |target: &str| last.name.as_deref() == Some(target);
    let mut named_ones = offered.clone().filter(|(name, _)| named(target_of(name)) && !is_last(target_of(name)));
    named_ones.next().or_else(|| offered.clone().find(|(name, _)| !has_spoken(target_of(name))))
}

/// `transfer_to_billing_1` hands over to `billing`.
fn target_of(function: &str) -> &str {
    let target = function.strip_prefix(HANDS_OVER).unwrap_or(function);
    match target.rsplit_once('_') {
        Some((target, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => target,
        _ => target,
    }
}

/// Arguments that fit a schema. A plain text whose description has an example is what the conversation says last in that form, else
/// the example; another says what it stands for.
fn arguments(schema: &Value, messages: &[Arc<ChatMessage>]) -> Value {
    let mut arguments = sample(schema);
    let properties = schema.get("properties").and_then(Value::as_object);
    let none = Map::new();
    for (name, value) in arguments.as_object_mut().into_iter().flatten() {
        let property = properties.unwrap_or(&none).get(name).and_then(Value::as_object).unwrap_or(&none);
        let is_plain = property.keys().all(|key| matches!(key.as_str(), "type" | "description" | "title"));
        if is_plain && property.get("type") == Some(&json!("string")) {
            let about = property.get("description").and_then(Value::as_str).unwrap_or(name);
            *value = match example_in(about) {
                Some(example) => json!(said_in_the_form_of(example, messages).unwrap_or_else(|| example.to_owned())),
                None => json!(format!("[mock] {}", shortened(about, 80))),
            };
        }
    }
    arguments
}

/// What comes before an example in a description.
const BEFORE_AN_EXAMPLE: [&str; 4] = ["like ", "e.g. ", "for example ", "such as "];

/// The example in a description: `INV-1001` of "The number, like INV-1001". Words alone are none: "like the others".
fn example_in(description: &str) -> Option<&str> {
    let after = BEFORE_AN_EXAMPLE.iter().filter_map(|lead| description.split_once(lead));
    let words = after.filter_map(|(_, rest)| rest.split_whitespace().next()).map(bare);
    words.into_iter().find(|word| word.bytes().any(|byte| byte.is_ascii_digit()))
}

/// A word without the brackets, quotes and marks that stand around it in a sentence.
fn bare(word: &str) -> &str {
    const AROUND: &str = "()[]{}<>\"'`“”‘’„,;:.!?";
    word.trim_matches(|c: char| AROUND.contains(c))
}

/// The word that people said last which has letters, digits and marks where an example has them.
fn said_in_the_form_of(example: &str, messages: &[Arc<ChatMessage>]) -> Option<String> {
    let form = |word: &str| -> Vec<char> {
        let kinds = word.chars().map(|c| {
            if c.is_numeric() {
                '0'
            } else if c.is_alphabetic() {
                'a'
            } else {
                c
            }
        });
        let mut kinds: Vec<char> = kinds.collect();
        // A number may be longer.
        kinds.dedup();
        kinds
    };
    let said = messages.iter().rev().filter(|message| message.role == ChatRole::User);
    said.map(|message| text(message)).find_map(|text| {
        let mut words = text.split_whitespace().map(bare);
        words.rfind(|word| form(word) == form(example)).map(str::to_owned)
    })
}

/// The text of the reply to a request.
pub(super) fn reply(request: &ModelRequest) -> String {
    if let Some(format) = &request.response_format {
        return form(format);
    }
    let first_system = request
        .messages
        .iter()
        .find(|message| message.role == ChatRole::System)
        .map(|message| text(message))
        .unwrap_or_default();
    let conversation: Vec<&ChatMessage> =
        request.messages.iter().map(AsRef::as_ref).filter(|message| message.role != ChatRole::System).collect();
    let topic = topic(&conversation);
    // What is asked of the conversation as a whole comes as a system message at its end.
    if let Some(last) =
        request.messages.last().filter(|message| message.role == ChatRole::System).map(|message| text(message))
        && !conversation.is_empty()
    {
        if let Some(speaker) = next_speaker(&last, &conversation) {
            return speaker;
        }
        let lower = last.to_lowercase();
        if lower.contains("summar") || lower.contains("takeaway") {
            return summary(&topic, &conversation);
        }
    }

    let turn = replies_so_far(&request.messages) + 1;
    let may_end = first_system.contains("TERMINATE");
    // Exactly this word: some rules want it alone.
    if may_end && turn > ENDS_WITH_REPLY {
        return "TERMINATE".to_owned();
    }
    let said = conversation.last().map(|message| essence(&text(message), 80)).unwrap_or_default();
    let replies = MockPersona::of(&first_system).replies();
    let words = replies[(turn - 1) % replies.len()].replace("{topic}", &topic).replace("{said}", &said);
    let end = if may_end && turn == ENDS_WITH_REPLY { "\n\nThat is all from me. TERMINATE" } else { "" };
    format!("[mock reply {turn}] {words}{end}")
}

fn text(message: &ChatMessage) -> String {
    text_of(&message.content).unwrap_or_default()
}

/// A form filled in: for a schema a value that fits it, otherwise any object.
fn form(format: &Value) -> String {
    let schema = format.pointer("/json_schema/schema");
    let value = schema.map_or_else(|| json!({ "mock": true }), sample);
    value.to_string()
}

fn summary(topic: &str, conversation: &[&ChatMessage]) -> String {
    let mut names: Vec<&str> = conversation.iter().filter_map(|message| message.name.as_deref()).collect();
    names.sort_unstable();
    names.dedup();
    let who = if names.is_empty() { "The agents".to_owned() } else { names.join(" and ") };
    let count = conversation.len();
    format!(
        "[mock summary] {who} talked about **{topic}** in {count} messages. A real model would say here what is to be kept of it."
    )
}

/// The name that a group's manager gets: of those it may choose, the one who has been silent longest.
fn next_speaker(question: &str, conversation: &[&ChatMessage]) -> Option<String> {
    let (_, names) =
        question.split_once("elect the next role from [").or_else(|| question.split_once("accepted are ["))?;
    let (names, _) = names.split_once(']')?;
    let names = names.split(',').map(|name| name.trim().trim_matches(['\'', '"']));
    let last_said = |name: &str| conversation.iter().rposition(|message| message.name.as_deref() == Some(name));
    names.min_by_key(|name| last_said(name)).map(str::to_owned)
}

/// Ways in which people begin to say what they want, which are no part of it.
const LEADS: [&str; 26] = [
    "please",
    "can you",
    "could you",
    "i would like to",
    "i'd like to",
    "i want to",
    "let's",
    "let us",
    "help me",
    "learn about",
    "learn",
    "talk about",
    "teach me about",
    "teach me",
    "tell me about",
    "tell me",
    "explain",
    "write about",
    "write",
    "what is",
    "what are",
    "how does",
    "understand",
    "about",
    "to me",
    "the topic of",
];

/// What the conversation is about, in a few words.
fn topic(conversation: &[&ChatMessage]) -> String {
    let opening = conversation.first().map(|message| text(message)).unwrap_or_default();
    let opening = essence(&opening, 200);
    let sentence = opening.split(['?', '!', ';']).next().unwrap_or_default();
    let mut rest = sentence.split(". ").next().unwrap_or_default().trim().trim_end_matches('.');
    while let Some(shorter) = LEADS.iter().find_map(|lead| without(rest, lead)) {
        rest = shorter;
    }
    if rest.is_empty() { "this".to_owned() } else { shortened(rest, 60) }
}

/// The text without a lead that it begins with, as whole words and in any case; not if nothing else would be left.
fn without<'t>(text: &'t str, lead: &str) -> Option<&'t str> {
    let rest = text.get(lead.len()..).filter(|_| text[..lead.len()].eq_ignore_ascii_case(lead))?;
    let rest = rest.strip_prefix([' ', ',', ':'])?.trim();
    (!rest.is_empty()).then_some(rest)
}

/// The first line of a text without marks of markdown, so that it can stand anywhere in ours.
fn essence(text: &str, most: usize) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let line = match line.strip_prefix("[mock").and_then(|rest| rest.split_once(']')) {
        Some((_, words)) => words,
        None => line,
    };
    shortened(&line.replace(['*', '_', '`', '#', '|', '<', '>', '[', ']', '{', '}'], ""), most)
}

/// How an agent talks, by what its system message says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MockPersona {
    Teacher,
    Student,
    Critic,
    Coder,
    Planner,
    Writer,
    Anybody,
}

impl MockPersona {
    /// What follows "You are" tells most; then the whole text.
    fn of(system: &str) -> Self {
        let system = system.to_lowercase();
        let role =
            system.split_once("you are ").map_or("", |(_, role)| role.split(['.', ',', '\n']).next().unwrap_or(""));
        Self::named_in(role).or_else(|| Self::named_in(&system)).unwrap_or(Self::Anybody)
    }

    fn named_in(text: &str) -> Option<Self> {
        let manners: [(Self, &[&str]); 6] = [
            (Self::Student, &["student", "learner", "pupil", "willing to learn"]),
            (Self::Teacher, &["teach", "tutor", "professor", "instructor"]),
            (Self::Critic, &["critic", "review", "editor", "evaluat", "check"]),
            (Self::Coder, &["programmer", "developer", "engineer", "coder", "code"]),
            (Self::Planner, &["plan", "manager", "coordinat", "organi"]),
            (Self::Writer, &["writ", "author", "poet", "journalist"]),
        ];
        manners.into_iter().find(|(_, words)| words.iter().any(|word| text.contains(word))).map(|(manner, _)| manner)
    }

    /// What it says, turn by turn, over and over.
    fn replies(self) -> &'static [&'static str] {
        match self {
            Self::Teacher => &TEACHER,
            Self::Student => &STUDENT,
            Self::Critic => &CRITIC,
            Self::Coder => &CODER,
            Self::Planner => &PLANNER,
            Self::Writer => &WRITER,
            Self::Anybody => &ANYBODY,
        }
    }
}

const TEACHER: [&str; 4] = [
    "Let us look at **{topic}** in three steps:\n\n1. what the words mean,\n2. one example,\n3. one exercise for you.\n\nWhere shall we begin?",
    "Good question. This is how the parts of **{topic}** belong together:\n\n| Part | What to remember |\n| --- | --- |\n| the idea | one sentence is enough |\n| the example | small numbers first |\n| the exercise | try it before you look |",
    "Here is **{topic}** as something you can try out:\n\n```python\nfor step in [\"idea\", \"example\", \"exercise\"]:\n    print(step)\n```\n\nWhat do you see?",
    "You have understood the heart of **{topic}**. Say it once in your own words, then it is yours.",
];
const STUDENT: [&str; 4] = [
    "Thank you! What is the *simplest* example of **{topic}**?",
    "I see. So far I have noted:\n\n- the idea behind it,\n- one example.\n\nWhich mistake do beginners make most often?",
    "Now I am curious: where does one need **{topic}** in daily life?",
    "In my own words: you said “{said}”. Did I get it right?",
];
const CRITIC: [&str; 3] = [
    "I have read it. About **{topic}**:\n\n- **good:** the order is clear;\n- **to change:** the second part is too long;\n- **open:** who is it for?",
    "Better. One thing is left: “{said}” needs an example.",
    "Nothing more to change. It says what it should about **{topic}**.",
];
const CODER: [&str; 3] = [
    "A first version for **{topic}**:\n\n```python\ndef answer(question: str) -> str:\n    \"\"\"Returns what a mock would say.\"\"\"\n    return f\"mock: {question}\"\n```",
    "I have added a test:\n\n```python\ndef test_answer():\n    assert answer(\"why?\") == \"mock: why?\"\n```\n\nIt passes, as everything does here.",
    "Done: `answer` is written, tested and named well. Nothing was run, for this is a mock.",
];
const PLANNER: [&str; 3] = [
    "The plan for **{topic}**:\n\n1. collect what is known,\n2. decide what matters,\n3. do the smallest part first.",
    "Where we are:\n\n| Step | State |\n| --- | --- |\n| collect | done |\n| decide | done |\n| do | next |",
    "All steps for **{topic}** are through. What is left is to tell the others.",
];
const WRITER: [&str; 3] = [
    "> Once there was **{topic}**, and nobody knew what to say of it.\n\nThat would be my first line. Shall I go on?",
    "> Then someone asked, and the answer was shorter than the question.\n\nI have kept it short, as you see.",
    "The end of it: “{said}”. I would leave it there.",
];
const ANYBODY: [&str; 3] = [
    "You wrote: “{said}”. No model was asked; with a key set, one would answer here about **{topic}**.",
    "On **{topic}** I can offer, without thinking:\n\n- a list, like this one,\n- some `code`,\n- *a little* emphasis.",
    "I have heard “{said}”, and have nothing to add about **{topic}**.",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing::{message, shared, user};

    fn replies(system: &str, opening: &str, count: usize) -> Vec<String> {
        let mut request = ModelRequest {
            messages: shared([message(ChatRole::System, system), user(opening)]),
            ..ModelRequest::default()
        };
        (0..count)
            .map(|_| {
                let words = reply(&request);
                assert_eq!(reply(&request), words, "the same request, the same reply");
                request.messages.extend(shared([message(ChatRole::Assistant, &words), user("And then?")]));
                words
            })
            .collect()
    }

    #[test]
    fn a_role_talks_in_its_manner_about_the_topic() {
        let teacher = replies("You are a math teacher.", "I would like to learn about triangles.", 5);
        assert!(teacher[0].starts_with("[mock reply 1] Let us look at **triangles**"), "{}", teacher[0]);
        assert!(teacher[1].contains("| --- |") && teacher[2].contains("```python"));
        assert!(teacher.iter().all(|words| words.starts_with("[mock reply ") && !words.contains("TERMINATE")));
        assert_eq!(MockPersona::of("You are a student willing to learn."), MockPersona::Student);
        assert_eq!(MockPersona::of("You are a critic. You review what the teacher says."), MockPersona::Critic);
        assert_eq!(MockPersona::of("Solve tasks with Python code."), MockPersona::Coder);
        assert_eq!(MockPersona::of("You are a helpful AI Assistant."), MockPersona::Anybody);
    }

    #[test]
    fn topics_are_a_few_harmless_words() {
        let topic_of = |text: &str| topic(&[&user(text)]);
        assert_eq!(topic_of("Please teach me about **prime numbers**. I am 12."), "prime numbers");
        assert_eq!(topic_of("Geometry"), "Geometry");
        assert_eq!(topic_of("Teach me."), "Teach me");
        assert_eq!(topic_of("What is 3.14?"), "3.14");
        assert_eq!(topic_of(""), "this");
        assert_eq!(topic_of("\n\n| a | <b> |\nmore"), "a  b");
        assert_eq!(topic_of("ÄÖÜ ß 😀"), "ÄÖÜ ß 😀");
        assert!(topic_of(&"long ".repeat(100)).chars().count() <= 61);
    }

    #[test]
    fn it_ends_when_it_was_told_how() {
        let told = replies("You are a poet. Say TERMINATE when you are done.", "Spring", 4);
        assert!(!told[0].contains("TERMINATE") && !told[1].contains("TERMINATE"));
        assert!(told[2].ends_with("TERMINATE"));
        assert_eq!(told[3], "TERMINATE");
    }

    #[test]
    fn summaries_and_speakers_are_what_is_asked_for() {
        let by = |name: &str, text: &str| ChatMessage { name: Some(name.to_owned()), ..user(text) };
        let conversation = vec![by("Student", "Teach me geometry"), by("Teacher", "Yes.")];
        let asked = |last: &str| {
            let mut messages = conversation.clone();
            messages.push(message(ChatRole::System, last));
            reply(&ModelRequest { messages: shared(messages), ..ModelRequest::default() })
        };
        let summary = asked("Summarize the takeaway from the conversation. Do not add any introductory phrases.");
        assert!(summary.starts_with("[mock summary] Student and Teacher talked about **geometry** in 2 messages."));
        let select =
            "Read the above conversation. Then select the next role from ['Teacher', 'Student', 'Critic'] to play.";
        assert_eq!(asked(select), "Critic");
        assert_eq!(asked("Then select the next role from ['Teacher', 'Student'] to play."), "Student");
    }

    #[test]
    fn tools_are_called_once_each_and_their_results_talked_about() {
        let tool = |name: &str, parameters: Value| json!({"type": "function", "function": {"name": name, "parameters": parameters}});
        let ask = json!({"type": "object", "properties": {"message": {"type": "string", "description": "For the examiner"}, "n": {"type": "integer"}}});
        let grade = json!({"type": "object", "properties": {"grade": {"enum": ["A", "B"]}}});
        let tools = vec![tool("transfer_to_boss_1", json!({})), tool("ask", ask), tool("grade", grade)];
        let mut request = ModelRequest { messages: shared([user("Go.")]), tools, ..ModelRequest::default() };
        let mut made = Vec::new();
        for _ in 0..4 {
            match call(&request) {
                Some(call) => {
                    made.push(format!("{} {}", call.function.name, call.function.arguments));
                    let asked = ChatMessage { tool_calls: vec![call], ..message(ChatRole::Assistant, "") };
                    request.messages.extend(shared([asked, message(ChatRole::Tool, "fine")]));
                }
                None => {
                    made.push("text".to_owned());
                    request.messages.extend(shared([message(ChatRole::Assistant, &reply(&request)), user("And?")]));
                }
            }
        }
        let wanted =
            ["ask {\"message\":\"[mock] For the examiner\",\"n\":1}", "text", "grade {\"grade\":\"A\"}", "text"];
        assert_eq!(made, wanted);
        assert_eq!(call(&request), None, "each was called");
        let summary = vec![user("Go."), message(ChatRole::System, "Summarize it.")];
        assert_eq!(call(&ModelRequest { messages: shared(summary), ..request }), None, "a summary is a text");
    }

    #[test]
    fn an_argument_whose_description_has_an_example_is_taken_from_what_people_say() {
        let number = json!({"type": "string", "description": "The number of the invoice, like INV-1001."});
        let parameters = json!({"type": "object", "properties": {"number": number}});
        let tools = vec![json!({"type": "function", "function": {"name": "get", "parameters": parameters}})];
        let called = |said: &str| {
            let request =
                ModelRequest { messages: shared([user(said)]), tools: tools.clone(), ..ModelRequest::default() };
            call(&request).unwrap().function.arguments
        };
        assert_eq!(called("Is INV-20417, or RE-7, right?"), "{\"number\":\"RE-7\"}");
        assert_eq!(called("(INV-20417) is wrong."), "{\"number\":\"INV-20417\"}");
        assert_eq!(called("The one of 2026-11-02 is wrong."), "{\"number\":\"INV-1001\"}");
        assert_eq!(example_in("Works like the others, e.g. A7"), Some("A7"));
        assert_eq!(example_in("Works like the others"), None);
    }

    #[test]
    fn a_group_hands_over_to_whom_a_person_names_or_to_who_has_not_spoken() {
        let tool = |name: &str| json!({"type": "function", "function": {"name": name}});
        let tools = vec![tool("transfer_to_billing_1"), tool("transfer_to_tech_support_2")];
        let called = |messages: Vec<ChatMessage>| {
            let request = ModelRequest { messages: shared(messages), tools: tools.clone(), ..ModelRequest::default() };
            call(&request).map(|call| call.function.name)
        };
        let by = |name: &str, text: &str| ChatMessage { name: Some(name.to_owned()), ..user(text) };
        let (billing, support) =
            (Some("transfer_to_billing_1".to_owned()), Some("transfer_to_tech_support_2".to_owned()));
        assert_eq!(called(vec![by("customer", "Hello.")]), billing);
        assert_eq!(called(vec![by("customer", "I want tech support!")]), support);
        assert_eq!(called(vec![by("customer", "Hello."), by("billing", "Yes?"), by("customer", "Hm.")]), support);
        let both = vec![by("billing", "Yes?"), by("tech_support", "Yes?"), by("customer", "Hm.")];
        assert_eq!(called(both.clone()), None, "each has spoken");
        assert_eq!(called([both, vec![by("customer", "Back to billing.")]].concat()), billing);
    }

    #[test]
    fn forms_are_filled_in() {
        let schema = json!({"type": "object", "properties": {"ok": {"type": "boolean"}}});
        let format = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}});
        assert_eq!(reply(&ModelRequest { response_format: Some(format), ..ModelRequest::default() }), r#"{"ok":true}"#);
    }

    #[test]
    fn odd_requests_get_a_reply_too() {
        for messages in
            [vec![], vec![message(ChatRole::System, "")], vec![message(ChatRole::Assistant, "x")], vec![user("")]]
        {
            assert!(
                reply(&ModelRequest { messages: shared(messages), ..ModelRequest::default() })
                    .starts_with("[mock reply 1]")
            );
        }
        let parts =
            ChatMessage { content: json!([{"type": "text", "text": "Cats"}, {"type": "image_url"}]), ..user("") };
        assert!(reply(&ModelRequest { messages: shared([parts]), ..ModelRequest::default() }).contains("**Cats**"));
    }
}
