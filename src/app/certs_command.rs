//! The command `signalbox certs dns`: tells the TXT record that proves control of a domain, and looks it up.
//!
//! Invariant: nothing is changed.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};

use super::checked_config::{CheckedConfig, certified_domain};
use super::obtaining::{acme_folder, acme_settings};
use crate::acme::{DnsProof, PersistentRecord, dns_proof};
use crate::config::ServerConfig;
use crate::domain::{Time, breaks_line};
use crate::{clock, dns};

/// The maximum time of the whole command.
const PATIENCE: Duration = Duration::from_mins(1);
/// The most characters of a string in a TXT record (RFC 1035 §3.3.14).
const STRING_MAX: usize = 255;

/// The record that proves control of a domain.
#[derive(Debug)]
pub struct DnsProofReport {
    /// The record as a line of a zone file.
    pub record: String,
    /// Words about the record that was found, or the reason why it is not in place.
    pub verdict: anyhow::Result<String>,
}

/// Tells the TXT record that proves control of a domain, and looks it up at `server`, or else at those of the system.
///
/// # Errors
/// If no record can be told.
pub fn report_dns_proof(
    config: ServerConfig,
    name: &str,
    server: Option<SocketAddr>,
) -> anyhow::Result<DnsProofReport> {
    clock::start().context("the system clock says a time before 1970; set it and try again")?;
    let config = CheckedConfig::new(config)?;
    let name = certified_domain(name).map_err(|why| anyhow!("`{name}`: {why}"))?;
    let Some(settings) = acme_settings(&config)? else {
        bail!("[acme] is not set, so that no certificates are obtained")
    };
    let folder = acme_folder(&config).context("store.url is no file, so that there is no account")?;
    let servers = match server {
        Some(server) => vec![server],
        // Without the file there is no server, and the look-up says so.
        None => dns::servers_in(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default()),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the command")?;
    runtime.block_on(async {
        let proof = tokio::time::timeout(PATIENCE, dns_proof(settings, &folder, &name)).await;
        let proof = proof.map_err(|_| anyhow!("the directory did not answer within {} s", PATIENCE.as_secs()))??;
        Ok(match proof {
            DnsProof::Hook(record) => DnsProofReport {
                record: format!(
                    "; acme.dns_hook gets this name, and a value that each order has anew\n{record}. IN TXT \"…\""
                ),
                verdict: look_up(&servers, &record).await.map(|found| in_words(&record, &found)),
            },
            DnsProof::Persistent(record) => DnsProofReport {
                record: zone_line(&record.name, &record.value),
                verdict: verdict(&servers, &record).await,
            },
        })
    })
}

async fn look_up(servers: &[SocketAddr], record: &str) -> anyhow::Result<Vec<String>> {
    dns::look_up_txt(servers, record).await.context("the record cannot be looked up")
}

/// Looks a record that stays up.
async fn verdict(servers: &[SocketAddr], record: &PersistentRecord) -> anyhow::Result<String> {
    let found = look_up(servers, &record.name).await?;
    judged(record, &found, clock::wall_time(clock::now()))
}

fn judged(record: &PersistentRecord, found: &[String], now: Time) -> anyhow::Result<String> {
    let mut reasons = format!("{} proves nothing yet; publish the record above", record.name);
    for value in found {
        match record.check(value, now) {
            Ok(()) => return Ok(format!("the record is in place: \"{}\"", shown(value))),
            Err(why) => {
                let _ = write!(reasons, "\nfound \"{}\": {why}", shown(value));
            }
        }
    }
    if found.is_empty() {
        reasons += "\nfound no TXT record";
    }
    bail!(reasons)
}

fn in_words(record: &str, found: &[String]) -> String {
    if found.is_empty() {
        return format!("{record} has no TXT record now");
    }
    let values: Vec<String> = found.iter().map(|value| format!("\"{}\"", shown(value))).collect();
    format!("{record} holds now: {}", values.join(", "))
}

/// Returns a value that a stranger wrote, without what could change the terminal, and not too long.
fn shown(value: &str) -> String {
    value.chars().take(300).map(|char| if breaks_line(char) { '?' } else { char }).collect()
}

/// Returns a record as a line of a zone file (RFC 1035 §5.1), in strings that are not too long.
fn zone_line(name: &str, value: &str) -> String {
    let chars: Vec<char> = value.chars().collect();
    let strings = chars.chunks(STRING_MAX).map(|part| {
        let text: String = part.iter().collect();
        format!(" \"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
    });
    format!("{name}. IN TXT{}", strings.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_value_is_written_in_several_strings() {
        assert_eq!(zone_line("a.example", "b; c=\"d\""), "a.example. IN TXT \"b; c=\\\"d\\\"\"");
        let line = zone_line("a.example", &"x".repeat(300));
        assert_eq!(line, format!("a.example. IN TXT \"{}\" \"{}\"", "x".repeat(255), "x".repeat(45)));
    }

    #[test]
    fn what_a_stranger_published_does_not_reach_the_terminal_as_it_is() {
        assert_eq!(in_words("a", &["\u{1b}[2Jx\n".to_owned()]), "a holds now: \"?[2Jx?\"");
        assert!(shown(&"x".repeat(9999)).len() == 300 && in_words("a", &[]).contains("no TXT record"));
    }
}
