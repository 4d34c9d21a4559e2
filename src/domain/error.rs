//! Why something was refused, in the client's words.
//!
//! Knows no door: each of them maps [`Kind`] to its own codes in one exhaustive match.
//! A message never holds a session id, nor the cause of an internal fault; causes go to the log.

use std::borrow::Cow;
use std::fmt;

/// What a refusal means, whatever was refused. Doors translate this and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request is wrong in itself; the same request will never succeed.
    Invalid,
    /// The session, or the thing named in it, does not exist.
    NotFound,
    /// What is to be created exists.
    AlreadyExists,
    /// Somebody else holds what is asked for.
    Conflict,
    /// The state moved since the caller looked at it.
    Stale,
    /// The caller's token does not allow it.
    Denied,
    /// Right in itself, but not in the present state.
    Refused,
    /// A bound was reached; its value stands in the message.
    Limited,
    /// The registry cannot do it now; nothing was changed; trying again may help.
    Unavailable,
    /// A fault of the server's own.
    Internal,
}

/// A refusal: its kind, the field it is about (if it is about one), and one sentence for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: Kind,
    field: Option<&'static str>,
    message: Cow<'static, str>,
}

impl Error {
    /// A refusal of `kind` that says `message`.
    pub fn new(kind: Kind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, field: None, message: message.into() }
    }

    /// A wrong value in `field`; `message` says what it must be.
    pub fn invalid(field: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind: Kind::Invalid, field: Some(field), message: message.into() }
    }

    /// The value of a field is well formed and not allowed here.
    pub fn denied(field: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind: Kind::Denied, field: Some(field), message: message.into() }
    }

    /// No such session, or it has ended. Clients know the first two words.
    pub const fn invalid_session() -> Self {
        let message = Cow::Borrowed("invalid session: it has ended or never was; REGISTER again");
        Self { kind: Kind::NotFound, field: None, message }
    }

    /// The session's instance has registered anew.
    pub const fn replaced_session() -> Self {
        let message = Cow::Borrowed("invalid session: a newer registration of its instance has replaced it");
        Self { kind: Kind::NotFound, field: None, message }
    }

    /// No such instance, for those who name it.
    pub fn no_instance(service: &super::ServiceName, instance: &super::InstanceName) -> Self {
        Self::new(Kind::NotFound, format!("no instance {service}/{instance}"))
    }

    /// Returns true if it says that the session does not exist, or no longer counts.
    pub fn is_invalid_session(&self) -> bool {
        *self == Self::invalid_session() || *self == Self::replaced_session()
    }

    /// What kind of refusal this is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The field that is wrong, for refusals of kind [`Kind::Invalid`] that are about one.
    pub fn field(&self) -> Option<&'static str> {
        self.field
    }

    /// The sentence, without the field.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The same refusal, said of `field` instead (`domains` for a bad host in a list, say).
    #[must_use]
    pub fn about(self, field: &'static str) -> Self {
        Self { field: Some(field), ..self }
    }

    /// The same refusal, its message begun with `name` alone, whatever field it is about.
    #[must_use]
    pub fn of(self, name: &str) -> Self {
        let message = Cow::Owned(format!("{name}: {}", self.message));
        Self { kind: self.kind, field: None, message }
    }

    /// The same refusal, its message begun with `place` (`route 3: …`).
    #[must_use]
    pub fn within(self, place: &str) -> Self {
        let message = Cow::Owned(format!("{place}: {self}"));
        Self { kind: self.kind, field: None, message }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field {
            Some(field) => write!(out, "{field}: {}", self.message),
            None => out.write_str(&self.message),
        }
    }
}

impl std::error::Error for Error {}
