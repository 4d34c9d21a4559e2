//! The options of a route: the one table of their keys, types, defaults, parsers and meanings.
//!
//! Every interface and document takes its options from here. Invariants: a key that this table does not have means
//! nothing anywhere, and `docs/protocol.md` has exactly its rows.

use std::sync::Arc;

use http::HeaderValue;

use super::checks::{CheckMethod, StatusRanges, check_host};
use super::settings::check_interval;
use super::{Error, HealthPath, Host, Span, nearest};

/// The way in which a pool's members share its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadBalancing {
    /// The less busy of two members that are drawn at random.
    LeastRequests,
    /// One member after the other.
    RoundRobin,
    /// By the client's address, so that a client stays with a member.
    ClientIp,
}

/// One row of the table of options, as documents and descriptions show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionSpec {
    /// The key.
    pub key: &'static str,
    /// The values that it takes, in words (Markdown).
    pub values: &'static str,
    /// The default, as a client would write it; in words where no value says the same.
    pub default: &'static str,
    /// The effect of the option.
    pub meaning: &'static str,
}

macro_rules! options {
    ($($key:ident: $kind:ty = $default:expr, $read:expr, $values:literal, $shown:literal, $meaning:literal;)+) => {
        /// The options of a route: the defaults, changed by the configuration file, the session's `ALL` and the route's own.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Options { $(#[doc = $meaning] pub $key: $kind,)+ }

        impl Default for Options {
            fn default() -> Self {
                Self { $($key: $default,)+ }
            }
        }

        impl Options {
            /// Every key that [`Options::set`] knows.
            pub const KEYS: [&str; [$(stringify!($key)),+].len()] = [$(stringify!($key)),+];

            /// The table of options, in the order of [`Options::KEYS`].
            pub const TABLE: [OptionSpec; Self::KEYS.len()] = [$(
                OptionSpec { key: stringify!($key), values: $values, default: $shown, meaning: $meaning }
            ),+];

            /// Sets one option from its text. Returns false, and changes nothing, for an unknown key.
            ///
            /// # Errors
            /// `Invalid` for a known key with a bad value.
            pub fn set(&mut self, key: &str, value: &str) -> Result<bool, Error> {
                match key {
                    $(stringify!($key) => self.$key = $read(value)?,)+
                    _ => return Ok(false),
                }
                Ok(true)
            }
        }
    };
}

// The one definition of every option: field and type, default, parser; then values, default and meaning in words.
options! {
    timeout: Span = Span::from_secs(30), Span::parse, "duration", "30s",
        "Time until the backend's response headers; then 504.";
    connect_timeout: Span = Span::from_secs(5), Span::parse, "duration", "5s",
        "Time until connected; then 502, or another instance.";
    health_check_path: HealthPath = HealthPath::root(), HealthPath::parse, "path", "/",
        "The path that the default health check asks for.";
    health_check_interval: Span = Span::from_secs(30), interval, "duration from 100ms", "30s",
        "The interval of the default health check.";
    health_check_timeout: Span = Span::from_secs(5), Span::parse, "duration", "5s",
        "The time that the answer to the default health check may take.";
    health_check_host: Option<Arc<str>> = None, some_host, "host", "the route's host",
        "The `Host` that every health check of the route sends.";
    health_check_status: Option<StatusRanges> = None, some_statuses, "statuses, such as `200-399` or `200,204,301-308`",
        "by kind of check", "The statuses that count as healthy in every health check of the route.";
    health_check_method: CheckMethod = CheckMethod::Get, CheckMethod::parse, "`GET` or `HEAD`", "GET",
        "The method of every health check of the route.";
    compression: bool = false, truth, "bool", "false",
        "Compresses responses with br, zstd or gzip, as the client accepts.";
    websocket: bool = true, truth, "bool", "true",
        "Passes upgrades on; false refuses them with 403.";
    http2: bool = true, truth, "bool", "true",
        "Lets clients use HTTP/2 on the route's domains.";
    http3: bool = true, truth, "bool", "true",
        "Lets clients use HTTP/3 on the route's domains, where the server speaks it.";
    https_redirect: bool = false, truth, "bool", "false",
        "Redirects requests over http to https with 308.";
    hsts: Option<HeaderValue> = None, hsts, "`on`, `off`, or a value such as `max-age=63072000; includeSubDomains`", "off",
        "Sets `Strict-Transport-Security` on responses over https; `on` is `max-age=31536000`.";
    preserve_host: bool = true, truth, "bool", "true",
        "Sends the client's `Host` to the backend; false sends the backend's own host name.";
    max_body_size: u64 = 100 * 1024 * 1024, size, "bytes, `10M`, `0` for no limit", "100M",
        "The largest request body; larger ones get 413.";
    retries: u32 = 1, retries, "integer from 0 to 10", "1",
        "Further instances or fresh connections to try when nothing of the request was processed.";
    load_balancing: LoadBalancing = LoadBalancing::LeastRequests, load_balancing,
        "`least_requests`, `round_robin` or `client_ip`", "least_requests",
        "How the service's instances share requests. Names that other proxies have for these are taken, too (`least_conn`, `random`, `roundrobin`, `ip_hash`, `source` …).";
    strip_prefix: bool = false, truth, "bool", "false",
        "Drops the route's path before the backend sees it.";
    restore_prefix: bool = false, truth, "bool", "false",
        "With `strip_prefix`: puts the path back into `Location`, `Content-Location` and the paths of cookies.";
    tls_verify: bool = true, truth, "bool", "true",
        "Checks the certificate of an `https` backend.";
    keep_alive: bool = true, truth, "bool", "true",
        "Keeps connections to the backend for further requests; false sends it `Connection: close`.";
    idle_timeout: Span = Span::from_secs(30), Span::parse, "duration", "30s",
        "The time that a kept connection waits for its next request.";
    stream_idle_timeout: Option<Span> = Some(Span::from_secs(3600)), span_or_never, "duration, `0` for no limit", "1h",
        "The time that a response under way, or an upgraded connection, may be silent.";
}

impl Options {
    /// Returns the refusal of an unknown key: the known key that was probably meant, and all known keys.
    pub fn unknown(key: &str) -> String {
        let shown: String = key.chars().take(40).collect();
        let meant = Self::meant_by(key).map(|meant| format!(" did you mean {meant}?")).unwrap_or_default();
        format!("there is no option `{shown}`;{meant} There are {}", Self::KEYS.join(", "))
    }

    /// Returns the known key that is most like a mistyped one.
    pub fn meant_by(key: &str) -> Option<&'static str> {
        nearest(key, Self::KEYS)
    }

    /// Returns the `Host` of a route's health checks: as set, or as requests have it. `None` means the backend's own
    /// name, also for a wildcard, whose requests have no single name.
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
        Self::KEYS.contains(&key)
    }
}

fn interval(text: &str) -> Result<Span, Error> {
    check_interval("value", Span::parse(text)?)
}

fn some_host(text: &str) -> Result<Option<Arc<str>>, Error> {
    check_host(text).map(Some)
}

fn some_statuses(text: &str) -> Result<Option<StatusRanges>, Error> {
    StatusRanges::parse(text).map(Some)
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

/// Reads a value of `Strict-Transport-Security` (RFC 6797 §6.1).
fn hsts(text: &str) -> Result<Option<HeaderValue>, Error> {
    match truth(text) {
        Ok(true) => return Ok(Some(HeaderValue::from_static("max-age=31536000"))),
        Ok(false) => return Ok(None),
        Err(_) => {}
    }
    let known = |directive: &str| {
        let name = directive.to_ascii_lowercase();
        let age = name.strip_prefix("max-age=");
        age.is_some_and(|age| age.parse::<u32>().is_ok()) || ["includesubdomains", "preload"].contains(&&*name)
    };
    let is_value = text.split(';').map(str::trim).all(known) && text.to_ascii_lowercase().contains("max-age=");
    let value = HeaderValue::try_from(text).ok().filter(|_| is_value);
    value.map(Some).ok_or_else(|| {
        Error::invalid("value", "must be on, off, or a value such as max-age=63072000; includeSubDomains")
    })
}

fn retries(text: &str) -> Result<u32, Error> {
    text.parse()
        .ok()
        .filter(|retries| *retries <= 10)
        .ok_or_else(|| Error::invalid("value", "must be a whole number from 0 to 10"))
}

/// Reads the protocol's names, and those that nginx, HAProxy, Traefik, Envoy and Caddy have for the same, in any case
/// and with any separator between their words.
fn load_balancing(text: &str) -> Result<LoadBalancing, Error> {
    let letters = text.chars().filter(|c| !matches!(c, '_' | '-' | ' ' | '.' | ':'));
    match &*letters.collect::<String>().to_ascii_lowercase() {
        // Other proxies name the same choice after its random draw.
        "leastrequests" | "leastrequest" | "leastconn" | "leastconns" | "leastconnection" | "leastconnections"
        | "leastactive" | "leastloaded" | "leasttime" | "random" | "randomtwo" | "random2" | "randomchoose" | "p2c"
        | "poweroftwo" | "poweroftwochoices" => Ok(LoadBalancing::LeastRequests),
        "roundrobin" | "rr" | "wrr" | "weightedroundrobin" | "staticrr" | "default" => Ok(LoadBalancing::RoundRobin),
        "clientip" | "clientiphash" | "iphash" | "source" | "sourceip" | "sourceiphash" | "sourcehash" | "remoteip"
        | "remoteaddr" | "stickyip" => Ok(LoadBalancing::ClientIp),
        _ => Err(Error::invalid("value", "must be least_requests, round_robin or client_ip")),
    }
}

/// Reads a size in bytes: `1048576`, `512K`, `10M`, `2G`, in powers of 1024. `10MB` and `10MiB` mean the same as `10M`;
/// `0` means no limit and becomes `u64::MAX`.
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
    fn hsts_is_on_off_or_a_value_of_the_field() {
        let read = |text: &str| hsts(text).map(|value| value.map(|value| value.to_str().unwrap().to_owned()));
        let value = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(read("on"), value("max-age=31536000"));
        assert_eq!(read("off"), Ok(None));
        for text in ["max-age=0", "max-age=63072000; includeSubDomains; preload", "includeSubDomains;max-age=1"] {
            assert_eq!(read(text), value(text));
        }
        for bad in ["", "1y", "max-age", "max-age=-1", "max-age=1; evil=1", "includeSubDomains", "max-age=1\r\nx: y"] {
            assert!(hsts(bad).is_err(), "{bad}");
        }
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
        // A known key refuses what no option takes.
        assert!(Options::KEYS.iter().all(|key| Options::knows(key) && Options::default().set(key, "").is_err()));
        assert!(!Options::knows("colour"));
    }

    #[test]
    fn the_default_that_is_shown_is_the_one_that_holds() {
        for row in Options::TABLE.iter().filter(|row| !["health_check_host", "health_check_status"].contains(&row.key))
        {
            let mut options = Options::default();
            assert_eq!((options.set(row.key, row.default), options), (Ok(true), Options::default()), "{}", row.key);
        }
    }

    #[test]
    fn the_documents_have_exactly_these_options() {
        const REGENERATE: &str = "SIGNALBOX_REGENERATE=1 cargo test --lib domain::options";
        const HEADING: &str = "| key | value | default | meaning |\n|---|---|---|---|\n";
        let row = |row: &OptionSpec| {
            let default = if row.default.contains(' ') { row.default.to_owned() } else { format!("`{}`", row.default) };
            format!("| `{}` | {} | {default} | {} |\n", row.key, row.values, row.meaning)
        };
        let table: String = Options::TABLE.iter().map(row).collect();
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/protocol.md");
        let text = std::fs::read_to_string(&path).unwrap();
        let (before, rest) = text.split_once(HEADING).expect("docs/protocol.md has a table of options");
        let end = rest.find("\n\n").map_or(rest.len(), |end| end + 1);
        if std::env::var_os("SIGNALBOX_REGENERATE").is_some() {
            std::fs::write(&path, [before, HEADING, &table, &rest[end..]].concat()).unwrap();
        } else {
            assert!(rest[..end] == table, "the options in docs/protocol.md are not these; run `{REGENERATE}`");
        }
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
