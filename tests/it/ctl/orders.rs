//! Commands that change something, waits, and their exit statuses.

use serde_json::json;

use super::ctl;
use crate::server::eventually;
use crate::support::backend::{Backend, closed_port};
use crate::support::server_harness::ServerHarness;

#[test]
fn an_instance_is_drained_waited_for_and_gets_its_traffic_back() {
    let harness = ServerHarness::open();
    let backend = Backend::named("shop");
    let _instance = harness.instance("shop-1", &backend);
    ctl(&harness, &["wait", "drained", "shop/shop-1"]).fails(1, "does not drain");
    let started = ctl(&harness, &["drain", "shop/shop-1", "--duration", "1h"]);
    assert!(started.code == 0 && started.out.contains("shop/shop-1 drains until 20"), "{started:?}");
    ctl(&harness, &["wait", "drained", "shop/shop-1", "--timeout", "10ms"]).fails_late(4, "the time is over");
    let cancelled = ctl(&harness, &["drain", "shop/shop-1", "--cancel"]);
    assert_eq!((cancelled.code, cancelled.out.as_str()), (0, "shop/shop-1 has its full share of traffic again\n"));
    ctl(&harness, &["drain", "shop/shop-1", "--cancel"]).fails(1, "no drain in progress");
    let waited = ctl(&harness, &["drain", "shop/shop-1", "--duration", "600ms", "--wait"]);
    assert_eq!((waited.code, waited.out.as_str()), (0, "shop/shop-1 is drained\n"));
    assert!(waited.err.contains("shop/shop-1 has ") && waited.err.contains("open requests"), "{waited:?}");
    assert_eq!(ctl(&harness, &["wait", "drained", "shop/shop-1", "--json"]).code, 0);
    let json = ctl(&harness, &["drain", "shop/shop-1", "--json"]).json();
    assert!(json["completes_at"].is_string(), "{json}");
}

#[test]
fn maintenance_is_entered_and_left_and_an_instance_is_evicted() {
    let harness = ServerHarness::open();
    let backend = Backend::named("shop");
    let _instance = harness.instance("shop-1", &backend);
    let entered = ctl(&harness, &["maintenance", "enter", "shop/shop-1"]);
    assert_eq!((entered.code, entered.out.as_str()), (0, "shop/shop-1 is in maintenance: ALL\n"));
    assert_eq!(harness.status("/"), 503);
    assert!(ctl(&harness, &["instances"]).out.contains("maintenance"));
    let left = ctl(&harness, &["maintenance", "exit", "shop/shop-1", "r1", "--wait"]);
    assert_eq!((left.code, left.out.as_str()), (0, "shop/shop-1 has left maintenance\n"), "{left:?}");
    assert_eq!(harness.status("/"), 200);
    ctl(&harness, &["maintenance", "enter", "shop/shop-1", "r9"]).fails(1, "r9");
    assert_eq!(
        ctl(&harness, &["evict", "shop/shop-1", "--json"]).json()["done"],
        "the session of shop/shop-1 has ended"
    );
    ctl(&harness, &["evict", "shop/shop-1"]).fails(1, "no instance shop/shop-1");
    ctl(&harness, &["drain", "shop/shop-1"]).fails(1, "no instance shop/shop-1");
}

#[test]
fn what_is_staged_is_applied_at_the_revision_that_was_seen_or_dropped() {
    let harness = ServerHarness::open();
    let backend = Backend::named("shop");
    let mut instance = harness.instance("shop-1", &backend);
    instance.add("two.example", "/", &backend.url());
    ctl(&harness, &["apply", "shop/shop-1", "--expect-revision", "7"]).fails(5, "revision 1, not 7");
    ctl(&harness, &["apply", "shop/shop-1", "--sections", "rotes"]).fails(2, "there are routes, headers");
    let partly = ctl(&harness, &["apply", "shop/shop-1", "--sections", "headers,ratelimit"]);
    assert_eq!((partly.code, partly.out.as_str()), (0, "shop/shop-1 is at revision 1\n"));
    let applied = ctl(&harness, &["apply", "shop/shop-1", "--expect-revision", "1", "--json"]).json();
    assert_eq!(applied, json!({ "revision": 2, "number": 2 }));
    assert_eq!(harness.get_of("two.example", "/").status(), 200);
    assert!(ctl(&harness, &["diff", "shop/shop-1"]).out.contains("nothing is staged at revision 2"));
    instance.add("three.example", "/", &backend.url());
    assert_eq!(ctl(&harness, &["rollback", "shop/shop-1"]).out, "nothing is staged for shop/shop-1\n");
    assert!(ctl(&harness, &["diff", "shop/shop-1"]).out.contains("nothing is staged"));

    // Another service holds the place: a conflict.
    let mut other = harness.server().connect();
    let session = other.register("other", "other-1");
    let reply = other.ask(&format!("ROUTE_ADD|{session}|two.example|/|http://127.0.0.1:1|0"));
    assert!(reply.starts_with("ROUTE_OK"), "{reply}");
    ctl(&harness, &["validate", "other/other-1"]).fails(5, "two.example");
    ctl(&harness, &["apply", "other/other-1"]).fails(5, "two.example");
    let audit = ctl(&harness, &["audit", "shop/shop-1", "--actor", "operator"]).out;
    assert!(audit.contains("applied") && audit.contains("rolled_back"), "{audit}");
}

#[test]
fn an_apply_that_waits_tells_how_to_keep_it_and_is_confirmed_or_taken_back_by_its_id() {
    let harness = ServerHarness::open();
    let backend = Backend::named("shop");
    let mut instance = harness.instance("shop-1", &backend);
    let apply = ["apply", "shop/shop-1", "--confirm-within", "5m", "--guard", "--reason", "a try"];
    let nothing = ctl(&harness, &apply);
    assert!(nothing.code == 0 && nothing.out.contains("nothing waits to be confirmed"), "{nothing:?}");
    instance.add("two.example", "/", &backend.url());
    let waits = ctl(&harness, &apply);
    let line = waits.out.lines().find_map(|line| line.strip_prefix("to keep it  ")).expect("the words that keep it");
    assert!(waits.out.contains("goes back   to number 1 at 20"), "{waits:?}");
    assert!(ctl(&harness, &["instances", "shop/shop-1"]).out.contains(line), "the instance tells it too");
    instance.add("three.example", "/", &backend.url());
    let id = line.strip_prefix("signalbox ctl confirm ").unwrap();
    ctl(&harness, &apply).fails(1, id);
    let kept = ctl(&harness, &["confirm", id]);
    assert_eq!((kept.code, kept.out), (0, format!("the apply that waited for {id} stays\n")));
    ctl(&harness, &["cancel", id]).fails(1, "nothing waits for this confirmation");

    let json = ctl(&harness, &[&apply[..], &["--json"]].concat()).json();
    let (id, reverts_to) = (json["confirmation"]["id"].as_str().unwrap(), &json["confirmation"]["reverts_to"]);
    assert_eq!((reverts_to, &json["confirmation"]["guard"]), (&json!(2), &json!(true)), "{json}");
    assert!(ctl(&harness, &["routes"]).out.contains("three.example"));
    let back = ctl(&harness, &["cancel", id, "--json"]).json();
    assert_eq!(back["done"], format!("the apply that waited for {id} is taken back"));
    assert!(!ctl(&harness, &["routes"]).out.contains("three.example"));
    let history = ctl(&harness, &["history", "shop/shop-1"]).out;
    assert!(history.contains("a try") && history.contains("cancelled to 2"), "{history}");

    ctl(&harness, &["apply", "shop/shop-1", "--confirm-within", "soon"]).fails(2, "--confirm-within: `soon`");
    ctl(&harness, &["apply", "shop/shop-1", "--confirm-within", "1ms"]).fails(1, "must be 1s to 24h");
    for words in [&["--guard"][..], &["--file", "a.toml", "--confirm-within", "5m"]] {
        assert_eq!(ctl(&harness, &[&["apply", "shop/shop-1"], words].concat()).code, 2, "{words:?}");
    }
}

#[test]
fn waits_end_when_it_is_so_or_when_the_time_is_over() {
    let harness = ServerHarness::open();
    let quick = ["--timeout", "10ms"];
    let wait = |words: &[&str], rest: &[&str]| ctl(&harness, &[&["wait"], words, rest].concat());
    wait(&["healthy", "shop/shop-1"], &quick).fails_late(4, "is not registered yet");
    wait(&["revision", "1", "shop/shop-1"], &quick).fails_late(4, "is not registered yet");
    let backend = Backend::named("shop");
    let mut instance = harness.instance("shop-1", &backend);
    let healthy = wait(&["healthy", "shop/shop-1"], &[]);
    assert_eq!((healthy.code, healthy.out.as_str()), (0, "1 of 1 routes of shop/shop-1 are healthy\n"));
    assert_eq!(wait(&["revision", "1", "shop/shop-1"], &[]).out, "shop/shop-1 is at revision 1\n");
    wait(&["revision", "2", "shop/shop-1"], &quick).fails_late(4, "is at revision 1, not 2 yet");
    instance.add("down.example", "/", &format!("http://{}", closed_port()));
    instance.apply();
    eventually("the second is checked", || harness.told("/v1/routes")["items"][1]["healthy"] == false);
    wait(&["healthy", "shop/shop-1"], &quick).fails_late(4, "1 of 2 routes of shop/shop-1 are healthy");
}

#[test]
fn an_instance_without_a_client_is_put_from_a_file_changed_and_removed() {
    let harness = ServerHarness::open();
    let backend = Backend::named("shop");
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let toml = format!("backend = \"{}\"\ndomains = [\"shop.example\"]\noptions = {{ retries = 2 }}\n", backend.url());
    let first = file("shop.toml", &toml);
    let put = |words: &[&str]| ctl(&harness, &[&["apply", "shop/shop-1", "--file"], words].concat());
    let dry = put(&[&first, "--dry-run"]);
    assert!(
        dry.code == 0 && dry.out.contains("shop/shop-1 would be created") && dry.out.contains("shop.example"),
        "{dry:?}"
    );
    assert_eq!(harness.get_of("shop.example", "/").status(), 404);
    let created = put(&[&first, "--new", "--json"]).json();
    assert_eq!((&created["revision"], &created["created"]), (&json!(1), &json!(true)));
    assert_eq!(harness.get_of("shop.example", "/").status(), 200);
    put(&[&first, "--new"]).fails(5, "the instance exists already");
    // Its own output is a file of the same configuration.
    let same = file("shop.json", &ctl(&harness, &["config", "shop/shop-1"]).out);
    assert_eq!(put(&[&same]).out, "shop/shop-1 is as before, at revision 1\n");
    put(&[&file("bad.toml", "backned = 1\n")]).fails(2, "bad.toml:1:1: there is no `backned` here");
    put(&[&file("wrong.toml", &toml.replace("retries = 2", "retries = \"many\""))]).fails(1, "retries");
    put(&[&file("next.toml", &toml.replace("retries = 2", "retries = 3")), "--expect-revision", "7"])
        .fails(5, "revision");
    ctl(&harness, &["remove", "shop/shop-1", "--expect-revision", "7"]).fails(5, "revision");
    assert_eq!(ctl(&harness, &["remove", "shop/shop-1"]).out, "shop/shop-1 is removed\n");
    ctl(&harness, &["remove", "shop/shop-1"]).fails(1, "no instance shop/shop-1");
    let _client = harness.instance("shop-1", &backend);
    put(&[&first]).fails(5, "shop/shop-1");
}

#[test]
fn a_revision_is_listed_shown_and_restored() {
    let harness = ServerHarness::open();
    let backend = Backend::named("shop");
    let mut instance = harness.instance("shop-1", &backend);
    instance.add("two.example", "/", &backend.url());
    instance.apply();
    let listed = ctl(&harness, &["history", "shop/shop-1"]).out;
    assert!(listed.contains("NUMBER") && listed.contains("session:shop/shop-1"), "{listed}");
    let shown = ctl(&harness, &["history", "shop/shop-1", "1"]).out;
    assert!(shown.contains("from the active configuration") && shown.contains("two.example"), "{shown}");
    ctl(&harness, &["revert", "shop/shop-1", "1", "--expect-revision", "7"]).fails(5, "revision");
    let reverted = ctl(&harness, &["revert", "shop/shop-1", "1", "--reason", "two is wrong"]);
    assert_eq!(
        (reverted.code, reverted.out.as_str()),
        (0, "shop/shop-1 has the configuration of 1 again, as number 3\n")
    );
    assert!(ctl(&harness, &["history", "shop/shop-1"]).out.contains("two is wrong"));
    ctl(&harness, &["revert", "shop/shop-1", "99"]).fails(1, "99");
    ctl(&harness, &["history", "shop/other"]).fails(1, "shop/other");
}

impl super::Ran {
    /// Checks a wait that failed: progress stands before the line.
    fn fails_late(&self, code: i32, words: &str) {
        assert_eq!((self.code, self.out.as_str()), (code, ""), "{self:?}");
        let last = self.err.lines().last().expect("a line");
        assert!(last.starts_with("signalbox ctl: ") && last.contains(words), "{words}: {self:?}");
    }
}
