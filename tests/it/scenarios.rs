//! Scenarios that run over each of the three interfaces.

use serde_json::{Value, json};

use crate::interfaces::{self, Answer, InterfaceClient};
use crate::server::{Backend, Server, eventually};

/// Tells a story at each interface of one server, to an instance of its own.
fn at_every_interface(story: impl Fn(&Server, &mut Client)) {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    for interface in interfaces::all(&server) {
        let mut client = Client { name: interface.name().to_lowercase(), session: Value::Null, interface };
        story(&server, &mut client);
    }
}

/// A interface, and the session that is spoken of there.
struct Client {
    interface: Box<dyn InterfaceClient>,
    session: Value,
    name: String,
}

impl Client {
    fn ask(&mut self, verb: &str, arguments: &Value) -> Answer {
        let mut arguments = arguments.clone();
        if arguments["session"].is_null() {
            arguments["session"] = self.session.clone();
        }
        self.interface.call(verb, &arguments)
    }

    fn do_it(&mut self, verb: &str, arguments: &Value) -> Value {
        let answer = self.ask(verb, arguments);
        answer.unwrap_or_else(|refusal| panic!("{} {verb} {arguments}: {refusal:?}", self.interface.name()))
    }

    fn refused(&mut self, verb: &str, arguments: &Value) -> String {
        let answer = self.ask(verb, arguments);
        answer.expect_err(&format!("{} {verb} {arguments}", self.interface.name())).message
    }

    fn register(&mut self) {
        let metadata = json!({ "version": "1.4" });
        let instance = format!("{}-1", self.name);
        let given =
            json!({ "service": self.name, "instance": instance, "maintenance_port": 9001, "metadata": metadata });
        self.session = self.do_it("REGISTER", &given)["session_id"].clone();
    }

    /// A route of this interface's own host.
    fn route(&self, path: &str, backend: &Backend) -> Value {
        json!({
            "domains": [format!("{}.example", self.name)], "path": path,
            "backend_url": format!("http://{}", backend.address), "priority": 0,
        })
    }
}

/// The values under `key` of a list.
fn column(list: &Value, key: &str) -> Vec<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    list.as_array().unwrap_or_else(|| panic!("{list}")).iter().map(|row| text(&row[key])).collect()
}

#[test]
fn a_service_registers_stages_applies_and_leaves() {
    let backend = Backend::start("b");
    at_every_interface(|server, client| {
        let host = format!("{}.example", client.name);
        client.register();
        client.do_it("PING", &json!({}));
        client.do_it("RECONNECT", &json!({}));
        assert_eq!(client.do_it("ROUTE_ADD", &client.route("/", &backend))["route_id"], "r1");
        let more = json!({ "routes": [client.route("/a", &backend), client.route("/b", &backend)] });
        assert_eq!(client.do_it("ROUTE_ADD_BULK", &more), json!(["r2", "r3"]));
        client.do_it("CONFIG_VALIDATE", &json!({}));
        let diff = client.do_it("CONFIG_DIFF", &json!({}));
        assert_eq!(diff["routes"], json!({ "added": ["r1", "r2", "r3"], "removed": [], "modified": [] }));
        assert_eq!(server.get(&host, "/").0, 404, "nothing reaches traffic before the apply");
        client.do_it("CONFIG_APPLY", &json!({}));
        assert_eq!(server.get(&host, "/").0, 200);
        let info = client.do_it("SESSION_INFO", &json!({}));
        for (key, value) in [("routes_active", 3), ("routes_staged", 0), ("revision", 1), ("maintenance_port", 9001)] {
            assert_eq!(info[key], value, "{key}");
        }
        assert_eq!((&info["service_name"], &info["session_id"]), (&json!(client.name), &client.session));

        client.do_it("ROUTE_REMOVE", &json!({ "route_id": "r2" }));
        client.do_it("ROUTE_UPDATE", &json!({ "route_id": "r3", "priority": 7 }));
        let list = client.do_it("ROUTE_LIST", &json!({}));
        assert_eq!(column(&list, "route_id"), ["r1", "r2", "r3", "r3"]);
        assert_eq!(column(&list, "status"), ["active", "pending_removal", "active", "staged"]);
        assert_eq!(column(&list, "priority"), ["0", "0", "0", "7"]);
        client.do_it("CONFIG_ROLLBACK", &json!({}));
        assert_eq!(column(&client.do_it("ROUTE_LIST", &json!({})), "status"), ["active"; 3]);

        client.do_it("CLIENT_SHUTDOWN", &json!({}));
        assert_eq!(server.get(&host, "/").0, 404, "its routes went with it");
        assert!(client.refused("PING", &json!({})).starts_with("invalid session"));
        assert!(client.ask("RECONNECT", &json!({})).is_err());
    });
}

#[test]
fn settings_are_staged_applied_in_part_and_taken_back() {
    let backend = Backend::start("b");
    at_every_interface(|server, client| {
        client.register();
        client.do_it("ROUTE_ADD", &client.route("/", &backend));
        let header = json!({ "target": "ALL", "name": "x-from", "value": "signalbox" });
        client.do_it("HEADERS_SET", &header);
        client.do_it("OPTIONS_SET", &json!({ "target": "r1", "key": "retries", "value": "2" }));
        client.do_it("HEALTH_SET", &json!({ "route_id": "r1", "path": "/", "interval": "10s", "timeout": "1s" }));
        client.do_it("RATELIMIT_SET", &json!({ "target": "ALL", "requests": 1000, "window": "1m" }));
        let breaker = json!({ "target": "r1", "threshold": 3, "timeout": "30s", "half_open_requests": 1 });
        client.do_it("CIRCUIT_BREAKER_SET", &breaker);
        client.do_it("CONFIG_APPLY_PARTIAL", &json!({ "scopes": ["routes", "headers"] }));
        let diff = client.do_it("CONFIG_DIFF", &json!({}));
        assert_eq!(
            (&diff["headers"]["added"], &diff["options"]["added"]),
            (&json!(0), &json!(1)),
            "the rest stays staged"
        );
        assert_eq!(
            client.refused("CIRCUIT_BREAKER_RESET", &json!({ "route_id": "r1" })),
            "no circuit breaker on r1",
            "it is staged"
        );
        client.do_it("CONFIG_APPLY", &json!({}));
        let breaker = client.do_it("CIRCUIT_BREAKER_STATUS", &json!({ "route_id": "r1" }));
        assert_eq!((&breaker["state"], &breaker["draining"]), (&json!("closed"), &json!(false)));
        client.do_it("CIRCUIT_BREAKER_RESET", &json!({ "route_id": "r1" }));
        client.do_it("HEADERS_REMOVE", &json!({ "target": "ALL", "name": "x-from" }));
        client.do_it("OPTIONS_REMOVE", &json!({ "target": "r1", "key": "retries" }));
        let diff = client.do_it("CONFIG_DIFF", &json!({}));
        assert_eq!((&diff["headers"]["removed"], &diff["options"]["removed"]), (&json!(1), &json!(1)));

        let host = format!("{}.example", client.name);
        (0..5).for_each(|_| assert_eq!(server.get(&host, "/").0, 200));
        let stats = client.do_it("STATS_GET", &json!({ "target": "ALL" }));
        assert_eq!(
            (column(&stats, "route_id"), column(&stats, "requests")),
            (vec!["r1".to_owned()], vec!["5".to_owned()])
        );
        let tested = client.do_it("BACKEND_TEST", &json!({ "backend_url": format!("http://{}", backend.address) }));
        assert_eq!(tested["reachable"], true);
        let dead = client.do_it("BACKEND_TEST", &json!({ "backend_url": "http://127.0.0.1:1" }));
        assert_eq!(dead["reachable"], false);
        client.do_it("UNSUBSCRIBE", &json!({ "event_type": "all" }));
    });
}

#[test]
fn policies_are_taken_back_as_they_are_set() {
    let backend = Backend::start("b");
    at_every_interface(|server, client| {
        client.register();
        client.do_it("ROUTE_ADD", &client.route("/", &backend));
        client.do_it("HEALTH_SET", &json!({ "route_id": "r1", "path": "/", "interval": "10s", "timeout": "1s" }));
        client.do_it("CONFIG_APPLY", &json!({}));
        let host = format!("{}.example", client.name);
        let statuses = |server: &Server| [(); 3].map(|()| server.get(&host, "/").0);
        for target in ["ALL", "r1"] {
            client.do_it("RATELIMIT_SET", &json!({ "target": target, "requests": 1, "window": "1h" }));
            let breaker = json!({ "target": target, "threshold": 3, "timeout": "30s", "half_open_requests": 1 });
            client.do_it("CIRCUIT_BREAKER_SET", &breaker);
            client.do_it("CONFIG_APPLY", &json!({}));
            assert_eq!(statuses(server)[1..], [429, 429], "{target}");
            let here = json!({ "target": target });
            client.do_it("RATELIMIT_REMOVE", &here);
            client.do_it("CIRCUIT_BREAKER_REMOVE", &here);
            let diff = client.do_it("CONFIG_DIFF", &json!({}));
            let one = json!({ "added": 0, "removed": 1, "modified": 0 });
            assert_eq!((&diff["ratelimit"], &diff["circuit"]), (&one, &one), "{target}");
            assert_eq!(statuses(server), [429; 3], "it is staged");
            client.do_it("CONFIG_ROLLBACK", &json!({}));
            client.do_it("CIRCUIT_BREAKER_REMOVE", &here);
            client.do_it("CONFIG_APPLY_PARTIAL", &json!({ "scopes": ["ratelimit"] }));
            assert_eq!(statuses(server), [429; 3], "it was rolled back, the other is another section's");
            client.do_it("RATELIMIT_REMOVE", &here);
            client.do_it("CONFIG_APPLY", &json!({}));
            assert_eq!(statuses(server), [200; 3], "{target}");
            let none = client.refused("CIRCUIT_BREAKER_RESET", &json!({ "route_id": "r1" }));
            assert_eq!(none, "no circuit breaker on r1");
        }
        client.do_it("HEALTH_REMOVE", &json!({ "route_id": "r1" }));
        assert_eq!(client.do_it("CONFIG_DIFF", &json!({}))["health"]["removed"], 1);
        client.do_it("CONFIG_APPLY", &json!({}));
        // Removing a setting that does not exist, or of a route that does not exist, is no error.
        for id in ["r1", "r9"] {
            client.do_it("HEALTH_REMOVE", &json!({ "route_id": id }));
            client.do_it("RATELIMIT_REMOVE", &json!({ "target": id }));
            client.do_it("CIRCUIT_BREAKER_REMOVE", &json!({ "target": id }));
        }
        let diff = client.do_it("CONFIG_DIFF", &json!({}));
        let none = json!({ "added": 0, "removed": 0, "modified": 0 });
        assert_eq!((&diff["health"], &diff["ratelimit"], &diff["circuit"]), (&none, &none, &none));
    });
}

#[test]
fn the_diff_lists_the_routes_that_a_takeover_will_remove() {
    let backend = Backend::start("b");
    at_every_interface(|server, client| {
        let host = format!("{}.example", client.name);
        client.register();
        let mut many = client.route("/many", &backend);
        many["domains"] = json!(["one", "two", "three", "four", "five"].map(|name| format!("{name}.{host}")));
        for route in [client.route("/", &backend), client.route("/old", &backend), many] {
            client.do_it("ROUTE_ADD", &route);
        }
        client.do_it("CONFIG_APPLY", &json!({}));
        let warned = |client: &mut Client, gone: &[&str]| {
            let wanted: Vec<String> = gone
                .iter()
                .map(|gone| format!("routes: {gone} of the session before) is not among the routes of this one and goes with the next apply"))
                .collect();
            assert_eq!(client.do_it("CONFIG_DIFF", &json!({}))["warnings"], json!(wanted));
            // The pipe's answer is as it always was.
            let valid = client.do_it("CONFIG_VALIDATE", &json!({}));
            let told = if client.name == "pipe" || gone.is_empty() { json!({}) } else { json!({ "warnings": wanted }) };
            assert_eq!(valid, told);
        };
        warned(client, &[]);
        client.register();
        let (root, old) = (format!("{host} / (r1"), format!("{host} /old (r2"));
        let many = format!("one.{host}, two.{host}, three.{host} and 2 more /many (r3");
        warned(client, &[&root, &old, &many]);
        client.do_it("ROUTE_ADD", &client.route("/", &backend));
        let mut fewer = client.route("/many", &backend);
        fewer["domains"] = json!(["five", "two", "three", "one"].map(|name| format!("{name}.{host}")));
        client.do_it("ROUTE_ADD", &fewer);
        let many = format!("four.{host} /many (r3");
        warned(client, &[&old, &many]);
        assert_eq!(server.get(&host, "/old").1, "b: GET /old HTTP/1.1", "it serves until then");
        client.do_it("CONFIG_APPLY", &json!({}));
        warned(client, &[]);
        assert_eq!(server.get(&format!("four.{host}"), "/many").0, 404);
    });
}

#[test]
fn a_service_drains_and_goes_into_maintenance_and_comes_back() {
    let backend = Backend::start("b");
    at_every_interface(|server, client| {
        client.register();
        client.do_it("ROUTE_ADD", &client.route("/", &backend));
        client.do_it("CONFIG_APPLY", &json!({}));
        assert_eq!(client.refused("DRAIN_STATUS", &json!({})), "no drain in progress");
        client.do_it("DRAIN_START", &json!({ "duration": "1h" }));
        let drain = client.do_it("DRAIN_STATUS", &json!({}));
        assert_eq!((&drain["active"], &drain["duration_seconds"]), (&json!(true), &json!(3600)));
        client.do_it("DRAIN_CANCEL", &json!({}));
        assert_eq!(client.refused("DRAIN_CANCEL", &json!({})), "no drain in progress");

        let host = format!("{}.example", client.name);
        client.do_it("MAINT_ENTER", &json!({ "target": "r1" }));
        assert_eq!(server.get(&host, "/").0, 503);
        assert_eq!(client.do_it("MAINT_STATUS", &json!({}))["in_maintenance"], json!(["r1"]));
        client.do_it("MAINT_EXIT", &json!({ "target": "/" }));
        eventually("its backend answers, and it is back", || server.get(&host, "/").0 == 200);
    });
}
