//! The rows of maintenance: only differences are written.

use super::*;

type Redress<'a> = &'a dyn Fn(&mut Maintenance);

/// Changes the maintenance and returns the session's record with it.
fn maintained(maintenance: &mut Maintenance, change: impl FnOnce(&mut Maintenance)) -> Change {
    change(maintenance);
    Change::Record(
        KEY,
        Arc::new(SessionRecord { maintenance: maintenance.clone(), ..samples::record("shop", "shop-1") }),
    )
}

fn entry(at: u64) -> MaintenanceEntry {
    MaintenanceEntry {
        page: Some(PageUrl::parse("http://p:8000/sorry").unwrap()),
        entered: Time(at),
        by_operator: false,
    }
}

/// Returns the number of rows that this connection has written or deleted.
async fn rows_changed(store: &mut Sqlite) -> i64 {
    number(store, "select total_changes()").await
}

#[test]
fn a_head_writes_of_its_maintenance_what_changed() {
    run(async {
        let (_directory, path) = file();
        let mut store = open(&path).await;
        let mut maintenance = Maintenance::default();
        let (head_and_revision, routes) = (2, (1..=1_000).map(RouteId).map(Target::Route));
        let all = maintained(&mut maintenance, |all| routes.for_each(|route| all.enter(route, entry(1))));
        store.commit(&[all], &AuditBatch::default(), 1).await.unwrap();
        store.close().await;
        let mut store = open(&path).await;
        store.load().await.unwrap();
        let [first, new] = [1, 1_001].map(RouteId).map(Target::Route);
        let deeds: [(i64, Redress<'_>); 6] = [
            (0, &|_| ()),
            (1, &|all| all.enter(new, entry(2))),
            (1, &|all| all.enter(new, entry(3))),
            (1, &|all| all.exit(first)),
            (0, &|_| ()),
            (1_001, &|all| all.enter(Target::All, entry(4))),
        ];
        for (rows, deed) in deeds {
            let before = rows_changed(&mut store).await;
            let record = maintained(&mut maintenance, deed);
            store.commit(&[record], &AuditBatch::default(), 1).await.unwrap();
            assert_eq!(rows_changed(&mut store).await - before, rows + head_and_revision);
            assert_eq!(loaded(&mut store).await.by_key(KEY).unwrap().record.maintenance, maintenance);
        }
    });
}

#[test]
fn maintenance_whose_commit_failed_is_written_by_the_next() {
    run(async {
        let mut store = Sqlite::open("sqlite::memory:").await.unwrap();
        let mut maintenance = Maintenance::default();
        let [one, two] = [1, 2].map(RouteId).map(Target::Route);
        store
            .commit(&[maintained(&mut maintenance, |all| all.enter(one, entry(1)))], &AuditBatch::default(), 1)
            .await
            .unwrap();
        let second = maintained(&mut maintenance, |all| {
            all.exit(one);
            all.enter(two, entry(2));
        });
        // This session has the id of the first one, which is not allowed.
        let clash = Change::Record(SessionKey(2), Arc::new(samples::record("shop", "shop-1")));
        store.commit(&[second.clone(), clash.clone()], &AuditBatch::default(), 2).await.unwrap_err();
        store.commit(&[Change::End(KEY), clash.clone(), opened()], &AuditBatch::default(), 2).await.unwrap_err();
        store.commit(&[second], &AuditBatch::default(), 2).await.unwrap();
        assert_eq!(loaded(&mut store).await.by_key(KEY).unwrap().record.maintenance, maintenance);
        store.commit(&[Change::End(KEY), clash], &AuditBatch::default(), 3).await.unwrap();
        assert_eq!(number(&mut store, "select count(*) from maintenance").await, 0);
    });
}

#[test]
fn a_file_of_the_version_before_keeps_its_maintenance() {
    run(async {
        let (_directory, path) = file();
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
        let mut old = options.connect().await.unwrap();
        super::open::MIGRATOR.run_to(2, &mut old).await.unwrap();
        let text = r#"
            insert into session
            select column1, column2, 'shop', column2, 7, '{}', 5, 3, 1, 6, null, null, column3, 'drain_completed', null, 'team'
            from (values
                (1, 'shop-1', '{}'),
                (2, 'shop-2', '{"ALL":{"page":null,"entered":1},"r12":null}'),
                (3, 'shop-3', '{"r1":{"page":"http://p:8000/it''s?a=1","entered":1795323231906},
                                "r4294967295":{"page":null,"entered":2}}'))"#;
        sqlx::raw_sql(text).execute(&mut old).await.unwrap();
        old.close().await.unwrap();
        let mut store = open(&path).await;
        let catalog = loaded(&mut store).await;
        let found = |key| catalog.by_key(SessionKey(key)).unwrap().record.maintenance.clone();
        let plain = |at| MaintenanceEntry { page: None, entered: Time(at), by_operator: false };
        let page = Some(PageUrl::parse("http://p:8000/it's?a=1").unwrap());
        let first = MaintenanceEntry { page, entered: Time(1_795_323_231_906), by_operator: false };
        assert_eq!(found(1), Maintenance::default());
        let all = Maintenance { all: Some(plain(1)), routes: [(RouteId(12), None)].into_iter().collect() };
        assert_eq!(found(2), all);
        let routes = [(RouteId(1), Some(first)), (RouteId(u32::MAX), Some(plain(2)))];
        assert_eq!(found(3), Maintenance { all: None, routes: routes.into_iter().collect() });
        let record = &catalog.by_key(SessionKey(3)).unwrap().record;
        assert_eq!((record.id.reveal(), record.next_route, record.last_apply), ("shop-3", 3, Some(Time(6))));
        assert_eq!(record.topics.names().collect::<Vec<_>>(), ["drain_completed"]);
        assert_eq!(record.token.as_ref().unwrap().as_str(), "team");
    });
}
