//! The types of the values in the file, in flags and in environment variables, with one parser for each.

use std::fmt;
use std::marker::PhantomData;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use base64::Engine as _;
use http::{HeaderName, HeaderValue, Uri};
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de};

use super::choices::{AccessFormat, AccessPlace, CollectorSpeaks, LogFormat, Unmatched};
use super::telemetry_values;

/// A value that is not shown in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden<T>(T);

impl<T> Hidden<T> {
    /// Hides a value.
    pub(super) fn new(value: T) -> Self {
        Self(value)
    }

    /// Returns the value.
    pub fn reveal(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Hidden<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("…")
    }
}

macro_rules! values {
    ($($(#[$doc:meta])* $name:ident($inner:ty) = |$text:ident| $parse:expr;)+) => { $(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub(super) struct $name(pub(super) $inner);

        impl FromStr for $name {
            type Err = String;

            fn from_str($text: &str) -> Result<Self, String> {
                $parse.map($name)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let scalar = Scalar::deserialize(from)?;
                scalar.0.parse().map_err(de::Error::custom)
            }
        }
    )+ };
}

values! {
    /// A size in bytes.
    Size(usize) = |text| size(text);

    /// A size of the whole process in bytes.
    MemorySize(usize) = |text| memory_size(text);

    /// A network or a single address.
    Network(IpNet) = |text| {
        let address = || text.parse::<std::net::IpAddr>().map(IpNet::from);
        text.parse().or_else(|_| address()).map_err(|_| {
            format!("`{text}` is not a network; write 10.0.0.0/8, fd00::/8 or an address")
        })
    };

    /// A count of at least 1.
    Count(usize) = |text| whole_number(text, 1, COUNT_MAX);

    /// A port of clients.
    PublicPort(usize) = |text| whole_number(text, 1, usize::from(u16::MAX));

    /// A count, where 0 means no limit.
    CountOrNone(usize) = |text| whole_number(text, 0, COUNT_MAX).map_err(|why| format!("{why}; 0 means no limit"));

    /// A number of threads.
    Workers(usize) = |text| {
        whole_number(text, 0, WORKERS_MAX).map_err(|why| format!("{why}; 0 means one for each core"))
    };

    /// A boolean.
    Flag(bool) = |text| text.parse().map_err(|_| format!("`{text}` is neither true nor false"));

    /// The treatment of a request that no route matches.
    UnmatchedHow(Unmatched) = |text| match text {
        "404" => Ok(Unmatched::NotFound),
        "close" => Ok(Unmatched::Close),
        _ => Err(format!("`{text}` is none of the choices; write \"404\" or \"close\"")),
    };

    /// The form of log lines.
    LogForm(LogFormat) = |text| match text {
        "human" => Ok(LogFormat::Human),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("`{text}` is none of the choices; write \"human\" or \"json\"")),
    };

    /// The form of a line of the access log.
    AccessForm(AccessFormat) = |text| match text {
        "json" => Ok(AccessFormat::Json),
        "combined" => Ok(AccessFormat::Combined),
        _ => Err(format!("`{text}` is none of the choices; write \"json\" or \"combined\"")),
    };

    /// The place that the access log is written to.
    AccessFile(AccessPlace) = |text| match text {
        "" => Err("is empty; write \"stdout\", \"stderr\" or the path of a file".to_owned()),
        "stdout" => Ok(AccessPlace::Stdout),
        "stderr" => Ok(AccessPlace::Stderr),
        path => Ok(AccessPlace::File(path.into())),
    };

    /// The URL of a collector.
    CollectorUrl(Uri) = |text| telemetry_values::collector_url(text);

    /// The protocol to a collector.
    CollectorProtocol(CollectorSpeaks) = |text| CollectorSpeaks::named(text).ok_or_else(|| {
        format!("`{text}` is none of the choices; write \"grpc\" or \"http/protobuf\"")
    });

    /// A field of each message to a collector. Its value may be a secret.
    CollectorField((HeaderName, HeaderValue)) = |text| telemetry_values::message_field(text);

    /// An attribute of the resource.
    ResourceAttribute((String, String)) = |text| telemetry_values::attribute(text);

    /// A share from 0 to 1.
    Share(f64) = |text| telemetry_values::share(text);

    /// The bearer token of an operator.
    OperatorToken(Hidden<String>) = |text| operator_token(text);

    /// An origin in the form that browsers send (RFC 6454 §6.2).
    Origin(String) = |text| origin(text).then(|| text.to_owned()).ok_or_else(|| {
        format!("`{text}` is not an origin; write https://dashboard.example or http://localhost:3000")
    });

    /// A URL with `https`.
    HttpsUrl(String) = |text| https_url(text);

    /// A contact of an account, as a URL.
    Contact(String) = |text| contact(text);

    /// The key of an account outside of ACME.
    EabKey(Hidden<Vec<u8>>) = |text| eab_key(text);

    /// The filter of the log.
    Filter(String) = |text| filter(text);
}

impl Copy for Count {}

/// The largest count that can be configured. A larger one is taken for a typing mistake.
const COUNT_MAX: usize = 1_000_000_000;
const WORKERS_MAX: usize = 1024;

fn whole_number(text: &str, least: usize, most: usize) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| format!("`{text}` is not a whole number from {least} to {most}"))
}

/// An address to listen on. `PORT` is the default port of the key, for the examples in messages.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Address<const PORT: u16>(pub(super) SocketAddr);

impl<const PORT: u16> FromStr for Address<PORT> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        address(text, PORT).map(Self)
    }
}

impl<'de, const PORT: u16> Deserialize<'de> for Address<PORT> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Scalar::deserialize(from)?.0.parse().map_err(de::Error::custom)
    }
}

/// Parses an address and a port, a name and a port, or only a port, which then is one of 127.0.0.1 (`:8080`, `8080`).
fn address(text: &str, port: u16) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let example = format!("write 127.0.0.1:{port}, or 0.0.0.0:{port} for every address of this machine");
    if text.contains("://") {
        return Err(format!("`{text}` is a URL; {example}"));
    }
    if let Ok(v6) = text.parse::<Ipv6Addr>() {
        return Err(format!("`{text}` has no port, and an IPv6 address stands in brackets; write [{v6}]:{port}"));
    }
    let (host, number) = match text.rsplit_once(':') {
        Some((host, number)) => (host, number),
        None if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => ("", text),
        None => return Err(format!("`{text}` has no port; {example}")),
    };
    let Ok(number) = number.parse::<u16>() else {
        return Err(format!("the port in `{text}` is not a number from 0 to 65535; {example}"));
    };
    match host {
        "" => Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, number))),
        "*" => Err(format!("`*` is no address; write 0.0.0.0:{number} for every address of this machine")),
        _ => {
            let found: Vec<SocketAddr> = (host, number).to_socket_addrs().map(Iterator::collect).unwrap_or_default();
            let found = found.iter().find(|found| found.is_ipv4()).or(found.first());
            found.copied().ok_or_else(|| format!("`{host}` is neither an address nor a name that resolves; {example}"))
        }
    }
}

/// The names of log levels, with the level that each means.
const LEVELS: [(&str, &str); 7] = [
    ("off", "off"),
    ("error", "error"),
    ("warn", "warn"),
    ("warning", "warn"),
    ("info", "info"),
    ("debug", "debug"),
    ("trace", "trace"),
];

/// Parses a level, or a list of levels for parts of the program separated by commas. The check is needed because the
/// library takes any unknown word for the name of a part, and then logs nothing else.
fn filter(text: &str) -> Result<String, String> {
    let wrong = |part: &str| {
        format!(
            "`{part}` is not a log level; write error, warn, info, debug, trace or off, or levels of parts of the program: \
             info,signalbox::proxy=debug"
        )
    };
    let level = |word: &str| LEVELS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, level)| *level);
    let directive = |part: &str| match part.rsplit_once('=') {
        Some((target, word)) => level(word.trim()).map(|level| format!("{}={level}", target.trim())),
        None => level(part).map(str::to_owned),
    };
    let directives = text.split(',').map(str::trim).map(|part| directive(part).ok_or_else(|| wrong(part)));
    let filter = directives.collect::<Result<Vec<_>, _>>()?.join(",");
    match filter.parse::<tracing_subscriber::EnvFilter>() {
        Ok(_) => Ok(filter),
        Err(_) => Err(wrong(text)),
    }
}

/// Reads a list. For a single value in its place, the error says how to write a list.
pub(super) fn list<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<T>>, D::Error> {
    from.deserialize_any(ListVisitor(PhantomData)).map(Some)
}

struct ListVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> de::Visitor<'de> for ListVisitor<T> {
    type Value = Vec<T>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a list such as [\"one\", \"two\"]")
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, values: A) -> Result<Vec<T>, A::Error> {
        Vec::deserialize(de::value::SeqAccessDeserializer::new(values))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<T>, E> {
        let values: Vec<String> = text.split(',').map(|value| format!("\"{}\"", value.trim())).collect();
        Err(E::custom(format!("write a list: [{}]", values.join(", "))))
    }
}

/// The smallest number of bytes of an operator's token. Shorter ones can be guessed.
const OPERATOR_TOKEN_MIN: usize = 16;

pub(super) fn operator_token(text: &str) -> Result<Hidden<String>, String> {
    if text.len() < OPERATOR_TOKEN_MIN || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!(
            "an operator token needs at least {OPERATOR_TOKEN_MIN} visible ASCII characters; make one with `openssl rand -hex 32`"
        ));
    }
    Ok(Hidden(text.to_owned()))
}

fn origin(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    host.is_some_and(|host| {
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic() && !b"/?#@*,".contains(&byte))
    })
}

fn https_url(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("https://").map(|rest| rest.split('/').next().unwrap_or_default());
    let is_url = host.is_some_and(|host| !host.is_empty()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    let wrong = || {
        format!(
            "`{text}` is not a URL with https; write https://acme-v02.api.letsencrypt.org/directory for Let's Encrypt"
        )
    };
    is_url.then(|| text.to_owned()).ok_or_else(wrong)
}

/// Reads a mail address, with or without `mailto:`.
fn contact(text: &str) -> Result<String, String> {
    let address = text.strip_prefix("mailto:").unwrap_or(text);
    let is_address = address.split_once('@').is_some_and(|(user, host)| !user.is_empty() && host.contains('.'));
    if !is_address || !address.bytes().all(|byte| byte.is_ascii_graphic() && !b"?,".contains(&byte)) {
        return Err(format!("`{text}` is not a mail address; write admin@shop.example"));
    }
    Ok(format!("mailto:{address}"))
}

/// Reads base64 in either alphabet, with or without padding. The error does not repeat the key.
fn eab_key(text: &str) -> Result<Hidden<Vec<u8>>, String> {
    let plain = text.trim().trim_end_matches('=').replace('+', "-").replace('/', "_");
    let key = base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(plain).unwrap_or_default();
    if key.is_empty() {
        return Err("it is not base64; copy the key as the authority shows it".to_owned());
    }
    Ok(Hidden(key))
}

/// Reads a size in bytes, in powers of 1024. `64K`, `64KB` and `64KiB` mean the same.
fn bytes(text: &str) -> Option<usize> {
    let (number, unit) = text.split_at(text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len()));
    let units = [("K", 1 << 10), ("M", 1 << 20), ("G", 1 << 30), ("", 1)];
    let unit = unit.trim().to_ascii_uppercase();
    let of_unit = |(name, _): &&(&str, usize)| {
        unit.strip_prefix(name).is_some_and(|rest| matches!(rest, "" | "B") || (rest == "IB" && !name.is_empty()))
    };
    let (_, bytes) = units.iter().find(of_unit)?;
    number.parse::<usize>().ok()?.checked_mul(*bytes)
}

fn size(text: &str) -> Result<usize, String> {
    let read = bytes(text).filter(|size| (1024..=64 << 20).contains(size));
    read.ok_or_else(|| format!("`{text}` is not a size of 1KiB to 64MiB; write 65536, 64KiB or 1MiB"))
}

fn memory_size(text: &str) -> Result<usize, String> {
    let read = bytes(text).filter(|size| (1 << 20..=1 << 40).contains(size));
    let wrong = || format!("`{text}` is not a size of 1MiB to 1024GiB; write 256MiB, 2GiB or a number of bytes");
    read.ok_or_else(wrong)
}

/// A text, a number or a boolean. In a file, `5` and `"5"` mean the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scalar(pub(super) String);

impl Scalar {
    /// Returns it as text.
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match toml::Value::deserialize(from)? {
            toml::Value::String(text) => Ok(Scalar(text)),
            toml::Value::Integer(number) => Ok(Scalar(number.to_string())),
            // With its point, so that it never passes for a whole number.
            toml::Value::Float(number) => Ok(Scalar(format!("{number:?}"))),
            toml::Value::Boolean(truth) => Ok(Scalar(truth.to_string())),
            other => {
                Err(de::Error::custom(format!("expected text, a number or true or false, not {}", other.type_str())))
            }
        }
    }
}
