//! Tests of every command with good and bad lines.

mod bulk;
mod page;
mod pieces;

use std::sync::LazyLock;

use super::super::render;
use super::*;
use crate::registry::Call;
use crate::registry::Command;
use crate::registry::queries::BackendTest;

/// Good lines of the commands with optional fields. The lines of other commands come from their usage.
const WITH_OPTIONAL_FIELDS: [&str; 7] = [
    r#"REGISTER|shop|shop-1|9001|{"a":"x|y"}"#,
    r#"ROUTE_ADD_BULK|s|[{"domains":["a.example"],"path":"/","backend_url":"http://b","priority":1}]"#,
    "ROUTE_LIST|s",
    "MAINT_ENTER|s|ALL|http://pages/down",
    "STATS_GET|s|r1",
    "CONFIG_HISTORY|s|5",
    r#"CONFIG_APPLY_WITH|s|{"confirm_within":"5m","guard":true,"reason":"a"}"#,
];

/// A good value of each field.
const VALUES: [(&str, &str); 22] = [
    ("session_id", "s"),
    ("domains", "a.example,b.example"),
    ("path", "/api"),
    ("backend_url", "http://b:3000"),
    ("priority", "5"),
    ("route_id", "r1"),
    ("field", "priority"),
    ("value", "5"),
    ("target", "ALL"),
    ("name", "X-Frame-Options"),
    ("key", "timeout"),
    ("interval", "10s"),
    ("timeout", "500ms"),
    ("requests", "100"),
    ("window", "1m"),
    ("threshold", "5"),
    ("half_open_requests", "2"),
    ("scopes", "routes,headers"),
    ("duration", "1m30s"),
    ("number", "3"),
    ("confirmation_id", "c0ffee"),
    ("event_type", "drain_completed"),
];

/// A good line of each command, in the order of the protocol.
static GOOD: LazyLock<Vec<String>> = LazyLock::new(|| parser().help().iter().map(|usage| good(usage)).collect());

fn good(usage: &str) -> String {
    let mut words = usage.split('|');
    let verb = words.next().unwrap();
    if let Some(line) = WITH_OPTIONAL_FIELDS.iter().find(|line| line.split('|').next() == Some(verb)) {
        return (*line).to_owned();
    }
    let value = |field| {
        let known = VALUES.iter().find(|(name, _)| *name == field);
        known.unwrap_or_else(|| panic!("write a good value of `{field}` into VALUES")).1
    };
    [verb].into_iter().chain(words.map(value)).collect::<Vec<_>>().join("|")
}

fn parser() -> Parser {
    Parser::new(ConnectionId(1), || 7, 64 * 1024)
}

fn parsed(line: &str) -> Parsed<'_> {
    parser().read(line.as_bytes()).expect("the line is not ignored")
}

/// Returns the reply to a refused line.
fn refused(line: &str) -> String {
    shown(&parsed(line).expect_err(line))
}

fn shown(refusal: &LineRefusal<'_>) -> String {
    let mut lines = render::ReplyBuffer::new(64 * 1024, 0);
    lines.refusal(refusal);
    String::from_utf8(lines.bytes().to_vec()).unwrap().strip_suffix('\n').unwrap().to_owned()
}

fn call(line: &str) -> String {
    format!("{:?}", parsed(line).unwrap().call)
}

/// Returns `line` with a transaction id after its session id; `None` for a command without a session id.
fn with_transaction(line: &str, id: &str) -> Option<String> {
    let (verb, rest) = line.split_once("|s").filter(|_| !line.starts_with("REGISTER|"))?;
    Some(format!("{verb}|s|{id}{rest}"))
}

#[test]
fn every_command_is_read() {
    for line in GOOD.iter() {
        assert_eq!(parsed(line).expect(line).transaction, None, "{line}");
    }
}

#[test]
fn a_transaction_id_is_told_apart_and_changes_nothing_else() {
    for line in GOOD.iter() {
        let Some(with) = with_transaction(line, "t-42") else { continue };
        let request = parsed(&with).expect(&with);
        assert_eq!((request.word, request.transaction), (parsed(line).unwrap().word, Some("t-42")), "{with}");
        assert_eq!(format!("{:?}", request.call), call(line), "{with}");
        assert_eq!(request.form, parsed(line).unwrap().form, "{with}");
    }
}

#[test]
fn too_few_fields_get_the_usage() {
    for line in GOOD.iter() {
        let verb = line.split('|').next().unwrap();
        let usage = refused(verb);
        assert!(usage.starts_with(&format!("ERROR|usage: {verb}|")), "{usage}");
        let fields: Vec<&str> = line.split('|').collect();
        // These fields are optional: the metadata (with its `|`), the page, the target of statistics, the limit of a list.
        let alone = ["STATS_GET", "CONFIG_HISTORY"].contains(&verb);
        let fewer = if alone || ["REGISTER", "MAINT_ENTER"].contains(&verb) { 2 } else { fields.len() - 1 };
        let short = if alone { verb.to_owned() } else { fields[..fewer].join("|") };
        assert_eq!(refused(&short), usage, "{short}");
    }
    assert_eq!(refused("ROUTE_ADD|s|a"), "ERROR|usage: ROUTE_ADD|session_id|domains|path|backend_url|priority");
    assert_eq!(refused("REGISTER|s"), "ERROR|usage: REGISTER|service|instance|maintenance_port[|metadata]");
    assert_eq!(refused("PING"), "ERROR|usage: PING|session_id");
    assert_eq!(refused("ROUTE_LIST"), "ERROR|usage: ROUTE_LIST|session_id[|compressed]");
    assert_eq!(refused("STATS_GET"), "ERROR|usage: STATS_GET|session_id[|target][|compressed]");
    assert_eq!(refused("MAINT_ENTER|s"), "ERROR|usage: MAINT_ENTER|session_id|target|[page_url]");
}

#[test]
fn too_many_fields_get_the_usage() {
    for line in GOOD.iter() {
        if line.contains('{') {
            continue;
        }
        for extra in [3, 20] {
            let long = format!("{line}{}", "|x".repeat(extra));
            assert!(refused(&long).starts_with("ERROR|usage: "), "{long}");
        }
    }
}

#[test]
fn an_empty_field_is_named() {
    for line in GOOD.iter() {
        let fields: Vec<&str> = line.split('|').collect();
        let json = line.contains('{');
        for at in 1..fields.len().min(if json { 3 } else { usize::MAX }) {
            let mut emptied = fields.clone();
            emptied[at] = "";
            let emptied = emptied.join("|");
            // The maintenance page, a priority, a header's value and a tested backend may be empty.
            if [
                "MAINT_ENTER|s|ALL|",
                "BACKEND_TEST|s|",
                "STATS_GET|s|",
                "CONFIG_HISTORY|s|",
                "HEADERS_SET|s|ALL|X-Frame-Options|",
            ]
            .contains(&&*emptied)
                || emptied == "ROUTE_ADD|s|a.example,b.example|/api|http://b:3000|"
            {
                assert!(parsed(&emptied).is_ok());
                continue;
            }
            assert!(refused(&emptied).ends_with(": is empty"), "{emptied}: {}", refused(&emptied));
        }
    }
    assert_eq!(refused("PING|"), "ERROR|session_id: is empty");
    assert_eq!(refused("PING|s||"), "ERROR|transaction_id: is empty");
    assert_eq!(refused("ROUTE_ADD|s|t|a.example||http://b|0"), "ERROR|t|path: is empty");
    assert_eq!(refused("ROUTE_ADD_BULK|s|"), "ERROR|routes: is empty");
    assert_eq!(refused("REGISTER|shop||1"), "ERROR|instance: is empty");
}

#[test]
fn a_bad_value_is_refused_with_its_field_and_the_transaction_id() {
    let bad = [
        ("REGISTER|shop|shop-1|65536", "maintenance_port"),
        ("REGISTER|shop|shop-1|-1", "maintenance_port"),
        ("REGISTER|a b|shop-1|1", "service"),
        ("REGISTER|shop|shop-1|1|[1]", "metadata"),
        ("ROUTE_ADD|s|t|a b|/|http://b|0", "t|domains"),
        ("ROUTE_ADD|s|t|a|x|http://b|0", "t|path"),
        ("ROUTE_ADD|s|t|a|/|ftp://b|0", "t|backend_url"),
        ("ROUTE_ADD|s|t|a|/|http://b|2147483648", "t|priority"),
        ("ROUTE_ADD|s|a|/|http://b|1.5", "priority"),
        ("ROUTE_UPDATE|s|t|1|path|/", "t|route_id"),
        ("ROUTE_UPDATE|s|t|r1|id|r2", "t|field"),
        ("ROUTE_UPDATE|s|r1|domains|,", "domains"),
        ("ROUTE_REMOVE|s|t|ALL", "t|route_id"),
        ("HEADERS_SET|s|t|all|X-A|b", "t|target"),
        ("HEADERS_SET|s|t|ALL|X A|b", "t|name"),
        ("HEADERS_REMOVE|s|ALL|content-length", "name"),
        ("OPTIONS_SET|s|r0|a|b", "target"),
        ("OPTIONS_REMOVE|s|ALL|a b", "key"),
        ("HEALTH_SET|s|r1|/|0|1s", "interval"),
        ("HEALTH_SET|s|t|r1|/|1s|soon", "t|timeout"),
        ("RATELIMIT_SET|s|ALL|0|1s", "requests"),
        ("RATELIMIT_SET|s|ALL|1000001|1s", "requests"),
        ("RATELIMIT_SET|s|ALL|1|-1s", "window"),
        ("CIRCUIT_BREAKER_SET|s|ALL|x|1s|1", "threshold"),
        ("CIRCUIT_BREAKER_SET|s|ALL|1|1s|0", "half_open_requests"),
        ("CONFIG_HISTORY|s|t|0", "t|limit"),
        ("CONFIG_HISTORY|s|101", "limit"),
        ("CONFIG_APPLY_WITH|s|t|{\"confirm_within\":\"25h\"}", "t|confirm_within"),
        ("CONFIG_APPLY_WITH|s|{\"guard\":true}", "guard"),
        ("CONFIG_APPLY_WITH|s|{\"scopes\":[]}", "scopes"),
        ("CONFIG_APPLY_WITH|s|5m", "options"),
        ("CONFIG_REVERT|s|t|-1", "t|number"),
        ("CONFIG_REVERT|s|last", "number"),
        ("CONFIG_APPLY_PARTIAL|s|t|routes,weather", "t|scope"),
        ("DRAIN_START|s|t|99999999999999999999", "t|duration"),
        ("MAINT_ENTER|s|t|a b|", "t|target"),
        ("MAINT_ENTER|s|ALL|pages", "page_url"),
        ("MAINT_EXIT|s|t|,", "t|target"),
        ("CONFIG_APPLY_PARTIAL|s|t|,", "t|scope"),
        ("STATS_GET|s|t|r01", "t|target"),
        ("SUBSCRIBE|s|t|weather", "t|event_type"),
        ("UNSUBSCRIBE|s|weather", "event_type"),
    ];
    for (line, field) in bad {
        assert!(refused(line).starts_with(&format!("ERROR|{field}: ")), "{line}: {}", refused(line));
    }
}

#[test]
fn a_value_that_is_too_long_is_refused() {
    let long = "x".repeat(100_000);
    for line in [
        format!("REGISTER|{long}|i|1"),
        format!("REGISTER|s|i|1|{{\"a\":\"{long}\"}}"),
        format!("PING|s|{long}"),
        format!("ROUTE_ADD|s|{long}|/|http://b|0"),
        format!("ROUTE_ADD|s|a|/{long}|http://b|0"),
        format!("ROUTE_ADD|s|a|/|http://b/{long}|0"),
        format!("HEADERS_SET|s|ALL|X-A|{long}"),
        format!("HEADERS_SET|s|ALL|{long}|a"),
        format!("OPTIONS_SET|s|ALL|a|{long}"),
        format!("OPTIONS_SET|s|ALL|{long}|a"),
        format!("MAINT_ENTER|s|ALL|http://b/{long}"),
        format!("{long}|s"),
    ] {
        let refused = refused(&line);
        assert!(refused.len() < 300, "{refused}");
    }
}

#[test]
fn an_unknown_command_is_named_in_short() {
    assert_eq!(refused("HELLO|world"), "ERROR|unknown command: HELLO");
    assert_eq!(refused("ping|s"), "ERROR|unknown command: ping");
    assert_eq!(refused("|"), "ERROR|unknown command: ");
    assert_eq!(refused(&"é".repeat(50)), format!("ERROR|unknown command: {}", "é".repeat(40)));
}

#[test]
fn empty_lines_and_a_bare_ack_are_ignored() {
    assert!(parser().read(b"").is_none() && parser().read(b"ACK").is_none());
    assert_eq!(refused("ACK|x"), "ERROR|unknown command: ACK");
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let refused = |line: &[u8]| shown(&parser().read(line).unwrap().unwrap_err());
    assert_eq!(refused(b"PING|\xff"), "ERROR|the line is not valid UTF-8 (byte 6)");
    for control in ["\0", "\t", "\r", "\u{1b}", "\u{7f}", "\u{85}"] {
        let line = format!("PING|{control}x");
        assert_eq!(refused(line.as_bytes()), "ERROR|the line holds a control character (byte 6)");
    }
    assert!(parser().read("PING|dépôt-日本".as_bytes()).unwrap().is_ok());
}

#[test]
fn an_empty_priority_is_zero() {
    assert_eq!(call("ROUTE_ADD|s|a|/|http://b|"), call("ROUTE_ADD|s|a|/|http://b|0"));
}

#[test]
fn compressed_all_and_route_ids_are_no_transaction_ids() {
    let read = |line: &str| {
        let request = parsed(line).unwrap();
        (request.transaction.map(str::to_owned), request.form == Form::Compressed, format!("{:?}", request.call))
    };
    let (id, compressed, plain) = read("ROUTE_LIST|s");
    assert_eq!((id, compressed), (None, false));
    assert_eq!(read("ROUTE_LIST|s|compressed"), (None, true, plain.clone()));
    assert_eq!(read("ROUTE_LIST|s|t"), (Some("t".to_owned()), false, plain.clone()));
    assert_eq!(read("ROUTE_LIST|s|t|compressed"), (Some("t".to_owned()), true, plain));
    let (_, _, all) = read("STATS_GET|s");
    let (_, _, one) = read("STATS_GET|s|r1");
    assert_eq!(read("STATS_GET|s|ALL"), (None, false, all.clone()));
    assert_eq!(read("STATS_GET|s|compressed"), (None, true, all.clone()));
    assert_eq!(read("STATS_GET|s|r1|compressed"), (None, true, one.clone()));
    assert_eq!(read("STATS_GET|s|t"), (Some("t".to_owned()), false, all.clone()));
    assert_eq!(read("STATS_GET|s|t|compressed"), (Some("t".to_owned()), true, all.clone()));
    assert_eq!(read("STATS_GET|s|t|r1|compressed"), (Some("t".to_owned()), true, one));
    assert_eq!(read("STATS_GET|s|t|ALL"), (Some("t".to_owned()), false, all));
    assert!(refused("STATS_GET|s|r1|r2|compressed").starts_with("ERROR|usage: STATS_GET|"));
}

#[test]
fn an_empty_field_behind_the_last_one_is_none() {
    for line in GOOD.iter() {
        assert_eq!(call(&format!("{line}|")), call(line), "{line}|");
        assert_eq!(parsed(&format!("{line}|")).unwrap().transaction, None, "{line}|");
        let Some(with) = with_transaction(line, "t-42") else { continue };
        let longer = format!("{with}|");
        let request = parsed(&longer).expect(&longer);
        assert_eq!((request.transaction, format!("{:?}", request.call)), (Some("t-42"), call(line)), "{longer}");
    }
    for bare in
        ["ROUTE_ADD|s|a|/|http://b|", "MAINT_ENTER|s|ALL|", "HEADERS_SET|s|ALL|X-A|", "STATS_GET|s|", "REGISTER|a|b|1|"]
    {
        assert_eq!(parsed(bare).expect(bare).transaction, None, "{bare}");
    }
}

#[test]
fn an_empty_header_is_a_value() {
    for (line, transaction) in [("HEADERS_SET|s|ALL|X-A|", None), ("HEADERS_SET|s|t|ALL|X-A|", Some("t"))] {
        let request = parsed(line).expect(line);
        let Call::Command(Command::HeadersSet(set)) = request.call else { panic!("{line}") };
        assert_eq!((&*set.value, request.transaction), ("", transaction), "{line}");
    }
}

#[test]
fn a_comma_too_many_means_nothing() {
    let same = [
        ("ROUTE_ADD|s|a.com,|/|http://b|0", "ROUTE_ADD|s|a.com|/|http://b|0"),
        ("ROUTE_ADD|s|, a.com ,, b.com , |/|http://b|0", "ROUTE_ADD|s|a.com,b.com|/|http://b|0"),
        ("ROUTE_UPDATE|s|r1|domains|a.com,", "ROUTE_UPDATE|s|r1|domains|a.com"),
        ("MAINT_EXIT|s|r1,", "MAINT_EXIT|s|r1"),
        ("MAINT_ENTER|s|,r1,,/x|", "MAINT_ENTER|s|r1,/x|"),
        ("CONFIG_APPLY_PARTIAL|s|routes,", "CONFIG_APPLY_PARTIAL|s|routes"),
        (
            r#"ROUTE_ADD_BULK|s|[{"domains":"a.com,","path":"/","backend_url":"http://b"}]"#,
            r#"ROUTE_ADD_BULK|s|[{"domains":["a.com"],"path":"/","backend_url":"http://b"}]"#,
        ),
    ];
    for (liberal, plain) in same {
        assert_eq!(call(liberal), call(plain), "{liberal}");
    }
}

#[test]
fn any_backend_can_be_tested_and_its_transaction_id_is_told_apart() {
    let tested = |line: &str| {
        let request = parsed(line).expect(line);
        let Call::BackendTest(BackendTest { session, backend }) = request.call else { panic!("{line}") };
        assert_eq!(session.reveal(), "s");
        (request.transaction.map(str::to_owned), backend.map(|url| url.to_string()).map_err(|error| error.to_string()))
    };
    let url = || Ok("http://b:3000".to_owned());
    let transaction = || Some("t".to_owned());
    assert_eq!(tested("BACKEND_TEST|s|http://b:3000/"), (None, url()));
    assert_eq!(tested("BACKEND_TEST|s|http://b:3000|"), (None, url()));
    assert_eq!(tested("BACKEND_TEST|s|t|http://b:3000"), (transaction(), url()));
    assert_eq!(tested("BACKEND_TEST|s|t|http://b:3000|"), (transaction(), url()));
    assert_eq!(tested("BACKEND_TEST|s|t|").0, transaction());
    for nonsense in ["", " ", "b:80", "ftp://b", "http://", "http://b:0x50", "http://u:p@b", "unix:///run/b.sock"] {
        assert!(tested(&format!("BACKEND_TEST|s|{nonsense}")).1.is_err(), "{nonsense}");
        let (id, backend) = tested(&format!("BACKEND_TEST|s|t|{nonsense}"));
        assert!(id == transaction() && backend.is_err(), "{nonsense}");
    }
    assert_eq!(refused("BACKEND_TEST|s"), "ERROR|usage: BACKEND_TEST|session_id|backend_url");
    assert_eq!(refused("BACKEND_TEST||http://b"), "ERROR|session_id: is empty");
}

#[test]
fn maintenance_may_come_without_a_page() {
    assert_eq!(call("MAINT_ENTER|s|ALL"), call("MAINT_ENTER|s|ALL|"));
    assert_eq!(call("MAINT_ENTER|s|ALL"), call("MAINT_ENTER|s|t|ALL|"));
    assert_eq!(parsed("MAINT_ENTER|s|r1,/x").unwrap().form, Form::Outcome("r1,/x"));
    assert_eq!(parsed("MAINT_EXIT|s|t|r1").unwrap().form, Form::Outcome("r1"));
}
