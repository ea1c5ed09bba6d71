//! The pattern for async services: no handler blocks the runtime, none publishes others' work.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use autotag::datastore::DatastoreOptions;
use autotag::{
    Datastore, Embedding, EncodeError, Encoded, EncodedBatch, Encoder, Fingerprint,
    LabelVocabulary, Tagger,
};
use tantivy::schema::Schema;
use tantivy::{Index, TantivyDocument, doc};
use tantivy_autotag::{
    Correction, Error, FieldNames, OnFailure, TagFields, TagSearcher, TaggingWriter, TicketStatus,
    WriterOptions,
};
use tempfile::TempDir;

use crate::indexer::{self, Closed, Handle};

/// Takes a while for each text, as a model does, and fails on empty ones.
struct Slow(LabelVocabulary);

impl Encoder for Slow {
    type Tokens = usize;

    fn labels(&self) -> &LabelVocabulary {
        &self.0
    }

    fn dimensions(&self) -> usize {
        2
    }

    fn fingerprint(&self) -> Fingerprint {
        Fingerprint([1; 32])
    }

    fn tokenize(&self, text: &str) -> Result<usize, EncodeError> {
        if text.is_empty() { Err(EncodeError::EmptyText) } else { Ok(text.len()) }
    }

    fn token_count(length: &usize) -> usize {
        *length
    }

    fn encode(&self, batch: &[usize]) -> EncodedBatch {
        let encoded = batch.iter().map(|&length| {
            std::thread::sleep(Duration::from_millis(2));
            let embedding = Embedding::new(vec![1.0, length as f32]).unwrap();
            Ok(Encoded { embedding, scores: None })
        });
        EncodedBatch::from_outcomes(2, encoded)
    }
}

/// A service's index.
struct Service {
    _folder: TempDir,
    index: Index,
    fields: TagFields,
}

impl Service {
    /// Starts the thread that commits at intervals, in a runtime.
    fn start(interval: Duration) -> (Service, Handle, Closed) {
        let folder = TempDir::new().unwrap();
        let labels = LabelVocabulary::new([""; 0]).unwrap();
        let options =
            DatastoreOptions::new(2.try_into().unwrap(), Fingerprint([1; 32]), labels.clone());
        let datastore = Datastore::create(folder.path(), &options).unwrap();
        let mut schema = Schema::builder();
        let fields = TagFields::add_to(&mut schema, &FieldNames::default()).unwrap();
        let index = Index::create_in_ram(schema.build());
        let options = WriterOptions::new()
            .on_failure(OnFailure::Skip)
            .pending_operations(4.try_into().unwrap());
        let tagger = Tagger::new(Arc::new(Slow(labels)));
        let writer =
            TaggingWriter::open(index.clone(), datastore, tagger, fields.clone(), options).unwrap();
        let (handle, closed) = indexer::start(writer, interval).unwrap();
        (Service { _folder: folder, index, fields }, handle, closed)
    }

    fn document(&self, key: &str, text: &str) -> TantivyDocument {
        doc!(self.fields.key => key, self.fields.texts[0] => text)
    }

    fn searcher(&self) -> TagSearcher {
        TagSearcher::new(&self.index, self.fields.clone()).unwrap()
    }
}

#[test]
fn no_handler_blocks_the_runtime_and_each_is_told_when_its_document_is_durable() {
    let mut tokio = tokio::runtime::Builder::new_current_thread();
    let tokio = tokio.max_blocking_threads(1).enable_time().build().unwrap();
    // The runtime has one thread, and its pool for blocking calls is taken.
    let (release, released) = mpsc::channel::<()>();
    tokio.spawn_blocking(move || released.recv().is_ok());
    tokio.block_on(async {
        let (service, indexer, closed) = Service::start(Duration::from_millis(20));
        let service = Arc::new(service);
        let mut handlers = tokio::task::JoinSet::new();
        for number in 0..200 {
            let (indexer, service) = (indexer.clone(), service.clone());
            handlers.spawn(async move {
                let key = format!("{number}");
                let labels = (number % 10 == 0).then(|| vec!["cat".to_owned()]);
                let status = indexer.add(service.document(&key, "text"), labels).await.unwrap();
                assert!(status.is_committed(), "{status:?}");
                assert!(service.searcher().document(&key).unwrap().is_some(), "{key}");
            });
        }
        // This runs in between: more often than if each handler held the thread while it waits.
        let mut n_ticks = 0;
        loop {
            tokio::select! {
                handled = handlers.join_next() => match handled {
                    Some(handled) => handled.unwrap(),
                    None => break,
                },
                () = tokio::time::sleep(Duration::from_millis(5)) => n_ticks += 1,
            }
        }
        assert!(n_ticks > 5, "{n_ticks} ticks");
        let failed = indexer.add(service.document("empty", ""), None).await.unwrap();
        assert!(matches!(failed, TicketStatus::Failed(EncodeError::EmptyText)), "{failed:?}");
        drop(indexer);
        assert_eq!(closed.await.unwrap().unwrap().uncommitted, [""; 0]);
    });
    drop(release);
}

#[test]
fn a_correction_publishes_nobodys_work_and_a_document_behind_it_waits_for_the_commit() {
    let mut tokio = tokio::runtime::Builder::new_multi_thread();
    let tokio = tokio.worker_threads(1).enable_time().build().unwrap();
    tokio.block_on(async {
        let (service, indexer, closed) = Service::start(Duration::from_secs(3));
        let add = |key: &str, text: &str| {
            let (indexer, document) = (indexer.clone(), service.document(key, text));
            tokio::spawn(async move { indexer.add(document, None).await })
        };
        let correct = |key: &'static str, label: &str| {
            let (indexer, correction) = (indexer.clone(), Correction::set([label]));
            tokio::spawn(async move { indexer.correct(key, correction).await })
        };
        add("old", "text").await.unwrap().unwrap();

        // Right after a commit: all of these come before the next one.
        let half = add("half", "text");
        tokio::task::yield_now().await;
        let early = correct("half", "cat").await.unwrap();
        assert!(matches!(early, Err(Error::NotCommitted { .. })), "{early:?}");
        let correction = correct("old", "cat");
        tokio::task::yield_now().await;
        let again = add("old", "another text");
        assert_eq!(service.searcher().n_documents(), 1, "nothing is published");

        assert!(half.await.unwrap().unwrap().is_committed());
        assert!(correction.await.unwrap().unwrap().is_committed());
        assert!(again.await.unwrap().unwrap().is_committed());
        let old = service.searcher().document("old").unwrap().unwrap();
        assert_eq!((old.texts, old.tags.len()), (vec!["another text".to_owned()], 1));
        drop(indexer);
        closed.await.unwrap().unwrap();
    });
}
