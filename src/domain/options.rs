//! The options of a route, with a value for every key.
//!
//! This is the only list of option keys. A key that [`Options::set`] does not know has no effect anywhere.

use std::sync::Arc;

use super::checks::{CheckMethod, StatusRanges, check_host};
use super::settings::check_interval;
use super::{Error, HealthPath, Host, Span, nearest};

/// The ways in which a pool's members share its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadBalancing {
    /// The less busy one of two random members.
    LeastRequests,
    /// One member after the other.
    RoundRobin,
    /// A member chosen by the client's address, so that a client stays with a member.
    ClientIp,
}

/// The options in force for a route: the defaults, overridden by the configuration file, then the session's `ALL`,
/// then the route's own.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the protocol")]
pub struct Options {
    /// The maximum time until the backend's response headers; then 504.
    pub timeout: Span,
    /// The maximum time until connected; then 502, or another instance.
    pub connect_timeout: Span,
    /// The path of the default health check.
    pub health_check_path: HealthPath,
    /// The interval of the default health check.
    pub health_check_interval: Span,
    /// The timeout of the default health check.
    pub health_check_timeout: Span,
    /// The `Host` of every health check; `None` for that of the requests.
    pub health_check_host: Option<Arc<str>>,
    /// The statuses that count as healthy; `None` for the default of the kind of check.
    pub health_check_status: Option<StatusRanges>,
    /// The method of every health check.
    pub health_check_method: CheckMethod,
    /// True if responses are compressed as the client accepts.
    pub compression: bool,
    /// True if upgrades are passed on; false answers them with 403.
    pub websocket: bool,
    /// True if clients may use HTTP/2.
    pub http2: bool,
    /// True if clients may use HTTP/3.
    pub http3: bool,
    /// True if the backend gets the client's `Host`; false sends the backend's own.
    pub preserve_host: bool,
    /// The maximum size of a request body in bytes; `u64::MAX` for no limit. Larger ones get 413.
    pub max_body_size: u64,
    /// The number of further attempts if the backend processed nothing of the request.
    pub retries: u32,
    /// The balancing among the service's instances.
    pub load_balancing: LoadBalancing,
    /// True if the route's path is removed before the backend sees it.
    pub strip_prefix: bool,
    /// True if the removed path is put back into `Location` and the paths of cookies.
    pub restore_prefix: bool,
    /// True if the certificate of an `https` backend is checked.
    pub tls_verify: bool,
    /// True if connections to the backend are kept for further requests.
    pub keep_alive: bool,
    /// The maximum time that such a connection waits for its next request.
    pub idle_timeout: Span,
    /// The maximum silence of a running response or an upgraded connection; `None` for no limit.
    pub stream_idle_timeout: Option<Span>,
}

impl Options {
    /// Every key that [`Options::set`] knows.
    pub const KEYS: [&str; 22] = [
        "timeout",
        "connect_timeout",
        "health_check_path",
        "health_check_interval",
        "health_check_timeout",
        "health_check_host",
        "health_check_status",
        "health_check_method",
        "compression",
        "websocket",
        "http2",
        "http3",
        "preserve_host",
        "max_body_size",
        "retries",
        "load_balancing",
        "strip_prefix",
        "restore_prefix",
        "tls_verify",
        "keep_alive",
        "idle_timeout",
        "stream_idle_timeout",
    ];

    /// Returns the message for an unknown key: the key that was probably meant, and all known keys.
    pub fn unknown(key: &str) -> String {
        let shown: String = key.chars().take(40).collect();
        let meant = Self::meant_by(key).map(|meant| format!(" did you mean {meant}?")).unwrap_or_default();
        format!("there is no option `{shown}`;{meant} There are {}", Self::KEYS.join(", "))
    }

    /// Returns the known key most similar to a mistyped one.
    pub fn meant_by(key: &str) -> Option<&'static str> {
        nearest(key, Self::KEYS)
    }

    /// Returns the `Host` of a route's health checks: the option, or else the route's first exact domain.
    ///
    /// `None` stands for the backend's own name. Routes that have only wildcards get it too.
    pub fn check_host(&self, domains: &[Host]) -> Option<Arc<str>> {
        let exact = || {
            domains.iter().find_map(|domain| match domain {
                Host::Exact(name) => Some(Arc::clone(name)),
                Host::Below(_) | Host::Any => None,
            })
        };
        self.health_check_host.clone().or_else(|| self.preserve_host.then(exact).flatten())
    }

    /// Returns true if there is an option of this name.
    pub fn knows(key: &str) -> bool {
        // Every known key refuses an empty value; an unknown key accepts every value.
        Self::default().set(key, "") != Ok(false)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            timeout: Span::from_secs(30),
            connect_timeout: Span::from_secs(5),
            health_check_path: HealthPath::root(),
            health_check_interval: Span::from_secs(30),
            health_check_timeout: Span::from_secs(5),
            health_check_host: None,
            health_check_status: None,
            health_check_method: CheckMethod::Get,
            compression: false,
            websocket: true,
            http2: true,
            http3: true,
            preserve_host: true,
            max_body_size: 100 * 1024 * 1024,
            retries: 1,
            load_balancing: LoadBalancing::LeastRequests,
            strip_prefix: false,
            restore_prefix: false,
            tls_verify: true,
            keep_alive: true,
            idle_timeout: Span::from_secs(30),
            stream_idle_timeout: Some(Span::from_secs(3600)),
        }
    }
}

impl Options {
    /// Sets one option from its text. Returns false for an unknown key, which changes nothing.
    ///
    /// # Errors
    /// `Invalid` for a bad value of a known key.
    pub fn set(&mut self, key: &str, value: &str) -> Result<bool, Error> {
        match key {
            "timeout" => self.timeout = Span::parse(value)?,
            "connect_timeout" => self.connect_timeout = Span::parse(value)?,
            "health_check_path" => self.health_check_path = HealthPath::parse(value)?,
            "health_check_interval" => self.health_check_interval = check_interval("value", Span::parse(value)?)?,
            "health_check_timeout" => self.health_check_timeout = Span::parse(value)?,
            "health_check_host" => self.health_check_host = Some(check_host(value)?),
            "health_check_status" => self.health_check_status = Some(StatusRanges::parse(value)?),
            "health_check_method" => self.health_check_method = CheckMethod::parse(value)?,
            "compression" => self.compression = truth(value)?,
            "websocket" => self.websocket = truth(value)?,
            "http2" => self.http2 = truth(value)?,
            "http3" => self.http3 = truth(value)?,
            "preserve_host" => self.preserve_host = truth(value)?,
            "max_body_size" => self.max_body_size = size(value)?,
            "retries" => self.retries = retries(value)?,
            "load_balancing" => self.load_balancing = load_balancing(value)?,
            "strip_prefix" => self.strip_prefix = truth(value)?,
            "restore_prefix" => self.restore_prefix = truth(value)?,
            "tls_verify" => self.tls_verify = truth(value)?,
            "keep_alive" => self.keep_alive = truth(value)?,
            "idle_timeout" => self.idle_timeout = Span::parse(value)?,
            "stream_idle_timeout" => self.stream_idle_timeout = span_or_never(value)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn truth(text: &str) -> Result<bool, Error> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "on" | "yes" => Ok(true),
        "false" | "0" | "off" | "no" => Ok(false),
        _ => Err(Error::invalid("value", "must be true or false")),
    }
}

/// Reads a duration, or `0` for no limit.
fn span_or_never(text: &str) -> Result<Option<Span>, Error> {
    if ["0", "0s", "0ms", "0m", "0h"].contains(&text) { Ok(None) } else { Span::parse(text).map(Some) }
}

fn retries(text: &str) -> Result<u32, Error> {
    text.parse()
        .ok()
        .filter(|retries| *retries <= 10)
        .ok_or_else(|| Error::invalid("value", "must be a whole number from 0 to 10"))
}

/// Reads the protocol's names and those of nginx, HAProxy, Traefik, Envoy and Caddy, in any case and with any
/// separator between the words.
fn load_balancing(text: &str) -> Result<LoadBalancing, Error> {
    let letters = text.chars().filter(|c| !matches!(c, '_' | '-' | ' ' | '.' | ':'));
    match &*letters.collect::<String>().to_ascii_lowercase() {
        // Other proxies' random choice is used for the same purpose.
        "leastrequests" | "leastrequest" | "leastconn" | "leastconns" | "leastconnection" | "leastconnections"
        | "leastactive" | "leastloaded" | "leasttime" | "random" | "randomtwo" | "random2" | "randomchoose" | "p2c"
        | "poweroftwo" | "poweroftwochoices" => Ok(LoadBalancing::LeastRequests),
        "roundrobin" | "rr" | "wrr" | "weightedroundrobin" | "staticrr" | "default" => Ok(LoadBalancing::RoundRobin),
        "clientip" | "clientiphash" | "iphash" | "source" | "sourceip" | "sourceiphash" | "sourcehash" | "remoteip"
        | "remoteaddr" | "stickyip" => Ok(LoadBalancing::ClientIp),
        _ => Err(Error::invalid("value", "must be least_requests, round_robin or client_ip")),
    }
}

/// Reads a size in bytes: `1048576`, `512K`, `10M`, `2G`, in powers of 1024. `10MB` and `10MiB` equal `10M`; `0` is
/// no limit.
fn size(text: &str) -> Result<u64, Error> {
    let wrong =
        || Error::invalid("value", "must be a size in bytes such as 1048576, 512K, 10M or 2G, or 0 for no limit");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KB" | "KIB" => 10,
        "M" | "MB" | "MIB" => 20,
        "G" | "GB" | "GIB" => 30,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let bytes = number.checked_mul(1 << shift).ok_or_else(wrong)?;
    Ok(if bytes == 0 { u64::MAX } else { bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_key_takes_effect_and_an_unknown_one_is_told() {
        let mut options = Options::default();
        assert_eq!(options.set("max_body_size", "10M"), Ok(true));
        assert_eq!(options.max_body_size, 10 * 1024 * 1024);
        for unlimited in ["0", "0M"] {
            assert_eq!((options.set("max_body_size", unlimited), options.max_body_size), (Ok(true), u64::MAX));
        }
        assert_eq!(options.set("strip_prefix", "TRUE"), Ok(true));
        assert!(options.strip_prefix);
        assert_eq!(options.set("colour", "red"), Ok(false));
    }

    #[test]
    fn a_way_of_balancing_is_known_by_the_names_that_other_proxies_have_for_it() {
        use LoadBalancing::{ClientIp, LeastRequests, RoundRobin};
        for (text, meant) in [
            ("least_requests", LeastRequests),
            ("least_conn", LeastRequests),
            ("leastconn", LeastRequests),
            ("Least-Connections", LeastRequests),
            ("random", LeastRequests),
            ("round_robin", RoundRobin),
            ("roundrobin", RoundRobin),
            ("round-robin", RoundRobin),
            ("ROUND_ROBIN", RoundRobin),
            ("client_ip", ClientIp),
            ("ip_hash", ClientIp),
            ("ip-hash", ClientIp),
            ("source", ClientIp),
        ] {
            assert_eq!(load_balancing(text), Ok(meant), "{text}");
        }
        for nonsense in ["", "best", "least", "ip", "robin"] {
            assert!(load_balancing(nonsense).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn a_silence_of_zero_is_no_limit() {
        let mut options = Options::default();
        for (text, limit) in [("0", None), ("0s", None), ("0h", None), ("90s", Some(Span::from_secs(90)))] {
            assert_eq!((options.set("stream_idle_timeout", text), options.stream_idle_timeout), (Ok(true), limit));
        }
    }

    #[test]
    fn every_key_of_the_list_is_known() {
        assert!(Options::KEYS.iter().all(|key| Options::knows(key)));
        assert!(!Options::knows("colour"));
    }

    #[test]
    fn a_known_key_with_a_bad_value_is_refused() {
        let bad = [
            ("timeout", "0"),
            ("timeout", "soon"),
            ("health_check_interval", "99ms"),
            ("compression", "maybe"),
            ("max_body_size", "-1"),
            ("max_body_size", "10X"),
            ("max_body_size", "99999999999G"),
            ("max_body_size", ""),
            ("retries", "-1"),
            ("retries", "11"),
            ("load_balancing", "best"),
            ("health_check_path", "x"),
            ("health_check_host", ""),
            ("health_check_host", "*.example"),
            ("health_check_status", "2xx-"),
            ("health_check_method", "POST"),
            ("keep_alive", "30s"),
            ("idle_timeout", "0"),
            ("stream_idle_timeout", "-1s"),
            ("stream_idle_timeout", "never"),
        ];
        for (key, value) in bad {
            let mut options = Options::default();
            assert!(options.set(key, value).is_err(), "{key}={value}");
            assert_eq!(options, Options::default(), "a refused value changes nothing");
        }
    }
}
