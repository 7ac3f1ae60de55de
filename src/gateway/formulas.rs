//! Formulas in Markdown: most models write `\(…\)` and `\[…\]`, which Markdown takes for escaped brackets. Here they become the
//! dollars that the parser knows, except in code. A dollar that is money becomes a letter to the parser.

use std::borrow::Cow;

use crate::gateway::placeholders::DOLLAR;

/// A longer formula, in bytes, is none.
const LONGEST_FORMULA: usize = 4000;

/// The text with every formula between dollars, and no other dollar.
pub fn with_dollars(text: &str) -> Cow<'_, str> {
    if !text.contains("\\(") && !text.contains("\\[") && !text.contains('$') {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut ends = [ClosingBracket::new("\\)"), ClosingBracket::new("\\]")];
    let mut at = 0;
    while let Some(place) = text[at..].find(['\\', '`', '~', '$']) {
        out.push_str(&text[at..at + place]);
        at += place;
        at += match &text.as_bytes()[at..] {
            [b'\\', b'(', ..] => formula(text, at, &mut ends[0], "$", &mut out),
            [b'\\', b'[', ..] => formula(text, at, &mut ends[1], "$$", &mut out),
            [b'\\', ..] => escaped(&text[at..], &mut out),
            [b'$', ..] => dollars(text, at, &mut out),
            _ => code(&text[at..], &mut out),
        };
    }
    out.push_str(&text[at..]);
    out.into()
}

/// Where the next closing bracket of a kind stands. It is looked for once and not from every opening one: a text of nothing but
/// opening ones must not cost its square.
struct ClosingBracket {
    bracket: &'static str,
    next: Option<usize>,
    was_searched: bool,
}

impl ClosingBracket {
    fn new(bracket: &'static str) -> Self {
        Self { bracket, next: None, was_searched: false }
    }

    fn after(&mut self, text: &str, from: usize) -> Option<usize> {
        if !self.was_searched || self.next.is_some_and(|next| next < from) {
            self.next = text[from..].find(self.bracket).map(|place| from + place);
            self.was_searched = true;
        }
        self.next
    }
}

/// Takes a formula between dollars, or dollars that are money. Returns how much was taken.
fn dollars(text: &str, at: usize, out: &mut String) -> usize {
    let rest = &text[at..];
    let run = rest.len() - rest.trim_start_matches('$').len();
    let formula = if run <= 2 { formula_at(text, at, run) } else { None };
    if let Some(formula) = formula {
        out.push_str(formula);
        return formula.len();
    }
    out.extend(std::iter::repeat_n(DOLLAR, run));
    run
}

/// The formula that begins with this run of one or two dollars, with them.
fn formula_at(text: &str, at: usize, run: usize) -> Option<&str> {
    let before = text[..at].chars().next_back();
    let rest = &text[at + run..];
    let length = next_dollar(rest)?;
    let inside = &rest[..length];
    let behind = &rest[length..];
    let closing = behind.len() - behind.trim_start_matches('$').len();
    if closing != run
        || inside.trim().is_empty()
        || inside.len() > LONGEST_FORMULA
        || inside.contains('`')
        || has_empty_line(inside)
    {
        return None;
    }
    let is_formula = if run == 2 {
        let line = text[..at].rsplit('\n').next().unwrap_or_default();
        line.trim_matches([' ', '\t', '>', '-', '*', '+']).is_empty() || !is_prose(inside)
    } else {
        // `US$5`; but Han puts no space before a formula.
        !before.is_some_and(|c| c.is_ascii_alphanumeric())
            && may_open(inside)
            && may_close(inside, &behind[1..])
            && !is_money(inside)
    };
    is_formula.then(|| &text[at..at + run + length + run])
}

/// Where the next dollar is that no backslash escapes.
fn next_dollar(text: &str) -> Option<usize> {
    text.match_indices('$').map(|(place, _)| place).find(|place| {
        let before = &text[..*place];
        (before.len() - before.trim_end_matches('\\').len()).is_multiple_of(2)
    })
}

/// `$ 5` opens nothing, nor does `$/hour` or `"$"`.
fn may_open(inside: &str) -> bool {
    const NEVER_FIRST: [char; 16] = ['/', ',', '.', ';', ':', ')', ']', '!', '?', '%', '\'', '"', '’', '”', '“', '‘'];
    !inside.starts_with(char::is_whitespace) && !inside.starts_with(NEVER_FIRST) && !inside.starts_with("**")
}

/// The second dollar of `$5-$10` and of `$HOME/$NAME` closes nothing; that of `$n$th` does.
fn may_close(inside: &str, behind: &str) -> bool {
    let is_price = behind.strip_prefix('.').unwrap_or(behind).starts_with(|c: char| c.is_ascii_digit());
    if is_price || inside.ends_with(char::is_whitespace) {
        return false;
    }
    let Some(next) = behind.chars().next() else { return true };
    if ends_open(inside) && !next.is_whitespace() && !matches!(next, '.' | ',' | ';' | ':' | '!' | '?' | ')' | ']') {
        return false;
    }
    match next {
        'a'..='z' => !inside.starts_with(|c: char| c.is_ascii_digit()),
        next => !next.is_ascii_uppercase(),
    }
}

/// What no formula ends with, but what stands between two prices may.
fn ends_open(inside: &str) -> bool {
    inside.ends_with(['-', '–', '—', '/', ',', '+', '~', '(', ':', ';', '&', '|'])
}

/// Whether what stands between two dollars is a part of a text about prices: `$5 or 10$`, `$5–$`, `$19** (~$`.
fn is_money(between: &str) -> bool {
    let begins_with_amount = between.starts_with(|c: char| c.is_ascii_digit());
    begins_with_amount
        && (ends_open(between)
            || between.contains(['–', '—', '“', '”'])
            || between.contains("**")
            || between.ends_with(|c: char| c.is_ascii_digit()) && is_prose(between))
}

/// Words, and nothing that only formulas have.
fn is_prose(text: &str) -> bool {
    !text.contains(['\\', '^', '_', '=', '{', '<', '>', '+'])
        && text.split(|c: char| !c.is_alphabetic()).any(|word| word.chars().nth(1).is_some())
}

/// Takes a formula, or the bracket that opens none. Returns how much was taken.
fn formula(text: &str, at: usize, end: &mut ClosingBracket, dollars: &str, out: &mut String) -> usize {
    let from = at + 2;
    let inside = end.after(text, from).map(|place| &text[from..place]);
    match inside {
        // A formula ends with its paragraph.
        Some(inside)
            if inside.len() <= LONGEST_FORMULA
                && !inside.trim().is_empty()
                && !inside.contains(['$', '`'])
                && !has_empty_line(inside) =>
        {
            out.push_str(dollars);
            out.push_str(inside.trim());
            out.push_str(dollars);
            2 + inside.len() + 2
        }
        _ => {
            out.push_str(&text[at..from]);
            2
        }
    }
}

/// Takes a backslash and what it escapes. Returns how much was taken.
fn escaped(rest: &str, out: &mut String) -> usize {
    let length = rest.chars().take(2).map(char::len_utf8).sum();
    out.push_str(&rest[..length]);
    length
}

fn has_empty_line(text: &str) -> bool {
    text.trim().lines().any(|line| line.trim().is_empty())
}

/// Takes code as it is: from a run of marks to the next run of the same length, or to the end. Returns how much was taken.
fn code(rest: &str, out: &mut String) -> usize {
    let mark = &rest[..1];
    let length = rest.len() - rest.trim_start_matches(mark).len();
    let run = &rest[..length];
    // A tilde or two are no code; a run that is never closed is code only if it opens a block.
    let end = rest[length..].find(run).map(|place| length + place + length);
    let taken = match end {
        _ if mark == "~" && length < 3 => length,
        Some(end) => end,
        None if length >= 3 => rest.len(),
        None => length,
    };
    out.push_str(&rest[..taken]);
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_become_dollars_except_in_code() {
        for (written, read) in [
            ("area \\( a^2 \\) and \\(b\\)", "area $a^2$ and $b$"),
            ("\\[\nE = mc^2\n\\]", "$$E = mc^2$$"),
            ("\\[ a \\\\[4pt] b \\]", "$$a \\\\[4pt] b$$"),
            ("`\\(code\\)` and \\(x\\)", "`\\(code\\)` and $x$"),
            ("```tex\n\\(code\\)\n```\n\\(x\\)", "```tex\n\\(code\\)\n```\n$x$"),
            ("```tex\n\\(never closed\\)", "```tex\n\\(never closed\\)"),
            ("~~no~~ \\(x\\)", "~~no~~ $x$"),
            ("\\(one\n\ntwo\\)", "\\(one\n\ntwo\\)"),
            ("an open \\( bracket", "an open \\( bracket"),
            ("\\(5 $\\)", "\\(5 $\\)"),
            ("ends with \\", "ends with \\"),
            ("an escaped \\é \\(ü\\)", "an escaped \\é $ü$"),
            ("nothing", "nothing"),
            ("`$5` and $x$", "`$5` and $x$"),
        ] {
            assert_eq!(with_dollars(written).replace(DOLLAR, "$"), read, "{written}");
        }
    }

    #[test]
    fn prices_are_no_formulas() {
        for text in [
            "$5 and $10, $5-$10, $20/psf",
            "US$20–US$30, or A$5/NZ$6",
            "$10/$20/$30; was **$19** (~$5)",
            "R$ 5 ou R$ 10, HK$5~HK$6, NT$100、NT$200",
            "from $2bn to at least $4bn, $25-50k tier, approx.$5 or approx.$10",
            "$/PR is down but $/session is up; ($/PR)/($/session)",
            "$AAPL and $TSLA, $AAPL/$TSLA, $HOME/bin:$PATH",
            "5$ or 10$, 5$/6$, 10 $ and 20 $, (in $) and [$]",
            "It was $5 or 6$, she paid **$5** or **6$**, $10–20$ each",
            "$.50/$.75 and -$5/-$10, +$5+$6, ~$5~$6",
            "save $$$! from $ to $$$",
            "Earn $$ fast, win $$ now",
            "价格$20和$30，共$50。",
            "€5/$6 or £7/$8, ¥5 ($1)–¥9 ($2)",
            "$5M/$6M, $1,000.50 USD ($1.5k), $3.5–$4.5tn",
            "one $5 only",
            "the '$' and the \"$\" sign, “$” or ‘$’, **$** and **$**",
            "$-sign/$-symbol, a $-denominated and a $-backed loan",
            "10-20$ or 30-40$, €30/$40/€50/$60, ~~$20~~ **$15**",
            "1$ = 0.9€; 2$ = 1.8€; Price ($): 5; Cost ($): 6",
            "$20CAD/$30CAD, C$20/S$30, USD $20-$30",
        ] {
            let read = with_dollars(text);
            assert!(!read.contains('$'), "{text}: {read}");
            assert_eq!(read.replace(DOLLAR, "$"), text);
        }
    }

    #[test]
    fn formulas_between_dollars_stay_formulas() {
        for text in [
            "$x$ and $E = mc^2$, ($a$), **$b$**, $5 = 5$",
            "the $n$th and the $k$-means, $n$-th",
            "设$x$为整数，则$x+1$也是。",
            "$3.14$, $2 x + 3 y$, $10^{-3}$, $2\\pi r$, $4 \\text{ and } 5$, $10 km$",
            "$$x = 5$$, so $$ \\frac{a}{b} $$ holds",
            "$$\nE = mc^2\n$$",
            "- $$ a b $$",
            "$ABC$, $xy$, $-5$, $+$",
            "$5 < x < 10$, $10\\%$, $1/2$, $3:2$, $[0,1]$, $(a,b)$, $|x|$, $5!$, $100-20=80$, $*$",
            "$x$-axis, ($x$), $x$'s, $5\\text{ m}$ and $10\\text{ m}$, $1,000 \\times 2$",
            "$\\$5$",
        ] {
            assert_eq!(with_dollars(text), text);
        }
        assert_eq!(with_dollars("($5). Let $x=5$. $5+$x$").replace(DOLLAR, "S"), "(S5). Let $x=5$. S5+$x$");
    }
}
