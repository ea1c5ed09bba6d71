//! Sessions of ONNX Runtime: loading them on a device, running a batch.

use std::path::PathBuf;

use ort::ep::{CUDA, ExecutionProviderDispatch};
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::value::Tensor;
use prost::Message;

use super::OnnxOptions;
use super::weights::SharedModel;
use crate::bundle::BundleConfig;
use crate::bundle::model::{ATTENTION_MASK, EMBEDDING, INPUT_IDS, SCORES};
use crate::proto::ModelProto;
use crate::runtime::{self, Runtime};
use crate::{Device, DeviceInUse, OnnxError, Result};

/// Loads the sessions that the options ask for on the device that they ask for.
///
/// Each is tested with a text's tokens before it is returned.
pub(super) fn load(
    path: PathBuf,
    model: ModelProto,
    config: &BundleConfig,
    options: &OnnxOptions,
    test: &[u32],
) -> Result<(Vec<Model>, DeviceInUse)> {
    let runtime = runtime::load(None)?;
    let loader = Loader { runtime, path, config, options, test };
    let reason = match options.device {
        Device::Cpu => return Ok((loader.on_cpu(model)?, DeviceInUse::Cpu)),
        Device::Cuda(number) => {
            return Ok((loader.on_cuda(&model, number)?, DeviceInUse::Cuda(number)));
        }
        Device::Auto => match loader.on_cuda(&model, 0) {
            Ok(sessions) => return Ok((sessions, DeviceInUse::Cuda(0))),
            Err(OnnxError::DeviceUnavailable { source, .. }) => source.to_string(),
            Err(error) => error.to_string(),
        },
    };
    tracing::info!(reason, "CUDA cannot be used, the model runs on the CPU");
    // A model that is at fault itself fails here too, with its own error.
    Ok((loader.on_cpu(model)?, DeviceInUse::CpuInsteadOfCuda { reason }))
}

/// Checks that ONNX Runtime can use a device, without loading a model.
pub(super) fn check(device: Device) -> Result<()> {
    let Device::Cuda(number) = device else { return Ok(()) };
    let runtime = runtime::load(None)?;
    let builder = || -> ort::Result<_> {
        let cuda = cuda(runtime, number)?;
        Ok(Session::builder(runtime.environment())?.with_execution_providers([cuda])?)
    };
    builder().map(drop).map_err(|source| OnnxError::DeviceUnavailable { device, source })
}

/// Makes a CUDA device to run on, which is an error where it cannot be used.
///
/// Without `error_on_failure` ONNX Runtime would go on with the CPU and not say so.
fn cuda(runtime: &Runtime, number: u32) -> ort::Result<ExecutionProviderDispatch> {
    let number = i32::try_from(number)
        .map_err(|_| ort::Error::new(format!("there is no CUDA device {number}")))?;
    runtime.preload_cuda();
    Ok(CUDA::default().with_device_id(number).build().error_on_failure())
}

struct Loader<'a> {
    runtime: &'static Runtime,
    path: PathBuf,
    config: &'a BundleConfig,
    options: &'a OnnxOptions,
    test: &'a [u32],
}

impl Loader<'_> {
    fn on_cpu(&self, model: ModelProto) -> Result<Vec<Model>> {
        let model = SharedModel::new(model).map_err(self.failed("read"))?;
        let session = || model.give(self.builder()?)?.commit_from_memory(model.bytes());
        self.sessions(|| session().map_err(self.failed("load")))
    }

    /// Loads the sessions on a CUDA device; each copies the weights to the device.
    fn on_cuda(&self, model: &ModelProto, number: u32) -> Result<Vec<Model>> {
        let device = Device::Cuda(number);
        let unavailable = |source| OnnxError::DeviceUnavailable { device, source };
        let builder = || -> ort::Result<_> {
            Ok(self.builder()?.with_execution_providers([cuda(self.runtime, number)?])?)
        };
        let mut builder = builder().map_err(unavailable)?;
        let model = model.encode_to_vec();
        self.sessions(|| builder.commit_from_memory(&model).map_err(unavailable))
    }

    fn builder(&self) -> ort::Result<SessionBuilder> {
        // Level 2 and up of ONNX Runtime 1.31 breaks valid graphs that gather from a range. Threads
        // that spin while they wait take the time of those that work.
        Ok(Session::builder(self.runtime.environment())?
            .with_optimization_level(GraphOptimizationLevel::Level1)?
            .with_intra_threads(self.options.intra_threads.get())?
            .with_intra_op_spinning(false)?)
    }

    fn sessions(&self, mut session: impl FnMut() -> Result<Session>) -> Result<Vec<Model>> {
        let mut models = Vec::new();
        for _ in 0..self.options.sessions.get() {
            models.push(self.tested(session()?)?);
        }
        Ok(models)
    }

    /// Runs the shortest text there is, then one of several tokens beside it.
    fn tested(&self, session: Session) -> Result<Model> {
        let (dimensions, n_labels) = (self.config.dimensions.get(), self.config.n_labels);
        let mut model = Model { session, path: self.path.clone(), dimensions, n_labels };
        let shortest = &self.test[..1];
        model.run(&[shortest])?;
        model.run(&[shortest, self.test])?;
        Ok(model)
    }

    fn failed(&self, action: &'static str) -> impl FnOnce(ort::Error) -> OnnxError {
        let path = self.path.clone();
        move |source| OnnxError::Session { path, action, source }
    }
}

/// A session and the shapes of its answers.
#[derive(Debug)]
pub(super) struct Model {
    session: Session,
    path: PathBuf,
    dimensions: usize,
    n_labels: usize,
}

/// What the model says of a batch, text after text.
pub(super) struct Answer {
    embeddings: Vec<f32>,
    dimensions: usize,
    scores: Vec<f32>,
    n_labels: usize,
}

impl Model {
    /// Runs a batch of at least one text, padded to its longest one.
    pub(super) fn run(&mut self, batch: &[&[u32]]) -> Result<Answer> {
        let (n_texts, dimensions, n_labels) = (batch.len(), self.dimensions, self.n_labels);
        let failed = |source| OnnxError::Session { path: self.path.clone(), action: "run", source };
        let (ids, mask) = padded(batch).map_err(failed)?;
        let inputs = ort::inputs! { INPUT_IDS => ids, ATTENTION_MASK => mask };
        let outputs = self.session.run(inputs).map_err(failed)?;
        let values = |name: &'static str, length: usize| {
            let missing = || ort::Error::new(format!("the model has no output {name:?}"));
            let output = outputs.get(name).ok_or_else(|| failed(missing()))?;
            let (shape, values) = output.try_extract_tensor::<f32>().map_err(failed)?;
            let expected = [n_texts as i64, length as i64];
            if **shape == expected {
                return Ok(values.to_vec());
            }
            let (path, expected, found) = (self.path.clone(), expected.to_vec(), shape.to_vec());
            Err(OnnxError::OutputShape { path, name, expected, found })
        };
        let embeddings = values(EMBEDDING, dimensions)?;
        let scores = if n_labels > 0 { values(SCORES, n_labels)? } else { Vec::new() };
        Ok(Answer { embeddings, dimensions, scores, n_labels })
    }
}

impl Answer {
    /// Returns each text's embedding, and its scores where the model has labels.
    pub(super) fn rows(&self) -> impl Iterator<Item = (&[f32], Option<&[f32]>)> {
        let embeddings = self.embeddings.chunks_exact(self.dimensions);
        embeddings.enumerate().map(|(text, embedding)| {
            let scores = &self.scores[text * self.n_labels..(text + 1) * self.n_labels];
            (embedding, (self.n_labels > 0).then_some(scores))
        })
    }
}

/// Makes `input_ids` and `attention_mask`, both [texts, longest]: id 0 and mask 0 are padding.
fn padded(batch: &[&[u32]]) -> ort::Result<(Tensor<i64>, Tensor<i64>)> {
    let longest = batch.iter().map(|ids| ids.len()).max().unwrap_or_default();
    let shape = [batch.len(), longest];
    let mut padded_ids = vec![0; batch.len() * longest];
    let mut mask = vec![0; batch.len() * longest];
    for (text, ids) in batch.iter().enumerate() {
        let row = text * longest..text * longest + ids.len();
        mask[row.clone()].fill(1);
        for (padded_id, &id) in padded_ids[row].iter_mut().zip(*ids) {
            *padded_id = i64::from(id);
        }
    }
    Ok((Tensor::from_array((shape, padded_ids))?, Tensor::from_array((shape, mask))?))
}
