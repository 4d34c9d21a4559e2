//! The host names of routes.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

use super::Error;

/// The hosts that a route serves: one host, all hosts below one, or any host.
///
/// Names are lower case, without port and final dot; internationalised names are punycode (UTS 46).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// `shop.example`, `10.0.0.7`, `[::1]`.
    Exact(Arc<str>),
    /// `*.shop.example`, stored as `shop.example`. Matches names with one or more labels before it.
    Below(Arc<str>),
    /// `*`.
    Any,
}

impl Host {
    /// Reads a host name, `*.` with a host name, or `*`.
    ///
    /// # Errors
    /// `Invalid` for a port, a scheme, a path, a `*` elsewhere, or an impossible host name.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text == "*" {
            return Ok(Host::Any);
        }
        match text.strip_prefix("*.") {
            Some(base) => domain(base, text).map(|name| Host::Below(name.into())),
            None => host(text).map(|name| Host::Exact(name.into())),
        }
    }

    /// Returns true if `name` matches. `name` must be lower case, as [`Host::parse`] writes it.
    pub fn covers(&self, name: &str) -> bool {
        match self {
            Host::Exact(own) => **own == *name,
            Host::Below(base) => {
                let label = name.strip_suffix(&**base).and_then(|rest| rest.strip_suffix('.'));
                label.is_some_and(|label| !label.is_empty())
            }
            Host::Any => true,
        }
    }

    /// Returns the rank of the rule. Of two rules that cover the same host, the more specific one has the higher rank.
    pub fn specificity(&self) -> usize {
        match self {
            Host::Exact(_) => usize::MAX,
            Host::Below(base) => base.len(),
            Host::Any => 0,
        }
    }

    /// Reads a comma-separated list in its order, without repeats. Empty items are skipped.
    ///
    /// # Errors
    /// `Invalid` if an item is wrong or the list is empty.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, Error> {
        Self::gather(listed(text))
    }

    /// Reads a list of names, as [`Host::parse_list`] does.
    ///
    /// # Errors
    /// `Invalid` if a name is wrong or there is none.
    pub fn gather<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Vec<Self>, Error> {
        let mut hosts: Vec<Host> = Vec::new();
        for name in names {
            let host = Self::parse(name)?;
            if hosts.len() == Self::LIST_MAX {
                return Err(Error::invalid("domains", format!("at most {} per route", Self::LIST_MAX)));
            }
            if !hosts.contains(&host) {
                hosts.push(host);
            }
        }
        if hosts.is_empty() {
            return Err(Error::invalid("domains", "at least one host name is needed, or *"));
        }
        Ok(hosts)
    }

    /// The maximum number of domains of one route.
    pub const LIST_MAX: usize = 256;
}

impl fmt::Display for Host {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Exact(name) => out.write_str(name),
            Host::Below(base) => write!(out, "*.{base}"),
            Host::Any => out.write_str("*"),
        }
    }
}

/// Returns the items of a comma-separated list, without the empty ones.
pub fn listed(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// Reads a host that can be connected to: a name, an IPv4 address or `[IPv6]`.
pub(super) fn host(text: &str) -> Result<String, Error> {
    if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let address: Ipv6Addr = inner.parse().map_err(|_| refused(text))?;
        return Ok(format!("[{address}]"));
    }
    domain(text, text)
}

/// Returns the address if the host is an address and not a name.
pub(super) fn literal(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse().ok().map(IpAddr::V6),
        None => host.parse().ok().map(IpAddr::V4),
    }
}

fn domain(name: &str, whole: &str) -> Result<String, Error> {
    let name = name.strip_suffix('.').unwrap_or(name);
    // The URL standard's list of forbidden characters. STD 3 would forbid underscores, which container hosts have.
    let ascii = Uts46::new()
        .to_ascii(name.as_bytes(), AsciiDenyList::URL, Hyphens::Allow, DnsLength::Verify)
        .map_err(|_| refused(whole))?;
    if !ascii.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        return Err(refused(whole));
    }
    Ok(ascii.into_owned())
}

fn refused(text: &str) -> Error {
    let shown = super::time::shortened(text);
    Error::invalid(
        "domains",
        format!("`{shown}` is not a host name; write shop.example, *.shop.example or *, without port or scheme"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<String, Error> {
        Host::parse(text).map(|host| host.to_string())
    }

    #[test]
    fn host_names_are_folded_and_made_punycode() {
        assert_eq!(shown("Shop.Example."), Ok("shop.example".into()));
        assert_eq!(shown("bücher.example"), Ok("xn--bcher-kva.example".into()));
        assert_eq!(shown("*.Bücher.example"), Ok("*.xn--bcher-kva.example".into()));
        assert_eq!(shown("my_container"), Ok("my_container".into()));
        assert_eq!(shown("[::0001]"), Ok("[::1]".into()));
        assert_eq!(shown("*"), Ok("*".into()));
    }

    #[test]
    fn a_wrong_host_name_is_refused() {
        for bad in [
            "", "a:80", "http://a", "a/b", "a b", "*.*", "*.", "a.*", "**", "a..b", "::1", "[x]", "é|x", ".", "a,b",
            "a!b",
        ] {
            assert!(Host::parse(bad).is_err(), "{bad}");
        }
        assert!(Host::parse(&"a".repeat(64)).is_err());
        assert!(Host::parse(&["a"; 130].join(".")).is_err());
    }

    #[test]
    fn a_list_keeps_its_order_and_drops_repeats() {
        let hosts = Host::parse_list("b.example, A.example,B.EXAMPLE").unwrap();
        assert_eq!(hosts, [Host::parse("b.example").unwrap(), Host::parse("a.example").unwrap()]);
        assert!(Host::parse_list("").is_err());
        assert_eq!(Host::parse_list(",a, ,b,").unwrap(), Host::parse_list("a,b").unwrap());
        assert!(Host::parse_list(",").is_err());
    }
}
