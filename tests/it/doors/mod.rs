//! The three doors as one: a test says what is asked, in the words of the pipe, and each door says it its own way.

mod grpc;
mod pipe;
mod rest;

use serde_json::Value;

use crate::server::Server;

/// A refusal, as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its kind, in small letters; the pipe does not say.
    pub kind: Option<String>,
    /// What is said, the field before it if one is named.
    pub message: String,
}

/// What came of a call: the payload that the pipe has for it, as far as the door gives it.
pub type Answer = Result<Value, Refusal>;

/// A client of one door.
pub trait Door {
    /// Which door it is.
    fn name(&self) -> &'static str;

    /// Asks for what `verb` of the pipe asks for. `arguments` has the fields of the line by name, the session's as `session`.
    fn call(&mut self, verb: &str, arguments: &Value) -> Answer;
}

/// A client of each door of a server.
pub fn all(server: &Server) -> Vec<Box<dyn Door>> {
    vec![
        Box::new(pipe::Pipe::connect(server.pipe)),
        Box::new(grpc::Grpc::connect(server.api)),
        Box::new(rest::Rest::connect(server.api)),
    ]
}

/// A text argument; one that is left out is empty.
fn text<'a>(arguments: &'a Value, name: &str) -> &'a str {
    arguments[name].as_str().unwrap_or_default()
}

/// A list of texts.
fn texts(arguments: &Value, name: &str) -> Vec<String> {
    let list = arguments[name].as_array();
    list.map(|list| list.iter().filter_map(Value::as_str).map(str::to_owned).collect()).unwrap_or_default()
}
