//! Where a link really leads, where its words say something else: models and strangers write both.

use reqwest::Url;

/// The longest target that is shown whole, in characters.
const LONGEST_SHOWN: usize = 100;
/// Endings of files that are no top-level domains: a word with one is no address.
const FILE_ENDINGS: [&str; 20] = [
    "css", "csv", "docx", "gif", "html", "htm", "ini", "jpeg", "jpg", "js", "json", "lock", "pdf", "png", "svg",
    "toml", "txt", "xml", "yaml", "yml",
];

/// Whether names of files end so, and none of hosts.
pub fn is_file_ending(end: &str) -> bool {
    FILE_ENDINGS.contains(&end.to_ascii_lowercase().as_str())
}

/// What is to stand beside a link with these words (and title): its target, if the words look like an address and the target
/// is another one, or if the target itself is written so that it looks like another one.
pub fn shown_beside(words: &str, target: &str) -> Option<String> {
    let url = Url::parse(target).ok().filter(|url| matches!(url.scheme(), "http" | "https" | "mailto"))?;
    let shown = || Some(plainly(&url));
    // A name before an @ looks like the host, and a host with letters beyond ASCII like another one.
    if !url.username().is_empty() || url.password().is_some() || has_foreign_letters(&url) {
        return shown();
    }
    let misleads = words.split_whitespace().filter_map(address_in).any(|said| !is_same(&said, &url));
    if misleads { shown() } else { None }
}

fn has_foreign_letters(url: &Url) -> bool {
    url.host_str().is_some_and(|host| host.split('.').any(|label| label.starts_with("xn--")))
}

/// The target as it is: without a user, with the host as browsers look it up.
fn plainly(url: &Url) -> String {
    if url.scheme() == "mailto" {
        return cut(url.as_str());
    }
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let host = url.host_str().unwrap_or_default();
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    cut(&format!("{}://{host}{port}{}{query}", url.scheme(), url.path().trim_end_matches('/')))
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST_SHOWN) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// The address that a word looks like to a reader, without what is around it; letters that are not seen do not hide it.
fn address_in(word: &str) -> Option<String> {
    let seen: String = word.chars().filter_map(as_seen).collect();
    let seen = seen.replace("...", "\u{2026}");
    let word = seen.trim_matches(|c: char| !c.is_alphanumeric() && !matches!(c, '/' | '\u{2026}'));
    let word = word.trim_end_matches('/').to_lowercase();
    let rest = word.split_once("://").map_or(word.as_str(), |(_, rest)| rest);
    let rest = rest.trim_end_matches('\u{2026}');
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default();
    let host = host.split(':').next().unwrap_or_default();
    let (before, end) = host.rsplit_once('.')?;
    let is_name = !before.is_empty() && before.split('.').all(|label| !label.is_empty());
    let is_end = end.chars().count() >= 2 && end.chars().all(char::is_alphabetic) && !is_file_ending(end);
    let is_number = host.parse::<std::net::Ipv4Addr>().is_ok();
    (is_name && (is_end || is_number || end.starts_with("xn--"))).then_some(word)
}

/// A letter as a reader sees it: none for what is not seen, a dot for what looks like one.
fn as_seen(letter: char) -> Option<char> {
    match letter {
        '\u{00ad}'
        | '\u{034f}'
        | '\u{061c}'
        | '\u{115f}'
        | '\u{1160}'
        | '\u{17b4}'
        | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' => None,
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' => None,
        '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}' => None,
        '\u{3002}' | '\u{ff0e}' | '\u{ff61}' | '\u{2024}' => Some('.'),
        '\u{ff0f}' | '\u{2044}' | '\u{2215}' => Some('/'),
        letter => Some(letter),
    }
}

/// Whether an address that words say is the target, as people write addresses: without scheme, `www.` or a slash at the end,
/// or cut off behind the host.
fn is_same(said: &str, url: &Url) -> bool {
    if url.scheme() == "mailto" {
        return bare(said.strip_prefix("mailto:").unwrap_or(said)) == bare(&url.path().to_lowercase());
    }
    if said.split_once("://").is_some_and(|(scheme, _)| scheme != url.scheme()) || said.contains('@') {
        return false;
    }
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let host = format!("{}{port}", url.host_str().unwrap_or_default());
    let rest = match (url.query(), url.fragment()) {
        (None, None) => url.path().to_owned(),
        (query, fragment) => format!(
            "{}{}{}",
            url.path(),
            query.map(|query| format!("?{query}")).unwrap_or_default(),
            fragment.map(|fragment| format!("#{fragment}")).unwrap_or_default()
        ),
    };
    let target = format!("{host}{rest}").to_lowercase();
    let said = said.split_once("://").map_or(said, |(_, rest)| rest);
    // `…/wiki/köln` is how people read what is sent as `…/wiki/k%C3%B6ln`.
    let sent = (!said.is_ascii()).then(|| Url::parse(&format!("{}://{said}", url.scheme())).ok()).flatten();
    if let Some(sent) = sent
        && sent.host_str() == url.host_str()
        && sent.as_str().eq_ignore_ascii_case(url.as_str())
    {
        return true;
    }
    let (said, target) = (bare(said), bare(&target));
    let target_host = bare(&host);
    match said.strip_suffix('\u{2026}') {
        // The host must be there whole.
        Some(begin) => target.starts_with(begin) && begin.len() > target_host.len(),
        // The name of a site for a page of it is what people write.
        None => said == target || said == target_host,
    }
}

fn bare(address: &str) -> &str {
    address.strip_prefix("www.").unwrap_or(address).trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_are_another_address_do_not_hide_the_target() {
        for (words, target, shown) in [
            ("https://bank.example", "https://evil.example/login", "https://evil.example/login"),
            ("bank.example", "https://evil.example", "https://evil.example"),
            (
                "www.bank.example/login",
                "https://evil.example/bank.example/login",
                "https://evil.example/bank.example/login",
            ),
            ("Sign in at https://bank.example, now", "https://evil.example", "https://evil.example"),
            ("(bank.example)", "https://evil.example", "https://evil.example"),
            ("bank\u{200b}.example", "https://evil.example", "https://evil.example"),
            ("bank\u{3002}example", "https://evil.example", "https://evil.example"),
            ("bank.example", "https://bank.example.evil.example", "https://bank.example.evil.example"),
            ("https://bank.example", "http://bank.example", "http://bank.example"),
            ("https://bank.example/safe", "https://bank.example/pay?all", "https://bank.example/pay?all"),
            ("bank.exam\u{2026}", "https://bank.exam.evil.example", "https://bank.exam.evil.example"),
            ("192.0.2.7", "https://evil.example", "https://evil.example"),
            ("help@bank.example", "mailto:thief@evil.example", "mailto:thief@evil.example"),
            ("help@bank.example", "https://evil.example", "https://evil.example"),
            ("https://bank.example@evil.example", "https://bank.example@evil.example", "https://evil.example"),
            ("here", "https://bank.example@evil.example/x", "https://evil.example/x"),
            ("here", "https://b\u{430}nk.example", "https://xn--bnk-6cd.example"),
        ] {
            assert_eq!(shown_beside(words, target).as_deref(), Some(shown), "{words} {target}");
        }
    }

    #[test]
    fn an_honest_link_stays_as_it_is() {
        for (words, target) in [
            ("the docs", "https://example.org/docs"),
            ("example.org", "https://example.org/a/b?c=d#e"),
            ("https://example.org/docs/", "https://example.org/docs"),
            ("http://example.org", "http://www.example.org/"),
            ("Example.org/Docs", "https://example.org/Docs"),
            ("https://example.org/very/lo\u{2026}", "https://example.org/very/long/path"),
            ("example.org/very/lo...", "https://example.org/very/long/path"),
            ("help@example.org", "mailto:help@example.org"),
            ("https://de.example.org/wiki/Köln", "https://de.example.org/wiki/K%C3%B6ln"),
            ("https://example.org/صفحة", "https://example.org/صفحة"),
            ("config.json", "https://example.org/blob/main/config.json"),
            ("version 1.2.3", "https://example.org/1.2.3"),
            ("e.g. this", "https://example.org"),
            ("localhost", "http://127.0.0.1:8888/"),
            ("x", "javascript:alert(1)"),
            ("", ""),
        ] {
            assert_eq!(shown_beside(words, target), None, "{words} {target}");
        }
    }

    #[test]
    fn a_long_target_is_cut_behind_its_host() {
        let shown = shown_beside("bank.example", &format!("https://evil.example/{}", "x".repeat(500))).unwrap();
        assert!(shown.starts_with("https://evil.example/xxx") && shown.chars().count() == LONGEST_SHOWN + 1, "{shown}");
    }
}
