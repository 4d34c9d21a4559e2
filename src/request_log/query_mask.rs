//! Hides the values of secret parameters in queries.

use std::borrow::Cow;

/// The text in place of a secret value.
const HIDDEN: &str = "***";
/// The name that stands for all parameters.
const ALL: &str = "*";

/// The names of the parameters whose values are hidden.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryMask(Vec<String>);

impl QueryMask {
    /// Returns the mask for parameters with these names, in any case; `*` stands for all.
    pub fn new(names: &[String]) -> Self {
        Self(names.to_vec())
    }

    /// Returns a query without the values of these parameters.
    pub fn apply<'q>(&self, query: &'q str) -> Cow<'q, str> {
        if !query.split('&').any(|pair| self.hides(pair)) {
            return Cow::Borrowed(query);
        }
        let pairs = query.split('&').map(|pair| match pair.split_once('=') {
            Some((name, _)) if self.hides(pair) => format!("{name}={HIDDEN}"),
            _ => pair.to_owned(),
        });
        Cow::Owned(pairs.collect::<Vec<_>>().join("&"))
    }

    /// Returns a URL, which may be relative or malformed, without the values of these parameters in its query.
    pub fn apply_to_url<'u>(&self, url: Cow<'u, str>) -> Cow<'u, str> {
        // A question mark behind `#` begins no query (RFC 3986 §3.5).
        let end = url.find('#').unwrap_or(url.len());
        let (rest, fragment) = url.split_at(end);
        let Some((before, query)) = rest.split_once('?') else { return url };
        match self.apply(query) {
            Cow::Owned(masked) => format!("{before}?{masked}{fragment}").into(),
            Cow::Borrowed(_) => url,
        }
    }

    /// Returns true if a pair of a name and a value has one of the names. Percent-encoded names are read.
    fn hides(&self, pair: &str) -> bool {
        let Some((name, _)) = pair.split_once('=') else { return false };
        let is_named = |name: &str| self.0.iter().any(|hidden| hidden == ALL || hidden.eq_ignore_ascii_case(name));
        if name.contains('%') { is_named(&decoded(name)) } else { is_named(name) }
    }
}

/// Returns a name without percent encoding. Bytes that are not ASCII do not matter.
fn decoded(name: &str) -> String {
    let bytes = name.as_bytes();
    let mut text = String::with_capacity(name.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let digits = bytes.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        let read = digits.filter(|_| *byte == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok());
        text.push(char::from(read.unwrap_or(*byte)));
        at += if read.is_some() { 3 } else { 1 };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_masked_in_its_query_alone() {
        let mask = QueryMask::new(&["token".to_owned()]);
        for (url, shown) in [
            ("https://a/b?x=1&token=secret", "https://a/b?x=1&token=***"),
            ("https://a/b?token=secret#part?token=1", "https://a/b?token=***#part?token=1"),
            ("https://a/b#part?token=1", "https://a/b#part?token=1"),
            ("?token=secret", "?token=***"),
            ("/token=1?a?token=2&token=3", "/token=1?a?token=2&token=***"),
            ("not a url", "not a url"),
            ("", ""),
        ] {
            assert_eq!(mask.apply_to_url(url.into()), shown, "{url}");
        }
    }

    #[test]
    fn values_of_secret_parameters_are_hidden_in_every_spelling_of_their_names() {
        let mask = QueryMask::new(&["token".to_owned(), "api_key".to_owned()]);
        for (query, shown) in [
            ("a=1&token=secret&b=2", "a=1&token=***&b=2"),
            ("TOKEN=secret", "TOKEN=***"),
            ("%74oken=secret", "%74oken=***"),
            ("api%5Fkey=secret&api_key=", "api%5Fkey=***&api_key=***"),
            ("token=a=b", "token=***"),
            ("tokens=1&token", "tokens=1&token"),
            ("%=1&%7=2&%zz=3", "%=1&%7=2&%zz=3"),
            ("", ""),
        ] {
            assert_eq!(mask.apply(query), shown, "{query}");
        }
        assert_eq!(QueryMask::new(&["*".to_owned()]).apply("a=1&b&c=3"), "a=***&b&c=***");
        assert_eq!(QueryMask::default().apply("token=1"), "token=1");
    }
}
