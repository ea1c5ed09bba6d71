use std::io;
use std::path::{Path, PathBuf};

use crate::Device;
use crate::bundle::input::InputKind;
use crate::runtime::requirements::{TELEMETRY_VARIABLE, VERSION};

/// The result of this crate's fallible functions.
pub type Result<T, E = OnnxError> = std::result::Result<T, E>;

/// Errors of ONNX Runtime, a device or a model bundle.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OnnxError {
    /// ONNX Runtime's library is nowhere.
    #[error(
        "ONNX Runtime was not found (looked at {}): fetch it with `autotag setup` (`autotag setup --gpu` for CUDA) or `autotag_fetch::onnxruntime::install`, or set ORT_DYLIB_PATH to the libonnxruntime.so of the `onnxruntime` Python wheel",
        list(looked_at)
    )]
    RuntimeMissing {
        /// The places looked at, in their order.
        looked_at: Vec<PathBuf>,
    },

    /// A library is there but is no ONNX Runtime that this program can use.
    #[error(
        "{} cannot be used as ONNX Runtime: {reason}; fetch one with `autotag setup` or `autotag_fetch::onnxruntime::install`, or set ORT_DYLIB_PATH to the libonnxruntime.so of the `onnxruntime` Python wheel, version {}",
        path.display(),
        VERSION
    )]
    RuntimeUnusable {
        /// The library.
        path: PathBuf,
        /// The fault.
        reason: String,
    },

    /// ONNX Runtime would report to its vendor, and the environment cannot be changed any more.
    #[error(
        "ONNX Runtime is not loaded, since it would report to its vendor: set {0}=1 in the environment that the program is started with, or have the program call `autotag_onnx::runtime::disable_telemetry` before it starts threads",
        TELEMETRY_VARIABLE
    )]
    TelemetryOn,

    /// Another library than the one asked for is in use already.
    #[error(
        "ONNX Runtime was loaded from {} already and cannot be loaded from {} too: choose one per process",
        loaded.display(), asked.display()
    )]
    RuntimeLoaded {
        /// The library in use.
        loaded: PathBuf,
        /// The library asked for.
        asked: PathBuf,
    },

    /// The device asked for cannot be used.
    #[error(
        "device {device} cannot be used: {}. It needs an NVIDIA driver, CUDA 13 with cuDNN 9, and ONNX Runtime's build for CUDA (`autotag setup --gpu`); --device cpu or auto works without",
        source.to_string().trim_end_matches('.')
    )]
    DeviceUnavailable {
        /// The device.
        device: Device,
        /// ONNX Runtime's own error.
        #[source]
        source: ort::Error,
    },

    /// A folder holds no model bundle.
    #[error("{} is no model bundle: it has no config.json; give the folder that `autotag train --out` wrote", path.display())]
    NoBundle {
        /// The folder.
        path: PathBuf,
    },

    /// A bundle's format is newer than this program.
    #[error("the bundle {} has format version {found}, this program reads up to {supported}: use a newer version of autotag", path.display())]
    BundleVersion {
        /// The bundle's folder.
        path: PathBuf,
        /// The version on disk.
        found: u64,
        /// The newest version that this program reads.
        supported: u32,
    },

    /// A file that the bundle should have is missing.
    #[error("the bundle is damaged: {} is missing; copy or train the bundle again", path.display())]
    FileMissing {
        /// The file.
        path: PathBuf,
    },

    /// A file is shorter or longer than when the bundle was written.
    #[error("the bundle is damaged: {} has {found} bytes instead of {expected}; copy or train the bundle again", path.display())]
    FileLength {
        /// The file.
        path: PathBuf,
        /// The length in the manifest.
        expected: u64,
        /// The length on disk.
        found: u64,
    },

    /// A file's content is not what it was when the bundle was written.
    #[error("the bundle is damaged: {} was changed after the bundle was written; copy or train the bundle again", path.display())]
    FileChanged {
        /// The file.
        path: PathBuf,
    },

    /// A file lies in the bundle's folder that does not belong to it.
    #[error("{} does not belong to the bundle: move it elsewhere", path.display())]
    FileUnlisted {
        /// The file.
        path: PathBuf,
    },

    /// Something in the bundle's folder is neither a file nor a folder, but a link or a device.
    #[error("{} is no plain file: a bundle holds no links; put the file itself there", path.display())]
    NotPlain {
        /// Where it lies.
        path: PathBuf,
    },

    /// A file is longer than any of its kind that this program reads.
    #[error("{} has {found} bytes, more than the {limit} that are read of such a file: do not use this bundle", path.display())]
    FileTooLong {
        /// The file.
        path: PathBuf,
        /// Its length.
        found: u64,
        /// The greatest length.
        limit: u64,
    },

    /// The configuration asks for something larger than any model is.
    #[error("{}: {field} is {found}, more than {limit}: do not use this bundle", path.display())]
    ConfigSize {
        /// The file.
        path: PathBuf,
        /// The field, as "dimensions".
        field: &'static str,
        /// Its value.
        found: usize,
        /// The greatest value.
        limit: usize,
    },

    /// The manifest lists a path that leads out of the bundle's folder.
    #[error("the manifest of {} lists {name:?}, which lies outside the bundle: do not use this bundle", path.display())]
    PathOutside {
        /// The bundle's folder.
        path: PathBuf,
        /// The path as it is listed.
        name: String,
    },

    /// A JSON file of the bundle does not have the fields that it should.
    #[error("{} cannot be read; copy or train the bundle again", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The fault and its line.
        #[source]
        source: serde_json::Error,
    },

    /// The number of labels differs between two parts of a bundle.
    #[error("the bundle {} is inconsistent: config.json says {expected} labels, labels.json has {found}", path.display())]
    LabelCount {
        /// The bundle's folder.
        path: PathBuf,
        /// The number in the configuration.
        expected: usize,
        /// The number in the list.
        found: usize,
    },

    /// The tokenizer's file does not decode, or does not fit the configuration.
    #[error("the tokenizer of {} cannot be used", path.display())]
    Tokenizer {
        /// The bundle's folder.
        path: PathBuf,
        /// The tokenizer's own error.
        #[source]
        source: tokenizers::Error,
    },

    /// The vocabulary of n-grams does not decode, or something in it cannot be.
    #[error("the n-grams in {} cannot be used; copy or train the bundle again", path.display())]
    Ngrams {
        /// The file.
        path: PathBuf,
        /// The fault.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// A draft was given other vocabularies than its configuration names.
    #[error("the bundle {} would be inconsistent: its configuration says that the model reads {input:?}, and the tokenizer or the n-grams for that were not given, or both were", path.display())]
    LexiconKind {
        /// The bundle's folder.
        path: PathBuf,
        /// The model's input.
        input: InputKind,
    },

    /// The model's file is no ONNX model.
    #[error("{} is no ONNX model", path.display())]
    ModelDecode {
        /// The file.
        path: PathBuf,
        /// The part that does not decode.
        #[source]
        source: prost::DecodeError,
    },

    /// The model keeps tensors in other files.
    #[error("{} keeps the tensor {tensor:?} in another file: write the model with all tensors inside", path.display())]
    ExternalTensor {
        /// The model's file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
    },

    /// The model has more nodes, names and attributes than models have.
    #[error("{} has {found} bytes beside its tensors' values, more than {limit}: do not use this bundle", path.display())]
    ModelStructure {
        /// The model's file.
        path: PathBuf,
        /// The bytes of names, nodes and attributes.
        found: usize,
        /// The most that are read.
        limit: usize,
    },

    /// The model calls an operator that a bundle's model may not call.
    #[error(
        "{} calls {kind} {name:?}: a bundle's model may call ONNX's own operators without graphs inside (no loops, branches or functions), and autotag's lookups as this version defines them; export it without, or train it anew",
        path.display()
    )]
    Operator {
        /// The model's file.
        path: PathBuf,
        /// The kind of thing that it calls, as "the operator".
        kind: &'static str,
        /// The name of what it calls.
        name: String,
    },

    /// A tensor of the model is larger than its file can hold, or than a model needs.
    #[error("{} asks for {found} values in the tensor {name:?}, more than a model needs: do not use this bundle", path.display())]
    TensorSize {
        /// The model's file.
        path: PathBuf,
        /// The tensor's name.
        name: String,
        /// The values that it would have.
        found: u64,
    },

    /// The model's first run did not end in time.
    #[error("{} did not answer a test text within {seconds} seconds: do not use this bundle", path.display())]
    TestRunTooLong {
        /// The model's file.
        path: PathBuf,
        /// The time that it was given.
        seconds: u64,
    },

    /// The model's inputs or outputs are not those of the contract.
    #[error("{}: {side} {name:?} must be {expected}, it is {found}", path.display())]
    ModelSignature {
        /// The model's file.
        path: PathBuf,
        /// "input" or "output".
        side: &'static str,
        /// Its name.
        name: String,
        /// The expected input or output, as "float32 [batch, 300]".
        expected: String,
        /// That of the model, or "missing".
        found: String,
    },

    /// The model answered with tensors of another shape than its bundle says.
    #[error("{}: the model's output {name:?} has the shape {found:?} instead of {expected:?}", path.display())]
    OutputShape {
        /// The model's file.
        path: PathBuf,
        /// The output's name.
        name: &'static str,
        /// The shape expected.
        expected: Vec<i64>,
        /// The shape of the answer.
        found: Vec<i64>,
    },

    /// ONNX Runtime refused the model.
    #[error("ONNX Runtime cannot {action} {}", path.display())]
    Session {
        /// The model's file.
        path: PathBuf,
        /// The action that failed, as "load".
        action: &'static str,
        /// ONNX Runtime's own error.
        #[source]
        source: ort::Error,
    },

    /// The model ran when it was loaded, but a text had no usable answer.
    #[error("the model of {} gave no usable answer for a test text", path.display())]
    Verify {
        /// The bundle's folder.
        path: PathBuf,
        /// The fault of the answer.
        #[source]
        source: autotag::EncodeError,
    },

    /// Something lies already where the bundle should be written.
    #[error("{} exists already: choose another folder, or ask for an older bundle there to be replaced", path.display())]
    TargetExists {
        /// The folder.
        path: PathBuf,
    },

    /// The bundle's datastore or labels cannot be used.
    #[error("the bundle {} cannot be used", path.display())]
    Core {
        /// The bundle's folder.
        path: PathBuf,
        /// The core's own error.
        #[source]
        source: Box<autotag::Error>,
    },

    /// The file system failed.
    #[error("could not {action} {}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The action that failed, as "read".
        action: &'static str,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

impl OnnxError {
    /// Returns a closure for `map_err`, which names the path and what was being done with it.
    pub(crate) fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> OnnxError {
        move |source| OnnxError::Io { path: path.to_path_buf(), action, source }
    }
}

/// Writes paths for an error message.
fn list(paths: &[PathBuf]) -> String {
    if paths.is_empty() {
        return "no place: neither XDG_DATA_HOME nor HOME is set".to_owned();
    }
    let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    paths.join(", ")
}
