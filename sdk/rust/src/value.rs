//! Values and their encoding: CBOR (RFC 8949) with definite lengths, without tags.

/// What settings, facts, and the arguments and results of services are made of.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// There is none.
    Nil,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any number.
    Float(f64),
    /// Text in UTF-8.
    Text(String),
    /// Bytes, and text that is not UTF-8. It stands for text everywhere.
    Bytes(Vec<u8>),
    /// A list.
    List(Vec<Value>),
    /// Values by name, in no order.
    Map(Vec<(String, Value)>),
}

const DEEPEST: u32 = 16; // the server's values are nested at most 8 deep

// Major types, section 3.1.
const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const LIST: u8 = 4;
const MAP: u8 = 5;
const SIMPLE: u8 = 7;

static NIL: Value = Value::Nil;

impl Value {
    /// The value of that name in a map; nil if it is no map, or has no such name.
    pub fn get(&self, name: &str) -> &Value {
        self.entries().iter().find(|(n, _)| n == name).map_or(&NIL, |(_, v)| v)
    }

    /// The value at that place in a list, from 0; nil if it is no list, or shorter.
    pub fn at(&self, index: usize) -> &Value {
        self.items().get(index).unwrap_or(&NIL)
    }

    /// The items of a list; none if it is no list.
    pub fn items(&self) -> &[Value] {
        match self {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The entries of a map; none if it is no map.
    pub fn entries(&self) -> &[(String, Value)] {
        match self {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// Whether there is none.
    pub fn is_nil(&self) -> bool {
        *self == Value::Nil
    }

    /// True if it is true; nil and all else are false.
    pub fn bool(&self) -> bool {
        *self == Value::Bool(true)
    }

    /// An integer, or a float that is whole.
    pub fn int(&self) -> Option<i64> {
        match *self {
            Value::Int(n) => Some(n),
            Value::Float(f) if f.abs() <= 9007199254740992.0 && f as i64 as f64 == f => Some(f as i64),
            _ => None,
        }
    }

    /// A number.
    pub fn float(&self) -> Option<f64> {
        match *self {
            Value::Int(n) => Some(n as f64),
            Value::Float(f) => Some(f),
            _ => None,
        }
    }

    /// Text in UTF-8.
    pub fn text(&self) -> Option<&str> {
        match self {
            Value::Text(s) => Some(s),
            _ => None,
        }
    }

    /// Text or bytes.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Text(s) => Some(s.as_bytes()),
            Value::Bytes(b) => Some(b),
            _ => None,
        }
    }

    /// Text or bytes, what is not UTF-8 replaced by U+FFFD.
    pub(crate) fn into_text(self) -> Option<String> {
        match self {
            Value::Text(s) => Some(s),
            Value::Bytes(b) => Some(String::from_utf8_lossy(&b).into_owned()),
            _ => None,
        }
    }

    pub(crate) fn into_texts(self) -> Vec<String> {
        match self {
            Value::List(items) => items.into_iter().filter_map(Value::into_text).collect(),
            _ => Vec::new(),
        }
    }

    /// Takes a value out of a map.
    pub(crate) fn take(&mut self, name: &str) -> Value {
        match self {
            Value::Map(entries) => entries.iter_mut().find(|(n, _)| n == name).map_or(Value::Nil, |(_, v)| std::mem::replace(v, Value::Nil)),
            _ => Value::Nil,
        }
    }

    /// Text of any bytes.
    pub(crate) fn of_text(b: &[u8]) -> Value {
        match std::str::from_utf8(b) {
            Ok(s) => Value::Text(s.to_string()),
            Err(_) => Value::Bytes(b.to_vec()),
        }
    }

    /// A value from CBOR; `None` if the bytes are no such thing.
    pub fn decode(b: &[u8]) -> Option<Value> {
        let mut r = Reader { rest: b };
        let v = r.value(0)?;
        r.rest.is_empty().then(|| v)
    }

    /// The value in CBOR.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    pub(crate) fn encode_list(items: &[Value]) -> Vec<u8> {
        let mut out = Vec::new();
        head(&mut out, LIST, items.len() as u64);
        items.iter().for_each(|v| v.write(&mut out));
        out
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Value::Nil => out.push(0xf6),
            Value::Bool(b) => out.push(0xf4 + *b as u8),
            Value::Int(n) if *n < 0 => head(out, NEGATIVE, !*n as u64),
            Value::Int(n) => head(out, UNSIGNED, *n as u64),
            Value::Float(f) => {
                out.push(0xfb);
                out.extend_from_slice(&f.to_bits().to_be_bytes());
            }
            Value::Text(s) => string(out, TEXT, s.as_bytes()),
            Value::Bytes(b) => string(out, BYTES, b),
            Value::List(items) => {
                head(out, LIST, items.len() as u64);
                items.iter().for_each(|v| v.write(out));
            }
            Value::Map(entries) => {
                head(out, MAP, entries.len() as u64);
                for (name, v) in entries {
                    string(out, TEXT, name.as_bytes());
                    v.write(out);
                }
            }
        }
    }
}

fn string(out: &mut Vec<u8>, major: u8, b: &[u8]) {
    head(out, major, b.len() as u64);
    out.extend_from_slice(b);
}

fn head(out: &mut Vec<u8>, major: u8, n: u64) {
    let major = major << 5;
    let bytes = n.to_be_bytes();
    match n {
        0..=23 => out.push(major | n as u8),
        24..=0xff => out.extend_from_slice(&[major | 24, n as u8]),
        0x100..=0xffff => {
            out.push(major | 25);
            out.extend_from_slice(&bytes[6..]);
        }
        0x1_0000..=0xffff_ffff => {
            out.push(major | 26);
            out.extend_from_slice(&bytes[4..]);
        }
        _ => {
            out.push(major | 27);
            out.extend_from_slice(&bytes);
        }
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: u64) -> Option<&'a [u8]> {
        if n > self.rest.len() as u64 {
            return None;
        }
        let (taken, rest) = self.rest.split_at(n as usize);
        self.rest = rest;
        Some(taken)
    }

    /// The major type, what follows it in the first byte, and the argument.
    fn head(&mut self) -> Option<(u8, u8, u64)> {
        let first = self.take(1)?[0];
        let info = first & 31;
        let n = match info {
            0..=23 => info as u64,
            24..=27 => self.take(1 << (info - 24))?.iter().fold(0, |n, b| n << 8 | *b as u64),
            _ => return None,
        };
        Some((first >> 5, info, n))
    }

    fn value(&mut self, deep: u32) -> Option<Value> {
        if deep > DEEPEST {
            return None;
        }
        let (major, info, n) = self.head()?;
        Some(match major {
            UNSIGNED if n <= i64::MAX as u64 => Value::Int(n as i64),
            NEGATIVE if n <= i64::MAX as u64 => Value::Int(!(n as i64)),
            BYTES => Value::Bytes(self.take(n)?.to_vec()),
            TEXT => Value::of_text(self.take(n)?),
            LIST if n <= self.rest.len() as u64 => {
                let mut items = Vec::with_capacity((n as usize).min(1024));
                for _ in 0..n {
                    items.push(self.value(deep + 1)?);
                }
                Value::List(items)
            }
            MAP if n <= self.rest.len() as u64 => {
                let mut entries = Vec::with_capacity((n as usize).min(1024));
                for _ in 0..n {
                    let name = match self.head()? {
                        (TEXT, _, len) => String::from_utf8_lossy(self.take(len)?).into_owned(),
                        _ => return None,
                    };
                    entries.push((name, self.value(deep + 1)?));
                }
                Value::Map(entries)
            }
            SIMPLE => match info {
                20 => Value::Bool(false),
                21 => Value::Bool(true),
                22 | 23 => Value::Nil, // null and undefined
                25 => Value::Float(half(n as u16)),
                26 => Value::Float(f32::from_bits(n as u32) as f64),
                27 => Value::Float(f64::from_bits(n)),
                _ => return None,
            },
            _ => return None,
        })
    }
}

/// A float of 16 bits, Appendix D.
fn half(n: u16) -> f64 {
    let (exponent, mantissa) = ((n >> 10 & 31) as u64, (n & 1023) as u64);
    let size = match exponent {
        0 => mantissa as f64 / 16777216.0,
        31 => f64::from_bits(2047 << 52 | mantissa << 42),
        _ => f64::from_bits((exponent + 1008) << 52 | mantissa << 42),
    };
    if n >> 15 == 1 {
        -size
    } else {
        size
    }
}

/// For arguments that may be left out.
impl From<()> for Value {
    fn from(_: ()) -> Value {
        Value::Nil
    }
}

impl From<bool> for Value {
    fn from(v: bool) -> Value {
        Value::Bool(v)
    }
}

impl From<i64> for Value {
    fn from(v: i64) -> Value {
        Value::Int(v)
    }
}

impl From<i32> for Value {
    fn from(v: i32) -> Value {
        Value::Int(v as i64)
    }
}

impl From<u32> for Value {
    fn from(v: u32) -> Value {
        Value::Int(v as i64)
    }
}

impl From<f64> for Value {
    fn from(v: f64) -> Value {
        Value::Float(v)
    }
}

impl From<&str> for Value {
    fn from(v: &str) -> Value {
        Value::Text(v.to_string())
    }
}

impl From<String> for Value {
    fn from(v: String) -> Value {
        Value::Text(v)
    }
}

impl From<&String> for Value {
    fn from(v: &String) -> Value {
        Value::Text(v.clone())
    }
}

impl From<&[u8]> for Value {
    fn from(v: &[u8]) -> Value {
        Value::Bytes(v.to_vec())
    }
}

impl From<&Value> for Value {
    fn from(v: &Value) -> Value {
        v.clone()
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(v: Option<T>) -> Value {
        v.map_or(Value::Nil, Into::into)
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(v: Vec<T>) -> Value {
        Value::List(v.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Value>, const N: usize> From<[T; N]> for Value {
    fn from(v: [T; N]) -> Value {
        Value::List(v.into_iter().map(Into::into).collect())
    }
}

impl<K: Into<String>, V: Into<Value>> FromIterator<(K, V)> for Value {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Value {
        Value::Map(entries.into_iter().map(|(k, v)| (k.into(), v.into())).collect())
    }
}
