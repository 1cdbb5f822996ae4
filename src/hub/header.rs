//! The header of a safetensors file. It is read without the data, and accepted only if the data that it describes fills the
//! file exactly. The `safetensors` crate checks arithmetic and layout. This file also checks the length, which the crate does
//! not know without the data, and duplicate names, which the crate accepts.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::io::Read;
use std::path::Path;

use safetensors::tensor::{Metadata, TensorInfo};
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error as _, MapAccess, Visitor};

use super::failure::{load_error, unreadable};
use super::files::open_regular;
use super::state::FileState;
use crate::error::Result;

/// The limit of the format's own parsers, in bytes.
const MAX_HEADER_BYTES: u64 = 100_000_000;
const LENGTH_BYTES: usize = size_of::<u64>();
/// The most dimensions of a tensor, more than any layer has.
const MAX_DIMENSIONS: usize = 16;

/// The tensors of a file, in no particular order, and the state of the file before its header was read.
pub(super) fn read_header(path: &Path) -> Result<(Vec<(String, TensorInfo)>, FileState)> {
    let (mut file, _) = open_regular(path)?;
    let state = FileState::settled(&file).map_err(|error| unreadable(path, error))?;
    let file_len = state.len;
    let mut length = [0; LENGTH_BYTES];
    file.read_exact(&mut length)
        .map_err(|error| load_error(path, "is too short to be a weight file").with_source(error))?;
    let header_len = u64::from_le_bytes(length);
    let data_len = file_len.checked_sub(LENGTH_BYTES as u64).and_then(|rest| rest.checked_sub(header_len));
    let (Some(data_len), true) = (data_len, header_len <= MAX_HEADER_BYTES) else {
        let problem = format!("claims a header of {header_len} bytes in a file of {file_len}");
        return Err(load_error(path, &problem));
    };
    let mut header = Vec::new();
    file.take(header_len)
        .read_to_end(&mut header)
        .map_err(|error| load_error(path, "cannot be read").with_source(error))?;
    let tensors = parse(&header).map_err(|problem| load_error(path, &format!("has a bad header: {problem}")))?;
    check(path, &tensors, data_len)?;
    Ok((tensors, state))
}

fn parse(header: &[u8]) -> Result<Vec<(String, TensorInfo)>, serde_json::Error> {
    let mut json = serde_json::Deserializer::from_slice(header);
    let tensors = json.deserialize_map(TensorsVisitor)?;
    // The format allows padding with spaces only.
    json.end()?;
    Ok(tensors.into_iter().collect())
}

fn check(path: &Path, tensors: &[(String, TensorInfo)], data_len: u64) -> Result<()> {
    let mut ordered = tensors.to_vec();
    ordered.sort_by_key(|(_, info)| info.data_offsets);
    let described = Metadata::new(None, ordered).map(|metadata| metadata.data_len() as u64);
    let described = described.map_err(|error| {
        let problem = match tensors.iter().find(|(name, info)| !is_sound(name, info)) {
            Some((name, _)) => format!("has tensor `{name}`, whose shape and type do not fit its bytes"),
            None => format!("has tensors that overlap or leave holes: {error}"),
        };
        load_error(path, &problem).with_source(error)
    })?;
    if described != data_len {
        let problem = format!("describes {described} bytes of tensors and has {data_len}: truncated or padded");
        return Err(load_error(path, &problem));
    }
    Ok(())
}

/// Whether a tensor is valid by itself. Finds the wrong one among several.
fn is_sound(name: &str, info: &TensorInfo) -> bool {
    let (start, end) = info.data_offsets;
    let Some(len) = end.checked_sub(start) else { return false };
    let alone = TensorInfo { dtype: info.dtype, shape: info.shape.clone(), data_offsets: (0, len) };
    Metadata::new(None, vec![(name.to_owned(), alone)]).is_ok()
}

struct TensorsVisitor;

impl<'de> Visitor<'de> for TensorsVisitor {
    type Value = HashMap<String, TensorInfo>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut tensors = HashMap::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                // The metadata is not used, but it must have the right type.
                map.next_value::<Option<HashMap<String, String>>>()?;
                continue;
            }
            let info = map.next_value_seed(Named(&name))?;
            if info.shape.len() > MAX_DIMENSIONS {
                let message = format!(
                    "tensor `{name}` has {} dimensions; at most {MAX_DIMENSIONS} are allowed",
                    info.shape.len()
                );
                return Err(A::Error::custom(message));
            }
            match tensors.entry(name) {
                Entry::Vacant(free) => drop(free.insert(info)),
                Entry::Occupied(taken) => {
                    return Err(A::Error::custom(format!("tensor `{}` is there twice", taken.key())));
                }
            }
        }
        Ok(tensors)
    }
}

/// Reads the description of one tensor. Errors name the tensor.
struct Named<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Named<'_> {
    type Value = TensorInfo;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<TensorInfo, D::Error> {
        serde::Deserialize::deserialize(deserializer)
            .map_err(|error| D::Error::custom(format!("tensor `{}`: {error}", self.0)))
    }
}
