//! Questions to people, and tasks.

use super::*;

const PEN: &str = "pen";

fn pen() -> Value {
    json!({"item": PEN})
}

#[tokio::test]
async fn a_person_accepts_declines_or_cancels_in_both_eras() {
    let mut cases = Vec::new();
    for peer in [Peer::Python2, Peer::Python1] {
        for (what, config, served) in both(peer, "a_person_accepts_declines_or_cancels").await {
            cases.push((what, config, served));
        }
    }
    if let Some(config) = Peer::Python2.command("a_person_accepts_declines_or_cancels") {
        cases.push(("2025-11-25 of Python2".to_owned(), with_protocol(&config, McpRevision::Session), None));
    }
    for (what, config, _served) in cases {
        let servers = worker(&config);
        let tools = toolset(&servers);
        for (answer, result) in [
            (size(7), "pen in size 7"),
            (Some(ElicitationAnswer::Decline), "decline: no pen"),
            (Some(ElicitationAnswer::Cancel), "cancel: no pen"),
        ] {
            let (message, schema, state) = question(call(&tools, "order", pen()).await);
            assert_eq!(message, "docs asks: Which size of pen?", "{what}");
            assert_eq!(schema["properties"]["size"]["type"], "integer", "{what}: {schema}");
            assert_eq!(schema["properties"]["size"]["maximum"], 50, "{what}: {schema}");
            let done = value(resume(&tools, "order", pen(), state, answer).await);
            assert_eq!(done, result, "{what}");
        }
        servers.close().await;
    }
}

#[tokio::test]
async fn an_answer_may_come_from_another_worker_if_the_question_was_a_result() {
    let Some(served) = Peer::Python2.served("an_answer_may_come_from_another_worker").await else { return };
    let first = worker(&served.config());
    let (_, _, state) = question(call(&toolset(&first), "order", pen()).await);
    first.close().await;
    drop(first);
    let second = worker(&served.config());
    let done = value(resume(&toolset(&second), "order", pen(), state, size(9)).await);
    assert_eq!(done, "pen in size 9");
    second.close().await;
}

#[tokio::test]
async fn a_question_on_a_connection_is_lost_with_its_worker() {
    for (what, config, _served) in both(Peer::Python1, "a_question_on_a_connection_is_lost").await {
        let first = worker(&config);
        let (_, _, state) = question(call(&toolset(&first), "order", pen()).await);
        let second = worker(&config);
        // Whether it is made again is decided by who called.
        let answer = resume(&toolset(&second), "order", pen(), state.clone(), size(9)).await.unwrap();
        assert!(matches!(answer, ToolsetAnswer::CutOff { .. }), "{what}: {answer:?}");
        second.close().await;
        // An answer counts once.
        assert_eq!(value(resume(&toolset(&first), "order", pen(), state.clone(), size(9)).await), "pen in size 9");
        let answer = resume(&toolset(&first), "order", pen(), state, size(9)).await.unwrap();
        assert!(matches!(answer, ToolsetAnswer::CutOff { .. }), "{what}: {answer:?}");
        first.close().await;
    }
}

/// Over standard input nothing says to which call a question belongs: a call that comes later gets a connection of its own.
#[tokio::test]
async fn two_calls_that_ask_at_once_do_not_get_each_others_answers() {
    for (what, config, _served) in both(Peer::Python1, "two_calls_that_ask_at_once").await {
        let servers = worker(&config);
        let tools = toolset(&servers);
        let (_, _, of_pen) = question(call(&tools, "order", pen()).await);
        let (message, _, of_cup) = question(call(&tools, "order", json!({"item": "cup"})).await);
        assert_eq!(message, "docs asks: Which size of cup?", "{what}");
        let cup = value(resume(&tools, "order", json!({"item": "cup"}), of_cup, size(2)).await);
        let pens = value(resume(&tools, "order", pen(), of_pen, size(1)).await);
        assert_eq!((cup, pens), (json!("cup in size 2"), json!("pen in size 1")), "{what}");
        servers.close().await;
    }
}

#[tokio::test]
async fn a_person_is_sent_to_an_address() {
    for (what, config, _served) in both(Peer::Everything, "a_person_is_sent_to_an_address").await {
        let servers = worker(&config);
        let tools = toolset(&servers);
        let arguments = json!({"url": "https://id.example/sign-in", "message": "Sign in, please"});
        let (message, schema, state) = question(call(&tools, "trigger-url-elicitation", arguments.clone()).await);
        assert!(message.contains("https://id.example/sign-in"), "{what}: {message}");
        assert_eq!(schema["properties"], json!({}), "{what}");
        let done = value(resume(&tools, "trigger-url-elicitation", arguments, state, accept(json!({}))).await);
        assert!(done.to_string().contains("accept"), "{what}: {done}");
        servers.close().await;
    }
}

/// The older way to say so: an error that names the address, and the same call again.
#[tokio::test]
async fn a_person_is_sent_to_an_address_by_an_error() {
    for (what, config, _served) in both(Peer::Everything, "a_person_is_sent_to_an_address_by_an_error").await {
        let servers = worker(&config);
        let tools = toolset(&servers);
        let arguments = json!({"url": "https://id.example/x", "elicitationId": "one", "errorPath": true});
        let (message, _, state) = question(call(&tools, "trigger-url-elicitation", arguments.clone()).await);
        assert!(message.contains("https://modelcontextprotocol.io/"), "{what}: {message}");
        let declined = Some(ElicitationAnswer::Decline);
        let error = resume(&tools, "trigger-url-elicitation", arguments.clone(), state.clone(), declined).await;
        assert!(matches!(error, Err(ToolsetError::Failed(_))), "{what}: {error:?}");
        let asked = resume(&tools, "trigger-url-elicitation", arguments.clone(), state, accept(json!({}))).await;
        let (_, _, state) = question(asked);
        let done = value(resume(&tools, "trigger-url-elicitation", arguments, state, accept(json!({}))).await);
        assert!(done.to_string().contains("accept"), "{what}: {done}");
        servers.close().await;
    }
}

/// The first look finds the task at work, the second finds it asking; whichever worker looks.
#[tokio::test]
async fn a_task_is_looked_at_again_until_it_is_done() {
    let Some(served) = Peer::Python2.served("a_task_is_looked_at_again").await else { return };
    let cake = || json!({"cake": "plum"});
    for (answer, result) in [
        (accept(json!({"brown": "dark"})), Ok("a dark cake")),
        (Some(ElicitationAnswer::Decline), Err("nobody baked: decline")),
    ] {
        let mut answer_left = answer;
        let mut answer = call(&toolset(&worker(&served.config())), "bake", cake()).await;
        let mut looks = 0;
        let done = loop {
            let servers = worker(&served.config());
            let tools = toolset(&servers);
            answer = match answer {
                Ok(ToolsetAnswer::Continues { state, after_ms, .. }) => {
                    assert_eq!(after_ms, 150);
                    looks += 1;
                    resume(&tools, "bake", cake(), state, None).await
                }
                Ok(ToolsetAnswer::Asks { message, state, .. }) => {
                    assert_eq!(message, "docs asks: How brown?");
                    resume(&tools, "bake", cake(), state, answer_left.take()).await
                }
                done => break done,
            };
            servers.close().await;
        };
        assert_eq!(looks, 2);
        match result {
            Ok(text) => assert_eq!(value(done), text),
            Err(why) => assert_eq!(done.unwrap_err(), ToolsetError::Failed(why.to_owned())),
        }
    }
    let gone = json!({"kind": "task", "id": "task-none"});
    let error = resume(&toolset(&worker(&served.config())), "bake", cake(), gone, None).await.unwrap_err();
    assert_eq!(error, ToolsetError::Failed("there is no such task".to_owned()));
}
