//! A strict reader of both text formats.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::net::SocketAddr;

use crate::support::wire::{Message, Wire};

/// A text of metrics that was read to its end.
#[derive(Debug)]
pub struct Exposition {
    /// The value of each series as it is written, by its name and labels as they are written.
    pub series: BTreeMap<String, String>,
    /// The type of each family.
    pub types: BTreeMap<String, String>,
    /// The values of labels of each series, in the order of `series`, without their escapes.
    pub labels: Vec<Vec<(String, String)>>,
}

/// The fields with which Prometheus asks for OpenMetrics.
pub const OPEN_METRICS: &str = "accept: application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5\r\n";

/// Sends a scrape with these fields, and returns the answer.
pub fn ask(api: SocketAddr, fields: &str) -> Message {
    let mut wire = Wire::connect(api);
    wire.send(format!("GET /metrics HTTP/1.1\r\nhost: {api}\r\n{fields}connection: close\r\n\r\n"));
    wire.message().expect("an answer")
}

/// Scrapes in the format 0.0.4.
pub fn scrape(api: SocketAddr) -> Exposition {
    scrape_as(api, "")
}

/// Scrapes with these fields. The answer must be valid in its format.
pub fn scrape_as(api: SocketAddr, fields: &str) -> Exposition {
    let answer = ask(api, fields);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let is_open = answer.field("content-type").unwrap().starts_with("application/openmetrics-text; version=1.0.0;");
    let mut text = String::new();
    if answer.field("content-encoding") == Some("gzip") {
        flate2::read::GzDecoder::new(answer.body.as_slice()).read_to_string(&mut text).unwrap();
    } else {
        text = String::from_utf8(answer.body).unwrap();
    }
    read(&text, is_open)
}

/// Reads a text. It must be valid: families in one piece, types that fit, no series twice.
pub fn read(text: &str, is_open: bool) -> Exposition {
    assert_eq!(text.ends_with("\n# EOF\n"), is_open);
    assert!(text.ends_with('\n'));
    let mut found = Exposition { series: BTreeMap::new(), types: BTreeMap::new(), labels: Vec::new() };
    let (mut family, mut helped) = (String::new(), BTreeSet::new());
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').unwrap();
            assert!(!words.is_empty() && helped.insert(name.to_owned()), "{line}");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(helped.contains(name), "{line}");
            assert_eq!(found.types.insert(name.to_owned(), kind.to_owned()), None, "{line}: a family in two pieces");
            name.clone_into(&mut family);
        } else {
            found.sample(line, &family, is_open);
        }
    }
    let labels = found.series.keys().map(|series| labels(series)).collect();
    Exposition { labels, ..found }
}

impl Exposition {
    fn sample(&mut self, line: &str, family: &str, is_open: bool) {
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
        let name = series.split('{').next().unwrap();
        let suffixes: &[&str] = match self.types[family].as_str() {
            "counter" if is_open => &["_total"],
            "histogram" => &["_bucket", "_sum", "_count"],
            "counter" | "gauge" => &[""],
            other => panic!("{other} is no type that is used"),
        };
        assert!(suffixes.iter().any(|suffix| name == format!("{family}{suffix}")), "{line} in {family}");
        if self.types[family] == "counter" {
            assert!(name.ends_with("_total"), "{line}");
        }
        assert!(value.parse::<f64>().is_ok(), "no number: {line}");
        assert_eq!(self.series.insert(series.to_owned(), value.to_owned()), None, "{line} comes twice");
    }

    /// Returns the value of a series; 0 if there is none.
    pub fn value(&self, series: &str) -> f64 {
        self.series.get(series).map_or(0.0, |value| value.parse().unwrap())
    }

    /// Returns the value of a series that is a whole number; 0 if there is none.
    pub fn number(&self, series: &str) -> u64 {
        self.series.get(series).map_or(0, |value| value.parse().unwrap())
    }

    /// Returns the number of series of a metric.
    pub fn count(&self, name: &str) -> usize {
        self.series.keys().filter(|series| series.split('{').next() == Some(name)).count()
    }
}

/// Reads the labels of a series, with their escapes.
fn labels(series: &str) -> Vec<(String, String)> {
    let Some((_, rest)) = series.split_once('{') else { return Vec::new() };
    let mut chars = rest.chars();
    let mut labels = Vec::new();
    loop {
        let name: String = chars.by_ref().take_while(|c| *c != '=').collect();
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{series}");
        assert_eq!(chars.next(), Some('"'), "{series}");
        let mut value = String::new();
        loop {
            match chars.next().unwrap_or_else(|| panic!("{series}: no end")) {
                '"' => break,
                '\\' => value.push(match chars.next() {
                    Some('n') => '\n',
                    Some(c @ ('\\' | '"')) => c,
                    other => panic!("{series}: \\{other:?} is no escape"),
                }),
                c => value.push(c),
            }
        }
        labels.push((name, value));
        match chars.next() {
            Some(',') => {}
            Some('}') => break,
            other => panic!("{series}: {other:?} behind a label"),
        }
    }
    assert_eq!(chars.next(), None, "{series}");
    labels
}
