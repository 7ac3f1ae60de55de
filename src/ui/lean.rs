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

/// A page without its comments and the line breaks before them.
pub fn without_html_comments(page: &str) -> String {
    let mut parts = page.split("<!--");
    let mut lean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        lean.truncate(lean.trim_end().len());
        lean.push_str(part.split_once("-->").map_or(part, |(_, behind)| behind));
    }
    lean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_of_a_page_go() {
        assert_eq!(
            without_html_comments("<!doctype html>\n<p>\n  <!-- Says\n more. -->\n  a<!-- b --></p>\n"),
            "<!doctype html>\n<p>\n  a</p>\n"
        );
    }

    #[test]
    fn comments_go_and_lines_stay() {
        let source = "/** Says\n * more. */\nconst a = 1; // here\n  // there\n  const b = '/* none */';\n";
        assert_eq!(without_comments(source), "\n\nconst a = 1; // here\n\nconst b = '/* none */';\n");
    }
}
