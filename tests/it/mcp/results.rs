//! Lists and results.

use super::*;

#[tokio::test]
async fn tools_are_listed_and_called_whatever_the_era_and_the_transport() {
    for peer in [Peer::Python2, Peer::Python1] {
        for (what, config, _served) in both(peer, "tools_are_listed_and_called").await {
            let servers = worker(&config);
            let tools = toolset(&servers);
            let listed = tools.list().await.unwrap_or_else(|error| panic!("{what}: {error}"));
            let echo = listed.iter().find(|tool| tool.name == "echo").expect("a tool");
            assert_eq!((&*echo.description, echo.idempotent), ("Says it again.", true), "{what}");
            assert_eq!(echo.params["properties"]["text"]["type"], "string", "{what}");
            assert!(listed.iter().any(|tool| tool.name == "add" && !tool.idempotent), "{what}");

            let echoed = value(call(&tools, "echo", json!({"text": "grüße 🎉"})).await);
            // A text with an output schema is wrapped by the SDK.
            assert!(echoed == "grüße 🎉" || echoed == json!({"result": "grüße 🎉"}), "{what}: {echoed}");
            let sum = value(call(&tools, "add", json!({"a": 1, "b": 2})).await);
            assert_eq!(sum, json!({"total": 3}), "{what}");
            let error = call(&tools, "fail", no_arguments()).await.unwrap_err();
            assert!(matches!(&error, ToolsetError::Failed(why) if why.contains("out of paper")), "{what}: {error:?}");
            let error = call(&tools, "add", json!({"a": "x", "b": 2})).await.unwrap_err();
            assert!(matches!(&error, ToolsetError::Failed(_)), "{what}: {error:?}");
            let long = value(call(&tools, "long", json!({"count": 3000})).await);
            let long = long.as_str().expect("a text");
            assert!(long.starts_with("xxx") && long.ends_with("… [cut off after 1000 bytes]"), "{what}: {long}");
            let error = call(&tools, "nothing", no_arguments()).await.unwrap_err();
            assert!(
                matches!(&error, ToolsetError::Unavailable(why) if why.contains("no tool nothing")),
                "{what}: {error:?}"
            );
            servers.close().await;
        }
    }
}

#[tokio::test]
async fn only_what_is_named_is_listed() {
    let Some(config) = Peer::Python2.command("only_what_is_named_is_listed") else { return };
    let servers = worker(&McpServerConfig { only: vec!["echo".to_owned(), "add".to_owned()], ..config });
    let names = async |only: &[&str]| {
        let only = only.iter().map(|&name| name.to_owned()).collect();
        let listed = servers.toolset(docs(), only).list().await;
        listed
            .map(|tools| tools.into_iter().map(|tool| tool.name).collect::<Vec<_>>())
            .map_err(|error| error.to_string())
    };
    assert_eq!(names(&[]).await.unwrap(), ["echo", "add"]);
    assert_eq!(names(&["add"]).await.unwrap(), ["add"]);
    let unknown = names(&["eco"]).await.unwrap_err();
    assert!(unknown.starts_with("the MCP server docs has no tool eco; its tools: "), "{unknown}");
    assert!(unknown.contains("echo, add, fail"), "{unknown}");
    assert!(names(&["fail"]).await.unwrap_err().contains("mcp.docs.only"));
    let other = servers.toolset(Name::parse("other").unwrap(), Vec::new());
    assert!(other.list().await.unwrap_err().to_string().contains("there is no MCP server \"other\""));
    servers.close().await;
}

#[tokio::test]
async fn the_reference_server_and_fastmcp_are_understood() {
    for (what, config, _served) in both(Peer::Everything, "the_reference_server").await {
        let servers = worker(&config);
        let tools = toolset(&servers);
        let listed = tools.list().await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(listed.iter().any(|tool| tool.name == "get-sum"), "{what}");
        let echoed = value(call(&tools, "echo", json!({"message": "hello"})).await);
        assert_eq!(echoed, "Echo: hello", "{what}");
        let weather = value(call(&tools, "get-structured-content", json!({"location": "Chicago"})).await);
        assert_eq!(weather["temperature"], 36, "{what}");
        let image = value(call(&tools, "get-tiny-image", no_arguments()).await);
        assert!(image.as_str().is_some_and(|text| text.contains("[an image: image/png, ")), "{what}: {image}");
        let links = value(call(&tools, "get-resource-links", json!({"count": 2})).await);
        assert!(links.as_str().is_some_and(|text| text.contains("demo://resource/")), "{what}: {links}");
        // This tool is only for clients that ask for a task of 2025-11-25: the model reads why.
        let error = call(&tools, "simulate-research-query", json!({"topic": "x"})).await.unwrap_err();
        assert!(matches!(&error, ToolsetError::Failed(why) if why.contains("task")), "{what}: {error:?}");
        servers.close().await;
    }
    let Some(config) = Peer::FastMcp.command("fastmcp_is_understood") else { return };
    let servers = worker(&config);
    let tools = toolset(&servers);
    let listed = tools.list().await.unwrap();
    assert!(listed.iter().any(|tool| tool.name == "weather" && tool.idempotent));
    let weather = value(call(&tools, "weather", json!({"city": "Rome"})).await);
    assert_eq!(weather, json!({"city": "Rome", "degrees": 21.5}));
    let error = call(&tools, "refuse", no_arguments()).await.unwrap_err();
    assert!(matches!(&error, ToolsetError::Failed(why) if why.contains("not on Sundays")), "{error:?}");
    servers.close().await;
}

#[tokio::test]
async fn progress_is_a_sign_of_life_and_silence_is_none() {
    let idle = Duration::from_millis(1000);
    for peer in [Peer::Python2, Peer::Python1, Peer::Everything] {
        for (what, config, _served) in both(peer, "progress_is_a_sign_of_life").await {
            let servers = worker(&config);
            let tools = toolset(&servers);
            tools.list().await.unwrap_or_else(|error| panic!("{what}: {error}"));
            let (slow, arguments) = match peer {
                Peer::Everything => ("trigger-long-running-operation", json!({"duration": 2, "steps": 8})),
                _ => ("slow", json!({"steps": 8})),
            };
            let done = value(call_within(&tools, slow, arguments, idle, None).await);
            assert!(done == "done" || done.as_str().is_some_and(|text| text.contains("completed")), "{what}: {done}");
            if peer != Peer::Everything {
                let error = call_within(&tools, "quiet", json!({"seconds": 30}), idle, None).await.unwrap_err();
                let expected = "the MCP server docs gave no sign of life for 1s";
                assert_eq!(error, ToolsetError::TimedOut(expected.to_owned()), "{what}");
            }
            servers.close().await;
        }
    }
}

/// What a call says that has taken longer than it may in all.
fn too_long() -> Result<ToolsetAnswer, ToolsetError> {
    let words = "the call took longer than a call of the MCP server docs may take";
    Err(ToolsetError::TimedOut(words.to_owned()))
}

#[tokio::test]
async fn no_sign_of_life_makes_a_call_longer_than_it_may_take_in_all() {
    for peer in [Peer::Python2, Peer::Python1] {
        for (what, config, _served) in both(peer, "no_sign_of_life_makes_a_call_longer").await {
            let servers = worker(&McpServerConfig { total: Duration::from_millis(900), ..config });
            let tools = toolset(&servers);
            tools.list().await.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(call(&tools, "slow", json!({"steps": 100})).await, too_long(), "{what}");
            servers.close().await;
        }
    }
}

#[tokio::test]
async fn no_sign_of_life_makes_a_call_longer_after_a_question() {
    let Some(config) = Peer::Python1.command("no_sign_of_life_makes_a_call_longer_after_a_question") else { return };
    let servers = worker(&McpServerConfig { total: Duration::from_secs(2), ..config });
    let tools = toolset(&servers);
    tools.list().await.unwrap();
    let arguments = json!({"item": "coat"});
    let (_, _, state) = question(call(&tools, "tailor", arguments.clone()).await);
    assert_eq!(resume(&tools, "tailor", arguments, state, size(48)).await, too_long());
    servers.close().await;
}

#[tokio::test]
async fn many_calls_go_on_at_once() {
    for peer in [Peer::Python2, Peer::Python1] {
        for (what, config, _served) in both(peer, "many_calls_go_on_at_once").await {
            let servers = worker(&config);
            let tools = toolset(&servers);
            let calls = (0..20).map(|number| {
                let tools = &tools;
                async move { value(call(tools, "add", json!({"a": number, "b": 1})).await) }
            });
            let sums = futures_util::future::join_all(calls).await;
            let expected: Vec<Value> = (0..20).map(|number| json!({"total": number + 1})).collect();
            assert_eq!(sums, expected, "{what}");
            servers.close().await;
        }
    }
}
