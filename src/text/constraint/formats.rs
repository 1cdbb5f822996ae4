//! Formats of strings. The compiler knows most of them. Dates and times have their own patterns here, because the
//! compiler accepts February 29 in every year and a leap second in every minute, which validators reject.

use serde_json::{Map, Value, json};

use super::numbers;

const KNOWN: [&str; 10] = ["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"];
/// Formats that every string has.
const FREE: [&str; 2] = ["password", "binary"];

/// The days of each month, and February 29 of leap years.
const DATE: &str = "(?:[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))|(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)";
const TIME: &str =
    r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]+)?(?:[zZ]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])";

/// Whether this format can be enforced.
pub(super) fn is_known(name: &str) -> bool {
    KNOWN.contains(&name)
}

/// Applies a format to a schema. Formats apply to strings, and some of them to numbers. An unknown format is an error,
/// unless other keywords restrict the string.
pub(super) fn apply(to: &mut Map<String, Value>, format: &Value, path: &str) -> Result<(), String> {
    let Some(name) = format.as_str() else { return Err(format!("`{path}` must be a text")) };
    let may_be_text = to.get("type").is_none_or(|types| {
        types == "string" || types.as_array().is_some_and(|types| types.iter().any(|kind| kind == "string"))
    });
    let is_given = ["pattern", "enum", "const"].iter().any(|key| to.contains_key(*key));
    if !may_be_text {
        numbers::apply_format(to, name);
    } else if let Some(pattern) = pattern_of(name) {
        add_pattern(to, pattern);
    } else if is_known(name) {
        to.insert("format".to_owned(), format.clone());
    } else if !is_given && !FREE.contains(&name) {
        let known = KNOWN.join(", ");
        return Err(format!(
            "`{path}` is {format:.60}, which cannot be enforced without a `pattern`; known are {known}"
        ));
    }
    Ok(())
}

fn pattern_of(name: &str) -> Option<String> {
    match name {
        "date" => Some(format!("^{DATE}$")),
        "time" => Some(format!("^{TIME}$")),
        "date-time" => Some(format!("^{DATE}[tT]{TIME}$")),
        _ => None,
    }
}

fn add_pattern(to: &mut Map<String, Value>, pattern: String) {
    if !to.contains_key("pattern") {
        to.insert("pattern".to_owned(), Value::String(pattern));
        return;
    }
    let part = json!({ "pattern": pattern });
    match to.get_mut("allOf") {
        Some(Value::Array(parts)) => parts.push(part),
        _ => drop(to.insert("allOf".to_owned(), json!([part]))),
    }
}
