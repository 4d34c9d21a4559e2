//! The workers: the socket of each, the connections that it accepts, and their end.

mod accept;
mod connection;
pub(crate) mod socket;
mod told_address;
pub(crate) mod worker;
