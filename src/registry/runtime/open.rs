//! Opens the registry: restores the catalog from the store and makes the handle and the writer.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{Semaphore, mpsc};

use crate::clock;
use crate::domain::Catalog;

use crate::registry::limits::RegistryLimits;
use crate::registry::ports::{Publish, Store, StoreError, StoredState, Traffic};
use crate::registry::registration_tokens::RegistrationTokens;
use crate::registry::rules::RegistryRules;

use super::audit_log::AuditLog;
use super::deadlines::Deadlines;
use super::event_hub::EventHub;
use super::event_stream::STREAMS_COUNTED_MAX;
use super::large_read_permits::LargeReads;
use super::probe_permits::ProbePermits;
use super::readiness::{self, StoreHealth};
use super::registry::Registry;
use super::snapshot::Snapshots;
use super::sweep::Sweep;
use super::writer::Writer;
use super::writer_counts::WriterCounts;
use super::{clock_skew, large_reads, store_reads};

/// The number of callers that may wait in the writer's queue; further ones wait for room in it.
const MAILBOX_MAX: usize = 1024;

/// Restores what the store kept, and returns the registry and the writer, which has to be run as a task.
///
/// `publisher` gets the restored catalog and its changes first.
///
/// # Errors
/// If the store cannot be read.
pub async fn open<S: Store, P: Publish>(
    mut store: S,
    mut publisher: P,
    traffic: Arc<dyn Traffic>,
    limits: RegistryLimits,
    tokens: RegistrationTokens,
) -> Result<(Registry, Writer<S, P>), StoreError> {
    let loaded = load(&mut store).await?;
    let mut catalog = Catalog::default();
    loaded.changes.iter().for_each(|change| catalog.absorb(change));
    let now = clock::now();
    catalog.resume(loaded.revision, now);
    let (mut deadlines, mut sweep) = (Deadlines::default(), Sweep::default());
    catalog.sessions().for_each(|session| deadlines.set(session.key, Some(session), &limits, now));
    sweep.check(&Catalog::default(), &catalog, &deadlines);
    sweep.check_store(&mut store, &catalog, catalog.sessions().map(|session| session.key)).await;
    let catalog = Arc::new(catalog);
    publisher.publish(&catalog, &loaded.changes);
    let (forbidden, defaults) = (traffic.forbidden(), traffic.default_options());
    let (sender, mailbox) = mpsc::channel(MAILBOX_MAX);
    let (question_sender, store_questions) = readiness::channel();
    let ((read_sender, store_reads), (rules_sender, new_rules)) = (store_reads::channel(), mpsc::channel(1));
    let (snapshots, snapshot_desk) = Snapshots::new();
    let rules = Arc::new(ArcSwap::from_pointee(RegistryRules { limits, tokens, forbidden, defaults }));
    let (published, counts) = (Arc::new(ArcSwap::from(catalog)), Arc::<WriterCounts>::default());
    let hub = Arc::new(EventHub::since(published.load().revision()));
    let registry = Registry {
        mailbox: sender,
        published: Arc::clone(&published),
        traffic: Arc::clone(&traffic),
        hub: Arc::clone(&hub),
        streams: Arc::new(Semaphore::new(STREAMS_COUNTED_MAX)),
        long_turns: Arc::new(Semaphore::new(large_reads::LONG_AT_ONCE_MAX)),
        rules: Arc::clone(&rules),
        new_rules: rules_sender,
        server: Arc::default(),
        started: now,
        large_reads: LargeReads::default(),
        probes: ProbePermits::default(),
        store_questions: question_sender,
        counts: Arc::clone(&counts),
        calls: Arc::default(),
        snapshots,
        store_reads: read_sender,
        guards: Arc::default(),
    };
    Ok((
        registry,
        Writer {
            store,
            publisher,
            mailbox,
            store_questions,
            store_health: StoreHealth::default(),
            published,
            hub,
            traffic,
            deadlines,
            rules,
            new_rules,
            sweep,
            departed_late: None,
            counts,
            audit_last: loaded.audit_last,
            audit_log: AuditLog::default(),
            snapshots: snapshot_desk,
            store_reads,
        },
    ))
}

/// Reads the store, with its times moved to the present clock.
async fn load<S: Store>(store: &mut S) -> Result<StoredState, StoreError> {
    let mut loaded = store.load().await?;
    let reading = clock::reading();
    let skew_ms = reading.skew_since(&loaded.reading, clock_skew::latest(&loaded.changes));
    clock_skew::move_by(&mut loaded.changes, skew_ms);
    store.begin(&reading, skew_ms).await?;
    Ok(loaded)
}
