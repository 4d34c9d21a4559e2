//! `docs/errors.md` lists every error text of the sources.
//!
//! A text with values in it is listed with `…` in place of each value.

use std::collections::BTreeSet;
use std::fs;

use crate::source;

/// The calls and attributes that hold an error text, up to their opening parenthesis.
const CARRIERS: &[&str] = &["Error::new(", "Error::invalid(", "Error::denied(", "#[error(", "let message = format!("];

#[test]
fn every_error_text_is_in_the_catalogue() {
    let catalogue = fs::read_to_string("docs/errors.md").expect("docs/errors.md");
    let catalogue = plain(&catalogue.replace("\\|", "|"));
    let mut missing = BTreeSet::new();
    for source in source::all() {
        let texts = texts(&source.live).into_iter().filter(|text| !catalogue.contains(&plain(text)));
        missing.extend(texts.map(|text| format!("{}: {}", source.path.display(), plain(&text))));
    }
    assert!(missing.is_empty(), "add these to docs/errors.md:\n{}", missing.into_iter().collect::<Vec<_>>().join("\n"));
}

/// Returns the error texts of a file, with `…` in place of each value.
fn texts(code: &str) -> Vec<String> {
    let calls = CARRIERS.iter().flat_map(|carrier| {
        let begin = move |at: &usize| carrier.starts_with('#') || !code[..*at].ends_with(|c: char| c.is_alphanumeric());
        code.match_indices(carrier).map(|(at, _)| at).filter(begin).map(|at| arguments(&code[at + carrier.len()..]))
    });
    // A single word is the name of a field.
    calls.flat_map(strings).filter(|text| text.contains(' ')).map(|text| without_values(&text)).collect()
}

/// Returns the text up to the parenthesis that closes the call.
fn arguments(text: &str) -> &str {
    let (mut depth, mut quoted, mut escaped) = (1, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &text[..at];
        }
    }
    text
}

/// Returns the contents of the strings in a piece of code.
fn strings(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    let (mut text, mut escaped): (Option<String>, bool) = (None, false);
    for c in code.chars() {
        match (&mut text, c) {
            (None, '"') => text = Some(String::new()),
            (Some(text), '\n') if escaped => text.push_str("\\\n"),
            (Some(text), c) if escaped => text.push(c),
            (None, _) | (Some(_), '\\') => {}
            (Some(_), '"') => found.extend(text.take()),
            (Some(text), c) => text.push(c),
        }
        escaped = c == '\\' && !escaped;
    }
    found.iter().map(|text| text.split("\\\n").map(str::trim_start).collect()).collect()
}

fn without_values(text: &str) -> String {
    let text = text.replace("{{", "\u{1}").replace("}}", "\u{2}");
    let mut parts = text.split('{');
    let first = parts.next().unwrap_or_default().to_owned();
    let rest = parts.map(|part| format!("…{}", part.split_once('}').map_or("", |(_, rest)| rest)));
    (first + &rest.collect::<String>()).replace('\u{1}', "{").replace('\u{2}', "}")
}

/// Leaves out backticks, which the catalogue uses for marking, and breaks of lines.
fn plain(text: &str) -> String {
    text.replace('`', "").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn error_texts_are_found_in_calls_and_attributes() {
    let code = r#"
        Error::new(Kind::Limited, format!("too many routes (limit {most})"));
        Error::invalid("path", "needs a \"/\"");
        #[error("{0}: is in use \
                 now {{}}")]
        io::Error::other("x y");
    "#;
    assert_eq!(texts(code), ["too many routes (limit …)", "needs a \"/\"", "…: is in use now {}"]);
}
