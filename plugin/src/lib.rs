//! Tags Tantivy documents while they are indexed.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod error;

mod fields;

mod options;

mod writer;

mod document;

mod evidence;

mod budget;
mod queue;

mod worker;

mod stores;

mod commit;

mod ledger;
mod stats;

mod search;

mod folder;

pub use error::{Error, Result};
pub use evidence::{Evidence, NeighborEvidence, Origin, TagEvidence};
pub use fields::{FieldNames, TagFields};
pub use folder::IndexFolder;
pub use options::{OnFailure, WriterOptions};
pub use search::{
    FacetCount, FoundDocument, SearchRequest, SearchResults, TagSearcher, parse_tag, tag_path,
};
pub use stats::{CommitSummary, FailedDocument, WriterStats, WriterTimes};
pub use writer::TaggingWriter;

// The version whose documents, schemas and facets this crate takes and returns.
pub use tantivy;
