//! Adopts an index that autotag did not make: its documents, tagged, in a folder of their own.
//!
//! The original is read only, and locked against writers meanwhile. Each commit of the new index is
//! a state to go on from: the keys that it has are done. The file `autotag/adopting.json` says which
//! state of which index is adopted, and keeps the new one from being opened before it has all
//! documents.

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use autotag::datastore::sync_folder;
use autotag::{Encoder, Fingerprint, Tagger, failpoint};
use serde::{Deserialize, Serialize};
use tantivy::directory::DirectoryLock;
use tantivy::query::AllQuery;
use tantivy::schema::{Field, Schema};
use tantivy::{Index, Searcher, SegmentReader, TantivyDocument};

use crate::description::{Description, to_json};
use crate::directory::FolderDirectory;
use crate::error::io_error;
use crate::files::allow_missing;
use crate::folder::Locked;
use crate::guard::{guard, open_reader};
use crate::layout::{META, adopting_path, own_folder};
use crate::restore::FastValues;
use crate::segments::SegmentChecks;
use crate::{
    BundleSource, CommitSummary, Error, FailedDocument, FieldNames, IndexFolder, IndexOptions,
    JobProgress, OnFailure, Result, TagFields, TaggingWriter, WriterOptions, document, source,
};

/// The options of [`IndexFolder::adopt`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct AdoptOptions {
    /// The names of the fields. Key and texts are fields of the index that is adopted; the others are
    /// added, and must be new.
    pub fields: FieldNames,
    /// The tokenizers of both indexes, and the settings of the new one.
    pub index: IndexOptions,
    /// The options of the writer. A document that cannot be tagged is indexed without tags, whatever
    /// they say. [`WriterOptions::job_documents`] is the number of documents between two commits.
    pub writer: WriterOptions,
}

impl AdoptOptions {
    /// Sets the names of the fields.
    pub fn fields(mut self, fields: FieldNames) -> Self {
        self.fields = fields;
        self
    }

    /// Sets the tokenizers of both indexes, and the settings of the new one.
    pub fn index(mut self, index: IndexOptions) -> Self {
        self.index = index;
        self
    }

    /// Sets the options of the writer.
    pub fn writer(mut self, writer: WriterOptions) -> Self {
        self.writer = writer;
        self
    }
}

/// The outcome of [`IndexFolder::adopt`].
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct AdoptReport {
    /// The number of documents of the index.
    pub documents: u64,
    /// The number of those that an interrupted call had adopted already.
    pub resumed: u64,
    /// The number of documents that this call tagged.
    pub tagged: u64,
    /// The number of documents that this call could not tag; they are in the index without tags.
    pub failed: u64,
    /// The first of them, as many as the writer's options list.
    pub failures: Vec<FailedDocument>,
}

impl IndexFolder {
    /// Adopts an index that autotag did not make: makes a new one in a new or empty folder, with the
    /// schema of the old one and autotag's fields behind it, and adds all documents of the old one,
    /// tagged.
    ///
    /// The old index stays as it is; it is locked against writers meanwhile. Remove it afterwards,
    /// and rename the new folder to its name, where the new one is to take its place. A call that was
    /// interrupted, even by a kill, is resumed by the same call, if the old index was not changed in
    /// between. The new index cannot be opened before it has all documents.
    ///
    /// Documents are read from stored fields, and from fast fields where a field is not stored but
    /// fast; see [`Corrections`](crate::Corrections).
    ///
    /// ```no_run
    /// use std::path::Path;
    ///
    /// use autotag::{Encoder, Tagger};
    /// use tantivy_autotag::{AdoptOptions, BundleSource, FieldNames, IndexFolder, Result};
    ///
    /// fn adopt<E: Encoder + 'static>(bundle: &BundleSource<'_>, tagger: Tagger<E>) -> Result<()> {
    ///     let (key, texts) = ("sku".to_owned(), vec!["title".to_owned(), "body".to_owned()]);
    ///     let fields = FieldNames::new().key(key).texts(texts);
    ///     let options = AdoptOptions::default().fields(fields);
    ///     let (old, new) = (Path::new("shop"), Path::new("tagged-shop"));
    ///     let (index, report) = IndexFolder::adopt(old, new, bundle, tagger, &options, |_| {})?;
    ///     println!("{} of {} documents are tagged", report.tagged, report.documents);
    ///     assert!(index.verify()?.is_sound());
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// Before anything is made: [`Error::NoTantivyIndex`]; [`Error::IndexExists`] where autotag made
    /// the old index, or there is a finished one in `target`; [`Error::InUse`] while the old index is
    /// open for writing; [`Error::FieldMissing`], [`Error::FieldType`], [`Error::FieldTwice`],
    /// [`Error::FieldTaken`], [`Error::NotStored`] and [`Error::TokenizerMissing`] for a schema that
    /// does not fit; [`Error::KeysUnfit`], [`Error::KeysShared`] and [`Error::KeyLength`] for
    /// documents that have not exactly one key of their own; [`Error::SegmentDamaged`];
    /// [`Error::AdoptionChanged`] for an interrupted call that cannot be resumed. As
    /// [`IndexFolder::create`] and [`TaggingWriter::add`] otherwise.
    pub fn adopt<E: Encoder + 'static>(
        original: &Path,
        target: &Path,
        bundle: &BundleSource<'_>,
        tagger: Tagger<E>,
        options: &AdoptOptions,
        progress: impl FnMut(JobProgress),
    ) -> Result<(IndexFolder, AdoptReport)> {
        let original = Original::open(original, options)?;
        let total = original.check_keys()?;
        let folder = original.begin(target, bundle, options)?;
        let locked = lock_target(&folder)?;
        let writer = folder.locked_writer(locked, tagger, writer_options(options))?;
        let done = adopted_keys(&writer)?;
        let resumed = done.len() as u64;
        let report = AdoptReport { documents: total as u64, resumed, ..AdoptReport::default() };
        let (writer_options, n_seen) = (&options.writer, 0);
        let mut adoption = Adoption {
            writer: &writer,
            options: writer_options,
            done,
            total,
            n_seen,
            report,
            progress,
        };
        adoption.add_all(&original)?;
        let report = adoption.report;
        // The mark stays until the end: the same call resumes what fails before.
        writer.close()?;
        finish(target)?;
        Ok((folder, report))
    }
}

/// An index that is adopted, locked against writers.
struct Original {
    path: PathBuf,
    index: Index,
    searcher: Searcher,
    /// The schema of the new index, and its fields. Fields of the old schema have their numbers.
    schema: Schema,
    fields: TagFields,
    _lock: DirectoryLock,
}

impl Original {
    /// Opens an index and checks that nothing of it would be lost.
    fn open(path: &Path, options: &AdoptOptions) -> Result<Self> {
        if IndexFolder::exists(path) {
            return Err(Error::IndexExists { path: path.to_owned() });
        }
        if !path.join(META).is_file() {
            return Err(Error::NoTantivyIndex { path: path.to_owned() });
        }
        let directory = FolderDirectory::open(path)?;
        let lock = directory.lock_for_checking()?;
        let opened = guard("opened the index", || {
            Index::open(directory).map_err(Error::tantivy("opened the index"))
        });
        let index = opened?;
        let (schema, fields) = adopted_schema(&index.schema(), &options.fields)?;
        source::check_stored(&index.schema())?;
        options.index.check(&schema)?;
        SegmentChecks::new(index.clone()).check_whole(|_| true)?;
        let searcher = open_reader(&index)?.searcher();
        let path = path.to_owned();
        Ok(Original { path, index, searcher, schema, fields, _lock: lock })
    }

    /// Checks that every document has one key, and that it is its own; returns the number of
    /// documents.
    fn check_keys(&self) -> Result<usize> {
        const READ: &str = "read the keys";
        let field = self.schema.get_field_name(self.fields.key).to_owned();
        let mut keys = Keys::default();
        for segment in self.searcher.segment_readers() {
            let read = || keys.read(segment, self.fields.key).map_err(Error::tantivy(READ));
            guard(READ, read)?;
        }
        let Keys { all, missing, several, shared } = keys;
        if missing + several > 0 {
            return Err(Error::KeysUnfit { field, missing, several });
        }
        if let Some(key) = shared.first() {
            let (key, count) = (key.clone(), shared.len() as u64);
            return Err(Error::KeysShared { field, key, count });
        }
        all.iter().try_for_each(|key| document::check_key(key))?;
        Ok(all.len())
    }

    /// Makes the new index, or finds the one of an interrupted call.
    fn begin(
        &self,
        target: &Path,
        bundle: &BundleSource<'_>,
        options: &AdoptOptions,
    ) -> Result<IndexFolder> {
        let begun = self.begun()?;
        let settings = options.index.settings.clone();
        let mut index = options.index.clone();
        index.settings = settings.or_else(|| Some(self.index.settings().clone()));
        if !IndexFolder::exists(target) {
            let mark = || write_mark(target, &begun);
            let schema = self.schema.clone();
            return IndexFolder::create_marked(target, schema, &self.fields, bundle, index, mark);
        }
        let json = match fs::read(adopting_path(target)) {
            Ok(json) => json,
            Err(_) => return Err(Error::IndexExists { path: target.to_owned() }),
        };
        let description = Description::read(target)?;
        let is_same_index = serde_json::from_slice::<Begun>(&json).is_ok_and(|was| was == begun);
        let reason = if !is_same_index {
            Some("the index that it adopts is another one now")
        } else if !description.is_of(bundle) {
            Some("the bundle is another one")
        } else if description.fields != options.fields {
            Some("the fields are others")
        } else {
            None
        };
        match reason {
            Some(reason) => Err(Error::AdoptionChanged { path: target.to_owned(), reason }),
            None => Ok(IndexFolder { path: target.to_owned(), description, options: index }),
        }
    }

    fn begun(&self) -> Result<Begun> {
        let file = self.path.join(META);
        let meta = fs::read(&file).map_err(io_error("read", &file))?;
        Ok(Begun { meta: Fingerprint::of(&meta).to_string() })
    }
}

/// The state of the index that is adopted.
#[derive(PartialEq, Serialize, Deserialize)]
struct Begun {
    /// The SHA-256 digest of its `meta.json`, which every change of an index changes.
    meta: String,
}

fn write_mark(target: &Path, begun: &Begun) -> Result<()> {
    let file = adopting_path(target);
    let write = || -> io::Result<()> {
        let mut output = File::create(&file)?;
        output.write_all(&to_json(begun))?;
        output.sync_all()
    };
    write().map_err(io_error("write", &file))
}

/// Records that the new index has all documents.
fn finish(target: &Path) -> Result<()> {
    let (file, own) = (adopting_path(target), own_folder(target));
    allow_missing(fs::remove_file(&file))
        .and_then(|()| sync_folder(&own))
        .map_err(io_error("remove", &file))
}

fn lock_target(folder: &IndexFolder) -> Result<Locked> {
    let directory = FolderDirectory::open(folder.path())?;
    let lock = directory.lock_for_writing()?;
    Ok(Locked { directory, lock })
}

/// No document may be lost.
fn writer_options(options: &AdoptOptions) -> WriterOptions {
    options.writer.clone().on_failure(OnFailure::IndexUntagged)
}

fn adopted_keys<E: Encoder + 'static>(writer: &TaggingWriter<E>) -> Result<BTreeSet<String>> {
    let snapshot = writer.pipeline.queue.snapshot()?;
    source::keys(&snapshot.searcher, &writer.pipeline.worker.fields, &AllQuery)
}

/// Returns a schema with autotag's fields behind those that it has.
fn adopted_schema(old: &Schema, names: &FieldNames) -> Result<(Schema, TagFields)> {
    let mut fresh = Schema::builder();
    TagFields::add_to(&mut fresh, names)?;
    let mut schema = Schema::builder();
    for (_, entry) in old.fields() {
        schema.add_field(entry.clone());
    }
    for (_, entry) in fresh.build().fields() {
        let name = entry.name();
        let is_own = *name == names.key || names.texts.iter().any(|text| text == name);
        match (is_own, old.get_field(name).is_ok()) {
            // The caller's own fields: those that are missing are told below.
            (true, _) => {}
            (false, true) => return Err(Error::FieldTaken { name: name.to_owned() }),
            (false, false) => drop(schema.add_field(entry.clone())),
        }
    }
    let schema = schema.build();
    let fields = TagFields::from_schema(&schema, names)?;
    Ok((schema, fields))
}

/// The keys of an index's documents, and what is wrong with them.
#[derive(Default)]
struct Keys {
    all: HashSet<String>,
    /// The number of documents without a key.
    missing: u64,
    /// The number of documents with several keys.
    several: u64,
    /// The keys of several documents.
    shared: BTreeSet<String>,
}

impl Keys {
    fn read(&mut self, segment: &SegmentReader, key: Field) -> tantivy::Result<()> {
        // The number of keys of each document: 0, 1, or 2 for several.
        let mut counts = vec![0u8; segment.max_doc() as usize];
        source::each_key(segment, key, |key, id| {
            if segment.is_deleted(id) {
                return;
            }
            let count = &mut counts[id as usize];
            *count = 2.min(*count + 1);
            let key = String::from_utf8_lossy(key);
            if !self.all.insert(key.clone().into_owned()) {
                self.shared.insert(key.into_owned());
            }
        })?;
        for (id, count) in (0..).zip(counts) {
            if !segment.is_deleted(id) {
                self.missing += u64::from(count == 0);
                self.several += u64::from(count > 1);
            }
        }
        Ok(())
    }
}

/// The work of adding all documents.
struct Adoption<'w, E: Encoder + 'static, P> {
    writer: &'w TaggingWriter<E>,
    options: &'w WriterOptions,
    /// The keys that the new index has.
    done: BTreeSet<String>,
    total: usize,
    n_seen: usize,
    report: AdoptReport,
    progress: P,
}

impl<E: Encoder + 'static, P: FnMut(JobProgress)> Adoption<'_, E, P> {
    fn add_all(&mut self, original: &Original) -> Result<()> {
        for segment in original.searcher.segment_readers() {
            self.add_segment(original, segment)?;
        }
        self.commit()
    }

    fn add_segment(&mut self, original: &Original, segment: &SegmentReader) -> Result<()> {
        const READ: &str = "read the stored documents";
        let open =
            || Ok((segment.get_store_reader(1)?, FastValues::open(segment, &original.fields)?));
        let (store, fast) = guard(READ, || open().map_err(Error::tantivy(READ)))?;
        let mut documents = store.iter::<TantivyDocument>(None);
        for id in 0..segment.max_doc() {
            let mut read = || {
                let Some(mut document) = documents.next().transpose()? else { return Ok(None) };
                fast.add_to(&mut document, id)?;
                Ok(Some(document))
            };
            let read = guard(READ, || read().map_err(Error::tantivy(READ)))?;
            let Some(document) = read else {
                let file = format!("{}.store", segment.segment_id().uuid_string()).into();
                return Err(Error::SegmentDamaged { file });
            };
            if !segment.is_deleted(id) {
                self.add(document)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, document: TantivyDocument) -> Result<()> {
        let writer = self.writer;
        let key = document::check(&document, &writer.pipeline.worker.fields, &writer.schema)?;
        if !self.done.contains(&key) {
            writer.add(document)?;
        }
        self.n_seen += 1;
        if self.n_seen.is_multiple_of(self.options.job_documents.get()) {
            self.commit()?;
        }
        (self.progress)(JobProgress { done: self.n_seen, total: self.total });
        Ok(())
    }

    fn commit(&mut self) -> Result<()> {
        let CommitSummary { tagged, failed, failures, .. } = self.writer.commit()?;
        let report = &mut self.report;
        report.tagged += tagged;
        report.failed += failed;
        report.failures.extend(failures);
        report.failures.truncate(self.options.listed_failures);
        failpoint::reach("adopt::committed");
        Ok(())
    }
}
