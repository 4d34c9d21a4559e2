//! Text of one line.

/// Returns true if a character ends a line for some reader, or controls how text is shown: control characters, and the separators of lines and
/// of paragraphs (Unicode Standard §5.8).
pub fn breaks_line(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_reader_may_take_for_the_end_of_a_line_breaks_it() {
        for c in ['\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{85}', '\u{2028}', '\u{2029}', '\0', '\u{1b}'] {
            assert!(breaks_line(c), "{c:?}");
        }
        assert!(!"a ä\u{a0}\u{200b}|\u{1f980}".contains(breaks_line));
    }
}
