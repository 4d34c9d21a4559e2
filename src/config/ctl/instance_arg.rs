//! The name of an instance on the command line.

use std::str::FromStr;

/// The name of an instance: `SERVICE/INSTANCE`. The service's name contains no `/` here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceArg {
    /// The service.
    pub service: String,
    /// The instance.
    pub instance: String,
}

impl FromStr for InstanceArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((service, instance)) if !service.is_empty() && !instance.is_empty() => {
                Ok(Self { service: service.to_owned(), instance: instance.to_owned() })
            }
            _ => Err("write SERVICE/INSTANCE, such as shop/shop-1".to_owned()),
        }
    }
}
