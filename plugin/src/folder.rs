//! An index folder: Tantivy's files and autotag's, created and opened.
//!
//! Every change is made under Tantivy's writer lock, after reading `index.json` again: another process
//! may have changed it before the lock was taken.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use autotag::{Datastore, Encoder, Fingerprint, Tagger, failpoint};
use tantivy::Index;
use tantivy::directory::DirectoryLock;
use tantivy::schema::Schema;

use crate::description::{BundleSource, Description, publish, to_json};
use crate::directory::FolderDirectory;
use crate::error::{in_use, io_error};
use crate::files::{allow_missing, is_missing};
use crate::index_options::check_tokenizers;
use crate::layout::{
    DATASTORE, MANAGED, META, META_COPY, adopting_path, copy_path, description_path, own_folder,
    unfinished_path,
};
use crate::writer::opening::check_encoder;
use crate::{
    Error, FieldNames, IndexOptions, Result, SearcherOptions, TagFields, TagSearcher,
    TaggingWriter, WriterOptions, datastores, files,
};

/// A folder with an index that autotag tags.
///
/// ```no_run
/// use std::path::Path;
///
/// use autotag::{Encoder, Tagger};
/// use tantivy::schema::Schema;
/// use tantivy_autotag::{
///     BundleSource, FieldNames, IndexFolder, Result, TagFields, TaggingWriter, WriterOptions,
/// };
///
/// fn open_or_create<E: Encoder + 'static>(
///     folder: &Path,
///     tagger: Tagger<E>,
///     bundle: &BundleSource<'_>,
/// ) -> Result<TaggingWriter<E>> {
///     let folder = if IndexFolder::exists(folder) {
///         IndexFolder::open(folder)?
///     } else {
///         let mut schema = Schema::builder();
///         let fields = TagFields::add_to(&mut schema, &FieldNames::default())?;
///         IndexFolder::create(folder, schema.build(), &fields, bundle)?
///     };
///     folder.writer(tagger, WriterOptions::default())
/// }
/// ```
#[derive(Clone, Debug)]
pub struct IndexFolder {
    pub(crate) path: PathBuf,
    pub(crate) description: Description,
    pub(crate) options: IndexOptions,
}

impl IndexFolder {
    /// Tells whether a folder holds a finished index of autotag's.
    pub fn exists(path: &Path) -> bool {
        description_path(path).is_file()
    }

    /// Makes an empty index in a new or empty folder, whose neighbors begin as a copy of the
    /// bundle's training set, or without any ([`BundleSource::without_bundle`]).
    ///
    /// The remains of an interrupted creation are removed first.
    ///
    /// # Errors
    ///
    /// [`Error::IndexExists`], [`Error::FolderNotEmpty`], [`Error::InUse`] while another process
    /// makes one, [`Error::FieldType`] and its like, [`Error::Datastore`] when the training set
    /// cannot be copied, and [`Error::Io`].
    pub fn create(
        path: &Path,
        schema: Schema,
        fields: &TagFields,
        bundle: &BundleSource<'_>,
    ) -> Result<Self> {
        IndexFolder::create_with(path, schema, fields, bundle, IndexOptions::default())
    }

    /// As [`IndexFolder::create`], with settings and tokenizers.
    ///
    /// # Errors
    ///
    /// As [`IndexFolder::create`], and [`Error::TokenizerMissing`] when the schema names a
    /// tokenizer that is not registered.
    pub fn create_with(
        path: &Path,
        schema: Schema,
        fields: &TagFields,
        bundle: &BundleSource<'_>,
        options: IndexOptions,
    ) -> Result<Self> {
        IndexFolder::create_marked(path, schema, fields, bundle, options, || Ok(()))
    }

    /// Makes an empty index; what `mark` writes is there before the index is.
    pub(crate) fn create_marked(
        path: &Path,
        schema: Schema,
        fields: &TagFields,
        bundle: &BundleSource<'_>,
        options: IndexOptions,
        mark_as: impl FnOnce() -> Result<()>,
    ) -> Result<Self> {
        let names = fields.names(&schema)?;
        options.check(&schema)?;
        // Before a lock file is made in what may be anybody's folder.
        if !unfinished_path(path).is_file() {
            refuse_foreign(path)?;
        }
        fs::create_dir_all(path).map_err(io_error("create", path))?;
        let directory = FolderDirectory::open(path)?;
        let _lock = directory.lock_for_writing()?;
        if !IndexFolder::exists(path) {
            remove_unfinished(path)?;
        }
        refuse_occupied(path)?;
        let (own, mark) = (own_folder(path), unfinished_path(path));
        fs::create_dir_all(&own).map_err(io_error("create", &own))?;
        File::create(&mark).map_err(io_error("create", &mark))?;
        failpoint::reach("create::marked");
        mark_as()?;
        bundle.neighbors.write_to(&own.join(DATASTORE))?;
        failpoint::reach("create::seeded");
        let description = Description::derived(names, &schema, bundle, DATASTORE);
        let settings = options.settings.clone().unwrap_or_default();
        let created = Index::create(directory.clone(), schema, settings);
        created.map_err(Error::tantivy("made the index"))?;
        failpoint::reach("create::indexed");
        publish(path, &description)?;
        failpoint::reach("create::described");
        fs::remove_file(&mark).map_err(io_error("remove", &mark))?;
        Ok(IndexFolder { path: path.to_owned(), description, options })
    }

    /// Opens a folder that [`IndexFolder::create`] made; nothing is locked yet.
    ///
    /// # Errors
    ///
    /// [`Error::NoIndex`], [`Error::IndexUnfinished`] when its creation was interrupted,
    /// [`Error::AdoptionUnfinished`] when its adoption was, [`Error::IndexVersion`] when a newer
    /// program made it, [`Error::DescriptionDamaged`], [`Error::DescriptionChanged`] and
    /// [`Error::Io`].
    pub fn open(path: &Path) -> Result<Self> {
        IndexFolder::open_with(path, IndexOptions::default())
    }

    /// As [`IndexFolder::open`], with the tokenizers that the index's schema names.
    ///
    /// Only the description is read: what needs a tokenizer that is not registered fails with
    /// [`Error::TokenizerMissing`], as [`IndexFolder::index`], [`IndexFolder::writer`] and
    /// [`IndexFolder::searcher`] do. [`IndexFolder::verify`] needs none.
    ///
    /// # Errors
    ///
    /// As [`IndexFolder::open`].
    pub fn open_with(path: &Path, options: IndexOptions) -> Result<Self> {
        if adopting_path(path).is_file() && IndexFolder::exists(path) {
            return Err(Error::AdoptionUnfinished { path: path.to_owned() });
        }
        let description = Description::read(path)?;
        Ok(IndexFolder { path: path.to_owned(), description, options })
    }

    /// Returns the folder with other options.
    pub fn with_options(self, options: IndexOptions) -> Self {
        IndexFolder { options, ..self }
    }

    /// Opens a folder and its datastore for reading, both of the same bundle, even while another
    /// process migrates the index.
    ///
    /// # Errors
    ///
    /// As [`IndexFolder::open`] and [`IndexFolder::datastore`].
    pub fn open_with_datastore(path: &Path) -> Result<(Self, Datastore)> {
        loop {
            let folder = IndexFolder::open(path)?;
            match folder.datastore() {
                Err(_) if IndexFolder::open(path)?.description != folder.description => {}
                datastore => return Ok((folder, datastore?)),
            }
        }
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

    /// Returns the bundle's path, as it was given when the index was made; `None` for an index that was
    /// made without a bundle.
    pub fn bundle(&self) -> Option<&Path> {
        Some(self.description.bundle.path()).filter(|path| !path.as_os_str().is_empty())
    }

    /// Opens Tantivy's index, and looks its fields up.
    ///
    /// # Errors
    ///
    /// [`Error::Tantivy`] when it cannot be opened, [`Error::CommitChanged`] when its list of
    /// segments was changed, [`Error::FieldMissing`] and its like when its schema was,
    /// [`Error::TokenizerMissing`] when the schema names a tokenizer that is not registered.
    pub fn index(&self) -> Result<(Index, TagFields)> {
        let (index, fields) = self.index_in(&FolderDirectory::open(&self.path)?)?;
        check_tokenizers(&index)?;
        Ok((index, fields))
    }

    /// Opens Tantivy's index to read it: that takes no tokenizer.
    pub(crate) fn index_in(&self, directory: &FolderDirectory) -> Result<(Index, TagFields)> {
        let opened = Index::open(directory.clone());
        let mut index = opened.map_err(Error::tantivy("opened the index"))?;
        self.options.put_into(&mut index);
        let fields = TagFields::from_schema(&index.schema(), self.names())?;
        Ok((index, fields))
    }

    /// Opens the index's own datastore.
    ///
    /// Where the index got another one since this folder was opened, the current one is opened.
    ///
    /// # Errors
    ///
    /// [`Error::EncoderMismatch`] when the index was moved to another encoder since,
    /// [`Error::Datastore`], as when it is open already.
    pub fn datastore(&self) -> Result<Datastore> {
        let mut current = self.description.clone();
        loop {
            let folder = own_folder(&self.path).join(&current.datastore);
            let error = match Datastore::open(&folder, &self.encoder()) {
                Ok(datastore) => return Ok(datastore),
                Err(error) => error,
            };
            let newest = Description::read(&self.path)?;
            if newest.encoder != self.encoder() {
                let (index, tagger) = (newest.encoder, self.encoder());
                return Err(Error::EncoderMismatch { index, tagger });
            }
            if newest.datastore == current.datastore {
                return Err(error.into());
            }
            current = newest;
        }
    }

    /// Opens the index for tagging, and removes unused files: those of killed processes, and the
    /// datastore of an unfinished migration.
    ///
    /// # Errors
    ///
    /// As [`TaggingWriter::open`].
    pub fn writer<E: Encoder + 'static>(
        &self,
        tagger: Tagger<E>,
        options: WriterOptions,
    ) -> Result<TaggingWriter<E>> {
        let (locked, current) = self.lock()?;
        current.locked_writer(locked, tagger, options)
    }

    /// Opens the index, which is locked already, for tagging.
    pub(crate) fn locked_writer<E: Encoder + 'static>(
        &self,
        locked: Locked,
        tagger: Tagger<E>,
        options: WriterOptions,
    ) -> Result<TaggingWriter<E>> {
        check_encoder(&tagger, self.encoder())?;
        let Locked { directory, lock } = locked;
        let (index, fields) = self.index_in(&directory)?;
        let datastore = Datastore::open(&self.datastore_path(), &self.encoder()).map_err(in_use)?;
        // Before the writer is opened: opening may commit, which starts merges that write files.
        files::remove_unused(&self.path, &index)?;
        directory.hand_over(lock);
        let writer = TaggingWriter::open(index, datastore, tagger, fields, options)?;
        datastores::tidy(&own_folder(&self.path), &self.description)?;
        Ok(writer)
    }

    /// Locks the folder and reads it again: the description read before may be outdated.
    pub(crate) fn lock(&self) -> Result<(Locked, IndexFolder)> {
        let directory = FolderDirectory::open(&self.path)?;
        let lock = directory.lock_for_writing()?;
        failpoint::reach("folder::locked");
        let current = IndexFolder::open_with(&self.path, self.options.clone())?;
        Ok((Locked { directory, lock }, current))
    }

    /// Opens the index for searching.
    ///
    /// # Errors
    ///
    /// As [`TagSearcher::new`].
    pub fn searcher(&self) -> Result<TagSearcher> {
        self.searcher_with(SearcherOptions::default())
    }

    /// Opens the index for searching, with options.
    ///
    /// # Errors
    ///
    /// As [`TagSearcher::open`].
    pub fn searcher_with(&self, options: SearcherOptions) -> Result<TagSearcher> {
        let (index, fields) = self.index()?;
        TagSearcher::open(&index, fields, options)
    }

    /// Writes the description, whose folder must be locked.
    pub(crate) fn publish(&mut self) -> Result<()> {
        let own = own_folder(&self.path);
        // A free name may later be taken by an unknown datastore, which must not be removed.
        self.description.replaced.retain(|name| own.join(name).exists());
        self.description = self.description.clone().sealed();
        publish(&self.path, &self.description)
    }
}

/// An index's folder, locked for writing.
pub(crate) struct Locked {
    pub(crate) directory: FolderDirectory,
    pub(crate) lock: DirectoryLock,
}

/// Tantivy's files of a new index without a commit.
const TANTIVY_FILES: [&str; 2] = [META, MANAGED];

/// Removes the remains of an interrupted creation, its mark last.
///
/// Without the mark nothing is removed: a folder `autotag` may be anybody's.
fn remove_unfinished(path: &Path) -> Result<()> {
    let (own, mark) = (own_folder(path), unfinished_path(path));
    // An index with a commit is not one that is being made.
    let is_unused = files::segment_files(path).is_ok_and(|files| files.is_empty());
    if mark.is_file() && is_unused {
        tracing::info!(path = %path.display(), "removing an index whose creation was interrupted");
        for file in TANTIVY_FILES.map(|name| path.join(name)) {
            allow_missing(fs::remove_file(&file)).map_err(io_error("remove", &file))?;
        }
        let datastore = own.join(DATASTORE);
        allow_missing(fs::remove_dir_all(&datastore)).map_err(io_error("remove", &datastore))?;
        let half_written = files::half_written(path).map_err(io_error("list", path))?;
        let others = [own.join(META_COPY), copy_path(path), adopting_path(path)];
        for file in half_written.into_iter().chain(others) {
            allow_missing(fs::remove_file(&file)).map_err(io_error("remove", &file))?;
        }
        fs::remove_file(&mark).map_err(io_error("remove", &mark))?;
    }
    // Fails where other files are in it, which the next check reports.
    let _ = fs::remove_dir(&own);
    Ok(())
}

/// Refuses a folder with an index, or with foreign files; another process may be making an index in it.
fn refuse_foreign(path: &Path) -> Result<()> {
    match refuse_occupied(path) {
        // It has begun since, or even finished: these are its files.
        Err(Error::FolderNotEmpty { .. }) if unfinished_path(path).is_file() => Ok(()),
        Err(Error::FolderNotEmpty { .. }) if IndexFolder::exists(path) => {
            Err(Error::IndexExists { path: path.to_owned() })
        }
        outcome => outcome,
    }
}

/// Refuses a folder with an index, or with foreign files.
fn refuse_occupied(path: &Path) -> Result<()> {
    if IndexFolder::exists(path) {
        return Err(Error::IndexExists { path: path.to_owned() });
    }
    check_empty(path)
}

/// Checks that the folder holds no foreign files. Lock files are Tantivy's.
fn check_empty(path: &Path) -> Result<()> {
    let entries = match fs::read_dir(path) {
        Err(error) if is_missing(&error) => return Ok(()),
        entries => entries.map_err(io_error("list", path))?,
    };
    for entry in entries {
        let name = entry.map_err(io_error("list", path))?.file_name();
        let found = name.to_string_lossy().into_owned();
        let is_lock = found.starts_with(".tantivy-") && found.ends_with(".lock");
        // Another process is about to make an index.
        let is_begun = found == "autotag"
            && fs::read_dir(own_folder(path)).is_ok_and(|mut entries| entries.next().is_none());
        if !is_lock && !is_begun {
            return Err(Error::FolderNotEmpty { path: path.to_owned(), found });
        }
    }
    Ok(())
}
