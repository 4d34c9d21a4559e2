//! Asks name servers for TXT records (RFC 1035).
//!
//! Not here: the addresses of names, which the system looks up (`connect`). Invariants: a look-up takes a bounded time
//! and memory; only an answer to the very question counts; no answer causes a panic.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, Question, RCODE, TYPE};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::random;

/// The time for an answer by UDP.
const UDP_TIME: Duration = Duration::from_secs(2);
/// The time for an answer by TCP, which is asked for if the answer is too long for UDP.
const TCP_TIME: Duration = Duration::from_secs(5);
/// The number of times that each server is asked.
const ROUNDS: usize = 2;
/// The most servers that are asked, as in the resolver of the system.
const SERVERS_MAX: usize = 3;
/// The most bytes of an answer by UDP.
const UDP_BYTES_MAX: usize = 4096;
/// The most datagrams that are read for one question. Others than the answer may come from strangers.
const DATAGRAMS_MAX: usize = 16;
/// The port of name servers.
pub const PORT: u16 = 53;

/// The reason why nothing is known about a record.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// No name server is known.
    #[error("/etc/resolv.conf names no name server; name one with --dns-server")]
    NoServer,
    /// The name cannot be asked for.
    #[error("`{0}` is no name that a name server can be asked for")]
    Name(String),
    /// The server gave no answer.
    #[error("the name server {0} gave no answer in time")]
    TooSlow(SocketAddr),
    /// The server is not reached.
    #[error("the name server {0} is not reached: {1}")]
    Unreached(SocketAddr, io::Error),
    /// The answer cannot be read.
    #[error("the name server {0} gave an answer that cannot be read")]
    Malformed(SocketAddr),
    /// The server refuses.
    #[error("the name server {0} cannot answer: {1:?}")]
    Refused(SocketAddr, RCODE),
}

/// An answer to a question.
#[derive(Debug, PartialEq, Eq)]
enum DnsReply {
    Records(Vec<String>),
    /// It is too long for UDP.
    Truncated,
    Refused(RCODE),
}

/// Returns the name servers of a configuration of the system's resolver (`resolv.conf(5)`).
pub fn servers_in(resolv_conf: &str) -> Vec<SocketAddr> {
    let named = resolv_conf.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let address = (words.next() == Some("nameserver")).then(|| words.next())??;
        // A scope (`%eth0`) is left out.
        address.split('%').next()?.parse::<IpAddr>().ok()
    });
    named.map(|address| SocketAddr::new(address, PORT)).take(SERVERS_MAX).collect()
}

/// Returns the values of the TXT records of a name; the strings of one record as one value. None if the name does not
/// exist. The servers are asked one after the other until one answers.
///
/// # Errors
/// If no server answers.
pub async fn look_up_txt(servers: &[SocketAddr], name: &str) -> Result<Vec<String>, DnsError> {
    let mut failure = DnsError::NoServer;
    for server in servers.iter().take(SERVERS_MAX).cycle().take(servers.len().min(SERVERS_MAX) * ROUNDS) {
        match ask(*server, name).await {
            Ok(records) => return Ok(records),
            Err(error @ DnsError::Name(_)) => return Err(error),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

async fn ask(server: SocketAddr, name: &str) -> Result<Vec<String>, DnsError> {
    let [first, second, ..] = random::bits().to_ne_bytes();
    let id = u16::from_ne_bytes([first, second]);
    let question = question(id, name).ok_or_else(|| DnsError::Name(name.to_owned()))?;
    let within = |limit, asking| async move {
        let asked: Result<Result<_, io::Error>, _> = timeout(limit, asking).await;
        asked.map_err(|_| DnsError::TooSlow(server))?.map_err(|error| DnsError::Unreached(server, error))
    };
    let by_udp: futures_util::future::BoxFuture<'_, _> = Box::pin(ask_by_udp(server, &question, id, name));
    let mut answer = within(UDP_TIME, by_udp).await?;
    if answer == Some(DnsReply::Truncated) {
        answer = within(TCP_TIME, Box::pin(ask_by_tcp(server, &question, id, name))).await?;
    }
    match answer {
        Some(DnsReply::Records(records)) => Ok(records),
        Some(DnsReply::Refused(code)) => Err(DnsError::Refused(server, code)),
        Some(DnsReply::Truncated) | None => Err(DnsError::Malformed(server)),
    }
}

async fn ask_by_udp(server: SocketAddr, question: &[u8], id: u16, name: &str) -> io::Result<Option<DnsReply>> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // The system chooses a port at random, which a stranger would have to guess.
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut datagram = vec![0; UDP_BYTES_MAX];
    for _ in 0..DATAGRAMS_MAX {
        let length = socket.recv(&mut datagram).await?;
        if let Some(answer) = datagram.get(..length).and_then(|bytes| read_answer(bytes, id, name)) {
            return Ok(Some(answer));
        }
    }
    Ok(None)
}

/// Asks by TCP: a message follows its length (RFC 1035 §4.2.2).
async fn ask_by_tcp(server: SocketAddr, question: &[u8], id: u16, name: &str) -> io::Result<Option<DnsReply>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.len()).unwrap_or(u16::MAX);
    stream.write_all(&[&length.to_be_bytes(), question].concat()).await?;
    let mut message = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut message).await?;
    Ok(read_answer(&message, id, name))
}

/// Returns the message that asks for the TXT records of a name; `None` if it is no name.
fn question(id: u16, name: &str) -> Option<Vec<u8>> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    packet.questions.push(Question::new(Name::new(name).ok()?, TYPE::TXT.into(), CLASS::IN.into(), false));
    packet.build_bytes_vec().ok()
}

/// Reads a message; `None` if it is not the answer to the question with this id and name.
fn read_answer(bytes: &[u8], id: u16, name: &str) -> Option<DnsReply> {
    let packet = Packet::parse(bytes).ok()?;
    let is_of = |question: &Question<'_>| {
        question.qname.to_string().eq_ignore_ascii_case(name) && question.qtype == TYPE::TXT.into()
    };
    if packet.id() != id || !packet.has_flags(PacketFlag::RESPONSE) || !packet.questions.first().is_some_and(is_of) {
        return None;
    }
    if packet.has_flags(PacketFlag::TRUNCATION) {
        return Some(DnsReply::Truncated);
    }
    match packet.rcode() {
        RCODE::NoError | RCODE::NameError => {}
        other => return Some(DnsReply::Refused(other)),
    }
    let text = |record: simple_dns::ResourceRecord<'_>| match record.rdata {
        RData::TXT(text) => Some(String::try_from(text).unwrap_or_else(|_| "(bytes that are no text)".to_owned())),
        _ => None,
    };
    Some(DnsReply::Records(packet.answers.into_iter().filter_map(text).collect()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use simple_dns::ResourceRecord;
    use simple_dns::rdata::TXT;

    use super::*;

    const NAME: &str = "_validation-persist.shop.example";

    fn answer(change: impl FnOnce(&mut Packet<'_>)) -> Vec<u8> {
        let mut packet = Packet::new_reply(7);
        packet.questions.push(Question::new(Name::new_unchecked(NAME), TYPE::TXT.into(), CLASS::IN.into(), false));
        let long = TXT::new().with_string("ca.example; ").unwrap().with_string("accounturi=u").unwrap();
        for text in [long, TXT::new().with_string("other").unwrap()] {
            packet.answers.push(ResourceRecord::new(Name::new_unchecked(NAME), CLASS::IN, 60, RData::TXT(text)));
        }
        change(&mut packet);
        packet.build_bytes_vec_compressed().unwrap()
    }

    #[test]
    fn the_strings_of_a_record_are_one_value() {
        let expected = vec!["ca.example; accounturi=u".to_owned(), "other".to_owned()];
        assert_eq!(read_answer(&answer(|_| {}), 7, NAME), Some(DnsReply::Records(expected)));
        let none = answer(|packet| packet.answers.clear());
        assert_eq!(read_answer(&none, 7, NAME), Some(DnsReply::Records(vec![])));
    }

    #[test]
    fn only_the_answer_to_the_question_counts() {
        assert_eq!(read_answer(&answer(|_| {}), 8, NAME), None, "another id");
        assert_eq!(read_answer(&answer(|_| {}), 7, "other.example"), None, "another name");
        assert_eq!(read_answer(&question(7, NAME).unwrap(), 7, NAME), None, "a question");
        let truncated = answer(|packet| packet.set_flags(PacketFlag::TRUNCATION));
        assert_eq!(read_answer(&truncated, 7, NAME), Some(DnsReply::Truncated));
        let refused = answer(|packet| *packet.rcode_mut() = RCODE::Refused);
        assert_eq!(read_answer(&refused, 7, NAME), Some(DnsReply::Refused(RCODE::Refused)));
        assert_eq!(question(7, &"a.".repeat(200)), None, "too long");
    }

    #[test]
    fn the_servers_of_the_system_are_those_that_its_file_names() {
        let text =
            "# nameserver 9.9.9.9\nsearch example\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\nnameserver x\n";
        let found = servers_in(text);
        assert_eq!(found, ["192.0.2.1:53".parse().unwrap(), "[fe80::1]:53".parse().unwrap()]);
        assert_eq!(servers_in(&"nameserver 192.0.2.1\n".repeat(9)).len(), SERVERS_MAX);
    }

    proptest! {
        #[test]
        fn no_message_causes_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = read_answer(&bytes, 7, NAME);
        }

        #[test]
        fn no_damage_of_an_answer_causes_a_panic(
            at in 0_usize..140, byte in any::<u8>(), second in 0_usize..140, other in any::<u8>(), length in 0_usize..200
        ) {
            let mut bytes = answer(|_| {});
            for (at, byte) in [(at, byte), (second, other)] {
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
            }
            bytes.truncate(length);
            let _ = read_answer(&bytes, 7, NAME);
        }
    }
}
