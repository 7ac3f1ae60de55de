//! Connections that are lost, programs that end or do not, and calls that nobody waits for.

use super::*;

#[tokio::test]
async fn a_server_that_dies_is_started_again_and_its_tools_stay() {
    for peer in [Peer::Python2, Peer::Python1] {
        let Some(config) = peer.command("a_server_that_dies_is_started_again") else { return };
        let servers = worker(&config);
        let tools = toolset(&servers);
        let before = tools.list().await.unwrap();
        let error = call(&tools, "die", no_arguments()).await.unwrap_err();
        assert!(matches!(error, ToolsetError::Lost(_)), "{peer:?}: {error:?}");
        assert_eq!(value(call(&tools, "add", json!({"a": 1, "b": 1})).await), json!({"total": 2}), "{peer:?}");
        assert_eq!(tools.list().await.unwrap(), before, "{peer:?}");
        servers.close().await;
    }
}

#[tokio::test]
async fn a_server_at_an_address_may_be_restarted() {
    for peer in [Peer::Python2, Peer::Python1, Peer::Everything] {
        let Some(mut served) = peer.served("a_server_at_an_address_may_be_restarted").await else { return };
        let servers = worker(&served.config());
        let tools = toolset(&servers);
        let before = tools.list().await.unwrap();
        served.restart().await;
        let (tool, arguments) = match peer {
            Peer::Everything => ("get-sum", json!({"a": 1, "b": 1})),
            _ => ("add", json!({"a": 1, "b": 1})),
        };
        let sum = value(call(&tools, tool, arguments).await);
        assert!(sum.to_string().contains('2'), "{peer:?}: {sum}");
        served.end();
        // What is listed stays listed while it is away.
        assert_eq!(tools.list().await.unwrap(), before, "{peer:?}");
        let error = call(&tools, "echo", json!({"text": "x"})).await.unwrap_err();
        assert!(
            matches!(&error, ToolsetError::Unavailable(why) if why.contains("cannot be reached")),
            "{peer:?}: {error:?}"
        );
        servers.close().await;
    }
}

#[tokio::test]
async fn nothing_that_a_server_has_started_is_left() {
    for close in [true, false] {
        let Some(config) = Peer::Python2.command("nothing_that_a_server_has_started_is_left") else { return };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("numbers");
        let servers = worker(&config);
        let tools = toolset(&servers);
        value(call(&tools, "grandchild", json!({"path": path})).await);
        let numbers = std::fs::read_to_string(&path).unwrap();
        let [server, grandchild] = numbers.split(' ').collect::<Vec<_>>()[..] else { panic!("{numbers}") };
        assert!(is_running(server) && is_running(grandchild));
        if close {
            servers.close().await;
            assert!(!Path::new("/proc").join(server).exists(), "it is waited for");
        }
        drop((tools, servers));
        eventually("both have ended", async || !is_running(server) && !is_running(grandchild)).await;
        eventually("the server is no zombie", async || !Path::new("/proc").join(server).exists()).await;
    }
}

/// Whether a process runs; one that only waits to be looked after does not.
pub fn is_running(process: &str) -> bool {
    let state = std::fs::read_to_string(Path::new("/proc").join(process).join("stat")).unwrap_or_default();
    state.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

#[tokio::test]
async fn a_program_gets_almost_no_environment() {
    let Some(mut config) = Peer::Python2.command("a_program_gets_almost_no_environment") else { return };
    let McpReach::Command(command) = &mut config.reach else { unreachable!("it is a program") };
    command.environment.insert("DOCS_KEY".to_owned(), "sesame-0815".into());
    let servers = worker(&config);
    let tools = toolset(&servers);
    let names = value(call(&tools, "environment", no_arguments()).await);
    let names: Vec<&str> = names.as_str().unwrap().split(' ').collect();
    let allowed = ["DOCS_KEY", "HOME", "LANG", "LC_CTYPE", "PATH", "TMPDIR"];
    assert!(names.contains(&"DOCS_KEY") && names.iter().all(|name| allowed.contains(name)), "{names:?}");
    let echoed = value(call(&tools, "echo", json!({"text": "it is sesame-0815"})).await).to_string();
    assert!(echoed.contains("it is [secret docs.DOCS_KEY]"), "{echoed}");
    servers.close().await;
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_is_cancelled() {
    for peer in [Peer::Python2, Peer::Python1] {
        for (what, config, _served) in both(peer, "a_call_that_nobody_waits_for_is_cancelled").await {
            let folder = tempfile::tempdir().unwrap();
            let [begun, written, until] = ["begun", "written", "until"].map(|name| folder.path().join(name));
            let servers = worker(&config);
            let tools = toolset(&servers);
            tools.list().await.unwrap();
            let arguments = json!({"begun": begun, "path": written, "until": until});
            tokio::select! {
                answer = call(&tools, "note", arguments) => panic!("{what}: {answer:?}"),
                () = eventually("the tool has begun", async || begun.exists()) => {}
            }
            // Later calls are answered after the server has heard of it.
            for _ in 0..3 {
                value(call(&tools, "slow", json!({"steps": 1})).await);
            }
            std::fs::write(&until, "").unwrap();
            value(call(&tools, "slow", json!({"steps": 2})).await);
            assert!(!written.exists(), "{what}");
            servers.close().await;
        }
    }
}
