//! Converts metadata between JSON, which the registry stores, and `Struct`, whose numbers are all floating point.
//!
//! Invariants: whole numbers up to 2^53 keep their value; every client can read the result, however deep the JSON is
//! nested.

use std::collections::BTreeMap;

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use serde_json::{Map, Number, Value as Json};

use crate::domain::{Error, Metadata};

/// The magnitude up to which every whole number has its own floating point value.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
/// The depth below which values become text. Readers of protobuf accept 100 nested messages, and each level needs
/// three.
const DEPTH_MAX: usize = 24;

/// Reads the metadata of a client. The decoder limits its depth.
pub(in crate::grpc) fn metadata(given: Option<Struct>) -> Result<Metadata, Error> {
    let Some(given) = given else { return Ok(Metadata::default()) };
    Metadata::parse(&Json::Object(object(given)?).to_string())
}

fn object(given: Struct) -> Result<Map<String, Json>, Error> {
    given.fields.into_iter().map(|(key, value)| Ok((key, json(value)?))).collect()
}

fn json(value: Value) -> Result<Json, Error> {
    Ok(match value.kind {
        None | Some(Kind::NullValue(_)) => Json::Null,
        Some(Kind::BoolValue(truth)) => Json::Bool(truth),
        Some(Kind::StringValue(text)) => Json::String(text),
        Some(Kind::NumberValue(number)) => Json::Number(self::number(number)?),
        Some(Kind::StructValue(inner)) => Json::Object(object(inner)?),
        Some(Kind::ListValue(list)) => Json::Array(list.values.into_iter().map(json).collect::<Result<_, _>>()?),
    })
}

fn number(number: f64) -> Result<Number, Error> {
    if number.fract() == 0.0 && number.abs() <= WHOLE_MAX {
        #[expect(clippy::cast_possible_truncation, reason = "it is whole and of at most 54 bits")]
        return Ok(Number::from(number as i64));
    }
    Number::from_f64(number).ok_or_else(|| Error::invalid("metadata", "its numbers must be finite"))
}

/// Returns stored metadata as a message.
pub(in crate::grpc) fn structure(json: &str) -> Struct {
    // Stored metadata is always an object.
    let object: Map<String, Json> = serde_json::from_str(json).unwrap_or_default();
    fields(object, 1)
}

fn fields(object: Map<String, Json>, depth: usize) -> Struct {
    let fields: BTreeMap<String, Value> = object.into_iter().map(|(key, json)| (key, value(json, depth))).collect();
    Struct { fields }
}

fn value(json: Json, depth: usize) -> Value {
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(truth) => Kind::BoolValue(truth),
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Json::String(text) => Kind::StringValue(text),
        deep @ (Json::Array(_) | Json::Object(_)) if depth >= DEPTH_MAX => Kind::StringValue(deep.to_string()),
        Json::Array(list) => {
            Kind::ListValue(ListValue { values: list.into_iter().map(|json| value(json, depth + 1)).collect() })
        }
        Json::Object(object) => Kind::StructValue(fields(object, depth + 1)),
    };
    Value { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    fn kept(json: &str) -> String {
        metadata(Some(structure(json))).unwrap().as_str().to_owned()
    }

    fn one(kind: Option<Kind>) -> Option<Struct> {
        Some(Struct { fields: BTreeMap::from([("n".to_owned(), Value { kind })]) })
    }

    #[test]
    fn metadata_comes_back_as_it_went() {
        let json = r#"{"a":[1,-2,0.5,true,null,"x"],"b":{"c":{}},"n":9007199254740992,"version":"1.4"}"#;
        assert_eq!(kept(json), json);
        assert_eq!(metadata(None).unwrap(), Metadata::default());
        assert_eq!(metadata(Some(Struct::default())).unwrap(), Metadata::default());
    }

    /// Returns any value that a message can contain, up to the depth that readers accept.
    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(None),
            any::<i32>().prop_map(|null| Some(Kind::NullValue(null))),
            any::<f64>().prop_map(|number| Some(Kind::NumberValue(number))),
            any::<bool>().prop_map(|truth| Some(Kind::BoolValue(truth))),
            any::<String>().prop_map(|text| Some(Kind::StringValue(text))),
        ];
        leaf.prop_map(|kind| Value { kind }).prop_recursive(8, 64, 8, |inner| {
            let list =
                proptest::collection::vec(inner.clone(), 0..8).prop_map(|values| Kind::ListValue(ListValue { values }));
            let object = proptest::collection::btree_map(any::<String>(), inner, 0..8)
                .prop_map(|fields| Kind::StructValue(Struct { fields }));
            prop_oneof![list, object].prop_map(|kind| Value { kind: Some(kind) })
        })
    }

    proptest! {
        #[test]
        fn every_accepted_value_comes_back_unchanged(value in any_value()) {
            let given = Struct { fields: BTreeMap::from([("x".to_owned(), value)]) };
            if let Ok(first) = metadata(Some(given)) {
                let again = metadata(Some(structure(first.as_str()))).unwrap();
                prop_assert_eq!(again.as_str(), first.as_str());
            }
        }
    }

    #[test]
    fn whole_numbers_stay_whole() {
        let shown = |number: f64| metadata(one(Some(Kind::NumberValue(number)))).unwrap().as_str().to_owned();
        assert_eq!(shown(8080.0), r#"{"n":8080}"#);
        assert_eq!(shown(-0.0), r#"{"n":0}"#);
        assert_eq!(shown(1e300), r#"{"n":1e+300}"#);
        assert_eq!(shown(0.1), r#"{"n":0.1}"#);
    }

    #[test]
    fn a_number_that_is_none_is_refused_and_a_value_that_is_none_is_null() {
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(metadata(one(Some(Kind::NumberValue(number)))).unwrap_err().field(), Some("metadata"));
        }
        assert_eq!(metadata(one(None)).unwrap().as_str(), r#"{"n":null}"#);
    }

    #[test]
    fn too_much_is_refused() {
        let long = "x".repeat(Metadata::BYTES_MAX);
        assert!(metadata(one(Some(Kind::StringValue(long)))).is_err());
    }

    #[test]
    fn json_of_every_accepted_depth_can_be_read() {
        for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
            let deep = format!(r#"{{"a":{}0{}}}"#, open.repeat(120), close.repeat(120));
            let bytes = structure(Metadata::parse(&deep).unwrap().as_str()).encode_to_vec();
            assert!(Struct::decode(&bytes[..]).is_ok(), "{open}");
        }
    }
}
