//! A comment says what an item is or does: no line and no sentence of it begins with a question word.

use crate::source::{self, word};

const QUESTION_WORDS: &[&str] = &["Whether", "What", "Who", "Whose", "When", "Where", "Which", "Why", "How"];

#[test]
fn no_line_of_a_comment_begins_with_a_question_word() {
    let mut found = Vec::new();
    for source in source::all() {
        found.extend(asking(&source.live).into_iter().map(|line| format!("{}:{line}", source.path.display())));
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// Returns the lines of comments in which the line or a sentence begins with a question word, with their numbers.
fn asking(text: &str) -> Vec<String> {
    let begins = |text: &str| QUESTION_WORDS.contains(&word(text).as_str());
    let asks = |text: &str| begins(text) || text.split(". ").skip(1).any(begins);
    let found = text.lines().enumerate().filter(|(_, line)| comment(line).is_some_and(asks));
    found.map(|(at, line)| format!("{}: {}", at + 1, line.trim())).collect()
}

/// Returns the text of a line that holds only a comment.
fn comment(line: &str) -> Option<&str> {
    let text = line.trim_start().strip_prefix("//")?;
    Some(text.trim_start_matches(['/', '!']).trim())
}

#[test]
fn question_words_are_found_where_a_line_or_a_sentence_begins() {
    assert_eq!(asking("/// Whether it is open.\nopen: bool,").len(), 1);
    assert_eq!(asking("/// A pool.\n///\n/// When it is full, it waits.").len(), 1);
    assert_eq!(asking("/// A pool. What is full waits.").len(), 1);
    assert_eq!(asking("/// A pool, in\n/// which one waits.").len(), 0);
    assert_eq!(asking("// Whatever comes.\nlet x = 1; // When?").len(), 0);
}
