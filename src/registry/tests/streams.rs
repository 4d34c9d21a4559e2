//! Tests of event streams and operator views, on a running registry.

use std::time::Duration;

use tokio::time::timeout;

use super::Quiet;
use crate::domain::{
    Catalog, Change, ConnectionId, Error, Event, EventKind, InstanceName, Kind, Metadata, ServiceName, SessionId,
    Subject, Topics,
};
use crate::lifecycle::Lifecycle;
use crate::registry::commands::{
    ClientShutdown, ConfigApply, DrainCancel, DrainStart, NewRoute, Observe, Reconnect, Register, RouteAdd, Sight,
};
use crate::registry::queries::paging::ListRequest;
use crate::registry::queries::route_filter::RouteFilter;
use crate::registry::{
    AuditBatch, CallOrigin, EventStream, Publish, RegistrationTokens, Registry, RegistryLimits, Reply, Store,
    StoreError, StoredState, StreamItem, open,
};

struct Nowhere;

impl Store for Nowhere {
    async fn load(&mut self) -> Result<StoredState, StoreError> {
        Ok(StoredState { revision: 100, ..StoredState::default() })
    }

    async fn commit(&mut self, _: &[Change], _: &AuditBatch, _: u64) -> Result<(), StoreError> {
        Ok(())
    }

    async fn close(self) {}
}

impl Publish for Nowhere {
    fn publish(&mut self, _: &std::sync::Arc<Catalog>, _: &[Change]) {}
}

/// Starts a registry at revision 100.
async fn start(limits: RegistryLimits) -> (Registry, Lifecycle) {
    let opened = open(Nowhere, Nowhere, std::sync::Arc::new(Quiet), limits, RegistrationTokens::default()).await;
    let (registry, writer) = opened.unwrap();
    let core = Lifecycle::new();
    core.spawn("writer", writer.run(core.stopping().clone()));
    (registry, core)
}

fn names(instance: &str) -> (ServiceName, InstanceName) {
    (ServiceName::parse("shop").unwrap(), InstanceName::parse(instance).unwrap())
}

pub(super) async fn register(registry: &Registry, instance: &str) -> SessionId {
    let (service, instance) = names(instance);
    let nonce = registry.catalog().revision().into();
    let (maintenance_port, metadata) = (0, Metadata::default());
    let (connection, token, origin, lease) = (None, None, None, None);
    let register = Register { service, instance, maintenance_port, metadata, nonce, connection, token, origin, lease };
    let Ok(Reply::Registered(id)) = registry.execute_one(CallOrigin::SERVER, register.into()).await else {
        panic!("registered")
    };
    id
}

async fn apply(registry: &Registry, session: &SessionId, domain: &str) {
    let route: NewRoute = super::route(domain, "/");
    let add = RouteAdd { session: session.clone(), route };
    let apply = ConfigApply {
        subject: session.clone().into(),
        sections: crate::domain::Sections::ALL,
        expected: None,
        reason: None,
        confirm: None,
    };
    for reply in registry.execute(CallOrigin::SERVER, vec![add.into(), apply.into()]).await {
        reply.unwrap();
    }
}

async fn next(stream: &mut EventStream) -> StreamItem {
    timeout(Duration::from_secs(10), stream.next()).await.expect("something comes")
}

/// Returns the sequence, instance and type of the next event.
async fn event(stream: &mut EventStream) -> (u64, String, &'static str) {
    match next(stream).await {
        StreamItem::Event(record) => {
            let of = record.instance.as_ref().map(|of| of.instance.to_string()).unwrap_or_default();
            (record.sequence, of, record.event.kind().name())
        }
        other => panic!("{other:?}"),
    }
}

async fn until(registry: &Registry, holds: impl Fn(&Catalog) -> bool) {
    let wait = async {
        while !holds(&registry.catalog()) {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), wait).await.expect("it came to hold");
}

fn all() -> Topics {
    Topics::parse("all").unwrap()
}

#[tokio::test]
async fn a_watcher_hears_of_everybody_in_order_and_goes_on_where_it_stopped() {
    let (registry, _core) = start(RegistryLimits::default()).await;
    let mut watcher = registry.all_events(None).unwrap();
    let session = register(&registry, "shop-1").await;
    apply(&registry, &session, "a.example").await;
    register(&registry, "shop-2").await;
    let heard = [event(&mut watcher).await, event(&mut watcher).await, event(&mut watcher).await];
    let told: Vec<_> = heard.iter().map(|(_, instance, kind)| (instance.as_str(), *kind)).collect();
    assert_eq!(
        told,
        [("shop-1", "instance_registered"), ("shop-1", "config_applied"), ("shop-2", "instance_registered")]
    );
    assert!(100 < heard[0].0 && heard[0].0 < heard[1].0 && heard[1].0 < heard[2].0);
    let mut resumed = registry.all_events(Some(heard[0].0)).unwrap();
    assert_eq!([event(&mut resumed).await, event(&mut resumed).await], heard[1..]);
    assert_eq!(event(&mut registry.all_events(Some(100)).unwrap()).await, heard[0], "what the store said was the last");
}

#[tokio::test]
async fn observations_of_traffic_are_reported_before_the_apply_that_may_replace_them_or_never() {
    let (registry, _core) = start(RegistryLimits::default()).await;
    let session = register(&registry, "shop-1").await;
    apply(&registry, &session, "a.example").await;
    let key = registry.catalog().session(session.reveal()).unwrap().key;
    let seen = |healthy: bool, is_current: bool| {
        let reason = "status 503".to_owned();
        let event = Event::BackendHealthChanged { route: crate::domain::RouteId(1), healthy, reason };
        Observe { key, event, sight: Sight(std::sync::Arc::new(move || is_current)) }.into()
    };
    let mut watcher = registry.all_events(None).unwrap();
    // The commands reach the writer in this order and wait there together.
    let (both, ()) = tokio::join!(
        async {
            tokio::join!(
                registry.execute(CallOrigin::SERVER, vec![seen(true, false)]),
                apply(&registry, &session, "b.example")
            )
        },
        async { drop(registry.execute(CallOrigin::SERVER, vec![seen(false, false), seen(false, true)]).await) },
    );
    assert!(both.0.iter().all(Result::is_ok));
    let told = [event(&mut watcher).await.2, event(&mut watcher).await.2];
    assert_eq!(told, ["backend_health_changed", "config_applied"]);
}

#[tokio::test]
async fn a_watcher_that_was_away_for_too_long_is_told_so() {
    let (registry, _core) = start(RegistryLimits::default()).await;
    for lost in [0, 99, 10_000] {
        let mut watcher = registry.all_events(Some(lost)).unwrap();
        assert_eq!(next(&mut watcher).await, StreamItem::Compacted { oldest: 100 });
        register(&registry, "shop-1").await;
        assert_eq!(event(&mut watcher).await.2, "instance_registered", "and goes on live");
    }
}

#[tokio::test]
async fn a_stream_binds_its_session_while_it_lives() {
    let (registry, _core) = start(RegistryLimits::default()).await;
    let session = register(&registry, "shop-1").await;
    let bound = |catalog: &Catalog| catalog.session(session.reveal()).is_ok_and(|session| session.bound.is_some());
    let stream = registry.session_events(CallOrigin::SERVER, &session, Topics::default(), None).await.unwrap();
    assert!(bound(&registry.catalog()));
    drop(stream);
    until(&registry, |catalog| !bound(catalog)).await;
    let unknown = registry.session_events(CallOrigin::SERVER, &SessionId::restore("x"), all(), None).await;
    assert_eq!(unknown.err().unwrap().kind(), Kind::InvalidSession);
}

#[tokio::test]
async fn a_stream_ends_when_a_connection_takes_the_session_over_or_the_session_ends() {
    let (registry, _core) = start(RegistryLimits::default()).await;
    let session = register(&registry, "shop-1").await;
    let mut first = registry.session_events(CallOrigin::SERVER, &session, all(), None).await.unwrap();
    let take = Reconnect { session: session.clone(), connection: Some(ConnectionId(u64::MAX)) };
    registry.execute_one(CallOrigin::SERVER, take.into()).await.unwrap();
    let StreamItem::Ended(why) = next(&mut first).await else { panic!("the first goes on") };
    assert_eq!(why.kind(), Kind::Conflict);
    assert_eq!(next(&mut first).await, StreamItem::Ended(why), "and stays over");
    drop(first);
    let mut second = registry.session_events(CallOrigin::SERVER, &session, all(), None).await.unwrap();
    let end = ClientShutdown { subject: session.clone().into(), connection: None };
    registry.execute_one(CallOrigin::SERVER, end.into()).await.unwrap();
    assert_eq!(next(&mut second).await, StreamItem::Ended(Error::invalid_session()));

    let session = register(&registry, "shop-1").await;
    let mut third = registry.session_events(CallOrigin::SERVER, &session, all(), None).await.unwrap();
    register(&registry, "shop-1").await;
    assert!(matches!(next(&mut third).await, StreamItem::Ended(_)), "a new registration takes over too");
}

#[tokio::test]
async fn a_session_that_missed_nothing_is_never_told_that_it_did() {
    let (registry, _core) = start(RegistryLimits::default()).await;
    let (quiet, busy) = (register(&registry, "shop-1").await, register(&registry, "shop-2").await);
    let mut stream = registry.session_events(CallOrigin::SERVER, &quiet, all(), None).await.unwrap();
    let seen = stream.position().unwrap();
    drop(stream);
    apply(&registry, &busy, "b.example").await;
    let drain = DrainStart { subject: busy.clone().into(), span: crate::domain::Span::from_secs(60) };
    for _ in 0..40 {
        let drains = std::iter::repeat_n(drain.clone().into(), 1_000).collect();
        registry.execute(CallOrigin::SERVER, drains).await;
    }
    let mut everything = registry.all_events(Some(seen)).unwrap();
    assert!(matches!(next(&mut everything).await, StreamItem::Compacted { .. }), "it is long ago");
    let mut missed = registry.session_events(CallOrigin::SERVER, &busy, all(), Some(seen)).await.unwrap();
    assert!(matches!(next(&mut missed).await, StreamItem::Compacted { .. }), "the other has missed some of its own");
    stream = registry.session_events(CallOrigin::SERVER, &quiet, all(), Some(seen)).await.unwrap();
    apply(&registry, &quiet, "a.example").await;
    assert_eq!(event(&mut stream).await.2, "config_applied", "nothing of its own was missed");
    assert!(stream.position() > Some(seen), "a later stream goes on from here");
}

#[tokio::test]
async fn a_session_hears_of_its_own_from_where_it_stopped_and_of_what_it_subscribed_to() {
    let (registry, _core) = start(RegistryLimits::default()).await;
    let (session, other) = (register(&registry, "shop-1").await, register(&registry, "shop-2").await);
    let mut stream = registry
        .session_events(CallOrigin::SERVER, &session, Topics::parse("config_applied").unwrap(), None)
        .await
        .unwrap();
    apply(&registry, &session, "a.example").await;
    let (seen, _, kind) = event(&mut stream).await;
    assert_eq!(kind, "config_applied");
    drop(stream);
    apply(&registry, &other, "b.example").await;
    apply(&registry, &session, "c.example").await;
    let drain = DrainStart { subject: session.clone().into(), span: crate::domain::Span::from_secs(60) };
    registry.execute_one(CallOrigin::SERVER, drain.into()).await.unwrap();
    let mut resumed =
        registry.session_events(CallOrigin::SERVER, &session, Topics::default(), Some(seen)).await.unwrap();
    apply(&registry, &session, "d.example").await;
    let (second, third) = (event(&mut resumed).await, event(&mut resumed).await);
    assert_eq!((second.2, third.2), ("config_applied", "config_applied"));
    assert!(seen < second.0 && second.0 < third.0);
    let mut lost = registry.session_events(CallOrigin::SERVER, &session, Topics::default(), Some(3)).await.unwrap();
    assert_eq!(next(&mut lost).await, StreamItem::Compacted { oldest: 100 });
}

#[tokio::test]
async fn a_stream_that_is_not_read_is_told_how_much_it_lost() {
    let (registry, _core) = start(RegistryLimits::default()).await;
    let session = register(&registry, "shop-1").await;
    let mut stream = registry.session_events(CallOrigin::SERVER, &session, all(), None).await.unwrap();
    for at in 0..300 {
        apply(&registry, &session, &format!("h{at}.example")).await;
    }
    let mut count = 0;
    let missed = loop {
        match next(&mut stream).await {
            StreamItem::Event(_) => count += 1,
            StreamItem::Lagged { missed } => break missed,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(count + missed, 300);
}

#[tokio::test]
async fn streams_are_bounded_and_end_when_the_server_stops() {
    let (registry, _core) = start(RegistryLimits { streams_max: 2, ..RegistryLimits::default() }).await;
    let session = register(&registry, "shop-1").await;
    let mut own = registry.session_events(CallOrigin::SERVER, &session, all(), None).await.unwrap();
    let mut everything = registry.all_events(None).unwrap();
    let refused = registry.all_events(None).err().unwrap();
    assert_eq!((refused.kind(), refused.to_string().contains("limit 2")), (Kind::Limited, true));
    registry.announce_shutdown();
    for stream in [&mut own, &mut everything] {
        let mut item = next(stream).await;
        while let StreamItem::Event(_) = item {
            item = next(stream).await;
        }
        let StreamItem::Ended(why) = item else { panic!("{item:?}") };
        assert_eq!(why.kind(), Kind::Unavailable);
    }
}

#[tokio::test]
async fn operators_name_instances_and_nobody_counts_that_as_their_activity() {
    let (registry, _core) = start(RegistryLimits::default()).await;
    let session = register(&registry, "shop-1").await;
    let (service, instance) = names("shop-1");
    let subject = Subject::Instance(service.clone(), instance.clone());
    let active = registry.catalog().session(session.reveal()).unwrap().last_activity.last();
    let drain = DrainStart { subject: subject.clone(), span: crate::domain::Span::from_secs(60) };
    registry.execute_one(CallOrigin::SERVER, drain.into()).await.unwrap();
    let detail = registry.instance(&service, &instance).unwrap();
    assert!(detail.drain.is_some() && detail.instance.traffic_percent <= 100);
    registry.execute_one(CallOrigin::SERVER, DrainCancel { subject: subject.clone() }.into()).await.unwrap();
    assert_eq!(registry.catalog().session(session.reveal()).unwrap().last_activity.last(), active);
    let mut watcher = registry.all_events(None).unwrap();
    let evict = ClientShutdown { subject: subject.clone(), connection: None };
    registry.execute_one(CallOrigin::SERVER, evict.clone().into()).await.unwrap();
    let StreamItem::Event(record) = next(&mut watcher).await else { panic!("told") };
    assert_eq!(record.event, Event::InstanceEnded { reason: "evicted" });
    let gone = registry.execute_one(CallOrigin::SERVER, evict.into()).await.unwrap_err();
    assert_eq!((gone.kind(), gone.to_string().as_str()), (Kind::NotFound, "no instance shop/shop-1"));
}

#[tokio::test]
async fn lists_come_in_pages_that_neither_repeat_nor_leave_out() {
    let (registry, _core) = start(RegistryLimits::default()).await;
    for at in 0..7 {
        let session = register(&registry, &format!("shop-{at}")).await;
        apply(&registry, &session, &format!("a{at}.example")).await;
        apply(&registry, &session, &format!("b{at}.example")).await;
    }
    let (mut after, mut instances, mut routes) = (None, Vec::new(), Vec::new());
    loop {
        let page = registry.instances(&ListRequest::new(after, Some(2)).unwrap()).unwrap();
        instances.extend(page.items.into_iter().map(|item| item.instance_name.to_string()));
        register(&registry, &format!("late-{}", instances.len())).await;
        after = page.next_cursor;
        if after.is_none() {
            break;
        }
    }
    let expected: Vec<String> = (0..7).map(|at| format!("shop-{at}")).collect();
    assert_eq!(instances, expected, "what came late stands before what was asked for");
    loop {
        let page = registry.all_routes(&ListRequest::new(after, Some(3)).unwrap(), &RouteFilter::default()).unwrap();
        routes.extend(page.items.into_iter().flat_map(|item| item.domains));
        after = page.next_cursor;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(routes.len(), 14);
    routes.sort();
    routes.dedup();
    assert_eq!(routes.len(), 14);
    let (service, instance) = names("shop-3");
    let of = registry.all_stats(&ListRequest::new(None, None).unwrap(), Some((&service, &instance))).unwrap();
    assert_eq!((of.items.len(), of.next_cursor), (2, None));
    for bad in ["", "x", "MTIz", "!!"] {
        let page = ListRequest::new(Some(bad.to_owned()), None).unwrap();
        assert_eq!(registry.all_routes(&page, &RouteFilter::default()).unwrap_err().field(), Some("cursor"), "{bad}");
    }
    assert!(ListRequest::new(None, Some(0)).is_err() && ListRequest::new(None, Some(1001)).is_err());
}

#[tokio::test]
async fn a_typed_door_registers_without_a_connection_and_reconnects_without_one() {
    let (registry, _core) = start(RegistryLimits::default()).await;
    let session = register(&registry, "shop-1").await;
    let reconnect = Reconnect { session: session.clone(), connection: None };
    assert_eq!(registry.execute_one(CallOrigin::SERVER, reconnect.into()).await, Ok(Reply::Reconnected));
    assert_eq!(registry.catalog().session(session.reveal()).unwrap().bound, None);
    let bind = Reconnect { session: session.clone(), connection: Some(ConnectionId(9)) };
    registry.execute_one(CallOrigin::SERVER, bind.into()).await.unwrap();
    assert!(registry.catalog().session(session.reveal()).unwrap().bound.is_some());
    assert!(EventKind::TOPICS.iter().all(|kind| all().contains(*kind)) && !all().contains(EventKind::InstanceEnded));
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_streams_one_after_the_other_while_commands_are_executed() {
    let (registry, _core) = start(RegistryLimits::default()).await;
    let session = register(&registry, "shop-1").await;
    let began = tokio::time::Instant::now();
    let own = registry.session_events(CallOrigin::SERVER, &session, all(), None).await.unwrap();
    let streams = (0..9).map(|_| registry.all_events(None).unwrap()).chain([own]);
    let ends = streams.map(|mut stream| async move {
        let why = loop {
            if let StreamItem::Ended(why) = stream.next().await {
                break why;
            }
        };
        assert_eq!(why.kind(), Kind::Unavailable);
        began.elapsed().as_millis()
    });
    let (mut ends, ()) =
        tokio::join!(futures_util::future::join_all(ends), registry.drain_streams(Duration::from_secs(1)));
    ends.sort_unstable();
    assert_eq!(ends, (0..10).map(|end| end * 50).collect::<Vec<_>>(), "they do not all come back at once");
    assert!(registry.is_draining());
    register(&registry, "shop-2").await;
    assert!(registry.all_events(None).is_ok());
}

#[tokio::test]
async fn so_many_exports_are_under_way_and_no_more() {
    let (registry, core) = start(RegistryLimits::default()).await;
    let mut permits: Vec<_> = std::iter::from_fn(|| registry.permit_export().ok()).take(100).collect();
    assert_eq!(registry.permit_export().unwrap_err().kind(), Kind::Limited);
    permits.pop();
    assert!(permits.len() < 10 && registry.permit_export().is_ok());
    core.end(Duration::from_secs(1)).await;
}
