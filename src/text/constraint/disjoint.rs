//! Detects schemas that exclude each other. A `oneOf` of such schemas equals an `anyOf`, which the compiler supports.
//! The check may miss disjoint schemas, but it never reports schemas with a common value as disjoint.

use std::collections::BTreeMap;

use serde_json::Value;

use super::references::{References, Subschema, base_of};

/// Depth to which references and nested schemas are followed.
const MAX_DEPTH: usize = 8;
/// Comparisons for one `oneOf`, at most.
const MAX_STEPS: usize = 20_000;

const TYPES: [(&str, u8); 7] = [
    ("null", 1),
    ("boolean", 2),
    ("integer", 4),
    // Every integer is a number.
    ("number", 4 | 8),
    ("string", 16),
    ("array", 32),
    ("object", OBJECT),
];
const OBJECT: u8 = 64;
const ALL: u8 = 127;

/// Whether it is certain that no value is valid against two of these schemas. `false` also if the check reached a limit.
pub(super) fn are_disjoint<'a>(options: &'a [Value], base: &str, references: &References<'a>) -> bool {
    let place = |schema: &'a Value| Subschema { schema, path: String::new(), base: base_of(schema, base) };
    let mut search = Search { references, num_steps: 0 };
    let shapes: Vec<_> = options.iter().map(|option| search.shape(&place(option), 0)).collect();
    let pairs = shapes.iter().enumerate().flat_map(|(at, a)| shapes[at + 1..].iter().map(move |b| (a, b)));
    pairs.into_iter().all(|(a, b)| search.excludes(a, b, 0))
}

/// Known properties of the valid values.
struct Shape<'a> {
    types: u8,
    /// All values, if the schema lists them.
    values: Option<Vec<&'a Value>>,
    /// Schemas of properties that every object has.
    required: BTreeMap<&'a str, Vec<Subschema<'a>>>,
}

struct Search<'r, 'a> {
    references: &'r References<'a>,
    num_steps: usize,
}

impl<'a> Search<'_, 'a> {
    fn shape(&mut self, place: &Subschema<'a>, depth: usize) -> Shape<'a> {
        let mut shape = Shape { types: ALL, values: None, required: BTreeMap::new() };
        self.narrow(&mut shape, place, depth);
        shape
    }

    fn narrow(&mut self, shape: &mut Shape<'a>, place: &Subschema<'a>, depth: usize) {
        self.num_steps += 1;
        if depth > MAX_DEPTH || self.num_steps > MAX_STEPS {
            return;
        }
        if place.schema == &Value::Bool(false) {
            shape.types = 0;
        }
        let Value::Object(fields) = place.schema else { return };
        if let Some(types) = fields.get("type") {
            let nullable = u8::from(fields.get("nullable") == Some(&Value::Bool(true)));
            shape.types &= types_of(types) | nullable;
        }
        let listed = fields.get("const").map(|value| vec![value]);
        let listed = listed.or_else(|| Some(fields.get("enum")?.as_array()?.iter().collect()));
        if let Some(values) = listed {
            shape.types &= values.iter().map(|value| type_of(value)).fold(0, |all, one| all | one);
            shape.values.get_or_insert(values);
        }
        let target = fields.get("$ref").and_then(Value::as_str);
        if let Some(target) = target.and_then(|target| self.references.find(target, &place.base)) {
            self.narrow(shape, &target, depth + 1);
        }
        let inner = |schema: &'a Value| Subschema { schema, path: String::new(), base: base_of(schema, &place.base) };
        for part in fields.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            self.narrow(shape, &inner(part), depth + 1);
        }
        for key in ["anyOf", "oneOf"] {
            if let Some(options) = fields.get(key).and_then(Value::as_array) {
                let types = options.iter().map(|option| self.shape(&inner(option), depth + 1).types);
                shape.types &= types.fold(0, |all, one| all | one);
            }
        }
        let names = fields.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        for name in names {
            let property = fields.get("properties").and_then(|properties| properties.get(name));
            shape.required.entry(name).or_default().extend(property.map(inner));
        }
    }

    fn excludes(&mut self, a: &Shape<'a>, b: &Shape<'a>, depth: usize) -> bool {
        self.num_steps += 1;
        if depth > MAX_DEPTH || self.num_steps > MAX_STEPS {
            return false;
        }
        let common = a.types & b.types;
        if common == 0 {
            return true;
        }
        if let (Some(a), Some(b)) = (&a.values, &b.values) {
            return a.iter().all(|value| b.iter().all(|other| !is_same(value, other)));
        }
        common == OBJECT
            && a.required.iter().any(|(name, of_a)| {
                let of_b = b.required.get(name).map_or(&[][..], Vec::as_slice);
                of_a.iter().any(|of_a| {
                    of_b.iter().any(|of_b| {
                        let (of_a, of_b) = (self.shape(of_a, depth + 1), self.shape(of_b, depth + 1));
                        self.excludes(&of_a, &of_b, depth + 1)
                    })
                })
            })
    }
}

/// Whether two values may be equal. Numbers are compared as f64: 1 equals 1.0 in schemas, but not in `serde_json`. Arrays and
/// objects are not looked into, so two arrays or two objects may be equal.
fn is_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(_) | Value::Object(_), Value::Array(_) | Value::Object(_)) => true,
        (a, b) => a == b,
    }
}

fn types_of(types: &Value) -> u8 {
    let one = |kind: &Value| TYPES.iter().find(|(name, _)| kind == name).map_or(ALL, |(_, bits)| *bits);
    match types {
        Value::Array(types) => types.iter().map(one).fold(0, |all, one| all | one),
        kind => one(kind),
    }
}

fn type_of(value: &Value) -> u8 {
    match value {
        Value::Null => 1,
        Value::Bool(_) => 2,
        Value::Number(_) => 4 | 8,
        Value::String(_) => 16,
        Value::Array(_) => 32,
        Value::Object(_) => OBJECT,
    }
}
