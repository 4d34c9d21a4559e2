//! Headers and options of a whole configuration: texts by name.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, Schema};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use crate::domain::{HeaderKey, OptionKey, OptionSpec, Options};
use crate::json::patterns;
use crate::json::values::{HeaderText, OptionText, component, refusal, text};

/// Response headers by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HeaderTexts(pub BTreeMap<HeaderKey, Arc<str>>);

/// Options by key. All have an effect, because an unknown key is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OptionTexts(pub BTreeMap<OptionKey, Arc<str>>);

impl HeaderTexts {
    /// Returns true if there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl OptionTexts {
    /// Returns true if there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'de> Deserialize<'de> for HeaderTexts {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(HeadersVisitor).map(Self)
    }
}

struct HeadersVisitor;

impl<'de> Visitor<'de> for HeadersVisitor {
    type Value = BTreeMap<HeaderKey, Arc<str>>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("response headers, such as { \"X-Frame-Options\": \"DENY\" }")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut headers = BTreeMap::new();
        while let Some(name) = map.next_key::<HeaderKey>()? {
            let HeaderText(value) = map.next_value()?;
            if headers.insert(name.clone(), value).is_some() {
                return Err(A::Error::custom(format!("{name} stands twice")));
            }
        }
        Ok(headers)
    }
}

impl<'de> Deserialize<'de> for OptionTexts {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(OptionsVisitor).map(Self)
    }
}

struct OptionsVisitor;

impl<'de> Visitor<'de> for OptionsVisitor {
    type Value = BTreeMap<OptionKey, Arc<str>>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("options, such as { \"timeout\": \"10s\" }")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut options = BTreeMap::new();
        while let Some(KnownOption(key)) = map.next_key()? {
            let value = map.next_value_seed(OptionSeed(key.as_str()))?;
            if options.insert(key.clone(), value).is_some() {
                return Err(A::Error::custom(format!("{key} stands twice")));
            }
        }
        Ok(options)
    }
}

/// The key of an option that has an effect.
struct KnownOption(OptionKey);

impl<'de> Deserialize<'de> for KnownOption {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let key = String::deserialize(from)?;
        if !Options::knows(&key) {
            return Err(D::Error::custom(Options::unknown(&key)));
        }
        OptionKey::parse(&key).map(Self).map_err(|error| refusal(&error))
    }
}

/// Reads the value of an option. Numbers and truth values are taken as the text that they are written with.
struct OptionSeed<'a>(&'a str);

impl OptionSeed<'_> {
    fn read<E: serde::de::Error>(&self, text: &str) -> Result<Arc<str>, E> {
        Options::default().set(self.0, text).map(|_| text.into()).map_err(|error| refusal(&error))
    }
}

impl<'de> DeserializeSeed<'de> for OptionSeed<'_> {
    type Value = Arc<str>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Arc<str>, D::Error> {
        from.deserialize_any(self)
    }
}

impl Visitor<'_> for OptionSeed<'_> {
    type Value = Arc<str>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = Options::TABLE.iter().find(|row| row.key == self.0).map_or("text", |row| row.values);
        out.write_str(values)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Arc<str>, E> {
        self.read(text)
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Arc<str>, E> {
        self.read(&number.to_string())
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Arc<str>, E> {
        self.read(&number.to_string())
    }

    fn visit_bool<E: serde::de::Error>(self, truth: bool) -> Result<Arc<str>, E> {
        self.read(if truth { "true" } else { "false" })
    }
}

impl PartialSchema for HeaderTexts {
    fn schema() -> RefOr<Schema> {
        let name = text(Some(&patterns::HEADER_NAME), (1, 128), "The name of a response header.", "X-Frame-Options");
        ObjectBuilder::new()
            .additional_properties(Some(Ref::from_schema_name(HeaderText::name())))
            .property_names(Some(name.build()))
            .description(Some("Response headers by name. Each replaces the backend's value."))
            .examples([serde_json::json!({ "X-Frame-Options": "DENY" })])
            .into()
    }
}

component!(HeaderTexts, "HeaderTexts");

impl PartialSchema for OptionTexts {
    fn schema() -> RefOr<Schema> {
        let row = |row: &OptionSpec| {
            format!("\n* `{}`: {}; {} by default. {}", row.key, row.values, row.default, row.meaning)
        };
        let rows: String = Options::TABLE.iter().map(row).collect();
        let known = ObjectBuilder::new().additional_properties(Some(AdditionalProperties::FreeForm(false)));
        let value = || Ref::from_schema_name(OptionText::name());
        Options::KEYS
            .iter()
            .fold(known, |options, key| options.property(*key, value()))
            .description(Some(format!("Options by key:\n{rows}")))
            .examples([serde_json::json!({ "timeout": "10s" })])
            .into()
    }
}

component!(OptionTexts, "OptionTexts");
