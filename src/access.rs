//! Who may ask what operators ask.
//!
//! With operator tokens, who shows one of them. Without any, whoever sits at this machine, and no page that
//! somebody's browser was led to: a name in `Host` that is not this machine's own is refused.

use std::net::{IpAddr, SocketAddr};

use crate::domain::{Fingerprint, Secret};

/// Who is at the other end of a connection to the API port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// Whose word operators' calls are done on.
#[derive(Clone, Debug, Default)]
pub struct Operators {
    tokens: Vec<Fingerprint>,
}

/// Why a call is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// A token is missing or wrong.
    Unauthenticated(&'static str),
    /// No token would help.
    Forbidden(&'static str),
}

impl Denied {
    /// What to change.
    pub fn words(self) -> &'static str {
        match self {
            Denied::Unauthenticated(words) | Denied::Forbidden(words) => words,
        }
    }
}

impl Operators {
    /// Those who have one of these tokens; none for whoever sits at this machine.
    pub fn new<'a>(tokens: impl IntoIterator<Item = &'a Secret>) -> Self {
        Self { tokens: tokens.into_iter().map(Fingerprint::of).collect() }
    }

    /// Whether a call may be done: `bearer` is what it shows, `host` the `Host` field or authority it came with.
    ///
    /// # Errors
    /// Why not.
    pub fn admits(&self, bearer: Option<&str>, peer: IpAddr, host: Option<&str>) -> Result<(), Denied> {
        if self.tokens.is_empty() {
            return admits_here(peer, host);
        }
        let shown =
            bearer.ok_or(Denied::Unauthenticated("an operator token is needed: Authorization: Bearer TOKEN"))?;
        let shown = Fingerprint::of(&Secret::new(shown));
        // Every token is looked at, however early one fits.
        let fits = self.tokens.iter().fold(false, |fits, token| token.is(&shown) | fits);
        if fits { Ok(()) } else { Err(Denied::Unauthenticated("the operator token is not known here")) }
    }
}

fn admits_here(peer: IpAddr, host: Option<&str>) -> Result<(), Denied> {
    if !peer.to_canonical().is_loopback() {
        return Err(Denied::Forbidden(
            "without operator tokens, operators are answered on loopback only; set api.operator_tokens",
        ));
    }
    if host.is_none_or(is_own_name) {
        return Ok(());
    }
    Err(Denied::Forbidden("without operator tokens, operators ask for an address or localhost, not for another name"))
}

/// Whether a `Host` field names this machine as it is, and not by a name that anybody may have given it.
fn is_own_name(field: &str) -> bool {
    let name = match field.rsplit_once(':') {
        Some((name, port)) if !field.ends_with(']') && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => field,
    };
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const AWAY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 7));

    #[test]
    fn without_tokens_operators_sit_at_this_machine() {
        let operators = Operators::default();
        for host in
            [None, Some("127.0.0.1:8182"), Some("localhost:8182"), Some("LOCALHOST"), Some("[::1]:1"), Some("[::1]")]
        {
            assert_eq!(operators.admits(None, HERE, host), Ok(()), "{host:?}");
        }
        let mapped: IpAddr = "::ffff:127.0.0.1".parse().unwrap();
        assert_eq!(operators.admits(None, mapped, None), Ok(()));
        for (peer, host) in [(AWAY, None), (HERE, Some("evil.example:8182")), (HERE, Some("localhost.evil.example"))] {
            assert!(matches!(operators.admits(Some("any"), peer, host), Err(Denied::Forbidden(_))), "{peer} {host:?}");
        }
    }

    #[test]
    fn with_tokens_whoever_shows_one_is_an_operator_wherever_they_sit() {
        let tokens = [Secret::new("first-operator-token"), Secret::new("second-operator-token")];
        let operators = Operators::new(&tokens);
        for shown in ["first-operator-token", "second-operator-token"] {
            assert_eq!(operators.admits(Some(shown), AWAY, Some("box.example")), Ok(()));
        }
        for shown in [None, Some(""), Some("first-operator-toke"), Some("First-operator-token")] {
            assert!(matches!(operators.admits(shown, HERE, None), Err(Denied::Unauthenticated(_))), "{shown:?}");
        }
    }
}
