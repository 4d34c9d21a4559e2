//! Guesses the known word that a mistyped one stands for, and counts the letters by which two texts differ.

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

/// Returns the number of letters that were changed, left out, added or swapped between two texts, if it is at most `letters_max`. The parts
/// in which they agree cost no comparison, and neither do texts of too different lengths.
pub fn letters_apart(text: &str, known: &str, letters_max: usize) -> Option<usize> {
    if text == known {
        return Some(0);
    }
    if letters_max == 0 || text.chars().count().abs_diff(known.chars().count()) > letters_max {
        return None;
    }
    let (text, known) = without_common_start(text, known);
    let (text, known) = without_common_end(text, known);
    Some(strsim::osa_distance(text, known)).filter(|distance| *distance <= letters_max)
}

fn without_common_start<'a>(text: &'a str, known: &'a str) -> (&'a str, &'a str) {
    let bytes = same_bytes(text.chars(), known.chars());
    (text.get(bytes..).unwrap_or_default(), known.get(bytes..).unwrap_or_default())
}

fn without_common_end<'a>(text: &'a str, known: &'a str) -> (&'a str, &'a str) {
    let bytes = same_bytes(text.chars().rev(), known.chars().rev());
    let start = |text: &'a str| text.get(..text.len() - bytes).unwrap_or_default();
    (start(text), start(known))
}

fn same_bytes(text: impl Iterator<Item = char>, known: impl Iterator<Item = char>) -> usize {
    text.zip(known).take_while(|(one, other)| one == other).map(|(one, _)| one.len_utf8()).sum()
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

    #[test]
    fn leaving_out_what_agrees_changes_no_distance() {
        let mut texts = vec![String::new()];
        for at in 0..40 {
            // Each text of up to three letters grows by each letter.
            let longer = ["a", "b", "é"].map(|letter| format!("{}{letter}", texts[at]));
            texts.extend(longer);
        }
        for text in &texts {
            for known in &texts {
                assert_eq!(letters_apart(text, known, 4), Some(strsim::osa_distance(text, known)), "{text} {known}");
            }
        }
        assert_eq!((letters_apart("shop", "shpo", 1), letters_apart("shop", "stop", 0)), (Some(1), None));
        assert_eq!((letters_apart("shop", "sh", 1), letters_apart("shop", "work", 2)), (None, None));
    }
}
