//! A key of the configuration that has another value than before.

/// A key with another value than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyChange {
    /// The key with its section, such as `proxy.trusted_proxies`.
    pub key: &'static str,
    /// True if the new value is used only after a restart.
    pub needs_restart: bool,
}
