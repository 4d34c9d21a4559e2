use super::*;

const HERE: &str = "127.0.0.1:5000";
const AWAY: &str = "10.0.0.7:5000";

fn peer(address: &str, local: &str) -> CallerAddresses {
    let address: std::net::SocketAddr = address.parse().unwrap();
    CallerAddresses { address, local: local.parse().unwrap(), client: address.ip() }
}

fn request(peer: CallerAddresses, version: Version, target: &str, fields: &[(&str, &str)]) -> Request<()> {
    let builder = Request::builder().version(version).uri(target).extension(peer);
    fields.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value)).body(()).unwrap()
}

/// Returns a request over HTTP/1.1 for `host`.
fn asking(peer: CallerAddresses, host: &str) -> Request<()> {
    request(peer, Version::HTTP_11, "/", &[("host", host)])
}

fn token(name: &str, secret: &str) -> NamedToken {
    NamedToken { name: OperatorName::parse(name).unwrap(), secret: Secret::new(secret) }
}

fn is_forbidden<T>(answer: &Result<T, Denied>) -> bool {
    matches!(answer, Err(Denied::Forbidden(_)))
}

const LOOPBACK: [&str; 12] = [
    "localhost",
    "LocalHost:8182",
    "localhost.",
    "localhost.:1",
    "localhost:",
    "127.0.0.1",
    "127.0.0.1:8182",
    "127.0.0.1.",
    "127.8.7.6:1",
    "[::1]",
    "[0:0:0:0:0:0:0:1]:8182",
    "[::ffff:127.0.0.1]:8182",
];

const OTHERS: [&str; 16] = [
    "evil.example",
    "evil.example:8182",
    "localhost.evil.example",
    "evil.example.localhost",
    "localhost.localdomain",
    "localhost..",
    "ip6-localhost",
    "127.0.0.1.nip.io",
    "127.1",
    "0x7f.1",
    "2130706433",
    "0.0.0.0",
    "[::]:8182",
    "[::2]",
    "10.0.0.7",
    "%6cocalhost",
];

const NO_HOSTS: [&str; 15] = [
    "",
    ":8182",
    ".",
    "::1",
    "[::1",
    "[::1]8182",
    "[localhost]",
    "[fe80::1%25lo]",
    "localhost:http",
    "localhost:65536",
    "localhost:1:2",
    "user@localhost",
    "localhost/",
    "local host",
    "http://localhost",
];

#[test]
fn without_tokens_operators_are_direct_callers_on_loopback_that_ask_for_loopback() {
    let operators = OperatorAuth::default();
    for address in [HERE, "[::1]:5000", "[::ffff:127.0.0.1]:5000", "127.9.9.9:1"] {
        for host in LOOPBACK {
            let request = asking(peer(address, HERE), host);
            assert_eq!(
                operators.check(&ApiRequest::of(&request), None),
                Ok(OperatorName::loopback()),
                "{address} {host}"
            );
        }
    }
    for host in OTHERS {
        let request = asking(peer(HERE, HERE), host);
        assert!(is_forbidden(&operators.check(&ApiRequest::of(&request), Some("any"))), "{host}");
    }
    for address in [AWAY, "[fd00::7]:1", "[::ffff:10.0.0.7]:1", "0.0.0.0:1"] {
        let request = asking(peer(address, HERE), "localhost");
        assert!(is_forbidden(&operators.check(&ApiRequest::of(&request), None)), "{address}");
    }
    let nowhere = Request::builder().header("host", "localhost").body(()).unwrap();
    assert!(
        is_forbidden(&operators.check(&ApiRequest::of(&nowhere), None)),
        "a caller without a known address is remote"
    );
}

#[test]
fn requests_that_came_through_a_proxy_are_not_an_operators() {
    let signs = [
        "Via",
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Forwarded-Anything",
        "X-Forwarded",
        "X_Forwarded_For",
        "X-Real-IP",
        "X-Original-Forwarded-For",
        "X-Envoy-External-Address",
        "CF-Connecting-IP",
        "True-Client-IP",
        "Signalbox-Hops",
    ];
    for sign in signs {
        for value in ["", "127.0.0.1", "1.1 signalbox"] {
            let request = request(peer(HERE, HERE), Version::HTTP_2, "http://localhost/", &[(sign, value)]);
            assert!(is_forbidden(&OperatorAuth::default().check(&ApiRequest::of(&request), None)), "{sign}");
        }
    }
    let own = request(peer(HERE, HERE), Version::HTTP_11, "/", &[("host", "localhost"), ("user-agent", "signalbox")]);
    assert!(is_forbidden(&OperatorAuth::default().check(&ApiRequest::of(&own), None)), "a check's");
    let fields = [("host", "localhost"), ("user-agent", "curl/8.5.0"), ("accept", "*/*"), ("x-request-id", "7")];
    let direct = request(peer(HERE, HERE), Version::HTTP_11, "/", &fields);
    assert_eq!(OperatorAuth::default().check(&ApiRequest::of(&direct), None), Ok(OperatorName::loopback()));
}

#[test]
fn every_host_that_a_request_names_counts() {
    let (evil, own) = ("http://evil.example/", "http://localhost:8182/");
    for (target, host) in [(evil, "localhost"), (own, "evil.example")] {
        for version in [Version::HTTP_11, Version::HTTP_2] {
            let request = request(peer(HERE, HERE), version, target, &[("host", host)]);
            assert!(is_forbidden(&OperatorAuth::default().check(&ApiRequest::of(&request), None)), "{target} {host}");
            assert!(is_forbidden(&AllowedHosts::default().check(&ApiRequest::of(&request))), "{target} {host}");
        }
    }
    // A request that names no host.
    let old = request(peer(HERE, HERE), Version::HTTP_10, "/", &[]);
    assert!(is_forbidden(&OperatorAuth::default().check(&ApiRequest::of(&old), None)));
    assert!(is_forbidden(&AllowedHosts::default().check(&ApiRequest::of(&old))));
}

#[test]
fn with_tokens_whoever_shows_one_is_an_operator_wherever_they_sit() {
    let tokens = [token("ann", "first-operator-token"), token("bob", "second-operator-token")];
    let operators = OperatorAuth::new(&tokens);
    let fields = [("host", "box.example"), ("via", "1.1 other")];
    let away = request(peer(AWAY, HERE), Version::HTTP_11, "/", &fields);
    for (shown, name) in [("first-operator-token", "ann"), ("second-operator-token", "bob")] {
        let found = operators.check(&ApiRequest::of(&away), Some(shown));
        assert_eq!(found, Ok(OperatorName::parse(name).unwrap()), "by its name");
    }
    let here = asking(peer(HERE, HERE), "localhost");
    for shown in [None, Some(""), Some("first-operator-toke"), Some("First-operator-token")] {
        let answer = operators.check(&ApiRequest::of(&here), shown);
        assert!(matches!(answer, Err(Denied::Unauthenticated(_))), "{shown:?}");
    }
}

#[test]
fn an_open_port_is_asked_under_its_own_hosts() {
    let open = AllowedHosts::default();
    let here = peer(HERE, "127.0.0.1:8182");
    for host in LOOPBACK {
        assert_eq!(open.check(&ApiRequest::of(&asking(here, host))), Ok(()), "{host}");
    }
    for host in OTHERS {
        assert!(is_forbidden(&open.check(&ApiRequest::of(&asking(here, host)))), "{host}");
    }
    for probe in ["/healthz", "/readyz", "/grpc.health.v1.Health/Check"] {
        let request = request(here, Version::HTTP_11, probe, &[("host", "evil.example")]);
        assert_eq!(open.check(&ApiRequest::of(&request)), Ok(()), "{probe}");
    }
}

#[test]
fn a_port_that_other_machines_reach_is_asked_under_any_address_but_no_name() {
    let away = peer(AWAY, "10.0.0.1:8182");
    for host in ["10.0.0.1:8182", "192.168.1.5:9000", "[fd00::1]", "localhost"] {
        assert_eq!(AllowedHosts::default().check(&ApiRequest::of(&asking(away, host))), Ok(()), "{host}");
    }
    for host in ["evil.example", "0.0.0.0", "[::]", "10.0.0.1.evil.example"] {
        assert!(is_forbidden(&AllowedHosts::default().check(&ApiRequest::of(&asking(away, host)))), "{host}");
    }
}

#[test]
fn listed_hosts_are_own_and_a_protected_port_is_asked_under_every_host() {
    let listed = ["signalbox", "*.box.example", "10.0.0.1", "[fd00::1]"].map(|host| Host::parse(host).unwrap());
    let named = AllowedHosts::new(false, listed.to_vec(), Arc::default());
    let here = peer(HERE, HERE);
    for host in ["signalbox:8182", "SIGNALBOX.", "a.box.example", "10.0.0.1:1", "[fd00:0::1]", "localhost"] {
        assert_eq!(named.check(&ApiRequest::of(&asking(here, host))), Ok(()), "{host}");
        let operator = OperatorAuth::default().check(&ApiRequest::of(&asking(here, host)), None);
        assert_eq!(is_forbidden(&operator), host != "localhost", "{host}");
    }
    for host in ["box.example", "evil.example", "10.0.0.2"] {
        assert!(is_forbidden(&named.check(&ApiRequest::of(&asking(here, host)))), "{host}");
        let protected = AllowedHosts::new(true, Vec::new(), Arc::default());
        assert_eq!(protected.check(&ApiRequest::of(&asking(here, host))), Ok(()), "{host}");
    }
    let operators = Arc::new(OperatorAuth::new(&[token("ann", "first-operator-token")]));
    let hosts = AllowedHosts::new(false, Vec::new(), operators);
    for (shown, admitted) in [("Bearer first-operator-token", true), ("Bearer other", false), ("", false)] {
        let fields = [("host", "box.example"), ("authorization", shown)];
        let request = request(here, Version::HTTP_11, "/", &fields);
        assert_eq!(hosts.check(&ApiRequest::of(&request)).is_ok(), admitted, "{shown}");
    }
}

#[test]
fn a_request_without_one_clear_host_is_malformed_wherever_it_goes() {
    let protected = AllowedHosts::new(true, Vec::new(), Arc::default());
    let malformed = |version, fields: &[(&str, &str)]| {
        let request = request(peer(HERE, HERE), version, "/healthz", fields);
        matches!(protected.check(&ApiRequest::of(&request)), Err(Denied::Malformed(_)))
    };
    assert!(malformed(Version::HTTP_11, &[]));
    assert!(!malformed(Version::HTTP_10, &[]) && !malformed(Version::HTTP_2, &[]));
    for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
        assert!(malformed(version, &[("host", "localhost"), ("host", "localhost")]));
        for host in NO_HOSTS {
            assert!(malformed(version, &[("host", host)]), "{host}");
        }
    }
}
