//! A model's large constants, kept in memory once for all sessions.

use std::sync::Arc;

use half::f16;
use ort::session::builder::SessionBuilder;
use ort::value::{DynValue, Tensor};
use prost::Message;
use prost::bytes::Bytes;

use crate::proto::{ElementType, ModelProto, StringStringEntryProto, TensorProto};

/// Constants below this size stay in each session's copy of the model.
const LARGE: usize = 1 << 16;

/// The file name that stands in a constant which was taken out of the model; no such file is ever read.
const PLACE: &str = "shared";

/// A model without its large constants, and those constants.
pub(super) struct SharedModel {
    model: Vec<u8>,
    constants: Vec<(String, Arc<DynValue>)>,
}

impl SharedModel {
    /// Takes the large constants out of a model.
    pub(super) fn new(mut model: ModelProto) -> ort::Result<Self> {
        let mut constants = Vec::new();
        for tensor in model.graph.iter_mut().flat_map(|graph| &mut graph.initializer) {
            if let Some(value) = take_constant(tensor)? {
                constants.push((tensor.name.clone().unwrap_or_default(), Arc::new(value)));
            }
        }
        Ok(SharedModel { model: model.encode_to_vec(), constants })
    }

    /// Returns the model's bytes, to be loaded by a builder that [`SharedModel::give`] prepared.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.model
    }

    /// Gives the constants to a session that is being built.
    ///
    /// # Why twice?
    ///
    /// As an external initializer, a constant takes the place of the one in the graph, but the
    /// session copies it when it is ready to run; as an initializer it is used where it lies, but
    /// the graph is checked before that. Measured with ONNX Runtime 1.31.1.
    pub(super) fn give(&self, mut builder: SessionBuilder) -> ort::Result<SessionBuilder> {
        for (name, value) in &self.constants {
            builder = builder.with_external_initializer(name, value.clone())?;
            builder = builder.with_initializer(name, value.clone())?;
        }
        Ok(builder)
    }
}

/// Takes a large constant's values, and marks it as one whose values come from elsewhere.
fn take_constant(tensor: &mut TensorProto) -> ort::Result<Option<DynValue>> {
    let shape = tensor.dims.clone();
    let Some(raw) = tensor.raw_data.take_if(|raw| raw.len() >= LARGE) else { return Ok(None) };
    let is_whole = |size| Some(raw.len()) == byte_length(&shape, size);
    let value = match tensor.data_type() {
        ElementType::Float if is_whole(4) => {
            Tensor::from_array((shape, values(&raw, f32::from_le_bytes)))?.into_dyn()
        }
        ElementType::Float16 if is_whole(2) => {
            Tensor::from_array((shape, values(&raw, f16::from_le_bytes)))?.into_dyn()
        }
        ElementType::Int64 if is_whole(8) => {
            Tensor::from_array((shape, values(&raw, i64::from_le_bytes)))?.into_dyn()
        }
        _ => {
            tensor.raw_data = Some(raw);
            return Ok(None);
        }
    };
    let entry = |key: &str, value: String| StringStringEntryProto {
        key: Some(key.to_owned()),
        value: Some(value),
    };
    tensor.external_data =
        vec![entry("location", PLACE.to_owned()), entry("length", raw.len().to_string())];
    tensor.data_location = Some(1);
    Ok(Some(value))
}

/// Returns the bytes that a tensor has, unless its shape is nonsense.
fn byte_length(shape: &[i64], size: usize) -> Option<usize> {
    shape.iter().try_fold(size, |bytes, &length| bytes.checked_mul(usize::try_from(length).ok()?))
}

fn values<const N: usize, T>(raw: &Bytes, from_le_bytes: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (chunks, _) = raw.as_chunks::<N>();
    chunks.iter().map(|&bytes| from_le_bytes(bytes)).collect()
}
