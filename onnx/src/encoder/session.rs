//! Sessions of ONNX Runtime: loading them on a device, running a batch.

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use ndarray::{Array2, Ix2};
use ort::ep::{CUDA, ExecutionProviderDispatch};
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{RunOptions, Session, SessionInputValue};
use ort::value::{PrimitiveTensorElementType, Tensor};
use prost::Message;

use super::options::OnnxOptions;
use super::weights::SharedModel;
use crate::bundle::config::BundleConfig;
use crate::bundle::input::InputKind;
use crate::bundle::model::{
    ATTENTION_MASK, EMBEDDING, FEATURE_IDS, FEATURE_WEIGHTS, INPUT_IDS, SCORES,
};
use crate::lookup::NativeLookups;
use crate::proto::ModelProto;
use crate::runtime::{self, Runtime};
use crate::{Device, DeviceInUse, ModelInput, OnnxError, Result};

/// Loads the sessions that the options ask for on the device that they ask for.
///
/// Each is tested with the shortest input there is and a longer one before it is returned.
pub(super) fn load(
    path: PathBuf,
    model: ModelProto,
    config: &BundleConfig,
    options: &OnnxOptions,
    test: &[ModelInput; 2],
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

/// The longest time that a model may take for one or two short texts.
const TEST_RUN: Duration = Duration::from_secs(120);

struct Loader<'a> {
    runtime: &'static Runtime,
    path: PathBuf,
    config: &'a BundleConfig,
    options: &'a OnnxOptions,
    test: &'a [ModelInput; 2],
}

impl Loader<'_> {
    fn on_cpu(&self, mut model: ModelProto) -> Result<Vec<Model>> {
        let lookups = NativeLookups::take(&mut model).map_err(ort::Error::new);
        let kernels = lookups.and_then(|lookups| lookups.domain()).map_err(self.failed("read"))?;
        let model = SharedModel::new(model).map_err(self.failed("read"))?;
        let session = || {
            let builder = match &kernels {
                Some(kernels) => self.builder()?.with_operators(kernels.clone())?,
                None => self.builder()?,
            };
            model.give(builder)?.commit_from_memory(model.bytes())
        };
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
        let (path, kind) = (self.path.clone(), self.config.input);
        let mut model = Model { session, path, kind, dimensions, n_labels };
        model.run_within(TEST_RUN, &self.test[..1])?;
        model.run_within(TEST_RUN, self.test)?;
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
    kind: InputKind,
    dimensions: usize,
    n_labels: usize,
}

/// The model's answers to a batch, a row for each text.
pub(super) struct Answer {
    /// [texts, D].
    pub(super) embeddings: Array2<f32>,
    /// [texts, L]; absent for a model without labels.
    pub(super) scores: Option<Array2<f32>>,
}

impl Model {
    /// Runs a batch of at least one text, padded to its longest one.
    pub(super) fn run(&mut self, batch: &[ModelInput]) -> Result<Answer> {
        let options = RunOptions::new().map_err(|source| self.failed(source))?;
        self.run_with(batch, &options)
    }

    /// Runs a batch, and ends the run where it takes too long; the operator that is running then is
    /// the last.
    fn run_within(&mut self, limit: Duration, batch: &[ModelInput]) -> Result<Answer> {
        let options = RunOptions::new().map_err(|source| self.failed(source))?;
        let (ended, end) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let stop = || options.terminate().is_ok();
            let watch = scope
                .spawn(move || end.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) && stop());
            let answer = self.run_with(batch, &options);
            drop(ended);
            match watch.join() {
                Ok(true) => {
                    let (path, seconds) = (self.path.clone(), limit.as_secs());
                    Err(OnnxError::TestRunTooLong { path, seconds })
                }
                _ => answer,
            }
        })
    }

    fn failed(&self, source: ort::Error) -> OnnxError {
        OnnxError::Session { path: self.path.clone(), action: "run", source }
    }

    fn run_with(&mut self, batch: &[ModelInput], options: &RunOptions) -> Result<Answer> {
        let (n_texts, dimensions, n_labels) = (batch.len(), self.dimensions, self.n_labels);
        let failed = |source| OnnxError::Session { path: self.path.clone(), action: "run", source };
        let inputs = inputs(self.kind, batch).map_err(failed)?;
        let outputs = self.session.run_with_options(inputs, options).map_err(failed)?;
        let values = |name: &'static str, length: usize| {
            let missing = || ort::Error::new(format!("the model has no output {name:?}"));
            let output = outputs.get(name).ok_or_else(|| failed(missing()))?;
            let values = output.try_extract_array::<f32>().map_err(failed)?;
            if *values.shape() == [n_texts, length] {
                let matrix = values.into_dimensionality::<Ix2>().expect("it has two dimensions");
                return Ok(matrix.to_owned());
            }
            let sizes = |shape: &[usize]| shape.iter().map(|&size| size as i64).collect();
            let (expected, found) = (sizes(&[n_texts, length]), sizes(values.shape()));
            Err(OnnxError::OutputShape { path: self.path.clone(), name, expected, found })
        };
        let embeddings = values(EMBEDDING, dimensions)?;
        let scores = (n_labels > 0).then(|| values(SCORES, n_labels)).transpose()?;
        Ok(Answer { embeddings, scores })
    }
}

/// Makes the inputs that a kind of model has.
///
/// `input_ids` and `attention_mask`, both [texts, longest], are padded with 0; so are `feature_ids`
/// and `feature_weights`, which have at least one column.
fn inputs(
    kind: InputKind,
    batch: &[ModelInput],
) -> ort::Result<Vec<(&'static str, SessionInputValue<'static>)>> {
    let mut inputs = Vec::new();
    if kind.reads_tokens() {
        let ids = batch.iter().map(ModelInput::ids);
        let ones = ids.clone().map(|ids| ids.iter().map(|_| 1_i64));
        inputs.push((INPUT_IDS, padded(ids.map(|ids| ids.iter().map(|&id| i64::from(id))), 0)?));
        inputs.push((ATTENTION_MASK, padded(ones, 0)?));
    }
    if kind.reads_ngrams() {
        let ids = batch.iter().map(|text| text.features.ids.iter().map(|&id| i64::from(id)));
        let weights = batch.iter().map(|text| text.features.weights.iter().copied());
        inputs.push((FEATURE_IDS, padded(ids, 1)?));
        inputs.push((FEATURE_WEIGHTS, padded(weights, 1)?));
    }
    Ok(inputs)
}

/// Makes a tensor [rows, longest] of rows of different lengths, padded with 0.
fn padded<T, R>(
    rows: impl ExactSizeIterator<Item = R> + Clone,
    min_length: usize,
) -> ort::Result<SessionInputValue<'static>>
where
    T: PrimitiveTensorElementType + Clone + Default + Debug + 'static,
    R: ExactSizeIterator<Item = T>,
{
    let longest = rows.clone().map(|row| row.len()).max().unwrap_or_default();
    let mut matrix = Array2::default((rows.len(), longest.max(min_length)));
    for (mut padded, row) in matrix.rows_mut().into_iter().zip(rows) {
        padded.iter_mut().zip(row).for_each(|(place, value)| *place = value);
    }
    Ok(Tensor::from_array(matrix)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Dim, GraphBuilder};
    use crate::proto::ElementType;

    /// A model that multiplies matrices for minutes, or for a moment.
    fn model(n_products: usize) -> Model {
        const N: usize = 512;
        let mut graph = GraphBuilder::new("slow");
        let shape = [Dim::Symbol("batch"), Dim::Symbol("length")];
        let ids = graph.input(INPUT_IDS, ElementType::Int64, &shape);
        let mask = graph.input(ATTENTION_MASK, ElementType::Int64, &shape);
        let ids = graph.add(&ids, &mask);
        let first = graph.slice(&ids, &[0, 0], &[1, 1], &[0, 1]);
        let first = graph.cast(&first, ElementType::Float);
        let matrix = graph.constant_f32("matrix", &[N, N], &vec![1e-3; N * N]);
        let mut product = graph.add(&matrix, &first);
        for _ in 0..n_products {
            product = graph.matmul(&product, &matrix);
        }
        let row = graph.slice(&product, &[0, 0], &[1, 2], &[0, 1]);
        graph.output(EMBEDDING, &row, ElementType::Float, &[Dim::Symbol("batch"), Dim::Fixed(2)]);
        let runtime = runtime::load(None).unwrap();
        let mut builder = Session::builder(runtime.environment()).unwrap();
        let session = builder.commit_from_memory(&graph.finish()).unwrap();
        let kind = InputKind::TokenIds;
        Model { session, path: PathBuf::from("model.onnx"), kind, dimensions: 2, n_labels: 0 }
    }

    #[test]
    fn a_first_run_that_takes_too_long_is_ended_and_told() {
        let text = [ModelInput { ids: vec![1], ..ModelInput::default() }];
        let started = std::time::Instant::now();
        let error = model(5000).run_within(Duration::from_millis(300), &text);
        assert!(matches!(error, Err(OnnxError::TestRunTooLong { .. })));
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
        model(3).run_within(Duration::from_secs(60), &text).unwrap();
    }
}
