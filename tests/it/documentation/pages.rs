//! The pages of the documentation, and the fenced blocks in them.

use std::path::{Path, PathBuf};

/// The README and all pages of `docs/`.
pub fn pages() -> Vec<PathBuf> {
    let mut pages = vec!["README.md".into()];
    files_below(Path::new("docs"), "md", &mut pages);
    pages.sort();
    pages
}

/// The files with this extension in a folder and in those below it.
pub fn files_below(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files_below(&path, extension, found);
        } else if path.extension().is_some_and(|its| its == extension) {
            found.push(path);
        }
    }
}

/// A fenced block of a page.
pub struct Block {
    pub language: String,
    /// The line of the page on which its text begins.
    pub line: usize,
    pub text: String,
}

/// All fenced blocks of a page, in order.
pub fn all_blocks(page: &str) -> Vec<Block> {
    let text = std::fs::read_to_string(page).unwrap_or_else(|error| panic!("{page}: {error}"));
    let mut blocks = Vec::new();
    let mut open: Option<(Block, usize)> = None;
    for (index, line) in text.lines().enumerate() {
        match &mut open {
            Some(_) if line.trim() == "```" => blocks.extend(open.take().map(|(block, _)| block)),
            Some((block, indent)) => {
                block.text.push_str(line.get(*indent..).unwrap_or_default());
                block.text.push('\n');
            }
            // A block in a list is indented as a whole.
            None => {
                if let Some(language) = line.trim().strip_prefix("```") {
                    let block = Block { language: language.to_owned(), line: index + 2, text: String::new() };
                    open = Some((block, line.len() - line.trim_start().len()));
                }
            }
        }
    }
    blocks
}

/// The blocks of one language, with their lines.
pub fn blocks(page: &str, language: &str) -> Vec<(usize, String)> {
    let blocks = all_blocks(page).into_iter().filter(|block| block.language == language);
    blocks.map(|block| (block.line, block.text)).collect()
}
