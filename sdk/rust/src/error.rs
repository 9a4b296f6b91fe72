use std::fmt;

use crate::api::errno;

/// What a function that may fail returns.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a handler cannot tell: what the server refused, or what the plugin says itself. Other errors become one with `?`.
///
/// When a handler returns it, it becomes the plugin's error, and the hook's `on_error` answers. Why the server refused something is known to
/// the server, which adds it.
pub struct Error {
    code: i32,
    text: Option<String>,
}

impl Error {
    /// An error of the plugin's own.
    pub fn new(text: impl Into<String>) -> Error {
        Error { code: errno::FAILED, text: Some(text.into()) }
    }

    pub(crate) fn code_of(code: i32) -> Error {
        Error { code, text: None }
    }

    /// The number of the error, one of those in [`errno`](crate::errno).
    pub fn code(&self) -> i32 {
        self.code
    }

    /// Notes the text where the server finds it, and gives the number.
    pub(crate) fn tell(self) -> i32 {
        if let Some(text) = self.text {
            crate::host::log(crate::api::level::ERROR, &text);
        }
        self.code
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            Some(text) => f.write_str(text),
            None => write!(f, "the server refused it ({})", self.code),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<E: std::error::Error> From<E> for Error {
    fn from(e: E) -> Error {
        Error::new(e.to_string())
    }
}
