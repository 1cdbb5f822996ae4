//! Filters of numbers.

use super::super::arguments::{Arguments, flag, whole};
use super::super::display::type_name;
use super::super::value::Value;
use super::super::{Fault, failed};

pub(super) fn apply(name: &str, value: &Value, args: Arguments) -> Result<Value, Fault> {
    match name {
        "abs" => {
            args.none(name)?;
            match (value.as_int(), value.as_float()) {
                (Some(number), _) => Ok(Value::Int(number.saturating_abs())),
                (None, Some(number)) => Ok(Value::Float(number.abs())),
                (None, None) => failed(format!("`abs` needs a number, not {}", type_name(value))),
            }
        }
        "filesizeformat" => filesizeformat(value, args),
        "float" => {
            let [default] = args.bind(name, ["default"])?;
            refuse_undefined(name, value)?;
            let number = number_of(value).map(Value::Float);
            Ok(number.unwrap_or_else(|| default.unwrap_or(Value::Float(0.0))))
        }
        "int" => int(value, args),
        _ => round(value, args),
    }
}

fn refuse_undefined(name: &str, value: &Value) -> Result<(), Fault> {
    if value.is_undefined() { failed(format!("`{name}` needs a number, not an undefined value")) } else { Ok(()) }
}

/// The value as a number; texts are parsed.
fn number_of(value: &Value) -> Option<f64> {
    match value {
        Value::Text(text) => text.trim().replace('_', "").parse().ok(),
        other => other.as_float(),
    }
}

/// Converts to an integer. A value that is not a number becomes the default.
fn int(value: &Value, args: Arguments) -> Result<Value, Fault> {
    let [default, base] = args.bind("int", ["default", "base"])?;
    refuse_undefined("int", value)?;
    let base = whole("int", base.as_ref())?.and_then(|base| u32::try_from(base).ok()).unwrap_or(10);
    if !matches!(base, 0 | 2..=36) {
        return failed("`int` needs a base from 2 to 36, or 0");
    }
    let number = match value {
        Value::Text(text) => parsed(text.trim(), base),
        other => other.as_int(),
    };
    #[expect(clippy::cast_possible_truncation, reason = "what follows the point is left out")]
    let cut = || number_of(value).filter(|number| number.is_finite()).map(|number| number as i128);
    Ok(number.or_else(cut).map_or_else(|| default.unwrap_or(Value::Int(0)), Value::Int))
}

fn parsed(text: &str, base: u32) -> Option<i128> {
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let prefixed = [("0x", 16), ("0X", 16), ("0o", 8), ("0O", 8), ("0b", 2), ("0B", 2)];
    let prefix = prefixed.into_iter().find(|(prefix, of)| (base == *of || base == 0) && digits.starts_with(prefix));
    let (digits, base) = prefix.map_or((digits, base), |(_, of)| (&digits[2..], of));
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let number = i128::from_str_radix(&digits.replace('_', ""), if base == 0 { 10 } else { base }).ok()?;
    Some(if is_negative { -number } else { number })
}

fn round(value: &Value, args: Arguments) -> Result<Value, Fault> {
    let [precision, method] = args.bind("round", ["precision", "method"])?;
    let precision = whole("round", precision.as_ref())?.unwrap_or(0).clamp(-300, 300);
    let Some(number) = value.as_float() else {
        return failed(format!("`round` needs a number, not {}", type_name(value)));
    };
    #[expect(clippy::cast_possible_truncation, reason = "it was clamped")]
    let precision = precision as i32;
    let factor = 10_f64.powi(precision);
    let rounded = match method.as_ref() {
        Some(Value::Text(method)) if &**method == "ceil" => (number * factor).ceil() / factor,
        Some(Value::Text(method)) if &**method == "floor" => (number * factor).floor() / factor,
        Some(Value::Text(method)) if &**method != "common" => {
            return failed("`round` needs 'common', 'ceil' or 'floor' as its method");
        }
        // Python rounds to the nearest number, and a tie to the even one.
        _ => usize::try_from(precision)
            .ok()
            .and_then(|digits| format!("{number:.digits$}").parse().ok())
            .unwrap_or_else(|| (number * factor).round_ties_even() / factor),
    };
    // Python's `round` without digits returns an integer for an integer.
    match value.as_int() {
        Some(number) if method.is_none() && precision >= 0 => Ok(Value::Int(number)),
        _ => Ok(Value::Float(rounded)),
    }
}

fn filesizeformat(value: &Value, args: Arguments) -> Result<Value, Fault> {
    let [binary] = args.bind("filesizeformat", ["binary"])?;
    let Some(bytes) = number_of(value) else {
        return failed(format!("`filesizeformat` needs a number, not {}", type_name(value)));
    };
    let is_binary = flag(binary.as_ref(), false);
    let base: f64 = if is_binary { 1024.0 } else { 1000.0 };
    #[expect(clippy::float_cmp, reason = "1 is 1")]
    if bytes == 1.0 {
        return Ok(Value::own("1 Byte"));
    }
    if bytes < base {
        return Ok(Value::own(&format!("{bytes:.0} Bytes")));
    }
    let units = if is_binary {
        ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"]
    } else {
        ["kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"]
    };
    let mut size = bytes / base;
    let mut place = 0;
    while size >= base && place + 1 < units.len() {
        size /= base;
        place += 1;
    }
    Ok(Value::own(&format!("{size:.1} {}", units[place])))
}
