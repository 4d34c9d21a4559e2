//! The code generated from `proto/`: messages, servers and clients. Nothing here is written by hand.

#![allow(missing_docs, clippy::pedantic, reason = "generated; the .proto files say what everything is")]

tonic::include_proto!("signalbox.v1");

/// The compiled .proto files, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/signalbox.v1.bin"));
