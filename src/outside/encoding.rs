//! Values within an address, each of which stays in its place.

use percent_encoding::utf8_percent_encode;

use crate::openapi::UNRESERVED;

/// A value as a segment of a path, which it cannot leave.
pub fn encoded(value: &str) -> Result<String, &'static str> {
    match value {
        "" => Err("it is empty, and would ask for something else"),
        // Some servers decode first and split then.
        steps if steps.split(['/', '\\']).any(|step| matches!(step.trim(), "." | "..")) => {
            Err("it would lead out of its place in the address")
        }
        text if text.chars().any(char::is_control) => Err("it holds a character that no address has"),
        other => Ok(utf8_percent_encode(other, UNRESERVED).to_string()),
    }
}

/// A value within the query.
pub fn encoded_query(value: &str) -> String {
    utf8_percent_encode(value, UNRESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use reqwest::Url;

    use super::*;

    #[test]
    fn a_value_never_leaves_its_place_in_an_address() {
        for (value, expected) in
            [("a b", "a%20b"), ("a/x", "a%2Fx"), ("a?b#c", "a%3Fb%23c"), ("%2e", "%252e"), ("ü", "%C3%BC")]
        {
            assert_eq!(encoded(value).unwrap(), expected);
            let url = Url::parse(&format!("https://h.example/a/{}/z", encoded(value).unwrap())).unwrap();
            assert_eq!(url.path_segments().unwrap().count(), 3, "{value}");
        }
        for refused in ["", ".", "..", "../x", "a/../b", "a\\..", "a\nb"] {
            assert!(encoded(refused).is_err(), "{refused:?}");
        }
    }
}
