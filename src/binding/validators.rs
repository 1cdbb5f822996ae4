//! Recognizes validators of libraries, such as zod, where a JSON schema is expected. They have no JSON of their own; their
//! library has a function that makes it.

use napi::ValueType;
use napi::bindgen_prelude::{FromNapiValue, JsObjectValue, Object, Unknown};

use super::fields::MAX_KEY_UNITS;
use super::refusal::Read;

/// The property of the Standard Schema interface, which validators of most libraries have.
const STANDARD: &str = "~standard";

/// What is wrong with a validator in place of a JSON schema, and what to pass instead; `None` for other values.
pub(super) fn advice(value: Unknown<'_>) -> Read<Option<String>> {
    if !matches!(value.get_type()?, ValueType::Object | ValueType::Function) {
        return Ok(None);
    }
    let object = Object::from_unknown(value)?;
    if object.has_named_property("_zod")? {
        return Ok(Some("is a zod schema: pass its JSON schema, `z.toJSONSchema(schema)`".to_owned()));
    }
    let vendor = if object.has_named_property(STANDARD)? { vendor(&object)? } else { zod_3(&object)? };
    Ok(vendor.map(|vendor| match vendor.as_str() {
        "zod" => "is a zod 3 schema: pass its JSON schema, by `z.toJSONSchema(schema)` of zod 4, or by \
                  `zodToJsonSchema(schema)` of the package zod-to-json-schema"
            .to_owned(),
        "valibot" => "is a valibot schema: pass its JSON schema, by `toJsonSchema(schema)` of the package \
                      @valibot/to-json-schema"
            .to_owned(),
        "arktype" => "is an arktype schema: pass its JSON schema, `schema.toJsonSchema()`".to_owned(),
        other => {
            format!("is a schema of {other:.40}: pass its JSON schema, which that library or one beside it writes")
        }
    }))
}

fn vendor(object: &Object<'_>) -> Read<Option<String>> {
    let standard: Unknown<'_> = object.get_named_property_unchecked(STANDARD)?;
    Ok(text(standard, "vendor")?.or_else(|| Some("another library".to_owned())))
}

/// The validators of zod before 3.24 have no other sign.
fn zod_3(object: &Object<'_>) -> Read<Option<String>> {
    let definition: Unknown<'_> = object.get_named_property_unchecked("_def")?;
    let name = text(definition, "typeName")?;
    Ok(name.filter(|name| name.starts_with("Zod")).map(|_| "zod".to_owned()))
}

/// A property that is a short text.
fn text(value: Unknown<'_>, name: &str) -> Read<Option<String>> {
    if value.get_type()? != ValueType::Object {
        return Ok(None);
    }
    let text: Unknown<'_> = Object::from_unknown(value)?.get_named_property_unchecked(name)?;
    if text.get_type()? != ValueType::String {
        return Ok(None);
    }
    let text = String::from_unknown(text)?;
    Ok((text.len() <= MAX_KEY_UNITS).then_some(text))
}
