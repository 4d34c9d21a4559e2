//! The house rules, checked on the sources themselves: who may name whom, how long things may be,
//! and that every module says what it is.
//!
//! What stands below `#[cfg(test)]`, in comments or in strings does not count.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A module, the modules it may name, and the libraries with a home of their own that it may name.
const HOUSE: &[(&str, &[&str], &[&str])] = &[
    ("domain", &[], &["imbl", "http", "idna", "ipnet", "jiff", "serde_json"]),
    ("registry", &["domain", "clock", "lifecycle"], &["tokio", "arc_swap", "serde", "serde_json", "tracing", "ipnet"]),
    ("traffic", &["domain"], &["imbl", "http", "ipnet", "hdrhistogram", "arc_swap"]),
    ("store", &["domain", "registry", "lifecycle"], &["tokio", "sqlx", "serde", "serde_json", "tracing", "http"]),
    (
        "pipe",
        &["domain", "registry", "admission", "clock", "files", "lifecycle", "memory", "tls"],
        &["tokio", "serde", "serde_json", "tracing", "flate2"],
    ),
    (
        "grpc",
        &["domain", "registry", "access", "lifecycle"],
        &[
            "tokio",
            "tracing",
            "serde_json",
            "http",
            "http_body",
            "axum", // what tonic's own router is
            "tower",
            "tonic",
            "tonic_health",
            "tonic_reflection",
            "tonic_types",
            "prost",
            "prost_types",
        ],
    ),
    (
        "proxy",
        &[
            "domain",
            "traffic",
            "reports",
            "connect",
            "http1",
            "maintenance_pages",
            "admission",
            "chance",
            "clock",
            "files",
            "lifecycle",
            "memory",
        ],
        &[
            "tokio",
            "hyper",
            "hyper_util",
            "http",
            "http_body",
            "http_body_util",
            "arc_swap",
            "tracing",
            "socket2",
            "ipnet",
            "brotli",
            "zstd",
            "flate2",
        ],
    ),
    (
        "rest",
        &["domain", "registry", "access", "lifecycle", "memory"],
        &[
            "tokio",
            "axum",
            "utoipa",
            "utoipa_axum",
            "utoipa_swagger_ui",
            "tower_http",
            "http_body_util",
            "serde",
            "serde_json",
            "serde_path_to_error",
            "tracing",
        ],
    ),
    (
        "checks",
        &["domain", "traffic", "reports", "connect", "chance", "clock", "files", "lifecycle"],
        &["tokio", "imbl", "arc_swap", "socket2", "tracing"],
    ),
    (
        "connect",
        &["domain", "clock", "files", "lifecycle"],
        &["tokio", "rustls", "rustls_native_certs", "tokio_rustls", "tracing"],
    ),
    (
        "fetch",
        &["domain", "traffic", "connect", "http1", "clock"],
        &["tokio", "hyper", "hyper_util", "http", "http_body_util"],
    ),
    ("http1", &[], &["tokio", "hyper", "http"]),
    ("maintenance_pages", &["domain", "fetch", "clock"], &["tokio", "arc_swap", "http", "tracing"]),
    ("reports", &["domain", "traffic"], &["tokio", "tracing"]),
    ("access", &["domain"], &["http"]),
    ("admission", &["domain", "clock"], &["tokio", "ipnet"]),
    (
        "api",
        &["access", "admission", "clock", "files", "lifecycle", "memory", "registry", "tls"],
        &["tokio", "http_body", "http_body_util", "hyper", "hyper_util", "axum", "tower", "tracing"],
    ),
    ("chance", &[], &[]),
    ("clock", &["domain"], &["tokio", "tracing"]),
    ("files", &["clock"], &["tokio", "tracing", "socket2"]),
    ("lifecycle", &[], &["tokio", "tracing"]),
    ("tls", &["clock"], &["tokio", "rustls", "tokio_rustls", "tracing"]),
    ("memory", &[], &[]),
    (
        "config",
        &["domain", "admission", "memory", "registry", "tls"],
        &["clap", "toml", "serde", "ipnet", "tracing_subscriber"],
    ),
    ("telemetry", &["config", "clock", "lifecycle"], &["tracing", "tracing_subscriber"]),
];

/// Where everything is wired together: these may name anything.
const WIRING: &[&str] = &["app", "lib", "main"];

/// The libraries that the table above speaks of.
const LIBRARIES: &[&str] = &[
    "tokio",
    "axum",
    "tonic",
    "tonic_health",
    "tonic_reflection",
    "tonic_types",
    "prost",
    "prost_types",
    "tower",
    "sqlx",
    "hyper",
    "hyper_util",
    "http",
    "http_body",
    "http_body_util",
    "imbl",
    "idna",
    "ipnet",
    "jiff",
    "serde",
    "serde_json",
    "arc_swap",
    "hdrhistogram",
    "clap",
    "toml",
    "tracing",
    "tracing_subscriber",
    "socket2",
    "rustls",
    "rustls_native_certs",
    "tokio_rustls",
    "brotli",
    "zstd",
    "flate2",
    "axum",
    "utoipa",
    "utoipa_axum",
    "utoipa_swagger_ui",
    "tower_http",
    "serde_path_to_error",
];

/// What only one module may say.
const HOMES: &[(&str, &str)] = &[
    ("Instant::now(", "clock"),
    ("SystemTime::now(", "clock"),
    ("env::var", "config"),
    ("tokio::spawn(", "lifecycle"),
    ("task::spawn", "lifecycle"),
    ("block_in_place", "lifecycle"),
    ("thread::spawn(", "lifecycle"),
    ("thread::Builder", "lifecycle"),
    ("getrandom::", "chance"),
];

const FILE_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 70;

#[test]
fn every_module_names_only_what_the_house_allows() {
    report(&|source| {
        let Some((_, modules, libraries)) = HOUSE.iter().find(|row| row.0 == source.module) else {
            return if WIRING.contains(&source.module.as_str()) {
                vec![]
            } else {
                vec!["has no row in HOUSE".to_owned()]
            };
        };
        let named = source.named_modules();
        let strangers = named.iter().filter(|other| **other != source.module && !modules.contains(&other.as_str()));
        let mut faults: Vec<String> = strangers.map(|other| format!("must not name `crate::{other}`")).collect();
        let foreign = LIBRARIES.iter().filter(|library| !libraries.contains(library) && source.names_library(library));
        faults.extend(foreign.map(|library| format!("must not name the library `{library}`")));
        faults
    });
}

#[test]
fn the_clock_the_environment_chance_and_tasks_have_one_home_each() {
    report(&|source| {
        let strays = HOMES.iter().filter(|(phrase, home)| source.module != *home && source.code.contains(phrase));
        strays.map(|(phrase, home)| format!("`{phrase}` belongs in `{home}`")).collect()
    });
}

#[test]
fn no_file_and_no_function_is_too_long() {
    report(&|source| {
        let lines = source.live.lines().count();
        let mut faults: Vec<String> = (lines > FILE_LINES_MAX)
            .then(|| format!("has {lines} lines; at most {FILE_LINES_MAX}"))
            .into_iter()
            .collect();
        let long = functions(&source.live).into_iter().filter(|(_, lines)| *lines > FUNCTION_LINES_MAX);
        faults.extend(long.map(|(name, lines)| format!("`{name}` has {lines} lines; at most {FUNCTION_LINES_MAX}")));
        faults
    });
}

#[test]
fn every_module_begins_by_saying_what_it_is() {
    report(&|source| {
        if source.live.starts_with("//! ") { vec![] } else { vec!["begins without a `//!` header".to_owned()] }
    });
}

#[test]
fn these_rules_find_what_breaks_them() {
    let source = |code: &str| Source::of(Path::new("src/domain/x.rs"), code);
    assert!(source("use crate::{store::X, domain::Y};").named_modules().contains("store"));
    assert!(source("fn a() { crate::proxy::go() }").named_modules().contains("proxy"));
    assert!(source("use sqlx::query;").names_library("sqlx"));
    assert!(!source("// sqlx::query\nuse my_sqlx::x;").names_library("sqlx"));
    assert!(!source("#[cfg(test)]\nmod tests { use sqlx::query; }").names_library("sqlx"));
    assert_eq!(
        functions("fn a() {\n    1;\n}\nimpl X {\n    pub fn b() {}\n}\n"),
        [("a".to_owned(), 3), ("b".to_owned(), 1)]
    );
}

struct Source {
    path: PathBuf,
    module: String,
    /// Without what stands below `#[cfg(test)]`.
    live: String,
    /// Without comments and strings as well.
    code: String,
}

impl Source {
    fn of(path: &Path, text: &str) -> Self {
        let module = path.components().nth(1).expect("below src").as_os_str().to_string_lossy();
        let live = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default().to_owned();
        let live = live.split("#[cfg(test)]\n    mod ").next().unwrap_or_default().to_owned();
        let code = live.lines().map(without_comment_and_strings).collect::<Vec<_>>().join("\n");
        Self { path: path.to_owned(), module: module.trim_end_matches(".rs").to_owned(), live, code }
    }

    fn names_library(&self, library: &str) -> bool {
        let path = format!("{library}::");
        let starts = |at: usize| !self.code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
        self.code.match_indices(&path).any(|(at, _)| starts(at))
    }

    /// Every `x` of `crate::x` and of `crate::{x::…, y}`.
    fn named_modules(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for (at, _) in self.code.match_indices("crate::") {
            let rest = &self.code[at + "crate::".len()..];
            match rest.strip_prefix('{') {
                None => names.extend([word(rest)]),
                Some(group) => names.extend(first_words(group)),
            }
        }
        names
    }
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The first word of each member of a `use` group that begins just after its brace.
fn first_words(group: &str) -> Vec<String> {
    let (mut depth, mut fresh, mut found) = (0, true, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            c if fresh && depth == 0 && c.is_alphabetic() => {
                found.push(word(&group[at..]));
                fresh = false;
            }
            _ => {}
        }
    }
    found
}

fn without_comment_and_strings(line: &str) -> String {
    let (mut code, mut quoted, mut escaped) = (String::new(), false, false);
    for c in line.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            c => code.push(c),
        }
        if code.ends_with("//") {
            code.truncate(code.len() - 2);
            break;
        }
    }
    code
}

/// Each function and its length in lines, from its first line to its closing brace.
fn functions(live: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = live.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let Some(name) = function_name(line.trim_start()) else { continue };
        if line.trim_end().ends_with('}') || line.trim_end().ends_with(';') {
            found.push((name, 1));
            continue;
        }
        let closing = format!("{}}}", &line[..indent]);
        if let Some(end) = lines[at..].iter().position(|line| **line == closing) {
            found.push((name, end + 1));
        }
    }
    found
}

fn function_name(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    let qualifiers = ["pub", "pub(super)", "pub(crate)", "const", "async", "unsafe"];
    let keyword = words.by_ref().find(|word| !qualifiers.contains(word))?;
    (keyword == "fn").then(|| word(words.next().unwrap_or_default()))
}

fn report(rule: &dyn Fn(&Source) -> Vec<String>) {
    let paths = sources(Path::new("src"));
    assert!(paths.len() > 20, "the sources are found");
    let faults: Vec<String> = paths
        .iter()
        .filter(|path| !path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs"))
        .flat_map(|path| {
            let source = Source::of(path, &fs::read_to_string(path).expect("readable"));
            rule(&source).into_iter().map(move |fault| format!("{}: {fault}", source.path.display()))
        })
        .collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry").path());
    let (dirs, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let rust = files.into_iter().filter(|path| path.extension().is_some_and(|end| end == "rs"));
    rust.chain(dirs.iter().flat_map(|dir| sources(dir))).collect()
}
