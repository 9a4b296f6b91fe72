use crate::api::{verdict, Rcpt};
use crate::error::Result;
use crate::value::Value;

/// What a handler answers. What is not set has its default; each kind says which of the setters fit it.
#[derive(Clone, Debug)]
pub struct Verdict {
    kind: u32,
    fields: Vec<(String, Value)>,
}

impl Verdict {
    /// One verdict for each recipient of the message, at data, or of the delivery, at deliver.
    pub fn each(rcpts: impl Iterator<Item = Rcpt>, mut answer: impl FnMut(&Rcpt) -> Result<Verdict>) -> Result<Verdict> {
        let mut verdicts = Vec::new();
        for rcpt in rcpts {
            verdicts.push(answer(&rcpt)?.into_value());
        }
        Ok(Verdict::of(verdict::EACH).set("verdicts", Value::List(verdicts)))
    }

    pub(crate) fn of(kind: u32) -> Verdict {
        Verdict { kind, fields: Vec::new() }
    }

    pub(crate) fn set(mut self, name: &str, value: Value) -> Verdict {
        self.fields.retain(|(n, _)| n != name);
        if !value.is_nil() {
            self.fields.push((name.to_string(), value));
        }
        self
    }

    fn into_value(mut self) -> Value {
        if self.kind == verdict::NEXT {
            return Value::Nil;
        }
        self.fields.push(("kind".to_string(), Value::Int(self.kind as i64)));
        Value::Map(self.fields)
    }

    /// The verdict in CBOR; none for next.
    pub(crate) fn encode(self) -> Option<Vec<u8>> {
        match self.into_value() {
            Value::Nil => None,
            v => Some(v.encode()),
        }
    }
}
