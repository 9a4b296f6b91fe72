//! The functions that the server has for plugins. sdk/c/stagepost.h documents the interface.

use std::mem::MaybeUninit;

use crate::api::errno;
use crate::error::{Error, Result};
use crate::value::Value;

#[cfg(target_arch = "wasm32")]
mod sys {
    #[link(wasm_import_module = "stagepost_v0")]
    extern "C" {
        pub fn field(object: u32, index: u32, field: u32, buf: *mut u8, room: u32) -> i32;
        pub fn header(name: *const u8, name_len: u32, n: u32, buf: *mut u8, room: u32) -> i32;
        pub fn content_read(content: u32, offset: i64, buf: *mut u8, room: u32) -> i32;
        pub fn content_emit(ptr: *const u8, len: u32) -> i32;
        pub fn edit(edit: u32, object: u32, index: u32, ptr: *const u8, len: u32) -> i32;
        pub fn svc(name: *const u8, name_len: u32, args: *const u8, args_len: u32) -> i64;
        pub fn svc_read(handle: u32, offset: i64, buf: *mut u8, room: u32) -> i32;
        pub fn svc_close(handle: u32) -> i32;
        pub fn log(level: u32, text: *const u8, len: u32);
    }
}

/// Outside of the server, in a plugin's own unit tests, there is nothing but the log.
#[cfg(not(target_arch = "wasm32"))]
#[allow(clippy::missing_safety_doc)]
mod sys {
    use crate::api::errno::ABSENT;
    pub unsafe fn field(_: u32, _: u32, _: u32, _: *mut u8, _: u32) -> i32 {
        ABSENT
    }
    pub unsafe fn header(_: *const u8, _: u32, _: u32, _: *mut u8, _: u32) -> i32 {
        ABSENT
    }
    pub unsafe fn content_read(_: u32, _: i64, _: *mut u8, _: u32) -> i32 {
        ABSENT
    }
    pub unsafe fn content_emit(_: *const u8, _: u32) -> i32 {
        ABSENT
    }
    pub unsafe fn edit(_: u32, _: u32, _: u32, _: *const u8, _: u32) -> i32 {
        ABSENT
    }
    pub unsafe fn svc(_: *const u8, _: u32, _: *const u8, _: u32) -> i64 {
        ABSENT as i64
    }
    pub unsafe fn svc_read(_: u32, _: i64, _: *mut u8, _: u32) -> i32 {
        ABSENT
    }
    pub unsafe fn svc_close(_: u32) -> i32 {
        ABSENT
    }
    pub unsafe fn log(level: u32, text: *const u8, len: u32) {
        let text = std::slice::from_raw_parts(text, len as usize);
        eprintln!("log {level}: {}", String::from_utf8_lossy(text));
    }
}

const ROOM: usize = 256; // bytes in which most fields fit

/// Calls a function that writes to a buffer: once more with a larger one if the length says so. A negative result is the error.
fn filled<T>(call: impl Fn(*mut u8, u32) -> i32, use_it: impl Fn(&[u8]) -> T) -> std::result::Result<T, i32> {
    let mut buf = MaybeUninit::<[u8; ROOM]>::uninit();
    let at = buf.as_mut_ptr() as *mut u8;
    let n = call(at, ROOM as u32);
    if n < 0 {
        return Err(n);
    }
    if n as usize <= ROOM {
        // The server wrote n bytes there.
        return Ok(use_it(unsafe { std::slice::from_raw_parts(at, n as usize) }));
    }
    let mut large = vec![0; n as usize];
    match call(large.as_mut_ptr(), n as u32) {
        m if m == n => Ok(use_it(&large)),
        m if m < 0 => Err(m),
        _ => Err(errno::FAILED),
    }
}

/// Reads a field; nil where there is none. Whatever else the server says is an error of this crate or of the server's version, and panics.
pub(crate) fn field(object: u32, index: u32, field: u32) -> Value {
    match filled(|buf, room| unsafe { sys::field(object, index, field, buf, room) }, Value::decode) {
        Ok(Some(value)) => value,
        Err(errno::NONE) => Value::Nil,
        got => panic!("field {field} of object {object} cannot be read ({})", got.err().unwrap_or(errno::INVALID)),
    }
}

pub(crate) fn header(name: &[u8], n: u32) -> Result<Option<Vec<u8>>> {
    match filled(|buf, room| unsafe { sys::header(name.as_ptr(), name.len() as u32, n, buf, room) }, |b| b.to_vec()) {
        Ok(value) => Ok(Some(value)),
        Err(errno::NONE) => Ok(None),
        Err(code) => Err(Error::code_of(code)),
    }
}

pub(crate) fn content_read(content: u32, offset: u64, buf: &mut [u8]) -> Result<usize> {
    let n = unsafe { sys::content_read(content, offset as i64, buf.as_mut_ptr(), buf.len() as u32) };
    if n < 0 {
        return Err(Error::code_of(n));
    }
    Ok(n as usize)
}

pub(crate) fn content_emit(bytes: &[u8]) -> Result<()> {
    for part in bytes.chunks(1 << 20) {
        let n = unsafe { sys::content_emit(part.as_ptr(), part.len() as u32) };
        if n < 0 {
            return Err(Error::code_of(n));
        }
    }
    Ok(())
}

pub(crate) fn edit(edit: u32, object: u32, index: u32, argument: Value) -> Result<()> {
    let raw = argument.encode();
    match unsafe { sys::edit(edit, object, index, raw.as_ptr(), raw.len() as u32) } {
        n if n < 0 => Err(Error::code_of(n)),
        _ => Ok(()),
    }
}

/// Calls a service. Arguments at the end that are nil are left out.
pub(crate) fn call(name: &str, args: &[Value]) -> Result<Value> {
    let given = args.iter().rposition(|v| *v != Value::Nil).map_or(0, |last| last + 1);
    let raw = Value::encode_list(&args[..given]);
    let got = unsafe { sys::svc(name.as_ptr(), name.len() as u32, raw.as_ptr(), raw.len() as u32) };
    if got < 0 {
        return Err(Error::code_of(got as i32));
    }
    let (handle, len) = ((got >> 32) as u32, got as u32 as usize);
    let mut result = vec![0; len];
    let mut have = 0;
    while have < len {
        match unsafe { sys::svc_read(handle, have as i64, result[have..].as_mut_ptr(), (len - have) as u32) } {
            n if n > 0 => have += n as usize,
            _ => break,
        }
    }
    unsafe { sys::svc_close(handle) };
    Value::decode(&result[..have]).ok_or_else(|| Error::new(format!("{name}: the result is no value")))
}

pub(crate) fn log(level: u32, text: &str) {
    unsafe { sys::log(level, text.as_ptr(), text.len() as u32) }
}
