//! Progress on standard error: one line that changes on a terminal, plain lines elsewhere.

use std::io::{self, IsTerminal as _, Write as _};

use super::text::{cut, plain};

/// The progress of a wait.
#[derive(Debug)]
pub(super) struct Progress {
    is_terminal: bool,
    last: String,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { is_terminal: io::stderr().is_terminal(), last: String::new() }
    }

    /// Shows how far it is. A line that says the same as the one before is not repeated.
    pub(super) fn show(&mut self, words: &str) {
        let words = plain(words);
        if words == self.last {
            return;
        }
        // Nobody may read it; the wait goes on.
        let _ = if self.is_terminal {
            let width = rustix::termios::tcgetwinsize(io::stderr()).map_or(80, |size| usize::from(size.ws_col));
            write!(io::stderr(), "\r\x1b[K{}", cut(&words, width.max(20) - 1))
        } else {
            writeln!(io::stderr(), "{words}")
        };
        self.last = words;
    }
}

/// Removes the line from the terminal, so that what follows stands alone.
impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_terminal && !self.last.is_empty() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
