//! The task that gets certificates: it follows the routing table, starts what is due, and takes in what has ended.
//!
//! Invariants: attempts run side by side inside this one task, and a panic in one fails that one only; a certificate
//! is served before it is kept, so that a full disk does not stop renewal; new settings end all attempts in flight,
//! which go on under them.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::folder::{AcmeFolder, FolderError};
use super::order::{Authority, Issued};
use super::plan::{ChallengeKind, FailedAttempt, Job, NamePlan, NameStatus, RenewalWindow, Validity, Work, wanted};
use super::proofs::ProofPlaces;
use super::record_turns::RecordTurns;
use super::settings::AcmeSettings;
use crate::certificates::{Certificates, HttpChallenges, ServedCertificate};
use crate::connect::{BackendTls, NameLookup};
use crate::domain::{Host, Span, Time};
use crate::traffic::RoutingTable;
use crate::{clock, random};

/// The time from a change of the routing table until it is read. Further changes come together with it.
const QUIET: Duration = Duration::from_millis(500);
/// The time from a change of a name's state until it is told.
const NEWS_QUIET: Duration = Duration::from_millis(200);
/// The longest time until it looks again at what is due. The system clock may be set meanwhile.
const LOOK_AGAIN: Duration = Duration::from_mins(1);

/// The parts of the server that getting certificates needs.
#[derive(Clone, Debug)]
pub struct AcmeParts {
    /// The folder for accounts, keys and certificates; `None` if the server keeps nothing.
    pub folder: Option<PathBuf>,
    /// The routing table, whose domains get certificates.
    pub table: Arc<ArcSwap<RoutingTable>>,
    /// Notified after each change of the routing table.
    pub changed: Arc<Notify>,
    /// The certificates that are served.
    pub certificates: Certificates,
    /// The tokens that the plain HTTP port answers.
    pub tokens: HttpChallenges,
}

/// Certificates from an authority. Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub struct Acme {
    parts: AcmeParts,
    plan: Arc<Mutex<NamePlan>>,
    /// Notified after each change of a name's state.
    news: Arc<Notify>,
    authority: watch::Sender<Option<Arc<Authority>>>,
}

/// The reason why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AcmeError {
    /// There is no folder.
    #[error("acme: keys and certificates need a place that lasts; set store.url to a file")]
    NoFolder,
    /// The folder cannot be used.
    #[error("acme: keys and certificates cannot be kept: {0}")]
    Folder(#[from] FolderError),
    /// The authorities of the directory's certificate cannot be used.
    #[error("acme.ca: {0}")]
    Ca(String),
}

/// The end of a piece of work.
struct Done {
    name: Host,
    result: WorkResult,
}

enum WorkResult {
    Order(Result<Issued, FailedAttempt>),
    Window(Result<Option<(RenewalWindow, Span)>, FailedAttempt>),
}

impl Acme {
    /// Creates the part without settings: nothing is done.
    pub fn new(parts: AcmeParts) -> Self {
        Self { parts, plan: Arc::default(), news: Arc::default(), authority: watch::Sender::new(None) }
    }

    /// Takes new settings; `None` to get no certificates. The first time, the kept certificates are served from now on.
    ///
    /// # Errors
    /// If the settings cannot be used. Then nothing has changed.
    pub fn configure(&self, settings: Option<AcmeSettings>) -> Result<(), AcmeError> {
        let current = self.authority.borrow().clone();
        if settings.as_ref() == current.as_ref().map(|authority| &*authority.settings) {
            return Ok(());
        }
        let Some(settings) = settings else {
            self.authority.send_replace(None);
            return Ok(());
        };
        let path = self.parts.folder.as_ref().ok_or(AcmeError::NoFolder)?;
        let folder = AcmeFolder::open(path)?;
        let tls = BackendTls::trusting_also(settings.ca.as_deref()).map_err(AcmeError::Ca)?;
        let places = ProofPlaces {
            tokens: self.parts.tokens.clone(),
            certificates: self.parts.certificates.clone(),
            records: RecordTurns::default(),
        };
        if current.is_none() {
            self.lock().set_directory(&settings.directory);
            self.serve_kept(&folder);
        }
        let authority = Authority::new(Arc::new(settings), folder, places, NameLookup::system(), tls);
        self.authority.send_replace(Some(Arc::new(authority)));
        Ok(())
    }

    /// Returns the state of each name that needs a certificate, by name.
    pub fn statuses(&self) -> Vec<NameStatus> {
        if self.authority.borrow().is_none() { Vec::new() } else { self.lock().statuses() }
    }

    /// Waits until the state of a name has changed, and a moment longer, so that many changes are one.
    pub async fn changed(&self) {
        self.news.notified().await;
        sleep(NEWS_QUIET).await;
    }

    /// Gets and renews certificates until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut authorities = self.authority.subscribe();
        loop {
            let authority = authorities.borrow_and_update().clone();
            if let Some(authority) = &authority {
                self.lock().set_directory(&authority.settings.directory);
            }
            let under_these = async {
                match authority {
                    Some(authority) => self.run_under(&authority).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                // The sender lives in `self`.
                _ = authorities.changed() => {}
                () = under_these => {}
            }
            self.lock().stop_all();
            self.news.notify_one();
        }
    }

    /// Serves the certificates that are kept, and takes in their names.
    fn serve_kept(&self, folder: &AcmeFolder) {
        let mut served = Vec::new();
        for stored in folder.names() {
            let certificate = stored.certificate.and_then(|pem| {
                let read = read_certificate(&stored.name, &pem);
                read.inspect_err(|why| tracing::warn!(name = %stored.name, why, "a kept certificate cannot be used"))
                    .ok()
            });
            let validity = certificate.as_ref().map(validity);
            self.lock().restore(stored.name.clone(), stored.record, validity);
            served.extend(certificate.map(|certificate| (stored.name, certificate)));
        }
        self.parts.certificates.set_obtained(served);
    }

    async fn run_under(&self, authority: &Arc<Authority>) {
        let mut running: FuturesUnordered<BoxFuture<'_, Done>> = FuturesUnordered::new();
        // The wait before the table is read, if it has changed.
        let mut quiet = FuturesUnordered::new();
        self.follow_table(authority);
        loop {
            while let Some(job) = self.start_next() {
                running.push(work(authority, job).boxed());
            }
            tokio::select! {
                Some(done) = running.next() => self.take_in(authority, done),
                () = self.parts.changed.notified(), if quiet.is_empty() => quiet.push(sleep(QUIET)),
                Some(()) = quiet.next() => self.follow_table(authority),
                () = sleep(self.time_until_due()) => self.forget_stale(authority),
            }
        }
    }

    fn start_next(&self) -> Option<Job> {
        let job = self.lock().start_next(now())?;
        self.news.notify_one();
        Some(job)
    }

    /// Sets the names that need a certificate.
    fn follow_table(&self, authority: &Authority) {
        let table = self.parts.table.load_full();
        let names: BTreeSet<Host> = wanted(table.hosts(), &authority.settings.domains);
        if self.lock().set_wanted(&names) {
            self.news.notify_one();
        }
    }

    fn time_until_due(&self) -> Duration {
        let due = self.lock().next_due();
        due.map_or(LOOK_AGAIN, |due| due.since(now()).std().clamp(Duration::from_millis(100), LOOK_AGAIN))
    }

    fn forget_stale(&self, authority: &Authority) {
        let stale = self.lock().forget_stale(now());
        for name in &stale {
            authority.folder.forget(name);
            self.parts.certificates.remove_obtained(name);
        }
    }

    fn take_in(&self, authority: &Authority, Done { name, result }: Done) {
        let chance = random::seed();
        self.news.notify_one();
        match result {
            WorkResult::Window(answer) => {
                if let Err(failure) = &answer {
                    tracing::debug!(%name, error = failure.words, "the authority told no renewal window");
                }
                let record = self.lock().answered(&name, &answer, now(), chance).cloned();
                record.map(|record| authority.folder.keep_record(&name, &record));
            }
            WorkResult::Order(Ok(issued)) => match self.serve(authority, &name, &issued) {
                Ok(validity) => self.note_obtained(authority, &name, validity, issued.worked, chance),
                Err(failure) => self.note_failure(authority, &name, &failure, chance),
            },
            WorkResult::Order(Err(failure)) => self.note_failure(authority, &name, &failure, chance),
        }
    }

    /// Serves and keeps a certificate.
    fn serve(&self, authority: &Authority, name: &Host, issued: &Issued) -> Result<Validity, FailedAttempt> {
        let failure = |words: String| FailedAttempt::new(&words, None);
        let certificate = read_certificate(name, issued.pem.as_bytes()).map_err(|why| {
            authority.folder.forget_order(name);
            failure(format!("the certificate cannot be used: {why}"))
        })?;
        let validity = validity(&certificate);
        self.parts.certificates.set_obtained([(name.clone(), certificate)]);
        let kept = authority.folder.keep_certificate(name, &issued.pem);
        kept.map_err(|error| failure(format!("the certificate is served but cannot be kept: {error}")))?;
        authority.folder.forget_order(name);
        Ok(validity)
    }

    fn note_obtained(
        &self,
        authority: &Authority,
        name: &Host,
        validity: Validity,
        worked: Option<ChallengeKind>,
        chance: u64,
    ) {
        let record = self.lock().obtained(name, validity, worked, now(), chance).cloned();
        tracing::info!(%name, expires = %validity.to, "obtained a certificate");
        let kept = record.map_or(Ok(()), |record| authority.folder.keep_record(name, &record));
        if let Err(error) = kept {
            tracing::error!(%name, %error, "the time of the renewal cannot be kept");
        }
    }

    fn note_failure(&self, authority: &Authority, name: &Host, failure: &FailedAttempt, chance: u64) {
        let (record, next) = {
            let mut plan = self.lock();
            let record = plan.failed(name, failure, now(), chance).cloned();
            (record, plan.next_attempt(name))
        };
        let next = next.map(|next| next.to_string()).unwrap_or_default();
        tracing::warn!(%name, error = failure.words, next, "no certificate was obtained");
        let kept = record.map_or(Ok(()), |record| authority.folder.keep_record(name, &record));
        if let Err(error) = kept {
            tracing::error!(%name, %error, "the time of the next attempt cannot be kept");
        }
    }

    fn lock(&self) -> MutexGuard<'_, NamePlan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does a piece of work. A panic counts as a failure.
async fn work(authority: &Authority, Job { name, work }: Job) -> Done {
    let doing = async {
        match work {
            Work::Order { failures, worked } => WorkResult::Order(authority.obtain(&name, failures, worked).await),
            Work::AskWindow => WorkResult::Window(authority.ask_window(&name).await),
        }
    };
    let result = AssertUnwindSafe(doing).catch_unwind().await.unwrap_or_else(|_| {
        let failure = FailedAttempt::new(&"internal error; the log has more", None);
        match work {
            Work::Order { .. } => WorkResult::Order(Err(failure)),
            Work::AskWindow => WorkResult::Window(Err(failure)),
        }
    });
    Done { name, result }
}

/// Reads a private key and chain, which must be for `name`.
fn read_certificate(name: &Host, pem: &[u8]) -> Result<ServedCertificate, String> {
    let certificate = ServedCertificate::from_pem(pem, pem)?;
    if certificate.facts.names.contains(name) { Ok(certificate) } else { Err(format!("it is not for {name}")) }
}

fn validity(certificate: &ServedCertificate) -> Validity {
    Validity { from: certificate.facts.not_before, to: certificate.facts.not_after }
}

/// Returns the time by the system clock, which the dates in certificates and files are in.
fn now() -> Time {
    clock::wall_time(clock::now())
}
