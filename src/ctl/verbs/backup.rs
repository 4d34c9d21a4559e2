//! Backups and exports of a server, as files, and their way back.
//!
//! Invariants: a file has its name only once it is whole and on disk; no file is overwritten unless the user says so.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::backup::{self, Manifest, RestorePlace, Restored};
use crate::clock;
use crate::config::{BackupArgs, ExportArgs, ImportArgs, RestoreArgs};
use crate::ctl::api::Api;
use crate::ctl::failure::CtlFailure;
use crate::ctl::screen::Screen;
use crate::ctl::table::{Cell, Side};
use crate::grpc::proto::{BackupRequest, ExportRequest, ImportRequest, ImportedInstance};

use super::named;

/// The longest document to import, in bytes.
const DOCUMENT_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Writes a backup of the server to a file, and checks it.
pub(crate) async fn backup(api: &Api, screen: Screen, args: &BackupArgs) -> Result<(), CtlFailure> {
    let file = NewFile::create(&args.file, args.force)?;
    let written = receive(api, &file).await;
    let checked = written.and_then(|()| check(&file.part));
    let manifest = file.finish(checked)?;
    if screen.json {
        return screen.document(&facts(&manifest));
    }
    screen.print(&format!(
        "{}: {manifest}\nkeep it secret: it holds the session ids of all instances\n",
        args.file.display()
    ))
}

async fn receive(api: &Api, file: &NewFile) -> Result<(), CtlFailure> {
    let asked = api.ask(BackupRequest {}, |mut api, request| async move { api.backup(request).await });
    let mut stream = asked.await?;
    while let Some(piece) = stream.message().await.map_err(|status| api.failure(&status))? {
        (&file.file).write_all(&piece.content).map_err(|why| cannot(&file.part, &why))?;
    }
    file.file.sync_all().map_err(|why| cannot(&file.part, &why))
}

fn check(path: &Path) -> Result<Manifest, CtlFailure> {
    backup::check(path).map_err(|error| CtlFailure::refused(format!("the backup did not arrive whole: {error}")))
}

/// Restores a backup, as `signalbox restore` does, or checks it.
pub(crate) fn restore(screen: Screen, args: &RestoreArgs) -> Result<(), CtlFailure> {
    clock::start().map_err(|error| CtlFailure::refused(format!("the system clock: {error}")))?;
    if args.options.check {
        let manifest = backup::check(&args.file).map_err(|error| CtlFailure::refused(error.to_string()))?;
        return told(screen, &facts(&manifest), &format!("{} is whole: {manifest}\n", args.file.display()));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CtlFailure::refused(format!("cannot start: {error}")))?;
    let place = RestorePlace { url: &args.store_url, replace: args.options.replace };
    let restored = runtime.block_on(backup::restore(&args.file, place));
    let restored = restored.map_err(|error| CtlFailure::refused(format!("nothing was changed: {error}")))?;
    let Restored { manifest, path, kept, revision } = &restored;
    let mut json = facts(manifest);
    json["store"] = json!(path.display().to_string());
    json["kept"] = json!(kept.as_ref().map(|kept| kept.display().to_string()));
    json["continues_at"] = json!(revision);
    told(screen, &json, &format!("{restored}\n"))
}

/// Prints the export of all instances, or writes it to a file.
pub(crate) async fn export(api: &Api, screen: Screen, args: &ExportArgs) -> Result<(), CtlFailure> {
    let asked = api.ask(ExportRequest {}, |mut api, request| async move { api.export(request).await });
    let document = asked.await?.document;
    let Some(path) = &args.file else { return screen.print(&document) };
    let file = NewFile::create(path, args.force)?;
    let written = (&file.file).write_all(document.as_bytes()).and_then(|()| file.file.sync_all());
    let written = written.map_err(|why| cannot(&file.part, &why));
    file.finish(written)
}

/// Imports an export, and shows the outcome of each instance.
pub(crate) async fn import(api: &Api, screen: Screen, args: &ImportArgs) -> Result<(), CtlFailure> {
    let mut document = String::new();
    let opened = File::open(&args.file).map_err(|why| cannot(&args.file, &why))?;
    opened.take(DOCUMENT_BYTES_MAX).read_to_string(&mut document).map_err(|why| cannot(&args.file, &why))?;
    let message = ImportRequest { document, dry_run: args.dry_run, partial: args.partial };
    let asked = api.ask(message, |mut api, request| async move { api.import(request).await });
    let outcome = asked.await?;
    if screen.json {
        let instances: Vec<Value> = outcome.instances.iter().map(imported).collect();
        let (created, changed) = (outcome.created, outcome.changed);
        let (unchanged, refused) = (outcome.unchanged, outcome.refused);
        screen.document(&json!({
            "dry_run": outcome.dry_run, "created": created, "changed": changed, "unchanged": unchanged,
            "refused": refused, "instances": instances,
        }))?;
    } else {
        let heads =
            [("INSTANCE", Side::Left), ("OUTCOME", Side::Left), ("CHANGES", Side::Right), ("REASON", Side::Left)];
        let rows: Vec<Vec<Cell>> = outcome.instances.iter().map(row).collect();
        screen.table(&heads, &rows)?;
    }
    let (refused, total) = (outcome.refused, outcome.instances.len());
    match outcome.refused {
        0 => Ok(()),
        _ if !args.dry_run => {
            Err(CtlFailure::refused(format!("{refused} of {total} instances are refused and are as they were")))
        }
        _ if args.partial => Err(CtlFailure::refused(format!("{refused} of {total} instances would be refused"))),
        _ => Err(CtlFailure::refused(format!(
            "{refused} of {total} instances would be refused, so that nothing would be imported; --partial imports the others"
        ))),
    }
}

fn imported(of: &ImportedInstance) -> Value {
    json!({
        "service_name": of.service_name, "instance_name": of.instance_name, "outcome": of.outcome,
        "changes_total": of.changes_total, "reason": of.reason,
    })
}

fn row(of: &ImportedInstance) -> Vec<Cell> {
    vec![
        Cell::new(named(&of.service_name, &of.instance_name)),
        Cell::new(&of.outcome),
        Cell::new(of.changes_total.to_string()),
        Cell::new(of.reason.as_deref().unwrap_or_default()),
    ]
}

fn facts(manifest: &Manifest) -> Value {
    // Cannot fail: a manifest is texts and numbers.
    json!({ "manifest": serde_json::to_value(manifest).unwrap_or_default() })
}

fn told(screen: Screen, json: &Value, words: &str) -> Result<(), CtlFailure> {
    if screen.json { screen.document(json) } else { screen.print(words) }
}

fn cannot(path: &Path, why: &io::Error) -> CtlFailure {
    CtlFailure::refused(format!("{}: {why}", path.display()))
}

/// A file that gets its name when it is whole.
struct NewFile {
    path: PathBuf,
    /// The name until then.
    part: PathBuf,
    file: File,
    force: bool,
}

impl NewFile {
    /// Creates a file that only its owner can read.
    fn create(path: &Path, force: bool) -> Result<Self, CtlFailure> {
        if !force && path.symlink_metadata().is_ok() {
            return Err(taken(path));
        }
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let _ = fs::remove_file(&part);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part);
        Ok(Self { path: path.to_owned(), file: file.map_err(|why| cannot(path, &why))?, part, force })
    }

    /// Gives the file its name if it is whole, and removes it otherwise.
    fn finish<T>(self, whole: Result<T, CtlFailure>) -> Result<T, CtlFailure> {
        let named = whole.and_then(|value| self.rename().map(|()| value));
        let _ = fs::remove_file(&self.part);
        named
    }

    fn rename(&self) -> Result<(), CtlFailure> {
        if self.force {
            return fs::rename(&self.part, &self.path).map_err(|why| cannot(&self.path, &why));
        }
        // Unlike a rename, it replaces nothing.
        fs::hard_link(&self.part, &self.path).map_err(|why| match why.kind() {
            io::ErrorKind::AlreadyExists => taken(&self.path),
            _ => cannot(&self.path, &why),
        })
    }
}

fn taken(path: &Path) -> CtlFailure {
    CtlFailure::refused(format!("{} exists already; name another file, or add --force to replace it", path.display()))
}
