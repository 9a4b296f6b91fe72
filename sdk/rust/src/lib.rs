//! Plugins for the mail server Stagepost, in Rust.
//!
//! A plugin is a type that implements [`Plugin`]: `load` makes it of the settings, and there is a method for each stage. A handler gets the
//! object of its stage and answers with a [`Verdict`], or with an [`Error`], for which the hook's `on_error` answers.
//!
//! ```ignore
//! use stagepost::{Plugin, Rcpt, Result, Value, Verdict};
//!
//! struct Vip { name: String }
//!
//! impl Plugin for Vip {
//!     fn load(config: &Value) -> Result<Self> {
//!         Ok(Vip { name: config.get("name").text().unwrap_or("root").to_string() })
//!     }
//!
//!     fn rcpt(&self, rcpt: &Rcpt) -> Result<Verdict> {
//!         if rcpt.address().mailbox == self.name {
//!             return Ok(Verdict::reject("not for you").reason("vip"));
//!         }
//!         Ok(Verdict::next())
//!     }
//! }
//!
//! stagepost::plugin!(Vip);
//! ```
//!
//! Fields are read from the server when they are asked for, so what is not asked for costs nothing. "There is none" is `None`, `Value::Nil` or
//! an empty list; "it cannot be told" is an error. A panic becomes the plugin's error, with its message and line, and the instance is
//! thrown away. Text is mostly UTF-8, but mail need not be: what returns a `String` replaces what is not by U+FFFD, and a `Value` is then
//! `Value::Bytes`.
//!
//! What a plugin keeps in `self` lasts as long as its instance, of which there are several; what must last belongs into `kv`.
#![warn(missing_docs)]

mod api;
mod error;
mod host;
mod runtime;
mod value;
mod verdict;

pub use api::*;
pub use error::{Error, Result};
pub use runtime::{Header, Instance, Memory};
pub use value::Value;
pub use verdict::Verdict;

/// Makes a type the plugin of this module: it exports what the server calls.
#[macro_export]
macro_rules! plugin {
    ($plugin:ty) => {
        const _: () = {
            #[cfg(target_arch = "wasm32")]
            #[global_allocator]
            static MEMORY: $crate::Memory = $crate::Memory;

            static INSTANCE: $crate::Instance<$plugin> = $crate::Instance::new();

            #[no_mangle]
            pub extern "C" fn stagepost_abi() -> i32 {
                0
            }

            #[no_mangle]
            pub extern "C" fn stagepost_alloc(n: usize) -> *mut u8 {
                INSTANCE.alloc(n)
            }

            #[no_mangle]
            pub extern "C" fn stagepost_load(_: *const u8, n: usize) -> i32 {
                INSTANCE.load(n)
            }

            #[no_mangle]
            pub extern "C" fn stagepost_hook(stage: u32) -> i64 {
                INSTANCE.hook(stage)
            }
        };
    };
}
