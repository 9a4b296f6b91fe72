//! What the server calls, and what of the objects is not a plain field.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, UnsafeCell};
use std::panic;

use crate::api::{dispatch, level, object, stage, Content, Delivery, Message, Part, Plugin, Rcpt};
use crate::error::Result;
use crate::host;
use crate::value::Value;

/// An instance of a plugin, made by [`plugin!`](crate::plugin).
pub struct Instance<P> {
    plugin: UnsafeCell<Option<P>>,
    given: UnsafeCell<Vec<u8>>,  // a buffer that the server writes to
    answer: UnsafeCell<Vec<u8>>, // which the server reads when the hook has returned
}

// A module has one thread, and the server calls it once at a time; handlers do not call back into the instance.
unsafe impl<P> Sync for Instance<P> {}

struct Asked(Cell<u32>);
unsafe impl Sync for Asked {}

/// The stage that is asked at.
static ASKED: Asked = Asked(Cell::new(0));

impl<P: Plugin> Instance<P> {
    #[doc(hidden)]
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Instance<P> {
        Instance { plugin: UnsafeCell::new(None), given: UnsafeCell::new(Vec::new()), answer: UnsafeCell::new(Vec::new()) }
    }

    #[doc(hidden)]
    pub fn alloc(&self, n: usize) -> *mut u8 {
        let given = unsafe { &mut *self.given.get() };
        *given = vec![0; n.max(1)];
        given.as_mut_ptr()
    }

    #[doc(hidden)]
    pub fn load(&self, n: usize) -> i32 {
        panic::set_hook(Box::new(|info| host::log(level::ERROR, &told(info))));
        let given = unsafe { std::mem::take(&mut *self.given.get()) };
        let settings = given.get(..n).and_then(Value::decode).expect("the settings are a value");
        match P::load(&settings) {
            Ok(plugin) => {
                unsafe { *self.plugin.get() = Some(plugin) };
                0
            }
            Err(e) => e.tell(),
        }
    }

    #[doc(hidden)]
    pub fn hook(&self, asked: u32) -> i64 {
        ASKED.0.set(asked);
        let plugin = unsafe { (*self.plugin.get()).as_ref() }.expect("the server loads a plugin before it asks");
        match dispatch(plugin, asked) {
            Err(e) => e.tell() as i64,
            Ok(verdict) => match verdict.encode() {
                None => 0,
                Some(raw) => {
                    let answer = unsafe { &mut *self.answer.get() };
                    *answer = raw;
                    (answer.as_ptr() as u64 as i64) << 32 | answer.len() as i64
                }
            },
        }
    }
}

/// The allocator of the standard library, which alone would not say that there is no more.
#[doc(hidden)]
pub struct Memory;

fn had(at: *mut u8) -> *mut u8 {
    if at.is_null() {
        host::log(level::ERROR, "out of memory");
    }
    at
}

unsafe impl GlobalAlloc for Memory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        had(System.alloc(layout))
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        had(System.alloc_zeroed(layout))
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        had(System.realloc(at, layout, size))
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        System.dealloc(at, layout)
    }
}

/// Place and text of a panic.
#[allow(deprecated)] // its new name is not there in old versions
fn told(info: &panic::PanicInfo<'_>) -> String {
    let text = match (info.payload().downcast_ref::<&str>(), info.payload().downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text.as_str(),
        _ => "panic",
    };
    match info.location() {
        Some(at) => format!("{}:{}: {text}", at.file(), at.line()),
        None => text.to_string(),
    }
}

impl Message {
    /// Its recipients accepted so far.
    pub fn rcpts(&self) -> impl Iterator<Item = Rcpt> {
        let first = match ASKED.0.get() {
            stage::RCPT | stage::ROUTE | stage::DELIVERED | stage::DEFERRED | stage::BOUNCED => 1, // 0 is the one that is asked about
            stage::DELIVER => host::field(object::DELIVERY, 0, crate::api::field::DELIVERY_RCPTS).int().unwrap_or(0) as u32, // they come first
            _ => 0,
        };
        rcpts(host::field(object::MESSAGE, 0, crate::api::field::MESSAGE_RCPTS), first)
    }

    /// The value of the n-th field of that name in the header, counted from 1, unfolded. `None` if there is no n-th.
    ///
    /// From data on; needs `read = "headers"`.
    pub fn header(&self, name: &str, n: u32) -> Result<Option<String>> {
        if name.is_empty() {
            return Ok(None);
        }
        Ok(host::header(name.as_bytes(), n)?.map(|raw| Value::Bytes(raw).into_text().unwrap_or_default()))
    }

    /// All fields of the header from the top, or those of that name, whose case does not matter; "" is all.
    ///
    /// From data on; needs `read = "headers"`.
    pub fn headers(&self, name: &str) -> Result<Vec<Header>> {
        let mut fields = Vec::new();
        for n in 1.. {
            match host::header(b"", n)? {
                Some(raw) => fields.push(Header::of(raw)),
                None => break,
            }
        }
        fields.retain(|f| name.is_empty() || f.name.eq_ignore_ascii_case(name));
        Ok(fields)
    }
}

/// A field of the header.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// Its name, as it is written.
    pub name: String,
    /// Its value, unfolded.
    pub value: String,
    /// The whole of it as it stands there: name, colon, folds and the end of its line.
    pub raw: Vec<u8>,
}

impl Header {
    fn of(raw: Vec<u8>) -> Header {
        let line = String::from_utf8_lossy(&raw);
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        let blank: &[char] = &[' ', '\t', '\r', '\n'];
        let value = value.trim_matches(blank).replace("\r\n", "").replace('\n', "");
        Header { name: name.trim_end_matches(blank).to_string(), value, raw }
    }
}

impl Delivery {
    /// The recipients of this attempt.
    pub fn rcpts(&self) -> impl Iterator<Item = Rcpt> {
        rcpts(host::field(object::DELIVERY, 0, crate::api::field::DELIVERY_RCPTS), 0)
    }
}

fn rcpts(count: Value, first: u32) -> impl Iterator<Item = Rcpt> {
    (first..first + count.int().unwrap_or(0) as u32).map(Rcpt::at)
}

impl Part {
    /// Its text in UTF-8; an error for what is no text or has more than 1 MiB.
    ///
    /// From data on; needs `read = "body"`.
    pub fn text(&self) -> Result<String> {
        let content = Content::at((1 << 16) + self.index + 1);
        let mut text = vec![0; content.size().max(0) as usize];
        let mut done = 0;
        loop {
            match content.read(done as u64, &mut text[done..])? {
                0 => return Ok(String::from_utf8_lossy(&text[..done]).into_owned()),
                n => done += n,
            }
        }
    }
}

impl Message {
    /// The parts that are no multipart themselves, in order; a message without MIME is one. From data on; needs `read = "body"`.
    pub fn parts(&self) -> impl Iterator<Item = Part> {
        let count = host::field(object::MESSAGE, 0, crate::api::field::MESSAGE_PARTS).int().unwrap_or(0) as u32;
        (0..count).map(Part::at)
    }

    /// Gives the message another body: what the function returns for each piece of the old one, of at most 64 KiB; the flag is true
    /// for the last.
    ///
    /// At data, once in a handler; it counts when that returns without error. Needs `edit = ["body"]` and `read = "body"`.
    pub fn rewrite(&self, mut with: impl FnMut(&[u8], bool) -> Result<Vec<u8>>) -> Result<()> {
        use crate::api::edit;
        host::edit(edit::REWRITE, object::MESSAGE, 0, "begin".into())?;
        let size = host::field(object::CONTENT, 0, crate::api::field::CONTENT_SIZE).int().unwrap_or(0) as u64;
        let (mut buf, mut offset) = (vec![0; 64 << 10], self.body_start() as u64);
        loop {
            let n = host::content_read(0, offset, &mut buf)?;
            offset += n as u64;
            host::content_emit(&with(&buf[..n], offset >= size)?)?;
            if offset >= size {
                break;
            }
        }
        host::edit(edit::REWRITE, object::MESSAGE, 0, "end".into())
    }
}

/// Services take a content by its number: `http::request` sends it without reading it into the plugin's memory.
impl From<&Content> for Value {
    fn from(c: &Content) -> Value {
        c.index.into()
    }
}

impl Content {
    /// Reads bytes of the message from offset on into the buffer, at most 1 MiB; 0 at its end.
    ///
    /// From data on; needs `read = "body"`.
    pub fn read(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        host::content_read(self.index, offset, buf)
    }

    /// Reads the whole content in pieces of at most n bytes, and calls the function with each.
    ///
    /// From data on; needs `read = "body"`.
    pub fn chunks(&self, n: usize, mut with: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let (mut buf, mut offset) = (vec![0; n.max(1)], 0);
        loop {
            match self.read(offset, &mut buf)? {
                0 => return Ok(()),
                n => {
                    with(&buf[..n])?;
                    offset += n as u64;
                }
            }
        }
    }
}
