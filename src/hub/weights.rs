//! Finds the weight files of a folder and reads their headers. Each file name comes from the listing of the folder, or is a
//! plain name of its index, so no name leads out of the folder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use serde_json::Value;

use super::TensorHeader;
use super::failure::load_error;
use super::files::read_json;
use super::header::read_header;
use super::state::WeightFile;
use crate::error::{Code, Error, Result};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const MAX_INDEX_BYTES: u64 = 64 << 20;
/// The most weight files. The largest models have a few hundred.
const MAX_FILES: usize = 10_000;

/// All weights of a folder.
#[derive(Debug)]
pub(super) struct Weights {
    pub(super) tensors: BTreeMap<String, TensorHeader>,
    /// The files, in name order.
    pub(super) files: Vec<WeightFile>,
    pub(super) bytes: u64,
}

/// Reads the headers of a folder's weight files: `model.safetensors`, else the files of the index, else all files named
/// `model*.safetensors` or `weights*.safetensors`.
pub(super) fn read(folder: &Path) -> Result<Weights> {
    let index_path = folder.join(INDEX);
    if folder.join(SINGLE).symlink_metadata().is_ok() {
        return read_files(folder, BTreeSet::from([SINGLE.to_owned()]));
    }
    if index_path.symlink_metadata().is_ok() {
        let placed = read_index(&index_path)?;
        check_shards_exist(folder, &index_path, &placed)?;
        // The tensors are those of the files: an index may be outdated and name tensors that were left out. The executor
        // checks whether the model needs a tensor that is missing.
        return read_files(folder, placed.into_values().collect());
    }
    let names = named_like_weights(folder)?;
    if names.is_empty() {
        let message = format!("no weights in {}: neither `{SINGLE}` nor `{INDEX}` is there", folder.display());
        return Err(Error::new(Code::ModelLoadError, message));
    }
    read_files(folder, names)
}

fn read_files(folder: &Path, names: BTreeSet<String>) -> Result<Weights> {
    if names.len() > MAX_FILES {
        let problem = format!("has {} weight files; at most {MAX_FILES} are allowed", names.len());
        return Err(load_error(folder, &problem).with_limit(MAX_FILES as f64, names.len() as f64));
    }
    let mut weights = Weights { tensors: BTreeMap::new(), files: Vec::new(), bytes: 0 };
    for name in names {
        let path = folder.join(name);
        let file = weights.files.len();
        let (tensors, state) = read_header(&path)?;
        for (tensor, info) in tensors {
            let bytes = (info.data_offsets.1 - info.data_offsets.0) as u64;
            let total = weights.bytes.checked_add(bytes);
            weights.bytes = total.ok_or_else(|| load_error(&path, "makes the weights larger than any memory"))?;
            let header = TensorHeader { file, dtype: info.dtype, shape: info.shape };
            if let Some(other) = weights.tensors.get(&tensor) {
                let first = weights.files[other.file].path.display();
                return Err(load_error(&path, &format!("has tensor `{tensor}`, which is also in {first}")));
            }
            weights.tensors.insert(tensor, header);
        }
        weights.files.push(WeightFile { path, state });
    }
    Ok(weights)
}

/// The file of each tensor, from the index.
fn read_index(path: &Path) -> Result<BTreeMap<String, String>> {
    let index = read_json(path, MAX_INDEX_BYTES)?;
    let Some(Value::Object(map)) = index.get("weight_map") else {
        return Err(load_error(path, "has no `weight_map` object"));
    };
    if map.is_empty() {
        return Err(load_error(path, "has an empty `weight_map`"));
    }
    map.iter().map(|(tensor, file)| Ok((tensor.clone(), plain_name(path, tensor, file)?))).collect()
}

/// The name of a weight file in the folder: one component, neither `.` nor `..`.
fn plain_name(index: &Path, tensor: &str, file: &Value) -> Result<String> {
    let is_plain = |name: &str| {
        let mut components = Path::new(name).components();
        let is_one = matches!(components.next(), Some(Component::Normal(only)) if only == name);
        is_one && components.next().is_none() && !name.contains(['\\', '\0']) && name.ends_with(".safetensors")
    };
    file.as_str().filter(|name| is_plain(name)).map(str::to_owned).ok_or_else(|| {
        let problem = format!("places tensor `{tensor}` in {file}, which is not the name of a `.safetensors` file");
        load_error(index, &problem)
    })
}

fn check_shards_exist(folder: &Path, index: &Path, placed: &BTreeMap<String, String>) -> Result<()> {
    let names: BTreeSet<&String> = placed.values().collect();
    let missing: Vec<&str> =
        names.into_iter().filter(|name| !folder.join(name).exists()).map(String::as_str).take(10).collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(load_error(index, &format!("lists missing files: {}", missing.join(", "))))
    }
}

fn named_like_weights(folder: &Path) -> Result<BTreeSet<String>> {
    let cannot_list = |error: std::io::Error| load_error(folder, "cannot be listed").with_source(error);
    let mut names = BTreeSet::new();
    for entry in folder.read_dir().map_err(cannot_list)? {
        let name = entry.map_err(cannot_list)?.file_name();
        let Some(name) = name.to_str() else { continue };
        if name.ends_with(".safetensors") && (name.starts_with("model") || name.starts_with("weights")) {
            names.insert(name.to_owned());
        }
    }
    Ok(names)
}
