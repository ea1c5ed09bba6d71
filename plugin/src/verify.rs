//! Integrity check of an index at rest: its files are whole, and its two stores agree.

mod report;

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use autotag::datastore::{PreparedChanges, SealState, check_seal};
use autotag::{Datastore, Evidence, LabelId, LabelVocabulary, Origin, Source};
use tantivy::schema::Value;
use tantivy::{Index, IndexMeta, ReloadPolicy, TantivyDocument};

use crate::commit::Payload;
use crate::directory::{FolderDirectory, recorded_checksums};
use crate::guard::guard;
use crate::layout::{META, SEGMENT_EXTENSIONS};
use crate::segments::{Condition, condition};
use crate::{Error, IndexFolder, Result, TagFields, Task, files, source};

pub use report::{IndexPart, Interrupted, Problem, VerifyReport};

/// The labels that people gave, by key.
type Labels = HashMap<String, BTreeSet<String>>;

impl IndexFolder {
    /// Checks the integrity of an index at rest; changes nothing.
    ///
    /// It covers the files' checksums, the fingerprints, the integrity of the datastore, and the
    /// agreement of both stores: every document that people labeled votes with its labels, and every
    /// neighbor that is not of the training set has its document.
    ///
    /// Where a commit was interrupted, the stores are compared as they will be once the index is
    /// opened for writing. The folder need not be writable.
    ///
    /// # Errors
    ///
    /// [`Error::InUse`] while a writer has the index open or this process its datastore; whatever
    /// is wrong with the index is in the report.
    pub fn verify(&self) -> Result<VerifyReport> {
        let directory = FolderDirectory::open(&self.path)?;
        // Held to the end, against writers.
        let _lock = directory.lock_for_checking()?;
        let current = IndexFolder::open(&self.path)?;
        verify(&current, &directory, &current.datastore_path())
    }
}

/// Checks a locked index with one of its datastores, as far as they can be read; only an index that
/// is not at rest is an error.
pub(crate) fn verify(
    folder: &IndexFolder,
    directory: &FolderDirectory,
    datastore: &Path,
) -> Result<VerifyReport> {
    let mut report = VerifyReport::default();
    let mut documents = None;
    if let Some((index, fields)) = report.note(IndexPart::Index, folder.index_in(directory)) {
        if !folder.is_schema_of(&index) {
            report.add(Problem::DamagedFile { path: META.into() });
        }
        // Tantivy panics at some of what a changed `meta.json` says.
        let read =
            guard("read the index", || Ok(verify_tantivy(folder, &index, &fields, &mut report)));
        documents = report.note(IndexPart::Index, read).flatten();
    }
    if !is_as_sealed(folder, datastore, &mut report) {
        return Ok(report);
    }
    let datastore = match Datastore::open(datastore, &folder.encoder()) {
        Err(autotag::Error::DatastoreInUse { .. }) => return Err(Error::InUse),
        datastore => report.note(IndexPart::Datastore, datastore),
    };
    let known = datastore.and_then(|datastore| verify_datastore(&datastore, &mut report));
    if let (Some(documents), Some(known)) = (documents, known) {
        compare(documents, known, &mut report);
    }
    Ok(report)
}

/// Tells whether the datastore's file is safe to open: LMDB trusts the pages that it maps.
fn is_as_sealed(folder: &IndexFolder, path: &Path, report: &mut VerifyReport) -> bool {
    match report.note(IndexPart::Datastore, check_seal(path)) {
        Some(SealState::Damaged) => {
            let file = path.join("data.mdb");
            let path = file.strip_prefix(&folder.path).unwrap_or(&file).to_owned();
            report.add(Problem::DamagedFile { path });
            false
        }
        Some(SealState::Whole | SealState::Unsealed) => true,
        None => false,
    }
}

/// Checks Tantivy's files, and returns the documents where all of them are whole.
fn verify_tantivy(
    folder: &IndexFolder,
    index: &Index,
    fields: &TagFields,
    report: &mut VerifyReport,
) -> Option<Documents> {
    let last = Payload::of(index, folder.encoder());
    if let Some(last) = report.note(IndexPart::LastCommit, last) {
        let is_of_datastore = last.encoder == folder.encoder();
        (report.generation, report.job) = (last.generation, last.job);
        report.is_migrated = !is_of_datastore;
    }
    let unused = files::unused(folder.path(), index);
    report.unused_files = report.note(IndexPart::Folder, unused).unwrap_or_default();
    let damaged = report.note(IndexPart::File, damaged_files(index))?;
    let is_whole = damaged.is_empty();
    for path in damaged {
        report.add(Problem::DamagedFile { path });
    }
    if !is_whole {
        return None;
    }
    let metas = index.load_metas().map_err(Error::tantivy("read the last commit"));
    let metas = report.note(IndexPart::LastCommit, metas)?;
    if report.generation == 0 && !metas.segments.is_empty() {
        report.add(Problem::UnknownCommit);
    }
    let documents = read_documents(index, &metas, fields, report);
    let documents = report.note(IndexPart::Documents, documents)?;
    report.documents = Some(documents.labels.len() as u64);
    report.labeled = documents.labels.values().filter(|labels| !labels.is_empty()).count() as u64;
    Some(documents)
}

/// Returns the segments' files that were changed since they were written, or are not there.
pub(crate) fn damaged_files(index: &Index) -> Result<BTreeSet<PathBuf>> {
    let metas = index.load_metas().map_err(Error::tantivy("read the last commit"))?;
    let recorded = recorded_checksums(index);
    let is_damaged = |file: &PathBuf| {
        let extension = file.extension().and_then(|extension| extension.to_str());
        match condition(index, file, &recorded) {
            Condition::Whole => false,
            Condition::Damaged => true,
            Condition::Gone => {
                extension.is_some_and(|extension| SEGMENT_EXTENSIONS.contains(&extension))
            }
        }
    };
    Ok(metas.list_segment_files().into_iter().filter(is_damaged).collect())
}

/// The documents of the index, as far as they concern the datastore.
#[derive(Default)]
struct Documents {
    /// Empty where a document was tagged.
    labels: Labels,
    /// Those without any tag: people may have given them none.
    untagged: BTreeSet<String>,
    /// Those that a person reviewed.
    reviewed: BTreeSet<String>,
    /// Those whose labels do not vote.
    not_voting: BTreeSet<String>,
}

fn read_documents(
    index: &Index,
    metas: &IndexMeta,
    fields: &TagFields,
    report: &mut VerifyReport,
) -> tantivy::Result<Documents> {
    let mut documents = Documents::default();
    let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
    for segment in reader.searcher().segment_readers() {
        let (mut n_stored, mut n_alive) = (0, 0);
        for document in segment.get_store_reader(1)?.iter::<TantivyDocument>(None) {
            let document = document?;
            let is_alive = n_stored < segment.max_doc() && !segment.is_deleted(n_stored);
            n_stored += 1;
            if is_alive {
                n_alive += 1;
                documents.add(&document, fields, report);
            }
        }
        let mut keys = 0;
        source::each_key(segment, fields.key, |_, _| keys += 1)?;
        let id = segment.segment_id();
        let Some(listed) = metas.segments.iter().find(|listed| listed.id() == id) else { continue };
        let mut compare = |what, listed, found| {
            if listed != found {
                let segment = id.uuid_string();
                report.add(Problem::Count { segment, what, listed, found });
            }
        };
        compare("stored documents", listed.max_doc(), n_stored);
        compare("keys", listed.max_doc(), keys);
        compare("documents that are not deleted", listed.num_docs(), n_alive);
    }
    Ok(documents)
}

impl Documents {
    fn add(&mut self, document: &TantivyDocument, fields: &TagFields, report: &mut VerifyReport) {
        let value = document.get_first(fields.key);
        let Some(key) = value.as_ref().and_then(Value::as_str).map(str::to_owned) else {
            return report.add(Problem::NoKey);
        };
        let evidence = match fields.evidence_of(document) {
            Ok(evidence) => evidence.unwrap_or_default(),
            Err(_) => {
                report.add(Problem::Evidence { key: key.clone() });
                Evidence::default()
            }
        };
        if evidence.tags.is_empty() {
            self.untagged.insert(key.clone());
        }
        if !evidence.review.is_none() {
            self.reviewed.insert(key.clone());
        }
        if evidence.not_voting {
            self.not_voting.insert(key.clone());
        }
        let human = evidence.tags.into_iter().filter(|tag| tag.origin == Origin::Human);
        let labels = human.map(|tag| tag.label).collect();
        if self.labels.insert(key.clone(), labels).is_some() {
            report.add(Problem::Twice { key });
        }
    }
}

/// The datastore's side of the index's documents, as of the next opening for writing.
struct Known {
    /// The neighbors that came with documents.
    neighbors: Labels,
    /// The documents with a record.
    kept: BTreeSet<String>,
    labels: LabelVocabulary,
}

/// Checks the datastore.
fn verify_datastore(datastore: &Datastore, report: &mut VerifyReport) -> Option<Known> {
    let own = report.note(IndexPart::Datastore, datastore.verify())?;
    let n_listed = own.problems.len() as u64;
    for problem in own.problems {
        report.add(Problem::Datastore(problem));
    }
    report.n_problems += own.n_problems - n_listed;
    let (datastore_at, index_at) = (own.generation, report.generation);
    if index_at > 0 && datastore_at > index_at && !report.is_migrated {
        report.add(Problem::DatastoreAhead { datastore: datastore_at, index: index_at });
    }
    if own.n_problems > 0 {
        return None;
    }
    let (mut known, training) = report.note(IndexPart::Neighbors, read_known(datastore))?;
    report.neighbors = Some((known.neighbors.len() + training) as u64);
    report.training = training as u64;
    let prepared = report.note(IndexPart::Journal, datastore.prepared())?;
    if let Some(prepared) = prepared {
        if prepared.generation == index_at {
            report.interrupted = Some(Interrupted::Completed);
            known.apply(prepared);
        } else {
            report.interrupted = Some(Interrupted::Dropped);
        }
    }
    Some(known)
}

/// Reads the datastore's side of documents, and counts all other neighbors.
fn read_known(datastore: &Datastore) -> autotag::Result<(Known, usize)> {
    let reader = datastore.reader()?;
    let (mut labels, mut n_training) = (Labels::new(), 0);
    reader.for_each(|key, item| -> autotag::Result<()> {
        match item.source {
            Source::Training => n_training += 1,
            Source::Human => {
                let names = item.labels.ids().iter().map(|&label| reader.labels().name(label));
                labels.insert(key.to_owned(), names.map(str::to_owned).collect());
            }
        }
        Ok(())
    })?;
    let kept = reader.document_keys()?.into_iter().collect();
    Ok((Known { neighbors: labels, kept, labels: reader.labels().clone() }, n_training))
}

impl Known {
    fn apply(&mut self, prepared: PreparedChanges) {
        self.labels = prepared.labels;
        for labels in self.neighbors.values_mut() {
            *labels = resolved(labels, &self.labels);
        }
        for change in prepared.changes {
            match change.labels {
                Some(labels) => {
                    let labels = self.labels.resolve_set(&labels);
                    let name = |&label: &LabelId| self.labels.name(label).to_owned();
                    self.neighbors.insert(change.key, labels.ids().iter().map(name).collect())
                }
                None => self.neighbors.remove(&change.key),
            };
        }
        for (key, is_kept) in prepared.documents {
            if is_kept {
                self.kept.insert(key)
            } else {
                self.kept.remove(&key)
            };
        }
    }
}

/// Returns the labels that stand for those named.
fn resolved(names: &BTreeSet<String>, labels: &LabelVocabulary) -> BTreeSet<String> {
    names.iter().filter_map(|name| labels.resolve_name(name).map(str::to_owned)).collect()
}

/// Checks that the documents that people labeled vote with their labels, and nothing else does.
fn compare(documents: Documents, known: Known, report: &mut VerifyReport) {
    let Known { mut neighbors, kept, labels } = known;
    for key in kept {
        if !documents.labels.contains_key(&key) {
            report.add(Problem::Forgotten { key });
        }
    }
    // A label that is being changed may still be missing in some documents.
    let changing = report.job.as_ref().and_then(|job| match &job.task {
        Task::Relabel { label, .. } if (*label as usize) < labels.len() => {
            labels.resolve(LabelId(*label)).map(|label| labels.name(label).to_owned())
        }
        _ => None,
    });
    let may_have_none =
        |key: &str| documents.untagged.contains(key) || documents.reviewed.contains(key);
    for (key, document) in documents.labels {
        let was_untagged = document.is_empty();
        let mut document = resolved(&document, &labels);
        let mut neighbor = neighbors.remove(&key);
        if let Some(name) = &changing {
            document.remove(name);
            if let Some(neighbor) = &mut neighbor {
                neighbor.remove(name);
            }
        }
        match neighbor {
            // A document to which people gave no label is a neighbor without labels.
            Some(neighbor) if neighbor.is_empty() && may_have_none(&key) => {}
            Some(neighbor) if neighbor != document || (was_untagged && neighbor.is_empty()) => {
                report.add(Problem::Labels { key, document, neighbor });
            }
            Some(_) => {}
            None if documents.not_voting.contains(&key) => {}
            None if was_untagged && !documents.reviewed.contains(&key) => {}
            None => report.add(Problem::NoNeighbor { key }),
        }
    }
    for key in neighbors.into_keys() {
        report.add(Problem::NoDocument { key });
    }
}
