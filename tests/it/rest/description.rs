//! The description that is checked in, as a judge of answers.
//!
//! It knows the words of JSON Schema that the description uses, and no others.

use std::sync::LazyLock;

use serde_json::{Map, Value};

static API: LazyLock<Value> = LazyLock::new(|| {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi/openapi.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
});

/// The names of all operations, in their order.
pub fn operations() -> Vec<String> {
    let paths = API["paths"].as_object().unwrap().values();
    let operations = paths.flat_map(|item| item.as_object().unwrap().values());
    operations.map(|operation| operation["operationId"].as_str().unwrap().to_owned()).collect()
}

/// The name of the operation that a request is for; none if there is none.
pub fn operation(method: &str, target: &str) -> Option<String> {
    let path = target.split('?').next().unwrap();
    let fits = |template: &str| {
        let (names, parts): (Vec<&str>, Vec<&str>) = (template.split('/').collect(), path.split('/').collect());
        let same = |(name, part): (&&str, &&str)| name == part || name.starts_with('{') && !part.is_empty();
        names.len() == parts.len() && names.iter().zip(&parts).all(same)
    };
    // Literal paths go before paths with parameters.
    let mut known: Vec<(&String, &Value)> = API["paths"].as_object().unwrap().iter().collect();
    known.sort_by_key(|(template, _)| template.matches('{').count());
    let item = known.into_iter().find(|(template, _)| fits(template))?.1;
    item[method.to_ascii_lowercase()]["operationId"].as_str().map(str::to_owned)
}

/// Holds an answer against what is said of its operation.
pub fn judge(operation: &str, status: u16, media_type: Option<&str>, body: &Value, headers: &dyn Fn(&str) -> bool) {
    let place = format!("{operation} {status}");
    let paths = API["paths"].as_object().unwrap().values();
    let mut operations = paths.flat_map(|item| item.as_object().unwrap().values());
    let known = operations.find(|known| known["operationId"] == operation).unwrap();
    let response = resolve(&known["responses"][status.to_string()]);
    assert!(!response.is_null(), "{place} is not described");
    for header in response["headers"].as_object().into_iter().flatten() {
        assert!(headers(header.0), "{place}: {} is missing", header.0);
    }
    match response["content"].as_object() {
        None => assert_eq!(media_type, None, "{place} has a body"),
        Some(content) => {
            let media_type = media_type.unwrap_or_else(|| panic!("{place} has no body"));
            let described = content.get(media_type).unwrap_or_else(|| panic!("{place}: {media_type} is not described"));
            if media_type != "text/event-stream" {
                check(&place, &described["schema"], body);
            }
        }
    }
}

fn resolve(value: &'static Value) -> &'static Value {
    match value["$ref"].as_str() {
        Some(name) => API.pointer(name.trim_start_matches('#')).unwrap(),
        None => value,
    }
}

fn check(place: &str, schema: &'static Value, value: &Value) {
    if let Err(fault) = valid(schema, value) {
        panic!("{place}: {fault}\n{value:#}");
    }
}

fn valid(schema: &'static Value, value: &Value) -> Result<(), String> {
    for (word, wanted) in schema.as_object().unwrap() {
        match word.as_str() {
            "$ref" => valid(resolve(schema), value)?,
            "type" => {
                let kinds = wanted.as_array().cloned().unwrap_or_else(|| vec![wanted.clone()]);
                let fits = kinds.iter().any(|kind| is_of(kind.as_str().unwrap(), value));
                so(fits, || format!("{value} is not of type {wanted}"))?;
            }
            "enum" => so(wanted.as_array().unwrap().contains(value), || format!("{value} is not one of {wanted}"))?,
            "required" => {
                let missing =
                    wanted.as_array().unwrap().iter().find(|name| value.get(name.as_str().unwrap()).is_none());
                so(missing.is_none(), || format!("{missing:?} is missing"))?;
            }
            "properties" => members(wanted.as_object().unwrap(), value)?,
            "items" => value.as_array().into_iter().flatten().try_for_each(|item| valid(wanted, item))?,
            "oneOf" => {
                let fits = wanted.as_array().unwrap().iter().filter(|choice| valid(choice, value).is_ok()).count();
                so(fits == 1, || format!("{fits} of {wanted} fit {value}"))?;
            }
            "allOf" => wanted.as_array().unwrap().iter().try_for_each(|part| valid(part, value))?,
            "minimum" => so(number(value) >= number(wanted), || format!("{value} is below {wanted}"))?,
            "maximum" => so(number(value) <= number(wanted), || format!("{value} is above {wanted}"))?,
            "minLength" => so(length(value) >= number(wanted), || format!("{value} is too short"))?,
            "maxLength" => so(length(value) <= number(wanted), || format!("{value} is too long"))?,
            "minItems"
            | "maxItems"
            | "uniqueItems"
            | "additionalProperties"
            | "propertyNames"
            | "pattern"
            | "format"
            | "description"
            | "example"
            | "examples"
            | "default" => {}
            unknown => panic!("`{unknown}` is not a word this judge knows"),
        }
    }
    Ok(())
}

fn so(fits: bool, fault: impl FnOnce() -> String) -> Result<(), String> {
    if fits { Ok(()) } else { Err(fault()) }
}

fn members(schemas: &'static Map<String, Value>, value: &Value) -> Result<(), String> {
    for (name, schema) in schemas {
        if let Some(member) = value.get(name) {
            valid(schema, member).map_err(|fault| format!("{name}: {fault}"))?;
        }
    }
    Ok(())
}

fn is_of(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("`{other}` is not a type"),
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(0.0)
}

fn length(value: &Value) -> f64 {
    f64::from(u32::try_from(value.as_str().map_or(0, |text| text.chars().count())).unwrap())
}
