//! A key of the configuration, as it is listed: for the help text, for defaults and for tests of the documentation.

/// A key of the file, its flag and its default.
#[derive(Debug)]
pub(super) struct ConfigKey {
    pub(super) section: &'static str,
    pub(super) field: &'static str,
    /// True if a reload does not put a new value in force.
    #[cfg_attr(not(test), expect(dead_code, reason = "the test of the documentation reads it"))]
    pub(super) needs_restart: bool,
    pub(super) flag: &'static str,
    /// The default, as it is written in the file.
    pub(super) default: Option<&'static str>,
    /// The default in words, if it depends on something else.
    pub(super) default_in_words: Option<&'static str>,
}

impl ConfigKey {
    /// Returns the name of its environment variable.
    pub(super) fn variable(&self) -> String {
        format!("SIGNALBOX_{}", self.flag.replace('-', "_").to_uppercase())
    }
}
