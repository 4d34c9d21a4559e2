//! The command `signalbox restore`: puts a backup in the place of the store, while no server runs.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;

use crate::backup::{self, Manifest, RestorePlace, Restored};
use crate::clock;
use crate::config::{RestoreOptions, ServerConfig};

/// Restores the store from a backup, or only checks the backup. Returns what was done, in words.
///
/// # Errors
/// If the backup or the store cannot be used. Nothing was changed then.
pub fn restore(config: &ServerConfig, file: &Path, options: RestoreOptions) -> anyhow::Result<String> {
    clock::start().context("the system clock says a time before 1970; set it and try again")?;
    if options.check {
        let manifest = backup::check(file).context("not a backup that can be restored")?;
        return Ok(format!("{} is whole: {}", file.display(), words(&manifest)));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the command")?;
    let target = RestorePlace { url: &config.store_url, replace: options.replace };
    let restored = runtime.block_on(backup::restore(file, target)).context("nothing was changed")?;
    Ok(told(&restored))
}

fn told(restored: &Restored) -> String {
    let Restored { manifest, path, kept, revision } = restored;
    let mut told = format!("restored {}: {}", path.display(), words(manifest));
    if let Some(kept) = kept {
        let _ = write!(told, "\nthe store that was there is kept as {}", kept.display());
    }
    let _ = write!(told, "\nthe revision goes on from {revision}; start the server");
    told
}

fn words(manifest: &Manifest) -> String {
    let Manifest { made_at, signalbox, revision, sessions, routes, .. } = manifest;
    format!("a backup of {made_at} by Signalbox {signalbox}, {sessions} sessions, {routes} routes, revision {revision}")
}
