//! Numbers in schemas: limits them to numbers that JavaScript can read, applies formats that give a number's width, and
//! rejects values of `multipleOf` that cannot be compiled.

use serde_json::{Map, Value, json};

use crate::numbers::MAX_SAFE_INTEGER;

/// Default bound of numbers. JavaScript reads whole numbers up to this one exactly, while it reads 1e999 as infinity.
const MAX_NUMBER: i64 = MAX_SAFE_INTEGER.cast_signed();
/// The least common multiple of all `multipleOf` of a schema. The compiler needs that many states.
const MAX_MULTIPLE: u64 = 1_000;
/// Decimal places. The compiler counts in units of the last one, in 32 bits.
const MAX_DECIMALS: usize = 7;
/// The compiler stores whole numbers in 64 bits.
const MAX_WHOLE: f64 = (1_u64 << 63) as f64;
const BOUNDS: [&str; 4] = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"];

/// Formats of numbers with the least and the greatest whole number; [`MAX_NUMBER`] limits wider formats.
const WIDTHS: [(&str, i64, i64); 10] = [
    ("int8", i8::MIN as i64, i8::MAX as i64),
    ("int16", i16::MIN as i64, i16::MAX as i64),
    ("int32", i32::MIN as i64, i32::MAX as i64),
    ("int64", -MAX_NUMBER, MAX_NUMBER),
    ("int", -MAX_NUMBER, MAX_NUMBER),
    ("uint8", 0, u8::MAX as i64),
    ("uint16", 0, u16::MAX as i64),
    ("uint32", 0, u32::MAX as i64),
    ("uint64", 0, MAX_NUMBER),
    ("uint", 0, MAX_NUMBER),
];

/// Rejects bounds that are not numbers, which the compiler would ignore. The message follows the path of the schema.
pub(super) fn check_bounds(fields: &Map<String, Value>) -> Result<(), String> {
    for (name, value) in BOUNDS.into_iter().filter_map(|name| Some((name, fields.get(name)?))) {
        let is_old = value.is_boolean() && name.starts_with("exclusive");
        if !value.is_number() && !is_old {
            return Err(format!(".{name}` must be a number"));
        }
    }
    Ok(())
}

/// Rejects whole numbers beyond 64 bits, which the compiler would replace by the nearest one. The message follows the
/// path of the schema.
pub(super) fn check_whole(fields: &Map<String, Value>) -> Result<(), String> {
    let is_whole = fields.get("type").is_some_and(|types| {
        types == "integer" || types.as_array().is_some_and(|types| types.iter().any(|kind| kind == "integer"))
    });
    for (name, value) in BOUNDS.into_iter().filter_map(|name| Some((name, fields.get(name)?))) {
        if is_whole && value.as_f64().is_some_and(|bound| bound.abs() >= MAX_WHOLE) {
            return Err(format!(".{name}` is {value}, and whole numbers that large cannot be enforced"));
        }
    }
    Ok(())
}

/// Applies the format of a number: a whole number has a width. Other formats have no effect on numbers.
pub(super) fn apply_format(fields: &mut Map<String, Value>, format: &str) {
    let Some((_, least, most)) = WIDTHS.into_iter().find(|(name, ..)| *name == format) else { return };
    let whole = |kind: &Value| if kind == "number" { json!("integer") } else { kind.clone() };
    match fields.get_mut("type") {
        Some(Value::Array(types)) => types.iter_mut().for_each(|kind| *kind = whole(kind)),
        Some(kind) => *kind = whole(kind),
        None => return,
    }
    let number = |name: &str| fields.get(name).and_then(Value::as_f64);
    let (minimum, maximum) = (number("minimum"), number("maximum"));
    if minimum.is_none_or(|minimum| minimum < least as f64) {
        fields.insert("minimum".to_owned(), json!(least));
    }
    if maximum.is_none_or(|maximum| maximum > most as f64) {
        fields.insert("maximum".to_owned(), json!(most));
    }
}

/// Limits numbers to ±[`MAX_NUMBER`], unless they have tighter bounds.
pub(super) fn bound(fields: &mut Map<String, Value>) {
    let is_number = |kind: &Value| matches!(kind.as_str(), Some("number" | "integer"));
    let is_typed = fields
        .get("type")
        .is_some_and(|types| is_number(types) || types.as_array().is_some_and(|types| types.iter().any(is_number)));
    let tightest = |names: [&str; 2], tighter: fn(f64, f64) -> f64| {
        let values = names.into_iter().filter_map(|name| fields.get(name).and_then(Value::as_f64));
        values.reduce(tighter)
    };
    let least = tightest(["minimum", "exclusiveMinimum"], f64::max);
    let most = tightest(["maximum", "exclusiveMaximum"], f64::min);
    let limit = MAX_NUMBER as f64;
    // If the lower bound is not below the limit, no upper limit is added. The lower limit follows the same rule.
    if least.is_none_or(|least| least < limit) && most.map_or(is_typed, |most| most > limit) {
        fields.shift_remove("exclusiveMaximum");
        fields.insert("maximum".to_owned(), json!(MAX_NUMBER));
    }
    if most.is_none_or(|most| most > -limit) && least.map_or(is_typed, |least| least < -limit) {
        fields.shift_remove("exclusiveMinimum");
        fields.insert("minimum".to_owned(), json!(-MAX_NUMBER));
    }
}

/// Checks all values of `multipleOf` together, because several of them may apply to one number.
pub(super) fn check_multiples(schema: &Value) -> Result<(), String> {
    let mut values = Vec::new();
    collect_multiples(schema, &mut values);
    // As whole numbers in units of the smallest decimal place of any value.
    let written: Vec<String> = values.iter().map(|value| format!("{}", value.abs())).collect();
    let num_decimals = |text: &String| text.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    let most_decimals = written.iter().map(num_decimals).max().unwrap_or(0);
    if most_decimals > MAX_DECIMALS {
        return Err(format!(
            "has a `multipleOf` with {most_decimals} decimal places; at most {MAX_DECIMALS} are allowed"
        ));
    }
    let scaled = written.iter().map(|text| {
        let zeros = "0".repeat(most_decimals - num_decimals(text));
        format!("{}{zeros}", text.replace('.', "")).parse().unwrap_or(u64::MAX)
    });
    match scaled.fold(1, least_common_multiple) {
        1..=MAX_MULTIPLE => Ok(()),
        _ => Err(format!(
            "has values of `multipleOf` that are too expensive together: their least common multiple, in units of the \
             last decimal place, may be at most {MAX_MULTIPLE}"
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

/// 0 if one of them is 0.
fn least_common_multiple(a: u64, b: u64) -> u64 {
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    (a / x.max(1)).saturating_mul(b)
}
