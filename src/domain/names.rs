//! Names and numbers by which things are known.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::{Error, Kind, Secret};

/// The only credential a plain client has: `<instance>-<unix milliseconds>-<32 hex digits>`.
///
/// Its `Debug` and `Display` show no more than its beginning, so that it cannot slip into a log.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(Arc<str>);

impl SessionId {
    /// Makes the id of a session of `instance` opened at `now`; `nonce` must be 128 random bits.
    pub fn new(instance: &InstanceName, now: super::Time, nonce: u128) -> Self {
        Self(format!("{instance}-{}-{nonce:032x}", now.0).into())
    }

    /// Takes back an id that was kept; it may be any text, for it is only ever compared.
    pub fn restore(text: &str) -> Self {
        Self(text.into())
    }

    /// The whole id, for the client it belongs to and for the store.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for SessionId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secret = self.0.rfind('-').unwrap_or(0);
        write!(out, "{}-…", &self.0[..secret])
    }
}

/// A session's number inside the server: never reused, no secret, in no protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey(pub u64);

/// A client connection that can be bound to a session. Never reused while the server runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// Checks a name: 1 to 128 visible characters, no `|`.
fn visible(field: &'static str, text: &str) -> Result<Arc<str>, Error> {
    let length = text.chars().count();
    let hidden = |c: char| c == '|' || c.is_control() || c.is_whitespace();
    if length == 0 || length > 128 || text.chars().any(hidden) {
        return Err(Error::invalid(field, "needs 1 to 128 visible characters, no spaces and no pipe"));
    }
    Ok(text.into())
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident, $field:literal;)+) => { $(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes 1 to 128 visible characters without `|`.
            ///
            /// # Errors
            /// `Invalid` for anything else.
            pub fn parse(text: &str) -> Result<Self, Error> {
                visible($field, text).map(Self)
            }

            /// The name as it was given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }
    )+ };
}

/// Whom a command is for, in the words of the one who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A client, by its own credential.
    Session(SessionId),
    /// An operator, by name.
    Instance(ServiceName, InstanceName),
}

impl From<SessionId> for Subject {
    fn from(session: SessionId) -> Self {
        Subject::Session(session)
    }
}

impl Subject {
    /// The session that asks for itself, whose activity that is; an operator's word is nobody's activity.
    pub fn session(&self) -> Option<&SessionId> {
        match self {
            Subject::Session(session) => Some(session),
            Subject::Instance(..) => None,
        }
    }
}

names! {
    /// What a registration token is called; no secret.
    TokenName, "name";
    /// What a service is called; its instances share this name, and may share routes.
    ServiceName, "service";
    /// One running copy of a service: a host name, a container name, an address.
    InstanceName, "instance";
}

/// A route's id within its session: `r1`, `r2`, … Never reused, also not after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteId(pub u32);

impl fmt::Display for RouteId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "r{}", self.0)
    }
}

impl FromStr for RouteId {
    type Err = Error;

    /// Reads `r1`; leading zeros and signs are not route ids.
    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || {
            let shown = super::time::shortened(text);
            Error::invalid("route_id", format!("`{shown}` is not a route id; they look like r1"))
        };
        let digits = text.strip_prefix('r').ok_or_else(wrong)?;
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
        if !plain {
            return Err(wrong());
        }
        digits.parse().map(RouteId).map_err(|_| wrong())
    }
}

/// What a setting is for: every route of the session, or one. `All` sorts first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// Every route of the session, also those that come later.
    All,
    /// One route.
    Route(RouteId),
}

impl Target {
    /// The route, when it is for one.
    pub fn route(self) -> Option<RouteId> {
        match self {
            Target::All => None,
            Target::Route(id) => Some(id),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::All => out.write_str("ALL"),
            Target::Route(id) => id.fmt(out),
        }
    }
}

impl FromStr for Target {
    type Err = Error;

    /// Reads `ALL` or a route id.
    fn from_str(text: &str) -> Result<Self, Error> {
        if text == "ALL" {
            return Ok(Target::All);
        }
        text.parse().map(Target::Route).map_err(|_| {
            let shown = super::time::shortened(text);
            Error::invalid("target", format!("`{shown}` is neither ALL nor a route id such as r1"))
        })
    }
}

/// What a client says of itself: a JSON object of at most 16 KiB, kept as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata(Arc<str>);

impl Metadata {
    /// The most bytes of JSON that are kept.
    pub const BYTES_MAX: usize = 16 * 1024;

    /// Takes a JSON object; empty text and `null` count as `{}`.
    ///
    /// # Errors
    /// `Invalid` for other JSON or none, `Limited` for more than [`Metadata::BYTES_MAX`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        // Line breaks between tokens are legal JSON, but what is kept must fit a line.
        let text = text.replace(['\n', '\r', '\t'], " ");
        let text = text.trim();
        if text.is_empty() || text == "null" {
            return Ok(Self::default());
        }
        if text.len() > Self::BYTES_MAX {
            let message = format!("metadata: {} bytes are too many; at most {}", text.len(), Self::BYTES_MAX);
            return Err(Error::new(Kind::Limited, message));
        }
        match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text) {
            Ok(_) => Ok(Self(text.into())),
            Err(error) => Err(Error::invalid("metadata", format!("needs a JSON object: {error}"))),
        }
    }

    /// The JSON text, an object.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The metadata without its key `token`, and the secret that stood there.
    ///
    /// # Errors
    /// `Invalid` when `token` is there and is no text.
    pub fn without_token(&self) -> Result<(Self, Option<Secret>), Error> {
        let mut object: BTreeMap<String, Box<RawValue>> = serde_json::from_str(&self.0).unwrap_or_default();
        let Some(token) = object.remove("token") else { return Ok((self.clone(), None)) };
        let secret: String = serde_json::from_str(token.get()).map_err(|_| Error::invalid("token", "must be text"))?;
        // Texts and values that were JSON before are so still.
        let rest = serde_json::to_string(&object).unwrap_or_else(|_| "{}".to_owned());
        Ok((Self(rest.into()), Some(Secret::new(&secret))))
    }
}

impl Default for Metadata {
    fn default() -> Self {
        Self("{}".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Fingerprint;

    #[test]
    fn a_session_id_never_shows_its_secret() {
        let instance = InstanceName::parse("shop-1").unwrap();
        let id = SessionId::new(&instance, super::super::Time(1_795_323_231_906), 0x6f1d);
        assert_eq!(id.reveal(), "shop-1-1795323231906-00000000000000000000000000006f1d");
        assert_eq!(format!("{id:?}"), "shop-1-1795323231906-…");
    }

    #[test]
    fn names_are_visible_characters_without_a_pipe() {
        for good in ["shop", "10.0.0.7", "dépôt", "a_b:c/d", &"x".repeat(128)] {
            assert!(ServiceName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "a|b", "a\u{0}b", "a\tb", &"x".repeat(129)] {
            assert!(InstanceName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_route_id_has_one_spelling() {
        assert_eq!("r12".parse(), Ok(RouteId(12)));
        for bad in ["r0", "r01", "12", "r", "r-1", "r+1", "r99999999999", "R1", ""] {
            assert!(bad.parse::<RouteId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_is_taken_out_of_metadata() {
        let given = Metadata::parse(r#"{"version": "1.4", "token": "s3cret", "n": 1.50}"#).unwrap();
        let (kept, secret) = given.without_token().unwrap();
        assert_eq!(kept.as_str(), r#"{"n":1.50,"version":"1.4"}"#);
        let same = Fingerprint::of(&secret.unwrap()).is(&Fingerprint::of(&Secret::new("s3cret")));
        assert!(same);
        assert!(Metadata::parse(r#"{"token": 1}"#).unwrap().without_token().is_err());
        let plain = Metadata::parse(r#"{ "b": 1, "a": 2 }"#).unwrap();
        assert_eq!(plain.without_token().unwrap().0, plain, "what holds no token stays as it came");
    }

    #[test]
    fn metadata_is_an_object_or_nothing() {
        for empty in ["", "null", "{}"] {
            assert_eq!(Metadata::parse(empty), Ok(Metadata::default()));
        }
        assert_eq!(Metadata::parse(r#"{"a":"x|y"}"#).unwrap().as_str(), r#"{"a":"x|y"}"#);
        for bad in ["[]", "1", "{", "{\"a\":}", &format!("{{\"a\":\"{}\"}}", "x".repeat(17_000))] {
            assert!(Metadata::parse(bad).is_err());
        }
    }
}
