//! The JSON line of a request, written by hand: each request pays for it, and the general writer takes three times as long.
//!
//! Invariants: a line has the keys and values that `serde_json` writes for the same request; a test compares them.

use std::io::Write as _;
use std::net::IpAddr;

use crate::domain::{Time, is_hidden};
use crate::json::requests::RequestView;

/// The date of the last line, up to the dot before the milliseconds: most lines have the same.
#[derive(Debug, Default)]
pub(super) struct LineDate {
    second: u64,
    text: String,
}

impl LineDate {
    /// Writes a time as [`Time`] displays itself.
    fn write(&mut self, out: &mut Vec<u8>, time: Time) {
        let (second, millis) = (time.0 / 1000, time.0 % 1000);
        if self.second != second || self.text.is_empty() {
            let whole = time.to_string();
            self.second = second;
            self.text.clear();
            self.text.push_str(whole.split_once('.').map_or(whole.as_str(), |(text, _)| text));
        }
        out.extend_from_slice(self.text.as_bytes());
        out.push(b'.');
        thousandths(out, millis);
        out.push(b'Z');
    }
}

/// Writes a request as a line.
pub(super) fn write_line(out: &mut Vec<u8>, request: &RequestView<'_>, date: &mut LineDate) {
    out.extend_from_slice(b"{\"time\":\"");
    date.write(out, request.time);
    plain_field(out, b"\",\"id\":\"", &request.id);
    optional(out, b"\",\"trace_id\":\"", request.trace_id.as_deref());
    out.extend_from_slice(b"\",\"client\":\"");
    address(out, request.client);
    field(out, b"\",\"method\":\"", &request.method);
    plain_field(out, b"\",\"scheme\":\"", request.scheme);
    field(out, b"\",\"host\":\"", &request.host);
    field(out, b"\",\"path\":\"", &request.path);
    optional(out, b"\",\"query\":\"", request.query.as_deref());
    plain_field(out, b"\",\"protocol\":\"", request.protocol);
    number(out, b"\",\"status\":", request.status.into());
    number(out, b",\"bytes_received\":", request.bytes_received);
    number(out, b",\"bytes_sent\":", request.bytes_sent);
    millis(out, b",\"duration_ms\":", Some(request.duration_ms));
    millis(out, b",\"upstream_ms\":", request.upstream_ms);
    own_field(out, b",\"service_name\":\"", request.service_name.as_deref());
    own_field(out, b",\"instance_name\":\"", request.instance_name.as_deref());
    if let Some(route) = request.route_id {
        number(out, b",\"route_id\":\"r", route.0.into());
        out.push(b'"');
    }
    number(out, b",\"attempts\":", request.attempts.into());
    if !request.tried.is_empty() {
        out.extend_from_slice(b",\"tried\":");
        // The writer leaves what is not seen as it is, and only texts can hold it.
        let tried = serde_json::to_string(&request.tried).unwrap_or_default();
        tried.chars().for_each(|c| if matches!(c, ' '..='~') { out.push(c as u8) } else { escaped(out, c) });
    }
    own_field(out, b",\"reason\":\"", request.reason);
    own_field(out, b",\"detail\":\"", request.detail.as_deref());
    own_field(out, b",\"user_agent\":\"", request.user_agent.as_deref());
    own_field(out, b",\"referer\":\"", request.referer.as_deref());
    number(out, b",\"revision\":", request.revision);
    out.extend_from_slice(b"}\n");
}

/// Writes a field behind an open text, whose quote `key` closes. The value needs no escape: it is a text of our own, or an id, whose
/// characters `RequestId` limits.
fn plain_field(out: &mut Vec<u8>, key: &[u8], value: &str) {
    out.extend_from_slice(key);
    out.extend_from_slice(value.as_bytes());
}

/// Writes a field behind an open text, whose quote `key` closes.
fn field(out: &mut Vec<u8>, key: &[u8], value: &str) {
    out.extend_from_slice(key);
    text(out, value);
}

/// The same for a field that may be left out.
fn optional(out: &mut Vec<u8>, key: &[u8], value: Option<&str>) {
    value.into_iter().for_each(|value| field(out, key, value));
}

/// Writes a field with its closing quote, if there is a value.
fn own_field(out: &mut Vec<u8>, key: &[u8], value: Option<&str>) {
    if let Some(value) = value {
        field(out, key, value);
        out.push(b'"');
    }
}

/// Writes the inside of a text. Most need no escape.
fn text(out: &mut Vec<u8>, value: &str) {
    if is_plain(value.as_bytes()) {
        out.extend_from_slice(value.as_bytes());
    } else {
        value.chars().for_each(|c| escaped(out, c));
    }
}

/// True if a text consists of visible ASCII and spaces without quotes and backslashes. It looks at eight bytes at once: most texts are short.
fn is_plain(text: &[u8]) -> bool {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    // The highest bit of some byte is set if some byte is below `limit`, which is at most 128, or above 127.
    let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) | word;
    let is = |word: u64, byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    let special = |bytes: &[u8; 8]| {
        let word = u64::from_ne_bytes(*bytes);
        below(word, b' ') | is(word, b'"') | is(word, b'\\') | is(word, 0x7F)
    };
    let found = if let Some(last) = text.last_chunk() {
        // It overlaps the chunk before it.
        text.as_chunks().0.iter().fold(special(last), |found, chunk| found | special(chunk))
    } else {
        let mut room = [b' '; 8];
        room.iter_mut().zip(text).for_each(|(to, from)| *to = *from);
        special(&room)
    };
    found & HIGH == 0
}

/// Writes a character. One that is not seen, or that steers a terminal or an editor, is written as `\uHHHH`.
fn escaped(out: &mut Vec<u8>, c: char) {
    match c {
        '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
        ' ' => out.push(b' '),
        c if is_hidden(c) => {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to memory cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
        c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// Writes an address as it displays itself.
fn address(out: &mut Vec<u8>, address: IpAddr) {
    let IpAddr::V4(address) = address else {
        // Writing to memory cannot fail.
        let _ = write!(out, "{address}");
        return;
    };
    for (place, part) in address.octets().into_iter().enumerate() {
        if place > 0 {
            out.push(b'.');
        }
        digits(out, part.into());
    }
}

fn number(out: &mut Vec<u8>, key: &[u8], value: u64) {
    out.extend_from_slice(key);
    digits(out, value);
}

/// Writes milliseconds with three decimals, or `null`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time that was measured in microseconds")]
fn millis(out: &mut Vec<u8>, key: &[u8], value: Option<f64>) {
    out.extend_from_slice(key);
    let Some(value) = value else { return out.extend_from_slice(b"null") };
    // Rounded in this way because `round` is a call of a function on many processors.
    let micros = (value * 1000.0 + 0.5) as u64;
    digits(out, micros / 1000);
    out.push(b'.');
    thousandths(out, micros % 1000);
}

/// Writes a number below 1000 with three digits.
fn thousandths(out: &mut Vec<u8>, number: u64) {
    let digit = |place: u64| b'0' + u8::try_from(number / place % 10).unwrap_or(0);
    out.extend_from_slice(&[digit(100), digit(10), digit(1)]);
}

fn digits(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::Value;

    use super::*;
    use crate::domain::RouteId;
    use crate::json::requests::AttemptView;

    fn full(evil: &str) -> RequestView<'_> {
        RequestView {
            time: Time(1_795_000_000_007),
            id: "0af7651916cd43dd8448eb211c80319c".into(),
            trace_id: Some("ab".to_owned()),
            client: "2001:db8::1".parse().unwrap(),
            method: evil.into(),
            scheme: "https",
            host: evil.into(),
            path: evil.into(),
            query: Some(evil.into()),
            protocol: "HTTP/2",
            status: 502,
            bytes_received: u64::MAX,
            bytes_sent: 0,
            duration_ms: 1234.567,
            upstream_ms: Some(0.05),
            service_name: Some("shop".into()),
            instance_name: Some("shop-1".into()),
            route_id: Some(RouteId(17)),
            attempts: 2,
            tried: vec![AttemptView {
                backend: "http://b".into(),
                instance_name: "shop-1".into(),
                route_id: RouteId(17),
                duration_ms: 0.5,
                error: Some(evil.into()),
            }],
            reason: Some("backend_failed"),
            detail: Some(evil.into()),
            user_agent: Some(evil.into()),
            referer: Some(evil.into()),
            revision: 42,
        }
    }

    /// A request of which little is known, with this text in place of what a client sends.
    pub(in crate::request_log) fn bare(evil: &str) -> RequestView<'_> {
        RequestView {
            trace_id: None,
            query: None,
            client: "192.0.2.17".parse().unwrap(),
            upstream_ms: None,
            service_name: None,
            instance_name: None,
            route_id: None,
            tried: Vec::new(),
            reason: None,
            detail: None,
            user_agent: None,
            referer: None,
            duration_ms: 0.0,
            ..full(evil)
        }
    }

    #[test]
    fn a_byte_that_needs_an_escape_is_found_wherever_it_stands() {
        for len in 1..=17 {
            for at in 0..len {
                for byte in 0..=u8::MAX {
                    let mut text = vec![b'~'; len];
                    text[at] = byte;
                    let is_visible = matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
                    assert_eq!(is_plain(&text), is_visible, "{text:?}");
                }
            }
        }
    }

    #[test]
    fn a_line_says_what_the_general_writer_says() {
        let mut date = LineDate::default();
        let hidden = "\u{9b}31m\u{85}\u{2028}\u{202e}\u{feff}\u{e0001}";
        for evil in ["", "plain", "a\"b\\c", "\n\r\t\u{0}\u{1f}\u{7f}", "caf\u{e9} \u{1f980}", hidden] {
            for (nth, request) in [full(evil), bare(evil), full(evil)].into_iter().enumerate() {
                let request = RequestView { time: Time(request.time.0 + nth as u64 * 993), ..request };
                let mut line = Vec::new();
                write_line(&mut line, &request, &mut date);
                assert_eq!(line.pop(), Some(b'\n'));
                let text = std::str::from_utf8(&line).unwrap();
                assert!(!text.contains(|c| c != ' ' && is_hidden(c)), "{text:?}");
                let written: Value = serde_json::from_slice(&line).unwrap();
                assert_eq!(written, serde_json::to_value(&request).unwrap(), "{evil:?}");
            }
        }
    }
}
