//! The pipe: the line protocol over TCP or TLS, one of the registry's interfaces.
//!
//! A line's life: `line` cuts it out of the bytes → `parse` makes a call of it → `execute` has the registry
//! decide or answer → `render` appends the reply → one write for all that was read at once.
//! It decides nothing about sessions or routes, and knows no other interface. What must hold: every line but the
//! ignored ones gets exactly one reply, in order; whatever one connection sends hurts that connection alone.

mod connection;
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
