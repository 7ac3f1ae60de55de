//! A page of documentation that a comment, a message or a script names exists, and so does the section that it names there; so do
//! all other files that a comment names.

use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Where pages are named.
const FOLDERS: [&str; 7] = ["src", "tests", "scripts", "examples", "deploy", "fuzz/fuzz_targets", ".ci"];
/// What is not ours, or is data.
const LEFT_OUT: [&str; 7] = ["node_modules", "__pycache__", "ag2", "ag2-more", "histories", "poisoned", "wire"];
const TEXTS: [&str; 11] = ["rs", "js", "mjs", "ts", "py", "sh", "css", "html", "toml", "yaml", "conf"];
/// Signs that begin a line of a comment.
const COMMENT_SIGNS: [&str; 5] = ["//!", "///", "//", "#", "*"];
/// How the files end that comments name by their path. Pages are looked for everywhere, and not in comments alone.
const NAMED_FILES: [&str; 13] =
    [".rs", ".js", ".mjs", ".ts", ".py", ".sh", ".css", ".html", ".toml", ".yaml", ".conf", ".json", ".jsonl"];

/// A page that a text names.
#[derive(Debug, PartialEq, Eq)]
struct Citation {
    /// The path or the name, as it is written.
    page: String,
    /// The numbers of sections that follow.
    sections: Vec<u32>,
    /// The quoted heading that follows.
    heading: Option<String>,
    /// The line of the text, counted from 1.
    line: usize,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn collect_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("a readable entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            // The data folders lie below tests; tests/it/ag2 is code.
            let is_data = folder.ends_with("tests") || matches!(name.as_str(), "node_modules" | "__pycache__");
            if !(is_data && LEFT_OUT.contains(&name.as_str())) {
                collect_files(&path, found);
            }
        } else if path.extension().is_none_or(|extension| TEXTS.iter().any(|text| extension == *text)) {
            found.push(path);
        }
    }
}

/// The text with its lines joined, without the signs of comments: a citation may be broken at any space. Beside it, where in
/// it each line begins.
fn joined(text: &str) -> (String, Vec<usize>) {
    let mut whole = String::new();
    let mut starts = Vec::new();
    for line in text.lines() {
        starts.push(whole.len());
        let line = line.trim();
        let sign = COMMENT_SIGNS.iter().find(|sign| line.starts_with(**sign));
        whole.push_str(line.strip_prefix(sign.copied().unwrap_or_default()).unwrap_or(line).trim());
        whole.push(' ');
    }
    (whole, starts)
}

/// The numbers of `, section 3` or ` sections 1, 2 and 4`, and what follows them.
fn sections(after: &str) -> (Vec<u32>, &str) {
    let trimmed = after.trim_start_matches([',', ' ']);
    let Some(mut rest) = trimmed.strip_prefix("sections ").or_else(|| trimmed.strip_prefix("section ")) else {
        return (Vec::new(), after);
    };
    let mut numbers = Vec::new();
    loop {
        let digits = rest.len() - rest.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
        let Ok(number) = rest[..digits].parse() else { return (numbers, rest) };
        numbers.push(number);
        rest = &rest[digits..];
        let next = rest.strip_prefix(" and ").or_else(|| rest.strip_prefix(", "));
        match next {
            Some(next) if next.starts_with(|letter: char| letter.is_ascii_digit()) => rest = next,
            _ => return (numbers, rest),
        }
    }
}

/// All pages that a text names.
fn citations(text: &str) -> Vec<Citation> {
    let (whole, starts) = joined(text);
    let mut found = Vec::new();
    for (end, ending) in whole.match_indices(".md") {
        let after = &whole[end + ending.len()..];
        if after.starts_with(|letter: char| letter.is_ascii_alphanumeric() || letter == '_') {
            continue;
        }
        let is_part = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.' | '/');
        let stem = &whole[whole[..end].trim_end_matches(is_part).len()..end];
        // No name, or an address on the web.
        if stem.is_empty() || stem.starts_with("//") {
            continue;
        }
        let (sections, rest) = sections(after.strip_prefix('`').unwrap_or(after));
        let quoted = rest.strip_prefix(", \"").and_then(|rest| rest.split_once('"'));
        found.push(Citation {
            page: format!("{stem}{ending}"),
            sections,
            heading: quoted.map(|(heading, _)| heading.to_owned()),
            line: starts.partition_point(|start| *start < end),
        });
    }
    found
}

/// The comment of each line, or nothing: lines that begin with a sign of comments, and what follows code behind such a sign.
fn comments(text: &str, extension: &str) -> String {
    let is_script = matches!(extension, "py" | "sh" | "toml" | "yaml" | "conf" | "");
    let signs = if is_script { &["#"][..] } else { &["//", "*", "/*"] };
    let behind = if is_script { " # " } else { " // " };
    let mut whole = String::new();
    for line in text.lines() {
        let is_comment = signs.iter().any(|sign| line.trim_start().starts_with(sign));
        let comment = if is_comment { line } else { line.split_once(behind).map_or("", |(_, comment)| comment) };
        whole.push_str(comment);
        whole.push('\n');
    }
    whole
}

/// The files that the comments of a text name by a path, each with its line. A path with a gap (`$HOME/x.sh`, `<name>/x.rs`), and an
/// address, are none.
fn files_in_comments(text: &str, extension: &str) -> Vec<(String, usize)> {
    let (whole, starts) = joined(&comments(text, extension));
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.' | '/');
    let mut found = Vec::new();
    let mut at = 0;
    for word in whole.split(|letter| !is_part(letter)) {
        let before = whole[..at].chars().next_back().unwrap_or(' ');
        let path = word.trim_end_matches('.');
        let is_whole = !matches!(before, '$' | '{' | '}' | '<' | '>' | '*' | '~' | ':') && !path.starts_with('/');
        if is_whole && path.contains('/') && NAMED_FILES.iter().any(|ending| path.ends_with(ending)) {
            found.push((path.to_owned(), starts.partition_point(|start| *start <= at)));
        }
        at += word.len() + whole[at + word.len()..].chars().next().map_or(0, char::len_utf8);
    }
    found
}

/// The headings of a page, each with the number of the section that it stands in.
fn headings(page: &str) -> Vec<(Option<u32>, String)> {
    let mut section = None;
    let mut fenced = false;
    let mut found = Vec::new();
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        let title = line.trim_start_matches('#');
        let level = line.len() - title.len();
        if fenced || level == 0 {
            continue;
        }
        let title = title.trim();
        let number = title.split_once(". ").and_then(|(number, _)| number.parse().ok());
        if level <= 2 {
            section = number;
        }
        found.push((section, title.to_owned()));
    }
    found
}

/// What is wrong with a citation in `file`.
fn problem(citation: &Citation, file: &Path) -> Option<String> {
    let folder = file.parent().unwrap_or(root());
    // Pages of projects are in the folder from which `fastagency init` writes them.
    let folders = [root(), folder, &root().join("templates/common")];
    let pages = folders.map(|folder| folder.join(&citation.page));
    let Some(page) = pages.iter().find(|page| page.is_file()) else {
        return Some(format!("there is no {}", citation.page));
    };
    let headings = headings(&std::fs::read_to_string(page).expect("a readable page"));
    let in_section = |number: u32| headings.iter().any(|(section, _)| *section == Some(number));
    if let Some(missing) = citation.sections.iter().find(|number| !in_section(**number)) {
        return Some(format!("{} has no section {missing}", citation.page));
    }
    let wanted = citation.heading.as_ref()?;
    let is_there = headings.iter().any(|(section, title)| {
        let here = citation.sections.is_empty() || section.is_some_and(|number| citation.sections.contains(&number));
        here && title.eq_ignore_ascii_case(wanted)
    });
    (!is_there).then(|| format!("{} has no heading {wanted:?} there", citation.page))
}

/// The files of the repository in which pages and files are named.
fn naming_files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = ["Cargo.toml", "clippy.toml", "deny.toml"].map(|file| root().join(file)).into();
    for folder in FOLDERS {
        collect_files(&root().join(folder), &mut files);
    }
    files
}

#[test]
fn every_file_that_a_comment_names_exists() {
    let (mut count, mut problems) = (0, String::new());
    for file in naming_files() {
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        let extension = file.extension().unwrap_or_default().to_string_lossy();
        for (path, line) in files_in_comments(&text, &extension) {
            count += 1;
            if ![root(), file.parent().unwrap_or(root())].iter().any(|folder| folder.join(&path).is_file()) {
                let place = file.strip_prefix(root()).unwrap_or(&file).display();
                let _ = writeln!(problems, "{place}:{line}: there is no {path}");
            }
        }
    }
    assert!(problems.is_empty(), "\n{problems}");
    assert!(count > 150, "only {count} files are named");
}

#[test]
fn a_file_is_found_in_comments_alone_and_with_its_line() {
    let code = "let made_up = \"src/none.rs\"; // as src/bounds/mod.rs does\n//! See (`scripts/\n//! nats.sh`) and\n\
                //! `tests/it/main.rs`, not $HOME/x.sh or https://a.example/x.js, `<name>/x.rs`.\n";
    let found = files_in_comments(code, "rs");
    let found: Vec<(&str, usize)> = found.iter().map(|(path, line)| (path.as_str(), *line)).collect();
    assert_eq!(found, [("src/bounds/mod.rs", 1), ("tests/it/main.rs", 4)]);
}

#[test]
fn every_page_and_section_that_is_named_exists() {
    let (mut count, mut problems) = (0, String::new());
    for file in naming_files() {
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        for citation in citations(&text) {
            count += 1;
            if let Some(problem) = problem(&citation, &file) {
                let place = file.strip_prefix(root()).unwrap_or(&file).display();
                let _ = writeln!(problems, "{place}:{}: {problem}", citation.line);
            }
        }
    }
    assert!(problems.is_empty(), "\n{problems}");
    assert!(count > 60, "only {count} citations were found");
}

#[test]
fn a_citation_is_read_with_its_sections_across_lines() {
    // In two parts, so that the search above does not take these for citations of this file.
    let text =
        ["//! As AG2 does (`docs/a.", "md`, sections 1,\n//! 2 and 4, \"who\n//! speaks\"): yes.\n// See B.", "md."]
            .concat();
    let page = |name: &str| [name, "md"].join(".");
    let heading = Some("who speaks".to_owned());
    let first = Citation { page: page("docs/a"), sections: vec![1, 2, 4], heading, line: 1 };
    let second = Citation { page: page("B"), sections: vec![], heading: None, line: 4 };
    assert_eq!(citations(&text), [first, second]);
}

/// The ids of recordings in a page: a letter and two digits, and perhaps one more letter.
fn recordings(page: &str) -> impl Iterator<Item = &str> {
    page.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| {
        let digits = word.trim_start_matches(|letter: char| ('a'..='l').contains(&letter));
        let number = digits.trim_end_matches(|letter: char| letter.is_ascii_lowercase());
        let is_number = number.len() == 2 && number.bytes().all(|byte| byte.is_ascii_digit());
        is_number && word.len() - digits.len() == 1 && digits.len() - number.len() <= 1
    })
}

#[test]
fn every_recording_that_the_rules_name_exists() {
    let mut names = Vec::new();
    for folder in ["tests/ag2", "tests/ag2-more"] {
        let entries = std::fs::read_dir(root().join(folder)).expect("recordings");
        names.extend(entries.map(|entry| entry.expect("a file").file_name().to_string_lossy().into_owned()));
    }
    for page in ["docs/reference/ag2-semantics.md", "docs/reference/ag2-events.md"] {
        let text = std::fs::read_to_string(root().join(page)).expect("a page");
        let ids: Vec<&str> = recordings(&text).collect();
        assert!(ids.len() > 10, "{page}: {ids:?}");
        for id in ids {
            let there = names.iter().any(|name| name.strip_prefix(id).is_some_and(|rest| rest.starts_with('_')));
            assert!(there, "{page} names the recording {id}, which is not there");
        }
    }
}

/// The pages that people read.
fn pages() -> Vec<PathBuf> {
    let mut pages = Vec::new();
    let mut folders = vec![root().to_path_buf(), root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("a readable entry").path();
            if path.is_dir() && folder != root() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    pages
}

/// The files and folders of the repository that a page names: in code, as a path from the root, and in links, from the page.
fn paths_in(page: &Path, text: &str) -> Vec<(String, PathBuf)> {
    let is_path = |code: &str| {
        let tops = ["src/", "tests/", "docs/", "scripts/", "fuzz/", "examples/"];
        let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '/' | '_' | '-' | '.');
        tops.iter().any(|top| code.starts_with(top)) && code.chars().all(plain)
    };
    let code = text.split('`').filter_map(|part| part.split_whitespace().next());
    let named = code.filter(|code| is_path(code)).map(|code| (code.to_owned(), root().join(code)));
    let links = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#', ' ']).next());
    let links = links.filter(|link| !link.is_empty() && !link.contains(':'));
    let folder = page.parent().unwrap_or(root());
    named.chain(links.map(|link| (link.to_owned(), folder.join(link)))).collect()
}

#[test]
fn every_file_that_a_page_names_exists() {
    let (mut count, mut problems) = (0, String::new());
    for page in pages() {
        let text = std::fs::read_to_string(&page).expect("a readable page");
        for (name, path) in paths_in(&page, &text) {
            count += 1;
            if !path.exists() {
                let place = page.strip_prefix(root()).unwrap_or(&page).display();
                let _ = writeln!(problems, "{place}: there is no {name}");
            }
        }
    }
    assert!(problems.is_empty(), "\n{problems}");
    assert!(count > 100, "only {count} files are named");
}
