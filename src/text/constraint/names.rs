//! Names of properties: rewrites `propertyNames`, which the compiler does not support, and removes patterns that match only
//! names in `properties` and `required`. With such a pattern, an object that needs one more name would be a dead end.

use llguidance::derivre::{RegexAst, RegexBuilder};
use llguidance::regex_to_lark;
use serde_json::{Map, Value, json};

use super::annotations::is_annotation;
use super::formats;
use super::references::{References, Subschema, base_of};

/// Cost limit for comparing two sets of names, in the compiler's units.
const MAX_FUEL: u64 = 10_000;
const MAX_DEPTH: usize = 16;

/// A set of names that an object may have.
#[derive(Debug, Clone, PartialEq)]
enum Names {
    Any,
    These(Vec<String>),
    /// Names with a match of this regular expression.
    Like(String),
}

/// Replaces `propertyNames` by keywords that the compiler enforces. `fields` are those of a rewritten object.
pub(super) fn apply_property_names(
    fields: &mut Map<String, Value>,
    names: &Subschema<'_>,
    references: &References<'_>,
) -> Result<(), String> {
    let names = allowed(names, references, 0)?;
    if names == Names::Any {
        return Ok(());
    }
    let is_allowed = |name: &str| match &names {
        Names::Any => Ok(true),
        Names::These(names) => Ok(names.iter().any(|allowed| allowed == name)),
        Names::Like(pattern) => is_match(pattern, name),
    };
    let mut properties = taken(fields, "properties");
    for (name, property) in &mut properties {
        if !is_allowed(name)? {
            *property = Value::Bool(false);
        }
    }
    let patterns = taken(fields, "patternProperties");
    let additional = fields.insert("additionalProperties".to_owned(), Value::Bool(false)).unwrap_or(Value::Bool(true));
    match names {
        Names::Any => {}
        Names::These(names) => {
            for name in names {
                if !properties.contains_key(&name) {
                    let matching = matching(&patterns, &name)?;
                    let schema = if matching.is_empty() { additional.clone() } else { Value::Bool(true) };
                    properties.insert(name, schema);
                }
            }
            for (name, property) in &mut properties {
                add_all(property, matching(&patterns, name)?);
            }
        }
        Names::Like(_) if !patterns.is_empty() => {
            return Err("cannot be enforced beside `patternProperties`".to_owned());
        }
        Names::Like(pattern) => {
            let is_shared = properties.values().any(|property| property != false);
            let is_plain = additional.is_boolean() || additional == json!({});
            if is_shared && !is_plain {
                return Err("has a pattern or a length, which cannot be enforced beside `properties` where \
                            `additionalProperties` are of another kind"
                    .to_owned());
            }
            is_match(&pattern, "")?;
            if additional != false {
                fields.insert("patternProperties".to_owned(), json!({ pattern: additional }));
            }
        }
    }
    put(fields, "properties", properties);
    Ok(())
}

/// Removes patterns that match only listed names. Forbids additional properties if no other name is possible.
pub(super) fn settle_patterns(fields: &mut Map<String, Value>) -> Result<(), String> {
    let patterns = taken(fields, "patternProperties");
    if patterns.is_empty() {
        return Ok(());
    }
    let mut properties = taken(fields, "properties");
    let required = fields.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let mut named: Vec<String> = properties.keys().cloned().collect();
    named.extend(required.map(str::to_owned));
    let mut kept = Map::new();
    for (pattern, schema) in patterns {
        // A pattern with the schema `false` forbids names.
        if schema == false || !is_covered(&pattern, &named)? {
            kept.insert(pattern, schema);
            continue;
        }
        for name in &named {
            if is_match(&pattern, name)? {
                add_all(properties.entry(name).or_insert(Value::Bool(true)), vec![schema.clone()]);
            }
        }
    }
    if fields.get("additionalProperties") != Some(&Value::Bool(false)) && are_all_covered(&kept, &named)? {
        fields.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    put(fields, "patternProperties", kept);
    put(fields, "properties", properties);
    Ok(())
}

/// Rejects a `minProperties` that cannot be enforced, because the compiler would count a repeated free name again.
pub(super) fn check_least(fields: &Map<String, Value>) -> Result<(), String> {
    let least = fields.get("minProperties").and_then(Value::as_u64).unwrap_or(0);
    let num_required = fields.get("required").and_then(Value::as_array).map_or(0, Vec::len) as u64;
    let is_open =
        fields.get("additionalProperties") != Some(&Value::Bool(false)) || fields.contains_key("patternProperties");
    if is_open && least > num_required + 1 {
        return Err(format!(
            "is {least}, which cannot be enforced: where names are free, at most {} is allowed, one more than the `required` names",
            num_required + 1
        ));
    }
    Ok(())
}

/// The names that a schema for names allows.
fn allowed(place: &Subschema<'_>, references: &References<'_>, depth: usize) -> Result<Names, String> {
    let fields = match place.schema {
        Value::Bool(true) => return Ok(Names::Any),
        Value::Bool(false) => return Ok(Names::These(Vec::new())),
        Value::Object(fields) if depth < MAX_DEPTH => fields,
        _ => return Err("must be a schema that can be enforced".to_owned()),
    };
    let inner = |schema| Subschema { schema, path: place.path.clone(), base: base_of(schema, &place.base) };
    let mut names = Names::Any;
    for (key, value) in fields {
        let part = match key.as_str() {
            "type" => of_type(value),
            "const" => these(std::slice::from_ref(value)),
            "enum" => these(value.as_array().map_or(&[][..], Vec::as_slice)),
            "pattern" => Names::Like(value.as_str().ok_or("must have a text as its `pattern`")?.to_owned()),
            "minLength" | "maxLength" => of_length(fields),
            "format" if fields.contains_key("pattern") && !formats::is_known(value.as_str().unwrap_or("")) => {
                Names::Any
            }
            "$ref" => {
                let target = value.as_str().and_then(|target| references.find(target, &place.base));
                allowed(
                    &target.ok_or_else(|| format!("refers to {value:.60}, which does not exist"))?,
                    references,
                    depth + 1,
                )?
            }
            "allOf" => parts(value)?
                .iter()
                .try_fold(Names::Any, |all, part| both(all, allowed(&inner(part), references, depth + 1)?))?,
            "anyOf" | "oneOf" => {
                let mut parts = parts(value)?.iter().map(|part| allowed(&inner(part), references, depth + 1));
                let first = parts.next().unwrap_or(Ok(Names::These(Vec::new())))?;
                parts.try_fold(first, |all, part| either(all, part?))?
            }
            key if is_annotation(key) => Names::Any,
            _ => return Err(format!("has `{key:.60}`, which cannot be enforced for names")),
        };
        names = both(names, part)?;
    }
    Ok(names)
}

fn parts(value: &Value) -> Result<&[Value], String> {
    value.as_array().map(Vec::as_slice).ok_or_else(|| "must list schemas".to_owned())
}

/// Names are strings, so another type allows none.
fn of_type(types: &Value) -> Names {
    let is_text = types == "string" || types.as_array().is_some_and(|types| types.iter().any(|kind| kind == "string"));
    if is_text { Names::Any } else { Names::These(Vec::new()) }
}

fn these(values: &[Value]) -> Names {
    Names::These(values.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

fn of_length(fields: &Map<String, Value>) -> Names {
    let bound = |name: &str| fields.get(name).and_then(Value::as_u64);
    let (least, most) = (bound("minLength").unwrap_or(0), bound("maxLength"));
    if least == 0 && most.is_none() {
        return Names::Any;
    }
    Names::Like(format!("^(?s:.{{{least},{}}})$", most.map_or_else(String::new, |most| most.to_string())))
}

/// Names in both sets.
fn both(a: Names, b: Names) -> Result<Names, String> {
    match (a, b) {
        (Names::Any, names) | (names, Names::Any) => Ok(names),
        (Names::These(names), Names::These(others)) => {
            Ok(Names::These(names.into_iter().filter(|name| others.contains(name)).collect()))
        }
        (Names::These(names), Names::Like(pattern)) | (Names::Like(pattern), Names::These(names)) => {
            let kept = names.into_iter().map(|name| Ok(is_match(&pattern, &name)?.then_some(name)));
            Ok(Names::These(kept.filter_map(Result::transpose).collect::<Result<_, String>>()?))
        }
        (Names::Like(a), Names::Like(b)) if a == b => Ok(Names::Like(a)),
        (Names::Like(_), Names::Like(_)) => {
            Err("has several patterns or lengths, which cannot be enforced together".to_owned())
        }
    }
}

/// Names in either set.
fn either(a: Names, b: Names) -> Result<Names, String> {
    match (a, b) {
        (Names::Any, _) | (_, Names::Any) => Ok(Names::Any),
        (Names::These(mut names), Names::These(others)) => {
            names.extend(others);
            Ok(Names::These(names))
        }
        (Names::These(names), like) | (like, Names::These(names)) if names.is_empty() => Ok(like),
        _ => Err("has a choice of patterns, which cannot be enforced".to_owned()),
    }
}

fn taken(fields: &mut Map<String, Value>, key: &str) -> Map<String, Value> {
    match fields.get_mut(key) {
        Some(Value::Object(schemas)) => std::mem::take(schemas),
        _ => Map::new(),
    }
}

/// Replaces a field in place, or appends it.
fn put(fields: &mut Map<String, Value>, key: &str, schemas: Map<String, Value>) {
    if schemas.is_empty() {
        fields.shift_remove(key);
    } else {
        fields.insert(key.to_owned(), Value::Object(schemas));
    }
}

fn matching(patterns: &Map<String, Value>, name: &str) -> Result<Vec<Value>, String> {
    let matching = patterns.iter().map(|(pattern, schema)| Ok(is_match(pattern, name)?.then(|| schema.clone())));
    matching.filter_map(Result::transpose).collect()
}

/// Makes a schema require other schemas as well.
fn add_all(schema: &mut Value, others: Vec<Value>) {
    if !others.is_empty() {
        let own = std::mem::take(schema);
        *schema = json!({ "allOf": std::iter::once(own).chain(others).collect::<Vec<_>>() });
    }
}

fn is_match(pattern: &str, name: &str) -> Result<bool, String> {
    let both = RegexAst::And(vec![search(pattern), RegexAst::Literal(name.to_owned())]);
    let is_empty = is_empty(pattern, &both)?;
    is_empty
        .map(|is_empty| !is_empty)
        .ok_or_else(|| format!("has the pattern {pattern:?}, which is too expensive to check"))
}

/// Whether a pattern matches only these names. A pattern that is too expensive to compare counts as matching others.
fn is_covered(pattern: &str, names: &[String]) -> Result<bool, String> {
    let left = RegexAst::And(vec![search(pattern), other_than(names)]);
    is_empty(pattern, &left).map(|is_empty| is_empty == Some(true))
}

/// Whether each name is one of these or matches a pattern.
fn are_all_covered(patterns: &Map<String, Value>, names: &[String]) -> Result<bool, String> {
    let not = |pattern: &String| RegexAst::Not(Box::new(search(pattern)));
    let Some(first) = patterns.keys().next() else { return Ok(false) };
    let any = RegexAst::Regex("(?s:.*)".to_owned());
    let left: Vec<_> = [any, other_than(names)].into_iter().chain(patterns.keys().map(not)).collect();
    is_empty(first, &RegexAst::And(left)).map(|is_empty| is_empty == Some(true))
}

fn search(pattern: &str) -> RegexAst {
    RegexAst::SearchRegex(regex_to_lark(pattern, "dw"))
}

fn other_than(names: &[String]) -> RegexAst {
    RegexAst::Not(Box::new(RegexAst::Or(names.iter().map(|name| RegexAst::Literal(name.clone())).collect())))
}

/// Whether the set is empty; `None` if that is too expensive to compute.
fn is_empty(pattern: &str, set: &RegexAst) -> Result<Option<bool>, String> {
    let mut builder = RegexBuilder::new();
    let set = builder
        .mk(set)
        .map_err(|error| format!("has the pattern {pattern:?}, which cannot be enforced: {error:.200}"))?;
    Ok(builder.to_regex_limited(set, MAX_FUEL).ok().map(|mut regex| regex.always_empty()))
}
