//! The tokens of HTTP-01 challenges (RFC 8555 §8.3), which the plain HTTP port answers before it routes a request.
//!
//! Invariants: a path that does not begin with [`PREFIX`] costs the comparison only; without tokens every path is routed.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

/// The beginning of the paths at which tokens are answered.
const PREFIX: &str = "/.well-known/acme-challenge/";

/// The tokens with their answers. Cheap to clone; clones share them.
#[derive(Clone, Debug, Default)]
pub struct HttpChallenges(Arc<ArcSwap<HashMap<Arc<str>, Arc<str>>>>);

impl HttpChallenges {
    /// Answers `token` with `answer` from now on.
    pub fn insert(&self, token: &str, answer: &str) {
        let (token, answer) = (Arc::<str>::from(token), Arc::<str>::from(answer));
        self.change(|tokens| drop(tokens.insert(Arc::clone(&token), Arc::clone(&answer))));
    }

    /// Answers `token` no longer.
    pub fn remove(&self, token: &str) {
        self.change(|tokens| drop(tokens.remove(token)));
    }

    /// Returns the answer for a request of `path`, if that is the path of a token.
    pub fn answer(&self, path: &str) -> Option<Arc<str>> {
        let token = path.strip_prefix(PREFIX)?;
        self.0.load().get(token).cloned()
    }

    fn change(&self, change: impl Fn(&mut HashMap<Arc<str>, Arc<str>>)) {
        self.0.rcu(|tokens| {
            let mut tokens = HashMap::clone(tokens);
            change(&mut tokens);
            tokens
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_path_of_a_token_is_answered_and_only_while_the_token_is_there() {
        let challenges = HttpChallenges::default();
        let answered = |path: &str| challenges.answer(path).map(|answer| answer.to_string());
        assert_eq!(answered("/.well-known/acme-challenge/one"), None);
        challenges.insert("one", "one.key");
        challenges.clone().insert("two", "two.key");
        assert_eq!(answered("/.well-known/acme-challenge/one").as_deref(), Some("one.key"));
        for other in ["/.well-known/acme-challenge/", "/.well-known/acme-challenge/one/", "/one", "one", "/"] {
            assert_eq!(answered(other), None, "{other}");
        }
        challenges.remove("one");
        assert_eq!(answered("/.well-known/acme-challenge/one"), None);
        assert_eq!(answered("/.well-known/acme-challenge/two").as_deref(), Some("two.key"));
    }
}
