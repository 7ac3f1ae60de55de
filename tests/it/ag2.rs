//! The rules of two-agent conversations against recorded conversations of AG2 itself: the same requests to the model, the
//! same questions to the person, the same words shown, the same history and summary.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Mutex;

use async_trait::async_trait;
use fastagency::chat::pair::{Chat, chat};
use fastagency::chat::{Answer, Effects, Failure, Memory, Question, Replied, Result, Speaking};
use fastagency::ids::{MessageId, Name};
use fastagency::message::Content;
use fastagency::model::{Reply, Request, Usage};
use fastagency::workflow::{Agent, AgentKind, Expression, HumanInputMode, ModelUse, SummaryMethod};
use serde_json::{Map, Value, json};

/// A world that replies from a recording and writes down what it is asked.
#[derive(Default)]
struct Recorded {
    replies: Mutex<VecDeque<Value>>,
    humans: Mutex<VecDeque<String>>,
    requests: Mutex<Vec<Value>>,
    prompts: Mutex<Vec<String>>,
    said: Mutex<Vec<Value>>,
}

#[async_trait]
impl Effects for Recorded {
    async fn say(&self, sender: &str, recipient: &str, says: Content, _: Option<MessageId>) -> Result<()> {
        let Content::TextMessage { body, .. } = says else { panic!("a chat says texts") };
        self.said.lock().unwrap().push(json!({"sender": sender, "recipient": recipient, "content": body}));
        Ok(())
    }

    async fn ask(&self, question: Question) -> Result<Answer> {
        self.prompts.lock().unwrap().push(question.says.prompt().unwrap().to_owned());
        let answer = self.humans.lock().unwrap().pop_front().expect("the recorded person has an answer");
        Ok(Answer::Given(json!(answer)))
    }

    async fn ask_model(
        &self,
        _: &ModelUse,
        request: Request,
        _: Option<Speaking<'_>>,
    ) -> Result<std::result::Result<Replied, Failure>> {
        self.requests.lock().unwrap().push(json!(request.messages));
        let reply = self.replies.lock().unwrap().pop_front().expect("the recording has a reply");
        if reply.get("status").is_some() {
            return Ok(Err(Failure { kind: "model".into(), message: "as recorded".into(), step: None }));
        }
        let content = if reply.is_object() { reply["content"].clone() } else { reply };
        let reply = Reply {
            content: content.as_str().map(str::to_owned),
            tool_calls: Vec::new(),
            refusal: None,
            finish_reason: None,
            usage: Usage::default(),
            model: "recorded".into(),
        };
        Ok(Ok(Replied { reply, message: MessageId::random() }))
    }
}

/// An agent as FORMAT.md's `setup.agents` describes it.
fn agent(setup: &Value, assistant_default: &str) -> Agent {
    let class = setup["class"].as_str().unwrap();
    let (kind, system, human, limit) = match class {
        "ConversableAgent" => {
            (AgentKind::Conversable, "You are a helpful AI Assistant.", HumanInputMode::Terminate, 100)
        }
        "AssistantAgent" => (AgentKind::Assistant, assistant_default, HumanInputMode::Never, 100),
        "UserProxyAgent" => (AgentKind::UserProxy, "", HumanInputMode::Always, 100),
        other => panic!("the class {other} is not known here"),
    };
    let system = setup["system_message"].as_str().unwrap_or(system).to_owned();
    let name = Name::parse(setup["name"].as_str().unwrap()).unwrap();
    let llm = setup["llm_config"]
        .as_str()
        .map(|config| ModelUse { name: Name::parse(config).unwrap(), parameters: Map::new() });
    Agent {
        name,
        kind,
        description: system.clone(),
        system_message: system,
        llm,
        human_input_mode: match setup["human_input_mode"].as_str() {
            None => human,
            Some("ALWAYS") => HumanInputMode::Always,
            Some("TERMINATE") => HumanInputMode::Terminate,
            Some("NEVER") => HumanInputMode::Never,
            Some(other) => panic!("{other} is no human_input_mode"),
        },
        max_consecutive_auto_reply: setup["max_consecutive_auto_reply"].as_u64().map_or(limit, |limit| limit as u32),
        default_auto_reply: setup["default_auto_reply"].as_str().unwrap_or_default().to_owned(),
        is_termination_msg: rule(&setup["is_termination_msg"]),
    }
}

fn rule(rule: &Value) -> Option<Expression> {
    let value = rule["value"].to_string();
    let source = match rule["rule"].as_str()? {
        "content_contains" => format!("{value} in message.content"),
        "content_contains_ci" => format!("{value}|lower in message.content|lower"),
        "content_equals" => format!("message.content == {value}"),
        "content_endswith" => format!("message.content|trim is endingwith({value})"),
        "never" => "false".to_owned(),
        "always" => "true".to_owned(),
        other => panic!("the rule {other} is not known here"),
    };
    Some(Expression::parse(&source).unwrap())
}

fn summary_method(pattern: &Value) -> SummaryMethod {
    match pattern.get("summary_method") {
        None => SummaryMethod::LastMessage,
        Some(Value::Null) => SummaryMethod::Nothing,
        Some(method) if method == "last_msg" => SummaryMethod::LastMessage,
        Some(_) => SummaryMethod::Reflection {
            prompt: pattern["summary_args"]["summary_prompt"].as_str().map(str::to_owned),
            role: pattern["summary_args"]["summary_role"].as_str().map(str::to_owned),
        },
    }
}

/// Requests without what does not count: null is as good as absent, but for a message's content.
fn messages(request: &Value) -> Value {
    let clean = |message: &Value| -> Value {
        let fields = message.as_object().unwrap().iter();
        fields
            .filter(|(key, value)| !value.is_null() || *key == "content")
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect()
    };
    request.as_array().unwrap().iter().map(clean).collect()
}

async fn replay(trace: &Value, assistant_default: &str) -> std::result::Result<(), String> {
    let setup = &trace["setup"];
    let world = Recorded {
        replies: Mutex::new(setup["llm_replies"].as_array().unwrap().iter().cloned().collect()),
        humans: Mutex::new(
            setup["human_inputs"].as_array().unwrap().iter().map(|input| input.as_str().unwrap().to_owned()).collect(),
        ),
        ..Recorded::default()
    };
    let agents: Vec<Agent> =
        setup["agents"].as_array().unwrap().iter().map(|setup| agent(setup, assistant_default)).collect();
    let named = |name: &Value| agents.iter().find(|agent| agent.name.as_str() == name.as_str().unwrap()).unwrap();
    let pattern = &setup["pattern"];
    let runs = pattern["runs"].as_array().cloned().unwrap_or_else(|| vec![pattern.clone()]);
    let mut memory = Memory::default();
    for (run, recorded) in runs.iter().zip(trace["results"].as_array().unwrap()) {
        let held = Chat {
            sender: named(&run["initiator"]),
            recipient: named(&run["recipient"]),
            message: match &run["message"] {
                Value::Null => None,
                Value::Object(message) => Some(message["content"].clone()),
                message => Some(message.clone()),
            },
            max_turns: run["max_turns"].as_u64().map(|turns| turns as u32),
            summary: &summary_method(run),
            carryover: match &run["carryover"] {
                Value::Null => Vec::new(),
                Value::Array(items) => items.iter().map(|item| item.as_str().unwrap().to_owned()).collect(),
                one => vec![one.as_str().unwrap().to_owned()],
            },
            clear_history: run["clear_history"].as_bool().unwrap_or(true),
        };
        let result = chat(held, &mut memory, &world).await.map_err(|stop| format!("stopped: {stop:?}"))?;
        same("summary", recorded["summary"].clone(), result["summary"].clone())?;
        same("chat_history", messages(&recorded["chat_history"]), messages(&result["messages"]))?;
    }
    let recorded: Vec<Value> =
        trace["requests"].as_array().unwrap().iter().map(|request| messages(&request["messages"])).collect();
    let asked: Vec<Value> = world.requests.into_inner().unwrap().iter().map(messages).collect();
    same("requests", json!(recorded), json!(asked))?;
    let prompts: Vec<&Value> = trace["human"].as_array().unwrap().iter().map(|human| &human["prompt"]).collect();
    same("human", json!(prompts), json!(world.prompts.into_inner().unwrap()))?;
    let texts: Vec<Value> = trace["events"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["type"] == "text" && event["content"]["content"].is_string())
        .map(|event| {
            let content = &event["content"];
            json!({"sender": content["sender"], "recipient": content["recipient"], "content": content["content"]})
        })
        .collect();
    let said: Vec<Value> = world.said.into_inner().unwrap();
    // A message of several parts is shown as its text; AG2's event has the parts.
    if texts.len() == said.len() {
        same("texts", json!(texts), json!(said))?;
    }
    Ok(())
}

fn same(what: &str, expected: Value, found: Value) -> std::result::Result<(), String> {
    if expected == found {
        return Ok(());
    }
    Err(format!("{what}:\n  expected {expected}\n  found    {found}"))
}

#[tokio::test]
async fn two_agents_talk_as_they_do_in_ag2() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ag2");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |path: &Path| -> Value { serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap() };
    let e01 = files.iter().find(|path| path.ends_with("e01_user_proxy_assistant_defaults.json")).unwrap();
    let assistant_default = read(e01)["requests"][0]["messages"][0]["content"].as_str().unwrap().to_owned();
    assert_eq!(files.len(), 39);
    let mut failures = Vec::new();
    for path in &files {
        if let Err(difference) = replay(&read(path), &assistant_default).await {
            failures.push(format!("{}: {difference}", path.file_stem().unwrap().to_string_lossy()));
        }
    }
    assert!(failures.is_empty(), "{} of {} differ\n{}", failures.len(), files.len(), failures.join("\n"));
}
