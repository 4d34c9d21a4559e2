//! A whole configuration is read as people write it, and comes back as it went.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::domain::{
    Breaker, Config, HeaderKey, HealthCheck as Check, HealthPath, Host, InstanceName, OptionKey, Owner,
    RateLimit as Limit, Route, RouteId, ServiceName, SessionKey, SessionRecord, Span, Target, Time,
};

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![Just(Target::All), (1..6_u32).prop_map(|id| Target::Route(RouteId(id)))]
}

fn route() -> impl Strategy<Value = Route> {
    let domains = proptest::collection::vec("(\\*\\.)?[a-z]{1,3}\\.example|\\*", 1..4);
    let name = proptest::option::of("[a-q]{1,4}");
    (1..6_u32, name, domains, "(/[a-z]{1,3}){0,2}", 1..9_u16, any::<i32>()).prop_map(
        |(id, name, domains, path, port, priority)| Route {
            id: RouteId(id),
            // Unique, as names are.
            name: name.map(|name| RouteName::parse(&format!("{name}-{id}")).unwrap()),
            domains: Host::gather(domains.iter().map(String::as_str)).unwrap(),
            path: PathPrefix::parse(&format!("/{path}")).unwrap(),
            backend: BackendUrl::parse(&format!("http://10.0.0.1:{port}")).unwrap(),
            priority,
        },
    )
}

fn span() -> impl Strategy<Value = Span> {
    (100..10_000_000_u64).prop_map(Span::from_millis)
}

/// Returns any configuration that commands can make, without options that have no effect.
fn any_config() -> impl Strategy<Value = Config> {
    let option = prop_oneof![
        Just(("timeout", "10s")),
        Just(("retries", "2")),
        Just(("websocket", "off")),
        Just(("max_body_size", "0"))
    ];
    let header = (target(), "x-[a-z]{1,2}".prop_map(String::from), "[ -~é]{0,9}".prop_map(String::from));
    let limit = (target(), 1..1000_u32, span()).boxed();
    (
        proptest::collection::vec(route(), 0..6),
        proptest::collection::vec(header, 0..4),
        proptest::collection::vec((target(), option), 0..4),
        proptest::collection::vec((1..6_u32, "(/[a-z]{1,3}){1,2}".prop_map(String::from), span(), span()), 0..3),
        proptest::collection::vec(limit.clone(), 0..3),
        proptest::collection::vec((limit, 1..9_u32), 0..3),
    )
        .prop_map(|(routes, headers, options, checks, limits, breakers)| {
            let mut config = Config::default();
            for route in routes {
                config.routes.insert(route.id, Arc::new(route));
            }
            let there = |target: &Target| target.route().is_none_or(|id| config.routes.contains_key(&id));
            let mut made = config.clone();
            for (target, name, value) in headers.into_iter().filter(|(target, ..)| there(target)) {
                made.headers.insert((target, HeaderKey::parse(&name).unwrap()), value.trim().into());
            }
            for (target, (key, value)) in options.into_iter().filter(|(target, _)| there(target)) {
                made.options.insert((target, OptionKey::parse(key).unwrap()), value.into());
            }
            for (id, path, interval, timeout) in checks {
                if config.routes.contains_key(&RouteId(id)) {
                    let path = HealthPath::parse(&path).unwrap();
                    made.health.insert(RouteId(id), Check { path, interval, timeout });
                }
            }
            for (target, requests, window) in limits.into_iter().filter(|(target, ..)| there(target)) {
                made.limits.insert(target, Limit { requests, window });
            }
            for ((target, threshold, timeout), half_open_requests) in breakers {
                if there(&target) {
                    made.breakers.insert(target, Breaker { threshold, timeout, half_open_requests });
                }
            }
            made
        })
}

fn record(port: u16) -> SessionRecord {
    let (service, instance) = (ServiceName::parse("shop").unwrap(), InstanceName::parse("shop-1").unwrap());
    let record = SessionRecord::owned(Owner::Operator, service, instance, SessionKey(1), Time(1));
    let metadata = Metadata::parse(r#"{"a":[1,null]}"#).unwrap();
    SessionRecord { maintenance_port: port, metadata, next_route: 9, ..record }
}

proptest! {
    #[test]
    fn a_configuration_comes_back_as_it_went(config in any_config(), port: u16) {
        let record = record(port);
        let written = InstanceConfig::of(&record, &config);
        let json = serde_json::to_string(&written).unwrap();
        let read: InstanceConfig = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(&read, &written);
        let wanted = read.resolve(&config, record.next_route).unwrap();
        prop_assert_eq!(&wanted.config, &config, "{}", json);
        prop_assert_eq!(wanted.next_route, record.next_route);
        prop_assert_eq!((wanted.maintenance_port, &wanted.metadata), (port, &record.metadata));
        // A new instance gets the same, perhaps with other ids for routes that have names.
        let anew = read.resolve(&Config::default(), 1).unwrap();
        let unsorted = |config: &InstanceConfig| {
            let mut routes = config.routes.clone().unwrap_or_default();
            routes.sort_by(|one, other| one.name.cmp(&other.name));
            InstanceConfig { routes: Some(routes), ..config.clone() }
        };
        prop_assert_eq!(unsorted(&InstanceConfig::of(&record, &anew.config)), unsorted(&written));
    }
}

#[test]
fn people_write_it_in_json_and_in_toml() {
    let json = r#"{
        "backend": "http://127.0.0.1:3000", "domains": ["shop.example"], "path": "/", "priority": 1,
        "headers": {"X-Frame-Options": "DENY"}, "options": {"timeout": "10s", "retries": 2, "websocket": true},
        "health_check": {"path": "/health", "interval": "10s", "timeout": 2},
        "rate_limit": {"requests": 100, "window": "1m"},
        "circuit_breaker": {"threshold": 5, "timeout": "30s", "half_open_requests": 3},
        "maintenance_port": 9001, "metadata": {"version": "1.4", "list": [1, 2.5, true]}
    }"#;
    let toml = r#"
        backend = "http://127.0.0.1:3000"
        domains = ["shop.example"]
        path = "/"
        priority = 1
        headers = { X-Frame-Options = "DENY" }
        options = { timeout = "10s", retries = 2, websocket = true }
        health_check = { path = "/health", interval = "10s", timeout = 2 }
        rate_limit = { requests = 100, window = "1m" }
        circuit_breaker = { threshold = 5, timeout = "30s", half_open_requests = 3 }
        maintenance_port = 9001
        metadata = { version = "1.4", list = [1, 2.5, true] }
    "#;
    let json: InstanceConfig = serde_json::from_str(json).unwrap();
    assert_eq!(toml::from_str::<InstanceConfig>(toml).unwrap(), json);
    assert_eq!(json.resolve(&Config::default(), 1).unwrap().config.health.len(), 1);
    let routes = "[[routes]]\nname = \"cart\"\nbackend = \"http://b\"\ndomains = [\"a.example\"]\n[routes.options]\nretries = 0\n";
    let routes: InstanceConfig = toml::from_str(routes).unwrap();
    assert_eq!(routes.routes.unwrap()[0].name.as_ref().map(RouteName::as_str), Some("cart"));
}

/// Returns the refusal of a text: its place and its words.
fn refused(json: &str) -> (String, String) {
    let mut reader = serde_json::Deserializer::from_str(json);
    match serde_path_to_error::deserialize::<_, InstanceConfig>(&mut reader) {
        Err(error) => (error.path().to_string(), error.inner().to_string()),
        Ok(config) => {
            let error = config.resolve(&Config::default(), 1).expect_err(json);
            (error.field().unwrap_or_default().to_owned(), error.message().to_owned())
        }
    }
}

#[test]
fn each_wrong_value_is_refused_with_the_path_of_its_field_and_what_to_write() {
    let route = |fields: &str| {
        format!(
            r#"{{"routes":[{{"backend":"http://a","domains":["a.example"]}},{{"backend":"http://b","domains":["b.example"]{fields}}}]}}"#
        )
    };
    for (json, place, words) in [
        (r#"{"backnd":"http://b"}"#.to_owned(), "backnd", "unknown field `backnd`"),
        ("{}".to_owned(), "backend", "is missing; an instance has backend and domains, or routes"),
        (r#"{"backend":"http://b"}"#.to_owned(), "domains", "is missing"),
        (r#"{"backend":"ftp://b"}"#.to_owned(), "backend", "must begin with http://"),
        (r#"{"backend":null}"#.to_owned(), "backend", "invalid type: null"),
        (r#"{"routes":[],"path":"/"}"#.to_owned(), "path", "stands beside routes"),
        (r#"{"options":{"tiemout":"1s"}}"#.to_owned(), "options.tiemout", "did you mean timeout?"),
        (r#"{"options":{"retries":"many"}}"#.to_owned(), "options.retries", "must be a whole number from 0 to 10"),
        (r#"{"options":{"retries":[1]}}"#.to_owned(), "options.retries", "expected integer from 0 to 10"),
        (r#"{"options":{"retries":1,"retries":2}}"#.to_owned(), "options", "retries stands twice"),
        (r#"{"headers":{"connection":"x"}}"#.to_owned(), "headers.connection", "belongs to the connection"),
        (r#"{"headers":{"x-a":"1","X-A":"2"}}"#.to_owned(), "headers", "x-a stands twice"),
        (r#"{"headers":{"x-a":"a\nb"}}"#.to_owned(), "headers.x-a", "without control characters"),
        (r#"{"maintenance_port":70000}"#.to_owned(), "maintenance_port", "must be a whole number from 0 to 65535"),
        (r#"{"metadata":[]}"#.to_owned(), "metadata", "invalid type: sequence"),
        (r#"{"rate_limit":{"requests":0,"window":"1s"}}"#.to_owned(), "rate_limit.requests", "from 1 to 1000000"),
        (r#"{"rate_limit":{"requests":1}}"#.to_owned(), "rate_limit", "missing field `window`"),
        (route(r#","path":"x""#), "routes[1].path", "must begin with /"),
        (route(r#","path":"/x/*""#), "routes[1].path", "a path is a prefix already; write /x"),
        (route(r#","domains2":1"#), "routes[1].domains2", "unknown field `domains2`"),
        (route(r#","name":"a b""#), "routes[1].name", "visible characters"),
        (route(r#","options":{"timeout":"soon"}"#), "routes[1].options.timeout", "is not a positive duration"),
        (
            route(r#","health_check":{"path":"/","interval":"1ms","timeout":"1s"}"#),
            "routes[1].health_check.interval",
            "too short",
        ),
        (r#"{"routes":[{"domains":["a.example"]}]}"#.to_owned(), "routes[0]", "missing field `backend`"),
        (
            r#"{"routes":[{"backend":"http://b","domains":["a:80"]}]}"#.to_owned(),
            "routes[0].domains",
            "without port or scheme",
        ),
    ] {
        let (found, told) = refused(&json);
        assert_eq!(found, place, "{json}: {told}");
        assert!(told.contains(words), "{json}: {told}");
    }
}
