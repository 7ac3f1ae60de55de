//! How values become text in a request: the styles of parameters, and percent-encoding. A number is written with the digits
//! that it was given with.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

/// What stays as it is everywhere: the unreserved characters of RFC 3986.
pub const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// What may stay in the value of a query with `allowReserved`. `&`, `#` and `+` would mean something else there.
const RESERVED: &AsciiSet = &UNRESERVED
    .remove(b':')
    .remove(b'/')
    .remove(b'?')
    .remove(b'[')
    .remove(b']')
    .remove(b'@')
    .remove(b'!')
    .remove(b'$')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b',')
    .remove(b';')
    .remove(b'=');

/// How the value of a parameter is written (OpenAPI's `style`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ParameterStyle {
    Form,
    Simple,
    Label,
    Matrix,
    DeepObject,
    SpaceDelimited,
    PipeDelimited,
}

impl ParameterStyle {
    /// The style with this name.
    pub(super) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "form" => ParameterStyle::Form,
            "simple" => ParameterStyle::Simple,
            "label" => ParameterStyle::Label,
            "matrix" => ParameterStyle::Matrix,
            "deepObject" => ParameterStyle::DeepObject,
            "spaceDelimited" => ParameterStyle::SpaceDelimited,
            "pipeDelimited" => ParameterStyle::PipeDelimited,
            _ => return None,
        })
    }
}

/// A text for a part of an address.
pub(super) fn encoded(text: &str, allow_reserved: bool) -> String {
    utf8_percent_encode(text, if allow_reserved { RESERVED } else { UNRESERVED }).to_string()
}

/// A value without parts as text; a list or an object in a place that has no way to write it is JSON.
pub(super) fn plain_text(value: &Value) -> Result<String, String> {
    match value {
        Value::Null => Err("is null, which cannot be sent there; leave it out".to_owned()),
        Value::String(text) => Ok(text.clone()),
        other => Ok(other.to_string()),
    }
}

/// The texts of a list, or the names and texts of an object one after the other.
fn parts(value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::Array(items) => items.iter().map(plain_text).collect(),
        Value::Object(map) => {
            let mut parts = Vec::with_capacity(map.len() * 2);
            for (name, value) in map {
                parts.push(name.clone());
                parts.push(plain_text(value)?);
            }
            Ok(parts)
        }
        other => Ok(vec![plain_text(other)?]),
    }
}

fn joined(value: &Value, between: &str, encode: impl Fn(&str) -> String) -> Result<String, String> {
    Ok(parts(value)?.iter().map(|part| encode(part)).collect::<Vec<_>>().join(between))
}

/// `name=value` for each property of an object.
fn assigned(value: &Value, between: &str, encode: impl Fn(&str) -> String) -> Result<Option<String>, String> {
    let Value::Object(map) = value else { return Ok(None) };
    let mut pairs = Vec::with_capacity(map.len());
    for (name, value) in map {
        pairs.push(format!("{}={}", encode(name), encode(&plain_text(value)?)));
    }
    Ok(Some(pairs.join(between)))
}

/// The value of a parameter in a path, encoded.
pub(super) fn in_path(name: &str, value: &Value, style: ParameterStyle, explode: bool) -> Result<String, String> {
    let encode = |text: &str| encoded(text, false);
    let pairs = |between| assigned(value, between, encode);
    Ok(match style {
        ParameterStyle::Label => {
            let between = if explode { "." } else { "," };
            let listed = match (explode, pairs(".")?) {
                (true, Some(pairs)) => pairs,
                _ => joined(value, between, encode)?,
            };
            format!(".{listed}")
        }
        ParameterStyle::Matrix => match (explode, value) {
            (true, Value::Array(items)) => {
                let one = |item| Ok(format!(";{}={}", encode(name), encode(&plain_text(item)?)));
                items.iter().map(one).collect::<Result<Vec<_>, String>>()?.concat()
            }
            (true, Value::Object(_)) => format!(";{}", pairs(";")?.unwrap_or_default()),
            _ => format!(";{}={}", encode(name), joined(value, ",", encode)?),
        },
        _ => match (explode, pairs(",")?) {
            (true, Some(pairs)) => pairs,
            _ => joined(value, ",", encode)?,
        },
    })
}

/// The parts of a query, encoded, that are joined with `&`.
pub(super) fn in_query(
    name: &str,
    value: &Value,
    style: ParameterStyle,
    explode: bool,
    allow_reserved: bool,
) -> Result<Vec<String>, String> {
    let key = |name: &str| encoded(name, false);
    let text = |text: &str| encoded(text, allow_reserved);
    // With `allowReserved` a comma in a value could not be told from one between values.
    let item = |text: &str| encoded(text, allow_reserved).replace(',', "%2C");
    let between = match style {
        ParameterStyle::SpaceDelimited => "%20",
        ParameterStyle::PipeDelimited => "%7C",
        _ => ",",
    };
    match value {
        _ if style == ParameterStyle::DeepObject && (value.is_object() || value.is_array()) => {
            let mut pairs = Vec::new();
            deep(key(name), value, allow_reserved, &mut pairs)?;
            Ok(pairs)
        }
        Value::Array(items) if explode => {
            items.iter().map(|item| Ok(format!("{}={}", key(name), text(&plain_text(item)?)))).collect()
        }
        Value::Object(map) if explode => {
            map.iter().map(|(name, value)| Ok(format!("{}={}", key(name), text(&plain_text(value)?)))).collect()
        }
        Value::Array(_) | Value::Object(_) => Ok(vec![format!("{}={}", key(name), joined(value, between, item)?)]),
        other => Ok(vec![format!("{}={}", key(name), text(&plain_text(other)?))]),
    }
}

/// `name[key]=value` for everything in an object. How a list in it is written no specification says; most servers read
/// `name[0]=value`.
fn deep(name: String, value: &Value, allow_reserved: bool, pairs: &mut Vec<String>) -> Result<(), String> {
    match value {
        Value::Object(map) => map.iter().try_for_each(|(key, value)| {
            deep(format!("{name}[{}]", encoded(key, false)), value, allow_reserved, pairs)
        }),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .try_for_each(|(index, value)| deep(format!("{name}[{index}]"), value, allow_reserved, pairs)),
        other => {
            pairs.push(format!("{name}={}", encoded(&plain_text(other)?, allow_reserved)));
            Ok(())
        }
    }
}

/// The value of a header, as it is.
pub(super) fn in_header(value: &Value, explode: bool) -> Result<String, String> {
    match (explode, assigned(value, ",", str::to_owned)?) {
        (true, Some(pairs)) => Ok(pairs),
        _ => joined(value, ",", str::to_owned),
    }
}

/// The cookies of a parameter, encoded.
pub(super) fn in_cookie(name: &str, value: &Value, explode: bool) -> Result<Vec<(String, String)>, String> {
    let encode = |text: &str| encoded(text, false);
    match value {
        Value::Array(items) if explode => {
            items.iter().map(|item| Ok((name.to_owned(), encode(&plain_text(item)?)))).collect()
        }
        Value::Object(map) if explode => {
            map.iter().map(|(name, value)| Ok((name.clone(), encode(&plain_text(value)?)))).collect()
        }
        other => Ok(vec![(name.to_owned(), joined(other, ",", encode)?)]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The table of the OpenAPI specification ("Style Examples"), with `|` encoded as version 3.1 wants it.
    #[test]
    fn the_styles_are_those_of_the_specification() {
        use ParameterStyle::{DeepObject, Form, Label, Matrix, PipeDelimited, Simple, SpaceDelimited};
        let (text, list) = (json!("blue"), json!(["blue", "black", "brown"]));
        let object = json!({"R": 100, "G": 200, "B": 150});
        let path = |value: &Value, style, explode| in_path("color", value, style, explode).unwrap();
        let query = |value: &Value, style, explode| in_query("color", value, style, explode, false).unwrap().join("&");
        for (style, explode, values) in [
            (Matrix, false, [";color=blue", ";color=blue,black,brown", ";color=R,100,G,200,B,150"]),
            (Matrix, true, [";color=blue", ";color=blue;color=black;color=brown", ";R=100;G=200;B=150"]),
            (Label, false, [".blue", ".blue,black,brown", ".R,100,G,200,B,150"]),
            (Label, true, [".blue", ".blue.black.brown", ".R=100.G=200.B=150"]),
            (Simple, false, ["blue", "blue,black,brown", "R,100,G,200,B,150"]),
            (Simple, true, ["blue", "blue,black,brown", "R=100,G=200,B=150"]),
        ] {
            let found = [&text, &list, &object].map(|value| path(value, style, explode));
            assert_eq!(found, values, "{style:?} {explode}");
        }
        for (style, explode, values) in [
            (Form, false, ["color=blue", "color=blue,black,brown", "color=R,100,G,200,B,150"]),
            (Form, true, ["color=blue", "color=blue&color=black&color=brown", "R=100&G=200&B=150"]),
            (SpaceDelimited, false, ["color=blue", "color=blue%20black%20brown", "color=R%20100%20G%20200%20B%20150"]),
            (PipeDelimited, false, ["color=blue", "color=blue%7Cblack%7Cbrown", "color=R%7C100%7CG%7C200%7CB%7C150"]),
            (
                DeepObject,
                true,
                ["color=blue", "color[0]=blue&color[1]=black&color[2]=brown", "color[R]=100&color[G]=200&color[B]=150"],
            ),
        ] {
            let found = [&text, &list, &object].map(|value| query(value, style, explode));
            assert_eq!(found, values, "{style:?} {explode}");
        }
        assert_eq!(in_header(&list, false).unwrap(), "blue,black,brown");
        assert_eq!(in_header(&object, true).unwrap(), "R=100,G=200,B=150");
        assert_eq!(in_header(&object, false).unwrap(), "R,100,G,200,B,150");
        let cookies = vec![("color".to_owned(), "blue".to_owned()), ("color".to_owned(), "black".to_owned())];
        assert_eq!(in_cookie("color", &json!(["blue", "black"]), true).unwrap(), cookies);
        assert_eq!(in_cookie("color", &list, false).unwrap(), [("color".to_owned(), "blue,black,brown".to_owned())]);
    }

    #[test]
    fn a_value_never_becomes_more_than_a_value() {
        let query =
            |value: Value, reserved| in_query("q", &value, ParameterStyle::Form, false, reserved).unwrap().join("&");
        assert_eq!(query(json!("a&b=c#d +é/"), false), "q=a%26b%3Dc%23d%20%2B%C3%A9%2F");
        assert_eq!(query(json!("a&b=c#d +/x,y"), true), "q=a%26b=c%23d%20%2B/x,y");
        // One value with a comma is not two.
        assert_eq!(query(json!(["a,b", "c"]), false), "q=a%2Cb,c");
        assert_eq!(query(json!(["a,b", "c"]), true), "q=a%2Cb,c");
        let nested = json!({"price": {"gte": "1.50".parse::<serde_json::Number>().unwrap()}, "x]&y": ["a"]});
        let deep = in_query("filter", &nested, ParameterStyle::DeepObject, true, false).unwrap().join("&");
        assert_eq!(deep, "filter[price][gte]=1.50&filter[x%5D%26y][0]=a");
        assert_eq!(in_path("x", &json!("../a/b?c#d"), ParameterStyle::Simple, false).unwrap(), "..%2Fa%2Fb%3Fc%23d");
    }

    #[test]
    fn numbers_keep_their_digits_and_null_is_never_sent() {
        let long: Value = serde_json::from_str("[12345678901234567890123, 19.90, 1e2]").unwrap();
        assert_eq!(in_header(&long, false).unwrap(), "12345678901234567890123,19.90,1e+2");
        for value in [json!(null), json!([1, null]), json!({"a": null})] {
            for style in [ParameterStyle::Form, ParameterStyle::DeepObject] {
                let error = in_query("q", &value, style, true, false).unwrap_err();
                assert_eq!(error, "is null, which cannot be sent there; leave it out");
            }
        }
    }
}
