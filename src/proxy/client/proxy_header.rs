//! The header of the PROXY protocol, versions 1 and 2: the address of the client that a load balancer speaks for
//! (<https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>).
//!
//! It only reads bytes; `listener/told_address` fetches them. Invariants: a header that is not whole yet is never longer
//! than [`HEADER_BYTES_MAX`]; bytes behind the header change nothing; no input causes a panic.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The bytes of a header of version 2 before its addresses.
const FIXED_BYTES: usize = 16;
/// The most bytes of addresses and further fields in a header of version 2. With them it fits a segment of any path (§2.2).
const FIELD_BYTES_MAX: usize = 520;
/// The most bytes of a header.
pub(crate) const HEADER_BYTES_MAX: usize = FIXED_BYTES + FIELD_BYTES_MAX;
/// The most bytes of a header of version 1 (§2.1).
const LINE_BYTES_MAX: usize = 107;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const WORD: &[u8] = b"PROXY ";

/// The header at the beginning of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProxyHeader {
    /// All bytes belong to it, and more must come.
    Unfinished,
    /// It is whole.
    Whole {
        /// Its bytes.
        length: usize,
        /// The address of the client; `None` if the peer speaks for itself, or for a client without an address.
        client: Option<IpAddr>,
    },
}

/// The reason why a connection has no header that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProxyHeaderError {
    /// It begins with something else.
    #[error("a peer in proxy.proxy_protocol sent no PROXY header")]
    Missing,
    /// The header is longer than any that is accepted.
    #[error("a peer in proxy.proxy_protocol sent a PROXY header that is too long")]
    TooLong,
    /// The header breaks the protocol.
    #[error("a peer in proxy.proxy_protocol sent a PROXY header that breaks the protocol")]
    Malformed,
}

impl ProxyHeader {
    /// Reads the header that `bytes` begin with.
    ///
    /// # Errors
    /// [`ProxyHeaderError`] as soon as the bytes cannot become a header.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, ProxyHeaderError> {
        let begins_with = |word: &[u8]| bytes.iter().zip(word).all(|(byte, expected)| byte == expected);
        if begins_with(SIGNATURE) {
            Self::read_binary(bytes)
        } else if begins_with(WORD) {
            Self::read_line(bytes)
        } else {
            Err(ProxyHeaderError::Missing)
        }
    }

    /// Reads a header of version 1, a line (§2.1).
    fn read_line(bytes: &[u8]) -> Result<Self, ProxyHeaderError> {
        let Some(end) = bytes.iter().take(LINE_BYTES_MAX).position(|byte| *byte == b'\n') else {
            let is_full = bytes.len() >= LINE_BYTES_MAX;
            return if is_full { Err(ProxyHeaderError::TooLong) } else { Ok(Self::Unfinished) };
        };
        let line = bytes.get(..end).and_then(|line| line.strip_suffix(b"\r")).ok_or(ProxyHeaderError::Malformed)?;
        let line = std::str::from_utf8(line).map_err(|_| ProxyHeaderError::Malformed)?;
        Ok(Self::Whole { length: end + 1, client: client_of_line(line)? })
    }

    /// Reads a header of version 2 (§2.2). Fields behind the addresses are skipped.
    fn read_binary(bytes: &[u8]) -> Result<Self, ProxyHeaderError> {
        // The version and the family are looked at as soon as they are there.
        if let Some(version) = bytes.get(SIGNATURE.len())
            && ![0x20, 0x21].contains(version)
        {
            return Err(ProxyHeaderError::Malformed);
        }
        let Some((fixed, fields)) = bytes.split_at_checked(FIXED_BYTES) else { return Ok(Self::Unfinished) };
        let [.., command, family, high, low] = fixed else { return Ok(Self::Unfinished) };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if length > FIELD_BYTES_MAX {
            return Err(ProxyHeaderError::TooLong);
        }
        let Some(fields) = fields.get(..length) else { return Ok(Self::Unfinished) };
        let length = FIXED_BYTES + length;
        // A peer that speaks for itself, as for its health checks, sends LOCAL; the rest is to be ignored then.
        let client = if *command == 0x20 { None } else { client_of_fields(*family, fields)? };
        Ok(Self::Whole { length, client })
    }
}

/// Returns the client in a line, if it names one.
fn client_of_line(line: &str) -> Result<Option<IpAddr>, ProxyHeaderError> {
    let mut words = line.split(' ').skip(1);
    match words.next() {
        // The rest is to be ignored (§2.1).
        Some("UNKNOWN") => Ok(None),
        Some("TCP4") => client_of_words::<Ipv4Addr>(words).map(Some).ok_or(ProxyHeaderError::Malformed),
        Some("TCP6") => client_of_words::<Ipv6Addr>(words).map(Some).ok_or(ProxyHeaderError::Malformed),
        _ => Err(ProxyHeaderError::Malformed),
    }
}

/// Returns the first of two addresses of one family that two ports follow.
fn client_of_words<'a, A: FromStr + Into<IpAddr>>(mut words: impl Iterator<Item = &'a str>) -> Option<IpAddr> {
    let is_port = |word: &str| word.bytes().all(|byte| byte.is_ascii_digit()) && word.parse::<u16>().is_ok();
    let client: A = words.next()?.parse().ok()?;
    words.next()?.parse::<A>().ok()?;
    let has_ports = is_port(words.next()?) && is_port(words.next()?);
    (has_ports && words.next().is_none()).then(|| client.into())
}

/// Returns the client in the fields of version 2, if they name one.
fn client_of_fields(family: u8, fields: &[u8]) -> Result<Option<IpAddr>, ProxyHeaderError> {
    let client = match family {
        // TCP or UDP over IPv4, then IPv6: both addresses, then both ports.
        0x11 | 0x12 => fields.get(..12).and_then(|fields| fields.first_chunk::<4>()).map(|ip| IpAddr::from(*ip)),
        0x21 | 0x22 => fields.get(..36).and_then(|fields| fields.first_chunk::<16>()).map(|ip| IpAddr::from(*ip)),
        // Unspecified, and UNIX sockets, which have no such address.
        0x00 | 0x31 | 0x32 => return Ok(None),
        _ => None,
    };
    client.map(Some).ok_or(ProxyHeaderError::Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn binary(command: u8, family: u8, fields: &[u8]) -> Vec<u8> {
        let length = u16::try_from(fields.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &length, fields].concat()
    }

    fn whole(bytes: &[u8], client: Option<IpAddr>) -> Result<ProxyHeader, ProxyHeaderError> {
        Ok(ProxyHeader::Whole { length: bytes.len(), client })
    }

    /// Valid headers with the client that they tell.
    fn headers() -> impl Strategy<Value = (Vec<u8>, Option<IpAddr>)> {
        let more = || prop::collection::vec(any::<u8>(), 0..300);
        let line = any::<(IpAddr, u16, u16)>().prop_map(|(client, from, to)| {
            let family = if client.is_ipv4() { 4 } else { 6 };
            (format!("PROXY TCP{family} {client} {client} {from} {to}\r\n").into_bytes(), Some(client))
        });
        let unknown = "[ -~]{0,80}".prop_map(|rest| (format!("PROXY UNKNOWN {rest}\r\n").into_bytes(), None));
        let v4 = (any::<[u8; 4]>(), more()).prop_map(|(client, more)| {
            (binary(0x21, 0x11, &[&client[..], &[0; 8], &more].concat()), Some(IpAddr::from(client)))
        });
        let v6 = (any::<[u8; 16]>(), more()).prop_map(|(client, more)| {
            (binary(0x21, 0x21, &[&client[..], &[0; 20], &more].concat()), Some(IpAddr::from(client)))
        });
        let none = (prop::sample::select(vec![0x00, 0x31]), more())
            .prop_map(|(family, more)| (binary(0x21, family, &more), None));
        let local = more().prop_map(|more| (binary(0x20, 0x00, &more), None));
        prop_oneof![line, unknown, v4, v6, none, local]
    }

    proptest! {
        #[test]
        fn a_header_is_read_in_whatever_pieces_it_comes_and_nothing_behind_it(
            (header, client) in headers(),
            behind in prop::collection::vec(any::<u8>(), 0..50),
        ) {
            for end in 0..header.len() {
                prop_assert_eq!(ProxyHeader::read(&header[..end]), Ok(ProxyHeader::Unfinished));
            }
            let expected = whole(&header, client);
            prop_assert_eq!(ProxyHeader::read(&header), expected);
            prop_assert_eq!(ProxyHeader::read(&[header, behind].concat()), expected);
        }

        #[test]
        fn no_bytes_cause_a_panic_or_are_waited_for_beyond_the_bound(
            (mut bytes, _) in headers(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            random in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            for bytes in [&bytes, &random, &[SIGNATURE, &random].concat(), &[WORD, &random].concat()] {
                match ProxyHeader::read(bytes) {
                    Ok(ProxyHeader::Whole { length, .. }) => prop_assert!(length <= bytes.len()),
                    Ok(ProxyHeader::Unfinished) => prop_assert!(bytes.len() < HEADER_BYTES_MAX),
                    Err(_) => {}
                }
            }
        }
    }

    #[test]
    fn what_breaks_the_protocol_is_refused() {
        use ProxyHeaderError::{Malformed, Missing, TooLong};
        let long_line = format!("PROXY UNKNOWN {}", "x".repeat(LINE_BYTES_MAX));
        let too_long = [SIGNATURE, &[0x21, 0x11, 0x02, 0x09]].concat();
        for (bytes, error) in [
            (&b"GET / HTTP/1.1\r\n"[..], Missing),
            (b"\x16\x03\x01", Missing),
            (b"proxy TCP4 ", Missing),
            (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n", Malformed),
            (b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n", Malformed),
            (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n", Malformed),
            (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n", Malformed),
            (b"PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n", Malformed),
            (b"PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n", Malformed),
            (b"PROXY TCP4 ::1 ::1 1 2\r\n", Malformed),
            (b"PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n", Malformed),
            (b"PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n", Malformed),
            (b"PROXY \xff\r\n", Malformed),
            (b"PROXY \r\n", Malformed),
            (long_line.as_bytes(), TooLong),
            (&too_long, TooLong),
            (&binary(0x31, 0x11, &[0; 12]), Malformed),
            (&binary(0x22, 0x11, &[0; 12]), Malformed),
            (&binary(0x21, 0x41, &[0; 12]), Malformed),
            (&binary(0x21, 0x13, &[0; 12]), Malformed),
            (&binary(0x21, 0x11, &[0; 11]), Malformed),
            (&binary(0x21, 0x21, &[0; 35]), Malformed),
        ] {
            assert_eq!(ProxyHeader::read(bytes), Err(error), "{:?}", String::from_utf8_lossy(bytes));
        }
        let longest = binary(0x21, 0x11, &[7; FIELD_BYTES_MAX]);
        assert_eq!(ProxyHeader::read(&longest), whole(&longest, Some([7, 7, 7, 7].into())));
    }
}
