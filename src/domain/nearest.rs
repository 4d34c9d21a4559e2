//! Guesses the known word that a mistyped one stands for.

/// The longest word that is compared, in characters. A longer one is no typing mistake, and comparing costs the
/// product of the lengths.
const LENGTH_MAX: usize = 64;

/// Returns the known word most similar to `text`, if no more than a third of its letters differ.
pub fn nearest<'a>(text: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |word: &str| word.to_ascii_lowercase().replace('-', "_");
    let text = plain(text);
    if text.chars().count() > LENGTH_MAX {
        return None;
    }
    let near = known.into_iter().map(|word| (strsim::osa_distance(&text, &plain(word)), word));
    let near = near.filter(|(distance, word)| *distance <= (word.len() / 3).clamp(1, 4));
    near.min_by_key(|(distance, _)| *distance).map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_word_is_recognised_and_another_is_not() {
        let known = ["timeout", "connect_timeout", "retries", "http2", "http3"];
        let cases = [
            ("tiemout", Some("timeout")),
            ("time-out", Some("timeout")),
            ("TIMEOUT", Some("timeout")),
            ("conect_timeout", Some("connect_timeout")),
            ("connect-timeout", Some("connect_timeout")),
            ("retrys", Some("retries")),
            ("htp2", Some("http2")),
            ("colour", None),
            ("", None),
        ];
        for (text, meant) in cases {
            assert_eq!(nearest(text, known), meant, "{text}");
        }
        assert_eq!(nearest(&"x".repeat(100_000), known), None);
    }
}
