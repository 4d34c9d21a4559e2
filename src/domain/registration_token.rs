//! A registration token, as the configuration has it and the registry applies it.
//!
//! It holds the rules and decides nothing. Invariant: the secret itself is not kept, only its fingerprint.

use ipnet::IpNet;

use super::{Fingerprint, Host, LeaseBound, PathPrefix, TokenName};

/// A registration token. An empty list allows everything of its kind.
#[derive(Clone, Debug)]
pub struct RegistrationToken {
    /// The name, for logs and refusals.
    pub name: TokenName,
    /// The fingerprint of the secret.
    pub secret: Fingerprint,
    /// The services that may register: names, or beginnings of names followed by `*`.
    pub services: Vec<String>,
    /// The domains of routes: a name, `*.name` for all names below it, or `*` for any.
    pub domains: Vec<Host>,
    /// The prefixes that paths of routes must have.
    pub path_prefixes: Vec<PathPrefix>,
    /// The networks that backends and maintenance pages must be in. If there are any, hosts must be given by address,
    /// because a name may resolve to any address.
    pub backends: Vec<IpNet>,
    /// The largest number of routes of one session.
    pub max_routes: Option<usize>,
    /// The largest number of sessions at the same time, without replaced ones.
    pub max_sessions: Option<usize>,
    /// The leases that sessions may ask for.
    pub lease_max: LeaseBound,
}
