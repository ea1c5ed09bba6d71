//! Writers that share a model and a bound on their threads.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use autotag::{
    EncodeError, EncodedBatch, Encoder, Fingerprint, LabelVocabulary, SearchMode, Tagger,
};
use tantivy_autotag::{SharedThreads, TaggingWriter};

use crate::support::{DIMENSIONS, Fixture, LABELS, Words, chunks_of};

/// Counts the threads that encode at the same time.
struct Gauge {
    words: Words,
    n_encoding: AtomicUsize,
    most: AtomicUsize,
}

impl Encoder for Gauge {
    type Tokens = Vec<String>;

    fn labels(&self) -> &LabelVocabulary {
        self.words.labels()
    }

    fn dimensions(&self) -> usize {
        DIMENSIONS
    }

    fn fingerprint(&self) -> Fingerprint {
        self.words.fingerprint()
    }

    fn tokenize(&self, text: &str) -> Result<Vec<String>, EncodeError> {
        self.words.tokenize(text)
    }

    fn token_count(tokens: &Vec<String>) -> usize {
        tokens.len()
    }

    fn encode(&self, batch: &[Vec<String>]) -> EncodedBatch {
        let n_encoding = self.n_encoding.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(n_encoding, Ordering::SeqCst);
        let encoded = self.words.encode(batch);
        self.n_encoding.fetch_sub(1, Ordering::SeqCst);
        encoded
    }
}

/// Opens a writer for each index, with 4 threads each, of which so many work at once.
fn writers(fixtures: &[Fixture], limit: usize) -> (Arc<Gauge>, Vec<TaggingWriter<Gauge>>) {
    let words = Words::new(&LABELS).with_delay(Duration::from_millis(3));
    let (n_encoding, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let encoder = Arc::new(Gauge { words, n_encoding, most });
    let mut tagger = Tagger::new(encoder.clone());
    tagger.search = SearchMode::Exact;
    let options = chunks_of(2)
        .threads(NonZeroUsize::new(4))
        .shared_threads(Some(SharedThreads::new(NonZeroUsize::new(limit).unwrap())));
    let open = |fixture: &Fixture| {
        let (index, datastore) = (fixture.index.clone(), fixture.datastore.clone());
        let (fields, tagger) = (fixture.fields.clone(), tagger.clone());
        TaggingWriter::open(index, datastore, tagger, fields, options.clone()).unwrap()
    };
    (encoder, fixtures.iter().map(open).collect())
}

#[test]
fn no_more_threads_work_at_once_than_all_writers_may_have() {
    for limit in [1, 2] {
        let fixtures = [Fixture::new(), Fixture::new(), Fixture::new()];
        let (encoder, writers) = writers(&fixtures, limit);
        for number in 0..60 {
            for (fixture, writer) in fixtures.iter().zip(&writers) {
                writer.add(fixture.document(&format!("{number}"), "program")).unwrap();
            }
        }
        for (fixture, writer) in fixtures.iter().zip(&writers) {
            assert_eq!(writer.commit().unwrap().tagged, 60);
            assert_eq!(fixture.keys().len(), 60);
        }
        assert_eq!(encoder.most.load(Ordering::SeqCst), limit);
    }
}

#[test]
fn a_busy_writer_does_not_keep_another_one_waiting() {
    let fixtures = [Fixture::new(), Fixture::new()];
    let (_, writers) = writers(&fixtures, 1);
    for number in 0..400 {
        writers[0].add(fixtures[0].document(&format!("{number}"), "program")).unwrap();
    }
    writers[1].add(fixtures[1].document("other", "program")).unwrap();
    assert_eq!(writers[1].commit().unwrap().tagged, 1);
    let left = writers[0].stats().queue_depth;
    assert!(left > 300, "{left} of 400 operations are left");
    writers[0].commit().unwrap();
}
