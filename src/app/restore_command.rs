//! The command `signalbox restore`: puts a backup in the place of the store, while no server runs.

use std::path::Path;

use anyhow::Context;

use crate::backup::{self, RestorePlace};
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
        return Ok(format!("{} is whole: {manifest}", file.display()));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the command")?;
    let target = RestorePlace { url: &config.store_url, replace: options.replace };
    let restored = runtime.block_on(backup::restore(file, target)).context("nothing was changed")?;
    Ok(restored.to_string())
}
