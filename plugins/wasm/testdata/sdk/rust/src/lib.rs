//! What tests of the SDK ask of a plugin in Rust, by its setting.

use stagepost::{addr, Error, Plugin, Result, Session, Value, Verdict};

struct Asked {
    word: String,
}

#[inline(never)]
fn deep(n: u64) -> u64 {
    let large = [n; 1024];
    if n == 0 {
        return 0;
    }
    deep(n - 1) + seen(&large)[(n % 7) as usize]
}

/// What is seen cannot be left out by the compiler.
fn seen<T>(v: &T) -> &T {
    unsafe { std::ptr::read_volatile(&v) }
}

impl Plugin for Asked {
    fn load(config: &Value) -> Result<Self> {
        Ok(Asked { word: config.get("word").text().unwrap_or("").to_string() })
    }

    fn connect(&self, session: &Session) -> Result<Verdict> {
        match self.word.as_str() {
            "panic" => {
                let none: Option<u32> = None;
                none.expect("no such thing");
            }
            "fail" => return Err(Error::new(format!("cannot tell {} of {}", 7, session.id()))),
            "refused" => drop(addr::within("no address", Vec::<Value>::new())?),
            "memory" => {
                let mut all = Vec::new();
                loop {
                    all.push(Vec::<u8>::with_capacity(1 << 20));
                    seen(&all);
                }
            }
            "stack" => drop(deep(10_000)),
            "arena" => drop(seen(&Vec::<u8>::with_capacity(20 << 20)).len()),
            _ => {}
        }
        Ok(Verdict::next())
    }

    /// One field, which is all that the benchmark asks for.
    fn helo(&self, session: &Session) -> Result<Verdict> {
        if session.port() == 1 {
            return Ok(Verdict::reject("port 1"));
        }
        Ok(Verdict::next())
    }
}

stagepost::plugin!(Asked);
