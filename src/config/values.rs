//! Values as they are written, in the file, a flag or a variable: one parser each.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de};

use crate::domain::{
    Error, Fingerprint, HeaderKey, Host, Options, PathPrefix, Secret, ServiceName, Span, TokenName, header_value,
};

macro_rules! values {
    ($($(#[$doc:meta])* $name:ident($inner:ty) = |$text:ident| $parse:expr;)+) => { $(
        $(#[$doc])*
        #[derive(Clone, Debug)]
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
    /// An address to listen on.
    Address(SocketAddr) = |text| text.parse().map_err(|_| {
        format!("`{text}` is not an address and a port; write 127.0.0.1:8181 or [::]:8181")
    });

    /// A duration.
    Timespan(Span) = |text| Span::parse(text).map_err(|error| error.to_string());

    /// A size in bytes.
    Size(usize) = |text| size(text);

    /// A size of the whole process in bytes.
    MemorySize(usize) = |text| memory_size(text);

    /// A network, or a single address.
    Network(IpNet) = |text| {
        let address = || text.parse::<std::net::IpAddr>().map(IpNet::from);
        text.parse().or_else(|_| address()).map_err(|_| {
            format!("`{text}` is not a network; write 10.0.0.0/8, fd00::/8 or an address")
        })
    };

    /// A count from 1.
    Count(usize) = |text| text.parse().ok().filter(|count| *count > 0).ok_or_else(|| {
        format!("`{text}` is not a whole number from 1")
    });

    /// What an operator shows.
    OperatorToken(Secret) = |text| operator_token(text);

    /// An origin, as browsers send it (RFC 6454 §6.2).
    Origin(String) = |text| origin(text).then(|| text.to_owned()).ok_or_else(|| {
        format!("`{text}` is not an origin; write https://dashboard.example or http://localhost:3000")
    });

    /// A host under which the API may be asked.
    ApiHost(Host) = |text| Host::parse(text).ok().filter(|host| *host != Host::Any).ok_or_else(|| {
        format!("`{text}` is not a host; write signalbox.internal, *.internal or an address, without port or scheme")
    });

    /// What a registration token is called.
    TokenLabel(TokenName) = |text| TokenName::parse(text).map_err(|error| error.to_string());

    /// What its secret is known by.
    Sha256(Fingerprint) = |text| text.parse().map_err(|error: Error| error.to_string());

    /// A service's name, or its beginning and a `*`.
    ServiceRule(String) = |text| match ServiceName::parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    };

    /// A domain, `*.` and a domain, or `*`.
    Domain(Host) = |text| Host::parse(text).map_err(|error| error.to_string());

    /// A path.
    Prefix(PathPrefix) = |text| PathPrefix::parse(text).map_err(|error| error.to_string());

    /// What is logged.
    Filter(String) = |text| match text.parse::<tracing_subscriber::EnvFilter>() {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("`{text}` is not a log level or filter: {error}")),
    };
}

impl Copy for Timespan {}
impl Copy for Count {}

/// The fewest bytes of an operator's token: a short one is guessed.
const OPERATOR_TOKEN_MIN: usize = 16;

pub(super) fn operator_token(text: &str) -> Result<Secret, String> {
    if text.len() < OPERATOR_TOKEN_MIN || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!(
            "an operator token needs at least {OPERATOR_TOKEN_MIN} visible ASCII characters; make one with `openssl rand -hex 32`"
        ));
    }
    Ok(Secret::new(text))
}

fn origin(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    host.is_some_and(|host| {
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic() && !b"/?#@*,".contains(&byte))
    })
}

fn size(text: &str) -> Result<usize, String> {
    let mut options = Options::default();
    let wrong = || format!("`{text}` is not a size of 1KiB to 64MiB; write 65536, 64KiB or 1MiB");
    options.set("max_body_size", text).map_err(|_| wrong())?;
    usize::try_from(options.max_body_size).ok().filter(|size| (1024..=64 << 20).contains(size)).ok_or_else(wrong)
}

fn memory_size(text: &str) -> Result<usize, String> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("", 1)];
    let read = units.iter().find_map(|(unit, bytes)| {
        let count: usize = text.strip_suffix(unit)?.trim().parse().ok()?;
        count.checked_mul(*bytes)
    });
    let range = 1 << 20..=1 << 40;
    let wrong = || format!("`{text}` is not a size of 1MiB to 1024GiB; write 256MiB, 2GiB or a number of bytes");
    read.filter(|size| range.contains(size)).ok_or_else(wrong)
}

/// Text, a number or a truth value: in a file, `5` and `"5"` mean the same.
struct Scalar(String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match toml::Value::deserialize(from)? {
            toml::Value::String(text) => Ok(Scalar(text)),
            toml::Value::Integer(number) => Ok(Scalar(number.to_string())),
            toml::Value::Boolean(truth) => Ok(Scalar(truth.to_string())),
            other => {
                Err(de::Error::custom(format!("expected text, a number or true or false, not {}", other.type_str())))
            }
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct DefaultHeaders(pub(super) Vec<(HeaderKey, Arc<str>)>);

impl<'de> Deserialize<'de> for DefaultHeaders {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let texts = BTreeMap::<String, Scalar>::deserialize(from)?;
        let parsed = texts.iter().map(|(name, value)| Ok((HeaderKey::parse(name)?, header_value(&value.0)?)));
        parsed.collect::<Result<_, Error>>().map(DefaultHeaders).map_err(de::Error::custom)
    }
}

#[derive(Debug, Default)]
pub(super) struct DefaultOptions(pub(super) Options);

impl<'de> Deserialize<'de> for DefaultOptions {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let texts = BTreeMap::<String, Scalar>::deserialize(from)?;
        let mut options = Options::default();
        for (key, value) in &texts {
            match options.set(key, &value.0) {
                Ok(true) => {}
                Ok(false) => return Err(de::Error::custom(format!("there is no option `{key}`"))),
                Err(error) => return Err(de::Error::custom(error.of(key))),
            }
        }
        Ok(DefaultOptions(options))
    }
}
