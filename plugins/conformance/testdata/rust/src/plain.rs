//! What a case gives, in the types that the SDK takes, and what the SDK gives, as values.

use stagepost::{Part, Rcpt, Value};

pub fn at(a: &[Value], i: usize) -> Value {
    a.get(i).cloned().unwrap_or(Value::Nil)
}

pub fn bytes(a: &[Value], i: usize) -> Vec<u8> {
    at(a, i).bytes().unwrap_or_default().to_vec()
}

pub fn int(a: &[Value], i: usize) -> i64 {
    at(a, i).int().unwrap_or(0)
}

pub fn float(a: &[Value], i: usize) -> f64 {
    at(a, i).float().unwrap_or(0.0)
}

pub fn truth(a: &[Value], i: usize) -> bool {
    matches!(at(a, i), Value::Bool(true))
}

pub fn named(a: &[Value], i: usize) -> Vec<(&str, Value)> {
    a[i].entries().iter().map(|(name, v)| (name.as_str(), v.clone())).collect()
}

/// An object for as long as the instance lives.
pub fn keep<T>(o: T) -> &'static T {
    Box::leak(Box::new(o))
}

pub fn map(entries: Vec<(&str, Value)>) -> Value {
    entries.into_iter().filter(|(_, v)| !v.is_nil()).collect()
}

pub fn known(facts: Value, name: &str) -> Value {
    map(vec![("known", facts.get(name).clone())])
}

pub fn types(parts: impl Iterator<Item = Part>) -> Value {
    Value::List(parts.map(|p| p.r#type().into()).collect())
}

pub fn addresses(rcpts: impl Iterator<Item = Rcpt>) -> Value {
    Value::List(rcpts.map(|r| r.address().text.into()).collect())
}
