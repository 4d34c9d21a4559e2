//! The services that files list: keeps the instances of each file in the registry as the file has them.
//!
//! A file stands for itself: its instances change together or not at all, and a file that is wrong or refused leaves
//! those of its last good version serving, and all other files alone. A refused file is tried again at each look, because
//! the reason may be gone. Files that are gone take their instances with them. Invariants: nothing else gives a file
//! instances in the registry; each fault is logged once and shown to operators until it is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::services_file::{self, PlacedInstance};
use super::services_folder::{self, FoundFile};
use crate::config::{FileFault, ServerConfig};
use crate::domain::Owner;
use crate::file_watch::Version;
use crate::lifecycle;
use crate::registry::commands::{OwnedSet, PutSets};
use crate::registry::config_changes::ConfigChange;
use crate::registry::instance_outcomes::{OwnedChange, OwnedChangeKind, RefusedInstance, SetOutcome};
use crate::registry::{CallOrigin, FileProblem, Registry};

/// The largest number of changed entries of an instance that a line of the log lists.
const LISTED_MAX: usize = 20;

/// The services of all files.
pub(super) struct StaticServices {
    registry: Registry,
    /// The services of the server itself, if it has some.
    own: Option<FoundFile>,
    files: BTreeMap<Arc<str>, KnownFile>,
    /// True once the files of an earlier run have been looked for.
    has_looked: bool,
    problems: Vec<FileProblem>,
}

/// A file, as far as it is known.
#[derive(Default)]
struct KnownFile {
    /// The path in words, for messages.
    shown: String,
    /// The contents at the last look.
    seen: Option<Version>,
    /// The instances that the registry has not taken yet.
    wanted: Option<Vec<PlacedInstance>>,
    problem: Option<FileProblem>,
    is_gone: bool,
}

/// The files that a look finds.
struct FoundFiles {
    files: Vec<FoundFile>,
    /// The folder that cannot be read as a whole, and the reason.
    fault: Option<(String, String)>,
}

impl StaticServices {
    /// Creates the services before the first look. The server's `own` ones are kept like those of a file.
    pub(super) fn new(registry: Registry, own: Option<FoundFile>) -> Self {
        Self { registry, own, files: BTreeMap::new(), has_looked: false, problems: Vec::new() }
    }

    /// Reads the files of a configuration, and gives the registry what changed.
    pub(super) async fn look(&mut self, config: &ServerConfig, origin: &CallOrigin) {
        let FoundFiles { files, fault } = lifecycle::run_blocking(|| find(config));
        let own = self.own.clone();
        if fault.is_none() {
            self.forget_others(&files, own.as_ref());
        }
        files.into_iter().chain(own).for_each(|file| self.read(file));
        Box::pin(self.replace(origin)).await;
        self.files.retain(|_, file| !file.is_gone || file.wanted.is_some());
        self.show(fault);
    }

    /// Returns the faults of the files at the last look.
    pub(super) fn problems(&self) -> &[FileProblem] {
        &self.problems
    }

    /// Takes all instances of files that are gone out of the registry with the next replacement.
    fn forget_others(&mut self, found: &[FoundFile], own: Option<&FoundFile>) {
        let present: BTreeSet<&str> = found.iter().chain(own).map(|file| &*file.name).collect();
        if !std::mem::replace(&mut self.has_looked, true) {
            let catalog = self.registry.catalog();
            let owners = catalog.sessions().filter_map(|session| session.record.owner.file());
            for name in owners {
                self.files.entry(name.into()).or_default();
            }
        }
        for (name, file) in &mut self.files {
            if !present.contains(&**name) && !file.is_gone {
                *file = KnownFile {
                    shown: name.to_string(),
                    wanted: Some(Vec::new()),
                    is_gone: true,
                    ..KnownFile::default()
                };
            }
        }
    }

    /// Reads the instances of a file if it has other contents than at the last look.
    fn read(&mut self, found: FoundFile) {
        let FoundFile { name, path, text } = found;
        let file = self.files.entry(Arc::clone(&name)).or_default();
        let seen = match &text {
            Ok(text) => Version::of_text(text),
            Err(fault) => Version::of_text(&format!("\0{fault:?}")),
        };
        (file.shown, file.is_gone) = (path.display().to_string(), false);
        if file.seen.replace(seen.clone()) == Some(seen) {
            return;
        }
        let is_main = !name.contains('/');
        let read = if is_main { services_file::read_among_others } else { services_file::read_alone };
        match text.and_then(|text| read(&text)) {
            Ok(instances) => file.wanted = Some(instances),
            Err(fault) => {
                file.wanted = None;
                file.complain(Some(fault.line), fault.words);
            }
        }
    }

    /// Gives the registry the instances of the files that changed or were refused before.
    async fn replace(&mut self, origin: &CallOrigin) {
        let waiting: Vec<Arc<str>> =
            self.files.iter().filter(|(_, file)| file.wanted.is_some()).map(|(name, _)| Arc::clone(name)).collect();
        if waiting.is_empty() {
            return;
        }
        let set = |name: &Arc<str>| {
            let wanted = self.files.get(name).and_then(|file| file.wanted.as_ref());
            let instances = wanted.into_iter().flatten().map(|placed| placed.listed.clone()).collect();
            OwnedSet { owner: Owner::File(Arc::clone(name)), instances, is_whole: true }
        };
        // Together, because an instance may move from one file to another.
        let sets = waiting.iter().map(set).collect();
        match self.registry.call(origin.clone(), PutSets { sets, dry_run: false }).await {
            Ok(outcomes) => waiting.iter().zip(outcomes).for_each(|(name, outcome)| self.note(name, outcome)),
            Err(error) => tracing::warn!(%error, "the services of the files wait"),
        }
    }

    /// Notes the outcome for a file.
    fn note(&mut self, name: &Arc<str>, outcome: SetOutcome) {
        let Some(file) = self.files.get_mut(name) else { return };
        match outcome {
            Ok(changes) => {
                (file.wanted, file.problem) = (None, None);
                changes.iter().for_each(|change| log(name, change));
            }
            Err(refused) => refused.first().into_iter().for_each(|refused| file.refused(refused)),
        }
    }

    /// Shows the faults to operators.
    fn show(&mut self, folder: Option<(String, String)>) {
        let folder = folder.map(|(file, message)| FileProblem { file, line: None, message });
        let known = |problem: &FileProblem| self.problems.contains(problem);
        if let Some(problem) = folder.as_ref().filter(|problem| !known(problem)) {
            tracing::error!(file = problem.file, "{}", problem.message);
        }
        let of_files = self.files.values().filter_map(|file| file.problem.clone());
        self.problems = folder.into_iter().chain(of_files).collect();
        self.registry.set_config_problems("services", &self.problems);
    }
}

impl KnownFile {
    /// Notes that the registry has refused an instance, and with it the file. Its instances stay wanted.
    fn refused(&mut self, refused: &RefusedInstance) {
        let of = |placed: &&PlacedInstance| {
            (&placed.listed.service, &placed.listed.instance) == (&refused.service, &refused.instance)
        };
        let line = self.wanted.iter().flatten().find(of).map(|placed| placed.line);
        self.complain(line, refused.named().to_string());
    }

    /// Shows a fault, and logs it unless it is known.
    fn complain(&mut self, line: Option<usize>, message: String) {
        let line = line.map(|line| u64::try_from(line).unwrap_or(u64::MAX));
        let problem = FileProblem { file: self.shown.clone(), line, message };
        if self.problem.as_ref() != Some(&problem) {
            let FileProblem { file, line, message } = &problem;
            tracing::error!(file, line, "{message}; the last good version of the file goes on serving");
        }
        self.problem = Some(problem);
    }
}

/// Logs a change of an instance of a file, with the entries that changed.
fn log(file: &str, change: &OwnedChange) {
    let (service, instance) = (change.service.as_str(), change.instance.as_str());
    match &change.kind {
        OwnedChangeKind::Created { .. } => tracing::info!(file, service, instance, "added by the file"),
        OwnedChangeKind::Removed => tracing::info!(file, service, instance, "removed by the file"),
        OwnedChangeKind::Changed { revision, total, changes } => {
            let mut listed: Vec<String> = changes.iter().take(LISTED_MAX).map(words).collect();
            if let Some(more) = total.checked_sub(listed.len()).filter(|more| *more > 0) {
                listed.push(format!("and {more} more"));
            }
            tracing::info!(file, service, instance, revision, changes = listed.join("; "), "changed by the file");
        }
    }
}

/// Returns a changed entry in words: `modified routes r1: … -> …`.
fn words(entry: &ConfigChange) -> String {
    let ConfigChange { change, section, target, name, before, after } = entry;
    let name = name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
    let values: Vec<&str> = before.iter().chain(after).map(String::as_str).collect();
    format!("{} {section} {target}{name}: {}", change.word(), values.join(" -> "))
}

/// Finds the files of a configuration and reads their texts.
fn find(config: &ServerConfig) -> FoundFiles {
    let main = config.file().map(|(path, text)| FoundFile {
        name: services_folder::owner_name(None, path),
        path: path.to_owned(),
        text: Ok(text.to_owned()),
    });
    let folder = config.services_folder.as_ref();
    let contents = folder.map(services_folder::read).unwrap_or_default();
    let shown = |fault| Some((folder?.path.display().to_string(), fault));
    FoundFiles { files: main.into_iter().chain(contents.files).collect(), fault: contents.fault.and_then(shown) }
}

/// Checks the files of a configuration without a registry.
///
/// # Errors
/// All faults, each with file and line.
pub(super) fn check(config: &ServerConfig) -> Result<(), String> {
    let FoundFiles { files, fault } = find(config);
    let mut faults: Vec<String> = fault.into_iter().map(|(folder, fault)| format!("{folder}: {fault}")).collect();
    for FoundFile { name, path, text } in files {
        let read = if name.contains('/') { services_file::read_alone } else { services_file::read_among_others };
        if let Err(fault) = text.and_then(|text| read(&text)) {
            faults.push(located(&path, &fault));
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
}

fn located(path: &Path, fault: &FileFault) -> String {
    format!("{}:{fault}", path.display())
}
