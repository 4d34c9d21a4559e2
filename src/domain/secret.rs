//! Secrets that are compared and never displayed: registration and operator tokens.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::Error;

/// A token in plain text. Never logged or stored; sent only by a command that talks to a server of its own.
#[derive(Clone)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Creates a secret. Any text is accepted because secrets are only compared.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Returns the text, for a command that shows it to its server.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("…")
    }
}

/// Compares in constant time.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Secret {}

/// The SHA-256 of a secret: enough to recognise it, not enough to use it.
#[derive(Clone, Copy)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Returns the fingerprint of a secret.
    pub fn of(secret: &Secret) -> Self {
        Self(Sha256::digest(secret.0.as_bytes()).into())
    }

    /// Compares two fingerprints in constant time.
    pub fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("…")
    }
}

impl PartialEq for Fingerprint {
    fn eq(&self, other: &Self) -> bool {
        self.is(other)
    }
}

impl Eq for Fingerprint {}

impl FromStr for Fingerprint {
    type Err = Error;

    /// Reads 64 hexadecimal digits, as `printf %s SECRET | sha256sum` prints them.
    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong =
            || Error::invalid("sha256", "needs 64 hexadecimal digits, as `printf %s SECRET | sha256sum` prints them");
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        for (at, byte) in bytes.iter_mut().enumerate() {
            let digits = text.get(2 * at..2 * at + 2).ok_or_else(wrong)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_known_by_its_digest_and_shown_nowhere() {
        let secret = Secret::new("s3cret");
        // printf %s s3cret | sha256sum
        let known: Fingerprint = "1ec1c26b50d5d3c58d9583181af8076655fe00756bf7285940ba3670f99fcba0".parse().unwrap();
        assert!(known.is(&Fingerprint::of(&secret)) && !known.is(&Fingerprint::of(&Secret::new("S3cret"))));
        assert_eq!(format!("{secret:?}{known:?}"), "……");
        for bad in ["", "1ec1", &"g".repeat(64), &"é".repeat(32)] {
            assert!(bad.parse::<Fingerprint>().is_err(), "{bad}");
        }
    }
}
