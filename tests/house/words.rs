//! A comment begins by saying what an item is or does, not with a question word.

use crate::source::{self, word};

const QUESTION_WORDS: &[&str] = &["Whether", "What", "Who", "Whose", "When", "Where", "Which", "Why", "How"];

#[test]
fn no_comment_begins_with_a_question_word() {
    let mut found = Vec::new();
    for source in source::all() {
        found.extend(asking(&source.live).into_iter().map(|line| format!("{}:{line}", source.path.display())));
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// Returns the first lines of comments that begin with a question word, with their numbers.
fn asking(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let first = |at: usize| at == 0 || comment(lines[at - 1]).is_none();
    let asks = |line: &str| comment(line).is_some_and(|text| QUESTION_WORDS.contains(&word(text).as_str()));
    let found = lines.iter().enumerate().filter(|(at, line)| asks(line) && first(*at));
    found.map(|(at, line)| format!("{}: {}", at + 1, line.trim())).collect()
}

/// Returns the text of a line that holds only a comment.
fn comment(line: &str) -> Option<&str> {
    let text = line.trim_start().strip_prefix("//")?;
    Some(text.trim_start_matches(['/', '!']).trim())
}

#[test]
fn question_words_are_found_where_a_comment_begins() {
    assert_eq!(asking("/// Whether it is open.\nopen: bool,").len(), 1);
    assert_eq!(asking("/// A pool.\n///\n/// When it is full, it waits.").len(), 0);
    assert_eq!(asking("// Whatever comes.\nlet x = 1; // When?").len(), 0);
}
