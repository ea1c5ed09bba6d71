//! The archive: an index folder, its writer and its searcher.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use autotag::{DatastoreOptions, Tagger};
use serde::Deserialize;
use tantivy::schema::{DateOptions, FAST, Field, INDEXED, STORED, Schema};
use tantivy::time::OffsetDateTime;
use tantivy::time::format_description::well_known::Rfc3339;
use tantivy::{DateTime, TantivyDocument};
use tantivy_autotag::{
    BundleSource, CloseReport, Correction, Error, FieldNames, IndexFolder, OnFailure,
    SearcherOptions, Submission, TagFields, TagSearcher, TaggingWriter, Ticket, TokenHashEncoder,
    WriterOptions,
};
use tokio::sync::oneshot;

use super::problem::Problem;

/// The corrections that may wait for the committing thread.
const MAX_WAITING: usize = 64;

/// The earlier commits whose cursors stay valid.
const KEPT_COMMITS: usize = 8;

pub(crate) type Writer = TaggingWriter<TokenHashEncoder>;

pub(crate) struct Archive {
    pub(crate) writer: Arc<Writer>,
    pub(crate) searcher: TagSearcher,
    pub(crate) published: Field,
    fields: TagFields,
    reviews: SyncSender<Review>,
}

/// An article as clients send it. One that comes with labels keeps them; others are tagged.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Article {
    pub(crate) id: String,
    title: String,
    body: String,
    /// As RFC 3339 writes it.
    published: String,
    labels: Option<Vec<String>>,
}

/// A correction for the committing thread, and whoever waits for its ticket.
struct Review {
    key: String,
    correction: Correction,
    answer: oneshot::Sender<Result<Ticket, Error>>,
}

impl Archive {
    /// Opens the archive in a folder, or creates it there, and commits at intervals from then on.
    pub(crate) fn open(
        folder: &Path,
        mut options: WriterOptions,
        interval: Duration,
    ) -> Result<Self> {
        let encoder = TokenHashEncoder::default();
        let index = match IndexFolder::exists(folder) {
            true => IndexFolder::open(folder)?,
            false => create(folder, &encoder)?,
        };
        // A bad document is told by its ticket and holds up nobody.
        options.on_failure = OnFailure::Skip;
        let writer = Arc::new(index.writer(Tagger::new(Arc::new(encoder)), options)?);
        let searcher = index.searcher_with(SearcherOptions::new().kept_commits(KEPT_COMMITS))?;
        let published = writer.schema().get_field("published")?;
        let fields = searcher.fields().clone();

        let (reviews, inbox) = mpsc::sync_channel(MAX_WAITING);
        let committing = Committing { writer: writer.clone(), searcher: searcher.clone(), inbox };
        // A thread of its own, not one of the runtime's: it lives as long as the service.
        let thread = thread::Builder::new().name("committing".to_owned());
        thread.spawn(move || committing.run(interval))?;
        Ok(Archive { writer, searcher, published, fields, reviews })
    }

    /// Hands an article over, without waiting.
    pub(crate) fn add(&self, article: Article) -> Result<Ticket, Problem> {
        let Article { id, title, body, published, labels } = article;
        let date = OffsetDateTime::parse(&published, &Rfc3339).map_err(|_| {
            Problem::wrong(format!("{published:?} is no date: write it as 2026-01-31T12:00:00Z"))
        })?;
        let mut document = TantivyDocument::new();
        document.add_text(self.fields.key, id);
        document.add_text(self.fields.texts[0], title);
        document.add_text(self.fields.texts[1], body);
        document.add_date(self.published, DateTime::from_utc(date));
        let submitted = match labels {
            Some(labels) => self.writer.try_add_labeled(document, labels)?,
            None => self.writer.try_add(document)?,
        };
        match submitted {
            Submission::Accepted(ticket) => Ok(ticket),
            Submission::Full(_) => Err(Problem::full()),
        }
    }

    /// Has the committing thread record a correction.
    pub(crate) async fn correct(
        &self,
        key: String,
        correction: Correction,
    ) -> Result<Ticket, Problem> {
        let (answer, answered) = oneshot::channel();
        self.reviews.try_send(Review { key, correction, answer })?;
        Ok(answered.await.unwrap_or(Err(Error::Closed))?)
    }

    /// Commits what is done within a time; the report says what is not.
    pub(crate) fn close(&self, timeout: Duration) -> Result<CloseReport, Error> {
        self.writer.close_within(timeout)
    }
}

fn create(folder: &Path, encoder: &TokenHashEncoder) -> Result<IndexFolder> {
    let mut schema = Schema::builder();
    let names = FieldNames::new().texts(["title", "body"]).suggestions("suggestions");
    let fields = TagFields::add_to(&mut schema, &names)?;
    schema.add_date_field("published", DateOptions::from(FAST | INDEXED | STORED));
    // No neighbors yet: the archive learns from the articles that come with labels.
    let neighbors = DatastoreOptions::of(encoder)?;
    let source = BundleSource::without_bundle(&neighbors);
    Ok(IndexFolder::create(folder, schema.build(), &fields, &source)?)
}

/// The thread that commits. The writer may block here, but no handler does.
struct Committing {
    writer: Arc<Writer>,
    searcher: TagSearcher,
    inbox: Receiver<Review>,
}

impl Committing {
    /// Commits at intervals, until the writer is closed or stops; `GET /health` tells which.
    fn run(self, interval: Duration) {
        let mut next = Instant::now() + interval;
        loop {
            let now = Instant::now();
            if now >= next {
                if let Err(error) = self.commit() {
                    return eprintln!("no more commits: {error}");
                }
                next = Instant::now() + interval;
                continue;
            }
            match self.inbox.recv_timeout(next - now) {
                Ok(Review { key, correction, answer }) => {
                    // Whoever asked may be gone.
                    let _ = answer.send(self.writer.correct(&key, &correction));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn commit(&self) -> Result<(), Error> {
        self.writer.commit()?;
        if let Err(error) = self.searcher.reload() {
            eprintln!("the newest commit cannot be searched: {error}");
        }
        Ok(())
    }
}
