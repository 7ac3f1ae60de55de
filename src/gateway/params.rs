//! The parameters of a start against the workflow's schema: defaults filled in, and a sentence for whoever got them wrong.

use serde_json::{Map, Value};

use crate::run::directory::WorkflowCard;

/// What the parameters of a workflow must be.
pub struct ParamsSchema {
    schema: Option<Value>,
    validator: Option<jsonschema::Validator>,
}

impl ParamsSchema {
    /// Those of a workflow.
    pub fn of(card: &WorkflowCard) -> Self {
        let validator = card.params.as_ref().and_then(|schema| match crate::schema::validator(schema) {
            Ok(validator) => Some(validator),
            Err(error) => {
                // The worker has checked it before it announced it; it looks at the parameters, too.
                tracing::warn!(workflow = %card.name, "its parameters are not checked, the schema cannot be read: {error}");
                None
            }
        });
        Self { schema: card.params.clone(), validator }
    }

    /// The parameters with defaults, or what is wrong with them. A workflow without a schema has no parameters.
    pub fn check(&self, params: Map<String, Value>) -> Result<Map<String, Value>, String> {
        let Some(schema) = &self.schema else { return crate::schema::no_params(params) };
        crate::schema::checked_params(schema, self.validator.as_ref(), params)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ids::Name;

    fn params(schema: Option<Value>) -> ParamsSchema {
        ParamsSchema::of(&WorkflowCard {
            name: Name::parse("w").unwrap(),
            title: None,
            description: None,
            params: schema,
            definition: String::new(),
            uses_caller_token: false,
            signed: None,
        })
    }

    fn check(schema: &Value, given: Value) -> Result<Value, String> {
        let Value::Object(given) = given else { panic!("an object") };
        params(Some(schema.clone())).check(given).map(Value::Object)
    }

    #[test]
    fn defaults_are_filled_in_and_a_refusal_names_each_field() {
        let schema = json!({"type": "object", "additionalProperties": false, "required": ["topic"], "properties": {
            "topic": {"type": "string"}, "level": {"enum": ["easy", "hard"], "default": "easy"},
            "more": {"type": "object", "properties": {"n": {"type": "integer", "default": 3}}}}});
        assert_eq!(check(&schema, json!({"topic": "x"})).unwrap(), json!({"topic": "x", "level": "easy"}));
        assert_eq!(
            check(&schema, json!({"topic": "x", "more": {}})).unwrap(),
            json!({"topic": "x", "more": {"n": 3}, "level": "easy"})
        );
        let wrong = check(&schema, json!({"level": "odd", "more": {"n": "three"}, "extra": 1})).unwrap_err();
        for part in [
            "\"topic\" is a required property",
            "level: ",
            "more.n: ",
            "there is no parameter \"extra\" (there is topic,",
        ] {
            assert!(wrong.contains(part), "{part} is not in {wrong}");
        }
    }

    #[test]
    fn a_parameter_that_is_not_there_is_refused_with_the_one_that_was_meant() {
        let properties = json!({"number": {"type": "string", "default": "INV-1"}, "more": {"type": "object", "properties": {"days": {}}}});
        let schema = json!({"type": "object", "properties": properties});
        assert_eq!(
            check(&schema, json!({"numbr": "INV-2"})).unwrap_err(),
            "there is no parameter \"numbr\" (did you mean \"number\"?)"
        );
        assert_eq!(
            check(&schema, json!({"more": {"day": 1}})).unwrap_err(),
            "there is no parameter \"more.day\" (did you mean \"days\"?)"
        );
        for open in [json!({"additionalProperties": true}), json!({"patternProperties": {}}), json!({"anyOf": [{}]})] {
            let Value::Object(mut schema) = schema.clone() else { unreachable!() };
            schema.extend(open.as_object().unwrap().clone());
            assert!(check(&Value::Object(schema), json!({"numbr": 1})).is_ok(), "{open}");
        }
    }

    #[test]
    fn a_closed_schema_of_any_form_takes_nothing_else() {
        for (schema, given) in [
            (json!({"type": "object", "additionalProperties": false}), json!({"x": 1})),
            (
                json!({"properties": {"a": {}}, "patternProperties": {"^x_": {}}, "additionalProperties": false}),
                json!({"b": 1}),
            ),
            (
                json!({"properties": {"items": {"items": {"properties": {"a": {}}, "additionalProperties": false}}}}),
                json!({"items": [{"typo": 1}]}),
            ),
        ] {
            assert!(check(&schema, given.clone()).is_err(), "{schema} takes {given}");
        }
    }

    #[test]
    fn a_workflow_without_a_schema_has_no_parameters() {
        let given = Map::from_iter([("name".to_owned(), json!(1))]);
        assert_eq!(params(None).check(given).unwrap_err(), "there is no parameter \"name\" (there is none)");
        assert_eq!(params(None).check(Map::new()), Ok(Map::new()));
    }
}
