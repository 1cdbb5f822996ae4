//! Rewrites JSON schemas for the compiler. The compiler ignores keywords that it does not know, so an answer would be
//! freer than its caller expects. Here every keyword must be enforceable or an annotation; an error names the path of
//! any other. Keywords that the compiler can enforce only in another form are rewritten: references (`references`),
//! names of properties (`names`), formats (`formats`), numbers (`numbers`) and `oneOf` (`disjoint`).

use std::collections::{HashMap, VecDeque};

use serde_json::{Map, Value, json};

use super::annotations::{OPTIONS, is_annotation};
use super::references::{References, Subschema, base_of};
use super::{disjoint, formats, names, numbers};

/// Enforced keywords without nested schemas.
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
/// Keywords whose value is a schema or a list of schemas.
const NESTED: [&str; 7] =
    ["items", "additionalItems", "prefixItems", "additionalProperties", "anyOf", "oneOf", "allOf"];
/// The compiler applies each of these by itself. It combines the other keywords that stand between two of them.
const APPLICATORS: [&str; 6] = ["const", "enum", "$ref", "allOf", "anyOf", "oneOf"];
/// White space between tokens of JSON. Allows compact, spaced and indented JSON, but not endless space.
const WHITESPACE: &str = r" |\n[ \t]{0,32}";

/// Properties of an object, and schemas of a list. Compile time grows with the square of this.
const MAX_ENTRIES: usize = 512;
/// Patterns for names of properties. Each pair of patterns is compared.
const MAX_PATTERNS: usize = 16;
/// Levels of a schema and of all parts that it refers to, summed. The compiler recurses from one part to the next; a
/// level takes about 20 KiB of stack in a debug build.
const MAX_LEVELS: usize = 4_096;

/// The rewritten schema. An error message follows the name of the param, or begins with a name in backticks.
pub(in crate::text) fn enforced(schema: &Value, path: &str) -> Result<Value, String> {
    let mut enforced = visited(schema, path)?;
    if let Value::Object(fields) = &mut enforced {
        fields.insert(OPTIONS.to_owned(), json!({ "whitespace_pattern": WHITESPACE }));
    }
    Ok(enforced)
}

/// Like [`enforced`], for a schema inside a grammar, which may contain the compiler's own options.
pub(super) fn embedded(mut schema: Map<String, Value>, path: &str) -> Result<Value, String> {
    let options = schema.shift_remove(OPTIONS);
    let mut visited = visited(&Value::Object(schema), path)?;
    if let (Value::Object(fields), Some(options)) = (&mut visited, options) {
        fields.insert(OPTIONS.to_owned(), options);
    }
    Ok(visited)
}

/// Whether a regular expression ends after a backslash. The compiler would ignore that backslash.
pub(super) fn ends_in_escape(regex: &str) -> bool {
    let num_backslashes = regex.chars().rev().take_while(|c| *c == '\\').count();
    num_backslashes % 2 == 1
}

fn visited(schema: &Value, path: &str) -> Result<Value, String> {
    let mut visitor = Visitor {
        references: References::new(schema, path),
        names: HashMap::new(),
        waiting: VecDeque::new(),
        levels: 0,
        deepest: 0,
    };
    let mut visited = {
        let root = visitor.references.root();
        visitor.part(&root)?
    };
    let mut parts = Map::new();
    while let Some((name, place)) = visitor.waiting.pop_front() {
        parts.insert(name, visitor.part(&place)?);
    }
    if let (Value::Object(fields), false) = (&mut visited, parts.is_empty()) {
        fields.insert("$defs".to_owned(), Value::Object(parts));
    }
    numbers::check_multiples(&visited)?;
    Ok(visited)
}

/// Rewrites a schema. Each part with a reference to it becomes a definition with a plain name; others are left out.
struct Visitor<'a> {
    references: References<'a>,
    /// Names of definitions, by the address of their schemas.
    names: HashMap<*const Value, String>,
    waiting: VecDeque<(String, Subschema<'a>)>,
    /// Levels of all finished parts.
    levels: usize,
    /// Levels of the current part.
    deepest: usize,
}

impl<'a> Visitor<'a> {
    fn part(&mut self, place: &Subschema<'a>) -> Result<Value, String> {
        self.deepest = 0;
        let visited = self.schema(place, 0)?;
        self.levels += self.deepest;
        if self.levels > MAX_LEVELS {
            return Err(format!(
                "has {} levels in all its parts together; at most {MAX_LEVELS} are allowed",
                self.levels
            ));
        }
        Ok(visited)
    }

    fn schema(&mut self, place: &Subschema<'a>, depth: usize) -> Result<Value, String> {
        self.deepest = self.deepest.max(depth + 1);
        let fields = match place.schema {
            Value::Bool(_) => return Ok(place.schema.clone()),
            Value::Object(fields) => fields,
            _ => return Err(format!("`{}` must be a schema: an object, true or false", place.path)),
        };
        let mut visited = Map::new();
        for (key, value) in fields {
            let at = Subschema { schema: value, path: format!("{}.{key:.60}", place.path), base: place.base.clone() };
            if let Some(value) = self.keyword(key, &at, depth)? {
                visited.insert(key.clone(), value);
            }
        }
        self.settle(fields, &mut visited, place)?;
        Ok(Value::Object(in_order(visited)))
    }

    /// The rewritten keyword; `None` if it has no effect, or if `settle` handles it together with others.
    fn keyword(&mut self, key: &str, at: &Subschema<'a>, depth: usize) -> Result<Option<Value>, String> {
        let (value, path) = (at.schema, &at.path);
        match key {
            "$ref" => self.reference(at).map(Some),
            "$defs" | "definitions" if !value.is_object() => Err(format!("`{path}` must be an object of schemas")),
            "pattern" if value.as_str().is_some_and(ends_in_escape) => {
                Err(format!("`{path}` ends with a backslash that escapes nothing"))
            }
            "format" | "propertyNames" | "nullable" => Ok(None),
            "uniqueItems" if value == false => Ok(None),
            "unevaluatedProperties" | "unevaluatedItems" if value == true || *value == json!({}) => Ok(None),
            key if PLAIN.contains(&key) => Ok(Some(value.clone())),
            key if NESTED.contains(&key) => self.nested(at, depth).map(Some),
            "properties" => self.named(at, MAX_ENTRIES, depth).map(Some),
            "patternProperties" => self.named(at, MAX_PATTERNS, depth).map(Some),
            key if is_annotation(key) => Ok(None),
            _ => Err(format!("`{path}` is a keyword that cannot be enforced")),
        }
    }

    /// Applies the keywords that change other keywords of the same schema.
    fn settle(
        &mut self,
        fields: &'a Map<String, Value>,
        to: &mut Map<String, Value>,
        place: &Subschema<'a>,
    ) -> Result<(), String> {
        let at = |key: &str| format!("{}.{key}", place.path);
        numbers::check_bounds(to).map_err(|problem| format!("`{}{problem}", place.path))?;
        if let Some(format) = fields.get("format") {
            formats::apply(to, format, &at("format"))?;
        }
        if fields.get("nullable") == Some(&Value::Bool(true)) {
            allow_null(to);
        }
        if let Some(names) = fields.get("propertyNames") {
            let names = Subschema { schema: names, path: at("propertyNames"), base: base_of(names, &place.base) };
            let applied = names::apply_property_names(to, &names, &self.references);
            applied.map_err(|problem| format!("`{}` {problem}", names.path))?;
        }
        names::settle_patterns(to).map_err(|problem| format!("`{}` {problem}", at("patternProperties")))?;
        names::check_least(to).map_err(|problem| format!("`{}` {problem}", at("minProperties")))?;
        if let Some(Value::Array(options)) = fields.get("oneOf")
            && !to.contains_key("anyOf")
            && disjoint::are_disjoint(options, &place.base, &self.references)
            && let Some(options) = to.shift_remove("oneOf")
        {
            to.insert("anyOf".to_owned(), options);
        }
        numbers::bound(to);
        numbers::check_whole(to).map_err(|problem| format!("`{}{problem}", place.path))
    }

    fn reference(&mut self, at: &Subschema<'a>) -> Result<Value, String> {
        let target = at.schema.as_str().and_then(|target| self.references.find(target, &at.base));
        let Some(target) = target else {
            let (target, path) = (at.schema.to_string(), &at.path);
            let is_own = at.schema.as_str().is_some_and(|target| target.starts_with('#'));
            return Err(if is_own {
                format!("has no part {target:.80}, to which `{path}` refers")
            } else {
                format!("`{path}` is {target:.80}; it must refer to a part of the same schema")
            });
        };
        let num_names = self.names.len();
        let place = std::ptr::from_ref(target.schema);
        let name = self.names.entry(place).or_insert_with(|| format!("part{num_names}")).clone();
        if self.names.len() > num_names {
            check_entries(self.names.len(), MAX_ENTRIES, &at.path)?;
            self.waiting.push_back((name.clone(), target));
        }
        Ok(Value::String(format!("#/$defs/{name}")))
    }

    fn nested(&mut self, at: &Subschema<'a>, depth: usize) -> Result<Value, String> {
        let Value::Array(items) = at.schema else { return self.inner(at.schema, at.path.clone(), at, depth) };
        check_entries(items.len(), MAX_ENTRIES, &at.path)?;
        let items = items.iter().enumerate();
        let items = items.map(|(index, item)| self.inner(item, format!("{}[{index}]", at.path), at, depth));
        items.collect::<Result<_, _>>().map(Value::Array)
    }

    fn named(&mut self, at: &Subschema<'a>, most: usize, depth: usize) -> Result<Value, String> {
        let Value::Object(fields) = at.schema else {
            return Err(format!("`{}` must be an object of schemas", at.path));
        };
        check_entries(fields.len(), most, &at.path)?;
        let fields = fields.iter().map(|(name, schema)| {
            Ok((name.clone(), self.inner(schema, format!("{}.{name:.60}", at.path), at, depth)?))
        });
        fields.collect::<Result<_, String>>().map(Value::Object)
    }

    fn inner(&mut self, schema: &'a Value, path: String, at: &Subschema<'a>, depth: usize) -> Result<Value, String> {
        self.schema(&Subschema { schema, path, base: base_of(schema, &at.base) }, depth + 1)
    }
}

fn check_entries(is: usize, most: usize, path: &str) -> Result<(), String> {
    if is <= most { Ok(()) } else { Err(format!("`{path}` has {is} entries; at most {most} are allowed")) }
}

/// `nullable` of `OpenAPI` 3.0.
fn allow_null(to: &mut Map<String, Value>) {
    match to.get_mut("type") {
        Some(Value::Array(types)) if !types.iter().any(|kind| kind == "null") => types.push(json!("null")),
        Some(kind) if kind.is_string() => *kind = json!([kind.take(), "null"]),
        _ => {}
    }
}

/// Moves related keywords together, because the compiler combines only keywords that are next to each other.
fn in_order(fields: Map<String, Value>) -> Map<String, Value> {
    let is_applicator = |key: &String| APPLICATORS.contains(&key.as_str());
    let first = fields.keys().position(|key| !is_applicator(key)).unwrap_or(fields.len());
    let (before, rest): (Vec<_>, Vec<_>) = fields.into_iter().enumerate().partition(|(at, _)| *at < first);
    let (behind, plain): (Vec<_>, Vec<_>) = rest.into_iter().partition(|(_, (key, _))| is_applicator(key));
    before.into_iter().chain(plain).chain(behind).map(|(_, field)| field).collect()
}
