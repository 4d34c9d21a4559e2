//! Single values. Each is read by the parser of the domain, and the description says what that parser accepts.

use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::PartialSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{AdditionalProperties, ArrayBuilder, ObjectBuilder, Schema, SchemaType, Type};

use crate::domain::{
    ApplyReason, BackendUrl, BreakerState, Error, HeaderKey, HealthPath, Host, InstanceName, Lease, Metadata,
    OptionKey, PageUrl, PathPrefix, RouteId, RouteName, Section, ServiceName, Span, Target, Time, VALUE_BYTES_MAX,
    header_value,
};

use super::patterns;

/// Reads a field that may be left out but not be `null`.
pub(crate) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// Converts a refusal into an error of the JSON reader.
pub(crate) fn refusal<E: serde::de::Error>(error: &Error) -> E {
    E::custom(error.message())
}

/// Returns the schema of a text.
pub(crate) fn text(pattern: Option<&str>, lengths: (usize, usize), description: &str, example: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(pattern.map(str::to_owned))
        .min_length(Some(lengths.0))
        .max_length(Some(lengths.1))
        .description(Some(description))
        .examples([example])
}

/// Returns the schema of a value that is one of a few words.
pub(crate) fn choice(words: impl IntoIterator<Item = &'static str>, description: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words)).description(Some(description))
}

/// Names the component of a type's description.
macro_rules! component {
    ($name:ty, $component:literal) => {
        impl utoipa::ToSchema for $name {
            fn name() -> std::borrow::Cow<'static, str> {
                $component.into()
            }
        }
    };
}

/// Reads and describes types whose values are texts.
macro_rules! texts {
    ($($name:ty, $component:literal, $doc:literal, $pattern:expr, $min:literal to $max:expr, as $example:literal, by $read:expr;)+) => { $(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let read: fn(&str) -> Result<$name, Error> = $read;
                read(&String::deserialize(from)?).map_err(|error| refusal(&error))
            }
        }

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                text($pattern, ($min, $max), $doc, $example).into()
            }
        }

        component!($name, $component);
    )+ };
}

pub(crate) use {component, texts};

/// A value of a response header.
#[derive(Clone, Debug)]
pub struct HeaderText(pub Arc<str>);

/// A value of an option.
#[derive(Clone, Debug)]
pub(crate) struct OptionText(pub(crate) Arc<str>);

texts! {
    ServiceName, "ServiceName",
        "A service's name: characters that are all seen, without spaces and `|`.",
        Some(&patterns::NAME), 1 to 128, as "shop", by ServiceName::parse;
    InstanceName, "InstanceName",
        "An instance's name: characters that are all seen, without spaces and `|`.",
        Some(&patterns::NAME), 1 to 128, as "shop-1", by InstanceName::parse;
    Lease, "Lease",
        "The time that a session lives without a sign of life: a duration from 1s on such as `30m`, or `permanent`.",
        Some(&patterns::LEASE), 1 to 32, as "24h", by Lease::parse;
    RouteId, "RouteId",
        "A route's id within its session.",
        Some(&patterns::ROUTE_ID), 2 to 10, as "r1", by |text| text.parse();
    Target, "Target",
        "`ALL` for every route of the session, or one route's id.",
        Some(&patterns::TARGET), 2 to 10, as "r1", by |text| text.parse();
    PathPrefix, "PathPrefix",
        "A prefix on whole path segments; others than a path's characters are percent-encoded. `/api/` means the same as `/api`.",
        Some(&patterns::PATH), 1 to PathPrefix::BYTES_MAX, as "/api", by PathPrefix::parse;
    HealthPath, "HealthPath",
        "What a health check asks for: a path, with a query if it has one, asked for exactly as it is written.",
        Some(&patterns::HEALTH_PATH), 1 to PathPrefix::BYTES_MAX, as "/health", by HealthPath::parse;
    BackendUrl, "BackendUrl",
        "Where requests go: scheme, host, port, and a base path that is put before the request's path.",
        Some(&patterns::BACKEND), 6 to BackendUrl::BYTES_MAX, as "http://10.0.0.7:3000", by |text| BackendUrl::parse(text);
    PageUrl, "PageUrl",
        "A page that is shown meanwhile.",
        Some(&patterns::PAGE), 6 to BackendUrl::BYTES_MAX, as "http://pages.example/down.html", by PageUrl::parse;
    RouteName, "RouteName",
        "The name of a route: characters that are all seen, without spaces and `|`. It stays the same when the route changes; a route's id stands for a name that nobody gave.",
        Some(&patterns::NAME), 1 to 128, as "cart", by RouteName::parse;
    HeaderKey, "HeaderName",
        "The name of a response header, not one of those that belong to the connection.",
        Some(&patterns::HEADER_NAME), 1 to 128, as "X-Frame-Options", by HeaderKey::parse;
    HeaderText, "HeaderValue",
        "The value of a response header: text, perhaps empty, 8192 bytes of UTF-8 at most.",
        Some(&patterns::HEADER_VALUE), 0 to VALUE_BYTES_MAX, as "DENY", by |text| header_value(text).map(HeaderText);
    ApplyReason, "ApplyReason",
        "The reason of a change: one line of text, 500 bytes of UTF-8 at most.",
        Some(&patterns::REASON), 1 to ApplyReason::BYTES_MAX, as "the new checkout", by ApplyReason::parse;
    OptionText, "OptionValue",
        "The value of an option, as its key takes it.",
        None, 1 to VALUE_BYTES_MAX, as "10s", by option_value;
}

fn option_value(text: &str) -> Result<OptionText, Error> {
    if text.is_empty() || text.len() > VALUE_BYTES_MAX {
        return Err(Error::invalid("value", format!("needs 1 to {VALUE_BYTES_MAX} bytes")));
    }
    Ok(OptionText(text.into()))
}

/// Writes types as their text.
macro_rules! written {
    ($($name:ty),+ $(,)?) => { $(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
                out.collect_str(self)
            }
        }
    )+ };
}

written! {
    BackendUrl, BreakerState, HeaderKey, HealthPath, Host, InstanceName, Lease, OptionKey, PathPrefix, RouteId, RouteName, ServiceName,
    Span, Target, Time,
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).map_err(|error| refusal(&error))
    }
}

impl Serialize for Metadata {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        // The metadata was checked as JSON when it came in.
        RawValue::from_string(self.as_str().to_owned()).unwrap_or_default().serialize(out)
    }
}

impl PartialSchema for BreakerState {
    fn schema() -> RefOr<Schema> {
        choice(BreakerState::ALL.map(BreakerState::name), "The state of a circuit breaker.").into()
    }
}

component!(BreakerState, "BreakerState");

impl<'de> Deserialize<'de> for Section {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let name = String::deserialize(from)?;
        let known = Section::ALL.into_iter().find(|section| section.name() == name);
        let names = || Section::ALL.map(Section::name).join(", ");
        known.ok_or_else(|| D::Error::custom(format!("must be one of {}", names())))
    }
}

impl PartialSchema for Section {
    fn schema() -> RefOr<Schema> {
        choice(Section::ALL.map(Section::name), "A section of a configuration.").examples(["routes"]).into()
    }
}

component!(Section, "Scope");

/// The domains of a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Domains(pub Vec<Host>);

/// The maximum length of a domain in bytes.
const DOMAIN_BYTES_MAX: usize = 253;

impl<'de> Deserialize<'de> for Domains {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let names = Vec::<String>::deserialize(from)?;
        if names.len() > Host::LIST_MAX {
            return Err(D::Error::custom(format!("at most {} per route", Host::LIST_MAX)));
        }
        if names.iter().any(|name| !name.is_ascii() || name.len() > DOMAIN_BYTES_MAX) {
            let message =
                format!("at most {DOMAIN_BYTES_MAX} ASCII characters each, internationalised names as punycode");
            return Err(D::Error::custom(message));
        }
        Host::gather(names.iter().map(String::as_str)).map(Self).map_err(|error| refusal(&error))
    }
}

impl PartialSchema for Domains {
    fn schema() -> RefOr<Schema> {
        let description = "A host name, `*.` and a host name for all below it, or `*` for any; internationalised \
                           names as punycode, no port, no scheme.";
        let domain = text(Some(&patterns::DOMAIN), (1, DOMAIN_BYTES_MAX), description, "shop.example");
        ArrayBuilder::new()
            .items(domain)
            .min_items(Some(1))
            .max_items(Some(Host::LIST_MAX))
            .description(Some("The domains of a route."))
            .examples([serde_json::json!(["shop.example", "*.shop.example"])])
            .into()
    }
}

component!(Domains, "Domains");

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let json = Box::<RawValue>::deserialize(from)?;
        Metadata::parse(json.get()).map_err(|error| refusal(&error))
    }
}

impl PartialSchema for Metadata {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::from_iter([Type::Object, Type::Null]))
            .additional_properties(Some(AdditionalProperties::FreeForm(true)))
            .description(Some("The metadata of the client; at most 16 KiB of JSON. `null` counts as `{}`."))
            .examples([serde_json::json!({ "version": "1.4" })])
            .into()
    }
}

component!(Metadata, "Metadata");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_an_object_and_is_kept_as_it_came() {
        let read = |json: &str| serde_json::from_str::<Metadata>(json).map(|about| about.as_str().to_owned());
        assert_eq!(read("{\"a\": 1.50}").unwrap(), "{\"a\": 1.50}");
        assert_eq!(read("null").unwrap(), "{}");
        assert!(read("[]").is_err() && read("1").is_err());
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(Metadata::BYTES_MAX));
        assert!(read(&long).unwrap_err().to_string().contains("at most 16384"));
    }
}
