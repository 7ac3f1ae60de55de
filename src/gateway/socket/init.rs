//! The first frame of a socket: which run it is about.

use axum::extract::ws::close_code;
use serde_json::{Map, Value};

use crate::bounds::{self, OUTSIDE, UnfitJson};
use crate::ids::RunId;

/// What is wrong with a first frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InitError {
    pub(super) code: u16,
    pub(super) what: String,
}

/// The first frame.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct InitFrame {
    pub(super) run: RunId,
    pub(super) name: String,
    pub(super) params: Map<String, Value>,
}

/// Reads the first frame. `user_id` is ignored: a client does not say who it is, it proves it.
pub(super) fn parse(text: &str) -> Result<InitFrame, InitError> {
    let refuse = |what: String| InitError { code: close_code::POLICY, what };
    let init: Value = bounds::read(text.as_bytes(), &OUTSIDE).map_err(|unfit| match unfit {
        UnfitJson::Exceeded(exceeded) => refuse(exceeded.to_string()),
        UnfitJson::Json(error) => {
            InitError { code: close_code::UNSUPPORTED, what: format!("the first frame is not JSON: {error}") }
        }
    })?;
    let Value::Object(mut init) = init else {
        return Err(refuse("the first frame must be a JSON object".to_owned()));
    };
    let run = match init.get("workflow_uuid") {
        Some(Value::String(text)) => {
            RunId::parse(text).map_err(|_| refuse(format!("workflow_uuid: {} is no UUID", shortened(text))))?
        }
        Some(_) => return Err(refuse("workflow_uuid: must be a text".to_owned())),
        None => return Err(refuse("workflow_uuid: is missing".to_owned())),
    };
    let name = match init.remove("name") {
        Some(Value::String(name)) => name,
        Some(_) => return Err(refuse("name: must be a text".to_owned())),
        None => return Err(refuse("name: is missing".to_owned())),
    };
    let params = match init.remove("params") {
        Some(Value::Object(params)) => params,
        Some(Value::Null) | None => Map::new(),
        Some(_) => return Err(refuse("params: must be an object".to_owned())),
    };
    Ok(InitFrame { run, name, params })
}

/// Whether a text is a first frame, for whoever tries what it may be.
pub fn reads_first_frame(text: &str) -> bool {
    parse(text).is_ok()
}

fn shortened(text: &str) -> String {
    format!("{:?}", text.chars().take(80).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_first_frame_is_read_as_fastagencys_clients_write_it() {
        let uuid = "0b9d6e5c-7f4b-4f2a-8c1d-2e3f4a5b6c7d";
        let init = parse(&format!(
            r#"{{"user_id": "None", "workflow_uuid": "{uuid}", "name": "echo", "params": {{"name": 1, "ui": 2, "user_id": 3}}}}"#
        ))
        .unwrap();
        assert_eq!((init.run.dashed().as_str(), init.name.as_str()), (uuid, "echo"));
        assert_eq!(json!(init.params), json!({"name": 1, "ui": 2, "user_id": 3}));
        let hex = uuid.replace('-', "");
        assert!(parse(&format!(r#"{{"workflow_uuid": "{hex}", "name": "echo"}}"#)).unwrap().params.is_empty());
    }

    #[test]
    fn half_a_letter_in_a_first_frame_is_no_mistake() {
        let uuid = "0b9d6e5c7f4b4f2a8c1d2e3f4a5b6c7d";
        let text = format!(r#"{{"workflow_uuid": "{uuid}", "name": "echo", "params": {{"said": "a \ud83d"}}}}"#);
        assert_eq!(json!(parse(&text).unwrap().params), json!({"said": "a \u{fffd}"}));
    }

    #[test]
    fn a_wrong_first_frame_is_answered_in_words() {
        for (text, code, what) in [
            ("{", 1003, "the first frame is not JSON"),
            ("[]", 1008, "must be a JSON object"),
            ("{}", 1008, "workflow_uuid: is missing"),
            (&format!("{{\"params\": {}{}}}", "[".repeat(64), "]".repeat(64)), 1008, "nested deeper than 64 levels"),
            (r#"{"workflow_uuid": "x", "name": "n"}"#, 1008, "workflow_uuid: \"x\" is no UUID"),
            (r#"{"workflow_uuid": 1, "name": "n"}"#, 1008, "workflow_uuid: must be a text"),
            (r#"{"workflow_uuid": "00000000000000000000000000000000"}"#, 1008, "name: is missing"),
            (r#"{"workflow_uuid": "00000000000000000000000000000000", "name": 1}"#, 1008, "name: must be a text"),
            (
                r#"{"workflow_uuid": "00000000000000000000000000000000", "name": "n", "params": []}"#,
                1008,
                "params: must be",
            ),
        ] {
            let wrong = parse(text).unwrap_err();
            assert_eq!(wrong.code, code, "{text}");
            assert!(wrong.what.contains(what), "{text}: {}", wrong.what);
        }
    }
}
