//! Reads from `config.json` which linear layers are quantized and in which format. `tensors` combines it with the tensors
//! that a folder has; `linear` computes with quantized weights.

use std::collections::BTreeMap;

use serde_json::Value;

use super::config::Fields;
use super::failure::{bad_model, unsupported};
use crate::error::Result;

/// The quantization of a model.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Quantization {
    default: Affine,
    /// By the path of the layer; `None` means that the layer is not quantized.
    overrides: BTreeMap<String, Option<Affine>>,
}

/// MLX's affine quantization: `group_size` consecutive inputs share a scale and an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Affine {
    pub(super) bits: i32,
    pub(super) group_size: i32,
}

impl Quantization {
    /// Reads `quantization`, or else `quantization_config`: a copy of it in MLX exports, and another format in other exports,
    /// recognized by `quant_method`.
    pub(super) fn read(fields: &Fields<'_>) -> Result<Option<Self>> {
        let copy = fields.object("quantization_config")?;
        let Some(fields) = fields.object("quantization")?.or(copy) else { return Ok(None) };
        if let Some(method) = fields.text("quant_method")? {
            let message = format!("weights quantized by `{method}`; only MLX's affine quantization is supported");
            return Err(unsupported(&fields.full("quant_method"), message));
        }
        let default = Affine::read(&fields)?;
        let mut overrides = BTreeMap::new();
        for (path, value) in fields.iter() {
            let choice = match value {
                Value::Bool(true) => Some(default),
                Value::Bool(false) => None,
                Value::Object(_) => Some(Affine::read(&fields.object(path)?.unwrap_or_else(|| fields.clone()))?),
                _ => continue,
            };
            fields.get(path);
            overrides.insert(path.clone(), choice);
        }
        fields.refuse_unread(|_| true)?;
        Ok(Some(Self { default, overrides }))
    }

    /// How the layer at `path` is quantized; `None` if it is not.
    pub(super) fn of(&self, path: &str) -> Option<Affine> {
        self.overrides.get(path).copied().unwrap_or(Some(self.default))
    }
}

impl Affine {
    fn read(fields: &Fields<'_>) -> Result<Self> {
        match fields.text("mode")? {
            None | Some("affine") => {}
            Some(mode) => {
                let message = format!("quantization mode `{mode}`; known modes: affine");
                return Err(unsupported(&fields.full("mode"), message));
            }
        }
        let affine = Self { bits: fields.int("bits", 2..=8)?, group_size: fields.int("group_size", 32..=128)? };
        if affine.bits == 7 || ![32, 64, 128].contains(&affine.group_size) {
            return Err(bad_model(format!(
                "config.json: `{}` is {} bits in groups of {}; supported are 2, 3, 4, 5, 6, 8 bits in groups of 32, 64, 128",
                fields.full("bits"),
                affine.bits,
                affine.group_size
            )));
        }
        Ok(affine)
    }
}
