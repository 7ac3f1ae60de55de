//! Agents that call tools of each of the servers, in one run.

use fastagency::ids::RunId;
use fastagency::outside::OutsideServices;
use fastagency::run::record::RunOutcome;

use super::*;
use crate::approvals::results;
use crate::support::system::System;
use crate::talks::scripted;

/// A tool of a peer, what an agent calls it with, and what the result says.
const CALLS: [(Peer, &str, &str, &str, &str); 4] = [
    (Peer::Everything, "everything", "echo", r#"{"message":"hello"}"#, "Echo: hello"),
    (Peer::Python2, "python2", "add", r#"{"a":1,"b":2}"#, r#"{"total":3}"#),
    (Peer::Python1, "python1", "add", r#"{"a":3,"b":4}"#, r#"{"total":7}"#),
    (Peer::FastMcp, "fastmcp", "weather", r#"{"city":"Rome"}"#, r#"{"city":"Rome","degrees":21.5}"#),
];

#[tokio::test]
async fn an_agent_calls_tools_of_every_server_in_one_reply() {
    let here = CALLS.map(|call| (call.0.words("an_agent_calls_tools_of_every_server_in_one_reply", "stdio"), call));
    let here: Vec<_> = here.into_iter().filter_map(|(words, call)| Some((words?, call))).collect();
    if here.is_empty() {
        return;
    }
    let (mut servers, mut sets, mut names, mut calls) = (Vec::new(), String::new(), Vec::new(), Vec::new());
    for (words, (_, name, tool, arguments, _)) in &here {
        servers.push(format!("  {name}: {{ command: {} }}\n", json!(words)));
        sets += &format!("  {name}: {{ mcp: {name}, prefix: {name}_ }}\n");
        names.push(*name);
        calls.push(format!("{{ id: {name}, name: {name}_{tool}, arguments: {arguments} }}"));
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("servers.yaml");
    std::fs::write(&path, format!("version: 1\nname: servers\nmcp:\n{}", servers.concat())).unwrap();
    let config = fastagency::config::load(&path, &|_| None).unwrap_or_else(|problems| panic!("{problems}"));
    let script = format!("- tool_calls: [{}]\n- Done.\n", calls.join(", "));
    let workflow = format!(
        "version: 1\nname: clerk\nagents:\n  clerk: {{ system_message: You are a clerk., tools: [{}] }}\ntools:\n{sets}steps:\n  - {{ id: reply, agent: {{ agent: clerk, message: Go. }} }}\n  - return: \"{{{{ steps.reply }}}}\"\n",
        names.join(", ")
    );
    let builder = System::at(folder.path()).worker(&workflow).models(scripted(folder.path(), &script));
    let system = builder.parts(|parts| parts.outside = OutsideServices::new(&config)).start().await;
    let run = RunId::random();
    system.start(run).await;
    let mut follower = system.follow(run).await;
    assert_eq!(follower.ended().await, (RunOutcome::Completed, json!("Done.")));
    let expected: Vec<&str> = here.iter().map(|(_, call)| call.4).collect();
    assert_eq!(results(&follower.seen), expected);
    system.close().await;
}
