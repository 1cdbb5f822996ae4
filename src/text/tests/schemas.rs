//! Schemas as libraries write them: accepted keywords are enforced, annotations are ignored, and errors name the path
//! of other keywords.

use serde_json::{Map, Value, json};

use super::constraints::{answer, demo, message};
use crate::text::StructuredOutput;

/// The values of some random answers to a schema.
#[track_caller]
fn values(schema: &Value) -> Vec<Value> {
    let model = demo();
    let constraint =
        model.constraint(&StructuredOutput::Schema(schema.clone())).unwrap_or_else(|error| panic!("{schema}: {error}"));
    let answers: Vec<_> = (0..24).filter_map(|seed| answer(&model, &constraint, seed, 200)).collect();
    assert!(answers.len() > 5, "{schema}: {} answers", answers.len());
    let value = |answer: &String| serde_json::from_str(answer).unwrap_or_else(|error| panic!("{answer}: {error}"));
    answers.iter().map(value).collect()
}

/// An object schema with exactly this property.
fn object(name: &str, schema: &Value) -> Value {
    json!({"type": "object", "properties": {name: schema}, "required": [name], "additionalProperties": false})
}

#[track_caller]
fn all(schema: &Value, is_valid: impl Fn(&Value) -> bool) {
    for value in values(schema) {
        assert!(is_valid(&value), "{schema}: {value}");
    }
}

#[track_caller]
fn refused(schema: Value, path: &str) {
    let message = message(&StructuredOutput::Schema(schema));
    assert!(message.starts_with(&format!("`{path}` ")), "{message}");
}

fn entries(value: &Value) -> &Map<String, Value> {
    value.as_object().expect("an object")
}

#[test]
fn property_names_match_the_schema_for_names() {
    let record =
        |names: Value| json!({"type": "object", "propertyNames": names, "additionalProperties": {"type": "boolean"}});
    let booleans = |value: &Value| entries(value).values().all(Value::is_boolean);
    all(&record(json!({"type": "string"})), booleans);
    all(&record(json!({"pattern": "^[a-z]{1,3}$"})), |value| {
        booleans(value)
            && entries(value).keys().all(|name| name.len() <= 3 && name.bytes().all(|c| c.is_ascii_lowercase()))
    });
    all(&record(json!({"minLength": 2, "maxLength": 4})), |value| {
        booleans(value) && entries(value).keys().all(|name| (2..=4).contains(&name.chars().count()))
    });
    let listed =
        |value: &Value| booleans(value) && entries(value).keys().all(|name| ["a", "b c"].contains(&name.as_str()));
    all(&record(json!({"enum": ["a", 1, "b c"]})), listed);
    all(&record(json!({"anyOf": [{"const": "a"}, {"type": "string", "enum": ["b c"]}]})), listed);
    all(&record(json!({"type": "string", "enum": ["a", "B"], "pattern": "^[a-z]$"})), |value| {
        entries(value).keys().all(|name| name == "a")
    });
    all(&record(json!({"type": "integer"})), |value| entries(value).is_empty());
    let mut by_reference = record(json!({"$ref": "#/$defs/Name"}));
    by_reference["$defs"] = json!({"Name": {"enum": ["a", "b c"], "title": "Name"}});
    all(&by_reference, listed);
}

#[test]
fn properties_and_property_names_combine() {
    let with = |additional: Value| {
        json!({
            "type": "object", "properties": {"id": {"type": "integer", "minimum": 1, "maximum": 3}, "Not": {"type": "null"}},
            "required": ["id"], "propertyNames": {"pattern": "^[a-z]+$"}, "additionalProperties": additional,
        })
    };
    all(&with(json!(false)), |value| {
        value["id"].as_f64().is_some_and(|id| (1.0..=3.0).contains(&id)) && entries(value).len() == 1
    });
    // A free value may be a number that `serde_json` cannot hold.
    demo().constraint(&StructuredOutput::Schema(with(json!(true)))).unwrap();
    refused(with(json!({"type": "null"})), "structured.schema.propertyNames");
    let listed = json!({
        "type": "object", "required": ["a", "b"], "propertyNames": {"enum": ["a", "b"]},
        "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 9}, "c": {}},
        "patternProperties": {"^[ab]$": {"maximum": 5}}, "additionalProperties": {"const": "never"},
    });
    all(&listed, |value| {
        let (a, b) = (&value["a"], &value["b"]);
        let is_low = a.as_f64().is_some_and(|a| a <= 5.0) && b.as_f64().is_none_or(|b| b <= 5.0);
        entries(value).len() == 2 && is_low
    });
}

#[test]
fn pattern_applies_to_the_properties_that_it_matches() {
    let score = json!({"type": "integer", "minimum": 0, "maximum": 9});
    let closed = |properties: Value, patterns: Value| {
        let required: Vec<_> = properties.as_object().unwrap().keys().cloned().collect();
        json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false, "patternProperties": patterns})
    };
    let low = |value: &Value| entries(value).values().all(|value| value.as_u64().is_some_and(|value| value <= 5));
    all(&closed(json!({"score": score}), json!({"^score$": {"maximum": 5}})), low);
    all(
        &closed(json!({"score": score, "best": {"const": 1}}), json!({"^score$": {"type": "integer", "maximum": 5}})),
        low,
    );
    all(
        &closed(
            json!({"score": score}),
            json!({"^s": {"maximum": 7}, "^(score|Xx)$": {"maximum": 5, "minimum": 4}, "^(score|Xx)": false})
                .as_object()
                .map(|patterns| json!({"^score$": patterns["^s"], "^sc{1}ore$": patterns["^(score|Xx)$"]}))
                .unwrap(),
        ),
        |value| low(value) && value["score"].as_u64().is_some_and(|score| score >= 4),
    );
    // Patterns that match no name, and patterns that match every name.
    all(&closed(json!({"score": score}), json!({"^a[^\\s\\S]": {"type": "null"}})), |value| entries(value).len() == 1);
    let mut open = closed(json!({"score": score}), json!({"": {"maximum": 5}}));
    open["additionalProperties"] = json!({"type": "null"});
    all(&open, |value| value["score"].as_u64().is_some_and(|score| score <= 5));
    let mut forbidden = closed(json!({}), json!({"": false}));
    forbidden["additionalProperties"] = json!(true);
    all(&forbidden, |value| entries(value).is_empty());
}

#[test]
fn patterns_that_are_expensive_to_compare_are_enforced() {
    let pattern = "^(a|b)*a(a|b){14}$";
    let schema =
        json!({"type": "object", "patternProperties": {pattern: {"type": "null"}}, "additionalProperties": false});
    demo().constraint(&StructuredOutput::Schema(schema)).unwrap();
}

#[test]
fn formats_of_numbers_limit_their_width() {
    for (format, least, most) in [
        ("int8", -128, 127),
        ("uint8", 0, 255),
        ("int32", -2_147_483_648, 2_147_483_647),
        ("uint", 0, (1 << 53) - 1),
        ("int64", 1 - (1_i64 << 53), (1_i64 << 53) - 1),
    ] {
        for kind in [json!("integer"), json!(["integer", "null"]), json!("number")] {
            all(&object("n", &json!({"type": kind, "format": format})), |value| {
                value["n"].is_null()
                    || value["n"]
                        .as_f64()
                        .is_some_and(|n| n.fract() == 0.0 && (least as f64..=most as f64).contains(&n))
            });
        }
    }
    for format in ["float", "double", "unix-time", "date"] {
        all(&object("n", &json!({"type": "number", "format": format, "minimum": 0, "maximum": 9})), |value| {
            value["n"].as_f64().is_some_and(|n| (0.0..=9.0).contains(&n))
        });
    }
    all(&object("n", &json!({"type": "integer", "format": "uint8", "minimum": 250, "maximum": 300})), |value| {
        value["n"].as_u64() >= Some(250) && value["n"].as_u64() <= Some(255)
    });
}

#[test]
fn unknown_formats_need_a_pattern() {
    all(&object("id", &json!({"type": "string", "format": "cuid", "pattern": "^c[0-9a-z]{6}$"})), |value| {
        value["id"].as_str().is_some_and(|id| id.len() == 7 && id.starts_with('c'))
    });
    all(&object("id", &json!({"type": "string", "format": "mine", "enum": ["a", "b"]})), |value| {
        value["id"] == "a" || value["id"] == "b"
    });
    all(&object("id", &json!({"type": "string", "format": "password", "maxLength": 3})), |value| {
        value["id"].is_string()
    });
    refused(json!({"type": "string", "format": "cuid"}), "structured.schema.format");
    refused(json!({"format": "int32"}), "structured.schema.format");
    refused(json!({"type": ["string", "integer"], "format": "int64"}), "structured.schema.format");
}

/// Whether this text is a possible answer.
fn may_be(schema: &Value, text: &str) -> bool {
    let model = demo();
    let mut matcher = model.constraint(&StructuredOutput::Schema(schema.clone())).unwrap().matcher();
    let tokens = model.encode(text).unwrap();
    tokens.into_iter().all(|token| matcher.accept(token).is_ok())
        && matcher.allowed().is_ok_and(|allowed| allowed.may_end)
}

#[test]
fn dates_and_times_are_valid() {
    let text = |format: &str| json!({"type": "string", "format": format});
    for (format, is, is_not) in [
        ("date", "2024-02-29", "2023-02-29"),
        ("date", "2000-02-29", "1900-02-29"),
        ("date", "2023-11-30", "2023-11-31"),
        ("time", "23:59:59Z", "23:59:60Z"),
        ("date-time", "2024-02-29T23:59:59.5+01:00", "2023-02-29T23:59:59Z"),
        ("date-time", "0004-02-29t00:00:00z", "2024-02-29T23:59:60Z"),
    ] {
        assert!(may_be(&text(format), &json!(is).to_string()), "{format}: {is}");
        assert!(!may_be(&text(format), &json!(is_not).to_string()), "{format}: {is_not}");
    }
    let both = json!({"type": "string", "format": "date", "pattern": "^20"});
    assert!(may_be(&both, "\"2024-02-29\"") && !may_be(&both, "\"1924-02-29\"") && !may_be(&both, "\"2023-02-29\""));
}

#[test]
fn bounds_are_limited_to_safe_integers() {
    let limit = 9_007_199_254_740_991.0_f64;
    for bound in [f64::from(f32::MAX), f64::MAX, 9_223_372_036_854_775_807_i64 as f64, 1e16] {
        for kind in ["number", "integer"] {
            for [least, most] in [["minimum", "maximum"], ["exclusiveMinimum", "exclusiveMaximum"]] {
                all(&object("n", &json!({"type": kind, least: -bound, most: bound})), |value| {
                    value["n"].as_f64().is_some_and(|n| n.abs() <= limit && (kind == "number" || n.fract() == 0.0))
                });
            }
        }
    }
    all(&object("n", &json!({"type": "integer", "minimum": 5, "maximum": 1e30})), |value| {
        value["n"].as_u64() >= Some(5)
    });
    all(
        &object("n", &json!({"type": "integer", "allOf": [{"maximum": 1e30}, {"minimum": 3, "maximum": 4}]})),
        |value| value["n"] == 3 || value["n"] == 4,
    );
}

#[test]
fn numbers_that_the_compiler_would_change_are_refused() {
    for (schema, path) in [
        (json!({"type": "number", "minimum": "3"}), "minimum"),
        (json!({"exclusiveMaximum": null}), "exclusiveMaximum"),
        (json!({"type": "integer", "minimum": 1e300, "maximum": 2e300}), "minimum"),
        (json!({"type": ["null", "integer"], "exclusiveMaximum": -9.3e18}), "exclusiveMaximum"),
    ] {
        refused(schema, &format!("structured.schema.{path}"));
    }
    assert!(message(&StructuredOutput::Schema(json!({"multipleOf": 1e-10}))).contains("at most 7 are allowed"));
    all(&json!({"type": "number", "minimum": 0, "maximum": 1e-6, "multipleOf": 5e-7}), |value| {
        [0.0, 5e-7, 1e-6].contains(&value.as_f64().expect("a number"))
    });
    all(&json!({"type": "integer", "minimum": 2, "exclusiveMaximum": true, "maximum": 4}), |value| {
        value == 2 || value == 3
    });
}

#[test]
fn references_follow_rfc_6901_and_uris() {
    let yes = json!({"type": "boolean"});
    let with = |reference: &str, defs: Value| {
        let mut schema = object("a", &json!({"$ref": reference}));
        schema["$defs"] = defs;
        schema
    };
    for (reference, name) in [
        ("#/$defs/a~1b", "a/b"),
        ("#/$defs/a~0b", "a~b"),
        ("#/$defs/a%20b", "a b"),
        ("#/$defs/%C3%A9", "é"),
        ("#/$defs/a~01b", "a~1b"),
        ("#/$defs/a%25b", "a%b"),
    ] {
        all(&with(reference, json!({name: yes})), |value| value["a"].is_boolean());
    }
    all(&with("#/$defs/list/prefixItems/1", json!({"list": {"prefixItems": [{}, yes]}})), |value| {
        value["a"].is_boolean()
    });
    all(&with("#yes", json!({"A": {"$anchor": "yes", "type": "boolean"}})), |value| value["a"].is_boolean());
    for reference in [
        "https://example.org/s.json#/$defs/A",
        "s.json#/$defs/A",
        "/s.json#/$defs/A",
        "//example.org/s.json#/$defs/A",
        "./s.json#/$defs/A",
        "#/$defs/A",
        "other.json",
        "https://example.org/other.json",
        "other.json#it",
    ] {
        let mut schema =
            with(reference, json!({"A": yes, "B": {"$id": "other.json", "$anchor": "it", "type": "boolean"}}));
        schema["$id"] = json!("https://example.org/s.json");
        all(&schema, |value| value["a"].is_boolean());
    }
    // TypeBox writes recursive schemas like this.
    let tree = json!({"$id": "T0", "type": "object", "properties": {"nodes": {"type": "array", "items": {"$ref": "T0"}, "maxItems": 1}}, "required": ["nodes"], "additionalProperties": false});
    all(&object("a", &tree), |value| value["a"]["nodes"].is_array());
    let mut linked = tree.clone();
    linked["properties"]["nodes"]["items"] = json!({"$ref": "#"});
    all(&linked, |value| value["nodes"].is_array());
    for reference in ["#/$defs/a/b", "#nowhere", "#/$defs/%zz", "#/$defs/A/9"] {
        assert!(message(&StructuredOutput::Schema(with(reference, json!({"A": yes})))).contains(".a.$ref"));
    }
    refused(with("#/$defs/A/type", json!({"A": yes})), "structured.schema.$defs.A.type");
    refused(with("https://example.org/", json!({})), "structured.schema.properties.a.$ref");
}

#[test]
fn annotations_have_no_effect() {
    let kind = |name: &str| object("kind", &json!({"const": name}));
    let pet = json!({"discriminator": {"propertyName": "kind", "mapping": {"cat": "#/$defs/Cat"}}, "oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]});
    let mut schema = object("pet", &pet);
    schema["$defs"] = json!({"Cat": kind("cat"), "Dog": kind("dog"), "Other": {"contains": {}, "if": 3}});
    all(&schema, |value| ["cat", "dog"].iter().any(|kind| value["pet"]["kind"] == *kind));
    let noted = json!({"type": "boolean", "x-order": 1, "x-a": {"not": {}}, "example": true, "xml": {"name": "b"}, "contentMediaType": "text/plain", "uniqueItems": false, "unevaluatedProperties": true});
    all(&object("a", &noted), |value| value["a"].is_boolean());
    all(&object("a", &json!({"type": "boolean", "nullable": true})), |value| {
        value["a"].is_boolean() || value["a"].is_null()
    });
    refused(json!({"x-guidance": {}}), "structured.schema.x-guidance");
    refused(json!({"unevaluatedProperties": false}), "structured.schema.unevaluatedProperties");
}

#[test]
fn one_of_with_disjoint_schemas_is_enforced() {
    let tagged = |tag: Value| json!({"type": "object", "properties": {"t": tag}, "required": ["t"], "additionalProperties": false});
    let choices = [
        json!([{"type": "string", "maxLength": 2}, {"type": ["integer", "null"], "minimum": 0, "maximum": 9}]),
        json!([{"enum": [1, "a"]}, {"enum": [2, "b"]}, {"const": null}]),
        json!([tagged(json!({"enum": ["a", "b"]})), tagged(json!({"const": "c"})), tagged(json!({"type": "boolean"})), {"type": "null"}]),
        json!([{"allOf": [tagged(json!({"const": 1}))]}, tagged(json!({"const": 2}))]),
        json!([{"$ref": "#/$defs/a"}, {"anyOf": [{"$ref": "#/$defs/b"}, {"type": "null"}]}]),
    ];
    for options in choices {
        values(&json!({"oneOf": options, "$defs": {"a": tagged(json!({"const": "a"})), "b": {"type": "boolean"}}}));
    }
    let unclear = [
        json!([{"type": "string"}, {"minLength": 1}]),
        json!([{"type": "integer"}, {"type": "number"}]),
        json!([{"const": 1}, {"const": 1.0}]),
        json!([{"properties": {"t": {"const": 1}}, "required": ["t"]}, {"properties": {"t": {"const": 2}}, "required": ["t"]}]),
        json!([{"type": "object", "properties": {"t": {"const": 1}}}, {"type": "object", "properties": {"t": {"const": 2}}, "required": ["t"]}]),
        json!([{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}]),
    ];
    for options in unclear {
        let schema = json!({"oneOf": options, "$defs": {"a": {"type": "boolean"}}});
        assert!(message(&StructuredOutput::Schema(schema)).contains("oneOf"));
    }
}

#[test]
fn unenforceable_property_names_are_refused_with_the_path() {
    let named = |names: Value| json!({"type": "object", "propertyNames": names});
    refused(named(json!({"pattern": "a", "minLength": 3})), "structured.schema.propertyNames");
    refused(named(json!({"format": "uuid"})), "structured.schema.propertyNames");
    refused(named(json!({"not": {}})), "structured.schema.propertyNames");
    refused(named(json!({"$ref": "#/none"})), "structured.schema.propertyNames");
    refused(named(json!({"pattern": "(?=a)"})), "structured.schema.propertyNames");
    refused(
        json!({"propertyNames": {"pattern": "a"}, "patternProperties": {"b": {}}}),
        "structured.schema.propertyNames",
    );
    refused(json!({"type": "object", "minProperties": 2}), "structured.schema.minProperties");
}
