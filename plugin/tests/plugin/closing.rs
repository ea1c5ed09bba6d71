//! Closing a writer within a time: what is done is committed, what is not is named.

use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use autotag::{EncodeError, EncodedBatch, Encoder, Fingerprint, LabelVocabulary, Tagger};
use tantivy_autotag::{Error, Health, OnFailure, Submission, TaggingWriter, Ticket, WriterOptions};

use crate::support::{DIMENSIONS, Fixture, LABELS, Words, chunks_of};

/// Hangs at the word `hang` until it is released.
struct Hanging {
    words: Words,
    gate: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    fn wait(&self) {
        let is_open = self.is_open.lock().unwrap();
        drop(self.opened.wait_while(is_open, |is_open| !*is_open).unwrap());
    }
}

impl Encoder for Hanging {
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
        Words::token_count(tokens)
    }

    fn encode(&self, batch: &[Vec<String>]) -> EncodedBatch {
        if batch.iter().flatten().any(|word| word == "hang") {
            self.gate.wait();
        }
        self.words.encode(batch)
    }
}

fn open(fixture: &Fixture, options: WriterOptions) -> (TaggingWriter<Hanging>, Arc<Gate>) {
    let gate = Arc::<Gate>::default();
    let encoder = Hanging { words: Words::new(&LABELS), gate: gate.clone() };
    let (index, datastore) = (fixture.index.clone(), fixture.datastore.clone());
    let (tagger, fields) = (Tagger::new(Arc::new(encoder)), fixture.fields.clone());
    (TaggingWriter::open(index, datastore, tagger, fields, options).unwrap(), gate)
}

/// Closes a writer whose encoder hangs, and checks that this takes hardly longer than asked for.
fn close(
    writer: &TaggingWriter<Hanging>,
    timeout: Duration,
) -> Result<tantivy_autotag::CloseReport, Error> {
    let started = Instant::now();
    let closed = writer.close_within(timeout);
    assert!(started.elapsed() < timeout + Duration::from_secs(10), "{:?}", started.elapsed());
    closed
}

const SHORT: Duration = Duration::from_millis(200);

const LONG: Duration = Duration::from_secs(600);

#[test]
fn everything_is_committed_where_there_is_time() {
    let fixture = Fixture::new();
    let options = chunks_of(7).linger(LONG);
    let (writer, _) = open(&fixture, options);
    for number in 0..20 {
        writer.add(fixture.document(&format!("{number}"), "program")).unwrap();
    }
    let last = writer.add_labeled(fixture.document("labeled", "oven"), ["cat"]).unwrap();
    let report = close(&writer, LONG).unwrap();
    assert_eq!((report.summary.tagged, report.summary.labeled), (20, 1));
    assert_eq!(report.uncommitted, [""; 0]);
    assert_eq!((report.busy_threads, report.is_merging), (0, false));
    assert_eq!(fixture.keys().len(), 21);
    assert_eq!(fixture.neighbor_keys(), ["labeled"]);
    assert!(writer.status(last).unwrap().is_committed());

    // Nothing can be done with it any more, and the next one can be opened while it lives.
    assert_eq!((writer.health(), writer.stats().health), (Health::Closed, Health::Closed));
    assert!(matches!(writer.add(fixture.document("x", "x")), Err(Error::Closed)));
    assert!(matches!(writer.try_add(fixture.document("x", "x")), Err(Error::Closed)));
    assert!(matches!(writer.delete("x"), Err(Error::Closed)));
    assert!(matches!(writer.commit(), Err(Error::Closed)));
    assert!(matches!(writer.rollback(), Err(Error::Closed)));
    assert!(matches!(writer.retag("", |_| {}), Err(Error::Closed)));
    assert!(matches!(writer.close_within(SHORT), Err(Error::Closed)));
    let next = fixture.writer();
    writer.close().unwrap();
    next.add(fixture.document("next", "program")).unwrap();
    next.commit().unwrap();
    assert_eq!(fixture.keys().len(), 22);
}

#[test]
fn an_encoder_that_hangs_holds_nothing_up_and_what_it_held_is_named() {
    let fixture = Fixture::new();
    let (writer, gate) = open(&fixture, chunks_of(2));
    let add = |key: &str, text: &str| writer.add(fixture.document(key, text)).unwrap();
    let done = [add("a", "program"), add("b", "library")];
    // The first hangs; the other one is in its chunk, and the last behind it.
    let lost = [add("c", "hang"), add("d", "program"), add("e", "program")];
    let report = close(&writer, SHORT).unwrap();
    assert_eq!(report.summary.tagged, 2);
    assert_eq!(report.uncommitted, ["c", "d", "e"]);
    assert_eq!(report.busy_threads, 1);
    let status = |ticket: &Ticket| format!("{:?}", writer.status(*ticket).unwrap());
    assert_eq!(done.each_ref().map(status), ["Committed"; 2]);
    assert_eq!(lost.each_ref().map(status), ["Lost"; 3]);

    // The next one takes over while the thread still hangs, and is not disturbed when it does not.
    let next = fixture.writer();
    next.add(fixture.document("f", "program")).unwrap();
    next.commit().unwrap();
    gate.open();
    thread::sleep(Duration::from_millis(50));
    drop(writer);
    next.add(fixture.document("g", "program")).unwrap();
    next.commit().unwrap();
    assert_eq!(fixture.keys(), ["a", "b", "f", "g"]);
}

#[test]
fn what_is_done_behind_an_operation_that_hangs_is_not_committed() {
    let fixture = Fixture::new();
    let options = chunks_of(1).threads(2.try_into().ok());
    let (writer, gate) = open(&fixture, options);
    writer.add(fixture.document("a", "hang")).unwrap();
    // Its outcome waits for that of the first.
    writer.delete("a").unwrap();
    writer.add(fixture.document("b", "program")).unwrap();
    let report = close(&writer, SHORT).unwrap();
    assert_eq!(report.uncommitted, ["a", "a", "b"]);
    assert!(fixture.keys().is_empty());
    gate.open();
}

#[test]
fn callers_that_wait_are_woken_when_the_writer_closes() {
    let fixture = Fixture::new();
    let options = chunks_of(1).pending_operations(2.try_into().unwrap());
    let (writer, gate) = open(&fixture, options);
    let hangs = writer.add(fixture.document("a", "hang")).unwrap();
    writer.add(fixture.document("b", "program")).unwrap();
    thread::scope(|scope| {
        let adder = scope.spawn(|| writer.add(fixture.document("c", "program")));
        let committer = scope.spawn(|| writer.commit());
        let waiter = scope.spawn(|| writer.wait_for(hangs, LONG));
        thread::sleep(Duration::from_millis(50));
        assert!(!adder.is_finished() && !committer.is_finished() && !waiter.is_finished());
        let full = writer.try_add(fixture.document("d", "program")).unwrap();
        assert!(matches!(full, Submission::Full(_)));
        let report = close(&writer, SHORT).unwrap();
        assert_eq!(report.uncommitted, ["a", "b"]);
        assert!(matches!(adder.join().unwrap(), Err(Error::Closed)));
        assert!(matches!(committer.join().unwrap(), Err(Error::Closed)));
        assert_eq!(format!("{:?}", waiter.join().unwrap().unwrap()), "Lost");
    });
    gate.open();
}

#[test]
fn failed_documents_do_not_keep_a_writer_from_closing() {
    let fixture = Fixture::new();
    let options = chunks_of(4).on_failure(OnFailure::Fail);
    let (writer, _) = open(&fixture, options);
    writer.add(fixture.document("a", "broken")).unwrap();
    writer.add(fixture.document("b", "program")).unwrap();
    let report = close(&writer, LONG).unwrap();
    assert_eq!((report.summary.tagged, report.summary.failures[0].key.as_str()), (1, "a"));
    assert_eq!(fixture.keys(), ["b"]);
}

#[test]
fn a_writer_that_stopped_is_closed_with_its_cause_and_released() {
    let fixture = Fixture::new();
    let options = WriterOptions::new().on_failure(OnFailure::Skip);
    let (writer, _) = open(&fixture, options);
    for number in 0..200 {
        if writer.add(fixture.document(&format!("{number}"), "panic")).is_err() {
            break;
        }
    }
    assert!(matches!(close(&writer, LONG), Err(Error::Stopped { .. })));
    assert!(matches!(writer.health(), Health::Stopped { .. }));
    fixture.writer().close().unwrap();
}
