use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use autotag::{EncodeError, Fingerprint};
use tantivy::TantivyError;
use tantivy::query::QueryParserError;

use crate::job::Job;

/// The result of this crate's fallible functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The errors of tagging, indexing and searching documents.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The schema lacks a field that autotag was told to use.
    #[error("the schema has no field {name:?} to hold the {role}: add it or name another one")]
    FieldMissing {
        /// The field's role.
        role: &'static str,
        /// The name given.
        name: String,
    },

    /// A field's type does not fit its use.
    #[error("field {name:?} cannot hold the {role}: it must be {expected}")]
    FieldType {
        /// The field's role.
        role: &'static str,
        /// The field's name.
        name: String,
        /// The type that fits.
        expected: &'static str,
    },

    /// A field is named for two uses.
    #[error("field {name:?} is named for two uses: give key, texts, tags and evidence one each")]
    FieldTwice {
        /// The field's name.
        name: String,
    },

    /// The list of segments or the last commit's payload was changed.
    #[error(
        "the index's meta.json was changed after it was written: run `autotag repair` (IndexFolder::repair), or restore the index from a backup"
    )]
    CommitChanged,

    /// The description of an index was changed.
    #[error("{} was changed after it was written: run `autotag repair` with the index's bundle (IndexFolder::recover), or restore it from a backup", path.display())]
    DescriptionChanged {
        /// The file.
        path: PathBuf,
    },

    /// A document is to be read back, and a field of it is not stored.
    #[error(
        "field {field:?} is not stored, so a document cannot be written anew without losing it: store every field, or hand the document over again"
    )]
    NotStored {
        /// The field's name.
        field: String,
    },

    /// No tokenizer is registered under a name.
    #[error("no tokenizer {name:?} is registered: register it with the TokenizerManager first")]
    NoTokenizer {
        /// The name.
        name: String,
    },

    /// The index has no document of a key.
    #[error("there is no document {key:?} in the index: check its key")]
    NoSuchDocument {
        /// The key.
        key: String,
    },

    /// A job is to begin while another one is not finished.
    #[error(
        "the index waits for a job to be finished that was interrupted ({job}): resume it first"
    )]
    JobUnfinished {
        /// The job.
        job: Box<Job>,
    },

    /// No text field is named.
    #[error("no text field is named: name at least one field whose text is to be tagged")]
    NoTextField,

    /// A document has no key.
    #[error("the document has no key: give it one text value in field {field:?}")]
    KeyMissing {
        /// The key field's name.
        field: String,
    },

    /// A document has several keys.
    #[error("the document has {count} values in its key field {field:?}: give it exactly one")]
    KeyRepeated {
        /// The key field's name.
        field: String,
        /// The number of values.
        count: usize,
    },

    /// A key is empty or too long to be stored.
    #[error("a key of {length} bytes cannot be used: keys have 1 to {max} bytes")]
    KeyLength {
        /// The key's length in bytes.
        length: usize,
        /// The longest key.
        max: usize,
    },

    /// A document brings values in a field that autotag fills.
    #[error(
        "document {key:?} has values of its own in field {field:?}, which autotag fills: leave them out, or hand over known labels with `add_labeled`"
    )]
    ReservedField {
        /// The document's key.
        key: String,
        /// The field's name.
        field: String,
    },

    /// A document has a value in a field that the schema does not have.
    #[error(
        "document {key:?} has a value in field number {field}, which the index's schema does not have: build it with the index's own schema"
    )]
    UnknownField {
        /// The document's key.
        key: String,
        /// The field's number.
        field: u32,
    },

    /// A document's value has another type than its field.
    #[error(
        "document {key:?} has a value in field {field:?} that is not of the field's type {expected}"
    )]
    ValueType {
        /// The document's key.
        key: String,
        /// The field's name.
        field: String,
        /// The name of the field's type.
        expected: &'static str,
    },

    /// A document's label cannot be used.
    #[error("document {key:?} has a label that cannot be used")]
    Label {
        /// The document's key.
        key: String,
        /// The label's error.
        #[source]
        source: autotag::Error,
    },

    /// An earlier document could not be tagged, and the policy is to fail.
    ///
    /// The call that returns this did nothing itself and can be made again.
    #[error(
        "document {key:?} could not be tagged and was left out (as were {others} others): fix it and add it again, or choose another failure policy"
    )]
    Document {
        /// The document's key.
        key: String,
        /// The number of other documents that failed since the last report.
        others: usize,
        /// Why it failed.
        #[source]
        source: EncodeError,
    },

    /// The index was made with another encoder.
    #[error(
        "the index was made with another bundle: its encoder is {index}, this one's is {tagger}; open it with the bundle that made it, or make it this one's with `autotag migrate --index DIR --bundle BUNDLE` (IndexFolder::migrate)"
    )]
    EncoderMismatch {
        /// The encoder that made the index.
        index: Fingerprint,
        /// The tagger's.
        tagger: Fingerprint,
    },

    /// The datastore's labels do not begin with the model's.
    #[error(
        "label {id} is {found:?} in the datastore and {expected:?} in the model: the datastore was made for another model, rebuild it from the bundle"
    )]
    LabelMismatch {
        /// The first label that differs.
        id: usize,
        /// Its name in the datastore, empty where the datastore has no such label.
        found: String,
        /// Its name in the model.
        expected: String,
    },

    /// The index was committed by a newer version of this crate.
    #[error(
        "the index was written by a newer version (commit format {found}, this one knows {supported}): use a newer version of autotag"
    )]
    CommitVersion {
        /// The version in the index.
        found: u32,
        /// The newest version that this program reads.
        supported: u32,
    },

    /// Another writer has the index open.
    #[error(
        "the index is already open for writing, here or in another process: close that writer, or share it"
    )]
    InUse,

    /// The writer stopped after a failure that it cannot work around.
    #[error(
        "the writer has stopped and takes no more work: fix the cause and open the index again; all commits are safe"
    )]
    Stopped {
        /// Why it stopped.
        #[source]
        cause: Arc<Error>,
    },

    /// A thread of the pipeline panicked; this is a bug, most likely in the encoder.
    #[error("tagging panicked: {message}; report this as a bug")]
    Panicked {
        /// The panic's message.
        message: String,
    },

    /// Tantivy panicked while it read the index, as it does at some damage.
    #[error(
        "Tantivy panicked while it {action}: {message}; the index is damaged, `autotag verify` says where"
    )]
    IndexPanicked {
        /// The action, as "searched".
        action: &'static str,
        /// The panic's message.
        message: String,
    },

    /// A segment's file was changed after it was written.
    #[error(
        "the file {} of the index is damaged: its checksum differs; run `autotag repair` (IndexFolder::repair), or restore the index from a backup", file.display()
    )]
    SegmentDamaged {
        /// Its path inside the index's folder.
        file: PathBuf,
    },

    /// Tantivy failed.
    #[error("Tantivy failed while it {action}")]
    Tantivy {
        /// The action, as "added documents".
        action: &'static str,
        /// Tantivy's own error.
        #[source]
        source: TantivyError,
    },

    /// The datastore failed.
    #[error("the datastore failed")]
    Datastore(#[from] autotag::Error),

    /// A thread could not be started.
    #[error("could not start a tagging thread")]
    Thread(#[source] std::io::Error),

    /// A query cannot be parsed.
    #[error("query {query:?} cannot be read: {source}")]
    Query {
        /// The query.
        query: String,
        /// The parser's error.
        #[source]
        source: QueryParserError,
    },

    /// A query is longer than any that is read.
    #[error("the query has {length} bytes, more than {max}: shorten it, or make it several")]
    QueryTooLong {
        /// Its length in bytes.
        length: usize,
        /// The longest query.
        max: usize,
    },

    /// A query is nested more deeply than any that is read.
    #[error(
        "the query has more than {max} parentheses and NOTs inside each other: nest it less, write -word for NOT word, or make it several"
    )]
    QueryTooDeep {
        /// The deepest nesting.
        max: usize,
    },

    /// A tag's path is longer than that of any label.
    #[error("the tag has {length} bytes, more than {max}: no label is as long")]
    TagTooLong {
        /// Its length in bytes.
        length: usize,
        /// The longest path.
        max: usize,
    },

    /// A tag's path cannot be read.
    #[error("{path:?} is no tag: write its path, as /role/program, or its label, as role::program")]
    TagPath {
        /// The path given.
        path: String,
    },

    /// Suggestions were searched for in an index that has no field for them.
    #[error(
        "the index keeps no suggestions that can be searched: make it with a field for them, `FieldNames::suggestions`"
    )]
    NoSuggestions,

    /// A document's evidence does not decode.
    #[error(
        "a document's evidence does not decode: field number {field} holds something that autotag did not write"
    )]
    Evidence {
        /// The evidence field's number.
        field: u32,
        /// The decoder's error, where there is one.
        #[source]
        source: Option<serde_json::Error>,
    },

    /// A folder holds no index.
    #[error("{} holds no index made by autotag: give the folder of one, or make one first", path.display())]
    NoIndex {
        /// The folder.
        path: PathBuf,
    },

    /// The creation of an index was interrupted.
    #[error("{} holds an index whose creation was interrupted: create it again, it was still empty", path.display())]
    IndexUnfinished {
        /// The folder.
        path: PathBuf,
    },

    /// An index is there already.
    #[error("{} holds an index already: open it, or choose another folder", path.display())]
    IndexExists {
        /// The folder.
        path: PathBuf,
    },

    /// A folder for a new index holds other files.
    #[error("{} holds other files, such as {found:?}: choose an empty or a new folder", path.display())]
    FolderNotEmpty {
        /// The folder.
        path: PathBuf,
        /// A file in it.
        found: String,
    },

    /// An index folder's format is not one that this version reads.
    #[error("the index in {} has format version {found}, this program reads up to {supported}: use a newer version of autotag", path.display())]
    IndexVersion {
        /// The folder.
        path: PathBuf,
        /// The version on disk.
        found: u32,
        /// The newest version that this program reads.
        supported: u32,
    },

    /// An index folder's description does not decode.
    #[error("{} does not decode: run `autotag repair` with the index's bundle (IndexFolder::recover), or restore it from a backup", path.display())]
    DescriptionDamaged {
        /// The file.
        path: PathBuf,
        /// The decoder's error.
        #[source]
        source: serde_json::Error,
    },

    /// The file system failed.
    #[error("could not {action} {}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The action, as "create".
        action: &'static str,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// Wraps a Tantivy error; a held writer lock becomes [`Error::InUse`].
    pub(crate) fn tantivy(action: &'static str) -> impl FnOnce(TantivyError) -> Error {
        use tantivy::directory::error::{LockError, OpenReadError};
        move |source| match source {
            TantivyError::LockFailure(LockError::LockBusy, _) => Error::InUse,
            TantivyError::OpenReadError(OpenReadError::IoError { io_error, .. })
                if io_error.kind() == io::ErrorKind::InvalidData =>
            {
                Error::CommitChanged
            }
            source => Error::Tantivy { action, source },
        }
    }
}

/// Returns the error of an action on a file or folder.
pub(crate) fn io_error(action: &'static str, path: &Path) -> impl Fn(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { path: path.clone(), action, source }
}

/// Wraps a datastore's error; one that is open already becomes [`Error::InUse`].
pub(crate) fn in_use(error: autotag::Error) -> Error {
    match error {
        autotag::Error::DatastoreInUse { .. } => Error::InUse,
        error => Error::Datastore(error),
    }
}
