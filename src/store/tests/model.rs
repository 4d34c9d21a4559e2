//! Random changes to a few sessions: a reload gives the same catalog.

use super::*;

/// Something that a client, or time, does to a session.
#[derive(Clone, Debug)]
enum Deed {
    Alter(Box<SessionRecord>),
    Stage(Vec<Edit>),
    Unstage,
    Apply(u8),
    Replace,
    Await(Pending),
    Complete,
    End,
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        1 => samples::altered(samples::record("shop", "x")).prop_map(|record| Deed::Alter(Box::new(record))),
        4 => proptest::collection::vec(samples::edit(1..6), 1..12).prop_map(Deed::Stage),
        1 => Just(Deed::Unstage),
        3 => (1..64_u8).prop_map(Deed::Apply),
        1 => Just(Deed::Apply(63)),
        1 => Just(Deed::Replace),
        2 => samples::pending().prop_map(Deed::Await),
        1 => Just(Deed::Complete),
        1 => Just(Deed::End),
    ]
}

/// Returns the changes of a deed to an instance, as commands decide on them.
fn changes(catalog: &Catalog, instance: &str, deed: Deed) -> Vec<Change> {
    let mut first = samples::record("shop", instance);
    first.id = crate::domain::SessionId::restore(&format!("id-{}", catalog.next_key().0));
    let register = Change::Record(catalog.next_key(), Arc::new(first.clone()));
    let Some(session) = catalog.of_instance(&first.service, &first.instance) else {
        return vec![register];
    };
    let key = session.key;
    let record = |change: &dyn Fn(&mut SessionRecord)| {
        let mut record = SessionRecord::clone(&session.record);
        change(&mut record);
        Change::Record(key, Arc::new(record))
    };
    match deed {
        Deed::Alter(new) => vec![record(&|record| {
            *record = SessionRecord {
                id: record.id.clone(),
                instance: record.instance.clone(),
                next_route: record.next_route,
                ..*new.clone()
            }
        })],
        Deed::Stage(edits) => edits.into_iter().map(|edit| Change::Stage { key, edit, at: Time(0) }).collect(),
        Deed::Unstage => vec![Change::Unstage(key)],
        Deed::Apply(bits) => {
            let picked = Section::ALL.into_iter().filter(|section| bits & (1 << *section as u8) != 0);
            let sections = picked.fold(Sections::default(), |sections, section| sections | section);
            let difference = session.difference();
            let edits = difference.edits().filter(|edit| sections.contains(edit.section())).cloned().collect();
            vec![Change::Apply { key, sections, edits }, record(&|record| record.revision += 1)]
        }
        Deed::Replace => vec![record(&|record| record.replaced = Some(Time(9))), register],
        Deed::Await(pending) => vec![Change::Await(key, Pending { ticket: catalog.next_ticket(), ..pending })],
        Deed::Complete => {
            session.pending.first().map(|pending| Change::Complete(key, pending.ticket)).into_iter().collect()
        }
        Deed::End => vec![Change::End(catalog.replaced_of(&first).unwrap_or(key))],
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn committed_changes_are_loaded(
        batches in proptest::collection::vec(proptest::collection::vec((1..4_u32, deed()), 1..6), 1..12),
    ) {
        run(async {
            let (_directory, path) = file();
            let mut store = open(&path).await;
            let mut catalog = Catalog::default();
            for batch in batches {
                let mut all = Vec::new();
                for (slot, deed) in batch {
                    let decided = changes(&catalog, &format!("shop-{slot}"), deed);
                    for change in &decided {
                        catalog.absorb(change);
                    }
                    all.extend(decided);
                }
                store.commit(&all, &AuditBatch::default(), catalog.revision()).await.unwrap();
                assert_same(&loaded(&mut store).await, &catalog);
            }
            store.close().await;
            assert_same(&loaded(&mut open(&path).await).await, &catalog);
        });
    }
}

#[test]
fn a_route_id_is_not_given_out_again_after_all_of_it_is_gone() {
    run(async {
        let mut store = Sqlite::open("sqlite::memory:").await.unwrap();
        store.commit(&[opened()], &AuditBatch::default(), 1).await.unwrap();
        store.commit(&[staged(1), staged(2), staged(3)], &AuditBatch::default(), 1).await.unwrap();
        let gone = Change::Stage { key: KEY, edit: Edit::Route(RouteId(3), None), at: Time(0) };
        store.commit(&[gone], &AuditBatch::default(), 1).await.unwrap();
        assert_eq!(loaded(&mut store).await.by_key(KEY).unwrap().record.next_route, 4);
        store.commit(&[Change::Unstage(KEY)], &AuditBatch::default(), 1).await.unwrap();
        let catalog = loaded(&mut store).await;
        let session = catalog.by_key(KEY).unwrap();
        assert_eq!((session.record.next_route, session.staged.is_none()), (4, true));
    });
}
