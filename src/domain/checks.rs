//! The parts of a health check that options set: its `Host`, its method and the healthy statuses.

use std::sync::Arc;

use super::{Error, Host};

/// The method of a health check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CheckMethod {
    /// `GET`.
    #[default]
    Get,
    /// `HEAD`.
    Head,
}

impl CheckMethod {
    /// Reads `GET` or `HEAD`.
    ///
    /// # Errors
    /// `Invalid` for any other method.
    pub fn parse(text: &str) -> Result<Self, Error> {
        match text.to_ascii_uppercase().as_str() {
            "GET" => Ok(CheckMethod::Get),
            "HEAD" => Ok(CheckMethod::Head),
            _ => Err(Error::invalid("value", "must be GET or HEAD")),
        }
    }

    /// Returns the name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            CheckMethod::Get => "GET",
            CheckMethod::Head => "HEAD",
        }
    }
}

/// A set of HTTP statuses: single ones and ranges, at most 16 entries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StatusRanges(Arc<[(u16, u16)]>);

/// The maximum number of entries in a list of statuses.
const RANGES_MAX: usize = 16;

impl StatusRanges {
    /// Reads a list such as `200-399` or `200,204,301-308`.
    ///
    /// # Errors
    /// `Invalid` for anything else, and for statuses outside 100 to 599.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = || Error::invalid("value", "must be statuses from 100 to 599, such as 200-399 or 200,204,301-308");
        let ranges = text.split(',').map(|entry| {
            let (first, last) = entry.split_once('-').unwrap_or((entry, entry));
            let (first, last) = (status(first)?, status(last)?);
            (first <= last).then_some((first, last))
        });
        let ranges: Option<Arc<[_]>> = ranges.take(RANGES_MAX + 1).collect();
        ranges.filter(|ranges| ranges.len() <= RANGES_MAX).map(Self).ok_or_else(wrong)
    }

    /// Returns true if the set contains `status`.
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&status))
    }
}

fn status(text: &str) -> Option<u16> {
    text.trim().parse().ok().filter(|status| (100..=599).contains(status))
}

/// Reads the `Host` of a health check: a name or an address, with or without a port.
///
/// # Errors
/// `Invalid` for anything else, also for a wildcard.
pub fn check_host(text: &str) -> Result<Arc<str>, Error> {
    let wrong = || Error::invalid("value", "must be a host name or address, such as shop.example or shop.example:8080");
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !text.ends_with(']') => (name, Some(port)),
        _ => (text, None),
    };
    let Ok(Host::Exact(name)) = Host::parse(name) else { return Err(wrong()) };
    match port.map(str::parse::<u16>) {
        None => Ok(name),
        Some(Ok(port)) if port > 0 => Ok(format!("{name}:{port}").into()),
        Some(_) => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read_as_single_ones_and_ranges() {
        let some = StatusRanges::parse("200, 204,301-308").unwrap();
        let among = |status| some.contains(status);
        assert!([200, 204, 301, 308].into_iter().all(among) && ![199, 201, 300, 309, 500].into_iter().any(among));
        let many = ["200"; RANGES_MAX].join(",");
        assert!(StatusRanges::parse(&many).is_ok());
        for bad in ["", "2xx", "99", "600", "300-200", "200-", "-", "200,,204", &format!("{many},200")] {
            let refused = StatusRanges::parse(bad).expect_err(bad).to_string();
            assert!(refused.contains("such as 200-399"), "{bad}: {refused}");
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address_with_or_without_a_port() {
        let good = [
            ("shop.example", "shop.example"),
            ("Shop.Example:8080", "shop.example:8080"),
            ("10.0.0.1", "10.0.0.1"),
            ("[::1]:80", "[::1]:80"),
            ("[::1]", "[::1]"),
        ];
        for (text, host) in good {
            assert_eq!(check_host(text).as_deref(), Ok(host), "{text}");
        }
        for bad in ["", "*", "*.shop.example", "a b", "a:0", "a:65536", "a:", "http://a", "a/b", "a\r\nx: y"] {
            assert!(check_host(bad).is_err(), "{bad}");
        }
    }
}
