use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use futures_util::TryStreamExt;
use serde_json::json;

use super::super::file_size::{DiskSpace, FileSizeLimit};
use crate::broker::run_lists::{
    LineAccess, LineFilter, LineOrder, LineOwner, LinePage, LineQuery, MOST_LOOKED_THROUGH, QuestionPlace,
    QuestionQuery, RunLine, RunLists, SearchedText, WholeRunLists, nanoseconds,
};
use crate::broker::{Broker, Bucket, embedded};
use crate::clock::Timestamp;
use crate::ids::{MessageId, RunId, UserId, WorkerId, user_token};
use crate::protocol::run_line::{LineStatus, title_words};

/// Numbers that are the same in each run of the tests.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % most
    }

    fn one<'o, T>(&mut self, of: &'o [T]) -> &'o T {
        &of[self.below(of.len() as u64) as usize]
    }
}

const STATES: [(&str, Option<&str>); 7] = [
    ("queued", None),
    ("running", None),
    ("waiting", None),
    ("ended", Some("completed")),
    ("ended", Some("failed")),
    ("ended", Some("cancelled")),
    ("ended", None),
];
const WORDS: [&str; 8] = ["tri", "triangles", "Circles", "of", "Kreise", "für", "preis", "30"];

fn users() -> [Option<UserId>; 3] {
    [None, UserId::new("ann"), UserId::new("bob@example.org")]
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millisecond(millis as i64).unwrap()
}

/// Puts, changes and removes lines of all kinds.
async fn some_lines(broker: &Broker, worker: WorkerId) -> Vec<RunId> {
    let mut numbers = Numbers(7);
    let runs: Vec<RunId> = (0..120).map(|_| RunId::random()).collect();
    for step in 0..500 {
        let (number, run) = (numbers.below(120), *numbers.one(&runs));
        let user = users()[(number % 3) as usize].clone();
        let run = if step < 120 { runs[step] } else { run };
        // A run keeps its user and the moment at which it was created.
        let place = runs.iter().position(|known| *known == run).unwrap() as u64;
        let user = if place.is_multiple_of(7) { user } else { users()[(place % 3) as usize].clone() };
        let key = format!("{}.{run}", user_token(user.as_ref()));
        let title: Vec<&str> = (0..numbers.below(4)).map(|_| *numbers.one(&WORDS)).collect();
        let (state, outcome) = *numbers.one(&STATES);
        let open = if state == "waiting" { 1 + numbers.below(3) } else { 0 };
        let questions: Vec<_> = (0..open)
            .map(|nth| json!({"id": run.derive::<MessageId>(&format!("{nth} {key}")), "prompt": "?", "at": at(numbers.below(50))}))
            .collect();
        let line = json!({
            "id": run, "workflow": *numbers.one(&[None, Some("a"), Some("b")]), "title": title.join(" "), "state": state,
            "outcome": outcome, "reason": *numbers.one(&[None, Some("A broken Wheel")]), "questions": questions, "user": user,
            "worker": *numbers.one(&[None, Some(worker)]), "tokens": numbers.below(100), "cost_usd": 0.25, "estimated": numbers.below(2) == 0,
            "created_at": at(1000 + 10 * place), "updated_at": at(5000), "seq": 1,
        });
        let line = serde_json::to_vec(&line).unwrap();
        match numbers.below(8) {
            0 => broker.catalogue.delete(Bucket::Runs, &key).await.unwrap(),
            1 => {
                let title = serde_json::to_vec(numbers.one(&WORDS)).unwrap();
                broker.catalogue.put(Bucket::Runs, &format!("{key}.title"), title.into(), None).await.unwrap();
            }
            2 if place.is_multiple_of(5) => {
                broker.catalogue.delete(Bucket::Runs, &key).await.unwrap();
                broker.catalogue.put(Bucket::Runs, &format!("~removed.{run}"), line.into(), None).await.unwrap();
            }
            _ => broker.catalogue.put(Bucket::Runs, &key, line.into(), None).await.unwrap(),
        }
    }
    broker.catalogue.put(Bucket::Runs, "all", "[]".into(), None).await.unwrap();
    broker.catalogue.put(Bucket::Runs, "ann.b", "not a line".into(), None).await.unwrap();
    runs
}

/// What is asked for in the test, in all combinations that are of interest.
fn filters(worker: WorkerId, run: RunId) -> Vec<LineFilter> {
    let owners = [LineOwner::Everybody].into_iter().chain(users().map(LineOwner::User));
    let mut found = Vec::new();
    for owner in owners {
        for workflow in [None, Some("a".to_owned())] {
            for statuses in [vec![], vec![LineStatus::Waiting], vec![LineStatus::Completed, LineStatus::Ended]] {
                for with_removed in [false, true] {
                    let (owner, workflow, statuses) = (owner.clone(), workflow.clone(), statuses.clone());
                    let plain = LineFilter {
                        owner,
                        workflow,
                        statuses,
                        with_removed,
                        with_unknown: with_removed,
                        ..LineFilter::default()
                    };
                    let text =
                        |text: &str, in_audit| LineFilter { text: SearchedText::new(text, in_audit), ..plain.clone() };
                    let words = |words: &str| LineFilter { words: title_words(words), ..plain.clone() };
                    found.extend([
                        text("IRC", false),
                        text("wheel", true),
                        text("wheel", false),
                        text("example", true),
                        text(&run.to_string(), false),
                        words("tri"),
                        words("Tri kre"),
                        words("nothing"),
                        LineFilter { worker: Some(worker.to_string()), ..plain.clone() },
                        LineFilter { since: Some(at(1200)), until: Some(at(1900)), ..plain.clone() },
                        plain.clone(),
                    ]);
                }
            }
        }
    }
    found
}

/// All runs of a list, read by pages.
async fn all_pages(
    lists: &dyn RunLists,
    filter: &LineFilter,
    order: LineOrder,
    limit: usize,
    look_through: usize,
) -> Vec<RunId> {
    let mut query = LineQuery { filter: filter.clone(), order, after: None, limit, look_through };
    let mut found = Vec::new();
    loop {
        let LinePage { lines, next, looked_through } = lists.page(&query).await.unwrap();
        assert!(lines.len() <= limit);
        found.extend(lines.iter().map(|line| line.place.run));
        if look_through < MOST_LOOKED_THROUGH && next.is_some() {
            assert!(looked_through <= look_through);
        }
        match next {
            Some(next) => query.after = Some(next),
            None => return found,
        }
    }
}

#[tokio::test]
async fn each_page_from_the_index_is_what_reading_all_lines_gives() {
    let folder = tempfile::tempdir().unwrap();
    let broker = embedded::open(folder.path()).unwrap();
    let worker = WorkerId::random();
    let runs = some_lines(&broker, worker).await;
    let whole = WholeRunLists::new(broker.catalogue.clone());
    let mut met = BTreeSet::new();
    for filter in filters(worker, runs[3]) {
        for order in [LineOrder::Newest, LineOrder::WaitingFirst] {
            let wanted = all_pages(&whole, &filter, order, usize::MAX, usize::MAX).await;
            met.insert(wanted.len().min(2));
            for (limit, look_through) in [(100, MOST_LOOKED_THROUGH), (3, MOST_LOOKED_THROUGH), (2, 5)] {
                let found = all_pages(&*broker.lists, &filter, order, limit, look_through).await;
                assert_eq!(found, wanted, "{filter:?} {order:?} {limit} {look_through}");
            }
        }
    }
    assert_eq!(met.len(), 3, "some lists are empty, and some are not");
    let every = async |lists: &dyn RunLists| -> BTreeSet<RunId> {
        lists.every_line().map_ok(|line| line.place.run).try_collect().await.unwrap()
    };
    assert_eq!(every(&*broker.lists).await, every(&whole).await);
    for run in runs {
        let (found, wanted) = tokio::join!(broker.lists.line(run), whole.line(run));
        assert_eq!(found.unwrap().is_some(), wanted.unwrap().is_some());
    }
}

#[tokio::test]
async fn questions_and_totals_from_the_index_are_those_of_all_lines() {
    let folder = tempfile::tempdir().unwrap();
    let broker = embedded::open(folder.path()).unwrap();
    some_lines(&broker, WorkerId::random()).await;
    let whole = Arc::new(WholeRunLists::new(broker.catalogue.clone()));
    for owner in [LineOwner::Everybody].into_iter().chain(users().map(LineOwner::User)) {
        for asked_before in [None, Some(at(25))] {
            for after in [None, Some(QuestionPlace { at: nanoseconds(at(20)), question: MessageId::HIGHEST })] {
                let query = QuestionQuery { owner: owner.clone(), asked_before, after, limit: 3, look_through: 3 };
                let found: Vec<_> = broker.lists.questions(&query).try_collect().await.unwrap();
                let wanted: Vec<_> = whole.questions(&query).try_collect().await.unwrap();
                let told = |questions: &[(QuestionPlace, RunLine)]| -> Vec<_> {
                    questions.iter().map(|(place, line)| (*place, line.value.clone(), line.title.clone())).collect()
                };
                assert_eq!(told(&found), told(&wanted), "{query:?}");
            }
        }
    }
    for dearest in [1, 50] {
        assert_eq!(broker.lists.totals(dearest).await.unwrap(), whole.totals(dearest).await.unwrap());
    }
    for user in users() {
        for most in [3, 1000] {
            let found = broker.lists.count_open(user.as_ref(), most).await.unwrap();
            assert_eq!(found, whole.count_open(user.as_ref(), most).await.unwrap());
        }
    }
}

#[tokio::test]
async fn nothing_of_a_line_stays_in_the_index_when_the_line_goes() {
    let folder = tempfile::tempdir().unwrap();
    let broker = embedded::open(folder.path()).unwrap();
    some_lines(&broker, WorkerId::random()).await;
    for entry in broker.catalogue.list(Bucket::Runs, None).await.unwrap() {
        broker.catalogue.delete(Bucket::Runs, &entry.key).await.unwrap();
    }
    drop(broker);
    let file = rusqlite::Connection::open(folder.path().join("store.sqlite")).unwrap();
    for table in ["run_lines", "run_words", "run_questions", "run_totals"] {
        let left: i64 = file.query_row(&format!("select count(*) from {table}"), [], |row| row.get(0)).unwrap();
        assert_eq!(left, 0, "{table}");
    }
}

/// Makes of the store in a folder one as the version before the index left it.
fn make_older(folder: &Path) {
    let file = rusqlite::Connection::open(folder.join("store.sqlite")).unwrap();
    let tables = "drop table run_lines; drop table run_words; drop table run_questions; drop table run_totals;";
    file.execute_batch(&format!("{tables} pragma user_version = 1")).unwrap();
}

#[tokio::test]
async fn a_file_of_an_older_version_gets_its_index_when_it_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let broker = embedded::open(folder.path()).unwrap();
    some_lines(&broker, WorkerId::random()).await;
    let totals = broker.lists.totals(50).await.unwrap();
    let all = LineFilter::default();
    let list = all_pages(&*broker.lists, &all, LineOrder::WaitingFirst, 100, MOST_LOOKED_THROUGH).await;
    drop(broker);
    make_older(folder.path());
    let disk = |free| Box::new(move || Some(DiskSpace { size: 100 << 30, free }));
    let refused = embedded::open_with(folder.path(), FileSizeLimit::of(None, disk(100_000))).err().unwrap().to_string();
    assert!(refused.contains("MB are needed, 0 MB are free"), "{refused}");
    let broker = embedded::open_with(folder.path(), FileSizeLimit::of(None, disk(10 << 30))).unwrap();
    assert_eq!(broker.lists.totals(50).await.unwrap(), totals);
    assert_eq!(all_pages(&*broker.lists, &all, LineOrder::WaitingFirst, 100, MOST_LOOKED_THROUGH).await, list);
}

/// A run's line that says so much of what it cost.
fn dear_line(run: RunId, tokens: u64, cost_usd: f64) -> Vec<u8> {
    let line = json!({
        "id": run, "workflow": "a", "title": null, "state": "running", "outcome": null, "questions": [], "user": null,
        "tokens": tokens, "cost_usd": cost_usd, "created_at": at(1000), "updated_at": at(5000), "seq": 1,
    });
    serde_json::to_vec(&line).unwrap()
}

#[tokio::test]
async fn totals_are_told_whatever_a_models_server_says_that_it_has_read() {
    let folder = tempfile::tempdir().unwrap();
    let broker = embedded::open(folder.path()).unwrap();
    let whole = WholeRunLists::new(broker.catalogue.clone());
    let put = async |run: RunId, tokens: u64, cost_usd: f64| {
        let line = dear_line(run, tokens, cost_usd);
        broker.catalogue.put(Bucket::Runs, &format!("{}.{run}", user_token(None)), line.into(), None).await.unwrap();
    };
    let cost = async || {
        let totals = broker.lists.totals(50).await.unwrap();
        assert_eq!(totals, whole.totals(50).await.unwrap());
        totals.by_workflow[0].1.clone()
    };
    let runs = [RunId::random(), RunId::random()];
    put(runs[0], 7, 0.25).await;
    let before = cost().await;
    for run in runs {
        put(run, u64::MAX, 1e30).await;
        put(run, u64::MAX - 1, 1e29).await;
    }
    assert!(cost().await.tokens > 1_000_000_000_000);
    put(runs[0], 7, 0.25).await;
    broker.catalogue.delete(Bucket::Runs, &format!("{}.{}", user_token(None), runs[1])).await.unwrap();
    assert_eq!(cost().await, before);
}

#[tokio::test]
async fn a_total_that_is_no_number_of_ours_is_told_as_near_as_can_be() {
    let folder = tempfile::tempdir().unwrap();
    drop(embedded::open(folder.path()).unwrap());
    let file = rusqlite::Connection::open(folder.path().join("store.sqlite")).unwrap();
    file.execute_batch("insert into run_totals values (1, 'a', 1, 1.5e19, -7, 0), (0, '3', -2, 0, 0, 0)").unwrap();
    drop(file);
    let totals = embedded::open(folder.path()).unwrap().lists.totals(50).await.unwrap();
    let cost = &totals.by_workflow[0].1;
    assert_eq!((cost.runs, cost.tokens, cost.cost_usd.picos()), (1, i64::MAX as u64, 0));
    assert!(totals.by_status.iter().all(|(_, runs)| *runs == 0));
}

#[tokio::test]
async fn an_id_that_is_no_runs_is_found_in_titles() {
    let folder = tempfile::tempdir().unwrap();
    let broker = embedded::open(folder.path()).unwrap();
    let (run, order) = (RunId::random(), RunId::random());
    let key = format!("{}.{run}", user_token(None));
    broker.catalogue.put(Bucket::Runs, &key, dear_line(run, 0, 0.0).into(), None).await.unwrap();
    let title = json!(format!("Order {}", order.dashed())).to_string();
    broker.catalogue.put(Bucket::Runs, &format!("{key}.title"), title.into(), None).await.unwrap();
    for (searched, found) in [(order, vec![run]), (run, vec![run]), (RunId::random(), vec![])] {
        let filter = LineFilter { text: SearchedText::new(&searched.dashed(), false), ..LineFilter::default() };
        let pages = all_pages(&*broker.lists, &filter, LineOrder::Newest, 100, MOST_LOOKED_THROUGH).await;
        assert_eq!(pages, found);
    }
}

#[tokio::test]
async fn a_page_goes_on_after_what_may_not_be_seen_without_naming_it() {
    let folder = tempfile::tempdir().unwrap();
    let broker = embedded::open(folder.path()).unwrap();
    let mut own = BTreeSet::new();
    // Some were created at the same moment.
    for number in 0..60 {
        let run = RunId::random();
        let workflow = if number % 7 == 0 { "mine" } else { "others" };
        own.extend((workflow == "mine").then_some(run));
        let line = json!({
            "id": run, "workflow": workflow, "title": null, "state": "running", "outcome": null, "questions": [],
            "user": null, "created_at": at(1000 + number / 4), "updated_at": at(5000), "seq": 1,
        });
        let line = serde_json::to_vec(&line).unwrap();
        broker.catalogue.put(Bucket::Runs, &format!("{}.{run}", user_token(None)), line.into(), None).await.unwrap();
    }
    let access = LineAccess::new(|workflow, _| workflow == "mine");
    let filter = LineFilter { access: Some(access), ..LineFilter::default() };
    let mut query = LineQuery { filter, order: LineOrder::WaitingFirst, after: None, limit: 2, look_through: 3 };
    let mut found = Vec::new();
    loop {
        let page = broker.lists.page(&query).await.unwrap();
        found.extend(page.lines.iter().map(|line| line.place.run));
        let Some(next) = page.next else { break };
        assert!(own.contains(&next.run) || next.run == RunId::LOWEST, "{next} names a run that is not to be seen");
        query.after = Some(next);
    }
    assert_eq!(found.len(), own.len(), "each once");
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), own);
}
