//! The place where a value of the configuration was given: the file and line, the flag or the variable.

use std::path::PathBuf;
use std::sync::Arc;

use super::config_key::ConfigKey;
use super::file;
use super::sections::KEYS;
use super::written::Written;

/// The file that was read, and the keys that variables set: what an error needs to name a place.
#[derive(Clone, Debug, Default)]
pub(super) struct Source {
    /// The path and the text of the file.
    pub(super) file: Option<Arc<(PathBuf, String)>>,
    /// The flags that were set by an environment variable.
    pub(super) variables: Vec<&'static str>,
}

impl Source {
    /// Returns the place of a text, in words.
    pub(super) fn place(&self, key: &str, written: &Written) -> String {
        if let (Some(file), Some(span)) = (&self.file, &written.span) {
            let (path, text) = &**file;
            let (line, column) = file::place(text, span.start);
            return format!("{}:{line}:{column}", path.display());
        }
        let known = |known: &&ConfigKey| key.split_once('.') == Some((known.section, known.field));
        match KEYS.iter().find(known) {
            Some(key) if self.variables.contains(&key.flag) => format!("the variable {}", key.variable()),
            Some(key) => format!("--{}", key.flag),
            None => key.to_owned(),
        }
    }
}
