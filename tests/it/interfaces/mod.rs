//! Clients of the three interfaces behind one trait: a test names a command of the pipe, and each client sends it in the form of its interface.

mod grpc;
mod pipe;
mod rest;

use serde_json::Value;

use crate::server::Server;

/// An error as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The kind in small letters; the pipe does not tell it.
    pub kind: Option<String>,
    /// The words, with the field in front if one is named.
    pub message: String,
}

/// The result of a call: the payload in the shape of the pipe, as far as the interface has it.
pub type Answer = Result<Value, Refusal>;

/// A client of one interface.
pub trait InterfaceClient {
    /// Returns the name of the interface.
    fn name(&self) -> &'static str;

    /// Sends the command that `verb` names on the pipe. `arguments` has the fields of the line by name; the session id is `session`.
    fn call(&mut self, verb: &str, arguments: &Value) -> Answer;
}

/// Connects a client to each interface of a server.
pub fn all(server: &Server) -> Vec<Box<dyn InterfaceClient>> {
    vec![
        Box::new(pipe::Pipe::connect(server.pipe)),
        Box::new(grpc::Grpc::connect(server.api)),
        Box::new(rest::Rest::connect(server.api)),
    ]
}

/// Returns a text argument, or an empty text if it is missing.
fn text<'a>(arguments: &'a Value, name: &str) -> &'a str {
    arguments[name].as_str().unwrap_or_default()
}

/// Returns an argument that is a list of texts.
fn texts(arguments: &Value, name: &str) -> Vec<String> {
    let list = arguments[name].as_array();
    list.map(|list| list.iter().filter_map(Value::as_str).map(str::to_owned).collect()).unwrap_or_default()
}
