use std::io;
use std::path::{Path, PathBuf};

use autotag::EncodeError;
use autotag_onnx::OnnxError;

use crate::state::StateError;

/// The result of the trainer's fallible functions.
pub type Result<T, E = TrainError> = std::result::Result<T, E>;

/// An error of training or exporting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A data set has no document.
    #[error("the data set has no document: give at least one")]
    EmptyDataset,

    /// A training document has no labels.
    #[error(
        "document {key:?} has no labels, and there is nothing to learn from it: label it, or leave it out of the training set"
    )]
    NoLabels {
        /// The document's key.
        key: String,
    },

    /// Two training documents have the same key.
    #[error(
        "the key {key:?} stands twice in the training set: give every document a key of its own"
    )]
    DoubledKey {
        /// The key.
        key: String,
    },

    /// A training document's key is empty or too long to be stored.
    #[error("the key {key:?} of {length} bytes cannot be used: keys have 1 to {max} bytes")]
    KeyLength {
        /// The key.
        key: String,
        /// Its length in bytes.
        length: usize,
        /// The longest key.
        max: usize,
    },

    /// No word occurs in enough training texts to be learned from.
    #[error(
        "no word occurs in {min_documents} or more of the {n_texts} training texts: give more texts, or ask for n-grams that occur in fewer"
    )]
    NoNgrams {
        /// The number of training texts.
        n_texts: usize,
        /// The texts in which an n-gram must occur.
        min_documents: usize,
    },

    /// A document's label cannot be used.
    #[error("document {key:?} has a label that cannot be used")]
    Label {
        /// The document's key.
        key: String,
        /// The cause.
        #[source]
        source: autotag::Error,
    },

    /// A setting lies outside its range.
    #[error("{name} = {value} is out of range: it must be {expected}")]
    Setting {
        /// The setting's name.
        name: String,
        /// The value given.
        value: String,
        /// The accepted range, in words.
        expected: String,
    },

    /// A name is neither a preset's nor made of kinds of model.
    #[error(
        "{name:?} is no model: give one of {presets}, or several of them that are one model each, joined by \"+\""
    )]
    UnknownModel {
        /// The name.
        name: String,
        /// The presets' names.
        presets: String,
    },

    /// A model is made of a whole pretrained encoder, and there is none.
    #[error(
        "the model {model} needs a pretrained encoder to start from: give a folder with tokenizer.json, config.json and model.safetensors"
    )]
    NoEncoder {
        /// The kind of model.
        model: String,
    },

    /// The program lacks a feature that a model needs.
    #[error(
        "this program was built without what --model {model} needs: build it with `cargo install --path cli --features burn`"
    )]
    NotBuilt {
        /// The model.
        model: String,
    },

    /// A pretrained encoder's file cannot be used.
    #[error("{} cannot start the model: {reason}", path.display())]
    Pretrained {
        /// The file.
        path: PathBuf,
        /// The cause, and the way out.
        reason: String,
    },

    /// A file of word vectors cannot be used.
    #[error("{}{} cannot start the model: {reason}", path.display(), at(*line))]
    WordVectors {
        /// The file.
        path: PathBuf,
        /// The line, or the array's row, from 1.
        line: Option<u64>,
        /// The cause.
        reason: String,
    },

    /// The folder in which embeddings are kept cannot be used.
    #[error("cannot {action} {}, where embeddings are kept between runs: choose another folder, or do without", path.display())]
    Cache {
        /// The folder or a file in it.
        path: PathBuf,
        /// The action that failed, as "read".
        action: &'static str,
        /// The cause.
        #[source]
        source: std::io::Error,
    },

    /// A loss, or the model itself, became infinite or not a number.
    #[error(
        "{} in batch {batch} of epoch {epoch}: lower the learning rate (now {learning_rate}) or gamma, or bound the gradient's norm{}", what_diverged(*loss), finish_hint(checkpoint.as_deref())
    )]
    Diverged {
        /// The loss; `None` where it was finite and what its step made of the model is not.
        loss: Option<f32>,
        /// The epoch, from 1.
        epoch: usize,
        /// The batch, from 1.
        batch: usize,
        /// The learning rate.
        learning_rate: f32,
        /// The checkpoint of the epochs before, where there is one.
        checkpoint: Option<PathBuf>,
    },

    /// Training was asked to stop.
    #[error("stopped in epoch {epoch}{}", resume_hint(checkpoint.as_deref()))]
    Stopped {
        /// The epoch under way, from 1.
        epoch: usize,
        /// The checkpoint, where they are kept.
        checkpoint: Option<PathBuf>,
    },

    /// Encoding was asked to stop.
    #[error("stopped with {done} of {of} texts encoded{}", kept_hint(cache.as_deref()))]
    StoppedEncoding {
        /// The texts that are encoded.
        done: usize,
        /// The texts of the data set.
        of: usize,
        /// Where their embeddings are kept, if they are.
        cache: Option<PathBuf>,
    },

    /// An earlier training's checkpoint would be lost.
    #[error(
        "{} is the checkpoint of a training that did not end: resume or finish that one, or delete the file to begin anew",
        path.display()
    )]
    CheckpointExists {
        /// The checkpoint.
        path: PathBuf,
    },

    /// There is no checkpoint to finish.
    #[error("there is no checkpoint at {}: begin the training without asking to finish it", path.display())]
    NoCheckpoint {
        /// Where it would be.
        path: PathBuf,
    },

    /// A checkpoint was made before the first epoch's end, and so has nothing to publish.
    #[error("{} was made within the first epoch, and nothing can be published yet: resume the training", path.display())]
    NothingToFinish {
        /// The checkpoint.
        path: PathBuf,
    },

    /// A checkpoint cannot be read or written.
    #[error("the checkpoint {} cannot be used: {reason}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// The cause.
        reason: String,
    },

    /// A checkpoint is not as it was written.
    #[error(
        "the checkpoint {} is damaged, its checksum is not that of its bytes: delete it and begin anew, or put back a copy",
        path.display()
    )]
    CheckpointDamaged {
        /// The file.
        path: PathBuf,
    },

    /// A checkpoint's parts do not fit the model.
    #[error("the checkpoint {} does not belong to this model", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// The mismatch.
        #[source]
        source: StateError,
    },

    /// A checkpoint was made with other settings.
    #[error(
        "the checkpoint {} was made with other settings: {differences}; resume with the same, or delete it to begin anew",
        path.display()
    )]
    OtherSettings {
        /// The checkpoint.
        path: PathBuf,
        /// The settings that differ, with both values.
        differences: String,
    },

    /// A checkpoint was made from other data.
    #[error(
        "the checkpoint {} was made from other documents, labels or tokens: resume with the same, or delete it to begin anew",
        path.display()
    )]
    OtherData {
        /// The checkpoint.
        path: PathBuf,
    },

    /// Another training has the folder.
    #[error("another training uses {}: wait for it, or name another folder", path.display())]
    RunInUse {
        /// The folder.
        path: PathBuf,
    },

    /// A file or folder of the training cannot be read or written.
    #[error("could not {action} {}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The action that failed, as "create".
        action: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },

    /// The device to train on is not there.
    #[error("cannot train on {device}: {reason}")]
    TrainingDevice {
        /// The device asked for.
        device: autotag_onnx::Device,
        /// The cause, and the way out.
        reason: String,
    },

    /// The exported model does not say what the trained one says.
    #[error(
        "the exported model differs from the trained one by {difference:e} in {what} of text {key:?}, more than {tolerance:e}: this is a bug, please report it"
    )]
    ExportDiffers {
        /// Which output.
        what: &'static str,
        /// The largest difference.
        difference: f32,
        /// The largest difference accepted.
        tolerance: f32,
        /// The text's key.
        key: String,
    },

    /// A document's text cannot be used.
    #[error("the text of document {key:?} cannot be used: correct it, or leave the document out")]
    Text {
        /// The document's key.
        key: String,
        /// The cause.
        #[source]
        source: EncodeError,
    },

    /// No text of a data set can be read.
    #[error(
        "none of the {n_texts} {part} texts has a word that the model can read: is the text in another field?"
    )]
    NoReadableText {
        /// The data set, "training" or "dev".
        part: &'static str,
        /// The number of its texts.
        n_texts: usize,
    },

    /// The tokenizer failed.
    #[error("the tokenizer failed while it {action}")]
    Tokenizer {
        /// The action, as "learned a vocabulary".
        action: &'static str,
        /// The tokenizer's error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// The threads to train on could not be started.
    #[error("could not start {threads} threads to train on")]
    Threads {
        /// The number of threads asked for.
        threads: usize,
        /// The cause.
        #[source]
        source: rayon::ThreadPoolBuildError,
    },

    /// The core failed.
    #[error(transparent)]
    Core(#[from] autotag::Error),

    /// The bundle or ONNX Runtime failed.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
}

impl TrainError {
    /// Makes an error of a failed action on a file.
    pub(crate) fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> TrainError {
        let path = path.to_path_buf();
        move |source| TrainError::Io { path, action, source }
    }
}

fn what_diverged(loss: Option<f32>) -> String {
    match loss {
        Some(loss) => format!("the loss became {loss}"),
        None => "the model lost its answers (infinite, or all zero)".to_owned(),
    }
}

fn finish_hint(checkpoint: Option<&Path>) -> String {
    let hint = |path: &Path| {
        format!("; {} has the epochs before and can be finished as it is", path.display())
    };
    checkpoint.map_or_else(String::new, hint)
}

fn resume_hint(checkpoint: Option<&Path>) -> String {
    let hint = |path: &Path| {
        format!(": nothing is lost, {} can be resumed, or finished as it is", path.display())
    };
    checkpoint.map_or_else(|| ", and no checkpoints are kept".to_owned(), hint)
}

fn kept_hint(cache: Option<&Path>) -> String {
    let hint = |path: &Path| {
        format!(
            ": what is encoded is kept in {}, and the same command goes on from there",
            path.display()
        )
    };
    cache.map_or_else(|| ", and none is kept".to_owned(), hint)
}

fn at(line: Option<u64>) -> String {
    line.map_or_else(String::new, |line| format!(", line {line}"))
}
