//! Members of a pool that die or are ill.

use signalbox::domain::{Edit, HealthCheck, PathPrefix, RouteId, SessionKey, Span, Time};
use signalbox::traffic::Finding;

use super::shop::Shop;
use crate::support::backend::{Backend, Mortal};
use crate::support::town::Town;

#[test]
fn when_one_of_two_instances_is_killed_no_request_fails() {
    let (shop, mortal, alive) = (Shop::open(), Mortal::named("mortal"), Backend::named("alive"));
    let mut first = shop.empty("shop-1");
    first.add("*", "/", &mortal.url());
    first.apply();
    let _second = shop.instance("shop-2", &alive);
    let mut wires = [(); 8].map(|()| shop.connect());
    let mut get = |number: usize| {
        let wire = &mut wires[number % 8];
        wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        let answer = wire.message().expect("no answer");
        assert_eq!(answer.status(), 200, "request {number}");
        answer.text().to_owned()
    };
    let served = (0..200).filter(|number| get(*number) == "mortal").count();
    assert!(served > 0, "both served");
    mortal.kill();
    assert!((200..1200).all(|number| get(number) == "alive"));
}

fn ill(town: &Town, key: SessionKey) {
    let table = town.table();
    let health = &table.endpoint(key, RouteId(1)).unwrap().live.health;
    (0..3).for_each(|_| drop(health.observe(Finding::Ill("status 503"), Time(1))));
}

#[test]
fn an_ill_member_is_passed_over_but_not_the_last_by_the_default_check() {
    let backends = ["one", "two"].map(Backend::named);
    let mut town = Town::new();
    let keys = [0, 1].map(|at| town.serve("shop", &format!("shop-{at}"), &backends[at].url(), &[]));
    ill(&town, keys[0]);
    assert!((0..30).all(|_| town.get("a", "/").text() == "two"));
    ill(&town, keys[1]);
    assert!((0..30).all(|_| town.get("a", "/").status() == 200));
}

#[test]
fn members_that_are_ill_by_a_check_that_was_asked_for_get_nothing() {
    let backend = Backend::named("b");
    let mut town = Town::new();
    let key = town.serve("shop", "shop-1", &backend.url(), &[]);
    ill(&town, key);
    assert_eq!(town.get("a", "/").status(), 200);
    let second = Span::from_secs(1);
    let check = HealthCheck { path: PathPrefix::root(), interval: second, timeout: second };
    town.apply(key, vec![Edit::Health(RouteId(1), Some(check))]);
    let refused = town.get("a", "/");
    assert_eq!((refused.status(), refused.field("retry-after")), (503, Some("5")));
}
