//! Comparisons that refuse to guess. Where minijinja has an order for any two values (`"9" > 18` holds), these functions say
//! what is unlike. They stand behind the operators (see `rewrite`), the tests (`is gt(3)`, `selectattr("n", "gt", 3)`) and
//! the filters that compare.

use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value};

use super::bounds::weigh;
use super::exact_number;
use super::values::described;

/// The function that takes the place of the operators. No name that a person may use begins so.
pub const COMPARE: &str = "__compare";

pub fn install(environment: &mut Environment<'static>) {
    environment.add_function(COMPARE, compare);
    for (names, operator) in [
        (&["eq", "equalto", "=="][..], "=="),
        (&["ne", "!="], "!="),
        (&["lt", "lessthan", "<"], "<"),
        (&["le", "<="], "<="),
        (&["gt", "greaterthan", ">"], ">"),
        (&["ge", ">="], ">="),
        (&["in"], "in"),
    ] {
        for name in names {
            environment.add_test(*name, move |left: Value, right: Value| holds(operator, &left, &right));
        }
    }
    environment.add_filter("min", |state: &State, list: Value, options: Kwargs| {
        let list = sortable(list, &options)?;
        if exact_number::contains_exact(&list)? {
            return Ok(exact_number::sorted(state, &list, None, &options)?.into_iter().next().unwrap_or_default());
        }
        minijinja::filters::min(state, list, options)
    });
    environment.add_filter("max", |state: &State, list: Value, options: Kwargs| {
        let list = sortable(list, &options)?;
        if exact_number::contains_exact(&list)? {
            return Ok(exact_number::sorted(state, &list, None, &options)?.into_iter().next_back().unwrap_or_default());
        }
        minijinja::filters::max(state, list, options)
    });
    environment.add_filter("sort", |state: &State, list: Value, options: Kwargs| {
        let list = sortable(list, &options)?;
        if exact_number::contains_exact(&list)? {
            let by: Option<String> = options.peek("attribute").ok().flatten();
            return exact_number::sorted(state, &list, by.as_deref(), &options).map(Value::from);
        }
        minijinja::filters::sort(state, list, options)
    });
}

/// `compare(a, "<", b, "<=", c)`: whether all of the chain holds.
fn compare(chain: Rest<Value>) -> Result<bool, Error> {
    for window in chain.windows(3).step_by(2) {
        let [left, operator, right] = window else { return Ok(false) };
        if !holds(operator.as_str().unwrap_or_default(), left, right)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn holds(operator: &str, left: &Value, right: &Value) -> Result<bool, Error> {
    for side in [left, right] {
        if side.is_undefined() {
            return Err(Error::from(ErrorKind::UndefinedError));
        }
    }
    // A list may contain another one many times over: comparing it looks at all of that.
    if matches!(
        (class(left), class(right)),
        (ComparisonClass::List | ComparisonClass::Map, ComparisonClass::List | ComparisonClass::Map)
    ) {
        weigh(left)?;
        weigh(right)?;
    }
    // What is compared is what numbers are worth, not how they are written.
    let (left, right) = (&exact_number::arithmetic_values(left)?, &exact_number::arithmetic_values(right)?);
    match operator {
        "==" => equal(left, right),
        "!=" => equal(left, right).map(|equal| !equal),
        "in" => contains(right, left),
        "not in" => contains(right, left).map(|found| !found),
        _ => {
            ordered(left, right)?;
            Ok(match operator {
                "<" => left < right,
                "<=" => left <= right,
                ">" => left > right,
                _ => left >= right,
            })
        }
    }
}

/// What may be compared with what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ComparisonClass {
    Null,
    Truth,
    Number,
    Text,
    List,
    Map,
    Other,
}

fn class(value: &Value) -> ComparisonClass {
    match value.kind() {
        ValueKind::Plain if exact_number::exact(value).is_some() => ComparisonClass::Number,
        ValueKind::None => ComparisonClass::Null,
        ValueKind::Bool => ComparisonClass::Truth,
        ValueKind::Number => ComparisonClass::Number,
        ValueKind::String => ComparisonClass::Text,
        ValueKind::Seq | ValueKind::Iterable => ComparisonClass::List,
        ValueKind::Map => ComparisonClass::Map,
        _ => ComparisonClass::Other,
    }
}

fn unlike(left: &Value, right: &Value) -> Error {
    let message = format!("cannot compare {} with {}", described(left), described(right));
    let advice = match (class(left), class(right)) {
        (ComparisonClass::Text, ComparisonClass::Number) | (ComparisonClass::Number, ComparisonClass::Text) => {
            " (the filters `int` and `float` make a number of a text)"
        }
        _ => "",
    };
    Error::new(ErrorKind::InvalidOperation, message + advice)
}

/// Anything may be asked whether it is null; else only like is compared with like.
fn equal(left: &Value, right: &Value) -> Result<bool, Error> {
    match (class(left), class(right)) {
        (ComparisonClass::Null, _) | (_, ComparisonClass::Null) => Ok(left.is_none() && right.is_none()),
        (a, b) if a == b => Ok(left == right),
        _ => Err(unlike(left, right)),
    }
}

fn ordered(left: &Value, right: &Value) -> Result<(), Error> {
    match (class(left), class(right)) {
        (ComparisonClass::Number, ComparisonClass::Number) | (ComparisonClass::Text, ComparisonClass::Text) => Ok(()),
        (a, b) if a == b => Err(Error::new(
            ErrorKind::InvalidOperation,
            format!("{} and {} have no order", described(left), described(right)),
        )),
        _ => Err(unlike(left, right)),
    }
}

fn contains(container: &Value, item: &Value) -> Result<bool, Error> {
    match (class(container), class(item)) {
        (ComparisonClass::Text, ComparisonClass::Text) => {
            Ok(container.as_str().zip(item.as_str()).is_some_and(|(text, part)| text.contains(part)))
        }
        (ComparisonClass::Map, ComparisonClass::Text) => Ok(!container.get_item(item)?.is_undefined()),
        (ComparisonClass::List, wanted) => {
            let items: Vec<Value> = container.try_iter()?.collect();
            let scalar =
                |class| matches!(class, ComparisonClass::Truth | ComparisonClass::Number | ComparisonClass::Text);
            // In a list of mixed values the unlike ones are just others; in a list of nothing but unlike scalars the question
            // is a mistake.
            if scalar(wanted)
                && !items.is_empty()
                && items.iter().all(|item| scalar(class(item)) && class(item) != wanted)
            {
                let message =
                    format!("cannot look for {} in a list of other types ({})", described(item), described(&items[0]));
                return Err(Error::new(ErrorKind::InvalidOperation, message));
            }
            Ok(items.iter().any(|other| class(other) == wanted && other == item))
        }
        _ => {
            let message = format!("cannot look for {} in {}", described(item), described(container));
            Err(Error::new(ErrorKind::InvalidOperation, message))
        }
    }
}

/// The list, if all its items (or the named attribute of each) can be put into an order.
fn sortable(list: Value, options: &Kwargs) -> Result<Value, Error> {
    let attribute: Option<String> = options.peek("attribute").ok().flatten();
    weigh(&list)?;
    let items: Vec<Value> = list.try_iter()?.collect();
    let mut first: Option<Value> = None;
    for item in &items {
        // With several attributes the first one is looked at; minijinja decides the rest.
        let key = match attribute.as_deref().and_then(|path| path.split(',').next()) {
            Some(path) => path.trim().split('.').try_fold(item.clone(), |value, part| value.get_attr(part))?,
            None => item.clone(),
        };
        match &first {
            Some(first) => ordered(first, &key)?,
            None => first = Some(key),
        }
    }
    Ok(Value::from(items))
}
