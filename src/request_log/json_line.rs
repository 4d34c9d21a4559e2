//! The JSON line of a request, written by hand: each request pays for it, and the general writer takes several times as long.
//!
//! Invariants: a line has the keys and values that `serde_json` writes for the view of the same request; a test compares them.

use arc_swap::ArcSwap;

use super::finished::{FinishedRequest, micros};
use super::line_cursor::{ESCAPED_BYTES_MAX, LineCursor, visible};
use super::query_mask::QueryMask;
use crate::domain::{RouteId, Time};

/// The room for all keys and numbers of a line.
const FIXED_BYTES_MAX: usize = 1024;
/// The bytes of the beginning of a line, and those of an id that was made here.
const START_BYTES: usize = 29;
const MADE_ID_BYTES: usize = 32;
/// The room for a usual line. That of another one is made for it.
const USUAL_BYTES_MAX: usize = 8 * 1024;

/// Writes the lines of one worker.
#[derive(Debug, Default)]
pub(super) struct JsonLines {
    // The second of the last line, and its beginning up to the dot before the milliseconds: most lines have the same.
    second: u64,
    start: String,
    // The place at which a line is put together, with room for its longest form.
    room: Vec<u8>,
}

impl JsonLines {
    /// Adds the line of a request. `mask` hides the values of secret parameters.
    pub(super) fn add(&mut self, out: &mut Vec<u8>, request: &FinishedRequest<'_>, mask: &ArcSwap<QueryMask>) {
        let time = request.time();
        if self.second != time.0 / 1000 || self.start.is_empty() {
            self.begin_second(time);
        }
        let query = request.query.map(|query| mask.load().apply(query));
        let referer = request.referer.map(|referer| mask.load().apply_to_url(String::from_utf8_lossy(referer)));
        // The writer leaves what is not seen as it is, and only texts can hold it.
        let tried = || visible(&serde_json::to_string(&request.tried).unwrap_or_default());
        let shown = ShownTexts {
            query: query.as_ref().map(|query| query.as_bytes()),
            referer: referer.as_ref().map(|referer| referer.as_bytes()),
            tried: if request.tried.is_empty() { String::new() } else { tried() },
        };
        let needed = FIXED_BYTES_MAX + ESCAPED_BYTES_MAX * text_bytes(request, &shown);
        if self.room.len() < needed {
            self.room.resize(needed.max(USUAL_BYTES_MAX), 0);
        }
        let length = self.room.len();
        let mut line = LineCursor(&mut self.room);
        match self.start.as_bytes().first_chunk::<START_BYTES>() {
            Some(start) if self.start.len() == START_BYTES => line.put(start),
            _ => line.plain(self.start.as_bytes()),
        }
        line.three_digits(time.0 % 1000);
        let line = put_request(line, request, &shown);
        let line = put_response(line, request);
        let left = put_rest(line, request, &shown).0.len();
        out.extend_from_slice(self.room.get(..length - left).unwrap_or_default());
        if length > USUAL_BYTES_MAX {
            self.room.truncate(USUAL_BYTES_MAX);
            self.room.shrink_to_fit();
        }
    }

    // Not inlined because it is rare: once a second.
    #[cold]
    fn begin_second(&mut self, time: Time) {
        let whole = time.to_string();
        self.second = time.0 / 1000;
        self.start = format!("{{\"time\":\"{}.", whole.split_once('.').map_or(whole.as_str(), |(text, _)| text));
    }
}

/// Texts of a request as they are shown: without secrets, and as JSON.
struct ShownTexts<'a> {
    query: Option<&'a [u8]>,
    referer: Option<&'a [u8]>,
    // Empty if there is nothing to tell.
    tried: String,
}

/// Returns the number of bytes of the texts of a line.
fn text_bytes(request: &FinishedRequest<'_>, shown: &ShownTexts<'_>) -> usize {
    let optional =
        [shown.query, shown.referer, request.user_agent, request.reason.map(|(_, detail)| detail.as_bytes())];
    let always = request.id.len() + request.method.len() + request.host.len() + request.path.len();
    let always = always + names(request.owner) + shown.tried.len();
    optional.into_iter().flatten().fold(always, |sum, text| sum + text.len())
}

/// Writes what is known of a request from its head.
fn put_request<'a>(mut line: LineCursor<'a>, request: &FinishedRequest<'_>, shown: &ShownTexts<'_>) -> LineCursor<'a> {
    line.put(b"Z\",\"id\":\"");
    match request.id.first_chunk::<MADE_ID_BYTES>() {
        Some(id) if request.id.len() == MADE_ID_BYTES => line.put(id),
        _ => line.plain(request.id),
    }
    if let Some(trace) = request.trace_id {
        line.shown(&format_args!("\",\"trace_id\":\"{trace:032x}"));
    }
    line.put(b"\",\"client\":\"");
    line.address(request.client);
    line.put(b"\",\"method\":\"");
    line.plain(request.method.as_bytes());
    if request.is_secure {
        line.put(b"\",\"scheme\":\"https\",\"host\":\"");
    } else {
        line.put(b"\",\"scheme\":\"http\",\"host\":\"");
    }
    line.text(request.host);
    line.put(b"\",\"path\":\"");
    line.text(request.path.as_bytes());
    if let Some(query) = shown.query {
        line.put(b"\",\"query\":\"");
        line.text(query);
    }
    line.put(b"\",\"protocol\":\"");
    line.plain(request.protocol.as_bytes());
    line
}

/// Writes what is known of its response.
fn put_response<'a>(mut line: LineCursor<'a>, request: &FinishedRequest<'_>) -> LineCursor<'a> {
    line.put(b"\",\"status\":");
    line.number(request.status.into());
    line.put(b",\"bytes_received\":");
    line.number(request.bytes_received);
    line.put(b",\"bytes_sent\":");
    line.number(request.bytes_sent);
    line.put(b",\"duration_ms\":");
    line.thousandths(micros(request.duration));
    line.put(b",\"upstream_ms\":");
    match request.upstream {
        Some(upstream) => line.thousandths(micros(upstream)),
        None => line.put(b"null"),
    }
    match request.route_part {
        Some(part) => line.plain(part),
        None => line = put_route(line, request.owner, request.route_id),
    }
    line
}

/// Writes what only some requests have, and the end of the line.
fn put_rest<'a>(mut line: LineCursor<'a>, request: &FinishedRequest<'_>, shown: &ShownTexts<'_>) -> LineCursor<'a> {
    line.put(b",\"attempts\":");
    line.number(request.attempts.into());
    if !shown.tried.is_empty() {
        line.put(b",\"tried\":");
        line.plain(shown.tried.as_bytes());
    }
    if let Some((reason, detail)) = request.reason {
        line.put(b",\"reason\":\"");
        line.plain(reason.as_bytes());
        line.put(b"\",\"detail\":\"");
        line.text(detail.as_bytes());
        line.put(b"\"");
    }
    if let Some(user_agent) = request.user_agent {
        line.put(b",\"user_agent\":\"");
        line.text(user_agent);
        line.put(b"\"");
    }
    if let Some(referer) = shown.referer {
        line.put(b",\"referer\":\"");
        line.text(referer);
        line.put(b"\"");
    }
    line.put(b",\"revision\":");
    line.number(request.revision);
    line.put(b"}\n");
    line
}

/// Returns the part of a line that requests to a route share: the names of its service and its instance, and its id.
pub fn route_part(owner: Option<(&str, &str)>, route: RouteId) -> Box<[u8]> {
    let mut room = vec![0; FIXED_BYTES_MAX + ESCAPED_BYTES_MAX * names(owner)];
    let left = put_route(LineCursor(&mut room), owner, Some(route)).0.len();
    room.truncate(room.len() - left);
    room.into()
}

/// Returns the number of bytes of the names of a service and an instance.
fn names(owner: Option<(&str, &str)>) -> usize {
    owner.map_or(0, |(service, instance)| service.len() + instance.len())
}

/// Writes the names of the service and the instance, and the id of the route.
#[inline(never)]
fn put_route<'a>(mut line: LineCursor<'a>, owner: Option<(&str, &str)>, route: Option<RouteId>) -> LineCursor<'a> {
    if let Some((service, instance)) = owner {
        line.put(b",\"service_name\":\"");
        line.text(service.as_bytes());
        line.put(b"\",\"instance_name\":\"");
        line.text(instance.as_bytes());
        line.put(b"\"");
    }
    if let Some(route) = route {
        line.put(b",\"route_id\":\"r");
        line.number(route.0.into());
        line.put(b"\"");
    }
    line
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::Value;

    use super::*;
    use crate::domain::is_hidden;
    use crate::request_log::samples::{bare, full};

    #[test]
    fn a_line_says_what_the_general_writer_says() {
        let (mut lines, mask) = (JsonLines::default(), QueryMask::new(&["token".to_owned()]));
        let shared_mask = ArcSwap::from_pointee(mask.clone());
        let hidden = "\u{9b}31m\u{85}\u{2028}\u{202e}\u{feff}\u{e0001}";
        let secret = "http://a/?b=1&token=secret";
        for evil in ["", "plain", secret, "a\"b\\c", "\n\r\t\u{0}\u{1f}\u{7f}", "caf\u{e9} \u{1f980}", hidden] {
            for nth in 0..40_u32 {
                // Numbers of each length.
                let (ago, took) = (Duration::from_millis(993 * u64::from(nth)), Duration::from_micros(1 << nth));
                let request = if nth % 2 == 0 { full(evil) } else { bare(evil) };
                let number = (1 << nth) - 1;
                let request = FinishedRequest {
                    began: request.began + ago,
                    duration: took,
                    bytes_sent: number,
                    revision: number,
                    ..request
                };
                let mut line = Vec::new();
                lines.add(&mut line, &request, &shared_mask);
                assert_eq!(line.pop(), Some(b'\n'));
                let text = std::str::from_utf8(&line).unwrap();
                assert!(!text.contains(|c| c != ' ' && is_hidden(c)), "{text:?}");
                let written: Value = serde_json::from_slice(&line).unwrap();
                assert_eq!(written, serde_json::to_value(request.view(&mask)).unwrap(), "{evil:?}");
            }
        }
    }
}
