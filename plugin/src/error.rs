use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use autotag::{EncodeError, Fingerprint};
use tantivy::query::QueryParserError;
use tantivy::{DocAddress, TantivyDocument, TantivyError};

use crate::job::Job;

/// The result of this crate's fallible functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The errors of tagging, indexing and searching documents.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The schema lacks a field that autotag was told to use.
    #[error(
        "the schema has no field {name:?} to hold the {role}: add it, name another one, or do without where it is optional (`FieldNames::review(None)`)"
    )]
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
    #[error("field {name:?} is named for two uses: give each use a field of its own")]
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

    /// A document is to be read back, and the values of some fields cannot be.
    #[error(
        "documents cannot be written anew without losing the values of {fields:?}: store these fields, or do without corrections (WriterOptions::corrections) and hand a document over again instead"
    )]
    NotStored {
        /// The fields' names.
        fields: Vec<String>,
    },

    /// The schema names a tokenizer that is not registered.
    #[error(
        "field {field:?} needs the tokenizer {tokenizer:?}, which is not registered: register it with the index, or by IndexOptions, before the index is opened"
    )]
    TokenizerMissing {
        /// The field's name.
        field: String,
        /// The tokenizer's name.
        tokenizer: String,
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

    /// An operation depends on another one of its key, which is not committed yet.
    ///
    /// A correction is about the document that a commit shows. And a document or a deletion that
    /// follows a correction needs that to be committed first.
    #[error(
        "document {key:?} was changed since the last commit, and this operation depends on that: wait for the next commit, or make one, and try again"
    )]
    NotCommitted {
        /// The document's key.
        key: String,
        /// The document that was not taken; absent for corrections and deletions.
        document: Option<Box<TantivyDocument>>,
    },

    /// A rollback was asked for while a job runs, whose progress it would undo.
    #[error(
        "a job is running: wait for its end, or interrupt it (TaggingWriter::interrupt_job), before the rollback"
    )]
    JobRunning,

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

    /// The writer was closed.
    #[error("the writer is closed: open the index again")]
    Closed,

    /// The encoder failed on so many texts in a row that no single text can be at fault.
    #[error(
        "the encoder failed on {n_texts} texts in a row: mend it, or open the index with another that has the same fingerprint"
    )]
    EncoderFailed {
        /// The number of texts.
        n_texts: usize,
        /// The failure of the last one.
        #[source]
        source: EncodeError,
    },

    /// A thread of the pipeline panicked; this is a bug.
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
    #[error("query {query:?} cannot be read")]
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

    /// Origins were searched for in an index that has no fields for reviews.
    #[error(
        "the index keeps no origins that can be searched: make it with the fields for reviews, `FieldNames::review`"
    )]
    NoReviewFields,

    /// A request has more parts than any that is answered.
    #[error("the request has {count} {what}, more than {max}: leave some out, or make it several")]
    RequestTooLarge {
        /// The parts, as "facets".
        what: &'static str,
        /// Their number.
        count: usize,
        /// The most of them.
        max: usize,
    },

    /// Documents cannot be sorted by a field.
    #[error(
        "documents cannot be sorted by field {name:?}, since {problem}: name a fast field of numbers, dates or truth values"
    )]
    SortField {
        /// The field's name.
        name: String,
        /// Why not.
        problem: &'static str,
    },

    /// A cursor was changed, or is none.
    #[error("the cursor is damaged: give it as the search returned it, or begin at the first page")]
    CursorDamaged,

    /// A cursor was made for another state of the index.
    #[error(
        "the cursor is outdated, since the index was changed after its page was searched: begin at the first page"
    )]
    CursorOutdated,

    /// A cursor was made for another request.
    #[error(
        "the cursor belongs to another request: repeat its query, filters and order, or begin at the first page"
    )]
    CursorOfAnotherRequest,

    /// An address names no document of the searcher.
    #[error(
        "there is no document at segment {} and number {}: use addresses with the searcher that found them",
        address.segment_ord, address.doc_id
    )]
    NoSuchAddress {
        /// The address.
        address: DocAddress,
    },

    /// A document's evidence does not decode.
    #[error(
        "a document's evidence does not decode: field number {field} holds something that autotag did not write"
    )]
    Evidence {
        /// The evidence field's number.
        field: u32,
        /// The decoder's error, where there is one.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },

    /// A folder holds no index that could be adopted.
    #[error("{} holds no Tantivy index: give the folder that has its meta.json", path.display())]
    NoTantivyIndex {
        /// The folder.
        path: PathBuf,
    },

    /// A field that autotag is to fill is in the schema of an index that is adopted.
    #[error("the index that is adopted has a field {name:?} already: give autotag's another name")]
    FieldTaken {
        /// The field's name.
        name: String,
    },

    /// Documents of an index that is adopted have no key, or several.
    #[error(
        "{missing} documents of the index have no key in field {field:?}, and {several} have more than one: give each exactly one, then adopt the index again"
    )]
    KeysUnfit {
        /// The key field's name.
        field: String,
        /// The number of documents without a key.
        missing: u64,
        /// The number of documents with several keys.
        several: u64,
    },

    /// Documents of an index that is adopted share a key.
    #[error(
        "{count} keys in field {field:?} stand for more than one document, {key:?} among them: give each document a key of its own, or name another field, then adopt the index again"
    )]
    KeysShared {
        /// The key field's name.
        field: String,
        /// One of the keys.
        key: String,
        /// The number of such keys.
        count: u64,
    },

    /// An index is opened that does not have all documents of the one that it adopts.
    #[error("{} holds an index whose adoption was interrupted: adopt the same index again, which goes on, or remove the folder", path.display())]
    AdoptionUnfinished {
        /// The folder.
        path: PathBuf,
    },

    /// An interrupted adoption cannot go on.
    #[error("{} holds an interrupted adoption that cannot go on, since {reason}: remove the folder and adopt the index again", path.display())]
    AdoptionChanged {
        /// The folder.
        path: PathBuf,
        /// The difference, as "the bundle is another one".
        reason: &'static str,
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
        source: Box<dyn std::error::Error + Send + Sync>,
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
