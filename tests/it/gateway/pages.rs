//! Lists by page: everything is listed once, in order, and found by what the list is asked for.

use fastagency::broker::Broker;
use fastagency::clock::Timestamp;
use fastagency::ids::{MessageId, Name, RunId};
use fastagency::run::record::RunOutcome;
use fastagency::run::summary::{OpenQuestion, RunState, RunSummary};
use serde_json::{Value, json};

use crate::support::system::System;

const RUNS: i64 = 12;

fn at(hour: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + 3600 * hour).unwrap()
}

/// Puts lines down as workers do: of runs one an hour, every fourth of which waits.
async fn put_lines(broker: &Broker) -> Vec<RunId> {
    let mut runs = Vec::new();
    for hour in 0..RUNS {
        let mut run = RunSummary {
            workflow: Name::parse(if hour % 2 == 0 { "echo" } else { "params" }).ok(),
            title: Some(format!("Order {hour} of Küchen{}", if hour % 3 == 0 { "stühle" } else { "tische" })),
            created_at: at(hour),
            updated_at: at(hour),
            ..RunSummary::new(RunId::random())
        };
        if hour % 4 == 3 {
            run.state = RunState::Waiting;
            run.questions.push(OpenQuestion {
                id: run.id.derive::<MessageId>("question"),
                prompt: format!("Pay {hour}?"),
                at: at(hour),
                answerers: None,
                escalated: 0,
                reminded_at: None,
                entitles: true,
            });
        } else {
            run.end(RunOutcome::Completed, None);
        }
        run.publish_summary(broker).await.unwrap();
        runs.push(run.id);
    }
    runs
}

/// What is listed on all pages of a path, each with at most `limit`.
async fn pages(house: &System, path: &str, list: &str, limit: usize) -> Vec<Value> {
    let mut found = Vec::new();
    let mut cursor = String::new();
    loop {
        let separator = if path.contains('?') { '&' } else { '?' };
        let (status, mut page) = house.get(&format!("{path}{separator}limit={limit}{cursor}")).await;
        assert_eq!(status, 200, "{page}");
        let listed = page[list].as_array_mut().unwrap();
        assert!(listed.len() <= limit);
        found.append(listed);
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

#[tokio::test]
async fn every_page_of_a_list_goes_on_where_the_one_before_ended() {
    let house = System::played().await;
    let runs = put_lines(&house.broker).await;
    let hours = async |query: &str, limit| -> Vec<i64> {
        let found = pages(&house, &format!("/api/runs{query}"), "runs", limit).await;
        let place = |run: &Value| runs.iter().position(|id| run["id"] == json!(id)).unwrap() as i64;
        found.iter().map(place).collect()
    };
    let waiting_first = vec![11, 7, 3, 10, 9, 8, 6, 5, 4, 2, 1, 0];
    for limit in [1, 3, 5, 100] {
        assert_eq!(hours("", limit).await, waiting_first, "{limit}");
    }
    assert_eq!(hours("?state=waiting", 2).await, [11, 7, 3]);
    assert_eq!(hours("?state=ended&workflow=params", 2).await, [9, 5, 1]);
    assert_eq!(hours(&format!("?since={}&until={}", at(4), at(9)), 2).await, [7, 8, 6, 5, 4]);
    assert_eq!(hours("?title=küchenst%20order", 2).await, [3, 9, 6, 0]);
    assert_eq!(hours("?title=stühle", 2).await, [0; 0], "no word begins so");
    assert_eq!(hours("?search=stühle", 2).await, [3, 9, 6, 0]);
    assert_eq!(hours(&format!("?search={}", runs[5]), 2).await, [5]);
    let (status, refused) = house.get("/api/runs?cursor=5").await;
    assert_eq!((status, &refused["error"]["code"]), (422, &json!("invalid_query")));

    let prompts = async |query: &str| -> Vec<String> {
        let found = pages(&house, &format!("/api/questions{query}"), "questions", 1).await;
        found.iter().map(|question| question["prompt"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(prompts("").await, ["Pay 3?", "Pay 7?", "Pay 11?"]);
    assert_eq!(prompts("?search=pay%207").await, ["Pay 7?"]);
    assert_eq!(prompts(&format!("?asked_before={}", at(7))).await, ["Pay 3?"]);
    assert_eq!(prompts("?user=ann").await, [""; 0]);
    house.end().await;
}
