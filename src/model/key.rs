//! A key as it can be sent, and whether it is a secret at all.

use secrecy::{ExposeSecret, SecretString};

/// What people write where a server wants a key and takes any.
const NO_SECRETS: [&str; 14] = [
    "ollama",
    "empty",
    "none",
    "null",
    "dummy",
    "placeholder",
    "not-needed",
    "not-required",
    "no-key",
    "no-key-required",
    "lm-studio",
    "lmstudio",
    "sk-no-key-required",
    "changeme",
];
/// A shorter one is no secret, and parts of many words.
const SHORTEST_SECRET: usize = 8;

/// The key as it is sent, without space around it; an empty one is none. The error says which letter of it is in no key, and
/// nothing else of it.
pub(super) fn usable(key: Option<&SecretString>) -> Result<Option<SecretString>, String> {
    let Some(written) = key.map(ExposeSecret::expose_secret) else { return Ok(None) };
    let key = written.trim();
    let before = written.len() - written.trim_start().len();
    let odd = written.char_indices().zip(1..).skip_while(|((at, _), _)| *at < before);
    let mut odd = odd.take_while(|((at, _), _)| *at < before + key.len());
    let odd = odd.find_map(|((_, letter), position)| Some((name_of(letter)?, position)));
    if let Some((name, position)) = odd {
        return Err(format!("character {position} is {name}, which no key has: copy the key again"));
    }
    let is_quoted = |mark| key.len() > 1 && key.starts_with(mark) && key.ends_with(mark);
    if is_quoted('"') || is_quoted('\'') {
        return Err("it stands in quotes, which are no part of a key: take them off".to_owned());
    }
    Ok((!key.is_empty()).then(|| key.into()))
}

/// What a letter is that no key has.
fn name_of(letter: char) -> Option<String> {
    let name = match letter {
        ' '..='~' => return None,
        '\u{feff}' => "a byte order mark",
        '\u{200b}' | '\u{200c}' | '\u{200d}' | '\u{2060}' => "a space of no width",
        '\u{a0}' | '\u{2007}' | '\u{202f}' => "a no-break space",
        '\u{ad}' => "a soft hyphen",
        '\u{2010}'..='\u{2015}' | '\u{2212}' => "a dash that is no hyphen",
        '\u{2018}'..='\u{201f}' | '\u{ab}' | '\u{bb}' => "a typographic quotation mark",
        '\u{2026}' => "an ellipsis",
        _ if letter.is_control() => "a control character",
        _ => "a letter outside of ASCII",
    };
    Some(format!("{name} (U+{:04X})", u32::from(letter)))
}

/// Whether texts that hold the key must not be shown. What stands for a key where none is needed hides no words.
pub(super) fn is_secret(key: &SecretString) -> bool {
    let key = key.expose_secret();
    key.len() >= SHORTEST_SECRET && !NO_SECRETS.contains(&key.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(key: &str) -> Result<Option<String>, String> {
        usable(Some(&key.into())).map(|key| key.map(|key| key.expose_secret().to_owned()))
    }

    #[test]
    fn a_letter_that_no_key_has_is_said_by_its_place() {
        for (key, says) in [
            ("\u{feff}sk-secret-key", "character 1 is a byte order mark (U+FEFF)"),
            (" sk-\u{200b}secret-key", "character 5 is a space of no width (U+200B)"),
            ("\u{201c}sk-secret-key\u{201d}", "character 1 is a typographic quotation mark (U+201C)"),
            ("sk\u{2013}secret-key", "character 3 is a dash that is no hyphen (U+2013)"),
            ("sk-secret\u{2026}", "character 10 is an ellipsis (U+2026)"),
            ("sk-se\ncret-key", "character 6 is a control character (U+000A)"),
            ("sk-secr\u{435}t-key", "character 8 is a letter outside of ASCII (U+0435)"),
            ("\"sk-secret-key\"", "it stands in quotes"),
        ] {
            let problem = read(key).unwrap_err();
            assert!(problem.starts_with(says), "{problem}");
            assert!(!problem.contains("sk-") && !problem.contains("cret"), "{problem}");
        }
        assert_eq!(read(" \u{a0}sk-secret-key\r\n"), Ok(Some("sk-secret-key".to_owned())));
        assert_eq!(read(" \n"), Ok(None));
        assert!(usable(None).unwrap().is_none());
    }

    #[test]
    fn what_stands_for_a_key_is_no_secret() {
        for key in ["ollama", "EMPTY", "none", "x", "sk-1", "Not-Needed"] {
            assert!(!is_secret(&key.into()), "{key}");
        }
        assert!(is_secret(&"sk-12345".into()) && is_secret(&"correct horse".into()));
    }
}
