//! The workers: the socket of each, the connections that it accepts, and their end.

mod accept;
mod connection;
pub(crate) mod socket;
pub(crate) mod stop;
mod told_address;
pub(crate) mod worker;
