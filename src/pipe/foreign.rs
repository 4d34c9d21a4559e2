//! Detects other protocols on the pipe's port: TLS, and HTTP, which web pages in browsers can send to any port.
//!
//! A command begins with a verb of the protocol, so no command is taken for another protocol. Invariants: the first
//! line of an HTTP request is recognised, whatever its method, target and version; later lines are not executed.

use std::net::SocketAddr;

use crate::domain::{Error, Kind};

use super::parse::verbs;

/// The characters of methods and field names, besides letters and digits (RFC 9110 §5.6.2).
const TOKEN: &[u8] = b"!#$%&'*+-.^_`~";

/// A protocol other than the pipe protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ForeignProtocol {
    /// HTTP/1 in any version: lines of text.
    Http,
    /// TLS: the first record is a `ClientHello`.
    Tls,
}

impl ForeignProtocol {
    /// Returns the refusal for its client, which names the address of gRPC and REST.
    pub(super) fn refusal(self, api: Option<SocketAddr>) -> Error {
        let name = match self {
            ForeignProtocol::Http => "HTTP",
            ForeignProtocol::Tls => "TLS",
        };
        let api = match api {
            None => "elsewhere".to_owned(),
            Some(api) if api.ip().is_unspecified() => format!("on port {} of this machine", api.port()),
            Some(api) => format!("at {api}"),
        };
        let message = format!("this port speaks the pipe protocol, not {name}; gRPC and REST are {api}");
        Error::new(Kind::Invalid, message)
    }
}

/// Returns the other protocol that a line, or the beginning of a long line, belongs to. If `nothing_understood` on the
/// connection before, a header field counts too.
pub(super) fn spoken(line: &[u8], nothing_understood: bool) -> Option<ForeignProtocol> {
    if is_client_hello(line) {
        return Some(ForeignProtocol::Tls);
    }
    let line = line.trim_ascii_start();
    let is_http = !begins_with_a_verb(line) && (is_request_line(line) || is_field(line, nothing_understood));
    is_http.then_some(ForeignProtocol::Http)
}

/// Returns true if bytes begin like a TLS handshake (RFC 8446 §5.1): with the record type and the first byte of the
/// version.
pub(super) fn is_client_hello(bytes: &[u8]) -> bool {
    bytes.starts_with(&[22, 3])
}

fn begins_with_a_verb(line: &[u8]) -> bool {
    let word = line.split(|byte| *byte == b'|' || byte.is_ascii_whitespace()).next().unwrap_or_default();
    verbs().any(|verb| verb.as_bytes() == word)
}

/// Returns true for a method, a target and, since HTTP/1.0, a version. The target alone is enough, because the rest of
/// the line may be cut off.
fn is_request_line(line: &[u8]) -> bool {
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return false };
    if !method.iter().all(|byte| is_of_a_token(*byte) || *byte == b'|') {
        return false;
    }
    let is_target = target.starts_with(b"/") || target == b"*" || target.windows(3).any(|part| part == b"://");
    // Without a version, a method consists of letters only.
    is_target && method.iter().all(u8::is_ascii_alphabetic) || is_version(target) || words.any(is_version)
}

fn is_version(word: &[u8]) -> bool {
    let (name, version) = word.split_at(word.len().min(5));
    name.eq_ignore_ascii_case(b"http/") && version.first().is_some_and(u8::is_ascii_digit)
}

/// Returns true for a field name and a colon. `Host` always counts; other names count only if no command was understood
/// before.
fn is_field(line: &[u8], nothing_understood: bool) -> bool {
    let Some(colon) = line.iter().position(|byte| *byte == b':') else { return false };
    let name = line.get(..colon).unwrap_or_default();
    name.eq_ignore_ascii_case(b"host")
        || nothing_understood && !name.is_empty() && name.iter().all(|byte| is_of_a_token(*byte))
}

fn is_of_a_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || TOKEN.contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_of_every_method_and_version_are_recognised() {
        let lines = [
            "GET / HTTP/1.1",
            "POST /x HTTP/1.0",
            "get / http/1.1",
            "Brew /pot HTTP/3",
            "PRI * HTTP/2.0",
            "OPTIONS * HTTP/1.1",
            "CONNECT a:1 HTTP/1.1",
            "GET http://a/ HTTP/1.1",
            "GET /",
            "GET  /  HTTP/1.1 ",
            "\tGET\t/\tHTTP/1.1",
            " GET / HTTP/1.1",
            "GET / HTTP/9.99",
            "GET x HTTP/1.1",
            "GET HTTP/1.1",
            "POST /a|PING|x HTTP/1.1",
            "POST /?a|REGISTER|b HTTP/1.1",
            "A|B / HTTP/1.1",
            "REGISTERS /x HTTP/1.1",
            "X-Y!#$%&'*+-.^_`~ / HTTP/1.1",
            "GET /ü HTTP/1.1",
            "GET / HTTP/1.1\rHost: x",
            "OPTIONS rtsp://a RTSP/1.0",
            "Host: a",
            "host:a",
        ];
        for line in lines {
            assert_eq!(spoken(line.as_bytes(), false), Some(ForeignProtocol::Http), "{line}");
        }
        for cut in ["POST /xxxxxx", "POST /xx|yy", "GET https://a/xxxx"] {
            assert_eq!(spoken(cut.as_bytes(), false), Some(ForeignProtocol::Http), "{cut}");
        }
    }

    #[test]
    fn a_header_is_recognised_where_nothing_was_understood_before_it() {
        for line in ["Content-Length: 7", "X-A:", "user-agent:curl", "Sec-Fetch-Mode: cors"] {
            assert_eq!(spoken(line.as_bytes(), true), Some(ForeignProtocol::Http), "{line}");
            assert_eq!(spoken(line.as_bytes(), false), None, "{line}");
        }
    }

    #[test]
    fn a_handshake_is_recognised_by_its_first_two_bytes() {
        assert_eq!(spoken(b"\x16\x03\x01\x02\0", false), Some(ForeignProtocol::Tls));
        assert_eq!(spoken(b"\x16\x03", true), Some(ForeignProtocol::Tls));
        assert_eq!(spoken(b"\x16", true), None);
    }

    #[test]
    fn commands_and_what_people_mistype_are_not_another_protocol() {
        for verb in verbs() {
            for rest in ["", "|", "|s / HTTP/1.1", "|GET / HTTP/1.1", "|a|http://b: c", " / HTTP/1.1"] {
                assert_eq!(spoken(format!("{verb}{rest}").as_bytes(), true), None, "{verb}{rest}");
            }
        }
        let lines =
            ["", "HELP", "help", "?", "FROBNICATE|x", "hello world", "PNIG|a-1", "ACK", "FOO|a: b", ": x", "\0"];
        for line in lines {
            assert_eq!(spoken(line.as_bytes(), true), None, "{line}");
        }
    }
}
