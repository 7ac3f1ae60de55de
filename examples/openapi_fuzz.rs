//! Changes specifications at random and reads them: what `fuzz/fuzz_targets/openapi.rs` wants of the reader, without cargo-fuzz. The
//! changes are those of a JSON tree (values taken from elsewhere in it, odd values, missing keys) and of single bytes.
//! `scripts/openapi-fuzz.sh` runs it.
//!
//!     openapi_fuzz SECONDS ARTIFACTS SEED...

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rand::prelude::*;
use rand::rngs::StdRng;
use serde_json::{Value, json};

#[path = "../fuzz/fuzz_targets/openapi_check.rs"]
mod openapi_check;

/// Longer than this no input may take, in a build without optimisations.
const SLOWEST: Duration = Duration::from_secs(20);
/// Larger inputs are not made.
const LARGEST: usize = 64 << 10;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [seconds, artifacts, seeds @ ..] = &arguments[..] else {
        eprintln!("openapi_fuzz SECONDS ARTIFACTS SEED...");
        return ExitCode::from(2);
    };
    let end = Instant::now() + Duration::from_secs(seconds.parse().expect("a number of seconds"));
    let seeds: Vec<Value> = seeds.iter().filter_map(|file| seed(Path::new(file))).collect();
    let number: u64 = rand::random();
    let mut random = StdRng::seed_from_u64(number);
    let (mut inputs, mut tools, mut slowest) = (0_u64, 0_usize, Duration::ZERO);
    while Instant::now() < end {
        let bytes = changed(&seeds, &mut random);
        let since = Instant::now();
        let checked = catch_unwind(AssertUnwindSafe(|| openapi_check::check(&bytes)));
        slowest = slowest.max(since.elapsed());
        inputs += 1;
        if checked.is_err() || since.elapsed() > SLOWEST {
            let file = Path::new(artifacts).join(format!("{number}-{inputs}.json"));
            std::fs::write(&file, &bytes).expect("the input is kept");
            eprintln!("openapi_fuzz: {} after {inputs} inputs", file.display());
            return ExitCode::FAILURE;
        }
        tools += checked.unwrap_or_default();
    }
    println!("{inputs} inputs, {tools} tools, the slowest input took {slowest:.2?} (random numbers from {number})");
    ExitCode::SUCCESS
}

fn seed(file: &Path) -> Option<Value> {
    let text = std::fs::read_to_string(file).ok()?;
    let value: Value = serde_json::from_str(&text).ok().or_else(|| serde_saphyr::from_str(&text).ok())?;
    Some(value)
}

fn changed(seeds: &[Value], random: &mut StdRng) -> Vec<u8> {
    let mut tree = seeds.choose(random).expect("a seed").clone();
    for _ in 0..random.random_range(1..12) {
        let count = count(&tree);
        let other = match random.random_range(0..3) {
            0 => at(&mut seeds.choose(random).expect("a seed").clone(), &mut random.random_range(0..count)).cloned(),
            1 => at(&mut tree.clone(), &mut random.random_range(0..count)).cloned(),
            _ => None,
        };
        let other = other.unwrap_or_else(|| odd(random));
        let Some(place) = at(&mut tree, &mut random.random_range(0..count)) else { continue };
        match (place, random.random_range(0..4)) {
            (Value::Object(map), 0) if !map.is_empty() => {
                let key = map.keys().nth(random.random_range(0..map.len())).cloned().expect("a key");
                map.shift_remove(&key);
            }
            (Value::Object(map), 1) => {
                let key = WORDS.choose(random).expect("a word");
                map.insert((*key).to_owned(), other);
            }
            (place, _) => *place = other,
        }
    }
    let mut bytes = tree.to_string().into_bytes();
    bytes.truncate(LARGEST);
    if random.random_ratio(1, 4) && !bytes.is_empty() {
        for _ in 0..random.random_range(1..6) {
            let place = random.random_range(0..bytes.len());
            bytes[place] = random.random();
        }
    }
    bytes
}

fn count(tree: &Value) -> usize {
    1 + match tree {
        Value::Object(map) => map.values().map(count).sum(),
        Value::Array(items) => items.iter().map(count).sum(),
        _ => 0_usize,
    }
}

/// The value with a number, counted from the root.
fn at<'v>(tree: &'v mut Value, left: &mut usize) -> Option<&'v mut Value> {
    if *left == 0 {
        return Some(tree);
    }
    *left -= 1;
    match tree {
        Value::Object(map) => map.values_mut().find_map(|value| at(value, left)),
        Value::Array(items) => items.iter_mut().find_map(|value| at(value, left)),
        _ => None,
    }
}

/// Keys that mean something.
const WORDS: [&str; 24] = [
    "$ref",
    "type",
    "properties",
    "required",
    "allOf",
    "oneOf",
    "anyOf",
    "not",
    "items",
    "enum",
    "const",
    "pattern",
    "nullable",
    "default",
    "style",
    "explode",
    "in",
    "name",
    "security",
    "servers",
    "requestBody",
    "parameters",
    "multipleOf",
    "$defs",
];

fn odd(random: &mut StdRng) -> Value {
    let odd = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1e308),
        json!(0.1),
        json!(""),
        json!("#"),
        json!("#/"),
        json!("#/components/schemas"),
        json!("..%2f..\r\nX: y"),
        json!("{a}{b}"),
        json!("https://u:p@evil.example/{x}"),
        json!("(a+)+$"),
        json!("\u{0}\u{ffff}é"),
        json!([]),
        json!({}),
        json!({"$ref": "#"}),
        json!({"type": ["string", "null"], "enum": [null]}),
    ];
    odd.choose(random).expect("a value").clone()
}
