//! Reads of revisions: lists, one revision in full, and the revert, which reads a revision before its command is decided.
//!
//! Invariant: a step reads a bounded number of entries.

use std::sync::Arc;

use crate::clock;
use crate::domain::{Catalog, Config, Error, HistoryMark, InstanceName, Kind, ServiceName, Subject};

use crate::registry::audit::CallOrigin;
use crate::registry::calls::RevertRequest;
use crate::registry::commands::decision::AppliedView;
use crate::registry::commands::revert::{ConfigRevert, no_revision};
use crate::registry::ports::{EntriesRead, RevisionsRead, StoreError};
use crate::registry::queries::paging::ListRequest;
use crate::registry::queries::revisions::{RevisionDetailView, RevisionsPage, detail, present};
use crate::registry::revisions::RevisionView;

use super::registry::{QueuedRead, Registry};

/// The number of entries that one step reads.
const ENTRIES_PER_STEP: usize = 4096;

/// The names of an instance, and the mark of its history.
type KnownHistory = ((ServiceName, InstanceName), Option<Arc<HistoryMark>>);

impl Registry {
    /// Returns a page of the revisions of an instance, the latest first.
    ///
    /// # Errors
    /// `NotFound` when there is no such session or instance, `Invalid` for a cursor that this list did not give,
    /// `Unavailable` if the store cannot be read.
    pub async fn revisions(&self, of: &Subject, page: &ListRequest) -> Result<RevisionsPage, Error> {
        let before = page.cursor(|text| text.parse().ok())?.unwrap_or(u64::MAX);
        let (_, mark) = self.history(of)?;
        let Some(mark) = mark else { return Ok(RevisionsPage::from((Vec::new(), None))) };
        let items = self.revision_step(&mark, before, page.limit).await?;
        let next = items.last().filter(|last| items.len() >= page.limit && last.number > mark.oldest);
        let next_cursor = next.map(|last| ListRequest::written(&last.number.to_string()));
        Ok(RevisionsPage { items, next_cursor })
    }

    /// Returns one revision in full, compared with the revision `against`, or with the active configuration.
    ///
    /// # Errors
    /// `NotFound` when there is no such session, instance or revision, `Unavailable` if the store cannot be read.
    pub async fn revision(&self, of: &Subject, number: u64, against: Option<u64>) -> Result<RevisionDetailView, Error> {
        let ((service, instance), mark) = self.history(of)?;
        let mark = mark.ok_or_else(|| no_revision(number, None))?;
        let view = self.revision_step(&mark, number.saturating_add(1), 1).await?.pop();
        let view = view.filter(|view| view.number == number).ok_or_else(|| no_revision(number, Some(&mark)))?;
        let config = self.configuration(&mark, number).await?;
        let base = match against {
            Some(against) => self.configuration(&mark, against).await?,
            None => present(&self.catalog(), &service, &instance)?,
        };
        Ok(self.run_long_read(|| detail(view, &config, against, &base)).await)
    }

    /// Restores a revision, as [`Registry::execute`] executes a command.
    ///
    /// # Errors
    /// `NotFound` when there is no such session, instance or revision, the refusals of an apply, `Refused` when
    /// something is staged, `Unavailable` if the store cannot be read.
    pub async fn revert(&self, origin: CallOrigin, request: RevertRequest) -> Result<AppliedView, Error> {
        let RevertRequest { subject, number, expected, reason } = request;
        self.catalog().subject(&subject)?;
        let (_, mark) = self.history(&subject)?;
        let mark = mark.ok_or_else(|| no_revision(number, None))?;
        let config = self.configuration(&mark, number).await?;
        let history = mark.id;
        self.call(origin, ConfigRevert { subject, number, history, config, expected, reason }).await
    }

    /// Returns the names of an instance, and the mark of its history if it has one. A call of a session counts as
    /// activity.
    fn history(&self, of: &Subject) -> Result<KnownHistory, Error> {
        let catalog = self.catalog();
        let (service, instance) = names(&catalog, of)?;
        let mark = catalog.history_of(&service, &instance).cloned();
        if mark.is_none() && catalog.of_instance(&service, &instance).is_none() {
            return Err(Error::no_instance(&service, &instance));
        }
        Ok(((service, instance), mark))
    }

    async fn revision_step(&self, mark: &HistoryMark, before: u64, most: usize) -> Result<Vec<RevisionView>, Error> {
        let read = RevisionsRead { history: mark.id, before, most };
        self.read_store(|answer| QueuedRead::Revisions(read, answer)).await?.map_err(|error| unreadable(&error))
    }

    /// Returns the configuration of a revision.
    async fn configuration(&self, mark: &HistoryMark, number: u64) -> Result<Config, Error> {
        let mut config = Config::default();
        let mut after = None;
        loop {
            let read = EntriesRead { history: mark.id, number, after, most: ENTRIES_PER_STEP };
            let found = self.read_store(|answer| QueuedRead::Entries(read, answer)).await?;
            let edits = found.map_err(|error| unreadable(&error))?.ok_or_else(|| no_revision(number, Some(mark)))?;
            edits.iter().for_each(|edit| config.edit(edit));
            if edits.len() < ENTRIES_PER_STEP {
                return Ok(config);
            }
            after = edits.into_iter().next_back();
        }
    }
}

fn names(catalog: &Catalog, of: &Subject) -> Result<(ServiceName, InstanceName), Error> {
    match of {
        Subject::Instance(service, instance) => Ok((service.clone(), instance.clone())),
        Subject::Session(id) => {
            let session = catalog.session(id.reveal())?;
            session.last_activity.touch(clock::now());
            Ok((session.record.service.clone(), session.record.instance.clone()))
        }
    }
}

fn unreadable(error: &StoreError) -> Error {
    tracing::error!(%error, "the history cannot be read");
    Error::new(Kind::Unavailable, "the history cannot be read now; try again")
}
