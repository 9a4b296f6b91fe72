//! NAME, a plugin for Stagepost. "stagepost manual rust" says how they are written; stagepost/src has all there is.
//! After a change: sh stagepost/build.sh

use stagepost::{Plugin, Rcpt, Result, Value, Verdict};

struct Unwanted {
    mailboxes: Vec<String>,
}

impl Plugin for Unwanted {
    fn load(config: &Value) -> Result<Self> {
        let listed = config.get("unwanted").items();
        Ok(Unwanted { mailboxes: listed.iter().filter_map(Value::text).map(str::to_string).collect() })
    }

    /// Asked for each recipient.
    fn rcpt(&self, rcpt: &Rcpt) -> Result<Verdict> {
        if self.mailboxes.contains(&rcpt.address().mailbox) {
            return Ok(Verdict::reject("nobody reads this").reason("unwanted"));
        }
        Ok(Verdict::next()) // no opinion: the next plugin is asked
    }
}

stagepost::plugin!(Unwanted);
