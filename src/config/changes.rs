//! The comparison of two configurations: the keys that changed, and those of them that a running server cannot take over.

use std::path::Path;

use super::file;
use super::file_sections::FileSections;
use super::key_change::KeyChange;
use super::parts::ServerConfig;
use super::sections::KEYS;

impl ServerConfig {
    /// Returns this configuration as far as a server that runs with `running` can take it over: keys that need a restart
    /// keep their values.
    ///
    /// # Errors
    /// If the new values do not go with the kept ones, such as no tokens on an address that other machines still reach.
    pub fn on(&self, running: &Self) -> anyhow::Result<Self> {
        let (mut written, kept) = (self.written.clone(), &running.written);
        written.pipe.keep_fixed(&kept.pipe);
        written.api.keep_fixed(&kept.api);
        written.proxy.keep_fixed(&kept.proxy);
        written.store.keep_fixed(&kept.store);
        written.session.keep_fixed(&kept.session);
        written.limits.keep_fixed(&kept.limits);
        written.backends.keep_fixed(&kept.backends);
        written.acme.keep_fixed(&kept.acme);
        written.log.keep_fixed(&kept.log);
        written.telemetry.keep_fixed(&kept.telemetry);
        written.audit.keep_fixed(&kept.audit);
        if self.pipe.tls.is_some() != running.pipe.tls.is_some() {
            let (pipe, kept) = (&mut written.pipe, kept.pipe.clone());
            (pipe.cert, pipe.key, pipe.client_ca) = (kept.cert, kept.key, kept.client_ca);
        }
        if self.api.tls.is_some() != running.api.tls.is_some() {
            let (api, kept) = (&mut written.api, kept.api.clone());
            (api.cert, api.key, api.client_ca) = (kept.cert, kept.key, kept.client_ca);
        }
        written.complete(self.source.clone())
    }

    /// Returns the files beside the configuration file whose contents belong to the configuration.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let files = [&self.written.api.operator_tokens_file, &self.written.backends.ca, &self.written.acme.ca];
        files.into_iter().filter_map(|file| file.as_deref())
    }

    /// Returns the keys that have another value in `next`, in the order of the file.
    pub fn changes_to(&self, next: &Self) -> Vec<KeyChange> {
        let mut changes = self.written.changes_to(&next.written);
        let live = |key| KeyChange { key, needs_restart: false };
        let tokens_file = live("api.operator_tokens_file");
        if self.api.operator_tokens != next.api.operator_tokens
            && !changes.iter().any(|change| change.key.starts_with("api.operator_tokens"))
        {
            changes.push(tokens_file);
        }
        // A port speaks TLS or not from its first connection on.
        for (key, before, after) in
            [("pipe.cert", &self.pipe.tls, &next.pipe.tls), ("api.cert", &self.api.tls, &next.api.tls)]
        {
            let switched = before.is_some() != after.is_some();
            changes
                .iter_mut()
                .filter(|change| switched && change.key == key)
                .for_each(|change| change.needs_restart = true);
        }
        changes
    }
}

impl FileSections {
    fn changes_to(&self, next: &Self) -> Vec<KeyChange> {
        let [before, after] = [self, next].map(|sections| sections.clone().over(Self::defaults()));
        let mut changes = Vec::new();
        before.pipe.add_changes(&after.pipe, &mut changes);
        before.api.add_changes(&after.api, &mut changes);
        before.proxy.add_changes(&after.proxy, &mut changes);
        before.store.add_changes(&after.store, &mut changes);
        before.session.add_changes(&after.session, &mut changes);
        before.limits.add_changes(&after.limits, &mut changes);
        before.backends.add_changes(&after.backends, &mut changes);
        before.acme.add_changes(&after.acme, &mut changes);
        before.log.add_changes(&after.log, &mut changes);
        before.telemetry.add_changes(&after.telemetry, &mut changes);
        before.audit.add_changes(&after.audit, &mut changes);
        let others = [
            ("defaults.headers", self.defaults.headers != next.defaults.headers),
            ("defaults.options", self.defaults.options != next.defaults.options),
            ("tokens", self.tokens != next.tokens),
            ("operators", self.operators != next.operators),
            ("tls", self.tls != next.tls),
            ("services", self.services != next.services),
        ];
        let changed = others.into_iter().filter(|(_, is_changed)| *is_changed);
        changes.extend(changed.map(|(key, _)| KeyChange { key, needs_restart: false }));
        changes
    }

    /// Returns the sections with the default of each key, so that a key that is left out equals one with its default.
    fn defaults() -> Self {
        let mut text = String::new();
        let mut section = "";
        for key in KEYS {
            if key.section == "log.access" {
                // It turns the access log on by being there.
                continue;
            }
            if key.section != section {
                section = key.section;
                text += &format!("[{section}]\n");
            }
            let Some(default) = key.default else { continue };
            let list = default.split(',').map(|value| format!("\"{value}\"")).collect::<Vec<_>>().join(", ");
            let is_list = default.contains(',') && key.flag != "log-level";
            text +=
                &format!("{} = {}\n", key.field, if is_list { format!("[{list}]") } else { format!("\"{default}\"") });
        }
        // It is valid: a test reads it.
        file::parse(&text).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Cli;

    fn load(text: &str) -> ServerConfig {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Cli::read(["signalbox", "--config", file.path().to_str().unwrap()]).unwrap().load().unwrap()
    }

    #[test]
    fn changed_keys_are_named_and_those_that_need_a_restart_are_marked() {
        let before = "[pipe]\nlisten = \"127.0.0.1:8181\"\n[log]\nlevel = \"info\"\n";
        let token = format!("[[tokens]]\nname = \"a\"\nsha256 = \"{}\"\n", "0".repeat(64));
        let cases: [(&str, &[(&str, bool)]); 8] = [
            (before, &[]),
            ("[log]\nlevel = \"info\"\n", &[]),
            ("[pipe]\nlisten = 8181\n[log]\nlevel = \"warn\"\n", &[("log.level", false)]),
            ("[pipe]\nlisten = 1\n[log]\nlevel = \"info\"\n", &[("pipe.listen", true)]),
            (
                "[store]\nurl = \"sqlite://b.db\"\n[log]\nlevel = \"info\"\nformat = \"json\"\n",
                &[("store.url", true), ("log.format", true)],
            ),
            ("[log]\nlevel = \"info\"\n[defaults]\noptions = { timeout = \"1s\" }\n", &[("defaults.options", false)]),
            (
                "[log]\nlevel = \"info\"\n[pipe]\ncert = \"c\"\nkey = \"k\"\n",
                &[("pipe.cert", true), ("pipe.key", false)],
            ),
            (&format!("[log]\nlevel = \"info\"\n{token}"), &[("tokens", false)]),
        ];
        for (after, expected) in cases {
            let changes = load(before).changes_to(&load(after));
            let changes: Vec<_> = changes.iter().map(|change| (change.key, change.needs_restart)).collect();
            assert_eq!(changes, expected, "{after}");
        }
    }

    #[test]
    fn the_defaults_are_those_of_a_file_without_keys() {
        assert!(FileSections::default().changes_to(&FileSections::defaults()).is_empty());
        assert_eq!(FileSections::defaults().session.sessions_max.map(|count| count.0), Some(20_000));
    }

    #[test]
    fn new_tokens_in_the_file_of_operator_tokens_are_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = folder.path().join("tokens");
        let text = format!("[api]\noperator_tokens_file = \"{}\"\n", tokens.display());
        std::fs::write(&tokens, "0123456789abcdef\n").unwrap();
        let before = load(&text);
        std::fs::write(&tokens, "fedcba9876543210\n").unwrap();
        let changes = before.changes_to(&load(&text));
        assert_eq!(changes.first().map(|change| change.key), Some("api.operator_tokens_file"));
    }

    #[test]
    fn the_documentation_names_the_keys_that_need_a_restart() {
        let page = include_str!("../../docs/operating.md");
        let row = page.lines().find(|line| line.ends_with("`changed keys that need a restart` |")).unwrap();
        for key in KEYS {
            let name = format!("`{}.{}`", key.section, key.field);
            assert_eq!(row.contains(&name), key.needs_restart, "{name}");
        }
    }
}
