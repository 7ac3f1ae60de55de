//! Addresses and subjects in pieces: texts as they stand in the workflow, and the values between them.

use std::collections::BTreeSet;

use super::Expression;

/// A piece of an address, or of a subject.
#[derive(Debug, Clone)]
pub enum AddressPart {
    /// As it is.
    Text(String),
    /// A value, which stays in its place: it is encoded, or it is one token.
    Value(Expression),
}

/// The arguments of a tool without which there is no address: each stands in it alone.
pub(super) fn needed_args(parts: &[AddressPart]) -> BTreeSet<&str> {
    let alone = parts.iter().filter_map(|part| match part {
        AddressPart::Value(expression) => expression.source().strip_prefix("args."),
        AddressPart::Text(_) => None,
    });
    let named = args_in(parts);
    alone.filter(|name| named.contains(name)).collect()
}

/// The arguments of a tool that the pieces of an address name.
pub(super) fn args_in(parts: &[AddressPart]) -> BTreeSet<&str> {
    let values = parts.iter().filter_map(|part| match part {
        AddressPart::Value(expression) => Some(expression.names()),
        AddressPart::Text(_) => None,
    });
    let names = values.flatten().filter(|path| path.first().is_some_and(|root| root == "args"));
    names.filter_map(|path| path.get(1)).map(String::as_str).collect()
}
