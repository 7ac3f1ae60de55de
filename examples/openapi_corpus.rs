//! Reads all specifications below a folder, or one file, as `fastagency tools list` does, and says what came of them.
//! `scripts/openapi-corpus.sh` runs it over thousands of public ones.
//!
//!     openapi_corpus FOLDER|FILE [--check] [--tools]
//!
//! With `--check` every schema is compiled, too. With `--tools` it prints a line for each tool instead: method, path, and the names
//! of its arguments, so that two descriptions of one API can be compared.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fastagency::openapi::{DocumentSource, OpenApiDocument, ToolSelection, files_below, read_file};

/// That of the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Default)]
struct Tally {
    documents: usize,
    refused: BTreeMap<String, usize>,
    usable: usize,
    warned: usize,
    warnings: BTreeMap<String, usize>,
    skipped: BTreeMap<String, usize>,
    broken: Vec<String>,
    times: Vec<(Duration, usize, PathBuf)>,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |option: &str| arguments.iter().any(|argument| argument == option);
    let check = has("--check");
    let place = PathBuf::from(arguments.first().expect("a folder or a file"));
    let mut files = Vec::new();
    collect(&place, &mut files);
    files.sort();
    if has("--tools") {
        return files.iter().for_each(|file| print_tools(file));
    }
    let mut tally = Tally::default();
    for file in &files {
        read(file, check, &mut tally);
    }
    tally.print();
}

fn print_tools(file: &Path) {
    let bytes = read_file(file).expect("a readable file");
    let source = DocumentSource::File(file.to_owned());
    let document = OpenApiDocument::read(&bytes, &source, &files_below(file)).expect("a specification");
    for tool in document.tools(&ToolSelection::default()).tools {
        let properties = tool.schema()["properties"].as_object().expect("properties");
        let mut names: Vec<&str> = properties.keys().map(String::as_str).collect();
        names.sort_unstable();
        println!("{} {} {}", tool.method, tool.path, names.join(" "));
    }
}

fn collect(place: &Path, files: &mut Vec<PathBuf>) {
    if place.is_file() {
        return files.push(place.to_owned());
    }
    for entry in std::fs::read_dir(place).expect("a folder") {
        let path = entry.expect("an entry").path();
        let is_document = path.extension().is_some_and(|kind| kind == "json" || kind == "yaml" || kind == "yml");
        if path.is_dir() || is_document {
            collect(&path, files);
        }
    }
}

fn read(file: &Path, check: bool, tally: &mut Tally) {
    tally.documents += 1;
    let begun = Instant::now();
    let source = DocumentSource::File(file.to_owned());
    let bytes = read_file(file).expect("a readable file");
    let document = match OpenApiDocument::read(&bytes, &source, &files_below(file)) {
        Ok(document) => document,
        Err(error) => return count(&mut tally.refused, &error.to_string()),
    };
    drop(bytes);
    let selection = ToolSelection::default();
    let mut operations = document.skipped().len();
    document.skipped().iter().for_each(|one| count(&mut tally.skipped, &one.reason));
    let mut checking = Duration::ZERO;
    for entry in document.selected(&selection) {
        operations += 1;
        let tool = match document.tool(entry) {
            Ok(tool) => tool,
            Err(skipped) => {
                count(&mut tally.skipped, &skipped.reason);
                continue;
            }
        };
        tally.usable += 1;
        tally.warned += usize::from(!tool.warnings.is_empty());
        let mut messages: Vec<String> = tool.warnings.iter().map(|warning| plain(&warning.message)).collect();
        messages.sort();
        messages.dedup();
        messages.iter().for_each(|message| *tally.warnings.entry(message.clone()).or_default() += 1);
        if check {
            let begun = Instant::now();
            if let Err(why) = tool.validator() {
                tally.broken.push(format!("{} {}: {why}", file.display(), tool.name));
            }
            checking += begun.elapsed();
        }
    }
    tally.times.push((begun.elapsed().saturating_sub(checking), operations, file.to_owned()));
}

fn count(counts: &mut BTreeMap<String, usize>, sentence: &str) {
    *counts.entry(plain(sentence)).or_default() += 1;
}

/// A sentence with `…` for what is another word each time.
fn plain(sentence: &str) -> String {
    let mut words = String::new();
    for (index, part) in sentence.split('"').enumerate() {
        words.push_str(if index % 2 == 1 { "…" } else { part });
    }
    let words = words.split_whitespace().map(|word| {
        let varies = word.starts_with('{') || word.contains("[0]=") || word.bytes().any(|byte| byte.is_ascii_digit());
        if varies && !word.contains("OpenAPI") { "…" } else { word }
    });
    let words = words.collect::<Vec<_>>().join(" ");
    // What the server of one document is called, or its list of types, is no reason of its own.
    words.split(" (").next().unwrap_or_default().chars().take(110).collect()
}

impl Tally {
    fn print(mut self) {
        let share = |part: usize, whole: usize| 100.0 * part as f64 / whole.max(1) as f64;
        let refused: usize = self.refused.values().sum();
        println!(
            "documents   {:>7}  read {} ({:.2} %), refused {refused}",
            self.documents,
            self.documents - refused,
            share(self.documents - refused, self.documents)
        );
        list(&self.refused);
        let skipped: usize = self.skipped.values().sum();
        let all = self.usable + skipped;
        println!(
            "operations  {all:>7}  usable {} ({:.2} %), of these with warnings {} ({:.2} %), skipped {skipped}",
            self.usable,
            share(self.usable, all),
            self.warned,
            share(self.warned, all)
        );
        println!("skipped");
        list(&self.skipped);
        println!("warnings (operations that have one)");
        list(&self.warnings);
        println!("schemas that do not compile  {}", self.broken.len());
        self.broken.iter().take(20).for_each(|line| println!("  {line}"));
        self.times.sort_by_key(|(time, ..)| Reverse(*time));
        let total: Duration = self.times.iter().map(|(time, ..)| *time).sum();
        println!("time        {:.2} s in all; the slowest:", total.as_secs_f64());
        for (time, operations, file) in self.times.iter().take(8) {
            println!("  {:>8.1} ms  {operations:>6} operations  {}", time.as_secs_f64() * 1e3, file.display());
        }
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("VmHWM: unknown");
        println!("memory      {}", peak.trim_start_matches("VmHWM:").trim());
    }
}

fn list(counts: &BTreeMap<String, usize>) {
    let mut rows: Vec<(&String, &usize)> = counts.iter().collect();
    rows.sort_by_key(|(_, count)| Reverse(**count));
    rows.iter().for_each(|(words, count)| println!("  {count:>7}  {words}"));
}
