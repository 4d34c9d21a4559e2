//! Changes under traffic disturb no routes of others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use signalbox::domain::Target;

use crate::support::backend::Backend;
use crate::support::proxy_harness::{ProxyHarness, header, route, until};
use crate::support::wire::Wire;

/// Sends requests over one connection until it must stop, and counts the right answers in `answered`. None may be wrong.
fn steady(address: std::net::SocketAddr, stop: &AtomicBool, answered: &AtomicUsize) {
    let mut wire = Wire::connect(address);
    while !stop.load(Ordering::SeqCst) {
        wire.send("GET / HTTP/1.1\r\nhost: steady.example\r\n\r\n");
        assert_eq!(wire.message().expect("an answer").text(), "steady");
        answered.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn applies_of_another_session_disturb_neither_tunnels_nor_requests() {
    let echo = Backend::new(|mut wire| {
        wire.head();
        wire.send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
        while let Some(bytes) = wire.exactly(4) {
            wire.send(bytes);
        }
    });
    let page = Backend::named("steady");
    let mut harness = ProxyHarness::with(|settings| settings.workers = 2);
    let shop = harness.session("shop", "shop-1");
    harness.route(shop, 1, "steady.example", "/", &page.url());
    harness.route(shop, 2, "steady.example", "/ws", &echo.url());
    let mut open: Vec<Wire> = (0..100).map(|_| harness.connect()).collect();
    for tunnel in &mut open {
        tunnel.send("GET /ws HTTP/1.1\r\nhost: steady.example\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
        assert_eq!(tunnel.head().unwrap().status(), 101);
    }
    let (done, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let loads: Vec<_> = (0..2)
        .map(|_| {
            let (address, done, answered) = (harness.address(), Arc::clone(&done), Arc::clone(&answered));
            thread::spawn(move || steady(address, &done, &answered))
        })
        .collect();
    let other = harness.session("other", "other-1");
    for n in 0..200 {
        let host = format!("h{}.example,*.example", n % 50);
        harness.apply(
            other,
            vec![route(1 + n % 100, &host, "/", "http://127.0.0.1:1"), header(Target::All, "x-n", &n.to_string())],
        );
        let tunnel = &mut open[n as usize % 100];
        tunnel.send("ping");
        assert_eq!(tunnel.exactly(4).unwrap(), b"ping");
    }
    let so_far = answered.load(Ordering::SeqCst);
    until("requests still go through", || answered.load(Ordering::SeqCst) > so_far);
    done.store(true, Ordering::SeqCst);
    for load in loads {
        load.join().expect("no request failed");
    }
    assert_eq!(harness.table().in_flight(shop), 100);
}
