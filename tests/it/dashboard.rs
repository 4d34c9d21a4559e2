//! The dashboard at the root of the API port: its files, what browsers may do with it, and what it does not tell.

use std::net::SocketAddr;
use std::path::Path;

use crate::server::Server;
use crate::support::wire::{Message, Wire};

const BROWSER: &str = "accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n";

fn get(api: SocketAddr, target: &str, fields: &str) -> Message {
    let mut wire = Wire::connect(api);
    wire.send(format!("GET {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{fields}\r\n"));
    // A stream of events goes on for ever.
    let answer = if ["events", "tap"].iter().any(|name| target.ends_with(name)) { wire.head() } else { wire.message() };
    answer.expect("an answer")
}

/// The files that the page names, as it names them.
fn files(page: &str) -> Vec<String> {
    let named = page.split(['"', '\'']).filter(|part| part.starts_with("dashboard/"));
    named.map(str::to_owned).collect()
}

/// All files of the page: those that it names, and those that its scripts import.
fn all_files(api: SocketAddr) -> Vec<(String, Message)> {
    let mut paths = files(get(api, "/", BROWSER).text());
    let mut found = Vec::new();
    while let Some(path) = paths.pop() {
        if found.iter().any(|(known, _)| *known == path) {
            continue;
        }
        let file = get(api, &format!("/{path}"), "");
        let folder = path.rsplit_once('/').unwrap().0;
        let imports = file.text().lines().filter(|line| line.starts_with("import "));
        let imports = imports.filter_map(|line| line.split(['"', '\'']).nth(1)?.strip_prefix("./"));
        paths.extend(imports.map(|name| format!("{folder}/{name}")));
        found.push((path, file));
    }
    assert!(found.len() > 15, "{found:?}");
    found
}

#[test]
fn the_root_shows_browsers_the_dashboard_and_programs_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let page = get(server.api, "/", BROWSER);
    assert_eq!((page.status(), page.field("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(page.text().contains("<title>Signalbox</title>"));
    for fields in ["", "accept: */*\r\n", "accept: application/json\r\n", "accept: text/html;q=0\r\n"] {
        let index = get(server.api, "/", fields);
        assert_eq!((index.status(), index.field("content-type")), (200, Some("application/json")), "{fields}");
        let index: serde_json::Value = serde_json::from_str(index.text()).unwrap();
        assert_eq!(index["version"], env!("CARGO_PKG_VERSION"));
        for (name, link) in index["links"].as_object().unwrap() {
            let status = get(server.api, &format!("/{}", link.as_str().unwrap()), "").status();
            // One of them is for POST.
            assert!(status == 200 || (name == "sessions" && status == 405), "{name}: {status}");
        }
        assert!(get(server.api, "/", fields).field("vary").unwrap().contains("accept"));
    }
}

#[test]
fn paths_beside_the_dashboard_answer_as_they_did() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    for path in ["/nothing", "/dashboard", "/dashboard/", "/dashboard/0/main.js", "/dashboard/a/b/c", "/index.html"] {
        let answer = get(server.api, path, BROWSER);
        let kind = answer.field("content-type");
        assert_eq!((answer.status(), kind), (404, Some("application/problem+json")), "{path}");
    }
    let mut wire = Wire::connect(server.api);
    wire.send("POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(wire.message().unwrap().status(), 405);
}

#[test]
fn every_file_says_how_little_a_browser_may_do_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut all = all_files(server.api);
    all.push(("/".to_owned(), get(server.api, "/", BROWSER)));
    for (path, file) in all {
        assert_eq!(file.status(), 200, "{path}");
        let policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
        assert_eq!(file.field("content-security-policy"), Some(policy), "{path}");
        assert_eq!(file.field("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(file.field("referrer-policy"), Some("no-referrer"), "{path}");
    }
}

#[test]
fn files_are_kept_for_ever_and_the_page_is_asked_for_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let page = get(server.api, "/", BROWSER);
    assert_eq!(page.field("cache-control"), Some("no-cache"));
    let known = format!("{BROWSER}if-none-match: \"other\", {}\r\n", page.field("etag").unwrap());
    let again = get(server.api, "/", &known);
    assert_eq!((again.status(), again.text()), (304, ""));
    assert_eq!(again.field("etag"), page.field("etag"));
    for (path, file) in all_files(server.api) {
        assert_eq!(file.field("cache-control"), Some("public, max-age=31536000, immutable"), "{path}");
        let known = format!("if-none-match: {}\r\n", file.field("etag").unwrap());
        assert_eq!(get(server.api, &format!("/{path}"), &known).status(), 304, "{path}");
    }
}

#[test]
fn files_are_compressed_for_those_who_take_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let size = |fields: &str| {
        let page = get(server.api, "/", &format!("{BROWSER}{fields}"));
        let length: usize = page.field("content-length").unwrap().parse().unwrap();
        (page.field("content-encoding").map(str::to_owned), length)
    };
    let (plain, whole) = size("accept-encoding: br, gzip;q=0\r\n");
    let (packed, less) = size("accept-encoding: br, gzip;q=0.5\r\n");
    assert_eq!((plain, packed.as_deref()), (None, Some("gzip")));
    assert!(less < whole, "{less} of {whole}");
}

#[test]
fn no_file_names_another_host_and_no_link_is_absolute() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/dashboard/assets");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        // What no browser asks for: the address of a project in a comment, the name of a format, and a backend in the
        // configuration that a new instance begins with.
        let known = ["https://github.com/leeoniya/uPlot", "http://www.w3.org/2000/svg", "'http://127.0.0.1:3000'"];
        let rest = known.iter().fold(text, |text, known| text.replace(known, ""));
        // Comments name sources.
        let rest: Vec<&str> = rest.lines().map(|line| line.split("// ").next().unwrap_or_default()).collect();
        let rest = rest.join("\n");
        let absolute = ["http://", "https://", "src=\"/", "href=\"/", "'/v1", "`/v1", "url(/", "from '/"];
        assert!(!absolute.iter().any(|link| rest.contains(link)), "{name} names a host, or a path from the root");
        for markup in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"] {
            assert!(!rest.contains(markup), "{name} makes markup of text: {markup}");
        }
    }
}

#[test]
fn files_need_no_token_and_data_does() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_with(folder.path(), &["--api-operator-tokens", "0123456789abcdef"]);
    for (path, file) in all_files(server.api) {
        assert_eq!(file.status(), 200, "{path}");
    }
    for path in ["/v1/overview", "/v1/routes", "/v1/events", "/v1/tap", "/metrics"] {
        assert_eq!(get(server.api, path, BROWSER).status(), 401, "{path}");
        let shown = format!("{BROWSER}authorization: Bearer 0123456789abcdef\r\n");
        assert_eq!(get(server.api, path, &shown).status(), 200, "{path}");
    }
    for host in ["evil.example", "10.0.0.7"] {
        let mut wire = Wire::connect(server.api);
        wire.send(format!("GET / HTTP/1.1\r\nhost: {host}\r\n{BROWSER}\r\n"));
        assert_eq!(wire.message().unwrap().status(), 403, "no page is served under a stranger's name: {host}");
    }
}
