//! What the tests stand on.

pub mod backend;
pub mod tls;
pub mod town;
pub mod wire;
