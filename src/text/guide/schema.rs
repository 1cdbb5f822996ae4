//! JSON schemas before they are compiled. The compiler passes over keywords that it does not know, and would leave an
//! answer free where its caller thinks it is not: here every keyword is one that is enforced, or says nothing about what
//! is valid. The error names the place of any other.

use serde_json::{Deserializer, Map, Value, json};

/// Enforced, and without schemas in them.
const PLAIN: [&str; 16] = [
    "type",
    "const",
    "enum",
    "required",
    "minLength",
    "maxLength",
    "pattern",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
];
/// Whose value is a schema, or a list of schemas.
const NESTED: [&str; 7] =
    ["items", "additionalItems", "prefixItems", "additionalProperties", "anyOf", "oneOf", "allOf"];
/// Whose value is an object of schemas, as that of `patternProperties` is.
const NAMED: [&str; 3] = ["properties", "$defs", "definitions"];
/// That say nothing about what is valid.
const ANNOTATIONS: [&str; 12] = [
    "$schema",
    "$id",
    "id",
    "$anchor",
    "$comment",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
];
const FORMATS: [&str; 10] =
    ["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"];
/// Where the compiler is told how to write JSON.
const OPTIONS: &str = "x-guidance";
/// Between tokens of JSON: compact, spaced or indented, as a model likes, but not for ever.
const WHITESPACE: &str = r" |\n[ \t]{0,32}";
/// Numbers without a bound get this one: JavaScript reads any whole number up to there exactly, while 1e999 is infinite.
const MAX_NUMBER: i64 = (1 << 53) - 1;

/// Properties of an object, and schemas of a list: compiling takes a time that grows with the square of this.
const MAX_ENTRIES: usize = 512;
/// Patterns of the names of properties: each pair is checked for names that both match, which takes its time.
const MAX_PATTERNS: usize = 16;
/// A number that divides by this takes as many states. All that a schema names may come to hold for one number.
const MAX_MULTIPLE: u64 = 1_000;

/// The schema as it is compiled, or what is wrong with it, to follow the name of the param or to begin with another one.
pub(in crate::text) fn enforced(schema: &Value, path: &str) -> Result<Value, String> {
    let mut enforced = visit(schema, path)?;
    check_multiples(schema)?;
    if let Value::Object(fields) = &mut enforced {
        fields.insert(OPTIONS.to_owned(), json!({ "whitespace_pattern": WHITESPACE }));
    }
    Ok(enforced)
}

/// Checks the schemas inside a Lark grammar, after `%json`.
pub(super) fn check_embedded(grammar: &str) -> Result<(), String> {
    for (at, mark) in grammar.match_indices("%json") {
        let mut values = Deserializer::from_str(&grammar[at + mark.len()..]).into_iter::<Value>();
        // What is no JSON is no schema: the compiler says so, if it is not part of a text.
        let Some(Ok(Value::Object(mut schema))) = values.next() else { continue };
        schema.shift_remove(OPTIONS);
        let schema = Value::Object(schema);
        visit(&schema, "structured.grammar.%json")?;
        check_multiples(&schema)?;
    }
    Ok(())
}

/// Whether a regular expression is cut off after a backslash, which the compiler would pass over.
pub(super) fn ends_in_escape(regex: &str) -> bool {
    let num_backslashes = regex.chars().rev().take_while(|c| *c == '\\').count();
    num_backslashes % 2 == 1
}

fn visit(schema: &Value, path: &str) -> Result<Value, String> {
    let fields = match schema {
        Value::Bool(_) => return Ok(schema.clone()),
        Value::Object(fields) => fields,
        _ => return Err(format!("`{path}` must be a schema: an object, true or false")),
    };
    let visited = fields.iter().map(|(key, value)| Ok((key.clone(), visit_keyword(key, value, path)?)));
    let mut visited: Map<String, Value> = visited.collect::<Result<_, String>>()?;
    bound_numbers(&mut visited);
    Ok(Value::Object(visited))
}

fn visit_keyword(key: &str, value: &Value, path: &str) -> Result<Value, String> {
    let path = format!("{path}.{key:.60}");
    match key {
        "$ref" if value.as_str().is_some_and(|target| target.starts_with('#')) => Ok(value.clone()),
        "$ref" => Err(format!("`{path}` must refer to a part of the same schema: \"#\" or \"#/…\"")),
        "format" if value.as_str().is_some_and(|format| FORMATS.contains(&format)) => Ok(value.clone()),
        "format" => Err(format!("`{path}` is {value:.60}, which cannot be enforced; known are {}", FORMATS.join(", "))),
        "pattern" if value.as_str().is_some_and(ends_in_escape) => {
            Err(format!("`{path}` ends with a backslash that escapes nothing"))
        }
        key if PLAIN.contains(&key) || ANNOTATIONS.contains(&key) => Ok(value.clone()),
        key if NESTED.contains(&key) => visit_nested(value, &path),
        "patternProperties" => visit_named(value, MAX_PATTERNS, &path),
        key if NAMED.contains(&key) => visit_named(value, MAX_ENTRIES, &path),
        _ => Err(format!("`{path}` is a keyword that cannot be enforced")),
    }
}

fn visit_nested(value: &Value, path: &str) -> Result<Value, String> {
    let Value::Array(items) = value else { return visit(value, path) };
    check_entries(items.len(), MAX_ENTRIES, path)?;
    let items = items.iter().enumerate().map(|(index, item)| visit(item, &format!("{path}[{index}]")));
    items.collect::<Result<_, _>>().map(Value::Array)
}

fn visit_named(value: &Value, most: usize, path: &str) -> Result<Value, String> {
    let Value::Object(fields) = value else { return Err(format!("`{path}` must be an object of schemas")) };
    check_entries(fields.len(), most, path)?;
    let fields = fields.iter().map(|(name, schema)| Ok((name.clone(), visit(schema, &format!("{path}.{name:.60}"))?)));
    fields.collect::<Result<_, String>>().map(Value::Object)
}

fn check_entries(is: usize, most: usize, path: &str) -> Result<(), String> {
    if is <= most { Ok(()) } else { Err(format!("`{path}` has {is} entries; at most {most} are allowed")) }
}

/// Bounds numbers that have none, on either side.
fn bound_numbers(fields: &mut Map<String, Value>) {
    let is_number = |kind: &Value| matches!(kind.as_str(), Some("number" | "integer"));
    let types = fields.get("type");
    if !types.is_some_and(|types| is_number(types) || types.as_array().is_some_and(|types| types.iter().any(is_number)))
    {
        return;
    }
    let bound = |name: &str| fields.get(name).and_then(Value::as_f64);
    let least = bound("minimum").or(bound("exclusiveMinimum"));
    let most = bound("maximum").or(bound("exclusiveMaximum"));
    // One that is beyond the usual bound on its own side leaves no room for it.
    if most.is_none() && least.is_none_or(|least| least < MAX_NUMBER as f64) {
        fields.insert("maximum".to_owned(), json!(MAX_NUMBER));
    }
    if least.is_none() && most.is_none_or(|most| most > -(MAX_NUMBER as f64)) {
        fields.insert("minimum".to_owned(), json!(-MAX_NUMBER));
    }
}

/// Checks what all values of `multipleOf` have in common: a schema can demand several of one number.
fn check_multiples(schema: &Value) -> Result<(), String> {
    let mut values = Vec::new();
    collect_multiples(schema, &mut values);
    // As whole numbers of the smallest decimal place that any of them has.
    let written: Vec<String> = values.iter().map(|value| format!("{}", value.abs())).collect();
    let num_decimals = |text: &String| text.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    let most_decimals = written.iter().map(num_decimals).max().unwrap_or(0);
    let scaled = written.iter().map(|text| {
        let zeros = "0".repeat(most_decimals - num_decimals(text));
        format!("{}{zeros}", text.replace('.', "")).parse().unwrap_or(u64::MAX)
    });
    match scaled.fold(1, least_common_multiple) {
        1..=MAX_MULTIPLE => Ok(()),
        _ => Err(format!(
            "has values of `multipleOf` that take too much together: their least common multiple, in the last decimal place \
             of any, may be {MAX_MULTIPLE}"
        )),
    }
}

fn collect_multiples(schema: &Value, values: &mut Vec<f64>) {
    match schema {
        Value::Array(items) => items.iter().for_each(|item| collect_multiples(item, values)),
        Value::Object(fields) => {
            values.extend(fields.get("multipleOf").and_then(Value::as_f64));
            fields.values().for_each(|value| collect_multiples(value, values));
        }
        _ => {}
    }
}

/// 0 if one of them is.
fn least_common_multiple(a: u64, b: u64) -> u64 {
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    (a / x.max(1)).saturating_mul(b)
}
