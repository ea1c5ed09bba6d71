use std::path::PathBuf;

use crate::Fingerprint;

/// The result of the core's fallible functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Errors of the core.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A parameter lies outside its range.
    #[error("{name} = {value} is out of range: it must be {expected}")]
    Parameter {
        /// The parameter's name, with the paper's symbol where there is one.
        name: &'static str,
        /// The value given.
        value: f64,
        /// The accepted range, in words.
        expected: &'static str,
    },

    /// The parameters of a learned mix cannot be used.
    #[error("the learned mix cannot be used: {reason}; fit it again")]
    Mix {
        /// The fault, in words.
        reason: &'static str,
    },

    /// A label's name cannot become a facet path.
    #[error("label {name:?} cannot be used: {reason}")]
    LabelName {
        /// The name given.
        name: String,
        /// The fault and its remedy.
        reason: &'static str,
    },

    /// A vocabulary lists the same label twice.
    #[error("label {name:?} stands twice in the vocabulary: list every label once")]
    DuplicateLabel {
        /// The label's name.
        name: String,
    },

    /// No label has or had a name.
    #[error("there is no label {name:?}: check how it is written")]
    LabelUnknown {
        /// The name given.
        name: String,
    },

    /// A label was to get a name that another one has or had.
    #[error("another label has or had the name {name:?}: merge the two, or choose another name")]
    LabelTaken {
        /// The name given.
        name: String,
    },

    /// A label was renamed as often as former names are kept.
    #[error(
        "label {name:?} has had {max} other names already, and no more are kept: make a new label and merge this one into it"
    )]
    LabelNames {
        /// The label's name.
        name: String,
        /// The most names that are kept.
        max: usize,
    },

    /// A label that is to be changed is not in use.
    #[error("label {name:?} is {state}: restore it first")]
    LabelInactive {
        /// The label's name.
        name: String,
        /// Its state.
        state: &'static str,
    },

    /// A label was to be merged into itself.
    #[error("label {name:?} cannot be merged into itself: name two labels")]
    LabelItself {
        /// The label's name.
        name: String,
    },

    /// A vector cannot be a representation.
    #[error("a vector of {dimensions} dimensions cannot be an embedding: {reason}")]
    Embedding {
        /// The vector's length.
        dimensions: usize,
        /// The fault.
        reason: &'static str,
    },

    /// A model score is not a probability.
    #[error("the model's score for label {label} is {value}, which is not within 0..=1")]
    Score {
        /// The label's position in the vocabulary.
        label: usize,
        /// The value.
        value: f32,
    },

    /// A vector's length differs from the datastore's.
    #[error(
        "an embedding has {found} dimensions where the datastore holds {expected}: encode with the model that made the datastore"
    )]
    Dimensions {
        /// The datastore's number of dimensions.
        expected: usize,
        /// The vector's.
        found: usize,
    },

    /// An encoder's answer to a batch has another shape than the encoder says.
    #[error(
        "the encoder answered with {found} where its labels and dimensions ask for {expected}: mend the encoder"
    )]
    AnswerShape {
        /// The shape that was due, as "2 texts with embeddings of 300 and scores of 54 values".
        expected: String,
        /// That of the answer.
        found: String,
    },

    /// A folder holds no datastore.
    #[error("{} holds no datastore: give the folder of an index or bundle made by autotag", path.display())]
    NoDatastore {
        /// The folder.
        path: PathBuf,
    },

    /// A datastore is there already.
    #[error("{} holds a datastore already: open it, or choose another folder", path.display())]
    DatastoreExists {
        /// The folder.
        path: PathBuf,
    },

    /// The datastore was filled by another encoder.
    #[error("the datastore in {} was made with encoder {found}, not with {expected}: open it with the bundle that made it, or make a new index", path.display())]
    EncoderMismatch {
        /// The datastore's folder.
        path: PathBuf,
        /// The encoder it was opened with.
        expected: Fingerprint,
        /// The encoder that filled it.
        found: Fingerprint,
    },

    /// The datastore's format is not the one that this version reads.
    #[error("the datastore in {} has format version {found}, this program reads {supported}: {}", path.display(), if found > supported { "use a newer version of autotag" } else { "make it again with this version" })]
    DatastoreVersion {
        /// The datastore's folder.
        path: PathBuf,
        /// The version on disk.
        found: u32,
        /// The version that this program reads.
        supported: u32,
    },

    /// The same environment is open already, in this process or (for writing) in another.
    #[error("the datastore in {} is in use: close it first, share the one handle, or wait until the other process is done", path.display())]
    DatastoreInUse {
        /// The datastore's folder.
        path: PathBuf,
    },

    /// A datastore that was opened for reading was asked for a writer.
    #[error("the datastore in {} was opened for reading only: copy it into the index's folder and open the copy", path.display())]
    DatastoreReadOnly {
        /// The datastore's folder.
        path: PathBuf,
    },

    /// Changes were prepared, and nobody said yet whether they are to be applied or discarded.
    #[error("the datastore in {} holds the prepared changes of generation {generation}: apply or discard them first", path.display())]
    DatastorePrepared {
        /// The datastore's folder.
        path: PathBuf,
        /// The generation that the changes lead to.
        generation: u64,
    },

    /// Changes were to be prepared under a generation that the datastore is past.
    #[error("the datastore in {} is at generation {current}, so nothing can be prepared as generation {given}: give a larger one", path.display())]
    DatastoreGeneration {
        /// The datastore's folder.
        path: PathBuf,
        /// The datastore's generation.
        current: u64,
        /// The one given.
        given: u64,
    },

    /// A datastore was asked for a writer in a place where this process may not write.
    #[error("the datastore in {} cannot be written to: it lies on a read-only file system, or its files or folder belong to another user; copy it to where you may write, or change its permissions", path.display())]
    DatastoreNotWritable {
        /// The datastore's folder.
        path: PathBuf,
    },

    /// Something stored is not as it was written.
    #[error("the datastore in {} is damaged: {what} cannot be used; run `autotag repair` on an index, or restore it from a copy", path.display())]
    DatastoreDamaged {
        /// The datastore's folder.
        path: PathBuf,
        /// The data that was being read.
        what: &'static str,
    },

    /// A document's key does not fit.
    #[error("a key of {length} bytes cannot be stored: keys have 1 to {max} bytes")]
    Key {
        /// The key's length in bytes.
        length: usize,
        /// The longest key.
        max: usize,
    },

    /// LMDB failed.
    #[error("LMDB failed in {} while it {action}", path.display())]
    Lmdb {
        /// The datastore's folder.
        path: PathBuf,
        /// The action that failed, as "opened the environment".
        action: &'static str,
        /// LMDB's own error.
        #[source]
        source: StoreError,
    },

    /// The nearest-neighbor trees failed.
    #[error("the neighbor index in {} failed while it {action}", path.display())]
    Arroy {
        /// The datastore's folder.
        path: PathBuf,
        /// The action that failed, as "built the trees".
        action: &'static str,
        /// Arroy's own error.
        #[source]
        source: StoreError,
    },

    /// The file system failed.
    #[error("could not {action} {}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The action that failed, as "create".
        action: &'static str,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
}

/// An error of LMDB or Arroy, whose own types may change with their versions.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct StoreError(#[from] pub(crate) StoreFailure);

#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreFailure {
    #[error(transparent)]
    Lmdb(heed::Error),
    #[error(transparent)]
    Arroy(arroy::Error),
}
