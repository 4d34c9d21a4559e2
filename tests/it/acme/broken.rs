//! Directories that are broken in all ways: each attempt ends, is told, and is made again later.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use super::{AcmeServer, patiently, seconds_until};
use crate::support::acme_directory::Fault;
use crate::support::backend::closed_port;

/// Makes a broken answer.
type MakeFault = Box<dyn Fn() -> Fault + Send + Sync>;

/// The ways in which an answer is broken, by name.
fn faults() -> Vec<(&'static str, MakeFault)> {
    let bytes = |head: &'static str, body: &'static str| {
        move || Fault::Bytes(format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes())
    };
    let url = |url: String| move || Fault::Url(url.clone());
    let nowhere = closed_port();
    vec![
        ("cut", Box::new(|| Fault::Bytes(Vec::new()))),
        ("half", Box::new(|| Fault::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{\"status\":".to_vec()))),
        ("not-http", Box::new(|| Fault::Bytes(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()))),
        ("text", Box::new(bytes("200 OK", "welcome"))),
        ("page", Box::new(bytes("200 OK\r\ncontent-type: text/html", "<html>sign in</html>"))),
        ("list", Box::new(bytes("200 OK", "[1, 2]"))),
        ("null", Box::new(bytes("200 OK", "null"))),
        ("empty", Box::new(bytes("200 OK", ""))),
        ("error", Box::new(bytes("500 Internal Server Error", ""))),
        ("error-page", Box::new(bytes("502 Bad Gateway\r\ncontent-type: text/html", "<html>bad gateway</html>"))),
        ("wrong", Box::new(bytes("404 Not Found", "no such page"))),
        ("elsewhere", Box::new(bytes("301 Moved Permanently\r\nlocation: https://127.0.0.1:1/", ""))),
        ("wait", Box::new(bytes("503 So\r\nretry-after: 18446744073709551615", ""))),
        (
            "huge",
            Box::new(|| {
                let body = vec![b' '; 1 << 20];
                Fault::Bytes(
                    [format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes(), &body].concat(),
                )
            }),
        ),
        ("plain-url", Box::new(url("http://127.0.0.1:1/".to_owned()))),
        ("odd-url", Box::new(url("not a \u{1} url".to_owned()))),
        ("no-url", Box::new(url(String::new()))),
        ("far-url", Box::new(url(format!("https://{nowhere}/")))),
    ]
}

/// The faults that are left out where there are many requests: another one is like each of them, or it waits for days.
const ALIKE: [&str; 11] =
    ["half", "not-http", "page", "list", "null", "empty", "error", "wrong", "elsewhere", "no-url", "wait"];

/// Returns true if the fault can do no harm there: the answer holds no URL, or any text will do.
fn is_harmless(resource: &str, fault: &str) -> bool {
    let has_no_url = matches!(resource, "newNonce" | "challenge" | "certificate" | "renewalInfo");
    let is_empty_answer = resource == "newNonce";
    fault.ends_with("url") && has_no_url || is_empty_answer && matches!(fault, "text" | "page" | "list" | "null")
}

#[test]
fn a_broken_answer_before_any_order_is_told_and_the_next_attempt_comes_later() {
    let mut server = AcmeServer::start("", |_| {});
    for resource in ["directory", "newNonce", "newAccount"] {
        let broken: Vec<_> = faults().into_iter().filter(|(fault, _)| !is_harmless(resource, fault)).collect();
        let names: Vec<String> =
            (0..broken.len()).map(|at| format!("{}-{at}.shop.example", resource.to_lowercase())).collect();
        // Each attempt needs the resource, and gets the next fault.
        let turns = AtomicUsize::new(0);
        server.directory.answer(move |heard| {
            let turn = || turns.fetch_add(1, Ordering::SeqCst) % broken.len();
            (heard.resource == resource).then(|| broken[turn()].1())
        });
        server.serve(&names.iter().map(String::as_str).collect::<Vec<_>>());
        for name in &names {
            let error = server.failed(name);
            let log = server.log();
            assert!(!error.contains("internal error") && !log.contains("panicked"), "{resource}: {error}\n{log}");
            assert!(error.chars().count() <= 500, "{error}");
            let wait = seconds_until(&server.seen(name)["next_attempt"]);
            assert!(wait > 20.0, "{resource}: {wait}");
        }
    }
    server.directory.change(|behaviour| behaviour.answer = None);
    server.serve(&["well.shop.example"]);
    patiently("another one gets a certificate", || server.is_served("well.shop.example"));
}

#[test]
fn a_broken_answer_about_an_order_is_told_and_a_later_attempt_succeeds() {
    let all: Arc<HashMap<_, _>> = Arc::new(faults().into_iter().collect());
    let resources = ["newOrder", "authorization", "challenge", "order", "finalize", "certificate"];
    let broken = resources.iter().flat_map(|resource| all.keys().map(move |fault| (*resource, *fault)));
    let named: HashMap<String, (&str, &str)> = broken
        .filter(|(resource, fault)| !is_harmless(resource, fault) && !ALIKE.contains(fault))
        .map(|(resource, fault)| (format!("{fault}-{}.shop.example", resource.to_lowercase()), (resource, fault)))
        .collect();
    let mut server = AcmeServer::start("", |behaviour| behaviour.lifetime = Duration::from_secs(9));
    let domains: Vec<&str> = named.keys().map(String::as_str).collect();
    server.serve(&domains);
    // It may have expired meanwhile, on a busy machine.
    let has_one = |seen: &Value| seen["not_after"].is_string();
    patiently("all have certificates", || {
        let seen = server.all_seen();
        seen.len() == named.len() && seen.iter().all(has_one)
    });
    let (faulty, heard) = (named.clone(), Arc::new(Mutex::new(HashSet::new())));
    let counted = Arc::clone(&heard);
    server.directory.answer(move |heard| {
        let (_, fault) = faulty.get(&heard.name).filter(|(resource, _)| *resource == heard.resource)?;
        counted.lock().unwrap().insert(heard.name.clone());
        Some(all[fault]())
    });
    let failed = |seen: &Value| seen["last_error"].is_string();
    patiently("all have failed", || heard.lock().unwrap().len() == named.len() && server.all_seen().iter().all(failed));
    for seen in server.all_seen() {
        let error = seen["last_error"].as_str().unwrap();
        assert!(!error.contains("internal error") && error.chars().count() <= 500, "{seen}");
    }
    assert!(!server.log().contains("panicked"), "{}", server.log());
    server.directory.change(|behaviour| behaviour.answer = None);
    patiently("a later attempt for each succeeds", || !server.all_seen().iter().any(failed));
}

#[test]
fn a_broken_answer_about_the_renewal_window_leaves_the_renewal_at_its_time() {
    let all: Arc<HashMap<_, _>> = Arc::new(faults().into_iter().collect());
    let harmful = all.keys().filter(|fault| !is_harmless("renewalInfo", fault));
    let domains: Vec<String> = harmful.map(|fault| format!("{fault}.shop.example")).collect();
    let mut server = AcmeServer::start("", |behaviour| {
        behaviour.lifetime = Duration::from_secs(6);
        behaviour.window = Some(|_| (-20, -10));
    });
    server.directory.answer(move |heard| {
        let fault = heard.name.strip_suffix(".shop.example").filter(|_| heard.resource == "renewalInfo")?;
        Some(all[fault]())
    });
    server.serve(&domains.iter().map(String::as_str).collect::<Vec<_>>());
    patiently("all are renewed", || domains.iter().all(|name| server.directory.issued(name).len() >= 2));
    let log = server.log();
    assert!(!log.contains("panicked") && !log.contains("internal error"), "{log}");
}
