//! Connections to backends, and the request bodies that pass on them.

pub(crate) mod conn;
pub(crate) mod idle_pools;
pub(crate) mod kept_body;
pub(crate) mod logins;
pub(crate) mod request_body;
