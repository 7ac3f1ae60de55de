//! Markdown to HTML that is safe to show: written by models and strangers, read in somebody's browser. Raw HTML is shown as
//! the text that it is, nothing is loaded from elsewhere, and an allow-list has the last word.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use ammonia::{Builder, UrlRelative};
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd, html};

use crate::gateway::{formulas, link_targets};
use crate::legible::legible;

/// The longest text that is rendered, in bytes: about 20 ms of one core. A longer one is shown as it was written; nobody
/// reads it for its headings.
pub const LONGEST: usize = 256 * 1024;

/// Deeper quotes and lists are not rendered: browsers lay them out slowly, and trees of any depth cost stack.
const DEEPEST: usize = 50;
/// More parts (paragraphs, cells, words with marks) cost a browser more than a second to lay out.
const MOST_PARTS: usize = 40_000;
/// A wider table cannot be read, and its columns are costly to measure.
const MOST_COLUMNS: usize = 100;
/// Cells of all tables.
const MOST_CELLS: usize = 10_000;
/// A longer line without a blank is looked through for a place to break it again and again.
const LONGEST_WORD: usize = 16 * 1024;
/// A longer formula is shown as it was written.
const LONGEST_FORMULA: usize = 4 * 1024;

/// The HTML of a text; `None` if it is too long, too deep or has too many parts to be rendered: it is shown as it was written.
pub fn to_html(text: &str) -> Option<String> {
    if text.len() > LONGEST || has_endless_word(text) {
        return None;
    }
    let text = &*legible(text);
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_GFM
        | Options::ENABLE_MATH;
    let mut guard = Guard::default();
    let mut events = Vec::new();
    let text = formulas::with_dollars(text);
    for event in Parser::new_ext(&text, options) {
        let ends_link = matches!(event, Event::End(TagEnd::Link | TagEnd::Image));
        events.extend(guard.pass(event));
        if ends_link && let Some(target) = guard.left() {
            events.push(Event::Text(format!(" (→ {target})").into()));
        }
        if guard.is_too_much() {
            return None;
        }
    }
    let mut unsafe_html = String::with_capacity(text.len() + text.len() / 2);
    html::push_html(&mut unsafe_html, events.into_iter());
    Some(ALLOWED.clean(&unsafe_html).to_string())
}

/// Turns what must not be rendered into what may.
#[derive(Default)]
struct Guard {
    depth: usize,
    parts: usize,
    columns: usize,
    cells: usize,
    links: usize,
    /// For each open image: whether a link stands in its place.
    images: Vec<bool>,
    /// The link that is open: its target, and its title and words.
    open: Option<(String, String)>,
}

impl Guard {
    /// What is to stand behind a link that has just ended.
    fn left(&mut self) -> Option<String> {
        if self.links > 0 || self.images.contains(&true) {
            return None;
        }
        let (target, words) = self.open.take()?;
        link_targets::shown_beside(&words, &target)
    }

    fn is_too_much(&self) -> bool {
        self.depth > DEEPEST || self.parts > MOST_PARTS || self.columns > MOST_COLUMNS || self.cells > MOST_CELLS
    }

    fn pass<'a>(&mut self, event: Event<'a>) -> Option<Event<'a>> {
        self.parts += 1;
        match &event {
            Event::Start(Tag::Table(columns)) => self.columns = self.columns.max(columns.len()),
            Event::Start(Tag::TableCell) => self.cells += 1,
            Event::Start(Tag::Link { dest_url, title, .. } | Tag::Image { dest_url, title, .. })
                if self.open.is_none() =>
            {
                // A title is shown under the pointer.
                self.open = Some((dest_url.to_string(), format!("{title} ")));
            }
            Event::Text(words) | Event::Code(words) | Event::InlineHtml(words) => {
                if let Some((_, said)) = &mut self.open {
                    said.push_str(words);
                }
            }
            Event::SoftBreak | Event::HardBreak => {
                if let Some((_, said)) = &mut self.open {
                    said.push(' ');
                }
            }
            _ => {}
        }
        match event {
            // An image would be loaded from wherever the text says: a way to tell strangers what was read. Its words stay.
            Event::Start(Tag::Image { link_type, dest_url, title, id }) => {
                let link = self.links == 0;
                self.images.push(link);
                self.depth += 1;
                link.then_some(Event::Start(Tag::Link { link_type, dest_url, title, id }))
            }
            Event::End(TagEnd::Image) => {
                self.depth -= 1;
                self.images.pop().unwrap_or(false).then_some(Event::End(TagEnd::Link))
            }
            Event::Start(tag) => {
                self.depth += 1;
                self.links += usize::from(matches!(tag, Tag::Link { .. }));
                Some(Event::Start(tag))
            }
            Event::End(tag) => {
                self.depth -= 1;
                self.links -= usize::from(tag == TagEnd::Link);
                Some(Event::End(tag))
            }
            // A formula stays as it was written, marked as one; whoever can draw it does.
            Event::InlineMath(formula) if formulas::is_money(&formula) => {
                Some(Event::Text(format!("${formula}$").into()))
            }
            Event::InlineMath(formula) | Event::DisplayMath(formula) if formula.len() > LONGEST_FORMULA => {
                Some(Event::Code(formula))
            }
            Event::InlineMath(formula) => Some(marked(&formula, "math")),
            Event::DisplayMath(formula) => Some(marked(&formula, "math-display")),
            // Models write line breaks in tables this way.
            Event::InlineHtml(html) if matches!(&*html, "<br>" | "<br/>" | "<br />") => Some(Event::HardBreak),
            Event::Html(html) | Event::InlineHtml(html) => Some(Event::Text(html)),
            Event::TaskListMarker(done) => Some(Event::Text(if done { "☑ " } else { "☐ " }.into())),
            other => Some(other),
        }
    }
}

/// Whether somewhere in a text there is no blank for very long. Scripts that need none break anywhere, and are three bytes a
/// letter.
fn has_endless_word(text: &str) -> bool {
    text.len() > LONGEST_WORD
        && text.as_bytes().split(u8::is_ascii_whitespace).any(|word| word.len() > LONGEST_WORD && word.is_ascii())
}

/// The class of a footnote's own text.
const FOOTNOTE: &str = "footnote-definition";

fn marked(formula: &str, language: &str) -> Event<'static> {
    let formula = formula.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    Event::InlineHtml(format!("<code class=\"language-{language}\">{formula}</code>").into())
}

static ALLOWED: LazyLock<Builder<'static>> = LazyLock::new(|| {
    let mut allowed = Builder::empty();
    allowed
        .tags(HashSet::from([
            "a",
            "blockquote",
            "br",
            "code",
            "del",
            "div",
            "em",
            "h1",
            "h2",
            "h3",
            "h4",
            "h5",
            "h6",
            "hr",
            "li",
            "ol",
            "p",
            "pre",
            "strong",
            "sup",
            "table",
            "tbody",
            "td",
            "th",
            "thead",
            "tr",
            "ul",
        ]))
        .tag_attributes(HashMap::from([
            ("a", HashSet::from(["href", "title"])),
            ("code", HashSet::from(["class"])),
            ("div", HashSet::from(["class"])),
            ("ol", HashSet::from(["start"])),
        ]))
        .url_schemes(HashSet::from(["http", "https", "mailto"]))
        // A relative address would lead into our own page.
        .url_relative(UrlRelative::Deny)
        .link_rel(Some("noopener noreferrer nofollow"))
        .set_tag_attribute_value("a", "target", "_blank")
        .attribute_filter(|element, attribute, value| match (element, attribute) {
            ("code", "class") => is_language(value).then_some(Cow::Borrowed(value)),
            // The only `div` that is written here: nothing leads to it, for an id would be of the page, not of the message.
            ("div", "class") => (value == FOOTNOTE).then_some(Cow::Borrowed(value)),
            _ => Some(Cow::Borrowed(value)),
        });
    allowed
});

fn is_language(class: &str) -> bool {
    let Some(language) = class.strip_prefix("language-") else {
        return false;
    };
    (1..=32).contains(&language.len())
        && language.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'#' | b'_' | b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn html(text: &str) -> String {
        to_html(text).unwrap()
    }

    #[test]
    fn what_people_write_is_rendered() {
        for (text, wanted) in [
            ("A **triangle** has three sides.", "<p>A <strong>triangle</strong> has three sides.</p>\n"),
            ("~~no~~ `x < y`", "<p><del>no</del> <code>x &lt; y</code></p>\n"),
            ("```rust\nfn main() {}\n```", "<pre><code class=\"language-rust\">fn main() {}\n</code></pre>\n"),
            ("- [x] done\n- [ ] open", "<ul>\n<li>☑ done</li>\n<li>☐ open</li>\n</ul>\n"),
            (
                "|a|b|\n|-|-:|\n|1|2<br>3|",
                "<table><thead><tr><th>a</th><th>b</th></tr></thead><tbody>\n<tr><td>1</td><td>2<br>\n3</td></tr>\n</tbody></table>\n",
            ),
            (
                "[x](https://example.org/a?b=c&d)",
                "<p><a href=\"https://example.org/a?b=c&amp;d\" target=\"_blank\" rel=\"noopener noreferrer nofollow\">x</a></p>\n",
            ),
            (
                "$a < b$, \\(c\\) and\n\\[\nd\n\\]",
                "<p><code class=\"language-math\">a &lt; b</code>, <code class=\"language-math\">c</code> and\n\
                 <code class=\"language-math-display\">d</code></p>\n",
            ),
            ("It costs $5 and $10, or $5-$10.", "<p>It costs $5 and $10, or $5-$10.</p>\n"),
            (
                "[https://bank.example](https://evil.example), ![*bank*.example](https://evil.example/a.png)",
                "<p><a href=\"https://evil.example\" target=\"_blank\" rel=\"noopener noreferrer nofollow\">https://bank.example</a> \
                 (→ https://evil.example), <a href=\"https://evil.example/a.png\" target=\"_blank\" \
                 rel=\"noopener noreferrer nofollow\"><em>bank</em>.example</a> (→ https://evil.example/a.png)</p>\n",
            ),
            (
                "[here](https://evil.example \"https://bank.example\") <https://example.org>",
                "<p><a href=\"https://evil.example\" title=\"https://bank.example\" target=\"_blank\" \
                 rel=\"noopener noreferrer nofollow\">here</a> (→ https://evil.example) <a href=\"https://example.org\" \
                 target=\"_blank\" rel=\"noopener noreferrer nofollow\">https://example.org</a></p>\n",
            ),
            ("3. c", "<ol start=\"3\">\n<li>c</li>\n</ol>\n"),
            (
                "a[^1]\n\n[^1]: why *so*",
                "<p>a<sup><a target=\"_blank\" rel=\"noopener noreferrer nofollow\">1</a></sup></p>\n\
                 <div class=\"footnote-definition\"><sup>1</sup>\n<p>why <em>so</em></p>\n</div>\n",
            ),
        ] {
            assert_eq!(html(text), wanted, "{text}");
        }
    }

    #[test]
    fn nothing_runs_and_nothing_is_loaded() {
        for text in [
            "<script>alert(1)</script>",
            "<img src=x onerror=alert(1)>",
            "a <b onclick=alert(1)>b</b>",
            "[x](javascript:alert(1))",
            "[x](JaVaScRiPt:alert(1))",
            "[x](data:text/html;base64,PHNjcmlwdD4=)",
            "[x](vbscript:x)",
            "<javascript:alert(1)>",
            "![alt](https://evil.example/?secret)",
            "[![alt](https://evil.example/a.png)](https://example.org)",
            "```\"onmouseover=alert(1)\nx\n```",
            "```x class=y\" id=\"z\nx\n```",
            "[x](https://a.example \"\\\" onclick=alert(1)\")",
            "<svg><style><img src=x onerror=alert(1)></style></svg>",
            "<math><mtext></table><mglyph><style><!--</style><img title=\"--&gt;&lt;img src=1 onerror=alert(1)&gt;\">",
            "# h {#id .class onclick=x}",
            "<details open ontoggle=alert(1)>",
        ] {
            let safe = html(text);
            // What is left of a tag is text: in an attribute or a tag no quote or angle bracket of the author's survives.
            let tags: String = safe.split('<').skip(1).filter_map(|rest| rest.split('>').next()).collect();
            for bad in
                ["script", "img", "onerror", "onclick", "ontoggle", "onmouseover=", "javascript", "data:", "svg", "id="]
            {
                assert!(
                    !tags.to_lowercase().replace("&quot;", "").contains(bad) || tags.contains("title="),
                    "{text}: {safe}"
                );
            }
        }
        assert_eq!(
            html("![a *cat*](https://example.org/cat.png)"),
            "<p><a href=\"https://example.org/cat.png\" target=\"_blank\" rel=\"noopener noreferrer nofollow\">a <em>cat</em></a></p>\n"
        );
        assert_eq!(html("[a](/runs/1)"), "<p><a target=\"_blank\" rel=\"noopener noreferrer nofollow\">a</a></p>\n");
    }

    #[test]
    fn what_would_cost_a_browser_much_is_shown_as_it_was_written() {
        let row = |cells: usize| "|a".repeat(cells) + "|\n";
        let table =
            |columns: usize, rows: usize| row(columns) + &"|-".repeat(columns) + "|\n" + &row(columns).repeat(rows);
        assert!(to_html(&table(20, 50)).is_some());
        assert!(to_html(&table(MOST_COLUMNS + 1, 2)).is_none(), "columns");
        assert!(to_html(&table(10, MOST_CELLS / 10)).is_none(), "cells");
        assert!(to_html(&"- a\n".repeat(MOST_PARTS / 3)).is_none(), "parts");
        assert!(to_html(&"a".repeat(LONGEST_WORD)).is_some());
        assert!(to_html(&format!("b {} c", "a".repeat(LONGEST_WORD + 1))).is_none(), "a word");
        let formula = format!("$$ {} $$", "x+".repeat(LONGEST_FORMULA));
        assert!(!html(&formula).contains("language-math"));
        let marks = format!("# a{}", "\u{301}".repeat(40));
        assert!(html(&marks).matches('\u{301}').count() < 30, "stream-safe (UAX #15)");
    }

    #[test]
    fn a_hostile_text_costs_little() {
        let began = std::time::Instant::now();
        assert!(to_html(&">".repeat(100_000)).is_none());
        assert!(to_html(&"- + ".repeat(25_000)).is_none());
        assert!(to_html(&"*a ".repeat(80_000)).is_none(), "too many parts");
        assert!(to_html(&("**_".repeat(40) + " ").repeat(1_500)).is_none_or(|html| html.len() < 1_000_000));
        // Whether or not these have too many parts.
        for text in [
            ("[".repeat(40) + " ").repeat(5_000),
            ("![".repeat(40) + " ").repeat(2_500),
            ("\\(".repeat(40) + " ").repeat(2_500),
            ("\\(`".repeat(40) + " ").repeat(2_000),
            ("$a".repeat(40) + " ").repeat(2_500),
        ] {
            assert!(to_html(&text).is_none_or(|html| html.len() < 5_000_000));
        }
        assert!(to_html(&"x".repeat(LONGEST + 1)).is_none());
        assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
    }
}
