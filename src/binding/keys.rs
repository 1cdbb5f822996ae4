//! The names of an object's properties, counted before one of them is copied.

use napi::bindgen_prelude::{
    FromNapiValue, JsObjectValue, KeyCollectionMode, KeyConversion, KeyFilter, Object, Unknown,
};
use napi::{JsString, ValueType};

use super::fields::Read;

/// A property of an object.
pub(super) struct Property<'env> {
    /// Or the length of a name that is too long to be one.
    pub(super) name: Result<String, usize>,
    pub(super) value: Unknown<'env>,
}

/// The own properties of an object, each of which is read when it is asked for. How many there are is known before.
pub(super) struct Properties<'env> {
    object: Object<'env>,
    keys: Object<'env>,
    /// Symbols included.
    num: u32,
}

impl<'env> Properties<'env> {
    /// Or how many there are at least, if there are more than `most`.
    pub(super) fn of(object: Object<'env>, most: usize) -> Read<Result<Self, usize>> {
        if is_longer_list(&object, most)? {
            return Ok(Err(most + 1));
        }
        let keys = own_keys(&object)?;
        let num = keys.get_array_length()?;
        Ok(if num as usize > most { Err(num as usize) } else { Ok(Self { object, keys, num }) })
    }

    /// Those that have a text as their name; names of more than `max_key_units` are not read.
    pub(super) fn read(self, max_key_units: usize) -> impl Iterator<Item = Read<Property<'env>>> + use<'env> {
        let property = move |index| {
            let Some(Key { key, name }) = key_at(&self.keys, index, max_key_units)? else { return Ok(None) };
            Ok(Some(Property { name, value: self.object.get_property_unchecked(key)? }))
        };
        (0..self.num).filter_map(move |index| property(index).transpose())
    }
}

/// Own, enumerable properties: what a prototype has was not asked for. Numbers stay numbers, which is faster.
pub(super) fn own_keys<'env>(object: &Object<'env>) -> Read<Object<'env>> {
    let (mode, filter) = (KeyCollectionMode::OwnOnly, KeyFilter::Enumerable);
    Ok(object.get_all_property_names(mode, filter, KeyConversion::KeepNumbers)?)
}

/// Whether an object has the elements 0, 1, 2 and so on, more than `most` of them. V8 lists properties at a million a
/// second, and cannot count them without; those of a list are soon found.
fn is_longer_list(object: &Object<'_>, most: usize) -> Read<bool> {
    let end = u32::try_from(most).unwrap_or(u32::MAX);
    for index in 0..=end {
        if !object.has_element(index)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A name as JavaScript has it, and its text or its length, where it is too long.
pub(super) struct Key<'env> {
    pub(super) key: Unknown<'env>,
    pub(super) name: Result<String, usize>,
}

/// A name of a list of names; one of more than `max_units` is not read.
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
