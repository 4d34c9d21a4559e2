//! The names and numbers of sessions, services, instances and routes.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde_json::Value;
use serde_json::value::RawValue;

use super::{Error, Kind, Lease, Secret};

/// The only credential of a plain client: `<instance>-<unix milliseconds>-<32 hex digits>`.
///
/// `Debug` shows only its beginning, so that the secret part does not get into a log.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(Arc<str>);

impl SessionId {
    /// Creates the id of a session of `instance` that opens at `now`. `nonce` must be 128 random bits.
    pub fn new(instance: &InstanceName, now: super::Time, nonce: u128) -> Self {
        Self(format!("{instance}-{}-{nonce:032x}", now.0).into())
    }

    /// Restores a stored id. Any text is accepted because ids are only compared.
    pub fn restore(text: &str) -> Self {
        Self(text.into())
    }

    /// Returns the whole id, for the client that owns it and for the store.
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

/// A session's number inside the server. Never reused, not secret, in no protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey(pub u64);

impl SessionKey {
    /// The key of no session, for changes that concern the whole server.
    pub const NONE: SessionKey = SessionKey(0);
}

/// A client connection that can be bound to a session. Never reused while the server runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// Checks a name: 1 to 128 visible characters without `
/// `.
fn visible(field: &'static str, text: &str) -> Result<Arc<str>, Error> {
    let length = text.chars().count();
    if length == 0 || length > 128 || text.chars().any(|c| c == '|' || c.is_control() || c.is_whitespace()) {
        return Err(Error::invalid(field, "needs 1 to 128 visible characters, no spaces and no pipe"));
    }
    Ok(text.into())
}

/// Checks a new name: it must not contain hidden characters.
fn readable(field: &'static str, text: &str) -> Result<Arc<str>, Error> {
    let name = visible(field, text)?;
    if let Some(hidden) = text.chars().find(|c| is_hidden(*c)) {
        let code = u32::from(hidden);
        let message = format!("holds U+{code:04X}, which cannot be seen or changes what is seen; leave it out");
        return Err(Error::invalid(field, message));
    }
    Ok(name)
}

/// Returns true if readers do not see `c` as a character, or if it changes how its neighbours are displayed.
pub fn is_hidden(c: char) -> bool {
    HIDDEN.iter().any(|(first, last)| (*first..=*last).contains(&u32::from(c)))
}

/// The code points that a name must not contain, as sorted ranges of the first and last one.
///
/// These are control and format characters (`Cc`, `Cf`), spaces and separators (`Z`), characters that are displayed
/// as nothing (`Default_Ignorable_Code_Point`) or as blank (the empty Braille pattern, the null note head), private
/// use, and code points that will never be characters.
pub const HIDDEN: [(u32, u32); 36] = [
    (0x0000, 0x0020),
    (0x007F, 0x00A0),
    (0x00AD, 0x00AD),
    (0x034F, 0x034F),
    (0x0600, 0x0605),
    (0x061C, 0x061C),
    (0x06DD, 0x06DD),
    (0x070F, 0x070F),
    (0x0890, 0x0891),
    (0x08E2, 0x08E2),
    (0x115F, 0x1160),
    (0x1680, 0x1680),
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x2000, 0x200F),
    (0x2028, 0x202F),
    (0x205F, 0x206F),
    (0x2800, 0x2800),
    (0x3000, 0x3000),
    (0x3164, 0x3164),
    (0xD800, 0xF8FF),
    (0xFDD0, 0xFDEF),
    (0xFE00, 0xFE0F),
    (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0),
    (0xFFF0, 0xFFFC),
    (0xFFFE, 0xFFFF),
    (0x1_10BD, 0x1_10BD),
    (0x1_10CD, 0x1_10CD),
    (0x1_3430, 0x1_343F),
    (0x1_BCA0, 0x1_BCA3),
    (0x1_D159, 0x1_D159),
    (0x1_D173, 0x1_D17A),
    (0x1_FFFE, 0x1_FFFF),
    (0x2_FFFE, 0x2_FFFF),
    (0x3_FFFE, 0x10_FFFF),
];

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident, $field:literal;)+) => { $(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Reads a name: 1 to 128 visible characters without `
            /// `.
            ///
            /// # Errors
            /// `Invalid` for anything else; see [`HIDDEN`].
            pub fn parse(text: &str) -> Result<Self, Error> {
                readable($field, text).map(Self)
            }

            /// Restores a stored name. Hidden characters are accepted because older versions accepted them.
            ///
            /// # Errors
            /// `Invalid` for text that no version accepted.
            pub fn restore(text: &str) -> Result<Self, Error> {
                visible($field, text).map(Self)
            }

            /// Returns the name as it was given.
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

/// The session or instance that a command is about, as the caller names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A session, named by its credential.
    Session(SessionId),
    /// An instance, named by an operator.
    Instance(ServiceName, InstanceName),
}

impl From<SessionId> for Subject {
    fn from(session: SessionId) -> Self {
        Subject::Session(session)
    }
}

impl Subject {
    /// Returns the session if it acts for itself. Only then does the command count as activity of the session.
    pub fn session(&self) -> Option<&SessionId> {
        match self {
            Subject::Session(session) => Some(session),
            Subject::Instance(..) => None,
        }
    }
}

names! {
    /// The name of a registration token. Not secret.
    TokenName, "name";
    /// The name of an operator's token. Not secret.
    OperatorName, "name";
    /// The name that operators or a file gave to a route. It stays the same when the route changes.
    RouteName, "name";
    /// The name of a service. Its instances share the name and may share routes.
    ServiceName, "service";
    /// The name of one running copy of a service: a host name, a container name or an address.
    InstanceName, "instance";
}

impl OperatorName {
    /// Returns the name of an operator whose token has no name.
    pub fn unnamed() -> Self {
        Self("operator".into())
    }

    /// Returns the name of an operator on loopback, while there are no tokens.
    pub fn loopback() -> Self {
        Self("loopback".into())
    }
}

impl Error {
    /// Returns the refusal of a command that names an instance without a session.
    pub fn no_instance(service: &ServiceName, instance: &InstanceName) -> Self {
        Self::new(Kind::NotFound, format!("no instance {service}/{instance}"))
    }
}

/// The id of a route within its session: `r1`, `r2`, … Never reused, also not after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteId(pub u32);

impl fmt::Display for RouteId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "r{}", self.0)
    }
}

impl FromStr for RouteId {
    type Err = Error;

    /// Reads a route id such as `r1`. Leading zeros and signs are refused.
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

/// The target of a setting: all routes of a session, or one. `All` sorts first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// All routes of the session, also later ones.
    All,
    /// One route.
    Route(RouteId),
}

impl Target {
    /// Returns the route, if the target is one route.
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

/// Facts that a client tells about itself: a JSON object of at most 16 KiB, kept as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata(Arc<str>);

impl Metadata {
    /// The maximum number of bytes of JSON.
    pub const BYTES_MAX: usize = 16 * 1024;

    /// Reads a JSON object. Empty text and `null` count as `{}`.
    ///
    /// # Errors
    /// `Invalid` for anything but a JSON object, `Limited` for more than [`Metadata::BYTES_MAX`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        // Line breaks between tokens are legal JSON, but the stored text must fit on one line.
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

    /// Returns the JSON text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the metadata without its key `token`, and the secret in that key.
    ///
    /// # Errors
    /// `Invalid` if `token` is not text.
    pub fn without_token(&self) -> Result<(Self, Option<Secret>), Error> {
        let (rest, Some(token)) = self.without("token") else { return Ok((self.clone(), None)) };
        let secret: String = serde_json::from_str(token.get()).map_err(|_| Error::invalid("token", "must be text"))?;
        Ok((rest, Some(Secret::new(&secret))))
    }

    /// Returns the metadata without its key `lease`, and the lease in that key. A number is a duration in seconds, and
    /// `null` is no lease.
    ///
    /// # Errors
    /// `Invalid` if `lease` is anything else but a lease.
    pub fn without_lease(&self) -> Result<(Self, Option<Lease>), Error> {
        let (rest, Some(lease)) = self.without("lease") else { return Ok((self.clone(), None)) };
        let text = match serde_json::from_str(lease.get()) {
            Ok(Value::Null) => return Ok((rest, None)),
            Ok(Value::String(text)) => text,
            _ => lease.get().to_owned(),
        };
        let explained = |error: Error| {
            let message = format!("{}; metadata of your own needs another key than lease", error.message());
            Error::invalid("lease", message)
        };
        Ok((rest, Some(Lease::parse(&text).map_err(explained)?)))
    }

    /// Returns the metadata without a key, and the value of the key.
    fn without(&self, key: &str) -> (Self, Option<Box<RawValue>>) {
        let mut object: BTreeMap<String, Box<RawValue>> = serde_json::from_str(&self.0).unwrap_or_default();
        let Some(value) = object.remove(key) else { return (self.clone(), None) };
        // Cannot fail: all keys and values were valid JSON before.
        let rest = serde_json::to_string(&object).unwrap_or_else(|_| "{}".to_owned());
        (Self(rest.into()), Some(value))
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
    fn no_name_has_invisible_characters() {
        for good in ["店", "שלום", "سلام", "한국", "नमस्ते", "e\u{301}", "🚀", "𝄞", "\u{fffd}"]
        {
            assert!(ServiceName::parse(good).is_ok(), "{good}");
        }
        for hidden in [
            '\u{ad}',
            '\u{34f}',
            '\u{61c}',
            '\u{115f}',
            '\u{1160}',
            '\u{17b4}',
            '\u{180b}',
            '\u{180e}',
            '\u{200b}',
            '\u{200d}',
            '\u{200e}',
            '\u{200f}',
            '\u{202a}',
            '\u{202e}',
            '\u{2060}',
            '\u{2066}',
            '\u{2069}',
            '\u{206a}',
            '\u{2800}',
            '\u{3164}',
            '\u{e000}',
            '\u{fe0f}',
            '\u{feff}',
            '\u{ffa0}',
            '\u{fff9}',
            '\u{fffc}',
            '\u{ffff}',
            '\u{110bd}',
            '\u{13430}',
            '\u{1bca0}',
            '\u{1d159}',
            '\u{1d173}',
            '\u{e0001}',
            '\u{e0041}',
            '\u{e0100}',
            '\u{f0000}',
            '\u{10ffff}',
            '\u{a0}',
            '\u{85}',
            '\u{2003}',
            '\u{3000}',
            '\u{2028}',
            '\u{7f}',
        ] {
            for name in [format!("{hidden}shop"), format!("sh{hidden}op"), format!("shop{hidden}"), hidden.to_string()]
            {
                assert!(ServiceName::parse(&name).is_err(), "{name:?}");
                assert!(InstanceName::parse(&name).is_err(), "{name:?}");
                assert!(TokenName::parse(&name).is_err(), "{name:?}");
                let blank = hidden.is_whitespace() || hidden.is_control();
                assert_eq!(ServiceName::restore(&name).is_ok(), !blank, "what is kept already is not lost: {name:?}");
            }
        }
        let said = ServiceName::parse("shop\u{202e}").unwrap_err().to_string();
        assert!(said.contains("U+202E"), "{said}");
    }

    #[test]
    fn every_character_that_rust_calls_blank_or_control_is_hidden() {
        let blank =
            (0..=u32::from(char::MAX)).filter_map(char::from_u32).filter(|c| c.is_control() || c.is_whitespace());
        assert_eq!(blank.filter(|c| !is_hidden(*c)).collect::<String>(), "");
        assert!(HIDDEN.is_sorted() && HIDDEN.iter().all(|(first, last)| first <= last));
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
