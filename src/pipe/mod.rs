//! The pipe: the line protocol over TCP or TLS, one of the registry's interfaces.
//!
//! The way of a line: `line` cuts it out of the bytes → `parse` makes a call of it → `execute` passes the call to the
//! registry → `render` appends the reply → one write sends the replies to all lines of one read. It decides nothing
//! about sessions or routes, and knows no other interface. Invariants: every line that is not ignored gets exactly one
//! reply, in order; a connection can harm only itself.

mod connection;
mod counted_calls;
mod execute;
mod foreign;
mod line;
mod listener;
mod parse;
mod render;
mod settings;
mod stop;

pub use listener::serve;
pub use parse::verbs;
pub use settings::PipeSettings;

#[cfg(test)]
mod tests;
