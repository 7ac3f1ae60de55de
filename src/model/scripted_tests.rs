//! Scripts, and the mock as a model.

use super::*;
use crate::model::testing::{ask, asking, llm, message, name, shared, user};
use crate::protocol::dialogue::ChatMessage;
use serde_json::json;

fn scripted(script: Value) -> ScriptedModel {
    let Value::Array(script) = script else { panic!("{script}") };
    ScriptedModel::new(&name("script"), &LlmConfig { script, ..llm("") })
}

async fn content(model: &ScriptedModel, messages: &[ChatMessage]) -> String {
    let request = ModelRequest { messages: shared(messages.iter().cloned()), ..ModelRequest::default() };
    ask(model, &request).await.0.unwrap().content.unwrap_or_default()
}

#[tokio::test]
async fn the_place_in_the_script_follows_from_the_request() {
    let model = scripted(json!(["one", "two", "three"]));
    let system = message(ChatRole::System, "You are a teacher.");
    let mine = message(ChatRole::Assistant, "Hello.");
    let result = ChatMessage { tool_call_id: Some("a".to_owned()), ..message(ChatRole::Tool, "3") };

    let mut asked = vec![system.clone(), user("Teach me.")];
    assert_eq!(content(&model, &asked).await, "one");
    assert_eq!(content(&model, &asked).await, "one", "asked again, as a replay does");
    asked.extend([mine.clone(), result]);
    assert_eq!(content(&model, &asked).await, "two", "results of tools do not count");
    asked.extend([mine.clone(), user("Thanks."), message(ChatRole::System, "Summarize.")]);
    assert_eq!(content(&model, &asked).await, "three", "the summary comes after the last reply");
    asked.push(mine.clone());
    let request = ModelRequest { messages: shared(asked), ..ModelRequest::default() };
    assert!(matches!(ask(&model, &request).await.0, Err(Error::ScriptExhausted { model, .. }) if model == "script"));

    assert_eq!(
        content(&model, &[system.clone(), mine.clone(), user("Yes?")]).await,
        "one",
        "who opened has not replied yet"
    );
    assert_eq!(content(&model, &[system, mine.clone(), user("Yes?"), mine, user("And?")]).await, "two");
}

#[tokio::test]
async fn agents_that_share_a_script_are_told_apart() {
    let model = scripted(json!([
        {"when": "student", "content": "s1"}, {"when": "teacher", "content": "t1"}, {"when": "Summarize", "content": "sum"},
        {"when": "student", "content": "s2"}, "for all",
    ]));
    let with =
        |system: &str| [message(ChatRole::System, system), user("x"), message(ChatRole::Assistant, "y"), user("z")];
    assert_eq!(content(&model, &with("You are a student.")[..2]).await, "s1");
    assert_eq!(content(&model, &with("You are a student.")).await, "s2");
    assert_eq!(content(&model, &with("You are a teacher.")[..2]).await, "t1");
    assert_eq!(content(&model, &with("You are a teacher.")).await, "for all");
    assert_eq!(content(&model, &[user("x"), message(ChatRole::System, "Summarize it.")]).await, "sum");
}

#[tokio::test]
async fn replies_have_all_that_models_have() {
    let model = scripted(json!([{
        "content": "It is 21.", "chunks": ["It ", "is 21."], "finish_reason": "length", "refusal": "no",
        "usage": {"prompt_tokens": 1, "completion_tokens": 2},
        "tool_calls": [
            {"id": "a", "name": "weather", "arguments": {"city": "Rome"}},
            {"id": "b", "type": "function", "function": {"name": "time", "arguments": "not json"}},
        ],
    }]));
    let (outcome, heard) = ask(&model, &asking("x")).await;
    let call = |id: &str, name: &str, arguments: &str| ToolCall {
        id: id.to_owned(),
        kind: "function".to_owned(),
        function: FunctionCall { name: name.to_owned(), arguments: arguments.to_owned() },
        extra_content: None,
    };
    let expected = ModelReply {
        content: Some("It is 21.".to_owned()),
        tool_calls: vec![call("a", "weather", "{\"city\":\"Rome\"}"), call("b", "time", "not json")],
        refusal: Some("no".to_owned()),
        finish_reason: Some("length".to_owned()),
        usage: ModelUsage { prompt_tokens: 1, completion_tokens: 2, ..ModelUsage::default() },
        model: "script".to_owned(),
    };
    assert_eq!(outcome.unwrap(), expected);
    assert_eq!(heard, ["#1", "It ", "is 21."]);
}

#[tokio::test(start_paused = true)]
async fn delays_errors_and_mistakes_are_played() {
    let begun = tokio::time::Instant::now();
    for (delay, millis) in
        [(json!(2), 2000), (json!(0.5), 500), (json!("200ms"), 200), (json!("1.5s"), 1500), (json!("3"), 3000)]
    {
        let before = begun.elapsed();
        assert!(ask(&scripted(json!([{"content": "x", "delay": delay}])), &asking("x")).await.0.is_ok());
        assert_eq!((begun.elapsed() - before).as_millis(), millis);
    }
    let error = async |entry: Value| ask(&scripted(json!([entry])), &asking("x")).await.0.unwrap_err().to_string();
    assert_eq!(
        error(json!({"delay_s": 61})).await,
        "OpenAI API call timed out. The model \"script\" gave no first token within 60s"
    );
    assert_eq!(
        error(json!({"status": 429})).await,
        "the model \"script\" answered 429 (its limit is reached): scripted error 429"
    );
    assert_eq!(error(json!({"error": "down"})).await, "the model \"script\" answered 500: down");
    assert_eq!(
        error(json!({"status": 400, "error": {"message": "filtered", "code": "content_filter"}})).await,
        "the model \"script\" answered 400 (a filter refused it): filtered"
    );
    for wrong in [
        json!(7),
        json!({"contents": "x"}),
        json!({"delay": "soon"}),
        json!({"delay": -1}),
        json!({"tool_calls": [{"id": "a"}]}),
    ] {
        let words = error(wrong.clone()).await;
        assert!(words.contains("its script is wrong"), "{wrong}: {words}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_made_up_reply_comes_in_pieces_that_people_can_follow() {
    let begun = tokio::time::Instant::now();
    let (outcome, heard) = ask(&scripted(json!([])), &asking("Teach me geometry.")).await;
    let reply = outcome.unwrap();
    assert_eq!(reply.content.as_deref(), Some(heard[1..].concat().as_str()));
    assert!(heard.len() > 10 && reply.usage.completion_tokens > 10 && reply.usage.prompt_tokens > 5);
    assert_eq!(begun.elapsed(), PIECE_DELAY * (heard.len() as u32 - 1));

    let parameters = json!({"piece_delay_ms": 0}).as_object().unwrap().clone();
    let quick = ScriptedModel::new(&name("quick"), &LlmConfig { parameters, ..llm("") });
    let begun = tokio::time::Instant::now();
    assert_eq!(ask(&quick, &asking("Teach me geometry.")).await.1, heard);
    assert!(begun.elapsed().is_zero());

    let at_once = ScriptedModel::new(&name("at_once"), &LlmConfig { stream: false, ..llm("") });
    assert_eq!(ask(&at_once, &asking("x")).await.1, ["#1"]);
}
