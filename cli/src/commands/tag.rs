//! `autotag tag`: documents from standard input to standard output, one line out for each line in.

use std::io::{self, BufWriter, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use autotag::{DatastoreReader, EncodeError, Encoder, Evidence, Tag, Tagger, Tagging};
use autotag_documents::{BlankLines, Document, Documents, Problem, ReadError, ReadOptions};
use serde::Serialize;
use tantivy_autotag::{IndexFolder, with_causes};

use crate::args::{Common, DocumentArgs, ReviewArgs, SettingArgs};
use crate::commands::feed::Feed;
use crate::commands::model::{self, Model};
use crate::output::{Detail, WriteError, print_json_line};

/// Tag documents from standard input: one JSON line out for each line in, in their order
///
/// Every answer is {"id", "tags": [{"label", "score"}, ...]}, with "suggestions" like "tags" where
/// there are some; with --explain it has the evidence that an index stores. A line that cannot be tagged is
/// answered by {"id", "line", "error"}; the others are still tagged, and the exit code is 1.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  echo '{\"id\": \"1\", \"text\": \"the engine lost oil\"}' | autotag tag --bundle bundle --explain
  zcat documents.jsonl.gz | autotag tag --index index > tagged.jsonl")]
#[command(group(clap::ArgGroup::new("source").args(["bundle", "index"]).required(true).multiple(true)))]
pub(crate) struct TagArgs {
    /// The model; with --index, in place of the bundle that the index was made with
    #[arg(long, value_name = "BUNDLE")]
    bundle: Option<PathBuf>,

    /// Let an index's labeled documents vote, instead of the bundle's training set alone
    #[arg(long, value_name = "DIR")]
    index: Option<PathBuf>,

    /// Add the model's and the neighbors' part of each score, its origin, and the neighbors that voted
    #[arg(long)]
    explain: bool,

    #[command(flatten)]
    settings: SettingArgs,

    #[command(flatten)]
    review: ReviewArgs,

    #[command(flatten)]
    documents: DocumentArgs,
}

/// The most documents that are tagged together.
const BATCH: usize = 256;

pub(crate) fn run(args: &TagArgs, common: &Common) -> anyhow::Result<()> {
    let model = open(args, common)?;
    let datastore = model.datastore.reader()?;
    let mut tagger = model.tagger(args.settings);
    args.review.put_into(&mut tagger.selection);
    let options = ReadOptions { blank_lines: BlankLines::Report, ..args.documents.read_options() };
    let documents = Documents::open(Path::new("-"), &options)?;
    let detail = Detail::explained(args.explain);

    // Nothing in leads to nothing out: no error for a filter.
    let is_empty = |error: &ReadError| matches!(*error.problem, Problem::Empty);
    let lines = documents.filter(move |line| !line.as_ref().is_err_and(is_empty));
    let feed = Feed::start(lines);
    let mut output = BufWriter::new(io::stdout().lock());
    let (mut n_lines, mut n_failed) = (0, 0);
    while let Some(lines) = feed.take(BATCH) {
        for answer in answer(&tagger, &datastore, &lines, model.engine.threads, detail)? {
            n_failed += usize::from(matches!(answer, Answer::Failed { .. }));
            print_json_line(&mut output, &answer)?;
        }
        n_lines += lines.len();
        output.flush().map_err(WriteError)?;
    }
    if n_failed > 0 {
        bail!("{n_failed} of {n_lines} lines could not be tagged: their answers say why");
    }
    Ok(())
}

/// Loads the model, with the neighbors of the index where one is named.
fn open(args: &TagArgs, common: &Common) -> anyhow::Result<Model> {
    match (&args.index, &args.bundle) {
        (Some(index), bundle) => {
            let (index, datastore) = IndexFolder::open_with_datastore(index)?;
            let engine = model::of_index(&index, bundle.as_deref(), common)?;
            Ok(Model { engine, datastore })
        }
        (None, Some(bundle)) => model::open(bundle, common),
        (None, None) => unreachable!("the command line requires one of them"),
    }
}

/// The answer to a line.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Answer {
    Explained {
        id: String,
        #[serde(flatten)]
        evidence: Evidence,
    },
    Tagged {
        id: String,
        tags: Vec<ScoredLabel>,
        /// Absent where nothing is suggested.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        suggestions: Vec<ScoredLabel>,
    },
    Failed {
        id: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        line: Option<u64>,
        error: String,
    },
}

#[derive(Debug, Serialize)]
struct ScoredLabel {
    label: String,
    score: f32,
}

/// Answers lines in their order.
fn answer<E: Encoder>(
    tagger: &Tagger<E>,
    datastore: &DatastoreReader,
    lines: &[Result<Document, ReadError>],
    n_threads: NonZeroUsize,
    detail: Detail,
) -> anyhow::Result<Vec<Answer>> {
    let texts: Vec<&str> = lines.iter().flatten().map(|document| document.text.as_str()).collect();
    let taggings = tagger.tag_on(n_threads, &texts, datastore);
    let mut taggings = taggings.context("the neighbors could not be searched")?.into_iter();
    let mut answers = Vec::with_capacity(lines.len());
    for line in lines {
        answers.push(match line {
            Err(error) => unread(error),
            Ok(document) => {
                let tagging = taggings.next().expect("one outcome for each text");
                tagged(document, tagging, datastore, detail)
            }
        });
    }
    Ok(answers)
}

fn unread(error: &ReadError) -> Answer {
    let text = with_causes(error.problem.as_ref());
    Answer::Failed { id: error.key.clone(), line: error.line, error: text }
}

fn tagged(
    document: &Document,
    tagging: Result<Tagging, EncodeError>,
    datastore: &DatastoreReader,
    detail: Detail,
) -> Answer {
    let id = document.key.clone();
    let tagging = match tagging {
        Ok(tagging) => tagging,
        Err(error) => {
            let (id, line) = (Some(id), Some(document.line));
            return Answer::Failed { id, line, error: with_causes(&error) };
        }
    };
    if detail == Detail::Explained {
        return Answer::Explained { id, evidence: Evidence::predicted(&tagging, datastore) };
    }
    let scored = |tag: &Tag| {
        let label = datastore.labels().name(tag.label).to_owned();
        ScoredLabel { label, score: tag.score }
    };
    let scored = |tags: &[Tag]| tags.iter().map(scored).collect();
    Answer::Tagged { id, tags: scored(&tagging.tags), suggestions: scored(&tagging.suggestions) }
}
