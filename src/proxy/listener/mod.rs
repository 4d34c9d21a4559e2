//! The workers: the socket of each, the connections that it accepts, and their end.

pub(crate) mod socket;
pub(crate) mod worker;
