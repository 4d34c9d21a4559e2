//! Single values. Each is read by the parser of the domain, and the description says what that parser accepts.
//!
//! Nothing here knows the call that a value belongs to. The error of a value has no field; the reader adds it.

use std::borrow::Cow;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{AdditionalProperties, ArrayBuilder, ObjectBuilder, Schema, SchemaType, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::domain::{
    BackendUrl, Error, EventKind, HeaderKey, HealthPath, Host, InstanceName, Metadata, OptionKey, OptionSpec, Options,
    PageUrl, PathPrefix, RouteId, Section, ServiceName, Topics, VALUE_BYTES_MAX, header_value,
};
use crate::registry::commands::TargetSelector;

use super::patterns;

/// Reads a field that may be left out but not be `null`.
pub(super) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// Converts a refusal into an error of the JSON reader.
pub(super) fn refusal<E: serde::de::Error>(error: &Error) -> E {
    E::custom(error.message())
}

pub(super) fn text(pattern: Option<&str>, lengths: (usize, usize), description: &str, example: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(pattern.map(str::to_owned))
        .min_length(Some(lengths.0))
        .max_length(Some(lengths.1))
        .description(Some(description))
        .examples([example])
}

macro_rules! texts {
    ($($doc:literal $name:ident($value:ty) is $component:literal, $pattern:expr, $min:literal to $max:expr, as $example:literal, by $read:expr;)+) => { $(
        #[doc = $doc]
        #[derive(Clone, Debug)]
        pub struct $name(pub $value);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let read: fn(&str) -> Result<$value, Error> = $read;
                read(&String::deserialize(from)?).map(Self).map_err(|error| refusal(&error))
            }
        }

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                text($pattern, ($min, $max), $doc, $example).into()
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                $component.into()
            }
        }
    )+ };
}

texts! {
    "A service's name: characters that are all seen, without spaces and `|`."
    Service(ServiceName) is "ServiceName", Some(&patterns::NAME), 1 to 128, as "shop", by ServiceName::parse;
    "An instance's name: characters that are all seen, without spaces and `|`."
    Instance(InstanceName) is "InstanceName", Some(&patterns::NAME), 1 to 128, as "shop-1", by InstanceName::parse;
    "A route's id within its session."
    Route(RouteId) is "RouteId", Some(&patterns::ROUTE_ID), 2 to 10, as "r1", by |text| text.parse();
    "`ALL` for every route of the session, or one route's id."
    Target(crate::domain::Target) is "Target", Some(&patterns::TARGET), 2 to 10, as "r1", by |text| text.parse();
    "A prefix on whole path segments; others than a path's characters are percent-encoded. `/api/` means the same as `/api`."
    Path(PathPrefix) is "PathPrefix", Some(&patterns::PATH), 1 to PathPrefix::BYTES_MAX, as "/api", by PathPrefix::parse;
    "What a health check asks for: a path, with a query if it has one, asked for exactly as it is written."
    CheckPath(HealthPath) is "HealthPath", Some(&patterns::HEALTH_PATH), 1 to PathPrefix::BYTES_MAX, as "/health", by HealthPath::parse;
    "Where requests go: scheme, host, port, and a base path that is put before the request's path."
    Backend(BackendUrl) is "BackendUrl", Some(&patterns::BACKEND), 6 to BackendUrl::BYTES_MAX, as "http://10.0.0.7:3000", by backend;
    "A page that is shown meanwhile."
    Page(PageUrl) is "PageUrl", Some(&patterns::PAGE), 6 to BackendUrl::BYTES_MAX, as "http://pages.example/down.html", by PageUrl::parse;
    "What maintenance is for: `ALL`, route ids, paths or domains, separated by commas."
    Places(Vec<TargetSelector>) is "Places", Some(&patterns::PLACES), 1 to 2047, as "ALL", by TargetSelector::parse_list;
    "The name of a response header, not one of those that belong to the connection."
    HeaderName(HeaderKey) is "HeaderName", Some(&patterns::HEADER_NAME), 1 to 128, as "X-Frame-Options", by HeaderKey::parse;
    "The value of a response header: text, perhaps empty, 8192 bytes of UTF-8 at most."
    HeaderText(Arc<str>) is "HeaderValue", Some(&patterns::HEADER_VALUE), 0 to VALUE_BYTES_MAX, as "DENY", by header_value;
    "The value of an option, as its key takes it."
    OptionText(Arc<str>) is "OptionValue", None, 1 to VALUE_BYTES_MAX, as "10s", by option_value;
}

/// The revision of a session's configuration, as an entity tag.
#[derive(Debug)]
pub struct ETag;

impl PartialSchema for ETag {
    fn schema() -> RefOr<Schema> {
        tag(&patterns::ETAG, "The session's revision: a number in quotes.", "\"3\"")
    }
}

impl ToSchema for ETag {
    fn name() -> Cow<'static, str> {
        "ETag".into()
    }
}

/// The revision that the caller has read.
#[derive(Debug)]
pub struct IfMatchTag;

impl PartialSchema for IfMatchTag {
    fn schema() -> RefOr<Schema> {
        tag(&patterns::IF_MATCH, "`ETag`s as they were given, separated by commas, or `*`.", "*")
    }
}

impl ToSchema for IfMatchTag {
    fn name() -> Cow<'static, str> {
        "IfMatch".into()
    }
}

/// Returns the schema of an entity tag. Its pattern limits its length.
fn tag(pattern: &str, description: &str, example: &str) -> RefOr<Schema> {
    let tag = ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern));
    tag.description(Some(description)).examples([example]).into()
}

fn backend(text: &str) -> Result<BackendUrl, Error> {
    BackendUrl::parse(text)
}

fn option_value(text: &str) -> Result<Arc<str>, Error> {
    if text.is_empty() || text.len() > VALUE_BYTES_MAX {
        return Err(Error::invalid("value", format!("needs 1 to {VALUE_BYTES_MAX} bytes")));
    }
    Ok(text.into())
}

/// Returns the schema of a value that is one of a few words.
fn choice(words: impl IntoIterator<Item = &'static str>, description: &str, example: &str) -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(words))
        .description(Some(description))
        .examples([example])
        .into()
}

/// The key of a known option.
#[derive(Clone, Debug)]
pub struct OptionName(pub OptionKey);

impl<'de> Deserialize<'de> for OptionName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let key = OptionKey::parse(&String::deserialize(from)?).map_err(|error| refusal(&error))?;
        if !Options::knows(key.as_str()) {
            return Err(D::Error::custom(Options::unknown(key.as_str())));
        }
        Ok(Self(key))
    }
}

impl PartialSchema for OptionName {
    fn schema() -> RefOr<Schema> {
        let row = |row: &OptionSpec| {
            format!("\n* `{}`: {}; {} by default. {}", row.key, row.values, row.default, row.meaning)
        };
        let rows: String = Options::TABLE.iter().map(row).collect();
        choice(Options::KEYS, &format!("The key of an option:\n{rows}"), "timeout")
    }
}

impl ToSchema for OptionName {
    fn name() -> Cow<'static, str> {
        "OptionKey".into()
    }
}

/// A section of a configuration.
#[derive(Clone, Copy, Debug)]
pub struct Scope(pub Section);

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let name = String::deserialize(from)?;
        let known = Section::ALL.into_iter().find(|section| section.name() == name);
        let names = || Section::ALL.map(Section::name).join(", ");
        known.map(Self).ok_or_else(|| D::Error::custom(format!("must be one of {}", names())))
    }
}

impl PartialSchema for Scope {
    fn schema() -> RefOr<Schema> {
        choice(Section::ALL.map(Section::name), "A section of a configuration.", "routes")
    }
}

impl ToSchema for Scope {
    fn name() -> Cow<'static, str> {
        "Scope".into()
    }
}

/// A type of event, or `all`.
#[derive(Clone, Copy, Debug)]
pub struct Topic(pub Topics);

impl<'de> Deserialize<'de> for Topic {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Topics::parse(&String::deserialize(from)?).map(Self).map_err(|error| refusal(&error))
    }
}

impl PartialSchema for Topic {
    fn schema() -> RefOr<Schema> {
        let kinds = EventKind::TOPICS.map(EventKind::name);
        choice(["all"].into_iter().chain(kinds), "A type of event, or `all`.", "config_applied")
    }
}

impl ToSchema for Topic {
    fn name() -> Cow<'static, str> {
        "EventType".into()
    }
}

/// The domains of a route.
#[derive(Clone, Debug)]
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

impl ToSchema for Domains {
    fn name() -> Cow<'static, str> {
        "Domains".into()
    }
}

/// The metadata of a client.
#[derive(Clone, Debug, Default)]
pub struct About(pub Metadata);

impl<'de> Deserialize<'de> for About {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let json = Box::<RawValue>::deserialize(from)?;
        Metadata::parse(json.get()).map(Self).map_err(|error| refusal(&error))
    }
}

impl PartialSchema for About {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::from_iter([Type::Object, Type::Null]))
            .additional_properties(Some(AdditionalProperties::FreeForm(true)))
            .description(Some("The metadata of the client; at most 16 KiB of JSON. `null` counts as `{}`."))
            .examples([serde_json::json!({ "version": "1.4" })])
            .into()
    }
}

impl ToSchema for About {
    fn name() -> Cow<'static, str> {
        "Metadata".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_that_are_listed_are_those_that_mean_something() {
        for key in Options::KEYS {
            assert!(Options::knows(key), "{key}");
            serde_json::from_value::<OptionName>(key.into()).unwrap();
        }
        let refused = serde_json::from_value::<OptionName>("tiemout".into()).unwrap_err().to_string();
        assert!(
            refused.starts_with("there is no option `tiemout`; did you mean timeout? There are timeout, "),
            "{refused}"
        );
    }

    #[test]
    fn metadata_is_an_object_and_is_kept_as_it_came() {
        let read = |json: &str| serde_json::from_str::<About>(json).map(|about| about.0.as_str().to_owned());
        assert_eq!(read("{\"a\": 1.50}").unwrap(), "{\"a\": 1.50}");
        assert_eq!(read("null").unwrap(), "{}");
        assert!(read("[]").is_err() && read("1").is_err());
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(Metadata::BYTES_MAX));
        assert!(read(&long).unwrap_err().to_string().contains("at most 16384"));
    }
}
