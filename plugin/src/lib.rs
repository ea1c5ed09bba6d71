//! Tags Tantivy documents while they are indexed.
//!
//! A [`TaggingWriter`] takes the place of Tantivy's `IndexWriter`. A document that comes without
//! labels is tagged by the core's [`Tagger`](autotag::Tagger); one that comes with labels keeps them
//! and becomes a neighbor by which later documents are tagged. Tags are facets of the caller's own
//! schema, and why a document has them, its [`Evidence`](autotag::Evidence), is stored beside them. [`TagSearcher`]
//! answers queries with drill-down and counts; any other Tantivy code can read the index as well.
//!
//! ```no_run
//! use autotag::{Datastore, Encoder, Tagger};
//! use tantivy::schema::{FAST, Facet, STORED, Schema};
//! use tantivy::{Index, doc};
//! use tantivy_autotag::{
//!     FieldNames, Result, SearchRequest, TagFields, TagSearcher, TaggingWriter, WriterOptions,
//!     parse_tag, tag_path,
//! };
//!
//! # fn run<E: Encoder + 'static>(tagger: Tagger<E>, datastore: Datastore) -> Result<()> {
//! let mut schema = Schema::builder();
//! let year = schema.add_u64_field("year", FAST | STORED);
//! let fields = TagFields::add_to(&mut schema, &FieldNames::default())?;
//! let index = Index::create_in_ram(schema.build());
//!
//! // `tagger` holds the model, `datastore` a copy of its training set that belongs to this index.
//! let options = WriterOptions::default();
//! let writer = TaggingWriter::open(index.clone(), datastore, tagger, fields.clone(), options)?;
//! let (id, text) = (fields.key, fields.texts[0]);
//! writer.add(doc!(id => "vim", text => "a text editor", year => 1991u64))?;
//! writer.add_labeled(doc!(id => "ed", text => "the text editor", year => 1969u64), ["use::editing"])?;
//! let summary = writer.commit()?;
//! assert_eq!((summary.tagged, summary.labeled), (1, 1));
//!
//! let request = SearchRequest::new()
//!     .query("editor")
//!     .tags([parse_tag("/use/editing")?])
//!     .facets([Facet::root()]);
//! let found = TagSearcher::new(&index, fields)?.search(&request)?;
//! for document in &found.documents {
//!     let tags: Vec<String> = document.tags.iter().map(tag_path).collect();
//!     println!("{}: {tags:?}, because {:?}", document.key, document.evidence);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`IndexFolder`] lays an index and its datastore out on disk.
#![cfg_attr(test, allow(clippy::unwrap_used))]

/// Compiles the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

// Leaves.
mod clock;
mod error;
mod evidence;
mod fields;
mod guard;
mod index_options;
mod job;
mod options;
mod plainly;
mod ticket;

mod review;
mod seconds;
mod stats;
mod threads;

// From `TaggingWriter::add` to a commit.
mod writer;

mod budget;
mod document;
mod operation;

mod keys;
mod queue;

mod pipeline;

mod process;
mod worker;

mod change;

mod ledger;
mod stores;

mod commit;
mod outside;

mod rollback;

mod closing;

// Work on documents in the index.
mod correct;
mod deletion;
mod merging;
mod restore;
mod source;
mod upkeep;

mod search;

// The folder on disk.
mod layout;

mod description;
mod directory;
mod files;
mod segments;

mod datastores;
mod folder;

mod adopt;
mod migrate;
mod rebuild;
mod repair;
mod verify;

// An encoder without a model.
mod token_hash;

pub use adopt::{AdoptOptions, AdoptReport};
pub use clock::Clock;
pub use correct::Correction;
pub use description::{BundleSource, InitialNeighbors};
pub use error::{Error, Result};
pub use fields::{FieldNames, ReviewFields, ReviewNames, TagFields};
pub use folder::IndexFolder;
pub use index_options::IndexOptions;
pub use job::{Job, JobProgress, LabelChange, TagSettings, Task};
pub use options::{Corrections, OnFailure, WriterOptions};
pub use outside::OutsideChanges;
pub use plainly::{plainly, with_causes};
pub use rebuild::RebuildReport;
pub use repair::RepairReport;
pub use review::DocumentOrigin;
pub use search::{
    Counting, FacetCount, FacetCounts, FoundDocument, Reload, SearchRequest, SearchResults,
    SearcherOptions, Snippet, SnippetOptions, SortBy, SortValue, TagFilter, TagSearcher,
    parse_label, parse_tag, tag_path,
};
pub use stats::{
    CloseReport, CommitSummary, FailedDocument, Health, RetagReport, WriterStats, WriterTimes,
};
pub use threads::SharedThreads;
pub use ticket::{LastCommit, Ticket, TicketStatus};
pub use token_hash::TokenHashEncoder;
pub use verify::{IndexPart, Interrupted, Problem, VerifyReport};
pub use writer::{Submission, TaggingWriter};

// The versions whose taggers, documents, schemas and facets this crate takes and returns.
pub use {autotag, tantivy};
