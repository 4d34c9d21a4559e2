//! Refusals of commands, in words for the caller.
//!
//! An error knows no interface: each interface maps [`Kind`] to its own codes in one exhaustive match. A message
//! never contains a session id or the cause of an internal fault; causes go to the log.

use std::borrow::Cow;
use std::fmt;

/// The kind of a refusal. Interfaces translate the kind and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request is wrong in itself. The same request never succeeds.
    Invalid,
    /// The session does not exist or has ended.
    InvalidSession,
    /// A newer registration of its instance has replaced the session.
    ReplacedSession,
    /// A thing that the request names does not exist.
    NotFound,
    /// The thing to be created exists already.
    AlreadyExists,
    /// Another service holds the thing that the request asks for.
    Conflict,
    /// The state has changed since the caller read it.
    Stale,
    /// The caller's token does not allow the request.
    Denied,
    /// The request is valid, but not in the present state.
    Refused,
    /// A limit was reached. The message contains its value.
    Limited,
    /// The registry cannot do it now. Nothing was changed, and trying again may help.
    Unavailable,
    /// The server itself has a fault.
    Internal,
}

impl Kind {
    /// Returns the kind as one word, for metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Kind::Invalid => "invalid",
            Kind::InvalidSession => "invalid_session",
            Kind::ReplacedSession => "replaced_session",
            Kind::NotFound => "not_found",
            Kind::AlreadyExists => "already_exists",
            Kind::Conflict => "conflict",
            Kind::Stale => "stale",
            Kind::Denied => "denied",
            Kind::Refused => "refused",
            Kind::Limited => "limited",
            Kind::Unavailable => "unavailable",
            Kind::Internal => "internal",
        }
    }
}

/// A refusal: its kind, an optional field that it is about, and one sentence for the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: Kind,
    field: Option<Cow<'static, str>>,
    message: Cow<'static, str>,
}

impl Error {
    /// Creates a refusal of `kind` with `message`.
    pub fn new(kind: Kind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, field: None, message: message.into() }
    }

    /// Creates a refusal of the value of `field`. `message` says which values are valid.
    pub fn invalid(field: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind: Kind::Invalid, field: Some(Cow::Borrowed(field)), message: message.into() }
    }

    /// Creates a refusal of a value that is well formed but not allowed here.
    pub fn denied(field: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind: Kind::Denied, field: Some(Cow::Borrowed(field)), message: message.into() }
    }

    /// Returns the refusal for a session that does not exist or has ended. Callers recognise its first two words.
    pub const fn invalid_session() -> Self {
        let message = Cow::Borrowed("invalid session: it has ended or never was; REGISTER again");
        Self { kind: Kind::InvalidSession, field: None, message }
    }

    /// Returns the refusal for a session whose instance has registered anew.
    pub const fn replaced_session() -> Self {
        let message = Cow::Borrowed("invalid session: a newer registration of its instance has replaced it");
        Self { kind: Kind::ReplacedSession, field: None, message }
    }

    /// Returns the kind of the refusal.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the field that is wrong, if the refusal is about one.
    pub fn field(&self) -> Option<&str> {
        self.field.as_deref()
    }

    /// Returns the sentence without the field.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns the same refusal for another field, such as `domains` for a bad host in a list.
    #[must_use]
    pub fn about(self, field: &'static str) -> Self {
        Self { field: Some(Cow::Borrowed(field)), ..self }
    }

    /// Returns the same refusal for its field within `place`, such as `routes[2].backend`.
    #[must_use]
    pub fn inside(self, place: &str) -> Self {
        let field = self.field.map_or_else(|| place.to_owned(), |field| format!("{place}.{field}"));
        Self { field: Some(Cow::Owned(field)), ..self }
    }

    /// Returns the same refusal without a field and with `name` before its message.
    #[must_use]
    pub fn of(self, name: &str) -> Self {
        let message = Cow::Owned(format!("{name}: {}", self.message));
        Self { kind: self.kind, field: None, message }
    }

    /// Returns the same refusal with `place` before its message, such as `route 3: …`.
    #[must_use]
    pub fn within(self, place: &str) -> Self {
        let message = Cow::Owned(format!("{place}: {self}"));
        Self { kind: self.kind, field: None, message }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.field {
            Some(field) => write!(out, "{field}: {}", self.message),
            None => out.write_str(&self.message),
        }
    }
}

impl std::error::Error for Error {}
