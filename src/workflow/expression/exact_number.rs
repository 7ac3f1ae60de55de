//! Numbers that a template passes on digit for digit. A number like `19.90`, `1e3` or one of thirty digits is another text
//! once it was a floating-point number, so it is carried as what it is: whoever looks it up, puts it into a text, a list or an
//! argument has its digits. Arithmetic and comparisons use the value of a number: every operator, test and filter that calculates
//! takes [`arithmetic_value`] of it.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use minijinja::value::{DynObject, Kwargs, Object, ObjectRepr, ValueKind};
use minijinja::{Environment, Error, State, Value};
use serde_json::Number;

/// The function that takes a number's value for its digits. No name that a person may use begins so.
pub const ARITHMETIC_VALUE: &str = "__arithmetic_value";

/// A number whose text is not the one that its value is written with.
#[derive(Debug)]
struct ExactNumber {
    number: Number,
    /// The nearest floating-point number.
    value: f64,
}

impl Object for ExactNumber {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn is_true(self: &Arc<Self>) -> bool {
        self.value != 0.0
    }

    fn custom_cmp(self: &Arc<Self>, other: &DynObject) -> Option<Ordering> {
        other.downcast_ref::<Self>().map(|other| self.value.total_cmp(&other.value))
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.number.as_str())
    }
}

/// A JSON number as templates and expressions see it.
pub fn seen_number(number: &Number) -> Value {
    let text = number.as_str();
    // `-0` is whole, and no integer has its sign.
    if let Ok(whole) = text.parse::<i64>()
        && text != "-0"
    {
        return whole.into();
    }
    if let Ok(whole) = text.parse::<i128>()
        && text != "-0"
    {
        return whole.into();
    }
    let value: f64 = text.parse().unwrap_or_default();
    match Number::from_f64(value) {
        // With an exponent even these have another form in a text.
        Some(written) if written.as_str() == text && !text.contains('e') => value.into(),
        _ => Value::from_object(ExactNumber { number: number.clone(), value }),
    }
}

/// The number that a value is, if it is one that keeps its digits.
pub fn exact(value: &Value) -> Option<&Number> {
    value.downcast_object_ref::<ExactNumber>().map(|exact| &exact.number)
}

/// A value for arithmetic: of a number that keeps its digits, the nearest floating-point number.
pub fn arithmetic_value(value: Value) -> Value {
    match value.downcast_object_ref::<ExactNumber>() {
        Some(exact) => exact.value.into(),
        None => value,
    }
}

/// The same for all that a list or a map contains.
pub fn arithmetic_values(value: &Value) -> Result<Value, Error> {
    if !contains_exact(value)? {
        return Ok(value.clone());
    }
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => {
            let items: Result<Vec<_>, Error> = value.try_iter()?.map(|item| arithmetic_values(&item)).collect();
            items.map(Value::from)
        }
        ValueKind::Map => {
            let keys: Vec<Value> = value.try_iter()?.collect();
            let pair = |key: Value| Ok((key.clone(), arithmetic_values(&value.get_item(&key)?)?));
            keys.into_iter().map(pair).collect::<Result<Vec<_>, Error>>().map(Value::from_pairs)
        }
        _ => Ok(arithmetic_value(value.clone())),
    }
}

/// Whether a value is, or contains, a number that keeps its digits.
pub fn contains_exact(value: &Value) -> Result<bool, Error> {
    Ok(match value.kind() {
        ValueKind::Plain => exact(value).is_some(),
        ValueKind::Seq | ValueKind::Iterable => {
            let mut items = value.try_iter()?;
            items.try_fold(false, |found, item| Ok::<_, Error>(found || contains_exact(&item)?))?
        }
        ValueKind::Map => {
            let mut keys = value.try_iter()?;
            keys.try_fold(false, |found, key| Ok::<_, Error>(found || contains_exact(&value.get_item(&key)?)?))?
        }
        _ => false,
    })
}

/// The items of a list in order, each with its digits; `attributes`: what of each decides, like minijinja's own filter.
pub fn sorted(state: &State, list: &Value, attributes: Option<&str>, options: &Kwargs) -> Result<Vec<Value>, Error> {
    let items: Vec<Value> = list.try_iter()?.collect();
    // The arithmetic values are sorted, each with the index of its item.
    let numbered = items
        .iter()
        .enumerate()
        .map(|(at, item)| Ok(Value::from_pairs([("item", arithmetic_values(item)?), ("at", Value::from(at))])));
    let numbered: Vec<Value> = numbered.collect::<Result<_, Error>>()?;
    let by = match attributes {
        None => "item".to_owned(),
        Some(paths) => paths.split(',').map(|path| format!("item.{}", path.trim())).collect::<Vec<_>>().join(","),
    };
    let mut given: Vec<(String, Value)> = vec![("attribute".to_owned(), by.into())];
    for name in options.args().filter(|name| *name != "attribute") {
        given.push((name.to_owned(), options.peek(name)?));
    }
    let sorted = minijinja::filters::sort(state, numbered.into(), given.into_iter().collect())?;
    let at = |numbered: Value| numbered.get_attr("at").map(|at| at.as_usize().unwrap_or_default());
    sorted.try_iter()?.map(|numbered| Ok(items[at(numbered)?].clone())).collect()
}

/// minijinja's `tojson`, which writes integers and floating-point numbers only.
pub fn to_json(value: &Value, indent: Option<Value>, named: Kwargs) -> Result<Value, Error> {
    if !contains_exact(value)? {
        return minijinja::filters::tojson(value, indent, named);
    }
    // A text in their place is found again: no value of a template holds this one.
    let mark = format!("exact-{}-", uuid::Uuid::new_v4());
    let mut numbers = Vec::new();
    let marked = with_marks(value, &mark, &mut numbers)?;
    let written = minijinja::filters::tojson(&marked, indent, named)?.to_string();
    let mut text = String::with_capacity(written.len());
    let mut rest = written.as_str();
    for number in numbers {
        // Each stands in its quotation marks, in the order in which they were met.
        let Some((before, behind)) = rest.split_once(&format!("\"{mark}")) else { break };
        text.push_str(before);
        text.push_str(number.as_str());
        rest = behind.split_once('"').map_or("", |(_, behind)| behind);
    }
    text.push_str(rest);
    Ok(Value::from_safe_string(text))
}

fn with_marks(value: &Value, mark: &str, numbers: &mut Vec<Number>) -> Result<Value, Error> {
    if let Some(number) = exact(value) {
        numbers.push(number.clone());
        return Ok(mark.into());
    }
    Ok(match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => {
            let items: Result<Vec<_>, Error> = value.try_iter()?.map(|item| with_marks(&item, mark, numbers)).collect();
            items?.into()
        }
        ValueKind::Map => {
            let keys: Vec<Value> = value.try_iter()?.collect();
            let mut pair = |key: Value| Ok((key.clone(), with_marks(&value.get_item(&key)?, mark, numbers)?));
            Value::from_pairs(keys.into_iter().map(&mut pair).collect::<Result<Vec<_>, Error>>()?)
        }
        _ => value.clone(),
    })
}

pub fn install(environment: &mut Environment<'static>) {
    use minijinja::{filters, tests};
    environment.add_function(ARITHMETIC_VALUE, arithmetic_value);
    environment.add_filter("abs", |value: Value| filters::abs(arithmetic_value(value)));
    environment.add_filter(
        "int",
        |state: &State, value: Value, default: Option<Value>, base: Option<u32>, named: Kwargs| {
            filters::int(state, &arithmetic_value(value), default, base, named)
        },
    );
    environment.add_filter("float", |state: &State, value: Value, default: Option<Value>, named: Kwargs| {
        filters::float(state, &arithmetic_value(value), default, named)
    });
    environment.add_filter("round", |value: Value, precision: Option<i32>, method: Option<&str>, named: Kwargs| {
        filters::round(arithmetic_value(value), precision, method, named)
    });
    environment.add_test("odd", |value: Value| tests::is_odd(arithmetic_value(value)));
    environment.add_test("even", |value: Value| tests::is_even(arithmetic_value(value)));
    environment.add_test("divisibleby", |value: Value, other: Value| {
        tests::is_divisibleby(&arithmetic_value(value), &arithmetic_value(other))
    });
    environment.add_test("number", |value: Value| tests::is_number(&arithmetic_value(value)));
    environment.add_test("integer", |value: Value| tests::is_integer(&arithmetic_value(value)));
    environment.add_test("float", |value: Value| tests::is_float(&arithmetic_value(value)));
}
