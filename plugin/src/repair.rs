//! Repairs a damaged index: sets damaged files aside, and makes both stores agree.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use autotag::datastore::{SealState, check_seal};
use autotag::{Datastore, Encoder, Tagger};
use serde::Serialize;
use tantivy::directory::Directory;
use tantivy::{Index, IndexMeta, SegmentMeta};

use crate::description::Description;
use crate::directory::FolderDirectory;
use crate::error::io_error;
use crate::folder::Locked;
use crate::index_options::check_tokenizers;
use crate::layout::{DAMAGED, DATASTORE, MANAGED, META, own_folder};
use crate::rebuild::RebuildReport;
use crate::writer::opening::check_encoder;
use crate::{
    BundleSource, Corrections, Error, FieldNames, IndexFolder, IndexOptions, IndexPart,
    JobProgress, Problem, Result, TagFields, VerifyReport, WriterOptions, datastores, files,
    verify,
};

/// The outcome of [`IndexFolder::repair`].
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct RepairReport {
    /// The files that were rebuilt from other information, by their path inside the index's folder.
    pub restored: Vec<PathBuf>,
    /// The files that were set aside, by their path inside the index's folder.
    pub set_aside: Vec<PathBuf>,
    /// The number of documents lost with them.
    pub documents_lost: u64,
    /// The keys of lost documents, as far as the datastore knows them.
    pub lost: BTreeSet<String>,
    /// The datastore that was found beside the index's own, and agrees with the documents.
    pub found: Option<PathBuf>,
    /// The outcome of rebuilding the datastore, where that was necessary.
    pub rebuilt: Option<RebuildReport>,
    /// Changes of labels, and rejections that documents of earlier versions do not tell, were lost with
    /// the old datastore.
    pub forgot: bool,
    /// The integrity check after the repair.
    pub after: VerifyReport,
}

impl IndexFolder {
    /// Opens a folder to repair it: as [`IndexFolder::open`], but where `index.json` is damaged or
    /// gone, it is rebuilt, from its copy or from the bundle, the schema and the datastores.
    ///
    /// # Errors
    ///
    /// [`Error::InUse`] when a writer has the index open, [`Error::NoIndex`] where there is nothing
    /// of an index, and the error of opening the folder where nothing can be made of it.
    pub fn recover(path: &Path, bundle: &BundleSource<'_>) -> Result<Self> {
        let error = match IndexFolder::open(path) {
            Err(
                error @ (Error::DescriptionDamaged { .. }
                | Error::DescriptionChanged { .. }
                | Error::NoIndex { .. }),
            ) if own_folder(path).is_dir() => error,
            opened => return opened,
        };
        let directory = FolderDirectory::open(path)?;
        let _lock = directory.lock_for_writing()?;
        mend_tantivy(&directory, path)?;
        let copy = Description::read_copy(path)
            .filter(|copy| own_folder(path).join(&copy.datastore).is_dir());
        let description = match copy {
            Some(copy) => Some(copy),
            None => derive(path, &directory, bundle)?,
        };
        let Some(description) = description else { return Err(error) };
        let options = IndexOptions::default();
        let mut folder = IndexFolder { path: path.to_owned(), description, options };
        folder.publish()?;
        Ok(folder)
    }

    /// Repairs a damaged index, with the bundle that it was made with.
    ///
    /// Segments that are damaged are set aside in `autotag/damaged` with their documents. Where the
    /// datastore is damaged or disagrees with the documents, one that agrees is looked for among
    /// those that were set aside; else it is rebuilt from the documents and the bundle's training
    /// set, and the one that it was is set aside. An index that is sound is left alone.
    ///
    /// # Errors
    ///
    /// [`Error::InUse`] when a writer has the index open, [`Error::EncoderMismatch`] for another
    /// bundle, [`Error::CommitChanged`] when `meta.json` is damaged and so is its copy, and when what
    /// remains cannot be read or written.
    pub fn repair<E: Encoder + 'static>(
        &mut self,
        tagger: &Tagger<E>,
        bundle: &BundleSource<'_>,
        progress: impl FnMut(JobProgress),
    ) -> Result<RepairReport> {
        let (locked, current) = self.lock()?;
        *self = current;
        check_encoder(tagger, self.encoder())?;
        check_encoder(tagger, bundle.neighbors.encoder())?;
        let restored = mend_tantivy(&locked.directory, &self.path)?;
        let mut report = RepairReport { restored, ..RepairReport::default() };
        let before = self.verify_locked(&locked)?;
        if before.is_sound() {
            report.after = before;
            return Ok(report);
        }
        // A writer commits in the end.
        check_tokenizers(&self.index_in(&locked.directory)?.0)?;
        set_damaged_segments_aside(self, &locked, &mut report)?;
        if before.neighbors.is_some() && !report.set_aside.is_empty() {
            report.lost = keys_without_document(&self.verify_locked(&locked)?);
        }
        // The datastore may know documents of segments that were set aside.
        if !report.set_aside.is_empty() || before.problems.iter().any(is_of_datastore) {
            self.mend_datastore(&locked, tagger, bundle, &mut report, progress)?;
        }
        // The next commit is later than whatever the datastore counts.
        let options = WriterOptions::new().corrections(Corrections::Unsupported);
        let writer = self.locked_writer(locked, tagger.clone(), options)?;
        writer.commit()?;
        writer.close()?;
        report.after = self.verify()?;
        Ok(report)
    }

    fn verify_locked(&self, locked: &Locked) -> Result<VerifyReport> {
        verify::verify(self, &locked.directory, &self.datastore_path())
    }

    /// Finds a datastore that agrees with the documents, or rebuilds it.
    fn mend_datastore<E: Encoder>(
        &mut self,
        locked: &Locked,
        tagger: &Tagger<E>,
        bundle: &BundleSource<'_>,
        report: &mut RepairReport,
        progress: impl FnMut(JobProgress),
    ) -> Result<()> {
        let own = own_folder(&self.path);
        let others = datastores::all_others(&own, &self.description.datastore)?;
        for other in others.iter().filter(|other| !datastores::is_begun(other)) {
            if verify::verify(self, &locked.directory, other)?.is_sound() {
                let name = self.free_name("found");
                fs::rename(other, own.join(&name)).map_err(io_error("use", other))?;
                datastores::sync(&own.join(&name))?;
                self.description = self.description.with_datastore(&name);
                self.publish()?;
                report.found = other.strip_prefix(&self.path).map(Path::to_path_buf).ok();
                return Ok(());
            }
        }
        let (index, _) = self.index_in(&locked.directory)?;
        let old = match self.recovered_datastore(&index)? {
            Some(old) => Some(old),
            None => newest_readable(self, &others),
        };
        report.forgot = old.is_none();
        let name = self.free_name("repaired");
        let rebuilt =
            self.replace_datastore(locked, &name, tagger, bundle, old.as_ref(), progress)?;
        report.rebuilt = Some(rebuilt);
        Ok(())
    }

    /// Returns a name for a datastore that the index does not use.
    fn free_name(&self, what: &str) -> String {
        let own = own_folder(&self.path);
        let names = (1..).map(|number: u32| format!("datastore-{what}-{number}"));
        let free = |name: &String| !own.join(name).exists();
        names.into_iter().find(free).expect("there are more numbers than folders")
    }
}

/// Opens the datastore of the newest commit among some, where one is whole.
fn newest_readable(folder: &IndexFolder, others: &[PathBuf]) -> Option<Datastore> {
    let open = |other: &PathBuf| {
        let is_whole = check_seal(other).is_ok_and(|seal| seal != SealState::Damaged);
        let datastore = is_whole.then(|| Datastore::open(other, &folder.encoder()).ok())??;
        let report = datastore.verify().ok()?;
        report.problems.is_empty().then_some((report.generation, datastore))
    };
    let all = others.iter().filter_map(open);
    all.max_by_key(|(generation, _)| *generation).map(|(_, datastore)| datastore)
}

/// Rebuilds Tantivy's lists of files where they are damaged; returns their paths.
fn mend_tantivy(directory: &FolderDirectory, path: &Path) -> Result<Vec<PathBuf>> {
    let mut restored = Vec::new();
    if directory.restore_meta()? {
        restored.push(META.into());
    }
    let managed = directory.atomic_read(Path::new(MANAGED)).unwrap_or_default();
    if serde_json::from_slice::<BTreeSet<PathBuf>>(&managed).is_err() {
        let file = path.join(MANAGED);
        let list = files::segment_files(path).map_err(io_error("list", path))?;
        let list: Vec<PathBuf> = list.into_iter().chain([META.into()]).collect();
        let json = serde_json::to_vec(&list).expect("names of files in ASCII encode");
        let written = directory.atomic_write(Path::new(MANAGED), &json);
        written.map_err(io_error("write", &file))?;
        restored.push(MANAGED.into());
    }
    Ok(restored)
}

/// Derives `index.json` from the schema, the datastores and the bundle; `None` where that fails.
fn derive(
    path: &Path,
    directory: &FolderDirectory,
    bundle: &BundleSource<'_>,
) -> Result<Option<Description>> {
    let Ok(index) = Index::open(directory.clone()) else { return Ok(None) };
    let schema = index.schema();
    // The most fields first: those that an index has are not left out.
    let all = [FieldNames::new(), FieldNames::new().review(None)];
    let mut all =
        all.into_iter().flat_map(|names| [names.clone().suggestions("suggestions"), names]);
    let names = all.find(|names| TagFields::from_schema(&schema, names).is_ok());
    let Some(names) = names else { return Ok(None) };
    let encoder = bundle.neighbors.encoder();
    let mut found: Option<(u64, String)> = None;
    let own = own_folder(path);
    for folder in datastores::all_others(&own, "")? {
        let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or(DATASTORE);
        if folder.parent() != Some(&own) || datastores::is_begun(&folder) {
            continue;
        }
        let generation = Datastore::open(&folder, &encoder)
            .and_then(|datastore| datastore.reader())
            .map(|reader| reader.generation());
        if let Ok(generation) = generation
            && found.as_ref().is_none_or(|(newest, _)| generation > *newest)
        {
            found = Some((generation, name.to_owned()));
        }
    }
    let name = found.map_or(DATASTORE.to_owned(), |(_, name)| name);
    Ok(Some(Description::derived(names, &schema, bundle, &name)))
}

/// Tells whether rebuilding the datastore solves a problem.
fn is_of_datastore(problem: &Problem) -> bool {
    match problem {
        Problem::DamagedFile { path } => path.starts_with("autotag"),
        Problem::Unreadable { part, .. } => match part {
            IndexPart::LastCommit
            | IndexPart::Datastore
            | IndexPart::Neighbors
            | IndexPart::Journal => true,
            IndexPart::Index | IndexPart::Folder | IndexPart::File | IndexPart::Documents => false,
        },
        Problem::Datastore(_)
        | Problem::DatastoreAhead { .. }
        | Problem::NoNeighbor { .. }
        | Problem::NoDocument { .. }
        | Problem::Forgotten { .. }
        | Problem::Labels { .. } => true,
        Problem::NoKey
        | Problem::Twice { .. }
        | Problem::Evidence { .. }
        | Problem::Count { .. }
        | Problem::UnknownCommit => false,
    }
}

/// Removes segments with damaged files from the index, and sets their files aside.
fn set_damaged_segments_aside(
    folder: &IndexFolder,
    locked: &Locked,
    report: &mut RepairReport,
) -> Result<()> {
    let (index, _) = folder.index_in(&locked.directory)?;
    let damaged = verify::damaged_files(&index)?;
    if damaged.is_empty() {
        return Ok(());
    }
    let mut metas = index.load_metas().map_err(Error::tantivy("read the last commit"))?;
    let files = metas.list_segment_files();
    let is_damaged = |segment: &SegmentMeta| damaged.iter().any(|file| is_of(file, segment));
    let (lost, kept): (Vec<_>, Vec<_>) = metas.segments.drain(..).partition(is_damaged);
    metas.segments = kept;
    report.documents_lost = lost.iter().map(|segment| u64::from(segment.num_docs())).sum();
    let aside = own_folder(folder.path()).join(DAMAGED);
    fs::create_dir_all(&aside).map_err(io_error("create", &aside))?;
    copy(&folder.path().join(META), &aside.join(META))?;
    write_metas(&index, &metas)?;
    for file in files {
        let (from, to) = (folder.path().join(&file), aside.join(&file));
        if lost.iter().any(|segment| is_of(&file, segment)) && from.is_file() {
            fs::rename(&from, to).map_err(io_error("set aside", &from))?;
            report.set_aside.push(file);
        }
    }
    report.set_aside.sort();
    Ok(())
}

/// Tells whether a file is a segment's: its name begins with the segment's id.
fn is_of(file: &Path, segment: &SegmentMeta) -> bool {
    file.to_str().is_some_and(|name| name.starts_with(&segment.id().uuid_string()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).map(drop).map_err(io_error("copy", from))
}

fn write_metas(index: &Index, metas: &IndexMeta) -> Result<()> {
    let json = serde_json::to_vec(metas).expect("what was read from JSON can be written");
    let directory = index.directory();
    let written =
        directory.atomic_write(Path::new(META), &json).and_then(|()| directory.sync_directory());
    written.map_err(|source| Error::Io { path: META.into(), action: "write", source })
}

/// Returns the keys of documents that only the datastore has.
fn keys_without_document(report: &VerifyReport) -> BTreeSet<String> {
    let key = |problem: &Problem| match problem {
        Problem::NoDocument { key } | Problem::Forgotten { key } => Some(key.clone()),
        _ => None,
    };
    report.problems.iter().filter_map(key).collect()
}
