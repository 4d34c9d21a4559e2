//! A name server on loopback, whose answers a test decides.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;

use simple_dns::rdata::{RData, TXT};
use simple_dns::{CLASS, Name, Packet, PacketFlag, RCODE, ResourceRecord};

/// The way in which it answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    Well,
    /// By UDP only that the answer is too long.
    Truncated,
    /// Answers of strangers come first.
    AfterStrangers,
    Refuses,
    Garbage,
    Silent,
}

/// A name server with the records that a test sets.
pub struct NameServer {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    manner: Manner,
    records: Vec<(String, String)>,
}

impl NameServer {
    pub fn start() -> Self {
        // The port of one may be taken for the other.
        let (udp, tcp) = std::iter::repeat_with(|| {
            let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
            let tcp = TcpListener::bind(udp.local_addr().unwrap());
            tcp.ok().map(|tcp| (udp, tcp))
        })
        .flatten()
        .next()
        .unwrap();
        let address = udp.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { manner: Manner::Well, records: Vec::new() }));
        let (by_udp, by_tcp) = (Arc::clone(&state), Arc::clone(&state));
        thread::spawn(move || {
            let mut question = [0; 512];
            while let Ok((length, client)) = udp.recv_from(&mut question) {
                for answer in by_udp.lock().unwrap().by_udp(&question[..length]) {
                    let _ = udp.send_to(&answer, client);
                }
            }
        });
        thread::spawn(move || {
            for mut stream in tcp.incoming().map_while(Result::ok) {
                let mut length = [0; 2];
                stream.read_exact(&mut length).unwrap();
                let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
                stream.read_exact(&mut question).unwrap();
                let answer = by_tcp.lock().unwrap().answer(&question, |_| {});
                let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
                let _ = stream.write_all(&[&length[..], &answer].concat());
            }
        });
        Self { address, state }
    }

    pub fn answer(&self, manner: Manner) {
        self.state.lock().unwrap().manner = manner;
    }

    /// Adds a TXT record.
    pub fn add(&self, name: &str, value: &str) {
        self.state.lock().unwrap().records.push((name.to_owned(), value.to_owned()));
    }
}

impl State {
    fn by_udp(&self, question: &[u8]) -> Vec<Vec<u8>> {
        let right = || self.answer(question, |_| {});
        match self.manner {
            Manner::Well => vec![right()],
            Manner::Truncated => vec![self.answer(question, |packet| {
                packet.answers.clear();
                packet.set_flags(PacketFlag::TRUNCATION);
            })],
            Manner::AfterStrangers => vec![
                b"\x00\x01".to_vec(),
                self.answer(question, |packet| packet.set_id(packet.id().wrapping_add(1))),
                self.answer(question, |packet| packet.questions.clear()),
                right(),
            ],
            Manner::Refuses => vec![self.answer(question, |packet| *packet.rcode_mut() = RCODE::Refused)],
            Manner::Garbage => vec![vec![0xff; 300], Vec::new(), right()[..20].to_vec()],
            Manner::Silent => Vec::new(),
        }
    }

    fn answer(&self, question: &[u8], change: impl FnOnce(&mut Packet<'_>)) -> Vec<u8> {
        let asked = Packet::parse(question).unwrap();
        let name = asked.questions[0].qname.to_string();
        let mut packet = Packet::new_reply(asked.id());
        packet.questions.clone_from(&asked.questions);
        for (_, value) in self.records.iter().filter(|(own, _)| *own == name) {
            let mut text = TXT::new();
            // In two strings, as long values are.
            let (first, second) = value.split_at(value.len() / 2);
            text.add_string(first).unwrap();
            text.add_string(second).unwrap();
            packet.answers.push(ResourceRecord::new(Name::new_unchecked(&name), CLASS::IN, 60, RData::TXT(text)));
        }
        if packet.answers.is_empty() {
            *packet.rcode_mut() = RCODE::NameError;
        }
        change(&mut packet);
        packet.build_bytes_vec().unwrap()
    }
}
