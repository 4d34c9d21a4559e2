//! Records of the audit: they come back as they were, live and die with their changes, and are bounded.

use super::*;
use crate::domain::{InstanceName, OperatorName, ServiceName};
use crate::registry::audit::{
    Actor, ActorFilter, ActorKind, AuditAction, AuditDetails, AuditFilter, AuditRecord, Interface,
};
use crate::registry::{AuditChunk, AuditRead};

fn record(sequence: u64) -> AuditRecord {
    AuditRecord {
        sequence,
        at: Time(1_000 * sequence),
        action: AuditAction::Registered,
        service_name: Some(ServiceName::parse("sh\"op';drop").unwrap()),
        instance_name: Some(InstanceName::parse("shop-1").unwrap()),
        actor: Actor { kind: ActorKind::Operator, name: OperatorName::unnamed().to_string() },
        interface: Interface::Rest,
        address: Some("2001:db8::1".parse().unwrap()),
        revision: Some(3),
        details: AuditDetails { routes_added: Some(2), until: Some(Time(5_000)), ..AuditDetails::default() },
    }
}

fn batch(numbers: std::ops::RangeInclusive<u64>) -> AuditBatch {
    AuditBatch { records: numbers.map(record).collect(), ..AuditBatch::default() }
}

async fn read(store: &mut Sqlite, filter: AuditFilter, before: u64, most: usize) -> AuditChunk {
    store.read_audit(&AuditRead { filter, before, most }).await.unwrap()
}

async fn numbers(store: &mut Sqlite, filter: AuditFilter) -> Vec<u64> {
    read(store, filter, u64::MAX, 100).await.records.iter().map(|record| record.sequence).collect()
}

#[test]
fn records_come_back_as_they_were_the_latest_first() {
    run(async {
        let (_directory, path) = file();
        let mut store = open(&path).await;
        let mut of_server = record(2);
        (of_server.service_name, of_server.instance_name, of_server.address) = (None, None, None);
        of_server.revision = None;
        let audit = AuditBatch { records: vec![record(1), of_server.clone()], ..AuditBatch::default() };
        store.commit(&[opened()], &audit, 1).await.unwrap();
        store.close().await;
        let mut store = open(&path).await;
        assert_eq!(store.load().await.unwrap().audit_last, 2);
        let chunk = read(&mut store, AuditFilter::default(), u64::MAX, 10).await;
        assert_eq!((chunk.records, chunk.before), (vec![of_server, record(1)], None));
        sql(&mut store, "update audit set action = 'x' where sequence = 1").await;
        let all = AuditRead { filter: AuditFilter::default(), before: u64::MAX, most: 10 };
        let error = store.read_audit(&all).await.unwrap_err().to_string();
        assert!(error.contains("table audit, sequence 1"), "{error}");
    });
}

#[test]
fn a_commit_that_fails_leaves_neither_the_change_nor_its_record() {
    run(async {
        let mut store = Sqlite::open("sqlite::memory:").await.unwrap();
        store.commit(&[opened()], &batch(1..=1), 1).await.unwrap();
        // Another session with the same id.
        let clash = Change::Record(SessionKey(2), Arc::new(samples::record("shop", "shop-1")));
        store.commit(&[clash], &batch(2..=2), 2).await.unwrap_err();
        assert_eq!(numbers(&mut store, AuditFilter::default()).await, [1]);
        store.commit(&[staged(1)], &batch(2..=2), 2).await.unwrap();
        store.commit(&[], &batch(3..=3), 2).await.unwrap();
        assert_eq!(numbers(&mut store, AuditFilter::default()).await, [3, 2, 1]);
    });
}

#[test]
fn old_records_go_in_small_steps() {
    run(async {
        let mut store = Sqlite::open("sqlite::memory:").await.unwrap();
        store.commit(&[], &batch(1..=1_000), 1).await.unwrap();
        let bounded = |number, keep_from, keep_since| AuditBatch {
            records: vec![record(number)],
            keep_from,
            keep_since: Time(keep_since),
            ..AuditBatch::default()
        };
        store.commit(&[], &bounded(1_001, 900, 0), 1).await.unwrap();
        assert_eq!(number(&mut store, "select min(sequence) from audit").await, 66, "65 at once");
        for next in 1_002..1_030 {
            store.commit(&[], &bounded(next, 900, 0), 1).await.unwrap();
        }
        assert_eq!(number(&mut store, "select min(sequence) from audit").await, 900);
        store.commit(&[], &bounded(1_030, 0, 950_000), 1).await.unwrap();
        assert_eq!(number(&mut store, "select min(sequence) from audit").await, 950);
        store.commit(&[staged(1)], &AuditBatch { keep_from: 2_000, ..AuditBatch::default() }, 1).await.unwrap();
        assert_eq!(number(&mut store, "select min(sequence) from audit").await, 950, "staging removes nothing");
    });
}

#[test]
fn filters_select_and_a_read_looks_at_a_bounded_number_of_rows() {
    run(async {
        let mut store = Sqlite::open("sqlite::memory:").await.unwrap();
        let mut audit = batch(1..=5_000);
        for record in &mut audit.records {
            match record.sequence {
                10 => record.action = AuditAction::Applied,
                4_990 => record.service_name = Some(ServiceName::parse("pay").unwrap()),
                4_991 => record.actor = Actor { kind: ActorKind::Operator, name: "ann".to_owned() },
                4_992 => record.actor = Actor::server(),
                _ => {}
            }
        }
        store.commit(&[], &audit, 1).await.unwrap();
        let none = AuditFilter::default;
        let pay = AuditFilter { service: Some(ServiceName::parse("pay").unwrap()), ..none() };
        assert_eq!(numbers(&mut store, pay).await, [4_990]);
        let of = |text| AuditFilter { actor: Some(ActorFilter::read(text).unwrap()), ..none() };
        assert_eq!(numbers(&mut store, of("operator:ann")).await, [4_991]);
        assert_eq!(numbers(&mut store, of("server")).await, [4_992]);
        let since = AuditFilter { since: Some(Time(4_999_000)), ..none() };
        assert_eq!(numbers(&mut store, since).await, [5_000, 4_999]);
        let until = AuditFilter { until: Some(Time(2_000_000)), ..none() };
        assert_eq!(numbers(&mut store, until).await.first(), Some(&2_000));
        let applied = AuditFilter { action: Some(AuditAction::Applied), ..none() };
        let first = read(&mut store, applied.clone(), u64::MAX, 10).await;
        assert_eq!((first.records.len(), first.before), (0, Some(905)), "it goes on later");
        let rest = read(&mut store, applied, 905, 10).await;
        assert_eq!((rest.records.len(), rest.before), (1, None));
        let page = read(&mut store, none(), u64::MAX, 2).await;
        assert_eq!((page.records.len(), page.before), (2, Some(4_999)));
    });
}
