//! The requests that failed lately: which are kept, and what is told of each.

use serde_json::Value;
use signalbox::grpc::proto::operator_client::OperatorClient;
use signalbox::grpc::proto::{GetRequestRequest, InstanceRef, ListRequestsRequest, ProxiedRequest, RequestFilter};
use tonic::transport::{Channel, Endpoint};

use super::json_lines;
use crate::server::eventually;
use crate::support::backend::{Backend, KillableBackend, closed_port};
use crate::support::server_harness::{Gate, Instance, ServerHarness};

fn over_grpc<T>(harness: &ServerHarness, ask: impl AsyncFnOnce(OperatorClient<Channel>) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let endpoint = Endpoint::from_shared(format!("http://{}", harness.server().api)).unwrap();
        ask(OperatorClient::new(endpoint.connect().await.unwrap())).await
    })
}

fn listed(harness: &ServerHarness, query: &str) -> Vec<Value> {
    harness.told(&format!("/v1/requests{query}"))["items"].as_array().unwrap().clone()
}

#[test]
fn the_way_in_which_a_response_is_unusable_is_told_in_words() {
    let harness = ServerHarness::open();
    let mut session = harness.empty("shop-1");
    let long_head = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(200_000));
    let answers = [
        ("", "it closed the connection without a response"),
        ("HTTP/1.1 200 OK\r\n", "it closed the connection in the middle of the head of its response"),
        ("SSH-2.0-x\r\n", "its response is malformed or not HTTP"),
        ("HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n", "its response is malformed or not HTTP"),
        (&long_head, "the head of its response is too large"),
    ];
    let backends = answers.map(|(answer, _)| {
        let answer = answer.to_owned();
        Backend::new(move |mut wire| {
            wire.message();
            wire.send(&answer);
        })
    });
    for (number, backend) in backends.iter().enumerate() {
        session.add("*", &format!("/{number}"), &backend.url());
    }
    session.apply();
    for (number, (answer, words)) in answers.iter().enumerate() {
        assert_eq!(harness.status(&format!("/{number}")), 502, "{answer:.30}");
        let told = listed(&harness, &format!("?path=/{number}")).remove(0);
        assert!(told["detail"].as_str().unwrap().contains(words), "{answer:.30}: {told}");
        assert!(told["tried"][0].to_string().contains(words), "{answer:.30}: {told}");
    }
}

#[test]
fn each_attempt_is_told_with_its_backend_its_time_and_the_reason() {
    let harness = ServerHarness::open();
    let (silent, down) = (Backend::new(|mut wire| drop(wire.message())), closed_port());
    let mut first = harness.empty("shop-1");
    first.add("*", "/", &format!("http://{down}"));
    first.apply();
    let mut second = harness.empty("shop-2");
    second.add("*", "/", &silent.url());
    second.apply();
    let failed = |reason: &str| {
        let found = listed(&harness, "?status_min=500");
        found.into_iter().find(|told| told["tried"].to_string().contains(reason))
    };
    eventually("both were tried", || {
        assert_eq!(harness.status("/a?token=secret&b=1"), 502);
        failed("the connection was refused").is_some() && failed("it closed the connection").is_some()
    });
    let told = failed("the connection was refused").unwrap();
    assert_eq!((&told["method"], &told["host"], &told["path"]), (&"GET".into(), &"a".into(), &"/a".into()));
    assert_eq!((&told["query"], &told["client"]), (&"token=***&b=1".into(), &"127.0.0.1".into()));
    assert_eq!((&told["service_name"], &told["reason"]), (&"shop".into(), &"backend_failed".into()));
    assert_eq!(told["attempts"], told["tried"].as_array().unwrap().len());
    let tried = told["tried"].as_array().unwrap();
    let attempt = tried.iter().find(|attempt| attempt["backend"] == format!("http://{down}")).unwrap();
    assert_eq!((&attempt["instance_name"], &attempt["route_id"]), (&"shop-1".into(), &"r1".into()));
    assert!(attempt["duration_ms"].is_number() && told["revision"].as_u64().unwrap() > 0, "{told}");

    let id = told["id"].as_str().unwrap().to_owned();
    let message: ProxiedRequest = over_grpc(&harness, async |mut operator| {
        operator.get_request(GetRequestRequest { id: id.clone() }).await.unwrap().into_inner().request.unwrap()
    });
    assert_eq!((message.id, message.query.as_deref()), (id, Some("token=***&b=1")));
    assert_eq!(message.tried.len(), tried.len());
}

#[test]
fn the_last_request_is_the_first_in_the_list() {
    let harness = ServerHarness::open();
    let mut paths: Vec<String> = (0..50).map(|number| format!("/{number}")).collect();
    paths.iter().for_each(|path| assert_eq!(harness.status(path), 404));
    paths.reverse();
    // A request may be told after its client has read the answer.
    eventually("all are told", || listed(&harness, "").len() == paths.len());
    assert_eq!(listed(&harness, "").iter().map(|told| told["path"].as_str().unwrap()).collect::<Vec<_>>(), paths);
}

#[test]
fn the_list_is_chosen_by_service_instance_route_host_path_and_status() {
    let harness = ServerHarness::open();
    let mut instance = harness.empty("shop-1");
    instance.add("a.example", "/down", &format!("http://{}", closed_port()));
    instance.apply();
    harness.get_of("a.example", "/down/1");
    harness.get_of("A.example:80", "/other");
    harness.get_of("b.example", "/");
    eventually("all are told", || listed(&harness, "").len() == 3);
    for (query, count) in [
        ("", 3),
        ("?limit=2", 2),
        ("?service=shop", 1),
        ("?service=other", 0),
        ("?instance=shop/shop-1", 1),
        ("?instance=shop/shop-2", 0),
        ("?route=r1", 1),
        ("?host=a.example", 2),
        ("?host=a.example&path=/o", 1),
        ("?status_min=500", 1),
    ] {
        assert_eq!(listed(&harness, query).len(), count, "{query}");
    }
    assert_eq!(listed(&harness, "?limit=1")[0]["host"], "b.example", "the last one is the first");
    for query in ["?limit=0", "?limit=1001", "?status_min=x", "?route=1", "?instance=shop", "?percent=5", "?service="] {
        assert_eq!(harness.operate("GET", &format!("/v1/requests{query}"), ""), 400, "{query}");
    }
    assert_eq!(harness.operate("GET", "/v1/requests/nothing", ""), 404);
    let chosen = |filter: RequestFilter| {
        over_grpc(&harness, async |mut operator| {
            let ask = ListRequestsRequest { limit: None, filter: Some(filter) };
            operator.list_requests(ask).await.map(|told| told.into_inner().requests.len())
        })
    };
    let instance = InstanceRef { service_name: "shop".to_owned(), instance_name: "shop-1".to_owned() };
    assert_eq!(chosen(RequestFilter { instance: Some(instance), ..<_>::default() }).unwrap(), 1);
    assert_eq!(chosen(RequestFilter { status_min: Some(500), ..<_>::default() }).unwrap(), 1);
    assert!(chosen(RequestFilter { status_min: Some(600), ..<_>::default() }).is_err());
}

#[test]
fn the_host_of_a_request_is_that_of_its_target_if_it_is_a_whole_url() {
    let harness = ServerHarness::open();
    let mut wire = harness.connect();
    wire.send("GET http://target.example:8080/a HTTP/1.1\r\nhost: field.example\r\n\r\n");
    assert_eq!(wire.message().unwrap().status(), 404);
    eventually("it is told", || listed(&harness, "").len() == 1);
    assert_eq!(listed(&harness, "?host=target.example")[0]["host"], "target.example:8080");
    assert!(listed(&harness, "?host=field.example").is_empty());
}

#[test]
fn what_a_client_does_is_no_failure_of_the_backend() {
    let harness = ServerHarness::open();
    let backend = Backend::named("b");
    let mut instance = harness.instance("shop-1", &backend);
    instance.set("OPTIONS_SET", "r1|max_body_size|16");
    let head = |fields: &str| format!("POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n");
    let (cut, large) = (head("content-length: 10\r\n"), head("transfer-encoding: chunked\r\n"));
    let call = head("content-type: application/grpc\r\ngrpc-timeout: 1n\r\ncontent-length: 10\r\n");
    for sent in [format!("{cut}abc"), format!("{large}20\r\n{}\r\n", "x".repeat(32)), call] {
        let mut wire = harness.connect();
        wire.send(&sent);
        if sent.ends_with("abc") {
            wire.half_close();
        }
        let _ = wire.message();
    }
    let reasons = || listed(&harness, "").iter().map(|told| told["reason"].to_string()).collect::<Vec<_>>();
    eventually("all are told", || {
        ["bad_request", "body_too_large", "deadline_passed"]
            .iter()
            .all(|reason| reasons().iter().any(|told| told.contains(reason)))
    });
    let told = harness.told("/v1/routes");
    assert!(told["items"][0]["last_failure"].is_null(), "{told}");
}

#[test]
fn requests_without_a_route_never_push_out_those_that_a_backend_failed() {
    let harness = ServerHarness::open();
    let mut instance = harness.empty("shop-1");
    instance.add("*", "/down", &format!("http://{}", closed_port()));
    instance.apply();
    let id = harness.get("/down").field("x-request-id").unwrap().to_owned();
    let mut wire = harness.connect();
    for number in 0..1000 {
        wire.send(format!("GET /{number}{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(2000)));
        assert_eq!(wire.message().unwrap().status(), 404);
    }
    assert_eq!(harness.told(&format!("/v1/requests/{id}"))["path"], "/down");
    let kept = listed(&harness, "?limit=1000");
    assert_eq!(kept.len(), 513, "512 of one worker, and the one that failed");
    assert!(kept.iter().all(|told| told["path"].as_str().unwrap().len() < 1100), "long texts are cut");
}

#[test]
fn a_response_that_breaks_off_is_told_and_one_that_a_client_leaves_is_not() {
    let harness = ServerHarness::open();
    let broken = Backend::new(|mut wire| {
        while wire.message().is_some_and(|request| request.field("user-agent") == Some("signalbox")) {
            wire.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        }
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf");
    });
    let _instance = harness.instance("shop-1", &broken);
    harness.asking("a", "/broken").has_ended();
    eventually("it is told", || listed(&harness, "").iter().any(|told| told["path"] == "/broken"));
    let told = &listed(&harness, "")[0];
    assert_eq!((&told["status"], &told["reason"]), (&200.into(), &"response_broken_off".into()));
    assert_eq!((&told["bytes_sent"], &told["tried"][0]["error"]), (&4.into(), &Value::Null));
}

#[test]
fn a_request_whose_route_goes_away_before_its_response_ends_is_told_with_the_route() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.log");
    let logged = ["--log-access-file", file.to_str().unwrap()];
    for flags in [&[][..], &logged] {
        let harness = ServerHarness::with(flags);
        let gate = Gate::default();
        let held = gate.clone();
        let backend = Backend::new(move |mut wire| {
            let Some(request) = wire.message() else { return };
            wire.send("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf");
            held.wait();
            if request.target() == "/whole" {
                wire.send("half");
            }
        });
        let mut instance = harness.instance("shop-1", &backend);
        let mut clients = ["/whole", "/broken"].map(|path| harness.asking("a", path));
        let heads = clients.iter_mut().map(|client| client.head().unwrap().status()).collect::<Vec<_>>();
        assert_eq!(heads, [200, 200]);
        instance.expect("ROUTE_REMOVE", "r1", "ROUTE_OK");
        instance.apply();
        assert_eq!(harness.status("/"), 404);
        gate.open();
        clients[1].has_ended();
        let broken = || listed(&harness, "").into_iter().find(|told| told["path"] == "/broken");
        eventually("it is told", || broken().is_some());
        let mut told = vec![broken().unwrap()];
        assert_eq!(told[0]["tried"][0]["backend"], backend.url());
        if !flags.is_empty() {
            told.extend(json_lines(&file, 3).into_iter().filter(|line| line["status"] == 200));
            assert_eq!(told.len(), 3);
        }
        for told in told {
            let owner = ["service_name", "instance_name", "route_id"].map(|key| told[key].as_str().unwrap());
            assert_eq!(owner, ["shop", "shop-1", "r1"], "{told}");
        }
    }
}

/// Returns the lines of the log about backends that fail.
fn warnings(harness: &ServerHarness) -> Vec<Value> {
    let log = std::fs::read_to_string(&harness.server().log).unwrap();
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    lines.into_iter().filter(|line| line["message"] == "a backend fails requests").collect()
}

#[test]
fn a_backend_that_fails_many_requests_is_warned_of_once_and_explained() {
    let harness = ServerHarness::open();
    let mortal = KillableBackend::named("mortal");
    let mut instance = harness.empty("shop-1");
    instance.add("*", "/", &mortal.url());
    instance.apply();
    assert_eq!(harness.status("/"), 200);
    mortal.kill();
    let statuses: Vec<u16> = (0..20).map(|_| harness.status("/")).collect();
    assert!(statuses.iter().all(|status| *status == 502), "{statuses:?}");
    eventually("it is warned of", || !warnings(&harness).is_empty());
    let warning = &warnings(&harness)[0];
    assert_eq!((&warning["service"], &warning["instance"]), (&"shop".into(), &"shop-1".into()));
    assert_eq!((&warning["level"], &warning["status"]), (&"WARN".into(), &502.into()));
    assert_eq!(warnings(&harness).len(), 1);
    let explained = harness.told("/v1/explain?host=a&path=/");
    let listed = harness.told("/v1/routes");
    for told in [&explained["candidates"][0]["members"][0], &listed["items"][0]] {
        let failure = &told["last_failure"];
        assert!(failure["at"].is_string() && failure["reason"].is_string(), "{told}");
    }
}

#[test]
fn a_backend_is_warned_of_once_however_many_routes_and_applies_lead_to_it() {
    let harness = ServerHarness::open();
    let (mut instance, dead) = (harness.empty("shop-1"), closed_port());
    let add = |instance: &mut Instance, number: u32| {
        instance.add("*", &format!("/{number}"), &format!("http://{dead}"));
    };
    (0..30).for_each(|number| add(&mut instance, number));
    instance.apply();
    (0..30).for_each(|number| assert_eq!(harness.status(&format!("/{number}")), 502));
    add(&mut instance, 30);
    instance.apply();
    assert_eq!(harness.status("/30"), 502);
    instance.add("*", "/other", &format!("http://{}", closed_port()));
    instance.apply();
    // The log is written in order.
    eventually("another backend is warned of", || harness.status("/other") == 502 && warnings(&harness).len() > 1);
    let backends: Vec<Value> = warnings(&harness).iter().map(|warning| warning["backend"].clone()).collect();
    assert_eq!((backends.len(), &backends[0]), (2, &format!("http://{dead}").into()), "{backends:?}");
}

#[test]
fn the_last_failure_of_a_route_is_told_in_the_same_words_with_and_without_a_breaker() {
    let harness = ServerHarness::open();
    let failing = Backend::new(|mut wire| {
        while wire.message().is_some() {
            wire.send("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let closing = Backend::new(|mut wire| drop(wire.message()));
    let dead = format!("http://{}", closed_port());
    let mut instance = harness.empty("shop-1");
    let places = [("/dead", &*dead), ("/closing", &closing.url()), ("/failing", &failing.url())];
    for (path, url) in places {
        instance.add("*", path, url);
        instance.add("*", &format!("{path}-guarded"), url);
    }
    for number in [2, 4, 6] {
        instance.ask("CIRCUIT_BREAKER_SET", &format!("r{number}|5|1h|1"));
    }
    instance.apply();
    let reason = |path: &str| {
        assert!(harness.status(path) >= 500);
        let told = harness.told(&format!("/v1/explain?host=a&path={path}"));
        let reason = &told["candidates"][0]["members"][0]["last_failure"]["reason"];
        reason.as_str().map(str::to_owned)
    };
    for path in ["/dead", "/closing"] {
        let plain = reason(path);
        assert!(plain.is_some());
        assert_eq!(reason(&format!("{path}-guarded")), plain);
    }
    assert_eq!(reason("/failing"), None, "without a breaker a response is no failure of the backend");
    assert_eq!(reason("/failing-guarded").as_deref(), Some("it answered with an error (503)"));
}
