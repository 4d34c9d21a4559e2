//! The TXT record that proves control of a name as long as it stands (dns-persist-01, draft-ietf-acme-dns-persist).

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use sha2::{Digest, Sha256};

use crate::domain::{Host, Time};

/// The facts of the account and of the directory that such a record is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::acme) struct PersistentFacts {
    /// The names of the authority, one or more.
    pub(in crate::acme) issuers: Vec<String>,
    /// The beginning of account URIs that do not show the account; `None` at directories of the drafts before the second.
    pub(in crate::acme) hash_prefix: Option<String>,
    /// The URL of the account.
    pub(in crate::acme) account: String,
    /// The thumbprint of its key (RFC 7638).
    pub(in crate::acme) thumbprint: String,
}

/// A record that proves control of a name for one account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersistentRecord {
    /// The name of the record.
    pub name: String,
    /// The value of the record.
    pub value: String,
    issuers: Vec<String>,
    /// The account URIs that count. The first one stands in `value`.
    accounts: Vec<String>,
    is_wildcard: bool,
}

impl PersistentRecord {
    /// Creates the record for a name; `None` for `*`, or if the authority has no name.
    pub(in crate::acme) fn new(name: &Host, facts: &PersistentFacts) -> Option<Self> {
        let (base, is_wildcard) = match name {
            Host::Exact(name) => (name, false),
            Host::Below(base) => (base, true),
            Host::Any => return None,
        };
        let accounts = match &facts.hash_prefix {
            None => vec![facts.account.clone()],
            // Either the domain is part of the hash, or `*` in its place.
            Some(prefix) => [&**base, "*"].map(|domain| format!("{prefix}sha-256/{}", hash(domain, facts))).to_vec(),
        };
        let (issuer, account) = (facts.issuers.first()?, accounts.first()?);
        let policy = if is_wildcard { "; policy=wildcard" } else { "" };
        Some(Self {
            name: format!("_validation-persist.{base}"),
            value: format!("{issuer}; accounturi={account}{policy}"),
            issuers: facts.issuers.clone(),
            accounts,
            is_wildcard,
        })
    }

    /// Checks the value of a record that was found. It may say more than the record that is asked for.
    ///
    /// # Errors
    /// The reason why it does not prove control.
    pub fn check(&self, value: &str, now: Time) -> Result<(), String> {
        let mut parts = value.split(';').map(str::trim);
        let issuer = parts.next().unwrap_or_default();
        if !self.issuers.iter().any(|own| own.eq_ignore_ascii_case(issuer.trim_end_matches('.'))) {
            return Err(format!("it begins with another authority than {}", self.issuers.join(" or ")));
        }
        let parameters: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
        let parameter = |name: &str| {
            let own = parameters.iter().find(|(tag, _)| tag.trim().eq_ignore_ascii_case(name));
            own.map(|(_, value)| value.trim())
        };
        match parameter("accounturi") {
            None => return Err("it has no accounturi".to_owned()),
            Some(account) if self.accounts.iter().any(|own| own == account) => {}
            Some(_) => return Err("its accounturi is that of another account".to_owned()),
        }
        let has_policy = parameter("policy").is_some_and(|policy| policy.eq_ignore_ascii_case("wildcard"));
        if self.is_wildcard && !has_policy {
            return Err("it lacks policy=wildcard, which a wildcard needs".to_owned());
        }
        match parameter("persistUntil").map(str::parse::<u64>) {
            Some(Err(_)) => Err("its persistUntil is no number of seconds since 1970".to_owned()),
            Some(Ok(until)) if until.saturating_mul(1000) <= now.0 => Err("its persistUntil is over".to_owned()),
            _ => Ok(()),
        }
    }
}

/// Returns the hash that stands for an account (draft-ietf-acme-dns-persist-02 §4.1).
fn hash(domain: &str, facts: &PersistentFacts) -> String {
    // A name has at most 253 bytes.
    let length = u8::try_from(domain.len()).unwrap_or(u8::MAX);
    let parts = [&[length], domain.as_bytes(), facts.thumbprint.as_bytes(), facts.account.as_bytes()];
    BASE64.encode(Sha256::digest(parts.concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time(1_000_000_000_000);

    fn facts(hash_prefix: Option<&str>) -> PersistentFacts {
        PersistentFacts {
            issuers: vec!["authority.example".to_owned(), "ca.example.net".to_owned()],
            hash_prefix: hash_prefix.map(str::to_owned),
            account: "https://ca.example/acct/123".to_owned(),
            thumbprint: "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs".to_owned(),
        }
    }

    fn record(name: &str, hash_prefix: Option<&str>) -> PersistentRecord {
        PersistentRecord::new(&Host::parse(name).unwrap(), &facts(hash_prefix)).unwrap()
    }

    #[test]
    fn the_record_is_that_of_the_examples_in_the_draft() {
        let plain = record("example.com", None);
        assert_eq!(plain.name, "_validation-persist.example.com");
        assert_eq!(plain.value, "authority.example; accounturi=https://ca.example/acct/123");
        let prefix = Some("https://ca.example/account-hash/");
        let hashed = "authority.example; accounturi=https://ca.example/account-hash/sha-256/";
        let own = format!("{hashed}5SQm7n6tPh2-PlLbCKGnViTXX5z19SCN4cPGQHSk-kw");
        assert_eq!(record("example.com", prefix).value, own);
        let wildcard = record("*.example.com", prefix);
        assert_eq!(wildcard.name, "_validation-persist.example.com");
        assert_eq!(wildcard.value, format!("{own}; policy=wildcard"));
        let of_all = format!("{hashed}NpDnSwUthQK8zCgFdefYxAdAVPnygMLbs9US6oO-5ug");
        assert_eq!(record("example.com", prefix).check(&of_all, NOW), Ok(()));
    }

    #[test]
    fn a_record_may_say_more_and_be_written_otherwise() {
        let wanted = record("*.example.com", None);
        let account = "accounturi=https://ca.example/acct/123";
        for value in [
            wanted.value.clone(),
            format!("CA.example.net.;{account};POLICY=Wildcard"),
            format!("authority.example; policy=wildcard; {account}; persistUntil=1000000001; more=1"),
        ] {
            assert_eq!(wanted.check(&value, NOW), Ok(()), "{value}");
        }
    }

    #[test]
    fn a_record_that_proves_nothing_is_told_with_the_reason() {
        let wanted = record("*.example.com", None);
        let account = "accounturi=https://ca.example/acct/123";
        for (value, reason) in [
            (String::new(), "another authority"),
            ("v=spf1 -all".to_owned(), "another authority"),
            (format!("other.example; {account}; policy=wildcard"), "another authority"),
            ("authority.example".to_owned(), "no accounturi"),
            ("authority.example; accounturi=https://ca.example/acct/9".to_owned(), "another account"),
            (format!("authority.example; {account}"), "lacks policy=wildcard"),
            (format!("authority.example; {account}; policy=wildcard; persistUntil=soon"), "no number"),
            (format!("authority.example; {account}; policy=wildcard; persistUntil=1000000000"), "is over"),
        ] {
            let why = wanted.check(&value, NOW).unwrap_err();
            assert!(why.contains(reason), "{value}: {why}");
        }
    }
}
