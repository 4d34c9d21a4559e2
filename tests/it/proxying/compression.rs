//! Responses compressed on their way to the client.

use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use signalbox::domain::RouteId;

use crate::support::backend::Backend;
use crate::support::proxy_harness::{ProxyHarness, until};
use crate::support::wire::Message;

const CODINGS: [&str; 3] = ["br", "zstd", "gzip"];

fn harness(backend: &Backend) -> ProxyHarness {
    ProxyHarness::serving(&backend.url(), &[("compression", "true")])
}

fn ask(accept: &str) -> String {
    format!("GET / HTTP/1.1\r\nhost: a\r\naccept-encoding: {accept}\r\n\r\n")
}

fn text(words: usize) -> String {
    (0..words).map(|word| format!("word {word} of many, ")).collect()
}

fn answer(fields: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n{fields}\r\n{body}", body.len())
}

fn chunked(fields: &str, body: &str) -> String {
    let chunks =
        body.as_bytes().chunks(1000).map(|part| format!("{:x}\r\n{}\r\n", part.len(), str::from_utf8(part).unwrap()));
    let chunks: String = chunks.collect();
    format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n{fields}\r\n{chunks}0\r\n")
}

/// Decompresses bytes: all of them if they are complete, else as many as possible.
fn decoded(coding: &str, bytes: &[u8]) -> (String, bool) {
    let mut text = Vec::new();
    let whole = match coding {
        "br" => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut text),
        "zstd" => zstd::stream::read::Decoder::new(bytes).unwrap().read_to_end(&mut text),
        _ => flate2::read::GzDecoder::new(bytes).read_to_end(&mut text),
    };
    (String::from_utf8(text).unwrap(), whole.is_ok())
}

fn whole(message: &Message) -> String {
    let (text, whole) = decoded(message.field("content-encoding").expect("it is not compressed"), &message.body);
    assert!(whole, "it ends too soon");
    text
}

#[test]
fn each_coding_gives_the_same_text_in_fewer_bytes() {
    // From just enough to more than any buffer on the way holds.
    for words in [80, 5_000, 40_000] {
        let text = text(words);
        for backend in [Backend::answering(answer("", &text)), Backend::answering(chunked("", &text) + "\r\n")] {
            let harness = harness(&backend);
            for coding in CODINGS {
                let got = harness.ask(ask(coding));
                assert_eq!(got.field("content-encoding"), Some(coding));
                assert!(got.body.len() * 2 < text.len(), "{coding}: {} of {}", got.body.len(), text.len());
                assert!(whole(&got) == text, "{coding} gives another text");
            }
        }
    }
}

#[test]
fn the_head_says_what_the_body_is() {
    let fields = "etag: \"x\"\r\naccept-ranges: bytes\r\nvary: origin\r\ncontent-digest: sha-256=:x:\r\n";
    let backend = Backend::answering(answer(fields, &text(100)));
    let harness = harness(&backend);
    let got = harness.ask(ask("deflate, gzip;q=0.5, br;q=0.4"));
    assert_eq!((got.field("content-encoding"), got.field("etag")), (Some("gzip"), Some("W/\"x\"")));
    assert_eq!(got.all("vary").collect::<Vec<_>>(), ["origin", "accept-encoding"]);
    for gone in ["content-length", "accept-ranges", "content-digest"] {
        assert_eq!(got.field(gone), None);
    }
    let plain = harness.get("a", "/");
    assert_eq!((plain.field("content-encoding"), plain.field("etag")), (None, Some("\"x\"")));
    assert_eq!(plain.all("vary").collect::<Vec<_>>(), ["origin", "accept-encoding"]);
    assert_eq!(plain.text(), text(100));
}

#[test]
fn bodies_that_must_not_be_compressed_arrive_unchanged() {
    let body = text(100);
    let of = |status: &str, fields: &str| {
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{fields}\r\n\r\n{body}", body.len())
    };
    for answer in [
        of("200 OK", "content-type: image/png"),
        of("200 OK", "content-type: text/event-stream"),
        of("200 OK", "content-type: text/plain\r\ncontent-encoding: deflate"),
        of("200 OK", "content-type: text/plain\r\ncache-control: no-transform"),
        of("206 Partial Content", "content-type: text/plain\r\ncontent-range: bytes 0-9/10"),
        of("200 OK", "x-no: type"),
    ] {
        let backend = Backend::answering(&answer);
        let got = harness(&backend).ask(ask("br, gzip"));
        assert_eq!((got.text(), got.field("vary")), (&*body, None), "{answer}");
    }
    let short = Backend::answering(answer("", "short"));
    assert_eq!(harness(&short).ask(ask("br")).text(), "short");
    let off = Backend::answering(answer("", &body));
    assert_eq!(ProxyHarness::serving(&off.url(), &[]).ask(ask("br")).text(), body);
}

#[test]
fn answers_without_a_body_have_none() {
    let backend = Backend::new(|mut wire| {
        while let Some(request) = wire.message() {
            let status = if request.line.starts_with("HEAD") { "200 OK" } else { "304 Not Modified" };
            wire.send(format!(
                "HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: 5000\r\netag: \"x\"\r\n\r\n"
            ));
        }
    });
    let harness = harness(&backend);
    let mut wire = harness.connect();
    wire.send(ask("br").replace("GET", "HEAD"));
    let head = wire.head().unwrap();
    assert_eq!((head.field("content-encoding"), head.field("content-length")), (Some("br"), None));
    wire.send(ask("br"));
    let unchanged = wire.message().unwrap();
    assert_eq!((unchanged.status(), unchanged.field("etag")), (304, Some("W/\"x\"")));
}

#[test]
fn head_says_what_get_says() {
    let body = text(500);
    for (fields, accept) in [
        ("etag: \"x\"\r\naccept-ranges: bytes\r\n", "br"),
        ("etag: W/\"x\"\r\nvary: origin\r\n", "gzip"),
        ("cache-control: no-transform\r\n", "zstd"),
        ("content-encoding: deflate\r\n", "br"),
        ("content-md5: x\r\n", "identity"),
    ] {
        let whole = answer(fields, &body);
        let backend = Backend::new(move |mut wire| {
            while let Some(request) = wire.message() {
                let end = whole.find("\r\n\r\n").unwrap() + 4;
                wire.send(if request.line.starts_with("HEAD") { &whole[..end] } else { &whole });
            }
        });
        let harness = harness(&backend);
        let told = |method: &str| {
            let mut wire = harness.connect();
            wire.send(ask(accept).replace("GET", method));
            let mut fields = wire.head().unwrap().fields;
            fields.retain(|(name, _)| !["date", "transfer-encoding"].contains(&name.as_str()));
            fields
        };
        assert_eq!(told("HEAD"), told("GET"), "{fields}");
    }
}

/// Compares tags as the standard says, or letter by letter as many do.
fn tagged(tag: &'static str, literally: bool) -> Backend {
    let weak = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    Backend::new(move |mut wire| {
        while let Some(request) = wire.message() {
            let same = |said: &str| said == "*" || said.split(',').any(|said| weak(said) == weak(tag));
            let strong = |said: &str| said.split(',').any(|said| said.trim() == tag && !tag.starts_with("W/"));
            let cached =
                request.field("if-none-match").is_some_and(|said| if literally { said == tag } else { same(said) });
            let changed =
                request.field("if-match").is_some_and(|said| if literally { said != tag } else { !strong(said) });
            let body = if cached || changed { String::new() } else { text(500) };
            let status = match (cached, changed) {
                (true, _) => "304 Not Modified",
                (_, true) => "412 Precondition Failed",
                _ => "200 OK",
            };
            wire.send(format!(
                "HTTP/1.1 {status}\r\ncontent-type: text/plain\r\netag: {tag}\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            ));
        }
    })
}

#[test]
fn the_tag_of_a_compressed_answer_works_in_conditions() {
    for (tag, literally, match_status) in
        [("\"x\"", false, 200), ("\"x\"", true, 200), ("W/\"x\"", false, 412), ("W/\"x\"", true, 200)]
    {
        let backend = tagged(tag, literally);
        let harness = harness(&backend);
        let first = harness.ask(ask("br"));
        assert_eq!((first.status(), first.field("content-encoding")), (200, Some("br")));
        let given = first.field("etag").unwrap().to_owned();
        let conditional = |name: &str| {
            let answer =
                harness.ask(format!("GET / HTTP/1.1\r\nhost: a\r\naccept-encoding: br\r\n{name}: {given}\r\n\r\n"));
            (answer.status(), answer.field("etag").map(str::to_owned))
        };
        assert_eq!(conditional("if-none-match"), (304, Some(given.clone())), "{tag} {literally}");
        // A weak tag of the backend's own never matches by the standard.
        assert_eq!(conditional("if-match").0, match_status, "{tag} {literally}");
    }
}

#[test]
fn a_slow_stream_is_delivered_while_it_lasts() {
    for coding in CODINGS {
        let (go, may_go) = channel::<()>();
        let may_go = Mutex::new(may_go);
        let backend = Backend::new(move |mut wire| {
            wire.head();
            wire.send("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n");
            for word in ["first", "second"] {
                wire.send(format!("{:x}\r\n{word}\r\n", word.len()));
                may_go.lock().unwrap().recv().unwrap();
            }
            wire.send("0\r\n\r\n");
        });
        let harness = harness(&backend);
        let mut wire = harness.connect();
        wire.send(ask(coding));
        assert_eq!(wire.head().unwrap().field("content-encoding"), Some(coding));
        let mut came = Vec::new();
        for so_far in ["first", "firstsecond"] {
            while decoded(coding, &came).0 != so_far {
                let chunk = wire.chunk().unwrap();
                assert!(!chunk.is_empty(), "{coding} ended");
                came.extend(chunk);
            }
            assert!(!decoded(coding, &came).1);
            go.send(()).unwrap();
        }
        while let Some(chunk) = wire.chunk().filter(|chunk| !chunk.is_empty()) {
            came.extend(chunk);
        }
        assert_eq!(decoded(coding, &came), ("firstsecond".to_owned(), true));
    }
}

#[test]
fn a_body_that_breaks_off_does_not_end_as_if_it_were_whole() {
    let heads = ["transfer-encoding: chunked\r\n\r\n2710\r\n", "content-length: 10000\r\n\r\n"];
    for (coding, head) in CODINGS.into_iter().flat_map(|coding| heads.map(|head| (coding, head))) {
        let backend = Backend::new(move |mut wire| {
            wire.head();
            wire.send(format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n{head}half of it"));
        });
        let harness = harness(&backend);
        let mut wire = harness.connect();
        wire.send(ask(coding));
        assert_eq!(wire.head().unwrap().status(), 200);
        let mut came = Vec::new();
        while let Some(chunk) = wire.chunk() {
            assert!(!chunk.is_empty(), "{coding}: a clean end");
            came.extend(chunk);
        }
        assert!(wire.has_ended());
        assert_eq!(decoded(coding, &came), ("half of it".to_owned(), false), "{coding}");
    }
}

#[test]
fn trailers_pass_but_for_digests_of_other_bytes() {
    let text = text(500);
    let backend = Backend::answering(
        chunked("trailer: x-sum, content-digest\r\n", &text) + "x-sum: theirs\r\ncontent-digest: sha-256=:x:\r\n\r\n",
    );
    let got = harness(&backend).ask(ask("gzip").replace("\r\n\r\n", "\r\nte: trailers\r\nconnection: te\r\n\r\n"));
    assert_eq!((whole(&got), got.trailers), (text, vec![("x-sum".to_owned(), "theirs".to_owned())]));
}

#[test]
fn a_connection_is_kept_behind_a_compressed_answer_and_what_was_sent_is_counted() {
    let backend = Backend::answering(answer("", &text(1000)));
    let mut harness = ProxyHarness::new();
    let key = harness.serve("shop", "shop-1", &backend.url(), &[("compression", "true")]);
    let mut wire = harness.connect();
    let mut sent = 0;
    for _ in 0..3 {
        wire.send(ask("zstd"));
        sent += wire.message().unwrap().body.len() as u64;
    }
    assert_eq!(backend.connections(), 1);
    let route = RouteId(1);
    until("three requests are counted", || harness.table().stats(key, route).requests == 3);
    assert_eq!(harness.table().stats(key, route).bytes_sent, sent);
}

#[test]
fn a_client_of_http_1_0_gets_it_without_chunks() {
    let backend = Backend::answering(answer("", &text(1000)));
    let got = harness(&backend).ask(ask("gzip").replace("HTTP/1.1", "HTTP/1.0"));
    assert_eq!((got.field("transfer-encoding"), whole(&got)), (None, text(1000)));
}

#[test]
fn a_download_of_any_size_is_compressed_in_little_memory() {
    const CHUNK: usize = 1 << 20;
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let backend = Backend::new(move |mut wire| {
        wire.head();
        wire.send("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n");
        let mut chunk = vec![0; CHUNK];
        // Nothing that could be made smaller.
        let mut x = 1_u64;
        for byte in &mut chunk {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (x >> 56) as u8;
        }
        while wire.send(&chunk) {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    let harness = harness(&backend);
    let mut wire = harness.connect();
    wire.send(ask("gzip"));
    wire.head().unwrap();
    let sent = || sent.load(Ordering::SeqCst);
    let mut before = usize::MAX;
    until("the backend stands still while nobody reads", || {
        thread::sleep(Duration::from_millis(300));
        std::mem::replace(&mut before, sent()) == sent()
    });
    assert!(sent() <= 24, "{} MiB are held between backend and client", sent());
}
