//! Values within an address, each of which stays in its place.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Unreserved characters (RFC 3986, 2.3) stay; everything else is encoded.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// A value as a segment of a path, which it cannot leave.
pub fn encoded(value: &str) -> Result<String, &'static str> {
    match value {
        "" => Err("it is empty, and would ask for something else"),
        "." | ".." => Err("it would lead out of its place in the address"),
        other => Ok(utf8_percent_encode(other, ENCODED).to_string()),
    }
}

/// A value within the query.
pub fn encoded_query(value: &str) -> String {
    utf8_percent_encode(value, ENCODED).to_string()
}

#[cfg(test)]
mod tests {
    use reqwest::Url;

    use super::*;

    #[test]
    fn a_value_never_leaves_its_place_in_an_address() {
        for (value, expected) in
            [("a b", "a%20b"), ("../x", "..%2Fx"), ("a?b#c", "a%3Fb%23c"), ("%2e", "%252e"), ("ü", "%C3%BC")]
        {
            assert_eq!(encoded(value).unwrap(), expected);
            let url = Url::parse(&format!("https://h.example/a/{}/z", encoded(value).unwrap())).unwrap();
            assert_eq!(url.path_segments().unwrap().count(), 3, "{value}");
        }
        for refused in ["", ".", ".."] {
            assert!(encoded(refused).is_err(), "{refused:?}");
        }
    }
}
