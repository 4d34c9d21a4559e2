//! The access log: its lines, and what happens when they cannot be written.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::json_lines;
use crate::server::{Server, eventually};
use crate::support::backend::Backend;
use crate::support::http2_client::Http2Client;
use crate::support::server_harness::ServerHarness;

fn logging(file: &Path, flags: &[&str]) -> ServerHarness {
    let file = ["--log-access-file", file.to_str().unwrap()];
    ServerHarness::with(&[&file, flags].concat())
}

fn file(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("access.log")
}

#[test]
fn a_json_line_tells_all_of_a_request() {
    let folder = tempfile::tempdir().unwrap();
    let harness = logging(&file(&folder), &[]);
    let backend = Backend::answering("HTTP/1.1 201 Created\r\ncontent-length: 5\r\n\r\nhello");
    let _instance = harness.instance("shop-1", &backend);
    let mut wire = harness.connect();
    wire.send(
        "POST /a/b?x=1&token=t HTTP/1.1\r\nhost: shop.example\r\ncontent-length: 3\r\nuser-agent: curl/8\r\n\
         referer: http://from.example/?token=t#part\r\n\r\nabc",
    );
    assert_eq!(wire.message().unwrap().status(), 201);
    let line = &json_lines(&file(&folder), 1)[0];
    for (key, value) in [
        ("client", Value::from("127.0.0.1")),
        ("method", "POST".into()),
        ("scheme", "http".into()),
        ("host", "shop.example".into()),
        ("path", "/a/b".into()),
        ("query", "x=1&token=***".into()),
        ("protocol", "HTTP/1.1".into()),
        ("status", 201.into()),
        ("bytes_received", 3.into()),
        ("bytes_sent", 5.into()),
        ("service_name", "shop".into()),
        ("instance_name", "shop-1".into()),
        ("route_id", "r1".into()),
        ("attempts", 1.into()),
        ("user_agent", "curl/8".into()),
        ("referer", "http://from.example/?token=***#part".into()),
    ] {
        assert_eq!(line[key], value, "{key} in {line}");
    }
    assert_eq!(Some(line["id"].as_str().unwrap()), backend.heard().field("x-request-id"));
    let [all, upstream] = ["duration_ms", "upstream_ms"].map(|key| line[key].as_f64().unwrap());
    assert!(upstream > 0.0 && all >= upstream && line["time"].as_str().unwrap().ends_with('Z'), "{line}");
    assert!(line.get("reason").is_none() && line.get("tried").is_none(), "{line}");
}

#[test]
fn requests_of_every_kind_have_one_line_each() {
    let folder = tempfile::tempdir().unwrap();
    let harness = logging(&file(&folder), &[]);
    let backend = Backend::named("hello");
    let mut instance = harness.empty("shop-1");
    instance.add("a", "/", &backend.url());
    instance.apply();
    harness.get("/get");
    let mut wire = harness.connect();
    wire.send("HEAD /head HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(wire.head().unwrap().status(), 200);
    harness.get_of("b", "/unmatched");
    let mut head = harness.connect();
    head.send("HEAD /unmatched-head HTTP/1.0\r\nhost: b\r\n\r\n");
    head.has_ended();
    Http2Client::connect(harness.server().proxy).get("http://a/http2").unwrap();
    let lines = json_lines(&file(&folder), 5);
    let short: Vec<_> = lines
        .iter()
        .map(|line| {
            let text = |key: &str| line[key].as_str().unwrap_or("-").to_owned();
            (
                text("path"),
                text("protocol"),
                line["status"].as_u64().unwrap(),
                line["bytes_sent"].as_u64().unwrap(),
                text("reason"),
            )
        })
        .collect();
    let expected = |path: &str, protocol: &str, status, sent: Option<u64>, reason: &str| {
        let found = short.iter().find(|line| line.0 == path).unwrap_or_else(|| panic!("{path} in {short:?}"));
        assert_eq!((&*found.1, found.2, &*found.4), (protocol, status, reason), "{path}");
        assert!(sent.is_none_or(|sent| sent == found.3), "{path}: {found:?}");
    };
    expected("/get", "HTTP/1.1", 200, Some(5), "-");
    expected("/unmatched", "HTTP/1.1", 404, None, "no_route");
    expected("/unmatched-head", "HTTP/1.0", 404, Some(0), "no_route");
    expected("/http2", "HTTP/2", 200, Some(5), "-");
}

#[test]
fn text_of_a_client_forges_no_line() {
    let evil = "a\" b\\ \u{e9} {\"status\":200} 127.0.0.1 - -";
    for format in ["json", "combined"] {
        let folder = tempfile::tempdir().unwrap();
        let harness = logging(&file(&folder), &["--log-access-format", format]);
        let mut wire = harness.connect();
        wire.send(format!(
            "GET /p%0aq?%22 HTTP/1.1\r\nhost: a\r\nuser-agent: {evil}\r\nreferer: {evil}\r\nx-request-id: {evil}\r\n\r\n"
        ));
        wire.message();
        let read = || std::fs::read_to_string(file(&folder)).unwrap_or_default();
        eventually("the line is there", || read().ends_with('\n'));
        let text = read();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.bytes().all(|byte| byte == b'\n' || byte >= b' '), "{text:?}");
        if format == "json" {
            let line: Value = serde_json::from_str(&text).unwrap();
            let agent = line["user_agent"].as_str().unwrap_or_default();
            assert!(agent.contains("a\" b\\") && agent.contains("{\"status\":200}"), "{line}");
        } else {
            let quotes = text.matches('"').count();
            assert_eq!(quotes, 6, "three quoted fields: {text}");
            assert!(text.contains("\\x22") && text.contains("\\x5C") && text.starts_with("127.0.0.1 - - ["), "{text}");
        }
    }
}

#[test]
fn a_file_that_is_renamed_loses_no_line() {
    let folder = tempfile::tempdir().unwrap();
    let harness = logging(&file(&folder), &[]);
    let mut wire = harness.connect();
    let mut written = 0;
    for round in 0..4 {
        for number in 0..50 {
            wire.send(format!("GET /{round}/{number} HTTP/1.1\r\nhost: a\r\n\r\n"));
            wire.message().unwrap();
        }
        std::fs::rename(file(&folder), folder.path().join(format!("access.log.{round}"))).unwrap();
        harness.server().signal(if round % 2 == 0 { "USR1" } else { "HUP" });
        eventually("there is a new file", || file(&folder).exists());
        written += 50;
    }
    let all = || {
        let files = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        files.map(|path| std::fs::read_to_string(path).unwrap()).collect::<String>()
    };
    eventually("all lines are there", || all().lines().count() >= written);
    let mut paths: Vec<String> = all()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["path"].as_str().unwrap().to_owned())
        .collect();
    paths.sort();
    paths.dedup();
    assert_eq!(paths.len(), written);
}

#[test]
fn a_place_that_takes_nothing_loses_lines_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for place in [Path::new("/dev/full"), &pipe] {
        let harness = logging(place, &[]);
        let backend = Backend::named("b");
        let _instance = harness.instance("shop-1", &backend);
        for _ in 0..20 {
            assert_eq!(harness.status("/"), 200, "{}", place.display());
        }
        eventually("the loss is told", || {
            std::fs::read_to_string(&harness.server().log).unwrap().contains("lines of the access log were dropped")
        });
        if place == pipe {
            // A reader that comes gets the lines from then on.
            let pipe = pipe.clone();
            let reader = std::thread::spawn(move || std::fs::File::open(pipe)?.read_exact(&mut [0]));
            eventually("a line comes", || {
                harness.status("/late");
                reader.is_finished()
            });
            reader.join().unwrap().unwrap();
        }
    }
}

#[test]
fn the_access_log_follows_a_reload_and_one_that_cannot_be_opened_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("signalbox.toml");
    std::fs::write(&config, "").unwrap();
    let server = Server::start_with(folder.path(), &["--config", config.to_str().unwrap()]);
    let reload = |text: &str| {
        // The server follows the file by itself, and would take half of it for the whole.
        let new = folder.path().join("new.toml");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &config).unwrap();
        server.signal("HUP");
    };
    let section = |name: &str| format!("[log.access]\nfile = \"{}\"\n", folder.path().join(name).display());
    reload(&section("one"));
    eventually("it is on", || {
        server.get("a", "/");
        folder.path().join("one").metadata().is_ok_and(|file| file.len() > 0)
    });
    reload(&section("missing/two"));
    let log = || std::fs::read_to_string(&server.log).unwrap();
    eventually("it is refused", || log().contains("log.access.file") && log().contains("cannot be opened"));
    let before = folder.path().join("one").metadata().unwrap().len();
    eventually("the old one goes on", || {
        server.get("a", "/");
        folder.path().join("one").metadata().unwrap().len() > before
    });
    reload(&format!("{}format = \"combined\"\n", section("three")));
    eventually("the new one is on", || {
        server.get("a", "/");
        std::fs::read_to_string(folder.path().join("three")).is_ok_and(|text| text.starts_with("127.0.0.1 - - ["))
    });
    reload("");
    eventually("it is off", || {
        let text = || std::fs::read_to_string(folder.path().join("three")).unwrap().len();
        let before = text();
        server.get("a", "/");
        text() == before
    });
}
