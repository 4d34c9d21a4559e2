//! Operators see the revisions of every instance, compare them, and restore one.

use serde_json::{Value, json};

use super::{numbers, operate, told};
use crate::server::Server;

const HISTORY: &str = "/v1/instances/shop/shop-1/history";

fn shown(server: &Server, target: &str) -> Value {
    let answer = operate(server, "GET", target, "", "");
    assert_eq!(answer.status(), 200, "{target}: {}", answer.text());
    told(&answer)
}

#[test]
fn operators_compare_revisions_entry_by_entry_and_restore_one() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect();
    let session = client.register("shop", "shop-1");
    client.serve(&session, "a.example", "/", "127.0.0.1:1".parse().unwrap());
    for line in ["ROUTE_UPDATE|{}|r1|path|/api", "HEADERS_SET|{}|ALL|X-A|1", "CONFIG_APPLY|{}"] {
        assert!(client.ask(&line.replace("{}", &session)).ends_with("OK"), "{line}");
    }
    let detail = shown(&server, &format!("{HISTORY}/1"));
    assert_eq!(detail["config"]["routes"][0]["path"], "/");
    assert_eq!(detail["against"], json!(null));
    let expected = json!([
        { "section": "headers", "target": "ALL", "name": "x-a", "change": "removed", "before": "1", "after": null },
        { "section": "routes", "target": "r1", "name": null, "change": "modified",
          "before": "a.example /api to http://127.0.0.1:1", "after": "a.example / to http://127.0.0.1:1" },
    ]);
    assert_eq!(detail["diff_total"], 2);
    assert_eq!(detail["diff"], expected, "what a revert would do");
    let forth = shown(&server, &format!("{HISTORY}/2?against=1"));
    assert_eq!((&forth["against"], forth["diff"].as_array().unwrap().len()), (&json!(1), 2));
    assert_eq!(forth["diff"][1]["change"], "added");

    let revert = format!("{HISTORY}/1/revert");
    let stale = operate(&server, "POST", &revert, "if-match: \"1\"\r\n", "");
    assert_eq!(stale.status(), 412, "{}", stale.text());
    let body = json!({ "reason": "the new path fails" }).to_string();
    let reverted = operate(&server, "POST", &revert, "if-match: \"2\"\r\n", &body);
    assert_eq!((reverted.status(), told(&reverted)), (200, json!({ "revision": 3, "number": 3 })));
    assert_eq!(reverted.field("etag"), Some("\"3\""));
    let last = shown(&server, &format!("{HISTORY}?limit=1"));
    assert_eq!(last["items"][0]["reason"], "the new path fails");
    assert_eq!(last["items"][0]["actor"]["kind"], "operator");
    let next = last["next_cursor"].as_str().unwrap();
    assert_eq!(shown(&server, &format!("{HISTORY}?cursor={next}"))["items"][0]["number"], 2);
    let audit = shown(&server, "/v1/audit?action=reverted");
    assert_eq!(audit["items"][0]["details"]["reverted_to"], 1);
    assert!(!last.to_string().contains(&session) && !detail.to_string().contains(&session));
}

#[test]
fn what_is_not_there_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect();
    let session = client.register("shop", "shop-1");
    client.serve(&session, "a.example", "/", "127.0.0.1:1".parse().unwrap());
    for (method, target, status, words) in [
        ("GET", "/v1/instances/shop/nobody/history".to_owned(), 404, "no instance shop/nobody"),
        ("GET", format!("{HISTORY}/2"), 404, "there is no revision 2; revisions 1 to 1 are kept"),
        ("GET", format!("{HISTORY}/1?against=5"), 404, "there is no revision 5"),
        ("GET", format!("{HISTORY}/x"), 400, "must be a whole number"),
        ("GET", format!("{HISTORY}?cursor=zz"), 400, "is not one that this list gave"),
        ("POST", format!("{HISTORY}/99999999999999999999/revert"), 400, "must be a whole number"),
        ("POST", format!("{HISTORY}/9/revert"), 404, "there is no revision 9"),
    ] {
        let answer = operate(&server, method, &target, "", "");
        assert_eq!(answer.status(), status, "{target}: {}", answer.text());
        assert!(answer.text().contains(words), "{target}: {}", answer.text());
    }
    let reason = json!({ "reason": "x".repeat(501) }).to_string();
    let long = operate(&server, "POST", &format!("{HISTORY}/1/revert"), "", &reason);
    assert_eq!((long.status(), &told(&long)["field"]), (400, &json!("reason")), "{}", long.text());
    assert_eq!(numbers(&server, "shop/shop-1"), [1], "nothing of it took effect");
}
