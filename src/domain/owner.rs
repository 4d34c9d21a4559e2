//! The owner of a session: the client that registered it, the operators, or a configuration file.

use std::fmt;
use std::sync::Arc;

use super::Error;

/// The owner of a session.
///
/// A session of the operators or of a file has no client: it never expires, no connection is bound to it, and nobody
/// gets its id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Owner {
    /// The client that registered the session.
    #[default]
    Session,
    /// The operators. Their sessions are kept in the store alone.
    Operator,
    /// The configuration file of this name.
    File(Arc<str>),
}

/// The beginning of the stored form of a file.
const FILE: &str = "file:";

impl Owner {
    /// Returns the kind as one word.
    pub const fn word(&self) -> &'static str {
        match self {
            Owner::Session => "session",
            Owner::Operator => "operator",
            Owner::File(_) => "file",
        }
    }

    /// Returns the name of the file.
    pub fn file(&self) -> Option<&str> {
        match self {
            Owner::Session | Owner::Operator => None,
            Owner::File(name) => Some(name),
        }
    }

    /// Returns true if the session lives until its owner removes it.
    pub fn is_permanent(&self) -> bool {
        *self != Owner::Session
    }

    /// Returns the stored form.
    pub fn stored(&self) -> String {
        match self {
            Owner::Session | Owner::Operator => self.word().to_owned(),
            Owner::File(name) => format!("{FILE}{name}"),
        }
    }

    /// Restores a stored owner.
    ///
    /// # Errors
    /// `Invalid` for text that no version stored.
    pub fn restore(text: &str) -> Result<Self, Error> {
        match (text, text.strip_prefix(FILE)) {
            ("session", _) => Ok(Owner::Session),
            ("operator", _) => Ok(Owner::Operator),
            (_, Some(name)) => Ok(Owner::File(name.into())),
            (_, None) => Err(Error::invalid("owner", "is not session, operator or a file")),
        }
    }
}

/// Writes the owner as it stands behind "held by".
impl fmt::Display for Owner {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Owner::Session => out.write_str("a session"),
            Owner::Operator => out.write_str("the operators"),
            Owner::File(name) => write!(out, "the file {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_comes_back_as_it_was_stored() {
        for owner in [Owner::Session, Owner::Operator, Owner::File("conf.d/shop.toml".into()), Owner::File("".into())] {
            assert_eq!(Owner::restore(&owner.stored()), Ok(owner));
        }
        assert!(Owner::restore("nobody").is_err() && Owner::restore("").is_err());
    }
}
