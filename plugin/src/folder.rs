//! An index on disk: Tantivy's files, and beside them what autotag keeps.
//!
//! ```text
//! DIR/                     Tantivy's files
//! DIR/autotag/index.json   format version, field names, encoder, bundle; written last
//! DIR/autotag/datastore/   the index's own neighbors, and what is kept of its documents
//! ```

mod description;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use autotag::datastore::{SealState, check_seal};
use autotag::{Datastore, Encoder, Fingerprint, Tagger, failpoint};
use tantivy::schema::Schema;
use tantivy::{Index, IndexReader, ReloadPolicy};

use crate::commit::{self, Payload};
use crate::rebuild::{Rebuilt, Sources};
use crate::{
    Error, FieldNames, JobProgress, RepairReport, Result, TagFields, TagSearcher, TaggingWriter,
    VerifyReport, WriterOptions, files, rebuild, repair, source, verify,
};

use description::{Description, VERSION, description_path, publish, temporary_path, to_json};

/// The name of the first datastore's folder; migrating makes others.
const DATASTORE: &str = "datastore";

/// A folder with an index that autotag tags.
///
/// ```no_run
/// use std::path::Path;
///
/// use autotag::{Datastore, Encoder, Tagger};
/// use tantivy::schema::Schema;
/// use tantivy_autotag::{FieldNames, IndexFolder, Result, TagFields, TaggingWriter, WriterOptions};
///
/// fn open_or_create<E: Encoder + 'static>(
///     folder: &Path,
///     tagger: Tagger<E>,
///     training_set: &Datastore,
/// ) -> Result<TaggingWriter<E>> {
///     let folder = if IndexFolder::exists(folder) {
///         IndexFolder::open(folder)?
///     } else {
///         let mut schema = Schema::builder();
///         let fields = TagFields::add_to(&mut schema, &FieldNames::default())?;
///         let encoder = tagger.encoder().fingerprint();
///         IndexFolder::create(folder, schema.build(), &fields, training_set, encoder, "bundle")?
///     };
///     folder.writer(tagger, WriterOptions::default())
/// }
/// ```
#[derive(Clone, Debug)]
pub struct IndexFolder {
    path: PathBuf,
    description: Description,
}

impl IndexFolder {
    /// Tells whether a folder holds a finished index of autotag's.
    pub fn exists(path: &Path) -> bool {
        description_path(path).is_file()
    }

    /// Makes an empty index in a new or empty folder, whose neighbors begin as a copy of `seed`.
    ///
    /// `bundle` says where the encoder's bundle lies, for whoever opens the index; it is kept as it
    /// is. What an interrupted creation left in the folder is removed first.
    ///
    /// # Errors
    ///
    /// [`Error::IndexExists`], [`Error::FolderNotEmpty`], [`Error::FieldType`] and its like,
    /// [`Error::Datastore`] when the seed cannot be copied, and [`Error::Io`].
    pub fn create(
        path: &Path,
        schema: Schema,
        fields: &TagFields,
        seed: &Datastore,
        encoder: Fingerprint,
        bundle: &str,
    ) -> Result<Self> {
        let names = fields.names(&schema)?;
        if IndexFolder::exists(path) {
            return Err(Error::IndexExists { path: path.to_owned() });
        }
        remove_unfinished(path)?;
        check_empty(path)?;
        let (own, mark) = (own_folder(path), unfinished_path(path));
        fs::create_dir_all(&own).map_err(io_error("create", &own))?;
        File::create(&mark).map_err(io_error("create", &mark))?;
        failpoint::reach("create::marked");
        seed.copy_to(&own.join(DATASTORE))?;
        failpoint::reach("create::seeded");
        let schema_checksum = crc32fast::hash(&to_json(&schema));
        Index::create_in_dir(path, schema).map_err(Error::tantivy("made the index"))?;
        failpoint::reach("create::indexed");
        let description = Description {
            version: VERSION,
            fields: names,
            encoder,
            bundle: bundle.to_owned(),
            datastore: DATASTORE.to_owned(),
            schema: schema_checksum,
            checksum: 0,
        };
        let description = description.sealed();
        publish(path, &description)?;
        failpoint::reach("create::described");
        fs::remove_file(&mark).map_err(io_error("remove", &mark))?;
        Ok(IndexFolder { path: path.to_owned(), description })
    }

    /// Opens a folder that [`IndexFolder::create`] made; nothing is locked yet.
    ///
    /// # Errors
    ///
    /// [`Error::NoIndex`], [`Error::IndexUnfinished`] when its making was interrupted,
    /// [`Error::IndexVersion`] when a newer program made it, [`Error::DescriptionDamaged`] and
    /// [`Error::Io`].
    pub fn open(path: &Path) -> Result<Self> {
        let description = Description::read(path)?;
        Ok(IndexFolder { path: path.to_owned(), description })
    }

    /// Returns the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the folder of the index's own datastore.
    pub fn datastore_path(&self) -> PathBuf {
        own_folder(&self.path).join(&self.description.datastore)
    }

    /// Tells whether an index has the schema that it was made with.
    pub(crate) fn is_schema_of(&self, index: &Index) -> bool {
        crc32fast::hash(&to_json(&index.schema())) == self.description.schema
    }

    /// Returns the names of the fields that autotag uses.
    pub fn names(&self) -> &FieldNames {
        &self.description.fields
    }

    /// Returns the fingerprint of the encoder that the index was made with.
    pub fn encoder(&self) -> Fingerprint {
        self.description.encoder
    }

    /// Returns where the bundle lies, as it was said when the index was made.
    pub fn bundle(&self) -> &str {
        &self.description.bundle
    }

    /// Opens Tantivy's index, and looks its fields up.
    ///
    /// # Errors
    ///
    /// [`Error::Tantivy`] when it cannot be opened, [`Error::FieldMissing`] and its like when its
    /// schema was changed.
    pub fn index(&self) -> Result<(Index, TagFields)> {
        let index = Index::open_in_dir(&self.path).map_err(Error::tantivy("opened the index"))?;
        let fields = TagFields::from_schema(&index.schema(), self.names())?;
        Ok((index, fields))
    }

    /// Opens the index's own datastore.
    ///
    /// # Errors
    ///
    /// [`Error::Datastore`], as when it is open already.
    pub fn datastore(&self) -> Result<Datastore> {
        Ok(Datastore::open(&self.datastore_path(), &self.encoder())?)
    }

    /// Opens the index for tagging, and removes what killed processes left in the folder, as well as
    /// the datastore of a migration that was not finished.
    ///
    /// # Errors
    ///
    /// As [`TaggingWriter::open`].
    pub fn writer<E: Encoder + 'static>(
        &self,
        tagger: Tagger<E>,
        options: WriterOptions,
    ) -> Result<TaggingWriter<E>> {
        let (found, expected) = (tagger.encoder().fingerprint(), self.encoder());
        if found != expected {
            return Err(Error::EncoderMismatch { index: expected, tagger: found });
        }
        let (index, fields) = self.index()?;
        let datastore = self.open_for_writing()?;
        let writer = TaggingWriter::open(index.clone(), datastore, tagger, fields, options)?;
        files::remove_unused(&self.path, &index)?;
        self.remove_other_datastores()?;
        Ok(writer)
    }

    /// Opens the index for searching.
    ///
    /// # Errors
    ///
    /// As [`TagSearcher::new`].
    pub fn searcher(&self) -> Result<TagSearcher> {
        let (index, fields) = self.index()?;
        TagSearcher::new(&index, fields)
    }

    /// Checks an index at rest, changing nothing: the files' checksums, the fingerprints, that the
    /// datastore can be read and hangs together, and that both stores hold the same: every document
    /// that people labelled votes with its labels, and every neighbor that is not of the training
    /// set has its document.
    ///
    /// Where a commit was interrupted, the stores are compared as they will be once the index is
    /// opened for writing.
    ///
    /// # Errors
    ///
    /// [`Error::InUse`] while a writer has the index open or this process its datastore; whatever
    /// is wrong with the index stands in the report.
    pub fn verify(&self) -> Result<VerifyReport> {
        verify::verify(self)
    }

    /// Makes the index one of another bundle's: its neighbors become the bundle's training set and
    /// the documents that people labelled, encoded anew from their stored texts. What people
    /// rejected, renamed, merged and retired stays so.
    ///
    /// Searches go on meanwhile, with the tags that documents have; give them the new model's by
    /// [`TaggingWriter::retag`] afterwards. The process may die meanwhile: the next call goes on
    /// where it was, unless the index was opened for writing in between. Documents that the new
    /// encoder cannot encode keep their labels but vote no more.
    ///
    /// # Errors
    ///
    /// [`Error::InUse`] when a writer has the index open, [`Error::NotStored`] when the schema does
    /// not store all of a document, and when a store fails; the index stays as it is then.
    pub fn migrate<E: Encoder>(
        &mut self,
        tagger: &Tagger<E>,
        seed: &Datastore,
        bundle: &str,
        progress: impl FnMut(JobProgress),
    ) -> Result<Rebuilt> {
        let mut name = format!("datastore-{:.12}", tagger.encoder().fingerprint().to_string());
        if name == self.description.datastore {
            name += "-again";
        }
        self.replace_datastore(&name, tagger, seed, bundle, progress)
    }

    /// Remembers another bundle as the index's: one with other settings, whose model is the same.
    ///
    /// # Errors
    ///
    /// [`Error::EncoderMismatch`] when its encoder is another one, to which
    /// [`migrate`](IndexFolder::migrate) moves the index, and [`Error::Io`].
    pub fn use_bundle(&mut self, encoder: Fingerprint, bundle: &str) -> Result<()> {
        if encoder != self.encoder() {
            return Err(Error::EncoderMismatch { index: self.encoder(), tagger: encoder });
        }
        let description = Description { bundle: bundle.to_owned(), ..self.description.clone() };
        self.description = description.sealed();
        publish(&self.path, &self.description)
    }

    /// Mends what can be mended of a damaged index, with the bundle that it was made with, and tells
    /// what was lost.
    ///
    /// Segments that are damaged are set aside in `autotag/damaged` with their documents. A datastore
    /// that is damaged or disagrees with the documents is made anew from them and from the bundle's
    /// training set. An index that is sound is left alone.
    ///
    /// # Errors
    ///
    /// [`Error::InUse`] when a writer has the index open, [`Error::EncoderMismatch`] for another
    /// bundle's tagger, and when what remains cannot be read or written.
    pub fn repair<E: Encoder + 'static>(
        &mut self,
        tagger: &Tagger<E>,
        seed: &Datastore,
        progress: impl FnMut(JobProgress),
    ) -> Result<RepairReport> {
        repair::repair(self, tagger, seed, progress)
    }

    /// Makes the datastore anew under another name, and points the index to it.
    pub(crate) fn replace_datastore<E: Encoder>(
        &mut self,
        name: &str,
        tagger: &Tagger<E>,
        seed: &Datastore,
        bundle: &str,
        progress: impl FnMut(JobProgress),
    ) -> Result<Rebuilt> {
        let (index, fields) = self.index()?;
        source::check_stored(&index.schema())?;
        let _lock = verify::lock(&index)?;
        let old = self.settled_datastore(&index)?;
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into();
        let reader: IndexReader = reader.map_err(Error::tantivy("opened the index for reading"))?;
        let (searcher, fields) = (&reader.searcher(), &fields);
        // Where that was changed, only repairing goes on, and nobody commits.
        let generation = Payload::of(&index, self.encoder()).map_or(0, |last| last.generation);
        let sources = Sources { searcher, fields, tagger, seed, old: old.as_ref(), generation };
        let new = own_folder(&self.path).join(name);
        let rebuilt = rebuild::rebuild(&sources, &new, progress)?;
        drop(old);
        failpoint::reach("migrate::rebuilt");
        let description = Description {
            encoder: tagger.encoder().fingerprint(),
            bundle: bundle.to_owned(),
            datastore: name.to_owned(),
            ..self.description.clone()
        };
        self.description = description.sealed();
        publish(&self.path, &self.description)?;
        failpoint::reach("migrate::published");
        rebuild::finish(&new)?;
        Ok(rebuilt)
    }

    /// Opens the datastore with the last commit completed; `None` where it is damaged.
    fn settled_datastore(&self, index: &Index) -> Result<Option<Datastore>> {
        if !matches!(check_seal(&self.datastore_path()), Ok(SealState::Whole | SealState::Unsealed))
        {
            return Ok(None);
        }
        let settle = || -> Result<Datastore> {
            let datastore = self.datastore()?;
            let last = Payload::of(index, self.encoder())?;
            commit::settle(&mut datastore.writer()?, &last)?;
            let report = datastore.verify()?;
            match report.problems.is_empty() {
                true => Ok(datastore),
                false => Err(Error::Datastore(autotag::Error::DatastoreDamaged {
                    path: self.datastore_path(),
                    what: "something in it",
                })),
            }
        };
        match settle() {
            Ok(datastore) => Ok(Some(datastore)),
            Err(Error::Datastore(autotag::Error::DatastoreInUse { .. })) => Err(Error::InUse),
            Err(
                Error::Datastore(
                    autotag::Error::DatastoreDamaged { .. } | autotag::Error::NoDatastore { .. },
                )
                | Error::CommitChanged,
            ) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn remove_other_datastores(&self) -> Result<()> {
        let own = own_folder(&self.path);
        let others = rebuild::other_datastores(&own, &self.description.datastore);
        for folder in others.map_err(io_error("list", &own))? {
            tracing::info!(path = %folder.display(), "removing a datastore that is not in use");
            fs::remove_dir_all(&folder).map_err(io_error("remove", &folder))?;
        }
        Ok(())
    }

    fn open_for_writing(&self) -> Result<Datastore> {
        self.datastore().map_err(|error| match error {
            Error::Datastore(autotag::Error::DatastoreInUse { .. }) => Error::InUse,
            error => error,
        })
    }
}

pub(crate) fn own_folder(path: &Path) -> PathBuf {
    path.join("autotag")
}

/// The file that is there while an index is being made.
fn unfinished_path(path: &Path) -> PathBuf {
    own_folder(path).join("unfinished")
}

/// What Tantivy writes when an index is made, before anything is committed.
const TANTIVY_FILES: [&str; 2] = ["meta.json", ".managed.json"];

/// Removes what an interrupted creation left, the mark that tells so last.
///
/// Without the mark nothing is removed: a folder `autotag` may be anybody's.
fn remove_unfinished(path: &Path) -> Result<()> {
    let (own, mark) = (own_folder(path), unfinished_path(path));
    if mark.is_file() {
        tracing::info!(path = %path.display(), "removing an index whose making was interrupted");
        for file in TANTIVY_FILES.map(|name| path.join(name)) {
            allow_missing(fs::remove_file(&file)).map_err(io_error("remove", &file))?;
        }
        let datastore = own.join(DATASTORE);
        allow_missing(fs::remove_dir_all(&datastore)).map_err(io_error("remove", &datastore))?;
        let description = temporary_path(path);
        allow_missing(fs::remove_file(&description)).map_err(io_error("remove", &description))?;
        fs::remove_file(&mark).map_err(io_error("remove", &mark))?;
    }
    // Fails where something else is in it, which the next check reports.
    let _ = fs::remove_dir(&own);
    Ok(())
}

pub(crate) fn allow_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if is_missing(&error) => Ok(()),
        result => result,
    }
}

/// Checks that nothing of somebody else's lies in the folder. Lock files are Tantivy's.
fn check_empty(path: &Path) -> Result<()> {
    let entries = match fs::read_dir(path) {
        Err(error) if is_missing(&error) => return Ok(()),
        entries => entries.map_err(io_error("list", path))?,
    };
    for entry in entries {
        let name = entry.map_err(io_error("list", path))?.file_name();
        let found = name.to_string_lossy().into_owned();
        if !(found.starts_with(".tantivy-") && found.ends_with(".lock")) {
            return Err(Error::FolderNotEmpty { path: path.to_owned(), found });
        }
    }
    Ok(())
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

pub(crate) fn io_error(action: &'static str, path: &Path) -> impl Fn(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { path: path.clone(), action, source }
}
