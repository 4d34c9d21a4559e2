//! Commands that go on: `watch`, `tap`, `top`, and readers that go away.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Stdio};

use serde_json::Value;

use super::{command, ctl};
use crate::server::eventually;
use crate::support::backend::Backend;
use crate::support::server_harness::ServerHarness;

/// A command that runs until it is dropped.
struct Running {
    child: Child,
    lines: Option<BufReader<ChildStdout>>,
}

impl Running {
    fn start(harness: &ServerHarness, words: &[&str]) -> Self {
        let url = format!("http://{}", harness.server().api);
        let mut child =
            command(&[words, &["--api", &url]].concat()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines: Some(lines) }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.lines.as_mut().unwrap().read_line(&mut line).unwrap() > 0, "the output ended");
        line
    }

    fn json(&mut self) -> Value {
        serde_json::from_str(&self.line()).expect("each line is a document")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn events_are_lines_and_json_has_the_payload_of_rest() {
    let harness = ServerHarness::open();
    let backend = Backend::named("shop");
    let _instance = harness.instance("shop-1", &backend);
    let mut all = Running::start(&harness, &["watch", "--after", "0", "--json"]);
    let mut types = Vec::new();
    while types.last().is_none_or(|last| last != "config_applied") {
        let event = all.json();
        if event["service_name"] == "shop" {
            assert!(event["sequence"].as_u64() > Some(0) && event["at"].is_string(), "{event}");
            if event["type"] == "config_applied" {
                assert_eq!(event["payload"]["revision"], 1);
            }
        }
        types.extend(event["type"].as_str().map(str::to_owned));
    }
    assert!(types.contains(&"instance_registered".to_owned()), "{types:?}");
    let mut one = Running::start(&harness, &["watch", "shop/shop-1", "--after", "0"]);
    let line = one.line();
    assert!(line.contains("shop/shop-1  instance_registered") && !line.contains('\x1b'), "{line:?}");
}

#[test]
fn requests_are_shown_as_they_end() {
    let harness = ServerHarness::open();
    let backend = Backend::named("shop");
    let _instance = harness.instance("shop-1", &backend);
    let mut json = Running::start(&harness, &["tap", "--service", "shop", "--json"]);
    let mut lines = Running::start(&harness, &["tap", "--path", "/seen"]);
    // A tap shows what ends after it was opened.
    let requests = std::thread::scope(|scope| {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let harness = &harness;
        scope.spawn(move || {
            while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                harness.get("/seen");
            }
        });
        let seen = (json.json(), lines.line());
        drop(stop);
        seen
    });
    assert_eq!((&requests.0["path"], &requests.0["service_name"]), (&"/seen".into(), &"shop".into()));
    assert!(requests.1.contains("200") && requests.1.contains("GET http://a/seen"), "{}", requests.1);
}

#[test]
fn the_live_table_has_rounds() {
    let harness = ServerHarness::open();
    let backend = Backend::named("shop");
    let _instance = harness.instance("shop-1", &backend);
    let rounds = ["--interval", "10ms", "--rounds", "2"];
    let text = ctl(&harness, &[&["top"], &rounds[..]].concat());
    assert_eq!((text.code, text.out.matches("REQUESTS/S").count()), (0, 2), "{text:?}");
    assert!(text.out.contains("shop/shop-1") && !text.out.contains('\x1b'), "{text:?}");
    let json = ctl(&harness, &[&["top", "--json"], &rounds[..]].concat());
    let lines: Vec<Value> = json.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), lines[1]["items"][0]["route_id"].as_str()), (2, Some("r1")));
    assert!(lines[1]["items"][0]["requests_per_second"].is_number());
}

#[test]
fn a_reader_that_goes_away_ends_the_command_quietly() {
    let harness = ServerHarness::open();
    let backend = Backend::named("shop");
    let _instance = harness.instance("shop-1", &backend);
    let mut watching = Running::start(&harness, &["watch", "--after", "0"]);
    watching.line();
    watching.lines = None;
    let mut ended = None;
    eventually("it ends", || {
        ctl(&harness, &["drain", "shop/shop-1"]);
        ended = watching.child.try_wait().unwrap();
        ended.is_some()
    });
    let mut said = String::new();
    std::io::Read::read_to_string(&mut watching.child.stderr.take().unwrap(), &mut said).unwrap();
    assert_eq!((ended.unwrap().code(), said.as_str()), (Some(0), ""));
}

#[test]
fn a_server_that_stops_ends_a_stream_with_a_line() {
    let mut harness = ServerHarness::open();
    let _instance = harness.instance("shop-1", &Backend::named("shop"));
    let mut watching = Running::start(&harness, &["watch", "--after", "0"]);
    watching.line();
    harness.restart();
    let status = watching.child.wait().unwrap();
    let mut said = String::new();
    std::io::Read::read_to_string(&mut watching.child.stderr.take().unwrap(), &mut said).unwrap();
    assert_eq!(status.code(), Some(3), "{said}");
    assert!(said.starts_with("signalbox ctl: ") && said.lines().count() == 1, "{said:?}");
}
