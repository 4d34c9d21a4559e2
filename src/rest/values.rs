//! Values that only requests have, in bodies, paths, query strings and headers.
//!
//! Invariant: the patterns and limits of the description are those that the parsers accept. A test draws texts from each
//! pattern and parses them.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use utoipa::PartialSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};

use crate::domain::{Error, EventKind, InstanceName, OptionKey, OptionSpec, Options, ServiceName, Topics};
use crate::json::patterns;
use crate::json::values::{choice, component, refusal, text, texts};
use crate::registry::audit::ActorFilter;
use crate::registry::commands::TargetSelector;

/// Selectors of routes for maintenance.
#[derive(Clone, Debug)]
pub(super) struct Places(pub(super) Vec<TargetSelector>);

texts! {
    Places, "Places",
        "What maintenance is for: `ALL`, route ids, paths or domains, separated by commas.",
        Some(&patterns::PLACES), 1 to 2047, as "ALL", by |text| TargetSelector::parse_list(text).map(Places);
}

/// The actors of changes.
#[derive(Clone, Debug)]
pub(super) struct ActorText(pub(super) ActorFilter);

impl<'de> Deserialize<'de> for ActorText {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        ActorFilter::read(&String::deserialize(from)?).map(Self).map_err(|error| refusal(&error))
    }
}

impl PartialSchema for ActorText {
    fn schema() -> RefOr<Schema> {
        let pattern = Some("^(session|operator|server)(:.*)?$");
        text(pattern, (6, 300), "The kind of actors, or a kind, a colon and a name.", "operator:ann").into()
    }
}

component!(ActorText, "ActorFilter");

/// A type of event, or `all`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Topic(pub(super) Topics);

impl<'de> Deserialize<'de> for Topic {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Topics::parse(&String::deserialize(from)?).map(Self).map_err(|error| refusal(&error))
    }
}

impl PartialSchema for Topic {
    fn schema() -> RefOr<Schema> {
        let kinds = EventKind::TOPICS.map(EventKind::name);
        let words = ["all"].into_iter().chain(kinds);
        choice(words, "A type of event, or `all`.").examples(["config_applied"]).into()
    }
}

component!(Topic, "EventType");

/// Types of events, separated by commas.
#[derive(Clone, Copy, Debug)]
pub(super) struct TopicList(pub(super) Topics);

impl<'de> Deserialize<'de> for TopicList {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let names = String::deserialize(from)?;
        let each = names.split(',').map(|name| Topics::parse(name.trim()));
        let all = each.collect::<Result<Vec<Topics>, _>>().map_err(|error| D::Error::custom(error.message()))?;
        Ok(Self(all.into_iter().fold(Topics::default(), Topics::union)))
    }
}

impl PartialSchema for TopicList {
    fn schema() -> RefOr<Schema> {
        text(
            Some(&patterns::TOPICS),
            (3, 512),
            "Types of events, separated by commas, or `all`.",
            "config_applied,drain_completed",
        )
        .into()
    }
}

component!(TopicList, "EventTypes");

/// The key of a known option.
#[derive(Clone, Debug)]
pub(super) struct OptionName(pub(super) OptionKey);

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
        choice(Options::KEYS, &format!("The key of an option:\n{rows}")).examples(["timeout"]).into()
    }
}

component!(OptionName, "OptionKey");

/// An instance as `service/instance`. The service's name contains no `/` here.
#[derive(Clone, Debug)]
pub(super) struct InstanceRef(pub(super) ServiceName, pub(super) InstanceName);

impl<'de> Deserialize<'de> for InstanceRef {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let (service, instance) = text.split_once('/').unwrap_or_default();
        let named = ServiceName::parse(service).and_then(|service| Ok(Self(service, InstanceName::parse(instance)?)));
        named.map_err(|_| D::Error::custom("must be service/instance, such as shop/shop-1"))
    }
}

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident is $component:literal, $pattern:expr, $min:literal to $max:literal, as $example:literal, or $words:literal;)+) => { $(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name(pub(super) String);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                // The registry checks the rest.
                let text = String::deserialize(from)?;
                let fits = text.bytes().all(|byte| byte.is_ascii_graphic()) && ($min..=$max).contains(&text.len());
                if fits { Ok(Self(text)) } else { Err(D::Error::custom($words)) }
            }
        }

        described!($name, $component, $pattern, $min to $max, $example, $words);
    )+ };
}

macro_rules! described {
    ($name:ident, $component:literal, $pattern:expr, $min:literal to $max:literal, $example:literal, $words:literal) => {
        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                text(Some($pattern), ($min, $max), concat!("It ", $words, "."), $example).into()
            }
        }

        component!($name, $component);
    };
}

texts! {
    /// A request's host.
    RequestHost is "RequestHost", &patterns::REQUEST_HOST, 1 to 259, as "shop.example", or "must be a host name or address, with or without a port";
    /// A request's path.
    RequestPath is "RequestPath", &patterns::REQUEST_PATH, 1 to 8192, as "/cart", or "must be a path as it stands in a request, others than ASCII percent-encoded";
    /// A request's method.
    Method is "Method", &patterns::METHOD, 1 to 32, as "GET", or "must be an HTTP method";
}

described!(InstanceRef, "InstanceRef", &patterns::INSTANCE_REF, 3 to 257, "shop/shop-1", "must be service/instance");

/// The revision of a session's configuration, as an entity tag.
#[derive(Debug)]
pub(super) struct ETag;

impl PartialSchema for ETag {
    fn schema() -> RefOr<Schema> {
        tag(&patterns::ETAG, "The session's revision: a number in quotes.", "\"3\"")
    }
}

component!(ETag, "ETag");

/// The revision that the caller has read.
#[derive(Debug)]
pub(super) struct IfMatchTag;

impl PartialSchema for IfMatchTag {
    fn schema() -> RefOr<Schema> {
        tag(&patterns::IF_MATCH, "`ETag`s as they were given, separated by commas, or `*`.", "*")
    }
}

component!(IfMatchTag, "IfMatch");

/// Returns the schema of an entity tag. Its pattern limits its length.
fn tag(pattern: &str, description: &str, example: &str) -> RefOr<Schema> {
    let tag = ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern));
    tag.description(Some(description)).examples([example]).into()
}

#[cfg(test)]
mod tests {
    use proptest::strategy::{Strategy, ValueTree};
    use proptest::string::string_regex;
    use proptest::test_runner::TestRunner;

    use super::*;
    use crate::domain::{
        BackendUrl, Catalog, HeaderKey, HealthPath, Lease, PageUrl, PathPrefix, RouteId, Target, Time,
    };
    use crate::json::numbers::{Duration, Interval};
    use crate::json::patterns::{
        BACKEND, DOMAIN, DURATION, FRAMING, HEADER_NAME, HEADER_VALUE, HEALTH_PATH, HOST_NOT_TOO_LONG, INSTANCE_REF,
        INTERVAL, LEASE, METHOD, NAME, PAGE, PATH, PLACES, REQUEST_HOST, REQUEST_PATH, ROUTE_ID, TARGET, TOPICS,
    };
    use crate::json::values::{Domains, HeaderText};
    use crate::registry::queries::explain::{Explain, explain};
    use crate::registry::{RegistrationTokens, Traffic};

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

    /// Draws texts that match `pattern`, and checks that `read` accepts them.
    fn all_taken(pattern: &str, bytes_max: usize, read: impl Fn(String) -> Result<(), String>) {
        let inner = pattern.trim_start_matches('^').trim_end_matches('$').to_owned();
        let inner = inner.replace(&format!("(?!({FRAMING})$)"), "").replace(HOST_NOT_TOO_LONG, "");
        // Rust writes a code point in this way.
        let inner = inner.replace(r"\u", r"\x");
        let inner = regex_points(&inner);
        let drawn = string_regex(&inner).unwrap_or_else(|error| panic!("{inner}: {error}"));
        let mut runner = TestRunner::deterministic();
        for _ in 0..400 {
            let text = drawn.new_tree(&mut runner).unwrap().current();
            if text.len() <= bytes_max {
                assert_eq!(read(text.clone()), Ok(()), "{text:?} of {pattern}");
            }
        }
    }

    /// Converts `\xd7ff` to `\x{d7ff}`.
    fn regex_points(pattern: &str) -> String {
        let mut parts = pattern.split(r"\x");
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |done, part| format!(r"{done}\x{{{}}}{}", &part[..4], &part[4..]))
    }

    fn reads<T: for<'de> serde::Deserialize<'de>>(text: String) -> Result<(), String> {
        let value = serde_json::Value::String(text);
        serde_json::from_value::<T>(value).map(|_| ()).map_err(|error| error.to_string())
    }

    /// Asks for the explanation of a request; an error if the request is refused.
    fn explained(host: &str, path: &str) -> Result<(), String> {
        struct Blind;
        impl Traffic for Blind {}
        reads::<RequestHost>(host.to_owned())?;
        reads::<RequestPath>(path.to_owned())?;
        let question = Explain { host: host.to_owned(), path: path.to_owned(), method: None, staged: None };
        let answer = explain(&Catalog::default(), &question, &RegistrationTokens::default(), &Blind, Time(0));
        answer.map(|_| ()).map_err(|error| error.to_string())
    }

    #[test]
    fn text_that_matches_a_pattern_is_accepted() {
        all_taken(&NAME, 4096, reads::<InstanceName>);
        all_taken(&ROUTE_ID, 64, reads::<RouteId>);
        all_taken(&TARGET, 64, reads::<Target>);
        all_taken(&PATH, 2048, reads::<PathPrefix>);
        all_taken(&HEALTH_PATH, 2048, reads::<HealthPath>);
        all_taken(&BACKEND, 250, reads::<BackendUrl>);
        all_taken(&PAGE, 250, reads::<PageUrl>);
        all_taken(&PLACES, 250, reads::<Places>);
        all_taken(&HEADER_NAME, 128, reads::<HeaderKey>);
        all_taken(&HEADER_VALUE, 8192, reads::<HeaderText>);
        all_taken(&DURATION, 64, reads::<Duration>);
        all_taken(&INTERVAL, 64, reads::<Interval>);
        all_taken(&LEASE, 64, reads::<Lease>);
        all_taken(&TOPICS, 512, reads::<TopicList>);
        all_taken(&INSTANCE_REF, 1024, reads::<InstanceRef>);
        all_taken(&METHOD, 32, reads::<Method>);
        all_taken(&REQUEST_PATH, 8192, |text| explained("shop.example", &text));
        all_taken(&REQUEST_HOST, 253, |text| explained(&text, "/"));
        let one = |text| serde_json::from_value::<Domains>(serde_json::json!([text]));
        all_taken(&DOMAIN, 253, |text| one(text).map(|_| ()).map_err(|error| error.to_string()));
    }
}
