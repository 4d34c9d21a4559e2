//! Tests of readiness, with faults of the store and of traffic.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::streams::register;
use crate::domain::{Catalog, Change};
use crate::lifecycle::Lifecycle;
use crate::registry::{
    AuditBatch, Publish, RegistrationTokens, Registry, RegistryLimits, Store, StoreError, StoredState, Traffic, open,
};

/// The faults that a test can switch on while the registry runs.
#[derive(Clone, Default)]
struct Faults(Arc<Flags>);

#[derive(Default)]
struct Flags {
    /// Commits never end.
    stuck: AtomicBool,
    /// Nothing can be written.
    full: AtomicBool,
    /// A worker and the health checker do not move.
    still: AtomicBool,
}

impl Faults {
    fn has(flag: &AtomicBool) -> bool {
        flag.load(Ordering::SeqCst)
    }

    async fn start(&self) -> (Registry, Lifecycle) {
        let traffic = Arc::new(self.clone());
        let opened =
            open(self.clone(), self.clone(), traffic, RegistryLimits::default(), RegistrationTokens::default()).await;
        let (registry, writer) = opened.unwrap();
        let core = Lifecycle::new();
        core.spawn("writer", writer.run(core.stopping().clone()));
        (registry, core)
    }
}

impl Store for Faults {
    async fn load(&mut self) -> Result<StoredState, StoreError> {
        Ok(StoredState::default())
    }

    async fn commit(&mut self, _: &[Change], _: &AuditBatch, _: u64) -> Result<(), StoreError> {
        if Self::has(&self.0.stuck) {
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn probe(&mut self) -> Result<(), StoreError> {
        if Self::has(&self.0.full) { Err(StoreError("the disk is full".into())) } else { Ok(()) }
    }

    async fn close(self) {}
}

impl Publish for Faults {
    fn publish(&mut self, _: &Arc<Catalog>, _: &[Change]) {}
}

impl Traffic for Faults {
    fn silent_parts(&self) -> Vec<String> {
        let names = if Self::has(&self.0.still) { &["worker 1", "the checker"][..] } else { &[] };
        names.iter().map(|name| (*name).to_owned()).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_part_that_does_not_move_a_full_disk_and_a_writer_that_hangs_are_each_told() {
    let faults = Faults::default();
    let (registry, core) = faults.start().await;
    assert_eq!(registry.readiness().await, Ok(()));
    faults.0.still.store(true, Ordering::SeqCst);
    let still = ["worker 1 does not move", "the checker does not move"].map(str::to_owned);
    assert_eq!(registry.readiness().await, Err(still.to_vec()));
    faults.0.still.store(false, Ordering::SeqCst);
    assert_eq!(registry.readiness().await, Ok(()), "it moves again");
    faults.0.stuck.store(true, Ordering::SeqCst);
    let caller = registry.clone();
    core.spawn_one("caller", async move { drop(register(&caller, "shop-1").await) });
    let mut ready = registry.readiness().await;
    while ready.is_ok() {
        tokio::task::yield_now().await;
        ready = registry.readiness().await;
    }
    assert_eq!(ready, Err(vec!["the writer does not answer".to_owned()]));
    registry.announce_shutdown();
    assert_eq!(registry.readiness().await, Err(vec!["the server is stopping".to_owned()]));
}

#[tokio::test]
async fn a_store_that_takes_nothing_is_told_until_it_does_again() {
    let faults = Faults::default();
    faults.0.full.store(true, Ordering::SeqCst);
    let (registry, _core) = faults.start().await;
    assert_eq!(registry.readiness().await, Err(vec!["nothing can be stored now; the log says why".to_owned()]));
    faults.0.full.store(false, Ordering::SeqCst);
    // The store is tried once a second at most.
    while registry.readiness().await.is_err() {
        tokio::task::yield_now().await;
    }
}
