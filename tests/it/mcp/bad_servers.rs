//! Programs that break the rules: they end within a call, write what is no message, read nothing, or say nothing. Each costs its own
//! calls at most: other servers of the worker answer meanwhile, the next call finds a server that works, and nothing is left behind.

use super::connections::is_running;
use super::*;

/// As long as a call of the bad server may be silent.
const IDLE: Duration = Duration::from_millis(700);

/// The bad server of a worker, which writes down its processes, and another one that is good.
fn bad_and_good(folder: &Path) -> (Arc<McpServers>, McpToolset, McpToolset) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mcp/bad.py");
    let server = |numbers: &str| {
        let words = [Path::new("python3"), &script, &folder.join(numbers)];
        command(&words.map(|word| word.to_str().unwrap().to_owned()))
    };
    let good = Name::parse("good").unwrap();
    let http = Arc::new(HttpSender::new(AddressRules::default(), None));
    let all = BTreeMap::from([(docs(), server("bad")), (good.clone(), server("good"))]);
    let servers = Arc::new(McpServers::new(&all, &http, &BTreeMap::new(), &tokens(), &Arc::default()));
    let (bad, good) = (servers.toolset(docs(), Vec::new()), servers.toolset(good, Vec::new()));
    (servers, bad, good)
}

fn processes(folder: &Path, of: &str) -> Vec<String> {
    let numbers = std::fs::read_to_string(folder.join(of)).unwrap_or_default();
    numbers.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn what_a_bad_server_does_costs_no_other_server_and_leaves_nothing_behind() {
    let big = "x".repeat(1 << 20);
    for (how, ballast, expected, is_replaced) in [
        ("dead", "", "Lost", true),
        ("silent", "", "TimedOut", false),
        ("loud", "", "loud", false),
        ("loud for ever", "", "TimedOut", true),
        ("deaf", "", "TimedOut", true),
        ("deaf", &*big, "TimedOut", true),
        ("without input", "", "TimedOut", true),
        ("without output", "", "Lost", true),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (servers, bad, good) = bad_and_good(folder.path());
        let well = json!({"how": "well"});
        assert_eq!(value(call(&bad, "be", well.clone()).await), "well", "{how}");
        value(call(&good, "be", well.clone()).await);
        let first = processes(folder.path(), "bad");

        let breaks = call_within(&bad, "be", json!({"how": how}), if how == "loud" { LONG } else { IDLE }, None);
        // The good one is called as long as the bad one is under way; and so is the bad one, over the same pipes.
        let meanwhile = async {
            let (mut answered, mut tries) = (0, Vec::new());
            loop {
                assert_eq!(value(call(&good, "be", well.clone()).await), "well", "{how}");
                answered += 1;
                if answered == 1 && !ballast.is_empty() {
                    tries.push(call_within(&bad, "be", json!({"how": "well", "ballast": ballast}), IDLE, None).await);
                }
                tokio::task::yield_now().await;
                if answered >= 20 {
                    return tries;
                }
            }
        };
        let (broken, tries) = tokio::join!(breaks, meanwhile);
        assert!(format!("{broken:?}").contains(expected), "{how}: {broken:?}");
        assert!(tries.iter().all(Result::is_err), "{how}: nobody reads it: {tries:?}");

        eventually("the bad server is well again", async || {
            match call_within(&bad, "be", well.clone(), IDLE, None).await {
                Ok(ToolsetAnswer::Value(value)) if value == "well" => Ok(()),
                other => Err(other),
            }
        })
        .await;
        let now = processes(folder.path(), "bad");
        assert_eq!(now.last() != first.last(), is_replaced, "{how}: {first:?} {now:?}");
        if is_replaced {
            eventually("the broken process is gone, and waited for", async || {
                let is_there = |number: &&String| Path::new("/proc").join(number).exists();
                match now[..now.len() - 1].iter().find(is_there) {
                    Some(left) => Err((how, left)),
                    None => Ok(()),
                }
            })
            .await;
        }
        servers.close().await;
        for number in now.iter().chain(&processes(folder.path(), "good")) {
            assert!(!is_running(number) && !Path::new("/proc").join(number).exists(), "{how}: {number} is left");
        }
    }
}
