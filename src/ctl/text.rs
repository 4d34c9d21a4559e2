//! Text for people: escaped, cut and wrapped to a number of columns; times and numbers in short forms.
//!
//! Invariant: what comes from a server reaches a terminal only through [`plain`], so that no name or value can move the
//! cursor, colour the screen or hide text.

use prost_types::Timestamp;

use crate::domain::{Span, Time};

/// Returns a text in which each control or invisible character is an escape such as `\u{1b}`.
pub(super) fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Returns true for control characters, and for those that change the order or the visibility of others.
pub(super) fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// Returns the columns that a text takes. Combining characters count one, so that the result is never too small.
pub(super) fn columns(text: &str) -> usize {
    text.chars().map(columns_of).sum()
}

/// Wide characters (East Asian, emoji) take two columns.
fn columns_of(c: char) -> usize {
    let wide = matches!(c, '\u{1100}'..='\u{115f}' | '\u{231a}'..='\u{23ff}' | '\u{2600}'..='\u{27bf}'
        | '\u{2b00}'..='\u{2bff}' | '\u{2e80}'..='\u{a4cf}' | '\u{a960}'..='\u{a97f}' | '\u{ac00}'..='\u{d7ff}'
        | '\u{f900}'..='\u{faff}' | '\u{fe10}'..='\u{fe6f}' | '\u{ff00}'..='\u{ff60}' | '\u{ffe0}'..='\u{ffe6}'
        | '\u{16fe0}'..='\u{1b2ff}' | '\u{1f000}'..='\u{1faff}' | '\u{20000}'..='\u{3fffd}');
    if wide { 2 } else { 1 }
}

/// Returns a text of at most `most` columns; one that was longer ends with `…`.
pub(super) fn cut(text: &str, most: usize) -> String {
    if columns(text) <= most {
        return text.to_owned();
    }
    let (mut kept, mut used) = (String::new(), 1);
    for c in text.chars() {
        used += columns_of(c);
        if used > most {
            break;
        }
        kept.push(c);
    }
    if most > 0 {
        kept.push('…');
    }
    kept
}

/// Returns the lines of a text, each of at most `most` columns, broken at spaces where there are some.
pub(super) fn wrapped(text: &str, most: usize) -> Vec<String> {
    let most = most.max(1);
    let (mut lines, mut line) = (Vec::new(), String::new());
    for word in text.split(' ') {
        let gap = usize::from(!line.is_empty());
        if columns(&line) + gap + columns(word) <= most {
            line.push_str(if gap == 1 { " " } else { "" });
            line.push_str(word);
            continue;
        }
        if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        for c in word.chars() {
            if columns(&line) + columns_of(c) > most && !line.is_empty() {
                lines.push(std::mem::take(&mut line));
            }
            line.push(c);
        }
    }
    lines.push(line);
    lines
}

/// Converts a time of a message; times before 1970 count as its beginning.
pub(super) fn moment(at: Timestamp) -> Time {
    let seconds = u64::try_from(at.seconds).unwrap_or(0);
    let millis = u64::try_from(at.nanos / 1_000_000).unwrap_or(0);
    Time(seconds.saturating_mul(1000).saturating_add(millis))
}

/// Returns a time to the second, as `2026-11-30 08:00:00Z`; `-` for none.
pub(super) fn date(at: Option<Timestamp>) -> String {
    let Some(at) = at else { return "-".to_owned() };
    let text = moment(at).to_string();
    let (day, time) = text.split_once('T').unwrap_or((&text, ""));
    format!("{day} {}Z", time.split('.').next().unwrap_or_default())
}

/// Returns the time of the day to the second, as `08:00:00`.
pub(super) fn time_of_day(at: Option<Timestamp>) -> String {
    date(at).split_once(' ').map_or("-".to_owned(), |(_, time)| time.trim_end_matches('Z').to_owned())
}

/// Returns the time since `at` in its largest units, such as `3m12s` or `2d4h`; `-` for none.
pub(super) fn age(at: Option<Timestamp>, now: Time) -> String {
    at.map_or("-".to_owned(), |at| short(now.since(moment(at))))
}

/// Returns the time until `at`; `-` for none.
pub(super) fn left(at: Option<Timestamp>, now: Time) -> String {
    at.map_or("-".to_owned(), |at| short(moment(at).since(now)))
}

/// Returns a duration in its two largest units.
pub(super) fn short(span: Span) -> String {
    let seconds = span.millis() / 1000;
    let units = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let first = units.iter().position(|(length, _)| seconds >= *length).unwrap_or(3);
    let mut left = seconds;
    let mut text = String::new();
    for (at, (length, unit)) in units.iter().enumerate().skip(first).take(2) {
        if left >= *length || at == first {
            text += &format!("{}{unit}", left / length);
        }
        left %= length;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_escape_code_and_no_hidden_character_passes() {
        let hostile = "a\u{1b}[31mb\u{9b}2Jc\r\nd\u{202e}e\u{200b}f\u{7f}";
        let shown = plain(hostile);
        assert!(!shown.chars().any(is_hidden), "{shown:?}");
        assert_eq!(plain("a\tb"), "a\\u{9}b");
        assert_eq!(plain("größe 名前 🚀"), "größe 名前 🚀");
    }

    #[test]
    fn a_cut_text_fits_whatever_its_characters_are() {
        for text in ["", "abc", "abcdefghij", "名前名前名前", "a名b前c", "🚀🚀🚀🚀"] {
            for most in 0..12 {
                let shown = cut(text, most);
                assert!(columns(&shown) <= most, "{text} in {most}: {shown}");
                assert!(columns(text) > most || shown == text);
            }
        }
    }

    #[test]
    fn wrapped_lines_fit_and_lose_no_word() {
        let text = "the quick 名前 brown/fox/that/is/one/long/word jumps";
        for most in 1..30 {
            let lines = wrapped(text, most);
            assert!(lines.iter().all(|line| columns(line) <= most.max(2)), "{most}: {lines:?}");
            assert_eq!(lines.concat().replace(' ', ""), text.replace(' ', ""));
        }
    }

    #[test]
    fn times_are_told_in_short() {
        let at = |seconds| Some(Timestamp { seconds, nanos: 5_000_000 });
        assert_eq!(date(at(1_795_939_200)), "2026-11-29 08:00:00Z");
        assert_eq!(time_of_day(at(1_795_939_200)), "08:00:00");
        assert_eq!((date(None).as_str(), time_of_day(None).as_str(), age(None, Time(0)).as_str()), ("-", "-", "-"));
        let spans = [(0, "0s"), (59, "59s"), (60, "1m"), (192, "3m12s"), (3605, "1h"), (187_200, "2d4h")];
        for (seconds, text) in spans {
            assert_eq!(short(Span::from_secs(seconds)), text);
        }
    }
}
