//! The plugin in Rust that does what a case says. See plugins/conformance.

use dispatch::Object;
use stagepost::{http, log, net, Error, Header, Message, Result, Value, Verdict};

mod dispatch;
mod plain;

pub struct Case {
    config: Value,
}

fn report(v: Value) -> Result<()> {
    log::info("got", plain::map(vec![("value", v)]))
}

fn message<'a>(o: &Object<'a>) -> &'a Message {
    match o {
        Object::Message(m) => m,
        _ => panic!("it is no message"),
    }
}

fn of_bytes(b: &[u8]) -> Value {
    String::from_utf8_lossy(b).into_owned().into()
}

fn of_header(f: Header) -> Value {
    plain::map(vec![("name", f.name.into()), ("value", f.value.into()), ("raw", of_bytes(&f.raw))])
}

fn verdict(o: &Object, v: &Value) -> Result<Verdict> {
    let mut list = v.get("verdicts").items().iter();
    let mut next = |_: &_| Ok(dispatch::verdict(list.next().unwrap_or(&Value::Nil)));
    match (v.get("kind").text(), o) {
        (Some("each"), Object::Message(m)) => Verdict::each(m.rcpts(), &mut next),
        (Some("each"), Object::Delivery(d)) => Verdict::each(d.rcpts(), &mut next),
        _ => Ok(dispatch::verdict(v)),
    }
}

fn fact(o: &Object, key: &str, name: &str, value: &Value) -> Result<Value> {
    macro_rules! set {
        ($o:expr) => {{
            $o.set_my(key, value)?;
            $o.set_fact(name, value)?;
            Ok(Value::List(vec![$o.my().get(key).clone(), $o.facts().get(name).clone()]))
        }};
    }
    match o {
        Object::Session(o) => set!(o),
        Object::Message(o) => set!(o),
        Object::Rcpt(o) => set!(o),
        _ => panic!("it has no facts"),
    }
}

impl Case {
    pub fn new(config: &Value) -> Result<Case> {
        if config.get("case").get("do").text() == Some("refuse") {
            return Err(Error::new("these settings are refused"));
        }
        Ok(Case { config: config.clone() })
    }

    pub fn run(&self, mut o: Object) -> Result<Verdict> {
        let c = self.config.get("case");
        let word = |name: &str| c.get(name).text().unwrap_or("");
        let mut several = Vec::new();
        let path = c.get("path");
        for (i, name) in path.items().iter().enumerate() {
            match name.int() {
                Some(place) => o = several.swap_remove(place as usize - 1),
                None => several = dispatch::member(&o, name.text().unwrap_or("")),
            }
            if name.int().is_none() && path.at(i + 1).int().is_none() {
                o = several.pop().expect("there is one");
            }
        }
        match word("do") {
            "fields" => report(dispatch::fields(&o))?,
            "verdict" => return verdict(&o, c.get("verdict")),
            "edits" => {
                for e in c.get("edits").items() {
                    dispatch::edit(&o, e.at(0).text().unwrap_or(""), &e.items()[1..])?;
                }
            }
            "service" => report(dispatch::service(word("service"), c.get("args").items())?)?,
            "fact" => report(fact(&o, word("my"), word("name"), c.get("value"))?)?,
            "header" => {
                let (m, name) = (message(&o), word("name"));
                report(Value::List(vec![m.header(name, 1)?.into(), m.header(name, 2)?.into(), m.header(name, 3)?.is_some().into()]))?;
            }
            "headers" => report(Value::List(message(&o).headers(word("name"))?.into_iter().map(of_header).collect()))?,
            "read" => {
                let content = message(&o).content().expect("there is content");
                let mut buf = [0; 3];
                let first = content.read(9, &mut buf)?;
                let first = of_bytes(&buf[..first]);
                let none = content.read(1000, &mut buf)?;
                let mut size = 0;
                content.chunks(1000, |piece| {
                    size += piece.len() as i64;
                    Ok(())
                })?;
                report(Value::List(vec![first, of_bytes(&buf[..none]), size.into()]))?;
            }
            "chunks" => {
                let mut all = Vec::new();
                message(&o).content().expect("there is content").chunks(16, |piece| {
                    all.push(of_bytes(piece));
                    Ok(())
                })?;
                report(Value::List(all))?;
            }
            "text" => {
                let p = message(&o).parts().next().expect("there is one");
                let mut buf = [0; 4];
                let n = p.content().read(0, &mut buf)?;
                report(Value::List(vec![p.text()?.into(), of_bytes(&buf[..n]), p.content().size().into()]))?;
            }
            "post" => {
                let m = message(&o);
                let part = m.parts().next().expect("there is one").content();
                let post = |body: Value| {
                    let answer = http::request(plain::map(vec![("url", "https://api.example/".into()), ("body", body)]))?;
                    Ok::<String, Error>(answer.get("body").text().unwrap_or("").to_owned())
                };
                let first = post((&part).into())?;
                let whole = post((&m.content().expect("there is content")).into())?;
                report(Value::List(vec![first.into(), (whole.len() as i64).into()]))?;
            }
            "talk" => {
                let c = net::open("talk.example:7", ())?;
                net::send(c, "one\r\ntwo")?;
                let (line, two) = (net::line(c)?, net::read(c, 3)?);
                net::send(c, "end\n")?;
                let (last, none) = (net::line(c)?, net::line(c)?.is_none());
                net::close(c)?;
                let all = vec![line.into(), two.into(), last.into(), none.into(), net::line(c).is_err().into()];
                report(Value::List(all))?;
            }
            "rewrite" => {
                let (m, mut seen) = (message(&o), Value::Nil);
                m.rewrite(|piece, last| {
                    seen = Value::List(vec![m.body_start().into(), of_bytes(piece), last.into()]);
                    Ok([piece, b"end"].concat())
                })?;
                report(seen)?;
            }
            "settings" => {
                let names = ["bool", "int", "string", "duration", "size", "list", "map"];
                report(Value::List(names.iter().map(|name| self.config.get(name).clone()).collect()))?;
            }
            "fail" => return Err(Error::new("it cannot be told")),
            other => return Err(Error::new(format!("nothing is known of {other}"))),
        }
        Ok(Verdict::next())
    }
}

stagepost::plugin!(Case);
