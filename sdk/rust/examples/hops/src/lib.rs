//! Sends mail to the next hop of its domain, or of the nearest domain above it that is listed with a dot in front.

use std::collections::BTreeMap;

use stagepost::{Error, Plugin, Rcpt, Result, Value, Verdict};

struct Hops {
    domains: BTreeMap<String, String>,
    default: Option<String>,
}

impl Hops {
    fn of(&self, domain: &str) -> Option<&str> {
        let above = domain.match_indices('.').map(|(dot, _)| &domain[dot..]);
        let listed = std::iter::once(domain).chain(above).find_map(|name| self.domains.get(name));
        listed.or(self.default.as_ref()).map(String::as_str)
    }
}

impl Plugin for Hops {
    /// Settings that make no sense keep the plugin from loading.
    fn load(config: &Value) -> Result<Self> {
        let mut domains = BTreeMap::new();
        for (domain, hop) in config.get("domains").entries() {
            match hop.text() {
                Some(hop) if !hop.is_empty() => domains.insert(domain.to_ascii_lowercase(), hop.to_string()),
                _ => return Err(Error::new(format!("domains: \"{domain}\" has no next hop"))),
            };
        }
        Ok(Hops { domains, default: config.get("default").text().map(str::to_string) })
    }

    fn route(&self, rcpt: &Rcpt) -> Result<Verdict> {
        let hop = match self.of(&rcpt.address().domain) {
            Some(hop) => hop,
            None => return Ok(Verdict::next()),
        };
        Ok(match hop.split_once(':') {
            Some(("mx", domain)) => Verdict::route().mx(domain),
            Some(("lmtp", host)) => Verdict::route().via("lmtp").hosts(host),
            _ => Verdict::route().via("smtp").hosts(hop),
        })
    }
}

stagepost::plugin!(Hops);
