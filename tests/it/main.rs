//! Tests of the whole from outside, through real sockets.

mod proxying;
mod support;
