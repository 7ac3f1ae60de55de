//! Markdown to HTML that is safe to show: written by models and strangers, read in somebody's browser. Raw HTML is shown as
//! the text that it is, nothing is loaded from elsewhere, and an allow-list has the last word.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use ammonia::{Builder, UrlRelative};
use pulldown_cmark::{Event, LinkType, Options, Parser, Tag, TagEnd, html};

use crate::gateway::{addresses, emphasis, formulas, link_targets, placeholders};
use crate::legible::legible;

/// The longest text that is rendered, in bytes: about 20 ms of one core. A longer one is shown as it was written; nobody
/// reads it for its headings.
pub const LONGEST_TEXT: usize = 256 * 1024;

/// Deeper quotes and lists are not rendered: browsers lay them out slowly, and trees of any depth cost stack.
const DEEPEST_NESTING: usize = 50;
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
    if text.len() > LONGEST_TEXT || has_endless_word(text) {
        return None;
    }
    let text = &*legible(text);
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_GFM
        | Options::ENABLE_MATH;
    let text = placeholders::without(text);
    let text = addresses::shielded(&text);
    let text = formulas::with_dollars(&text);
    let text = emphasis::with_joiners(&text);
    let mut guard = MarkdownGuard::default();
    let mut written = EventWriter::default();
    for event in Parser::new_ext(&text, options) {
        let ends_link = matches!(event, Event::End(TagEnd::Link | TagEnd::Image));
        let passed = guard.pass(placeholders::restored(event));
        if let Some(event) = passed {
            written.push(event, guard.may_link());
        }
        if ends_link && let Some(target) = guard.left() {
            written.push(Event::Text(format!(" (→ {target})").into()), false);
        }
        if guard.is_too_much() || guard.parts + written.addresses > MOST_PARTS {
            return None;
        }
    }
    let mut unsafe_html = String::with_capacity(text.len() + text.len() / 2);
    html::push_html(&mut unsafe_html, written.end().into_iter());
    Some(ALLOWED.clean(&unsafe_html).to_string())
}

/// What is to be written. The parser cuts a text at each letter that might be a mark: here its pieces are joined, and the addresses
/// in it become links.
#[derive(Default)]
struct EventWriter<'a> {
    events: Vec<Event<'a>>,
    /// A text that may go on.
    text: String,
    /// How many addresses became links, each of which is three parts more.
    addresses: usize,
    /// Nothing but a display formula stands before it.
    is_behind_formula: bool,
}

impl<'a> EventWriter<'a> {
    fn push(&mut self, event: Event<'a>, may_link: bool) {
        match event {
            Event::Text(words) if may_link => self.text.push_str(&words),
            // A formula of its own has its own line already.
            Event::HardBreak if self.is_behind_formula && self.text.is_empty() => {
                self.is_behind_formula = false;
                self.events.push(Event::SoftBreak);
            }
            Event::InlineHtml(html) if html.starts_with(DISPLAY_FORMULA) => {
                self.end_text();
                if let Some(last @ Event::HardBreak) = self.events.last_mut() {
                    *last = Event::SoftBreak;
                }
                self.events.push(Event::InlineHtml(html));
                self.is_behind_formula = true;
            }
            event => {
                self.end_text();
                self.is_behind_formula = false;
                self.events.push(event);
            }
        }
    }

    fn end(mut self) -> Vec<Event<'a>> {
        self.end_text();
        self.events
    }

    fn end_text(&mut self) {
        if self.text.is_empty() {
            return;
        }
        let text = std::mem::take(&mut self.text);
        let mut at = 0;
        for address in addresses::find(&text) {
            let words = &text[address.place.clone()];
            let target = format!("{}{words}", address.scheme);
            self.addresses += 3;
            self.events.push(Event::Text(text[at..address.place.start].to_owned().into()));
            // Its words are the target; only what is in them may look like something else.
            let beside = link_targets::shown_beside("", &target);
            self.events.push(Event::Start(Tag::Link {
                link_type: LinkType::Autolink,
                dest_url: target.into(),
                title: "".into(),
                id: "".into(),
            }));
            self.events.push(Event::Text(words.to_owned().into()));
            self.events.push(Event::End(TagEnd::Link));
            if let Some(target) = beside {
                self.events.push(Event::Text(format!(" (→ {target})").into()));
            }
            at = address.place.end;
        }
        self.events.push(Event::Text(text[at..].to_owned().into()));
        self.is_behind_formula = false;
    }
}

/// Turns what must not be rendered into what may.
#[derive(Default)]
struct MarkdownGuard {
    depth: usize,
    parts: usize,
    columns: usize,
    cells: usize,
    links: usize,
    /// Inside of a block of code.
    is_code: bool,
    /// For each open image: whether a link stands in its place.
    images: Vec<bool>,
    /// The link that is open: its target, and its title and words.
    open: Option<(String, String)>,
}

impl MarkdownGuard {
    /// What is to stand behind a link that has just ended.
    fn left(&mut self) -> Option<String> {
        if self.links > 0 || self.images.contains(&true) {
            return None;
        }
        let (target, words) = self.open.take()?;
        link_targets::shown_beside(&words, &target)
    }

    /// Whether an address in a text here may become a link.
    fn may_link(&self) -> bool {
        !self.is_code && self.links == 0 && self.images.is_empty()
    }

    fn is_too_much(&self) -> bool {
        self.depth > DEEPEST_NESTING
            || self.parts > MOST_PARTS
            || self.columns > MOST_COLUMNS
            || self.cells > MOST_CELLS
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
                self.is_code |= matches!(tag, Tag::CodeBlock(_));
                self.links += usize::from(matches!(tag, Tag::Link { .. }));
                Some(Event::Start(tag))
            }
            Event::End(tag) => {
                self.depth -= 1;
                self.is_code &= tag != TagEnd::CodeBlock;
                self.links -= usize::from(tag == TagEnd::Link);
                Some(Event::End(tag))
            }
            // A formula stays as it was written, marked as one; whoever can draw it does.
            Event::InlineMath(formula) | Event::DisplayMath(formula) if formula.len() > LONGEST_FORMULA => {
                Some(Event::Code(formula))
            }
            Event::InlineMath(formula) => Some(marked(&formula, "math")),
            Event::DisplayMath(formula) => Some(marked(&formula, "math-display")),
            // A line of a reply is a line: an address, a poem, a list without marks.
            Event::SoftBreak => Some(Event::HardBreak),
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

/// How a formula of its own begins.
const DISPLAY_FORMULA: &str = "<code class=\"language-math-display\">";

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
    fn emphasis_stands_beside_full_width_marks() {
        for (text, wanted) in [
            ("**注意：**请", "<strong>注意：</strong>请"),
            ("请看**“注意”**一节", "请看<strong>“注意”</strong>一节"),
            (
                "これは**「重要」**です。**テスト。**テスト",
                "これは<strong>「重要」</strong>です。<strong>テスト。</strong>テスト",
            ),
            ("**마크다운(Markdown)**을", "<strong>마크다운(Markdown)</strong>을"),
            ("*강조(重)*는 **`code`**를", "<em>강조(重)</em>는 <strong><code>code</code></strong>를"),
            (
                "中**`code`**文，**[链接](https://example.org/a)**在",
                "中<strong><code>code</code></strong>文，<strong><a href=\"https://example.org/a\" target=\"_blank\" rel=\"noopener noreferrer nofollow\">链接</a></strong>在",
            ),
            ("~~旧的。~~新的", "<del>旧的。</del>新的"),
            ("**หมายเหตุ:**ข้อความ", "<strong>หมายเหตุ:</strong>ข้อความ"),
            ("1. **第一：**说明", "<ol>\n<li><strong>第一：</strong>说明</li>\n</ol>"),
            ("`**注意：**请` **注意**：", "<code>**注意：**请</code> <strong>注意</strong>："),
            ("3~5天，100~200元，2 ** 3", "3~5天，100~200元，2 ** 3"),
            ("價（\\*必填）*注*", "價（*必填）<em>注</em>"),
        ] {
            assert_eq!(html(text).trim().trim_start_matches("<p>").trim_end_matches("</p>"), wanted, "{text}");
        }
    }

    #[test]
    fn prices_stay_prices_whatever_stands_around_them() {
        for (text, wanted) in [
            ("US$20–US$30, or A$5/NZ$6", "US$20–US$30, or A$5/NZ$6"),
            ("$10/$20/$30; was **$19** (~$5)", "$10/$20/$30; was <strong>$19</strong> (~$5)"),
            (
                "from **$2bn** to *at least* **$4bn**",
                "from <strong>$2bn</strong> to <em>at least</em> <strong>$4bn</strong>",
            ),
            ("Earn $$ fast, win $$ now, `$5`–`$6`", "Earn $$ fast, win $$ now, <code>$5</code>–<code>$6</code>"),
            ("\\$5 and \\$6, $x$", "$5 and $6, <code class=\"language-math\">x</code>"),
        ] {
            assert_eq!(html(text), format!("<p>{wanted}</p>\n"), "{text}");
        }
    }

    #[test]
    fn a_line_of_a_reply_stays_a_line() {
        for (text, wanted) in [
            ("Lamps & Co\nElm Street 5\n10000 Zagreb", "<p>Lamps &amp; Co<br>\nElm Street 5<br>\n10000 Zagreb</p>\n"),
            ("- Ann\n  Elm Street\n- Ben", "<ul>\n<li>Ann<br>\nElm Street</li>\n<li>Ben</li>\n</ul>\n"),
            ("> one\n> two", "<blockquote>\n<p>one<br>\ntwo</p>\n</blockquote>\n"),
            ("one  \ntwo\\\nthree\r\nfour", "<p>one<br>\ntwo<br>\nthree<br>\nfour</p>\n"),
            ("**one\ntwo**", "<p><strong>one<br>\ntwo</strong></p>\n"),
            ("Area:\n$$a^2$$\nof it", "<p>Area:\n<code class=\"language-math-display\">a^2</code>\nof it</p>\n"),
            ("```\na\nb\n```", "<pre><code>a\nb\n</code></pre>\n"),
        ] {
            assert_eq!(html(text), wanted, "{text}");
        }
    }

    #[test]
    fn a_bare_address_is_a_link() {
        let link = |target: &str, words: &str| {
            format!("<a href=\"{target}\" target=\"_blank\" rel=\"noopener noreferrer nofollow\">{words}</a>")
        };
        let plain = |address: &str| link(address, address);
        for (text, wanted) in [
            (
                "See https://example.org/a_b_c/_x_/~ann?q=1&$top=5.",
                format!(
                    "See {}.",
                    link(
                        "https://example.org/a_b_c/_x_/~ann?q=1&amp;$top=5",
                        "https://example.org/a_b_c/_x_/~ann?q=1&amp;$top=5"
                    )
                ),
            ),
            (
                "www.example.org, ann@example.org",
                format!(
                    "{}, {}",
                    link("http://www.example.org", "www.example.org"),
                    link("mailto:ann@example.org", "ann@example.org")
                ),
            ),
            (
                "**https://example.org** and (http://localhost:8888)",
                format!("<strong>{}</strong> and ({})", plain("https://example.org"), plain("http://localhost:8888")),
            ),
            ("https://example.org/a\\_b", plain("https://example.org/a_b")),
            ("访问https://example.com/docs（说明）", format!("访问{}（说明）", plain("https://example.com/docs"))),
            (
                "[https://example.org/a](https://example.org/a) <https://example.org>",
                format!("{} {}", plain("https://example.org/a"), plain("https://example.org")),
            ),
            (
                "`https://example.org` [a www.example.org b](https://example.org)",
                format!("<code>https://example.org</code> {}", link("https://example.org", "a www.example.org b")),
            ),
            (
                "https://b\u{430}nk.example/x",
                format!(
                    "{} (→ https://xn--bnk-6cd.example/x)",
                    link("https://b%D0%B0nk.example/x", "https://b\u{430}nk.example/x")
                ),
            ),
            (
                "https://bank.example@evil.example",
                format!("{} (→ https://evil.example)", plain("https://bank.example@evil.example")),
            ),
            ("![https://a.example](https://a.example)", plain("https://a.example")),
            (
                "javascript://x ftp://x.example git@host.example:a/b",
                "javascript://x ftp://x.example git@host.example:a/b".to_owned(),
            ),
        ] {
            assert_eq!(html(text), format!("<p>{wanted}</p>\n"), "{text}");
        }
        assert_eq!(html("    https://example.org"), "<pre><code>https://example.org</code></pre>\n");
        assert_eq!(
            html("```\nhttps://a_b.example/$5 **：**请\n```"),
            "<pre><code>https://a_b.example/$5 **：**请\n</code></pre>\n"
        );
        assert!(
            html("|a|\n|-|\n|https://example.org/x|").contains(&format!("<td>{}</td>", plain("https://example.org/x")))
        );
        assert!(html("a\u{fdd0}b\u{fdd1}c").contains("abc"), "what stands for marks here is in no text");
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
            "$5 ".repeat(80_000),
            "$x`".repeat(80_000),
            "https://a ".repeat(20_000),
            "https://".repeat(30_000),
            "a@".repeat(100_000),
            "a@b.cd ".repeat(30_000),
            ("a".repeat(60) + "@").repeat(4_000),
            "www.".repeat(60_000),
            format!("https://a{}", ".(".repeat(100_000)),
            "。**请".repeat(25_000),
            "**：".repeat(30_000),
        ] {
            assert!(to_html(&text).is_none_or(|html| html.len() < 5_000_000));
        }
        assert!(to_html(&"x".repeat(LONGEST_TEXT + 1)).is_none());
        assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
    }
}
