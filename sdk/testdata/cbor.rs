// Reads items, each with its length before it, and writes each as it was understood. What is no value gets the length 0xffffffff.
use std::io::{Read, Write};

fn main() -> std::io::Result<()> {
    let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    let mut n = [0; 4];
    while input.read_exact(&mut n).is_ok() {
        let mut item = vec![0; u32::from_ne_bytes(n) as usize];
        input.read_exact(&mut item)?;
        match stagepost::Value::decode(&item) {
            Some(v) => {
                let raw = v.encode();
                output.write_all(&(raw.len() as u32).to_ne_bytes())?;
                output.write_all(&raw)?;
            }
            None => output.write_all(&u32::MAX.to_ne_bytes())?,
        }
    }
    output.flush()
}
