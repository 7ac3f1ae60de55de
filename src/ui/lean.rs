//! What is sent of a source: all but the comments that have lines of their own, which are a quarter of it, and the blanks at the
//! beginning of lines. The lines stay, so that a line that the browser names is the source's. No text between backticks of these
//! files has lines whose blanks count.

/// A script or a style sheet without its comments, as far as they fill whole lines.
pub fn without_comments(source: &str) -> String {
    let mut lean = String::with_capacity(source.len());
    let mut inside = false;
    for line in source.lines() {
        let words = line.trim();
        let begins = !inside && words.starts_with("/*");
        if inside || begins {
            inside = !words.ends_with("*/");
        } else if !words.starts_with("//") {
            lean.push_str(line.trim_start());
        }
        lean.push('\n');
    }
    lean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_go_and_lines_stay() {
        let source = "/** Says\n * more. */\nconst a = 1; // here\n  // there\n  const b = '/* none */';\n";
        assert_eq!(without_comments(source), "\n\nconst a = 1; // here\n\nconst b = '/* none */';\n");
    }
}
