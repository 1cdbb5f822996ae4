//! Lists the property names of an object. They are counted before any of them is copied.

use napi::bindgen_prelude::{
    FromNapiValue, JsObjectValue, KeyCollectionMode, KeyConversion, KeyFilter, Object, Unknown,
};
use napi::{JsString, ValueType};

use super::refusal::Read;

/// A property of an object.
pub(super) struct Property<'env> {
    /// The name, or the length of a name that exceeds the limit.
    pub(super) name: Result<String, usize>,
    pub(super) value: Unknown<'env>,
}

/// The own properties of an object. Their number is known before any of them is read.
pub(super) struct Properties<'env> {
    object: Object<'env>,
    keys: Object<'env>,
    /// Number of own properties, symbols included.
    num: u32,
}

impl<'env> Properties<'env> {
    /// Lists the properties. An object with more than `most` gives a lower bound of their number instead.
    pub(super) fn of(object: Object<'env>, most: usize) -> Read<Result<Self, usize>> {
        if is_longer_list(&object, most)? {
            return Ok(Err(most + 1));
        }
        let keys = own_keys(&object)?;
        let num = keys.get_array_length()?;
        Ok(if num as usize > most { Err(num as usize) } else { Ok(Self { object, keys, num }) })
    }

    /// Reads the properties with a text as their name. Names of more than `max_key_units` UTF-16 code units are not copied.
    pub(super) fn read(self, max_key_units: usize) -> impl Iterator<Item = Read<Property<'env>>> + use<'env> {
        let property = move |index| {
            let Some(Key { key, name }) = key_at(&self.keys, index, max_key_units)? else { return Ok(None) };
            Ok(Some(Property { name, value: self.object.get_property_unchecked(key)? }))
        };
        (0..self.num).filter_map(move |index| property(index).transpose())
    }
}

/// Own, enumerable properties, without those of a prototype. Index keys stay numbers, which is faster.
pub(super) fn own_keys<'env>(object: &Object<'env>) -> Read<Object<'env>> {
    let (mode, filter) = (KeyCollectionMode::OwnOnly, KeyFilter::Enumerable);
    Ok(object.get_all_property_names(mode, filter, KeyConversion::KeepNumbers)?)
}

/// Whether an object has the elements 0 to `most`, as a long list does. V8 cannot count properties without listing them,
/// at about a million a second; this check finds a long list without that.
fn is_longer_list(object: &Object<'_>, most: usize) -> Read<bool> {
    let end = u32::try_from(most).unwrap_or(u32::MAX);
    for index in 0..=end {
        if !object.has_element(index)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A property name as JavaScript has it, and its text, or its length if it exceeds the limit.
pub(super) struct Key<'env> {
    pub(super) key: Unknown<'env>,
    pub(super) name: Result<String, usize>,
}

/// One name of a list of names. A name of more than `max_units` UTF-16 code units is not copied.
pub(super) fn key_at<'env>(keys: &Object<'env>, index: u32, max_units: usize) -> Read<Option<Key<'env>>> {
    let key: Unknown<'env> = keys.get_element(index)?;
    let name = match key.get_type()? {
        ValueType::Number => Ok(f64::from_unknown(key)?.to_string()),
        ValueType::String => match JsString::from_unknown(key)?.utf16_len()? {
            units if units <= max_units => Ok(String::from_unknown(key)?),
            units => Err(units),
        },
        _ => return Ok(None),
    };
    Ok(Some(Key { key, name }))
}
