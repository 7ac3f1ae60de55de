//! Emphasis in languages that put no spaces between words. CommonMark takes marks beside a punctuation mark for emphasis only where
//! a space or another punctuation mark stands on their other side, so `**注意：**请` would show its asterisks. Here the rules of
//! "CommonMark CJK-friendly amendments" hold: <https://github.com/tats-u/markdown-cjk-friendly>.

use std::borrow::Cow;

use unicode_general_category::{GeneralCategory, get_general_category};

use crate::gateway::placeholders::JOINER;

/// The text, with a joiner at each run of `*` or `~~` that is meant as a mark and would not be taken for one.
pub fn with_joiners(text: &str) -> Cow<'_, str> {
    // The first of these scripts is Thai, whose letters have three bytes.
    if !text.contains(['*', '~']) || !text.bytes().any(|byte| byte >= 0xe0) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut at = 0;
    while let Some(place) = text[at..].find(['*', '~']) {
        let from = at + place;
        let mark = &text[from..=from];
        let run = text[from..].len() - text[from..].trim_start_matches(mark).len();
        out.push_str(&text[at..from]);
        at = from + run;
        let is_escaped = (text[..from].len() - text[..from].trim_end_matches('\\').len()) % 2 == 1;
        // One tilde is no mark here; of an escaped run the first letter is none.
        let is_mark = mark == "*" && !is_escaped || run > 1 && mark == "~" && !is_escaped;
        let before = text[..from].chars().rev().find(|c| !is_variation(*c)).filter(|c| !c.is_whitespace());
        let after = text[at..].chars().next().filter(|c| !c.is_whitespace());
        let (Some(before), Some(after), true) = (before, after, is_mark) else {
            out.push_str(&text[from..at]);
            continue;
        };
        let begins = is_punctuation(after) && !is_punctuation(before) && (is_spaceless(after) || is_spaceless(before));
        let ends = is_punctuation(before) && !is_punctuation(after) && (is_spaceless(before) || is_spaceless(after));
        if ends {
            out.push(JOINER);
        }
        out.push_str(&text[from..at]);
        if begins {
            out.push(JOINER);
        }
    }
    out.push_str(&text[at..]);
    out.into()
}

/// A letter or mark of a script that puts no spaces between words, or of Korean, which puts none before its particles.
pub fn is_spaceless(c: char) -> bool {
    matches!(c,
        // Thai, Lao, Tibetan, Burmese, Korean syllables' parts, Khmer.
        '\u{e00}'..='\u{fff}' | '\u{1000}'..='\u{109f}' | '\u{1100}'..='\u{11ff}' | '\u{1780}'..='\u{17ff}'
        // Radicals, punctuation, kana, Bopomofo, Han and all between; Yi.
        | '\u{2e80}'..='\u{a4cf}'
        // Korean; Han for compatibility; vertical and full-width forms.
        | '\u{a960}'..='\u{a97f}' | '\u{ac00}'..='\u{d7ff}' | '\u{f900}'..='\u{faff}' | '\u{fe10}'..='\u{fe1f}'
        | '\u{fe30}'..='\u{fe6f}' | '\u{ff01}'..='\u{ffef}'
        | '\u{16fe0}'..='\u{18dff}' | '\u{1aff0}'..='\u{1b2ff}' | '\u{1f200}'..='\u{1f2ff}' | '\u{20000}'..='\u{3fffd}')
}

/// As the parser has it: punctuation and symbols.
pub fn is_punctuation(c: char) -> bool {
    use GeneralCategory::{
        ClosePunctuation, ConnectorPunctuation, CurrencySymbol, DashPunctuation, FinalPunctuation, InitialPunctuation,
        MathSymbol, ModifierSymbol, OpenPunctuation, OtherPunctuation, OtherSymbol,
    };
    if c.is_ascii() {
        return c.is_ascii_punctuation();
    }
    matches!(
        get_general_category(c),
        ClosePunctuation
            | ConnectorPunctuation
            | CurrencySymbol
            | DashPunctuation
            | FinalPunctuation
            | InitialPunctuation
            | MathSymbol
            | ModifierSymbol
            | OpenPunctuation
            | OtherPunctuation
            | OtherSymbol
    )
}

/// Says only how the letter before it is drawn.
fn is_variation(c: char) -> bool {
    matches!(c, '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_joiner_stands_only_where_a_mark_would_not_be_taken_for_one() {
        for (written, read) in [
            ("**注意：**请", "**注意：|**请"),
            ("请**“注意”**了", "请**|“注意”|**了"),
            ("**마크다운(Markdown)**을", "**마크다운(Markdown)|**을"),
            ("~~旧。~~新", "~~旧。|~~新"),
            ("**หมายเหตุ:**ข้อความ", "**หมายเหตุ:|**ข้อความ"),
            ("**Note：**text", "**Note：|**text"),
            ("**注意：** 请", "**注意：** 请"),
            // It may begin something, too, as between two letters.
            ("**注意**：请", "**注意**|：请"),
            ("**注意** ：请", "**注意** ：请"),
            ("3~5天，100~200元", "3~5天，100~200元"),
            ("價（\\*必填）*注*", "價（\\*必填）|*注*"),
            ("**Note:**text and f(**kw)", "**Note:**text and f(**kw)"),
            ("* 「一」\n* 「二」", "* 「一」\n* 「二」"),
            ("plain", "plain"),
        ] {
            assert_eq!(with_joiners(written).replace(JOINER, "|"), read, "{written}");
        }
    }
}
