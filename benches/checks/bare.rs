//! The lower bound: the same connections and requests by plain system calls, without decisions, parsing or state.

use std::io::Read;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::{Backends, address, cpu_time, row};

const BATCH: Duration = Duration::from_millis(250);
/// The time that backends get to answer.
const MOMENT: Duration = Duration::from_millis(8);

/// Opens, connects, sends, reads and closes for each of the backends in turn, in batches, for `secs`.
pub(crate) fn measure(backends: &mut Backends, servers: u32, interval: u32, secs: u32) {
    let port = backends.port;
    let mut targets = (1..=servers).cycle().map(|server| SocketAddr::from((address(server), port)));
    let (checks, cpu, began) = (backends.answered(), cpu_time("self"), Instant::now());
    let batches = secs * 4;
    for batch in 1..=batches {
        let sockets: Vec<Socket> = targets.by_ref().take((servers / interval / 4) as usize).map(ask).collect();
        thread::sleep(MOMENT);
        sockets.into_iter().for_each(hear);
        thread::sleep((BATCH * batch).saturating_sub(began.elapsed()));
    }
    let spent = cpu_time("self").saturating_sub(cpu);
    row("bare calls", backends.answered() - checks, spent, secs);
}

fn ask(backend: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).expect("a socket");
    let _ = socket.set_tcp_quickack(false);
    // On its way, or there already.
    let _ = socket.connect(&backend.into());
    let request = format!("GET / HTTP/1.1\r\nhost: {backend}\r\nconnection: close\r\n\r\n");
    let _ = socket.send(request.as_bytes());
    socket
}

fn hear(mut socket: Socket) {
    let _ = socket.read(&mut [0; 4096]);
}
