//! The text of a source file, without its tests, and questions about it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// One file of `src`.
pub struct Source {
    /// The path, beginning with `src`.
    pub path: PathBuf,
    /// The name of the top-level module that the file belongs to.
    pub module: String,
    /// The text without test modules.
    pub live: String,
    /// The text without test modules, comments, and the contents of strings.
    pub code: String,
}

impl Source {
    pub fn of(path: &Path, text: &str) -> Self {
        let module = path.components().nth(1).expect("a file below src").as_os_str().to_string_lossy();
        let live = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default().to_owned();
        let live = live.split("#[cfg(test)]\n    mod ").next().unwrap_or_default().to_owned();
        let code = without_comments_and_strings(&live);
        Self { path: path.to_owned(), module: module.trim_end_matches(".rs").to_owned(), live, code }
    }

    /// Returns the path of the file's module, such as `proxy::upstream`; the crate itself is empty.
    pub fn module_path(&self) -> String {
        let path = self.path.with_extension("");
        let parts = path.components().skip(1).map(|part| part.as_os_str().to_string_lossy().into_owned());
        let mut parts: Vec<String> = parts.collect();
        if matches!(parts.last().map(String::as_str), Some("mod" | "lib")) {
            parts.pop();
        }
        parts.join("::")
    }

    pub fn names_library(&self, library: &str) -> bool {
        let path = format!("{library}::");
        let starts = |at: usize| !self.code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
        self.code.match_indices(&path).any(|(at, _)| starts(at))
    }

    /// Returns every `x` of `crate::x` and of `crate::{x::…, y}`.
    pub fn named_modules(&self) -> BTreeSet<String> {
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

/// Returns the letters, digits and underscores that the text begins with.
pub fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// Returns the first word of each member of a `use` group. The text begins behind the opening brace.
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

/// Replaces every string by `""` and every comment by nothing. Line breaks outside of strings stay.
fn without_comments_and_strings(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + "*/".len())
        } else if next == '"' {
            code.push_str("\"\"");
            string_length(rest)
        } else if let Some(length) = raw_string_length(rest).filter(|_| !code.ends_with(is_word)) {
            code.push_str("\"\"");
            length
        } else if let Some(length) = character_length(rest) {
            code.push_str("' '");
            length
        } else {
            code.push(next);
            next.len_utf8()
        };
        rest = &rest[skipped..];
    }
    code
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn raw_string_length(text: &str) -> Option<usize> {
    let quoted = text.strip_prefix('r')?;
    let hashes = quoted.len() - quoted.trim_start_matches('#').len();
    let inside = quoted[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(text.len() - inside.len() + inside.find(&end)? + end.len())
}

/// Returns the length of a character literal. A lifetime is none.
fn character_length(text: &str) -> Option<usize> {
    let inside = text.strip_prefix('\'')?;
    let mut characters = inside.char_indices();
    match characters.next()?.1 {
        '\\' => Some(text.len() - inside.len() + 2 + inside[2..].find('\'')? + 1),
        _ => characters.next().filter(|(_, c)| *c == '\'').map(|(at, _)| 1 + at + 1),
    }
}

/// Returns each function with its length in lines, from the line with `fn` to the closing brace.
pub fn functions(live: &str) -> Vec<(String, usize)> {
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

/// Fails with every fault that the rule finds in any file.
pub fn report(rule: &dyn Fn(&Source) -> Vec<String>) {
    let faults: Vec<String> = all()
        .iter()
        .flat_map(|source| rule(source).into_iter().map(move |fault| format!("{}: {fault}", source.path.display())))
        .collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// Fails when something is found that is not listed, or something is listed that is no longer found.
pub fn only_listed(listed: &[&str], found: &BTreeSet<String>) {
    let listed: BTreeSet<String> = listed.iter().map(|&name| name.to_owned()).collect();
    let new: Vec<&String> = found.difference(&listed).collect();
    let gone: Vec<&String> = listed.difference(found).collect();
    assert!(new.is_empty(), "new faults: {new:?}");
    assert!(gone.is_empty(), "these faults are gone; take them off the list: {gone:?}");
}

/// Returns every file of `src` that is not a test.
pub fn all() -> Vec<Source> {
    let mut paths = files(Path::new("src"));
    paths.retain(|path| !path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs"));
    paths.sort();
    assert!(paths.len() > 20, "the sources are found");
    paths.iter().map(|path| Source::of(path, &fs::read_to_string(path).expect("a readable file"))).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let rust = files.into_iter().filter(|path| path.extension().is_some_and(|end| end == "rs"));
    rust.chain(folders.iter().flat_map(|folder| self::files(folder))).collect()
}

fn source(text: &str) -> Source {
    Source::of(Path::new("src/domain/x.rs"), text)
}

#[test]
fn modules_and_libraries_are_found_in_code_alone() {
    assert!(source("use crate::{store::X, domain::Y};").named_modules().contains("store"));
    assert!(source("fn a() { crate::proxy::go() }").named_modules().contains("proxy"));
    assert!(source("use sqlx::query;").names_library("sqlx"));
    assert!(!source("// sqlx::query\nuse my_sqlx::x;").names_library("sqlx"));
    assert!(!source("#[cfg(test)]\nmod tests { use sqlx::query; }").names_library("sqlx"));
}

#[test]
fn comments_strings_and_characters_are_left_out_of_code() {
    assert_eq!(source("a(\"x\\\"y // z\"); // b\nc").code, "a(\"\"); \nc");
    assert_eq!(source("a(r#\"x\"y\"#); b /* c\n d */ e").code, "a(\"\"); b  e");
    assert_eq!(
        source("a('\"', '\\'', b'x'); fn f<'a>(x: &'a u8) {}").code,
        "a(' ', ' ', b' '); fn f<'a>(x: &'a u8) {}"
    );
}

#[test]
fn functions_are_found_with_their_length() {
    assert_eq!(
        functions("fn a() {\n    1;\n}\nimpl X {\n    pub fn b() {}\n}\n"),
        [("a".to_owned(), 3), ("b".to_owned(), 1)]
    );
}

#[test]
fn a_file_has_the_path_of_its_module() {
    let path = |file: &str| Source::of(Path::new(file), "").module_path();
    assert_eq!(path("src/proxy/upstream/mod.rs"), "proxy::upstream");
    assert_eq!(path("src/proxy/upstream.rs"), "proxy::upstream");
    assert_eq!(path("src/lib.rs"), "");
}
