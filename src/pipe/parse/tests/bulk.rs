//! Tests of `ROUTE_ADD_BULK`.

use super::super::super::render;
use super::super::*;
use super::{call, parsed, refused};
use crate::registry::{Call, Command};

#[test]
fn a_bulk_line_is_read_like_single_ones() {
    let bulk = |json: &str| format!("ROUTE_ADD_BULK|s|{json}");
    let plain = r#"[{"domains":["a","b"],"path":"/","backend_url":"http://b","priority":0}]"#;
    let liberal = r#" [ {"domains":"a,b","path":"/","backend_url":"http://b","comment":"x|y","priority":null} ]"#;
    assert_eq!(call(&bulk(liberal)), call(&bulk(plain)));
    assert_eq!(parsed(&bulk(&format!("t1|{plain}"))).unwrap().transaction, Some("t1"));
    assert_eq!(parsed(&bulk(&format!("t1|{liberal}"))).unwrap().transaction, Some("t1"));
}

#[test]
fn a_bulk_line_is_refused_with_the_entry_that_is_wrong() {
    let good = r#"{"domains":["a"],"path":"/","backend_url":"http://b"}"#;
    let third = |entry: &str| refused(&format!("ROUTE_ADD_BULK|s|t|[{good},{good},{entry}]"));
    assert_eq!(
        third(r#"{"domains":["a"],"path":"x","backend_url":"http://b"}"#),
        "ERROR|t|route 3: path: must begin with /"
    );
    assert_eq!(third(r#"{"domains":["a"],"backend_url":"http://b"}"#), "ERROR|t|route 3: path: is missing");
    assert_eq!(
        third(r#"{"domains":[],"path":"/","backend_url":"http://b"}"#).get(..27),
        Some("ERROR|t|route 3: domains: a")
    );
    assert_eq!(
        third(r#"{"domains":[1],"path":"/","backend_url":"http://b"}"#),
        "ERROR|t|route 3: domains: must be strings"
    );
    assert_eq!(
        third(r#"{"domains":7,"path":"/","backend_url":"http://b"}"#),
        "ERROR|t|route 3: domains: must be an array of strings"
    );
    let priority =
        |value: &str| third(&format!(r#"{{"domains":["a"],"path":"/","backend_url":"http://b","priority":{value}}}"#));
    for bad in ["2147483648", "-2147483649.0", "1.5", "1e99", "\"1.5\"", "\"x\"", "\"[1]\"", "true", "[]"] {
        assert!(priority(bad).starts_with("ERROR|t|route 3: priority: must be a whole number"), "{bad}");
    }
    assert_eq!(third("[]"), "ERROR|t|route 3: must be a JSON object");
    let bulk = |json: &str| refused(&format!("ROUTE_ADD_BULK|s|{json}"));
    assert_eq!(bulk("[]"), "ERROR|routes: the array is empty; at least one route is needed");
    assert!(
        bulk("[{]").starts_with("ERROR|routes: needs a JSON array of objects, [{...}, {...}]: "),
        "{}",
        bulk("[{]")
    );
    let wrapped = bulk("{\"routes\":[]}");
    assert!(wrapped.contains("it is an object at column"), "{wrapped}");
    assert!(bulk("[{]").ends_with(" at column 3"), "{}", bulk("[{]"));
    assert!(bulk("{}").starts_with("ERROR|routes: needs a JSON array"), "{}", bulk("{}"));
    assert!(bulk(&"[".repeat(100_000)).starts_with("ERROR|routes: needs a JSON array"));
}

#[test]
fn a_bulk_line_takes_no_more_routes_than_its_reply_has_room_for() {
    let good = r#"{"domains":["a"],"path":"/","backend_url":"http://b"}"#;
    let bulk = |count: usize| format!("ROUTE_ADD_BULK|s|{}|[{}]", "t".repeat(256), vec![good; count].join(","));
    let most = routes::bulk_max(64 * 1024);
    let request = bulk(most);
    let request = parsed(&request).unwrap();
    let mut lines = render::ReplyBuffer::new(64 * 1024, 0);
    let ids = (0..u32::try_from(most).unwrap()).map(|id| crate::domain::RouteId(u32::MAX - id)).collect();
    let head = render::ReplyHead { word: request.word, transaction: request.transaction, form: request.form };
    lines.reply(head, &crate::registry::Reply::RoutesAdded(ids));
    assert!(lines.bytes().starts_with(b"ROUTE_BULK_OK|"));
    assert!(refused(&bulk(most + 1)).ends_with(&format!("are too many for one line; at most {most}")));
}

#[test]
fn numbers_in_a_bulk_line_are_read_as_clients_write_them() {
    let priority = |value: &str| {
        let line =
            format!(r#"ROUTE_ADD_BULK|s|[{{"domains":["a"],"path":"/","backend_url":"http://b","priority":{value}}}]"#);
        let Call::Command(Command::RouteAddBulk(bulk)) = parsed(&line).expect(&line).call else { panic!("{line}") };
        bulk.routes[0].priority
    };
    for five in ["5", "5.0", "5e0", "50E-1", "\"5\"", "\" 5 \"", "\"5.0\"", "\"+5\""] {
        assert_eq!(priority(five), 5, "{five}");
    }
    assert_eq!(["null", "\"\"", "0.0", "-0.0", "-2147483648.0"].map(priority), [0, 0, 0, 0, i32::MIN]);
}
