//! What a model thinks aloud before it answers. Most servers take it out of the text; others leave it there.

/// The end of the thoughts, in the words of the servers that leave them in.
const ENDS: [&str; 3] = ["</think>", "</thinking>", "</thought>"];

/// What comes after the thoughts.
pub fn behind_thoughts(text: &str) -> &str {
    let ends = ENDS.iter().filter_map(|end| text.rfind(end).map(|at| at + end.len()));
    &text[ends.max().unwrap_or(0)..]
}
