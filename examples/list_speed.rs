//! How long the first page of a list takes, by how many runs are kept: fills an embedded store with the lines of ended runs, and
//! prints for each list the median and the 99th percentile in milliseconds. `scripts/lists.sh` runs it.
//!
//!     list_speed RUNS USERS [RUNS USERS ...]

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use fastagency::broker::embedded;
use fastagency::broker::run_lists::{
    LineFilter, LineOrder, LineOwner, LineQuery, MOST_LOOKED_THROUGH, QuestionQuery, SearchedText,
};
use fastagency::clock::Timestamp;
use fastagency::ids::{MessageId, Name, RunId, UserId};
use fastagency::protocol::log::{RunOrigin, RunOutcome};
use fastagency::protocol::run_line::{LineStatus, title_words};
use fastagency::run::lists;
use fastagency::run::summary::{OpenQuestion, RunState, RunSummary};
use futures_util::TryStreamExt;

/// How often each list is read.
const TIMES: usize = 200;
/// How many lines are put at once.
const AT_ONCE: usize = 256;
/// One run in so many waits for a person, and one has the rare word in its title.
const ONE_WAITS_OF: usize = 500;
const ONE_IS_RARE_OF: usize = 20_000;
const WORKFLOWS: usize = 20;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let numbers: Vec<usize> =
        std::env::args().skip(1).map(|text| text.parse()).collect::<Result<_, _>>().context("RUNS USERS ...")?;
    ensure!(!numbers.is_empty() && numbers.len().is_multiple_of(2), "usage: list_speed RUNS USERS [RUNS USERS ...]");
    for pair in numbers.chunks(2) {
        measure(pair[0], pair[1]).await?;
    }
    Ok(())
}

async fn measure(runs: usize, users: usize) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let broker = embedded::open(folder.path())?;
    let begun = Instant::now();
    futures_util::stream::iter((0..runs).map(|number| line(number, users)).map(Ok::<_, anyhow::Error>))
        .try_for_each_concurrent(AT_ONCE, |line| {
            let broker = &broker;
            async move { Ok(line.publish_summary(broker).await?) }
        })
        .await?;
    let took = begun.elapsed();
    let size: u64 =
        std::fs::read_dir(folder.path())?.filter_map(|file| file.ok()?.metadata().ok()).map(|file| file.len()).sum();
    println!("{runs} runs of {users} users, put in {:.1} s ({:.0} MB)", took.as_secs_f64(), size as f64 / 1e6);
    let (fewest, most) = (user(users - 1), user(0));
    let of = |user: &UserId| LineFilter { owner: LineOwner::User(Some(user.clone())), ..LineFilter::default() };
    let (own, all) = (of(&most), LineFilter::default());
    let hour = |hours: i64| Timestamp::from_second(1_700_000_000 + 3600 * hours).ok();
    let middle = (runs / 3600 / 2) as i64;
    for (name, filter) in [
        ("of a user", own.clone()),
        ("of another user", of(&fewest)),
        ("everybody's", all.clone()),
        ("of a user, ended", LineFilter { statuses: LineStatus::of_state(RunState::Ended).to_vec(), ..own.clone() }),
        ("of a user, waiting", LineFilter { statuses: vec![LineStatus::Waiting], ..own.clone() }),
        ("everybody's, running", LineFilter { statuses: vec![LineStatus::Running], ..all.clone() }),
        ("of a user, by workflow", LineFilter { workflow: Some("flow_7".into()), ..own.clone() }),
        ("everybody's, by workflow", LineFilter { workflow: Some("flow_7".into()), ..all.clone() }),
        ("of a user, by time", LineFilter { until: hour(middle), ..own.clone() }),
        ("everybody's, by time", LineFilter { since: hour(0), until: hour(middle), ..all.clone() }),
        ("of a user, a word of every title", LineFilter { words: title_words("invo"), ..own.clone() }),
        ("of a user, a rare word", LineFilter { words: title_words("zebr"), ..own.clone() }),
        ("everybody's, a rare word", LineFilter { words: title_words("zebra"), ..all.clone() }),
        ("of a user, a text of every title", LineFilter { text: SearchedText::new("nvoic", false), ..own.clone() }),
        ("of a user, a text of no title", LineFilter { text: SearchedText::new("nowhere", false), ..own.clone() }),
    ] {
        let order = LineOrder::WaitingFirst;
        let query = LineQuery { filter, order, after: None, limit: 50, look_through: MOST_LOOKED_THROUGH };
        show(name, async || Ok(lists::page(&broker, &query).await?.runs.len())).await?;
    }
    let audit = LineFilter { with_removed: true, with_unknown: true, ..LineFilter::default() };
    let query = LineQuery {
        filter: audit,
        order: LineOrder::Newest,
        after: None,
        limit: 50,
        look_through: MOST_LOOKED_THROUGH,
    };
    show("the audit's", async || Ok(lists::page(&broker, &query).await?.runs.len())).await?;
    let query = QuestionQuery {
        owner: LineOwner::Everybody,
        asked_before: None,
        after: None,
        limit: 50,
        look_through: MOST_LOOKED_THROUGH,
    };
    let open = |run: &mut RunSummary, _| run.questions.first().cloned();
    show("open questions", async || Ok(lists::questions(&broker, &query, open).await?.questions.len())).await?;
    show("totals", async || Ok(broker.lists.totals(50).await?.by_user.len())).await?;
    let most = most.clone();
    show("open runs of a user, counted", async || Ok(broker.lists.count_open(Some(&most), 100).await?)).await
}

/// Prints how long it takes to read a list.
async fn show(name: &str, read: impl AsyncFn() -> anyhow::Result<usize>) -> anyhow::Result<()> {
    let mut took: Vec<Duration> = Vec::with_capacity(TIMES);
    let mut found = 0;
    for _ in 0..TIMES {
        let begun = Instant::now();
        found = read().await?;
        took.push(begun.elapsed());
    }
    took.sort();
    let millis = |part: usize| took[(TIMES * part / 100).min(TIMES - 1)].as_secs_f64() * 1000.0;
    println!("  {name:<34} p50 {:7.2} ms   p99 {:7.2} ms   {found} lines", millis(50), millis(99));
    Ok(())
}

fn user(number: usize) -> UserId {
    UserId::new(format!("user_{number}")).expect("a name")
}

/// The line of a run, one a second.
fn line(number: usize, users: usize) -> RunSummary {
    let created_at = Timestamp::from_second(1_700_000_000 + number as i64).expect("a time");
    let rare = if number % ONE_IS_RARE_OF == 7 { " zebra" } else { "" };
    let mut run = RunSummary {
        workflow: Name::parse(&format!("flow_{}", number % WORKFLOWS)).ok(),
        title: Some(format!("Invoice {number} of customer {}{rare}", number % 977)),
        user: Some(user(number % users)),
        origin: Some(RunOrigin::Gateway),
        tokens: 1000,
        created_at,
        updated_at: created_at,
        seq: number as u64,
        state: RunState::Running,
        ..RunSummary::new(RunId::random())
    };
    if number % ONE_WAITS_OF == 3 {
        run.state = RunState::Waiting;
        run.questions.push(OpenQuestion {
            id: run.id.derive::<MessageId>("question"),
            prompt: "May it be paid?".to_owned(),
            at: created_at,
            answerers: None,
            escalated: 0,
            reminded_at: None,
            entitles: true,
        });
    } else if number % ONE_WAITS_OF != 4 {
        run.end(if number.is_multiple_of(50) { RunOutcome::Failed } else { RunOutcome::Completed }, None);
    }
    run
}
