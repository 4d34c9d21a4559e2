//! The patterns (ECMA-262) of the description. They repeat what the parsers of the domain accept.
//!
//! Invariant: every text that matches is accepted. The parsers also accept texts that no pattern describes
//! (internationalised names, other spellings of a duration). A test of `rest` draws texts from each pattern and parses
//! them.

use std::sync::LazyLock;

/// Returns a class of the characters of a name except `without`: those of the Basic Multilingual Plane, because readers
/// of patterns write other characters differently.
fn name_class(without: &str) -> String {
    let single = without.chars().map(|c| (u32::from(c), u32::from(c)));
    let mut gaps: Vec<(u32, u32)> = crate::domain::HIDDEN.into_iter().chain(single).collect();
    gaps.sort_unstable();
    let firsts = gaps.iter().map(|(_, last)| last + 1);
    let lasts = gaps.iter().skip(1).map(|(first, _)| first - 1);
    let between = firsts.zip(lasts).filter(|(first, last)| first <= last && *last <= 0xFFFF);
    let spelt =
        between.map(
            |(first, last)| {
                if first == last { format!(r"\u{first:04x}") } else { format!(r"\u{first:04x}-\u{last:04x}") }
            },
        );
    format!("[{}]", spelt.collect::<String>())
}

const LABEL: &str = "[A-Za-z0-9_-]{1,63}";
/// An IPv6 address in brackets, in the spellings of RFC 4291 §2.2. A dotted end is described only after `::ffff:`.
static IPV6: LazyLock<String> = LazyLock::new(|| {
    const GROUP: &str = "[0-9A-Fa-f]{1,4}";
    let whole = format!("({GROUP}:){{7}}{GROUP}|({GROUP}:){{1,7}}:|:(:{GROUP}){{1,7}}|::");
    let cut = (1..=6).map(|before| format!("|({GROUP}:){{1,{before}}}(:{GROUP}){{1,{}}}", 7 - before));
    format!(r"\[({whole}{}|::[Ff]{{4}}:({OCTET}\.){{3}}{OCTET})\]", cut.collect::<String>())
});
const OCTET: &str = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
const PORT: &str = "(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})";
const REVISION: &str = r#""(0|[1-9][0-9]{0,18})""#;
/// An entity tag, of this server or not (RFC 9110 §8.8.3).
const TAG: &str = r#"(W/)?"[!#-~]*""#;
/// A condition: a host has at most 253 characters.
pub(crate) const HOST_NOT_TOO_LONG: &str = "(?![^:/?]{254})";
/// A route id. Larger ids than a session can have are left out.
const ROUTE: &str = "r[1-9][0-9]{0,8}";

/// Returns a class of the characters of a path except the dot and `without`.
fn path_class(without: &str) -> String {
    r"A-Za-z0-9_~!$&'()*+,;=:@%".chars().filter(|c| !without.contains(*c)).collect()
}

/// Returns the pattern of a path whose segments are neither `.` nor `..`, also if percent-encoded or with parameters.
fn path(without: &str) -> String {
    let (class, begins) = (path_class(without), path_class(&format!("{without};%")));
    let begins = format!("([{begins}-]|%([013-9A-Fa-f][0-9A-Fa-f]|2[0-9A-DFa-df]))");
    format!(r"(/(\.{{0,2}}{begins}[{class}.-]*|\.{{3}}[{class}.-]*)?)+")
}

fn host() -> String {
    format!(r"(({LABEL}\.)*{LABEL}\.?|{})", *IPV6)
}

fn domain() -> String {
    format!(r"(\*|(\*\.)?({LABEL}\.)*{LABEL}\.?|{})", *IPV6)
}

fn origin(schemes: &str) -> String {
    format!("({schemes})://{HOST_NOT_TOO_LONG}{}(:{PORT})?", host())
}

macro_rules! patterns {
    ($($(#[$doc:meta])* $name:ident = $pattern:expr;)+) => { $(
        $(#[$doc])*
        pub(crate) static $name: LazyLock<String> = LazyLock::new(|| format!("^{}$", $pattern));
    )+ };
}

patterns! {
    /// A service's or an instance's name.
    NAME = format!("{}{{1,128}}", name_class("|"));
    /// `r1`.
    ROUTE_ID = ROUTE;
    /// `ALL` or `r1`.
    TARGET = format!("(ALL|{ROUTE})");
    /// `shop.example`, `*.shop.example`, `*`.
    DOMAIN = domain();
    /// `/api`.
    PATH = path("*");
    /// `/health?full=1`, `grpc:shop.Orders`.
    HEALTH_PATH = format!(r"({}(\?[!$-~]*)?|grpc:[A-Za-z0-9._/-]*)", path(""));
    /// `http://10.0.0.7:3000/base`.
    BACKEND = format!("{}({})?", origin("https?|wss?|h2c"), path("@"));
    /// `http://pages.example/down?for=shop`.
    PAGE = format!(r"{}({}(\?[A-Za-z0-9_~!$&'()*+,;=:@%./-]*)?)?", origin("https?|wss?"), path("@"));
    /// A list of targets, paths and domains. The limit on its length keeps it below the limit on their number.
    PLACES = format!("({place})(,({place}))*", place = format!("{}|{}", path(",*"), domain()));
    /// A response header's name, except the headers of the connection.
    HEADER_NAME = format!("(?!({FRAMING})$)[!#$%&'*+.^_`|~0-9A-Za-z-]{{1,128}}");
    /// A response header's value.
    HEADER_VALUE = format!(r"[{TEXT}]*");
    /// The reason of a change.
    REASON = r"[!-~]([ -~]{0,498}[!-~])?";
    /// `"3"`.
    ETAG = REVISION;
    /// `"3"`, `"3", "4"` or `*`.
    IF_MATCH = format!(r"(\*|[ \t]*({TAG})?[ \t]*(,[ \t]*({TAG})?[ \t]*)*)");
    /// Types of events.
    TOPICS = {
        let kinds = crate::domain::EventKind::TOPICS.map(crate::domain::EventKind::name).join("|");
        format!("(all|{kinds})(,(all|{kinds}))*")
    };
    /// `shop/shop-1`.
    INSTANCE_REF = format!("{}{{1,128}}/{}{{1,128}}", name_class("|/"), name_class("|"));
    /// `shop.example:8080`.
    REQUEST_HOST = format!("{}(:[0-9]{{0,5}})?", host());
    /// A path in a request.
    REQUEST_PATH = format!(r"{}(\?[!-~]*)?", path(""));
    /// `GET`.
    METHOD = "[0-9A-Za-z!#$%&'*+.^_`|~-]{1,32}";
    /// A duration of at most 363 days; the parser accepts 366.
    DURATION = format!("({SPANS}|[1-9][0-9]{{0,8}}ms)");
    /// A lease.
    LEASE = format!("(permanent|{SPANS})");
    /// A duration of at least 100 ms.
    INTERVAL = format!("({SPANS}|[1-9][0-9]{{2,8}}ms)");
}

/// Header names that cannot be set, in upper or lower case.
pub(crate) const FRAMING: &str = "[Cc][Oo][Nn][Nn][Ee][Cc][Tt][Ii][Oo][Nn]|[Cc][Oo][Nn][Tt][Ee][Nn][Tt]-[Ll][Ee][Nn][Gg][Tt][Hh]|\
    [Kk][Ee][Ee][Pp]-[Aa][Ll][Ii][Vv][Ee]|[Pp][Rr][Oo][Xx][Yy]-[Cc][Oo][Nn][Nn][Ee][Cc][Tt][Ii][Oo][Nn]|[Tt][Ee]|\
    [Tt][Rr][Aa][Ii][Ll][Ee][Rr]|[Tt][Rr][Aa][Nn][Ss][Ff][Ee][Rr]-[Ee][Nn][Cc][Oo][Dd][Ii][Nn][Gg]|\
    [Uu][Pp][Gg][Rr][Aa][Dd][Ee]|[Vv][Ii][Aa]";
/// The characters that a header's value must not contain.
const TEXT: &str = r"^\u0000-\u0008\u000a-\u001f\u007f";
/// Whole seconds, or hours, minutes and seconds in this order. The first is not zero; seconds may have a fraction.
const SPANS: &str = r"[1-9][0-9]{0,6}|([1-9][0-9]{0,2}|[1-3][0-9]{3})h([0-9]{1,4}m)?([0-9]{1,4}(\.[0-9]{1,3})?s)?|[1-9][0-9]{0,4}m([0-9]{1,5}(\.[0-9]{1,3})?s)?|[1-9][0-9]{0,6}(\.[0-9]{1,3})?s";
