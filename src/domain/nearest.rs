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
    let near = known.into_iter().map(|word| (distance(&text, &plain(word)), word));
    let near = near.filter(|(distance, word)| *distance <= (word.len() / 3).clamp(1, 4));
    near.min_by_key(|(distance, _)| *distance).map(|(_, word)| word)
}

/// Returns the number of letters to insert, remove, change or swap (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    // Row `i` holds the distances between the first `i` letters of `a` and each prefix of `b`.
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, other) in b.iter().enumerate() {
            let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX / 2);
            let changed = at(&last, j) + usize::from(letter != other);
            let mut least = changed.min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(other) && b.get(j - 1) == Some(letter);
            if swapped {
                least = least.min(at(&before, j - 1) + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or_default()
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
    fn distances_count_letters() {
        for (a, b, letters) in [("", "", 0), ("a", "", 1), ("ab", "ba", 1), ("abc", "abd", 1), ("kitten", "sitting", 3)]
        {
            assert_eq!((distance(a, b), distance(b, a)), (letters, letters), "{a} {b}");
        }
    }
}
