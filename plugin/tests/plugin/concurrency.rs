//! Many threads, bounded memory.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tantivy_autotag::{Error, OnFailure, WriterOptions};

use crate::support::{Fixture, LABELS, Words, chunks_of};

#[test]
fn many_threads_share_a_writer() {
    let fixture = Fixture::new();
    let options = chunks_of(7).threads(NonZeroUsize::new(3));
    let writer = fixture.open(Words::new(&LABELS), options).unwrap();
    thread::scope(|scope| {
        for t in 0..8 {
            let (writer, fixture) = (&writer, &fixture);
            scope.spawn(move || {
                for n in 0..50 {
                    let key = format!("{t}-{n}");
                    writer.add(fixture.document(&key, "program")).unwrap();
                    if n % 5 == 0 {
                        writer.add_labeled(fixture.document(&key, "cat"), ["cat"]).unwrap();
                    }
                    if n % 10 == 3 {
                        writer.delete(&key).unwrap();
                    }
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..5 {
                writer.commit().unwrap();
            }
        });
    });
    writer.commit().unwrap();
    assert_eq!(fixture.keys().len(), 8 * 45);
    assert_eq!(fixture.neighbor_keys().len(), 8 * 10);
}

#[test]
fn a_slow_encoder_holds_the_callers_back() {
    let fixture = Fixture::new();
    let pending = 20;
    let options = WriterOptions::new().pending_operations(NonZeroUsize::new(pending).unwrap());
    let encoder = Words::new(&LABELS).with_delay(Duration::from_millis(2));
    let writer = fixture.open(encoder, options).unwrap();
    let is_done = AtomicBool::new(false);
    let deepest = thread::scope(|scope| {
        let deepest = scope.spawn(|| {
            let mut deepest = 0;
            while !is_done.load(Ordering::SeqCst) {
                deepest = deepest.max(writer.stats().queue_depth);
                thread::yield_now();
            }
            deepest
        });
        for number in 0..200 {
            writer.add(fixture.document(&format!("{number}"), "program")).unwrap();
        }
        is_done.store(true, Ordering::SeqCst);
        deepest.join().unwrap()
    });
    assert!((2..=pending).contains(&deepest), "{deepest}");
    assert_eq!(writer.commit().unwrap().tagged, 200);
    assert_eq!(writer.stats().queue_depth, 0);
}

#[test]
fn large_documents_hold_the_callers_back_by_their_size() {
    let fixture = Fixture::new();
    let options = WriterOptions::new().pending_bytes(NonZeroUsize::new(3 << 20).unwrap());
    let encoder = Words::new(&LABELS).with_delay(Duration::from_millis(2));
    let writer = fixture.open(encoder, options).unwrap();
    let text = "program ".repeat(1 << 17);
    for number in 0..12 {
        writer.add(fixture.document(&format!("{number}"), &text)).unwrap();
        assert!(writer.stats().queue_depth <= 3);
    }
    // Larger than all that may be under way.
    writer.add(fixture.document("larger", &text.repeat(4))).unwrap();
    assert_eq!(writer.commit().unwrap().tagged, 13);
}

#[test]
fn a_few_documents_do_not_wait_for_a_full_chunk() {
    let fixture = Fixture::new();
    let writer = fixture.writer();
    writer.add(fixture.document("a", "program")).unwrap();
    let mut rounds = 0;
    // It is counted right after Tantivy has it.
    while writer.stats().queue_depth > 0 || writer.stats().documents == 0 {
        thread::sleep(Duration::from_millis(5));
        rounds += 1;
        assert!(rounds < 2000, "still waiting");
    }
    assert_eq!(writer.stats().documents, 1);
}

#[test]
fn callers_that_wait_are_woken_when_the_writer_stops() {
    let fixture = Fixture::new();
    let options = WriterOptions::new()
        .pending_operations(NonZeroUsize::new(1).unwrap())
        .on_failure(OnFailure::Skip);
    let writer = fixture.open(Words::new(&LABELS), options).unwrap();
    thread::scope(|scope| {
        for t in 0..4 {
            let (writer, fixture) = (&writer, &fixture);
            scope.spawn(move || {
                let mut keys = (0..1000).map(|n| format!("{t}-{n}"));
                let error = keys
                    .find_map(|key| writer.add(fixture.document(&key, "panic")).err())
                    .expect("an encoder that always panics stops the writer");
                assert!(matches!(error, Error::Stopped { .. }), "{error}");
            });
        }
    });
}
