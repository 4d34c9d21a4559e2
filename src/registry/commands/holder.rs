//! The holder of an instance or of a place, in words, and the refusal of callers that do not hold it.

use crate::domain::{Error, Kind, Owner, Session, SessionRecord};

/// Refuses the registration of an instance that operators or a file hold.
pub(super) fn check_not_owned(session: &Session) -> Result<(), Error> {
    if session.record.owner.is_permanent() {
        return Err(held(&session.record, "register under another name, or have them remove it"));
    }
    Ok(())
}

/// Refuses an operator's or a file's change of an instance that another owner holds.
pub(super) fn check_holder(session: &Session, owner: &Owner) -> Result<(), Error> {
    let record = &session.record;
    if record.owner == *owner {
        return Ok(());
    }
    Err(match &record.owner {
        Owner::File(file) => held_by_file(record, file),
        Owner::Operator => held(record, "remove it there first, or name another instance"),
        Owner::Session => held(record, "evict it first, or name another instance"),
    })
}

/// Returns the refusal of an operator's change of an instance that a file holds.
pub(super) fn held_by_file(record: &SessionRecord, file: &str) -> Error {
    held(record, &format!("change it or remove it in {file}, and reload"))
}

fn held(record: &SessionRecord, advice: &str) -> Error {
    let (service, instance, holder) = (&record.service, &record.instance, holder(record, true));
    Error::new(Kind::Conflict, format!("the instance {service}/{instance} is held by {holder}; {advice}"))
}

/// Returns the holder of a session: its owner, and the address of its client if `address` is true and it is known.
pub(super) fn holder(record: &SessionRecord, address: bool) -> String {
    match record.origin.filter(|_| address) {
        Some(origin) => format!("{} from {origin}", record.owner),
        None => record.owner.to_string(),
    }
}
