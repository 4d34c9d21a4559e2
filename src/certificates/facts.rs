//! The facts that a certificate tells about itself: names, dates, serial number and issuer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

use crate::domain::{Host, Time};

/// The facts in a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// The names of its subject: DNS names and addresses of the alternative names, or else the common name (RFC 6125 §6.4.4).
    pub names: Vec<Host>,
    /// The first moment at which it is valid.
    pub not_before: Time,
    /// The last moment at which it is valid.
    pub not_after: Time,
    /// The serial number in hexadecimal.
    pub serial: String,
    /// The distinguished name of its issuer.
    pub issuer: String,
}

/// The reason why a certificate is not valid at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DateFault {
    Over,
    ToCome,
}

impl CertificateFacts {
    /// Reads a certificate in DER.
    ///
    /// # Errors
    /// If it is not a certificate, in words that follow the name of the file.
    pub fn read(der: &[u8]) -> Result<Self, String> {
        let (_, certificate) = X509Certificate::from_der(der)
            .map_err(|error| format!("cannot be used: its first certificate cannot be read: {error}"))?;
        Ok(Self {
            names: names(&certificate),
            not_before: time(certificate.validity().not_before),
            not_after: time(certificate.validity().not_after),
            serial: certificate.raw_serial_as_string().replace(':', ""),
            issuer: certificate.issuer().to_string(),
        })
    }

    /// Returns the reason why the certificate is not valid at `now`, if it is not.
    pub(super) fn date_fault(&self, now: Time) -> Option<DateFault> {
        match now {
            now if now > self.not_after => Some(DateFault::Over),
            now if now < self.not_before => Some(DateFault::ToCome),
            _ => None,
        }
    }
}

fn names(certificate: &X509Certificate<'_>) -> Vec<Host> {
    let mut names = Vec::new();
    // An extension that cannot be read names nobody.
    if let Ok(Some(alternatives)) = certificate.subject_alternative_name() {
        for name in alternatives.value.general_names.iter().filter_map(alternative) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    if names.is_empty() {
        let mut common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
        names.extend(common.find_map(name));
    }
    names
}

fn alternative(written: &GeneralName<'_>) -> Option<Host> {
    match written {
        GeneralName::DNSName(text) => name(text),
        GeneralName::IPAddress(bytes) => match address(bytes)? {
            IpAddr::V4(address) => name(&address.to_string()),
            IpAddr::V6(address) => name(&format!("[{address}]")),
        },
        _ => None,
    }
}

/// Reads a name; a part of a label as wildcard counts for nothing (RFC 6125 §6.4.3).
fn name(text: &str) -> Option<Host> {
    Host::parse(text).ok().filter(|name| *name != Host::Any)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|octets| IpAddr::V4(Ipv4Addr::from(octets)));
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(|octets| IpAddr::V6(Ipv6Addr::from(octets)))).ok()
}

fn time(written: ASN1Time) -> Time {
    Time(u64::try_from(written.timestamp()).unwrap_or(0).saturating_mul(1000))
}
