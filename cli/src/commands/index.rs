//! `autotag index`: documents into a Tantivy index, tagged while they are indexed.

mod report;

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, bail};
use autotag_documents::{Document, Documents, ReadError};
use autotag_engine::{Engine, TrainingSet, target};
use autotag_onnx::{ModelBundle, OnnxEncoder};
use tantivy_autotag::tantivy::TantivyDocument;
use tantivy_autotag::tantivy::schema::Schema;
use tantivy_autotag::{
    CommitSummary, Error, FieldNames, IndexFolder, OnFailure, TagFields, TaggingWriter, Ticket,
    with_causes,
};

use crate::args::{Common, DocumentArgs, ReviewArgs, SettingArgs};
use crate::commands::feed::Feed;
use crate::commands::model;
use crate::errors::UsageError;
use crate::output;
use crate::progress::Progress;
use crate::signals::Stop;

use report::{FileReport, IndexReport};

/// Index documents with their tags: labeled ones become neighbors, the others are tagged
///
/// The index is made where there is none. Its neighbors begin with the bundle's training set; every
/// labeled document votes from the end of its file on, so name labeled files first. A document
/// replaces the one that has its key; what a person said by `autotag correct` of that one's labels
/// stays, until a person or a labeled document says otherwise.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  autotag index --bundle bundle --index index --data labeled.jsonl new.jsonl.gz")]
pub(crate) struct IndexArgs {
    /// The bundle; where the index exists, in place of the one that it was made with
    #[arg(long, value_name = "BUNDLE")]
    bundle: Option<PathBuf>,

    /// The index's folder
    #[arg(long, value_name = "DIR")]
    index: PathBuf,

    /// The documents' files, indexed in this order; each is committed at its end
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    data: Vec<PathBuf>,

    /// The policy for a document that cannot be read or tagged: `fail` stops, keeping the
    /// documents before it; `skip` leaves it out; `untagged` indexes it without tags
    #[arg(long, value_enum, value_name = "POLICY", default_value = "fail")]
    on_failure: Policy,

    /// Begin with this line of the first file, or the CSV row that it is part of; what was before it
    /// is indexed already
    #[arg(long, value_name = "N", default_value_t = 1)]
    from_line: u64,

    /// Commit after every N documents too, so that they can be searched and vote
    #[arg(long, value_name = "N")]
    commit_every: Option<NonZeroU64>,

    #[command(flatten)]
    settings: SettingArgs,

    #[command(flatten)]
    review: ReviewArgs,

    #[command(flatten)]
    documents: DocumentArgs,
}

/// The policy for documents that cannot be read or tagged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Policy {
    Fail,
    Skip,
    Untagged,
}

impl From<Policy> for OnFailure {
    fn from(policy: Policy) -> OnFailure {
        match policy {
            Policy::Fail => OnFailure::Fail,
            Policy::Skip => OnFailure::Skip,
            Policy::Untagged => OnFailure::IndexUntagged,
        }
    }
}

pub(crate) fn run(args: &IndexArgs, common: &Common) -> anyhow::Result<()> {
    // Before anything is made: a file that is not there is a mistake in the command line.
    let options = args.documents.read_options();
    let mut files = Vec::with_capacity(args.data.len());
    for path in &args.data {
        files.push((path, Documents::open(path, &options)?));
    }
    let existing =
        if IndexFolder::exists(&args.index) { Some(IndexFolder::open(&args.index)?) } else { None };
    let bundle = match &existing {
        Some(folder) => Engine::bundle_of(folder, args.bundle.as_deref())?,
        None => {
            let bundle = bundle_for_new(args)?;
            target::check_index(&args.index)?;
            ModelBundle::open(bundle)?
        }
    };
    // Before an index is made: a model that cannot be loaded leaves none behind.
    let mut engine = model::load(bundle, common)?;
    let folder = match existing {
        Some(folder) => folder,
        None => create(&args.index, &engine.bundle)?,
    };
    engine.settings = engine.settings.overridden(args.settings.into());
    args.review.put_into(&mut engine.settings.selection);
    let mut indexer = Indexer::open(&folder, &engine, args, common)?;
    let started = Instant::now();
    let mut reports = Vec::with_capacity(files.len());
    for (path, documents) in files {
        reports.push(indexer.index(path, documents)?);
        if indexer.stopped_at.is_some() {
            break;
        }
    }
    let times = indexer.writer.stats().times;
    indexer.writer.close()?;
    output::print(common.format, &IndexReport::new(reports, started.elapsed(), times))?;
    match indexer.stopped_at {
        Some(line) => bail!("{}", how_to_go_on(args, line)),
        None => Ok(()),
    }
}

/// Says what is left to be indexed after a signal: a line of a file, and the files behind it.
fn how_to_go_on(args: &IndexArgs, At { file, line }: At) -> String {
    let index = args.index.display();
    let files: Vec<String> =
        args.data[file..].iter().map(|path| path.display().to_string()).collect();
    format!(
        "stopped by a signal; everything before line {line} of {} is committed. The same command \
         with `--index {index} --data {} --from-line {line}` goes on",
        files[0],
        files.join(" ")
    )
}

/// A line of one of the files.
#[derive(Clone, Copy, Debug)]
struct At {
    /// Which of the files.
    file: usize,
    line: u64,
}

/// Returns the bundle that a new index is to be made with.
fn bundle_for_new(args: &IndexArgs) -> Result<&Path, UsageError> {
    args.bundle.as_deref().ok_or_else(|| {
        let index = args.index.display();
        let problem =
            format!("there is no index in {index} yet: a new one needs --bundle <BUNDLE>");
        UsageError::new("index", problem)
    })
}

fn create(index: &Path, bundle: &ModelBundle) -> anyhow::Result<IndexFolder> {
    let mut schema = Schema::builder();
    let names = FieldNames::new().suggestions("suggestions");
    let fields = TagFields::add_to(&mut schema, &names)?;
    let training_set = TrainingSet::open(bundle)?;
    match IndexFolder::create(index, schema.build(), &fields, &training_set.source()) {
        // Another process was faster.
        Err(Error::IndexExists { .. }) => Ok(IndexFolder::open(index)?),
        created => Ok(created?),
    }
}

/// A writer and what it takes to feed it.
struct Indexer<'a> {
    writer: TaggingWriter<OnnxEncoder>,
    fields: TagFields,
    args: &'a IndexArgs,
    common: &'a Common,
    /// Documents that were handed over since the last commit.
    uncommitted: u64,
    stop: Stop,
    /// The number of files that were begun.
    n_files: usize,
    /// The place where a signal ended the work.
    stopped_at: Option<At>,
}

impl<'a> Indexer<'a> {
    fn open(
        folder: &IndexFolder,
        engine: &Engine,
        args: &'a IndexArgs,
        common: &'a Common,
    ) -> anyhow::Result<Self> {
        let writer = model::writer(engine, folder, args.on_failure.into())?;
        let fields = TagFields::from_schema(writer.schema(), folder.names())?;
        let stop = Stop::watch()?;
        let (uncommitted, n_files, stopped_at) = (0, 0, None);
        Ok(Indexer { writer, fields, args, common, uncommitted, stop, n_files, stopped_at })
    }

    /// Indexes a file and commits it; where a document fails, what came before it is committed.
    fn index(&mut self, path: &Path, documents: Documents) -> anyhow::Result<FileReport> {
        let mut report = FileReport::begin(path);
        self.n_files += 1;
        let outcome = self.hand_over(path, documents, &mut report);
        let committed = self.commit(&mut report);
        let is_kept = committed.as_ref().err().is_none_or(is_about_a_document);
        outcome.and(committed).with_context(|| {
            let kept = if is_kept {
                "what came before is committed"
            } else {
                "earlier commits are kept, and this one as a whole or not at all"
            };
            format!("indexing {} stopped; {kept}", path.display())
        })?;
        Ok(report.end())
    }

    fn hand_over(
        &mut self,
        path: &Path,
        documents: Documents,
        report: &mut FileReport,
    ) -> anyhow::Result<()> {
        let progress = Progress::begin("index", None, self.common.quiet.into());
        let from_line = if self.n_files == 1 { self.args.from_line } else { 1 };
        let mut next_line = from_line;
        // Read ahead by another thread: whoever waits for more input still hears a signal.
        let feed = Feed::start(documents);
        while let Some(document) = feed.next(&self.stop) {
            let last_line = last_line_of(&document);
            let ends = document.as_ref().is_err_and(ReadError::ends_the_file);
            if !ends && last_line.is_some_and(|line| line < from_line) {
                continue;
            }
            next_line = last_line.map_or(next_line, |line| line + 1);
            let (key, refused) = match document {
                Ok(document) => (Some(document.key.clone()), self.add(path, &document, report)?),
                Err(error) if error.ends_the_file() => return Err(error.into()),
                Err(error) => (error.key.clone(), Some(error.into())),
            };
            if let Some(error) = refused {
                if self.args.on_failure == Policy::Fail {
                    return Err(error);
                }
                tracing::warn!("{error:#}");
                report.refuse(key.as_deref(), &error);
            }
            progress.add(1);
            self.uncommitted += 1;
            if self.args.commit_every.is_some_and(|n| self.uncommitted >= n.get()) {
                self.commit(report)?;
            }
        }
        if self.stop.is_asked() {
            self.stopped_at = Some(At { file: self.n_files - 1, line: next_line });
        }
        Ok(())
    }

    /// Hands a document over; returns why it was not taken where its key or labels are at fault.
    fn add(
        &mut self,
        path: &Path,
        document: &Document,
        report: &mut FileReport,
    ) -> anyhow::Result<Option<anyhow::Error>> {
        let mut added = self.submit(document);
        if let Err(Error::NotCommitted { .. }) = added {
            self.commit(report)?;
            added = self.submit(document);
        }
        match added {
            Err(error @ (Error::KeyLength { .. } | Error::Label { .. })) => {
                let place = format!("{}:{}", path.display(), document.line);
                Ok(Some(anyhow::Error::new(error).context(place)))
            }
            Err(error) => Err(error.into()),
            Ok(_) => Ok(None),
        }
    }

    fn submit(&self, document: &Document) -> Result<Ticket, Error> {
        let mut indexed = TantivyDocument::new();
        indexed.add_text(self.fields.key, &document.key);
        indexed.add_text(self.fields.texts[0], &document.text);
        if document.labels.is_empty() {
            self.writer.add(indexed)
        } else {
            self.writer.add_labeled(indexed, &document.labels)
        }
    }

    /// Commits; a failed document is reported after everything else was committed.
    fn commit(&mut self, report: &mut FileReport) -> anyhow::Result<()> {
        let (summary, failure) = match self.writer.commit() {
            Err(error @ Error::Document { .. }) => (self.writer.commit()?, Some(error)),
            summary => (summary?, None),
        };
        self.uncommitted = 0;
        warn_of_failures(&summary);
        report.add(&summary);
        failure.map_or(Ok(()), |error| Err(error.into()))
    }
}

/// Returns the last line that a document stands on, where it is known.
fn last_line_of(document: &Result<Document, ReadError>) -> Option<u64> {
    match document {
        Ok(document) => Some(document.last_line),
        Err(error) => error.last_line,
    }
}

/// Tells whether an error of [`Indexer::commit`] says that a document failed, not the commit.
fn is_about_a_document(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(Error::Document { .. }))
}

fn warn_of_failures(summary: &CommitSummary) {
    for failure in &summary.failures {
        let cause = with_causes(&failure.cause);
        tracing::warn!(key = failure.key, "a document could not be tagged: {cause}");
    }
    let n_more = summary.failed.saturating_sub(summary.failures.len() as u64);
    if n_more > 0 {
        tracing::warn!(n_more, "more documents could not be tagged");
    }
}
