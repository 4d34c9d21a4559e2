//! The ports of the registry: traits for the store, the publication to the routing table, and traffic.
//!
//! Tests implement them with their own types.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use crate::clock::Reading;
use crate::domain::{Catalog, Change, Edit, Forbidden, Options, PageUrl, RouteId, SessionKey, Span, Time};

use super::audit::{AuditFilter, AuditRecord};
use super::queries::traffic_totals::TrafficTotals;
use super::queries::views::{BreakerNumbers, RouteNumbers};
use super::revisions::{RevisionRecord, RevisionView};

/// A future that a port returns.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The store, which keeps changes.
pub trait Store: Send + 'static {
    /// Returns everything that is stored, as changes for an empty catalog, with the revision.
    ///
    /// # Errors
    /// If the stored data cannot be read or understood.
    fn load(&mut self) -> impl Future<Output = Result<StoredState, StoreError>> + Send;

    /// Moves all stored times by `skew_ms`, and stores the readings of the clocks at this start.
    ///
    /// # Errors
    /// If they cannot be stored.
    fn begin(&mut self, reading: &Reading, skew_ms: i64) -> impl Future<Output = Result<(), StoreError>> + Send {
        let _ = (reading, skew_ms);
        async { Ok(()) }
    }

    /// Stores `changes`, the records of `audit` and `revision`, all or nothing: after an error nothing of them is stored.
    /// Revisions that are no longer kept are removed.
    /// If one of the changes [is precious](Change::is_precious), all survive a loss of power once this returns. Changes
    /// that [are not stored](Change::is_stored) are skipped. Removes a few records of the audit that are out of its
    /// bounds.
    ///
    /// # Errors
    /// If they cannot be stored now.
    fn commit(
        &mut self,
        changes: &[Change],
        audit: &AuditBatch,
        revision: u64,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Reads some records of the audit. Quick, whatever the number of records.
    ///
    /// # Errors
    /// If they cannot be read.
    fn read_audit(&mut self, read: &AuditRead) -> impl Future<Output = Result<AuditChunk, StoreError>> + Send {
        let _ = read;
        async { Ok(AuditChunk::default()) }
    }

    /// Reads some revisions of an instance, the latest first. Quick, because few are kept.
    ///
    /// # Errors
    /// If they cannot be read.
    fn read_revisions(
        &mut self,
        read: &RevisionsRead,
    ) -> impl Future<Output = Result<Vec<RevisionView>, StoreError>> + Send {
        let _ = read;
        async { Ok(Vec::new()) }
    }

    /// Reads some entries of the configuration of a revision, in their order in the store; `None` if the revision is not
    /// kept.
    ///
    /// # Errors
    /// If they cannot be read.
    fn read_entries(
        &mut self,
        read: &EntriesRead,
    ) -> impl Future<Output = Result<Option<Vec<Edit>>, StoreError>> + Send {
        let _ = read;
        async { Ok(None) }
    }

    /// Compares what is stored with `catalog`: the counts, and the rows of the sessions `keys`, which may have ended.
    /// Returns the first difference. Debug and test builds call it after commits.
    fn disagreement(
        &mut self,
        catalog: &Catalog,
        keys: &BTreeSet<SessionKey>,
    ) -> impl Future<Output = Option<String>> + Send {
        let _ = (catalog, keys);
        async { None }
    }

    /// Tests that changes can be stored now. It may write, but leaves the stored data as it is.
    ///
    /// # Errors
    /// If changes cannot be stored.
    fn probe(&mut self) -> impl Future<Output = Result<(), StoreError>> + Send {
        async { Ok(()) }
    }

    /// Checks that the stored data is still in its place. Quick.
    ///
    /// # Errors
    /// If it is not.
    fn look(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Holds the file of the stored data still, so that it can be copied while commits go on beside it. `None` if the data
    /// is in memory only.
    ///
    /// # Errors
    /// If the file cannot be brought up to date.
    fn hold(&mut self) -> impl Future<Output = Result<Option<HeldFile>, StoreError>> + Send {
        async { Ok(None) }
    }

    /// Lets commits change the file again. Returns true if nothing has changed it since [`Store::hold`].
    fn release(&mut self) -> impl Future<Output = bool> + Send {
        async { false }
    }

    /// Returns true once the stored data and the given answers may differ. Only a restart reconciles them.
    fn has_diverged(&self) -> bool {
        false
    }

    /// Closes the store in good order.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// The state that a store kept.
#[derive(Debug, Default)]
pub struct StoredState {
    /// The revision at the last commit.
    pub revision: u64,
    /// Sessions (replaced ones before those that replaced them), active configurations, staged ones.
    pub changes: Vec<Change>,
    /// The clocks at the last start; empty if they are not known.
    pub reading: Reading,
    /// The number of the last record of the audit; 0 if there is none.
    pub audit_last: u64,
}

/// The file of the stored data while it is held still.
#[derive(Clone, Debug)]
pub struct HeldFile {
    /// The open file. It must be read at positions, because its clones share one.
    pub file: Arc<File>,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its path.
    pub path: PathBuf,
}

/// The records of a commit: those of the audit with its bounds, and new revisions.
#[derive(Clone, Debug, Default)]
pub struct AuditBatch {
    /// The new records, by their numbers.
    pub records: Vec<AuditRecord>,
    /// Records with a lower number go.
    pub keep_from: u64,
    /// Records from before this time go.
    pub keep_since: Time,
    /// The new revisions, in their order.
    pub revisions: Vec<RevisionRecord>,
}

/// A request for some revisions of an instance, the latest first.
#[derive(Clone, Copy, Debug)]
pub struct RevisionsRead {
    /// The number of the history.
    pub history: u64,
    /// Only revisions with a lower number.
    pub before: u64,
    /// The largest number of revisions.
    pub most: usize,
}

/// A request for some entries of the configuration of a revision.
#[derive(Clone, Debug)]
pub struct EntriesRead {
    /// The number of the history.
    pub history: u64,
    /// The revision.
    pub number: u64,
    /// The entry after which the search begins; `None` for the first step.
    pub after: Option<Edit>,
    /// The largest number of entries.
    pub most: usize,
}

/// A request for some records of the audit, the latest first.
#[derive(Clone, Debug)]
pub struct AuditRead {
    /// The records to select.
    pub filter: AuditFilter,
    /// Only records with a lower number.
    pub before: u64,
    /// The largest number of records.
    pub most: usize,
}

/// Some records of the audit, the latest first.
#[derive(Clone, Debug, Default)]
pub struct AuditChunk {
    /// The records.
    pub records: Vec<AuditRecord>,
    /// The number before which the search goes on; `None` if there is nothing before.
    pub before: Option<u64>,
}

/// A store's failure. The text is for the log; clients are told that the registry is unavailable.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StoreError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// The publisher, which shows changes to traffic before they are answered.
pub trait Publish: Send + 'static {
    /// Takes over `changes`, which lead from the catalog before to `catalog`. Must be quick, because the writer waits.
    fn publish(&mut self, catalog: &Arc<Catalog>, changes: &[Change]);

    /// Shows the whole catalog again, because settings outside of it have changed.
    fn publish_anew(&mut self, catalog: &Arc<Catalog>) {
        let _ = catalog;
    }
}

/// Traffic: its observations, and the pages that it can fetch. The default methods observe nothing and reach no page.
pub trait Traffic: Send + Sync + 'static {
    /// Returns a route's statistics since it has its present backend.
    fn numbers(&self, session: SessionKey, route: RouteId) -> RouteNumbers {
        let _ = (session, route);
        RouteNumbers::default()
    }

    /// Returns the counts of all active routes together. It looks at every route.
    fn totals(&self) -> TrafficTotals {
        TrafficTotals::default()
    }

    /// Returns the state of a route's breaker and the health of its backend.
    fn breaker(&self, session: SessionKey, route: RouteId) -> BreakerNumbers {
        let _ = (session, route);
        BreakerNumbers::default()
    }

    /// Closes a route's circuit breaker and forgets what it counted.
    fn reset_breaker(&self, session: SessionKey, route: RouteId) {
        let _ = (session, route);
    }

    /// Returns the names of the parts that carry or check traffic and have not moved for more than a second.
    fn silent_parts(&self) -> Vec<String> {
        Vec::new()
    }

    /// Returns the number of requests and tunnels of a session under way.
    fn in_flight(&self, session: SessionKey) -> u64 {
        let _ = session;
        0
    }

    /// Returns the addresses that the server never connects to. Called once.
    fn forbidden(&self) -> Forbidden {
        Forbidden::default()
    }

    /// Returns the options that act where neither the route nor its session sets any. Called once.
    fn default_options(&self) -> Options {
        Options::default()
    }

    /// Reports that the backends of routes have just answered, so that the routes serve at once.
    fn vouch(&self, session: SessionKey, routes: &[RouteId]) {
        let _ = (session, routes);
    }

    /// Fetches a page for a session, without following redirects, and reads at most 64 KiB of it. The error is fit for
    /// the client.
    fn get<'a>(
        &'a self,
        session: SessionKey,
        page: &'a PageUrl,
        timeout: Span,
        trust: PageTrust,
    ) -> BoxFuture<'a, Result<PageResponse, String>> {
        let _ = (session, page, timeout, trust);
        Box::pin(async { Err("nobody answers".to_owned()) })
    }
}

/// The policy for a page whose server has an invalid certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PageTrust {
    /// The page is not fetched.
    Required,
    /// The page is fetched nevertheless, and [`PageResponse::tls_valid`] is false.
    Reported,
    /// The page is fetched like a health check of this route, with its `Host` and method. The certificate is treated as
    /// for requests to this route.
    AsRoute(SessionKey, RouteId),
}

/// The response for a fetched page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageResponse {
    /// The status code.
    pub status: u16,
    /// The time from the start of the connection to the end of the response head.
    pub took: Span,
    /// True if the certificate is trusted and is the host's; false without TLS.
    pub tls_valid: bool,
}
