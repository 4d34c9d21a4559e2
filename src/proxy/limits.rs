//! The limits of a request head, which hyper and the reader of kept heads share.

/// The most bytes in the head of a request; a longer one is answered 431.
pub(crate) const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The most fields in the head of a request; more are answered 431. hyper reads this many without an allocation.
pub(crate) const FIELDS_MAX: usize = 100;
