//! Renders replies, answers, refusals and notices as lines. It does no IO: the connection writes the buffer of lines.
//!
//! Invariants: every call appends whole lines, usually one; no line has more bytes than its limit, line end
//! included; no control character and, outside payloads and usage texts, no `|` comes from a value.

use std::io::{self, BufWriter, Write};

use base64::engine::general_purpose::STANDARD;
use base64::write::EncoderWriter;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

use crate::domain::{Error, Kind, breaks_line};
use crate::registry::commands::AppliedView;
use crate::registry::queries::event_view::EventView;
use crate::registry::queries::session::AddedRouteView;
use crate::registry::queries::status::BackendView;
use crate::registry::queries::views::LaggedView;
use crate::registry::revisions::RevisionView;
use crate::registry::{Answer, MailboxMessage, Release, Reply};

use super::parse::{Form, LineRefusal};

/// The minimum length of an entry of `ROUTE_LIST_OK`, with its comma. An entry of `STATS_OK` is longer.
const ENTRY_BYTES_MIN: usize =
    r#"{"route_id":"r1","id":"r1","domains":["*"],"path":"/","backend":"http://b","priority":0,"status":"active"},"#
        .len();

/// The first line of the answer to `help`.
const HELP: &str = "The commands, a line each; [...] may be left out. REGISTER answers ACK|session_id; a transaction id of \
                    your own may follow the session id.\n";

/// The lines that are ready to be written.
#[derive(Debug)]
pub(super) struct ReplyBuffer {
    out: Vec<u8>,
    /// The most bytes of a line, its end included.
    reply_max: usize,
    /// The most bytes of a line with a compressed payload, its end included.
    compressed_max: usize,
    /// True if a newer registration has replaced the connection's session, and the connection has no other session.
    replaced: bool,
}

/// The outcome of a maintenance request that this connection has sent.
#[derive(Debug)]
pub(super) struct MaintenanceOutcome {
    /// The target, as the client wrote it.
    pub(super) target: String,
    /// The transaction id of the request.
    pub(super) transaction: Option<String>,
    /// The result; an error if the request failed.
    pub(super) result: Result<(), Error>,
}

/// The first fields and the form of a reply.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReplyHead<'a> {
    /// The first word of a successful reply.
    pub(super) word: &'static str,
    /// The transaction id, which follows the first word.
    pub(super) transaction: Option<&'a str>,
    /// The form of the reply.
    pub(super) form: Form<'a>,
}

impl ReplyBuffer {
    /// Creates an empty buffer.
    pub(super) fn new(reply_max: usize, compressed_max: usize) -> Self {
        Self { out: Vec::new(), reply_max, compressed_max, replaced: false }
    }

    /// Returns the lines that are ready.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.out
    }

    /// Removes the lines after they have been written.
    pub(super) fn written(&mut self) {
        self.out.clear();
    }

    /// Frees memory after a burst.
    pub(super) fn shrink(&mut self) {
        if self.out.capacity() > 4096 {
            self.out.shrink_to(1024);
        }
    }

    /// Appends the reply of a command.
    pub(super) fn reply(&mut self, head: ReplyHead<'_>, reply: &Reply) {
        self.replaced &= !matches!(reply, Reply::Registered(_) | Reply::Reconnected);
        match reply {
            Reply::Registered(id) => self.line(head, Some(id.reveal())),
            // No command of the pipe has the last two.
            Reply::Reconnected
            | Reply::Done
            | Reply::Maintenance(_)
            | Reply::Applied(_)
            | Reply::Put(_)
            | Reply::SetsPut(_) => self.line(head, None),
            Reply::Gone => self.line(ReplyHead { word: "REREGISTER", ..head }, None),
            Reply::RouteAdded(id) => self.line(head, Some(&id.to_string())),
            Reply::RoutesAdded(ids) => {
                self.payload(head, &ids.iter().copied().map(AddedRouteView::from).collect::<Vec<_>>());
            }
            Reply::DrainUntil(time) => self.line(head, Some(&time.to_string())),
        }
    }

    /// Appends the answer to a query.
    pub(super) fn answer(&mut self, head: ReplyHead<'_>, answer: &Answer) {
        match answer {
            // The diff shows the warnings.
            Answer::Pong | Answer::Valid(_) => self.line(head, None),
            Answer::Session(view) => self.payload(head, view),
            Answer::Routes(views) => self.payload(head, views),
            Answer::Breaker(view) => self.payload(head, view),
            // No command of the pipe asks for it.
            Answer::Config(view) => self.payload(head, view),
            Answer::Diff(view) => self.payload(head, view),
            Answer::Drain(view) => self.payload(head, view),
            Answer::Maintenance(view) => self.payload(head, view),
            Answer::RouteStats(view) => self.payload(head, view),
            Answer::Stats(views) => self.payload(head, views),
        }
    }

    /// Refuses an answer of at least `entries` entries if it cannot fit its line, before it is made. Returns true if it
    /// was refused.
    pub(super) fn refuses(&mut self, head: ReplyHead<'_>, entries: usize) -> bool {
        let bytes = entries.saturating_mul(ENTRY_BYTES_MIN);
        let too_long = matches!(head.form, Form::Plain) && bytes > self.reply_max;
        if too_long {
            let most = self.reply_max;
            let message = format!("reply of at least {bytes} bytes is too long (limit {most}){}", advice(head));
            self.failure(head.transaction, &message);
        }
        too_long
    }

    /// Appends a list of revisions.
    pub(super) fn revisions(&mut self, head: ReplyHead<'_>, views: &[RevisionView]) {
        self.payload(head, views);
    }

    /// Appends the result of an apply with options.
    pub(super) fn applied(&mut self, head: ReplyHead<'_>, applied: &AppliedView) {
        self.payload(head, applied);
    }

    /// Appends the result of a revert: the number of the last revision.
    pub(super) fn reverted(&mut self, head: ReplyHead<'_>, applied: &AppliedView) {
        self.line(head, applied.number.map(|number| number.to_string()).as_deref());
    }

    /// Appends the result of a backend test.
    pub(super) fn backend(&mut self, head: ReplyHead<'_>, view: &BackendView) {
        let word = if view.reachable { "BACKEND_OK" } else { "BACKEND_FAIL" };
        self.payload(ReplyHead { word, ..head }, view);
    }

    /// Appends the refusal of a line that could not be read.
    pub(super) fn refusal(&mut self, refusal: &LineRefusal<'_>) {
        match refusal {
            LineRefusal::Help(usages) => {
                self.out.extend_from_slice(HELP.as_bytes());
                usages.iter().for_each(|usage| self.out.extend_from_slice(format!("{usage}\n").as_bytes()));
            }
            LineRefusal::Usage(usage) => self.failure(None, usage),
            LineRefusal::Wrong { transaction, error } => self.error(*transaction, error),
        }
    }

    /// Appends the refusal of a call.
    pub(super) fn error(&mut self, transaction: Option<&str>, error: &Error) {
        let replaced = Error::replaced_session();
        // A replaced session without routes ends at once; its connection still learns that it was replaced.
        let error = if self.replaced && error.kind() == Kind::InvalidSession { &replaced } else { error };
        self.failure(transaction, &error.to_string().replace('|', "/"));
    }

    /// Appends the outcome of a maintenance request. `MAINT_OK` names the target in place of a transaction id.
    pub(super) fn outcome(&mut self, outcome: &MaintenanceOutcome) {
        let head = ReplyHead { word: "MAINT_OK", transaction: None, form: Form::Plain };
        match &outcome.result {
            Ok(()) => self.line(head, Some(&outcome.target)),
            Err(error) => self.error(outcome.transaction.as_deref(), error),
        }
    }

    /// Appends a notice. The notice to close the connection has no line.
    pub(super) fn message(&mut self, message: &MailboxMessage) {
        match message {
            MailboxMessage::Event(record) => {
                self.event(record.event.kind().name(), &EventView::from(&record.event));
            }
            MailboxMessage::Lagged(missed) => self.event("lagged", &LaggedView { missed: *missed }),
            MailboxMessage::Released(why) => self.replaced = *why == Release::Replaced,
            // The connection writes `SHUTDOWN` itself when its client waits for no answer.
            MailboxMessage::Shutdown | MailboxMessage::Close => {}
        }
    }

    /// Appends the notice that the server stops.
    pub(super) fn shutdown(&mut self) {
        self.out.extend_from_slice(b"SHUTDOWN\n");
    }

    fn event(&mut self, name: &'static str, payload: &impl Serialize) {
        self.payload(ReplyHead { word: "EVENT", transaction: Some(name), form: Form::Plain }, payload);
    }

    fn line(&mut self, head: ReplyHead<'_>, field: Option<&str>) {
        self.begin(head.word, head.transaction);
        if let Some(field) = field {
            self.out.push(b'|');
            self.out.extend_from_slice(field.as_bytes());
        }
        self.out.push(b'\n');
    }

    fn begin(&mut self, word: &str, transaction: Option<&str>) {
        self.out.extend_from_slice(word.as_bytes());
        if let Some(transaction) = transaction {
            self.out.push(b'|');
            self.out.extend_from_slice(transaction.as_bytes());
        }
    }

    /// Appends an error, cut to the maximum length of a line.
    fn failure(&mut self, transaction: Option<&str>, message: &str) {
        self.begin("ERROR", transaction);
        let room = self.reply_max.saturating_sub(transaction.map_or(0, str::len) + "ERROR||\n".len());
        let message = message.get(..message.floor_char_boundary(room)).unwrap_or_default();
        self.out.push(b'|');
        let visible = |c: char| if breaks_line(c) { ' ' } else { c };
        self.out.extend_from_slice(message.chars().map(visible).collect::<String>().as_bytes());
        self.out.push(b'\n');
    }

    /// Appends a line that ends with JSON, or an error if the line is too long.
    fn payload<T: Serialize + ?Sized>(&mut self, head: ReplyHead<'_>, payload: &T) {
        let start = self.out.len();
        self.begin(head.word, head.transaction);
        self.out.push(b'|');
        let written = match head.form {
            Form::Compressed => self.compressed(start, payload),
            Form::Plain | Form::Outcome(_) => self.plain(start, payload),
        };
        self.out.push(b'\n');
        if let Err(message) = written {
            self.out.truncate(start);
            let message = format!("{message}{}", advice(head));
            self.failure(head.transaction, &message);
        }
    }

    fn plain<T: Serialize + ?Sized>(&mut self, start: usize, payload: &T) -> Result<(), String> {
        let most = self.reply_max;
        let head_bytes = self.out.len() - start + 1;
        let mut bounded =
            Bounded { out: &mut self.out, room: most.saturating_sub(head_bytes), dropped: 0, fail_when_full: false };
        serde_json::to_writer(&mut bounded, payload).map_err(|_| fault())?;
        match bounded.dropped {
            0 => Ok(()),
            dropped => Err(format!("reply of {} bytes is too long (limit {most})", most.max(head_bytes) + dropped)),
        }
    }

    /// Appends the compressed payload. Stops early when there is no room for it.
    fn compressed<T: Serialize + ?Sized>(&mut self, start: usize, payload: &T) -> Result<(), String> {
        let most = self.compressed_max;
        let room = most.saturating_sub(self.out.len() - start + 1);
        let bounded = Bounded { out: &mut self.out, room, dropped: 0, fail_when_full: true };
        zip(bounded, payload).map_err(|_| format!("compressed reply is too long (limit {most})"))
    }
}

fn fault() -> String {
    "a fault of the server's own; the reply could not be written".to_owned()
}

/// Returns advice for a reply that is too long.
fn advice(head: ReplyHead<'_>) -> &'static str {
    match (head.word, head.form) {
        ("ROUTE_LIST_OK", Form::Plain) => "; ask for the compressed form: ROUTE_LIST|session_id|compressed",
        ("STATS_OK", Form::Plain) => "; ask for the compressed form: STATS_GET|session_id|compressed",
        ("HISTORY_OK", _) => "; ask for fewer: CONFIG_HISTORY|session_id|5",
        ("STATS_OK", Form::Compressed) => "; ask for one route: STATS_GET|session_id|route_id",
        _ => "",
    }
}

/// Appends base64(gzip(JSON)).
fn zip<T: Serialize + ?Sized>(out: Bounded<'_>, payload: &T) -> io::Result<()> {
    let gzip = GzEncoder::new(EncoderWriter::new(out, &STANDARD), Compression::fast());
    // The JSON writer writes a few bytes at a time.
    let mut json = BufWriter::with_capacity(16 * 1024, gzip);
    serde_json::to_writer(&mut json, payload)?;
    let gzip = json.into_inner().map_err(io::IntoInnerError::into_error)?;
    gzip.finish()?.finish()?;
    Ok(())
}

/// A writer that appends to a line while there is room.
///
/// Raw JSON values may contain line ends between tokens; these become spaces.
struct Bounded<'a> {
    out: &'a mut Vec<u8>,
    room: usize,
    /// The number of bytes that had no room.
    dropped: usize,
    /// True if a lack of room is an error; false if the rest is counted.
    fail_when_full: bool,
}

impl Write for Bounded<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (kept, rest) = bytes.split_at(bytes.len().min(self.room));
        if !rest.is_empty() && self.fail_when_full {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.out.extend(kept.iter().map(|byte| if *byte < b' ' { b' ' } else { *byte }));
        self.room -= kept.len();
        self.dropped += rest.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::Arc;

    use flate2::read::GzDecoder;

    use super::*;
    use crate::domain::{
        BackendUrl, Event, EventInstance, EventRecord, Host, InstanceName, PathPrefix, RouteId, ServiceName,
        SessionKey, Target, Time,
    };
    use crate::registry::queries::session::{RouteStatus, RouteView};

    fn head<'a>(word: &'static str, transaction: Option<&'a str>, form: Form<'a>) -> ReplyHead<'a> {
        ReplyHead { word, transaction, form }
    }

    fn lines(write: impl FnOnce(&mut ReplyBuffer)) -> String {
        let mut lines = ReplyBuffer::new(200, 150);
        write(&mut lines);
        String::from_utf8(lines.bytes().to_vec()).unwrap()
    }

    fn routes(count: u32) -> Answer {
        let view = |id| RouteView {
            route_id: RouteId(id),
            id: RouteId(id),
            domains: Host::parse_list("a.example").unwrap(),
            path: PathPrefix::parse("/").unwrap(),
            backend: BackendUrl::parse("http://b").unwrap(),
            priority: 0,
            status: RouteStatus::Active,
        };
        Answer::Routes((1..=count).map(view).collect())
    }

    #[test]
    fn a_reply_has_its_word_then_the_transaction_id_then_its_value() {
        let done = |word, transaction| lines(|to| to.reply(head(word, transaction, Form::Plain), &Reply::Done));
        assert_eq!(done("HEADERS_OK", None), "HEADERS_OK\n");
        assert_eq!(done("OK", Some("t1")), "OK|t1\n");
        let reply = |word, reply| lines(|to| to.reply(head(word, Some("t"), Form::Plain), &reply));
        assert_eq!(reply("ROUTE_OK", Reply::RouteAdded(RouteId(7))), "ROUTE_OK|t|r7\n");
        assert_eq!(reply("OK", Reply::Gone), "REREGISTER|t\n");
        assert_eq!(reply("DRAIN_OK", Reply::DrainUntil(Time(0))), "DRAIN_OK|t|1970-01-01T00:00:00.000Z\n");
        let both = Reply::RoutesAdded(vec![RouteId(1), RouteId(2)]);
        let entries = r#"[{"route_id":"r1","status":"ok"},{"route_id":"r2","status":"ok"}]"#;
        assert_eq!(reply("ROUTE_BULK_OK", both), format!("ROUTE_BULK_OK|t|{entries}\n"));
    }

    #[test]
    fn an_error_is_one_line_without_a_pipe() {
        let error = Error::new(Kind::Invalid, "a|b\nc\u{85}d");
        assert_eq!(lines(|to| to.error(Some("t"), &error)), "ERROR|t|a/b c d\n");
        let long = Error::new(Kind::Invalid, "ä".repeat(1000));
        let line = lines(|to| to.error(None, &long));
        assert!(line.len() <= 200 && line.starts_with("ERROR|ä") && line.ends_with("ä\n"), "{line}");
    }

    #[test]
    fn a_notice_has_the_payload_of_its_type() {
        let rendered = |message: MailboxMessage| lines(|to| to.message(&message));
        let event = |event: Event| {
            MailboxMessage::Event(Arc::new(EventRecord {
                sequence: 7,
                at: Time(0),
                instance: Some(EventInstance {
                    owner: crate::domain::Owner::Session,
                    session: SessionKey(1),
                    service: ServiceName::parse("shop").unwrap(),
                    instance: InstanceName::parse("shop-1").unwrap(),
                }),
                event,
            }))
        };
        assert_eq!(rendered(event(Event::ConfigApplied { revision: 3 })), "EVENT|config_applied|{\"revision\":3}\n");
        let renewed = Event::CertRenewed { domain: Host::parse("*.shop.example").unwrap(), expiry: Time(1_500) };
        assert_eq!(
            rendered(event(renewed)),
            "EVENT|cert_renewed|{\"domain\":\"*.shop.example\",\"expiry\":\"1970-01-01T00:00:01.500Z\"}\n"
        );
        let changed = Event::GlobalConfigChanged { reason: "SIGHUP: log.level".into() };
        assert_eq!(rendered(event(changed)), "EVENT|global_config_changed|{\"reason\":\"SIGHUP: log.level\"}\n");
        assert_eq!(rendered(event(Event::StagedConfigExpired)), "EVENT|staged_config_expired|{}\n");
        assert_eq!(rendered(event(Event::DrainCompleted)), "EVENT|drain_completed|{}\n");
        let changed = Event::MaintenanceChanged { target: Target::Route(RouteId(1)), in_maintenance: true };
        assert_eq!(rendered(event(changed)), "EVENT|maintenance_changed|{\"target\":\"r1\",\"in_maintenance\":true}\n");
        assert_eq!(rendered(MailboxMessage::Lagged(12)), "EVENT|lagged|{\"missed\":12}\n");
        assert_eq!(
            (lines(ReplyBuffer::shutdown), rendered(MailboxMessage::Close)),
            ("SHUTDOWN\n".to_owned(), String::new())
        );
    }

    #[test]
    fn a_reply_that_fits_exactly_passes_and_one_more_byte_is_refused() {
        let of = |limit: usize| {
            let mut lines = ReplyBuffer::new(limit, 0);
            lines.answer(head("ROUTE_LIST_OK", Some("t"), Form::Plain), &routes(2));
            String::from_utf8(lines.bytes().to_vec()).unwrap()
        };
        let whole = of(10_000);
        let length = whole.len();
        assert_eq!(of(length), whole, "the line end counts");
        let advice = "ask for the compressed form: ROUTE_LIST|session_id|compressed";
        let limit = length - 1;
        assert_eq!(of(limit), format!("ERROR|t|reply of {length} bytes is too long (limit {limit}); {advice}\n"));
    }

    #[test]
    fn a_compressed_payload_comes_back_whole() {
        let mut lines = ReplyBuffer::new(0, 4096);
        let views = routes(300);
        lines.answer(head("ROUTE_LIST_OK", None, Form::Compressed), &views);
        let line = String::from_utf8(lines.bytes().to_vec()).unwrap();
        let text = line.strip_prefix("ROUTE_LIST_OK|").and_then(|rest| rest.strip_suffix('\n')).unwrap();
        let zipped = base64::Engine::decode(&STANDARD, text).unwrap();
        let mut json = String::new();
        GzDecoder::new(&zipped[..]).read_to_string(&mut json).unwrap();
        let Answer::Routes(views) = views else { panic!() };
        assert_eq!(json, serde_json::to_string(&views).unwrap());
    }

    #[test]
    fn a_compressed_payload_has_a_limit_too() {
        let line = lines(|to| to.answer(head("STATS_OK", None, Form::Compressed), &routes(300)));
        let advice = "ask for one route: STATS_GET|session_id|route_id";
        assert_eq!(line, format!("ERROR|compressed reply is too long (limit 150); {advice}\n"));
    }

    #[test]
    fn line_ends_in_raw_json_do_not_end_the_line() {
        let raw = serde_json::value::RawValue::from_string("{\r\n\t\"a\":\n1}".to_owned()).unwrap();
        let line = lines(|to| to.payload(head("SESSION_OK", None, Form::Plain), &raw));
        assert_eq!(line, "SESSION_OK|{   \"a\": 1}\n");
    }

    #[test]
    fn a_backend_is_found_or_not() {
        let fail = BackendView { error: Some("connection refused | no".to_owned()), ..BackendView::default() };
        let line = lines(|to| to.backend(head("BACKEND_OK", Some("t"), Form::Plain), &fail));
        assert_eq!(line, "BACKEND_FAIL|t|{\"reachable\":false,\"error\":\"connection refused | no\"}\n");
    }
}
