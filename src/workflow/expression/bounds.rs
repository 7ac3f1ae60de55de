//! Bounds on the memory and the work of one evaluation. minijinja's fuel counts steps, and one step can build a gigabyte:
//! a filter that replaces each letter of a text by another text, a list that contains itself twice and is made so again in a
//! loop. So the filters that multiply are asked first how much they would build, and what a template with statements builds
//! is weighed as soon as it is there. An evaluation runs on one thread without a pause; its account lies in that thread.

use std::cell::Cell;

use minijinja::value::{Kwargs, Rest, StringInput, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value};

use super::exact_number;

/// How large one value may be, in bytes, while a template or an expression is evaluated, and the text that comes of it.
pub const MOST_BYTES: usize = 16 << 20;
/// How deep lists and maps may contain each other.
const MOST_DEPTH: usize = 100;
/// How many bytes one evaluation may copy into texts, all of them together.
const MOST_COPIED: usize = 512 << 20;
/// How many values one evaluation may look at to weigh them.
const MOST_WEIGHED: usize = 50_000_000;
/// What a value takes beside its text.
const VALUE: usize = 16;

/// The function that weighs what operators build. No name that a person may use begins so.
pub const WEIGHED: &str = "__weighed";

/// What the present evaluation has used.
#[derive(Clone, Copy, Default)]
struct EvaluationAccount {
    copied: usize,
    weighed: usize,
    written: usize,
}

thread_local! {
    static ACCOUNT: Cell<EvaluationAccount> = const { Cell::new(EvaluationAccount { copied: 0, weighed: 0, written: 0 }) };
}

/// Begins an evaluation.
pub fn begin() {
    ACCOUNT.set(EvaluationAccount::default());
}

/// Counts text that goes into the output.
pub fn write(bytes: usize) -> Result<(), Error> {
    let mut account = ACCOUNT.get();
    account.written = account.written.saturating_add(bytes);
    ACCOUNT.set(account);
    if account.written > MOST_BYTES { Err(too_large()) } else { Ok(()) }
}

/// What a value, or a text made of values, has left to grow to.
pub struct RoomLeft(usize);

impl RoomLeft {
    /// All that one value may take.
    pub fn new() -> Self {
        Self(MOST_BYTES)
    }

    /// Takes a value `depth` lists and maps deep, with `bytes` of text.
    pub fn take(&mut self, bytes: usize, depth: usize) -> Result<(), String> {
        if depth > MOST_DEPTH {
            return Err(format!("lists and maps are more than {MOST_DEPTH} deep in each other"));
        }
        self.0 = self.0.checked_sub(VALUE.saturating_add(bytes)).ok_or_else(too_large_in_words)?;
        Ok(())
    }
}

pub fn install(environment: &mut Environment<'static>) {
    environment.add_function(WEIGHED, |value: Value| weighed(value));
    environment.add_filter("replace", |state: &mut State, text: StringInput, from: StringInput, to: StringInput| {
        let grows = to.as_str().len().saturating_sub(from.as_str().len());
        if grows > 0 {
            let times = text.as_str().matches(from.as_str()).count();
            build(text.as_str().len().saturating_add(times.saturating_mul(grows)))?;
        }
        minijinja::filters::replace(state, text, from, to)
    });
    environment.add_filter("join", join);
    environment.add_filter(
        "indent",
        |text: StringInput, width: Option<usize>, first: Option<bool>, blank: Option<bool>, named: Kwargs| {
            let wide = width.or_else(|| named.peek("width").ok()).unwrap_or(4);
            let lines = 1 + text.as_str().matches('\n').count();
            build(text.as_str().len().saturating_add(lines.saturating_mul(wide)))?;
            minijinja::filters::indent(text, width, first, blank, named)
        },
    );
    environment.add_filter("tojson", |value: Value, indent: Option<Value>, named: Kwargs| {
        let by = indent.clone().or_else(|| named.peek("indent").ok()).and_then(|by| by.as_usize()).unwrap_or(2);
        pretty(&value, by)?;
        exact_number::to_json(&value, indent, named)
    });
    environment.add_filter("pprint", |value: Value| {
        pretty(&value, 4)?;
        Ok::<_, Error>(minijinja::filters::pprint(&value))
    });
    environment.add_filter("string", |state: &State, value: Value| {
        weigh(&value)?;
        minijinja::filters::string(state, &value)
    });
    environment.add_filter("batch", |state: &State, list: Value, count: usize, fill: Option<Value>| {
        build(count.saturating_mul(VALUE))?;
        minijinja::filters::batch(state, list, count, fill)
    });
    environment.add_filter("slice", |state: &State, list: Value, count: usize, fill: Option<Value>| {
        build(count.saturating_mul(VALUE))?;
        minijinja::filters::slice(state, list, count, fill)
    });
    environment.add_filter("chain", |state: &State, list: Value, others: Rest<Value>| {
        // At once: a chain of chains would be followed to its end by each look into it.
        let chained = minijinja::filters::chain(state, list, others)?;
        weigh(&chained)?;
        match chained.kind() {
            ValueKind::Seq | ValueKind::Iterable => Ok(chained.try_iter()?.collect::<Vec<_>>().into()),
            _ => Ok::<Value, Error>(chained),
        }
    });
    environment.add_filter("zip", |state: &State, list: Value, others: Rest<Value>| {
        let zipped = minijinja::filters::zip(state, list, others)?;
        weigh(&zipped)?;
        Ok::<Value, Error>(zipped.try_iter()?.collect::<Vec<_>>().into())
    });
    environment.add_filter(
        "sum",
        |state: &State, list: Value, attribute: Option<&str>, start: Option<Value>, named: Kwargs| {
            let first = start.clone().or_else(|| named.peek("start").ok());
            if first.is_some_and(|first| !first.is_number()) {
                // Each step copies what was there before.
                build(weigh(&list)?)?;
                copy(weigh(&list)?.saturating_mul(list.len().unwrap_or(0)) / 2)?;
            }
            let start = start.map(exact_number::arithmetic_value);
            minijinja::filters::sum(state, exact_number::arithmetic_values(&list)?, attribute, start, named)
        },
    );
    environment.add_filter("unique", |state: &State, list: Value, named: Kwargs| {
        weigh(&list)?;
        minijinja::filters::unique(state, list, named)
    });
    environment.add_filter("groupby", |list: Value, attribute: Option<&str>, named: Kwargs| {
        weigh(&list)?;
        minijinja::filters::groupby(list, attribute, named)
    });
    environment.add_filter("dictsort", |map: Value, named: Kwargs| {
        weigh(&map)?;
        minijinja::filters::dictsort(&map, named)
    });
    environment.add_filter(
        "format",
        |state: &mut State, pattern: Value, rest: Rest<minijinja::value::ValueOrKwargs>| {
            let pattern_text = pattern.as_str().unwrap_or_default();
            let values: Vec<Value> = rest.iter().map(|argument| Value::clone(argument)).collect();
            build(formatted(pattern_text, &values)?)?;
            let rest = if has_number_format(pattern_text) {
                Rest(
                    rest.0.into_iter().map(|argument| exact_number::arithmetic_value(argument.into()).into()).collect(),
                )
            } else {
                rest
            };
            minijinja::filters::format(state, &pattern, rest)
        },
    );
}

fn join(
    state: &mut State,
    list: Value,
    between: Option<StringInput>,
    attribute: Option<&str>,
    named: Kwargs,
) -> Result<Value, Error> {
    let of = attribute.map(str::to_owned).or_else(|| named.peek::<Option<String>>("attribute").ok().flatten());
    let dashes = match &between {
        Some(between) => between.as_str().len(),
        None => named.peek::<Option<String>>("d").ok().flatten().map_or(0, |between| between.len()),
    };
    if let Ok(items) = list.try_iter() {
        let mut bytes = 0_usize;
        for item in items {
            let item = match &of {
                // What is not there is refused by the filter itself.
                Some(path) => path.split('.').try_fold(item, |value, part| value.get_attr(part)).unwrap_or_default(),
                None => item,
            };
            let text = item.as_str().map_or_else(|| weigh(&item), |text| Ok(text.len()))?;
            bytes = bytes.saturating_add(text).saturating_add(dashes);
            if bytes > MOST_BYTES {
                return Err(too_large());
            }
        }
        build(bytes)?;
    }
    minijinja::filters::join(state, &list, between, attribute, named)
}

/// Whether a `%` pattern writes a number in a form of its own (`%d`, `%.2f`), not as it is (`%s`).
fn has_number_format(pattern: &str) -> bool {
    let conversion = |rest: &str| rest.bytes().find(u8::is_ascii_alphabetic);
    pattern.split('%').skip(1).filter_map(conversion).any(|letter| !matches!(letter, b's' | b'r'))
}

/// How long a `%` pattern with these values becomes, at most.
fn formatted(pattern: &str, values: &[Value]) -> Result<usize, Error> {
    let mut bytes = pattern.len();
    let mut all = 0_usize;
    for value in values {
        all = all.saturating_add(weigh(value)?);
        // A `*` takes its width from a value.
        bytes = bytes.saturating_add(if pattern.contains('*') { value.as_usize().unwrap_or(0) } else { 0 });
    }
    bytes = bytes.saturating_add(all);
    for conversion in pattern.split('%').skip(1) {
        let mut rest = conversion;
        if let Some(named) = rest.strip_prefix('(') {
            rest = named.split_once(')').map_or("", |(_, rest)| rest);
            // The same value may be named again and again.
            bytes = bytes.saturating_add(all);
        }
        let spec = rest.split(|c: char| c.is_ascii_alphabetic()).next().unwrap_or_default();
        for number in spec.split(|c: char| !c.is_ascii_digit()).filter(|number| !number.is_empty()) {
            bytes = bytes.saturating_add(number.parse().unwrap_or(usize::MAX));
        }
    }
    Ok(bytes)
}

/// Passes a value on that is not too large.
fn weighed(value: Value) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::String => build(value.as_str().map_or(0, str::len))?,
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map | ValueKind::Plain => drop(weigh(&value)?),
        _ => {}
    }
    Ok(value)
}

/// Counts a text of so many bytes that is built.
fn build(bytes: usize) -> Result<(), Error> {
    if bytes > MOST_BYTES {
        return Err(too_large());
    }
    copy(bytes)
}

fn copy(bytes: usize) -> Result<(), Error> {
    let mut account = ACCOUNT.get();
    account.copied = account.copied.saturating_add(bytes);
    ACCOUNT.set(account);
    if account.copied > MOST_COPIED { Err(too_much_work()) } else { Ok(()) }
}

/// How large a value is, all that it contains counted as often as it is there.
pub fn weigh(value: &Value) -> Result<usize, Error> {
    scale(value, &mut |_, _| Ok(()))
}

/// Counts what is written of a value with a line for each part.
fn pretty(value: &Value, indent: usize) -> Result<(), Error> {
    let mut spaces = 0_usize;
    let bytes = scale(value, &mut |depth, parts| {
        spaces = spaces.saturating_add(depth.saturating_mul(indent).saturating_mul(parts));
        if spaces > MOST_BYTES { Err(too_large()) } else { Ok(()) }
    })?;
    build(bytes.saturating_add(spaces))
}

fn scale(value: &Value, each: &mut dyn FnMut(usize, usize) -> Result<(), Error>) -> Result<usize, Error> {
    let mut room = RoomLeft::new();
    let mut looked_at = 0;
    let outcome = walk(value, 0, &mut room, &mut looked_at, each);
    let mut account = ACCOUNT.get();
    account.weighed = account.weighed.saturating_add(looked_at);
    ACCOUNT.set(account);
    outcome?;
    if account.weighed > MOST_WEIGHED { Err(too_much_work()) } else { Ok(MOST_BYTES - room.0) }
}

fn walk(
    value: &Value,
    depth: usize,
    room: &mut RoomLeft,
    looked_at: &mut usize,
    each: &mut dyn FnMut(usize, usize) -> Result<(), Error>,
) -> Result<(), Error> {
    *looked_at += 1;
    let text = value.as_str().map_or(0, str::len);
    room.take(text, depth).map_err(|why| Error::new(ErrorKind::InvalidOperation, why))?;
    each(depth, 1)?;
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => {
            for item in value.try_iter()? {
                walk(&item, depth + 1, room, looked_at, each)?;
            }
        }
        ValueKind::Map => {
            for key in value.try_iter()? {
                walk(&value.get_item(&key)?, depth + 1, room, looked_at, each)?;
                walk(&key, depth + 1, room, looked_at, each)?;
            }
        }
        _ => {}
    }
    Ok(())
}

fn too_large_in_words() -> String {
    format!("it builds a text or a list of more than {} MiB", MOST_BYTES >> 20)
}

fn too_large() -> Error {
    Error::new(ErrorKind::InvalidOperation, too_large_in_words())
}

fn too_much_work() -> Error {
    Error::new(ErrorKind::InvalidOperation, "it takes too long")
}
