//! Lines that open, bind and end sessions.

use crate::domain::{Error, InstanceName, Metadata, ServiceName};
use crate::registry::commands::{ClientShutdown, Reconnect, Register};
use crate::registry::{Call, Query};

use super::fields::{CommandRow, Fields};
use super::request::{Form, Parsed, Request, split, wrong};

/// The commands of this group, in the order of the protocol.
pub(super) const TABLE: &[CommandRow] = &[
    ("REGISTER", register),
    ("RECONNECT", reconnect),
    ("PING", ping),
    ("SESSION_INFO", info),
    ("CLIENT_SHUTDOWN", client_shutdown),
];

const REGISTER: &str = "service|instance|maintenance_port[|metadata]";

/// Reads `REGISTER`. It has no session id and no transaction id. The metadata extends to the end of the line.
#[expect(clippy::needless_pass_by_value, reason = "every row of the table takes its fields alike")]
fn register<'a>(fields: Fields<'a, '_>) -> Parsed<'a> {
    let mut next = fields.rest();
    let mut field = || {
        let (field, rest) = split(next?);
        next = rest;
        Some(field)
    };
    let (Some(service), Some(instance), Some(port)) = (field(), field(), field()) else {
        return Err(fields.usage(REGISTER));
    };
    // No JSON object ends with `|`: it comes from an empty field after the JSON.
    let metadata = next.map_or("", |json| json.strip_suffix('|').unwrap_or(json));
    let register = new_session(&fields, service, instance, port, metadata).map_err(wrong)?;
    Ok(Request { transaction: None, word: "ACK", call: Call::Command(register.into()), form: Form::Plain })
}

fn new_session(
    fields: &Fields<'_, '_>,
    service: &str,
    instance: &str,
    port: &str,
    metadata: &str,
) -> Result<Register, Error> {
    let named = [("service", service), ("instance", instance), ("maintenance_port", port)];
    if let Some((name, _)) = named.into_iter().find(|(_, field)| field.is_empty()) {
        return Err(Error::invalid(name, "is empty"));
    }
    Ok(Register {
        service: ServiceName::parse(service)?,
        instance: InstanceName::parse(instance)?,
        maintenance_port: maintenance_port(port)?,
        metadata: Metadata::parse(metadata)?,
        nonce: fields.nonce(),
        connection: Some(fields.connection()),
        token: None,
        origin: None,
        lease: None,
    })
}

fn maintenance_port(text: &str) -> Result<u16, Error> {
    text.parse().map_err(|_| Error::invalid("maintenance_port", "must be a whole number from 0 to 65535"))
}

fn reconnect<'a>(fields: Fields<'a, '_>) -> Parsed<'a> {
    let connection = Some(fields.connection());
    fields.command("OK", [], |session, []| Ok(Reconnect { session, connection }))
}

fn ping<'a>(fields: Fields<'a, '_>) -> Parsed<'a> {
    fields.query("PONG", [], |session, []| Ok(Query::Ping(session)))
}

fn info<'a>(fields: Fields<'a, '_>) -> Parsed<'a> {
    fields.query("SESSION_OK", [], |session, []| Ok(Query::SessionInfo(session)))
}

fn client_shutdown<'a>(fields: Fields<'a, '_>) -> Parsed<'a> {
    let connection = Some(fields.connection());
    fields.command("SHUTDOWN_OK", [], |session, []| Ok(ClientShutdown { subject: session.into(), connection }))
}
