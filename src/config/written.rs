//! A text of the configuration whose form another part knows.
//!
//! The configuration keeps such a text as it is. The part that needs the value reads it through
//! [`ServerConfig::value`](super::ServerConfig::value), so that an error names the place of the text.

use std::convert::Infallible;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::values::Scalar;

/// A text of the configuration whose form another part knows.
#[derive(Clone, Debug)]
pub struct Written {
    text: String,
    /// Its bytes in the file; `None` if a flag, a variable or a default gives it.
    pub(super) span: Option<Range<usize>>,
}

impl Written {
    /// Returns the text.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Compares the texts. The same text may stand in different places.
impl PartialEq for Written {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl FromStr for Written {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self { text: text.to_owned(), span: None })
    }
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let scalar = Spanned::<Scalar>::deserialize(from)?;
        let span = Some(scalar.span());
        Ok(Self { text: scalar.into_inner().0, span })
    }
}
