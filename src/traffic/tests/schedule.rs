//! Tests of the schedule of health checks: the time of each check, and the routes that get its result.

use imbl::ordmap::DiffItem;

use crate::domain::HealthCheck;
use crate::domain::Span;

use super::*;
use crate::traffic::health::PER_BACKEND_MAX;

/// A schedule and the world that it follows.
struct Watch {
    world: World,
    followed: RoutingTable,
    checks: CheckSchedule,
    under_way: Vec<CheckId>,
}

const SLOTS: usize = 256;

const INTERVAL: u64 = 30_000;

impl Watch {
    fn of(edits: impl IntoIterator<Item = Edit>) -> Self {
        let world = World::default();
        let mut watch =
            Self { world, followed: RoutingTable::default(), checks: CheckSchedule::new(SLOTS), under_way: Vec::new() };
        watch.world.change(&record(1));
        watch.apply(edits, 0);
        watch
    }

    fn apply(&mut self, edits: impl IntoIterator<Item = Edit>, now: u64) -> Vec<CheckId> {
        self.apply_of(1, edits, now)
    }

    fn apply_of(&mut self, key: u64, edits: impl IntoIterator<Item = Edit>, now: u64) -> Vec<CheckId> {
        self.world.change(&apply(key, edits));
        let old = std::mem::replace(&mut self.followed, self.world.table.clone());
        let mut gone = Vec::new();
        for change in old.endpoints().diff(self.world.table.endpoints()) {
            let (old, new) = match change {
                DiffItem::Add(_, new) => (None, Some(new)),
                DiffItem::Update { old: (_, old), new: (_, new) } => (Some(old), Some(new)),
                DiffItem::Remove(_, old) => (Some(old), None),
            };
            gone.extend(self.checks.update(old.map(|old| &**old), new.map(|new| &**new), Time(now)));
        }
        self.under_way.retain(|id| !gone.contains(id));
        gone
    }

    /// Adds a session with these edits.
    fn session(&mut self, key: u64, edits: impl IntoIterator<Item = Edit>, now: u64) {
        self.world.change(&record(key));
        self.apply_of(key, edits, now);
    }

    /// Begins all checks that can begin, and returns their URLs.
    fn begin(&mut self, now: u64) -> Vec<String> {
        while self.checks.line_up_due(Time(now)) {}
        let begun = std::iter::from_fn(|| self.checks.begin(Time(now))).map(|(id, inquiry)| {
            self.under_way.push(id);
            format!("{}{}", inquiry.backend, inquiry.path)
        });
        begun.collect()
    }

    /// Ends all checks in flight, and returns the routes that get the results.
    fn end(&mut self, now: u64) -> Vec<u32> {
        let ended: Vec<_> = self.under_way.drain(..).collect();
        // These random bits give exactly the interval.
        let reported = ended.into_iter().filter_map(|id| self.checks.end(id, Time(now), INTERVAL / 10));
        reported.flat_map(|(_, subjects)| subjects).map(|subject| subject.route.0).collect()
    }
}

fn one(id: u32, backend: &str) -> Edit {
    // Checks of wildcard hosts ask for the backend's own name, so they are all equal.
    route(id, &format!("*.h{id}.example"), "/", 0, backend)
}

fn explicit(id: u32, path: &str) -> Edit {
    let span = Span::from_secs(30);
    let check = HealthCheck { path: HealthPath::parse(path).unwrap(), interval: span, timeout: span };
    Edit::Health(RouteId(id), Some(check))
}

fn gone(id: u32) -> Edit {
    Edit::Route(RouteId(id), None)
}

#[test]
fn the_first_check_is_at_once_and_the_next_after_the_interval() {
    let mut watch = Watch::of([one(1, "http://a")]);
    assert_eq!(watch.checks.next_due(), Some(Time(0)));
    assert_eq!(watch.begin(0), ["http://a/"]);
    assert_eq!(watch.begin(INTERVAL * 2), [""; 0], "not twice at once");
    assert_eq!(watch.end(500), [1]);
    assert_eq!(watch.checks.next_due(), Some(Time(INTERVAL + 500)));
    assert_eq!(watch.begin(INTERVAL + 499), [""; 0]);
    assert_eq!(watch.begin(INTERVAL + 500), ["http://a/"]);
}

#[test]
fn ten_thousand_routes_of_one_domain_on_one_backend_cost_one_check() {
    let mut watch = Watch::of((1..=10_000).map(|id| route(id, "h.example", &format!("/{id}"), 0, "http://a")));
    assert_eq!((watch.begin(0).len(), watch.checks.len()), (1, 1));
    assert_eq!(watch.end(1).len(), 10_000);
}

#[test]
fn another_check_of_the_same_backend_is_a_check_of_its_own() {
    let mut watch = Watch::of([one(1, "http://a"), one(2, "http://a"), explicit(2, "/well")]);
    assert_eq!(watch.begin(0), ["http://a/", "http://a/well"]);
    assert_eq!(watch.end(1), [1, 2]);
}

#[test]
fn a_route_that_joins_a_check_gets_a_result_at_once_and_the_others_not_more_often() {
    let mut watch = Watch::of([one(1, "http://a")]);
    watch.begin(0);
    watch.end(0);
    watch.apply([one(2, "http://a")], 100);
    assert_eq!(watch.begin(100).len(), 1);
    assert_eq!(watch.end(100), [2]);
    assert_eq!(watch.checks.next_due(), Some(Time(INTERVAL)));
    watch.begin(INTERVAL);
    watch.apply([one(3, "http://a")], INTERVAL);
    assert_eq!(watch.end(INTERVAL), [1, 2, 3], "the check under way is also for who came while it was");
}

#[test]
fn a_change_that_does_not_concern_the_check_leaves_it_alone() {
    let mut watch = Watch::of([one(1, "http://a")]);
    watch.begin(0);
    watch.end(0);
    watch.apply([route(1, "*.other.example", "/x", 7, "http://a")], 1);
    watch.apply([option(Target::All, "timeout", "3s")], 2);
    assert_eq!(watch.checks.next_due(), Some(Time(INTERVAL)));
}

#[test]
fn a_changed_backend_or_check_is_checked_at_once() {
    let mut watch = Watch::of([one(1, "http://a")]);
    watch.begin(0);
    assert_eq!(watch.apply([one(1, "http://b")], 1).len(), 1, "no route needs the old check");
    assert_eq!(watch.begin(1), ["http://b/"]);
    watch.end(1);
    watch.apply([explicit(1, "/well")], 2);
    assert_eq!(watch.begin(2), ["http://b/well"]);
    watch.end(2);
    // The backend changes and changes back between two updates: the spec is the same, but the live state is new.
    watch.world.change(&apply(1, [one(1, "http://c")]));
    watch.apply([one(1, "http://b")], 3);
    assert_eq!(watch.begin(3), ["http://b/well"]);
}

#[test]
fn checks_stop_when_their_last_route_goes() {
    let mut watch = Watch::of([one(1, "http://a"), one(2, "http://a"), one(3, "http://b")]);
    assert_eq!(watch.apply([gone(3)], 0), []);
    watch.begin(0);
    assert_eq!(watch.apply([gone(1)], 1), []);
    assert_eq!(watch.apply([gone(2)], 1).len(), 1);
    assert!(watch.checks.is_empty());
    assert_eq!((watch.checks.next_due(), watch.begin(INTERVAL * 2).len()), (None, 0));
}

#[test]
fn a_dead_backend_does_not_delay_the_checks_of_others() {
    let dead = (1..=1_000).flat_map(|id| [one(id, "http://dead"), explicit(id, &format!("/{id}"))]);
    let mut watch = Watch::of(dead);
    assert_eq!(watch.begin(0).len(), PER_BACKEND_MAX);
    watch.apply((2_001..=2_100).map(|id| one(id, &format!("http://b{id}"))), 1);
    assert_eq!(watch.begin(1).len(), 100);
    watch.end(2);
    assert_eq!(watch.begin(2).len(), PER_BACKEND_MAX, "the rest waits for room");
}

fn many(from: u32, count: u32) -> impl Iterator<Item = Edit> {
    (from..from + count).map(|id| one(id, &format!("http://b{id}")))
}

#[test]
fn sessions_with_many_checks_leave_slots_for_each_other_and_for_later_ones() {
    for greedy in [1, 3, 20] {
        let mut watch = Watch::of([]);
        (2..2 + greedy).for_each(|key| watch.session(key, many(u32::try_from(key).unwrap() * 1_000, 300), 0));
        let begun = watch.begin(0).len();
        assert!(begun < SLOTS, "{greedy} leave some free");
        watch.session(1_000, [one(1, "http://quiet")], 1);
        assert_eq!(watch.begin(1), ["http://quiet/"], "{greedy}");
        let ended: Vec<_> = watch.under_way.drain(..).collect();
        for id in ended.into_iter().take(begun / 2) {
            watch.checks.end(id, Time(2), 0);
        }
        watch.session(1_001, [one(1, "http://later")], 3);
        assert_eq!(watch.begin(3).iter().filter(|asked| *asked == "http://later/").count(), 1, "{greedy}");
    }
}

#[test]
fn busy_sessions_that_come_one_after_another_leave_slots_for_later_ones() {
    let mut watch = Watch::of([]);
    for key in 2..22 {
        watch.session(key, many(u32::try_from(key).unwrap() * 1_000, 300), 0);
        assert!(!watch.begin(0).is_empty(), "{key}");
    }
    watch.session(1_000, [one(1, "http://quiet")], 1);
    assert_eq!(watch.begin(1), ["http://quiet/"]);
}

#[test]
fn sessions_take_turns_when_all_slots_are_taken() {
    let mut watch = Watch::of([]);
    for key in 2..2 + 2 * u64::try_from(SLOTS).unwrap() {
        watch.session(key, many(u32::try_from(key).unwrap() * 10, 5), 0);
    }
    assert_eq!(watch.begin(0).len(), SLOTS, "one each");
    watch.session(1_000_000, [one(1, "http://quiet")], 1);
    let mut rounds = 0;
    while !watch.begin(1).contains(&"http://quiet/".to_owned()) {
        rounds += 1;
        watch.end(1);
    }
    assert!(rounds <= 3, "it waits for those that had no turn, not for all they have: {rounds}");
}

#[test]
fn a_session_that_shares_a_spec_with_a_busy_one_does_not_wait_behind_it() {
    // The result must not depend on the order, nor on a backend that all of them share.
    for quiet_first in [false, true] {
        let mut watch = Watch::of([]);
        let greedy = (1..=600).flat_map(|id| [one(id, "http://shared"), explicit(id, &format!("/{id}"))]);
        let quiet = [one(1, "http://shared"), explicit(1, "/600")];
        if quiet_first {
            watch.session(3, quiet.clone(), 0);
        }
        watch.session(2, greedy, 0);
        let mut begun = watch.begin(0);
        if !quiet_first {
            assert_eq!(begun.len(), PER_BACKEND_MAX);
            watch.session(3, quiet, 0);
            begun = watch.begin(0);
        }
        assert!(begun.contains(&"http://shared/600".to_owned()), "{begun:?}");
    }
}

#[test]
fn a_check_whose_session_has_left_counts_for_another() {
    let mut watch = Watch::of([]);
    let greedy = (1..=600).flat_map(|id| [one(id, "http://shared"), explicit(id, &format!("/{id}"))]);
    watch.session(2, greedy, 0);
    watch.session(3, many(5_000, 600).chain([one(1, "http://shared"), explicit(1, "/600")]), 0);
    watch.begin(0);
    watch.apply_of(2, (1..=600).flat_map(|id| [gone(id), Edit::Health(RouteId(id), None)]), 1);
    while !watch.checks.is_empty() && !watch.begin(1).is_empty() {
        watch.end(1);
    }
    watch.apply_of(3, (5_000..5_600).chain([1]).flat_map(|id| [gone(id), Edit::Health(RouteId(id), None)]), 2);
    watch.begin(2);
    assert!(watch.checks.is_empty() && watch.checks.is_at_rest());
}

#[test]
fn a_timeout_acts_as_at_most_the_interval_and_a_minute() {
    let span = Span::from_secs;
    for (interval, timeout, acts) in [(1, 8_784 * 3_600, 1), (3_600, 8_784 * 3_600, 60), (30, 5, 5)] {
        let check = HealthCheck { path: HealthPath::root(), interval: span(interval), timeout: span(timeout) };
        let mut watch = Watch::of([one(1, "http://a"), Edit::Health(RouteId(1), Some(check))]);
        while watch.checks.line_up_due(Time(0)) {}
        assert_eq!(watch.checks.begin(Time(0)).unwrap().1.timeout, span(acts));
    }
}

#[test]
fn checks_with_long_intervals_begin_in_batches() {
    let mut watch = Watch::of((1..=3).map(|id| one(id, &format!("http://b{id}"))));
    watch.begin(0);
    let ended: Vec<_> = watch.under_way.drain(..).collect();
    for (random_bits, id) in [0, 3, 249].into_iter().zip(ended) {
        watch.checks.end(id, Time(0), INTERVAL / 10 + random_bits);
    }
    assert_eq!(watch.checks.next_due(), Some(Time(INTERVAL)));
    assert_eq!(watch.begin(INTERVAL).len(), 3);
}

#[test]
fn a_burst_is_spread() {
    let mut watch = Watch::of((1..=10_000).map(|id| one(id, &format!("http://b{id}"))));
    let mut reported = BTreeSet::new();
    // An eighth of the slots is for sessions without a check in flight.
    let share = (SLOTS - SLOTS / 8) / 2;
    for _ in 0..10_000_usize.div_ceil(share) {
        assert!(watch.begin(1).len() <= share, "as many as are free then");
        reported.extend(watch.end(1));
    }
    assert_eq!(reported.len(), 10_000);
}

proptest! {
    #[test]
    fn every_route_gets_its_results_in_time_and_nothing_is_left_behind(
        steps in prop::collection::vec((1..12_u32, 0..4_u32, any::<bool>(), 0..3_u8), 1..120),
    ) {
        let mut watch = Watch::of([]);
        let (mut now, mut routes) = (0, BTreeSet::new());
        for (id, backend, own, step) in steps {
            now += 1_000;
            match step {
                0 => {
                    let check = if own { explicit(id, "/own") } else { Edit::Health(RouteId(id), None) };
                    watch.apply([one(id, &format!("http://b{backend}")), check], now);
                    routes.insert(id);
                }
                1 => {
                    watch.apply([gone(id), Edit::Health(RouteId(id), None)], now);
                    routes.remove(&id);
                }
                _ => {
                    watch.begin(now);
                    let reported: Vec<u32> = if own { watch.end(now) } else { Vec::new() };
                    prop_assert!(reported.iter().all(|id| routes.contains(id)));
                }
            }
        }
        watch.begin(now);
        watch.end(now);
        watch.begin(now);
        watch.end(now);
        watch.begin(now + INTERVAL);
        let reported: BTreeSet<u32> = watch.end(now + INTERVAL).into_iter().collect();
        prop_assert_eq!(&reported, &routes);
        watch.apply(routes.into_iter().map(gone), now);
        prop_assert!(watch.checks.is_empty() && watch.checks.next_due().is_none());
        prop_assert!(watch.checks.is_at_rest());
    }
}
