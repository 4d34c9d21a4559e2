//! Backends whose answers a test decides.

use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use super::PATIENCE;
use super::wire::{Message, Wire};

/// A backend that runs a function for each connection, on a thread of its own.
pub struct Backend {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    heard: Mutex<Receiver<Message>>,
}

impl Backend {
    pub fn new(serve: impl Fn(Wire) + Send + Sync + 'static) -> Self {
        Self::hearing(move |wire, _| serve(wire))
    }

    /// Like `new`, but `serve` also gets a function that passes messages to the test.
    pub fn hearing(serve: impl Fn(Wire, &dyn Fn(Message)) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (tell, heard) = channel();
        let (serve, counted) = (Arc::new(serve), Arc::clone(&connections));
        thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                counted.fetch_add(1, Ordering::SeqCst);
                let (serve, tell) = (Arc::clone(&serve), tell.clone());
                thread::spawn(move || {
                    serve(Wire::over(socket), &|message| {
                        let _ = tell.send(message);
                    });
                });
            }
        });
        Self { address, connections, heard: Mutex::new(heard) }
    }

    /// Answers every request with the bytes of `answer`, a whole response.
    pub fn answering(answer: impl AsRef<[u8]>) -> Self {
        let answer = answer.as_ref().to_vec();
        Self::hearing(move |mut wire, tell| {
            while let Some(request) = wire.message() {
                tell(request);
                wire.send(&answer);
            }
        })
    }

    /// Answers every request with 200 and the name as body.
    pub fn named(name: &str) -> Self {
        Self::answering(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len()))
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the number of connections so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Waits for the next request that is not a health check.
    pub fn heard(&self) -> Message {
        self.next(|message| !is_check(message))
    }

    /// Returns true if no further request has arrived, not counting health checks.
    pub fn heard_nothing(&self) -> bool {
        self.heard.lock().unwrap().try_iter().all(|message| is_check(&message))
    }

    /// Waits for the next health check.
    pub fn checked(&self) -> Message {
        self.next(is_check)
    }

    /// Returns true if no further health check has arrived.
    pub fn checked_no_more(&self) -> bool {
        self.heard.lock().unwrap().try_iter().all(|message| !is_check(&message))
    }

    fn next(&self, wanted: impl Fn(&Message) -> bool) -> Message {
        let heard = self.heard.lock().unwrap();
        loop {
            let message = heard.recv_timeout(PATIENCE).expect("the backend heard nothing");
            if wanted(&message) {
                return message;
            }
        }
    }
}

fn is_check(message: &Message) -> bool {
    message.all("user-agent").eq(["signalbox"]) && message.all("connection").eq(["close"])
}

/// A backend that can be killed: its connections are closed and its port refuses new ones.
pub struct KillableBackend {
    address: SocketAddr,
    dead: Arc<AtomicBool>,
    sockets: Arc<Mutex<Vec<TcpStream>>>,
    listening: thread::JoinHandle<()>,
}

impl KillableBackend {
    /// Answers every request with 200 and the name as body.
    pub fn named(name: &'static str) -> Self {
        let listener = own_listener();
        let address = listener.local_addr().unwrap();
        let (dead, sockets) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (ends, kept) = (Arc::clone(&dead), Arc::clone(&sockets));
        let listening = thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                if ends.load(Ordering::SeqCst) {
                    return;
                }
                kept.lock().unwrap().push(socket.try_clone().unwrap());
                thread::spawn(move || {
                    let mut wire = Wire::over(socket);
                    while wire.message().is_some() {
                        wire.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len()));
                    }
                });
            }
        });
        Self { address, dead, sockets, listening }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn kill(self) {
        self.dead.store(true, Ordering::SeqCst);
        // The connection wakes the listening thread, which then sees the flag.
        let _ = TcpStream::connect(self.address);
        self.listening.join().unwrap();
        for socket in self.sockets.lock().unwrap().iter() {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

/// Returns an address on which nothing listens.
pub fn closed_port() -> SocketAddr {
    own_listener().local_addr().unwrap()
}

/// Binds an address of 127.2/16 that no other test uses, so that the port is not given to another backend later.
fn own_listener() -> TcpListener {
    static LAST: AtomicU16 = AtomicU16::new(0);
    let [high, low] = LAST.fetch_add(1, Ordering::SeqCst).to_be_bytes();
    TcpListener::bind((Ipv4Addr::new(127, 2, high, low), 0)).unwrap()
}
