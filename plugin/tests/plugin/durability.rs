//! Tickets, rollbacks and full queues: a caller knows what became of each operation.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use autotag::{Datastore, StorageOptions};
use tantivy_autotag::{
    Correction, Error, Health, OnFailure, Submission, TaggingWriter, Ticket, TicketStatus,
    WriterOptions,
};

use crate::support::{Fixture, LABELS, Words, chunks_of, tagger};
use crate::verify::Sample;

const NONE: [&str; 0] = [];

fn writer(fixture: &Fixture, options: WriterOptions) -> TaggingWriter<Words> {
    fixture.open(Words::new(&LABELS), options).unwrap()
}

fn skipping() -> WriterOptions {
    WriterOptions::new().on_failure(OnFailure::Skip)
}

/// Returns a ticket's status as a letter.
fn letter(writer: &TaggingWriter<Words>, ticket: Ticket) -> char {
    match writer.status(ticket).unwrap() {
        TicketStatus::Pending => 'p',
        TicketStatus::Committed => 'c',
        TicketStatus::Failed(_) => 'f',
        TicketStatus::Lost => 'l',
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_ticket_is_pending_until_a_commit_covers_its_operation() {
    let fixture = Fixture::new();
    let writer = writer(&fixture, skipping());
    assert_eq!(writer.committed().ticket, None);
    let tickets = [
        writer.add(fixture.document("a", "program")).unwrap(),
        writer.add_labeled(fixture.document("b", "purring"), ["cat"]).unwrap(),
        writer.add(fixture.document("c", "broken")).unwrap(),
        writer.delete("nothing").unwrap(),
    ];
    assert!(tickets.is_sorted_by(|a, b| a < b));
    let letters = || tickets.map(|ticket| letter(&writer, ticket));
    assert_eq!(letters(), ['p'; 4]);
    let summary = writer.commit().unwrap();
    assert_eq!(letters(), ['c', 'c', 'f', 'c']);
    assert_eq!(summary.failures[0].ticket, tickets[2]);
    let last = writer.committed();
    assert_eq!((last.generation, last.ticket), (summary.generation, Some(tickets[3])));

    let correction = writer.correct("a", &Correction::set(["cat"])).unwrap();
    assert_eq!(letter(&writer, correction), 'p');
    writer.commit().unwrap();
    assert_eq!(letter(&writer, correction), 'c');
}

#[test]
fn whoever_waits_is_woken_by_the_commit_and_gives_up_after_a_time() {
    let fixture = Fixture::new();
    let writer = writer(&fixture, skipping());
    let ticket = writer.add(fixture.document("a", "program")).unwrap();
    let started = Instant::now();
    let status = writer.wait_for(ticket, Duration::from_millis(30)).unwrap();
    assert!(status.is_pending() && started.elapsed() >= Duration::from_millis(30));
    assert!(fixture.keys().is_empty(), "waiting does not commit");
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let status = writer.wait_for(ticket, Duration::MAX).unwrap();
            (status, fixture.keys())
        });
        thread::sleep(Duration::from_millis(20));
        assert!(!waiter.is_finished());
        writer.commit().unwrap();
        let (status, keys) = waiter.join().unwrap();
        assert!(status.is_committed(), "{status:?}");
        assert_eq!(keys, ["a"]);
    });
}

#[test]
fn whoever_waits_hears_of_a_writer_that_stops() {
    let fixture = Fixture::new();
    let writer = writer(&fixture, chunks_of(1));
    let first = writer.add(fixture.document("a", "program")).unwrap();
    writer.commit().unwrap();
    // Fails on every text, so that the writer stops while its documents are waited for.
    let mut last = first;
    for number in 0..200 {
        match writer.add(fixture.document(&format!("{number}"), "panic")) {
            Ok(ticket) => last = ticket,
            Err(Error::Document { .. }) => {}
            Err(_) => break,
        }
    }
    let waited = writer.wait_for(last, Duration::from_secs(60));
    assert!(matches!(waited, Err(Error::Stopped { .. })));
    assert!(writer.status(first).unwrap().is_committed(), "what is known stays known");
    assert!(matches!(writer.health(), Health::Stopped { .. }));
    assert!(matches!(writer.rollback(), Err(Error::Stopped { .. })));
}

#[test]
fn a_rollback_drops_everything_since_the_last_commit_in_both_stores() {
    let fixture = Fixture::new();
    let writer = writer(&fixture, skipping());
    writer.add(fixture.document("a", "program")).unwrap();
    writer.add_labeled(fixture.document("b", "purring"), ["cat"]).unwrap();
    let before = writer.commit().unwrap();

    let lost = [
        writer.delete("a").unwrap(),
        writer.add(fixture.document("b", "library")).unwrap(),
        writer.add_labeled(fixture.document("c", "oven"), ["use::baking"]).unwrap(),
        writer.add(fixture.document("d", "broken")).unwrap(),
    ];
    writer.rollback().unwrap();
    assert_eq!(lost.map(|ticket| letter(&writer, ticket)), ['l'; 4]);
    assert_eq!(writer.stats().queue_depth, 0);
    assert_eq!(writer.committed().generation, before.generation);

    // What was dropped is not in the next commit, nor in its summary.
    let kept = writer.add_labeled(fixture.document("e", "reef"), ["animal::fish"]).unwrap();
    let summary = writer.commit().unwrap();
    assert_eq!((summary.labeled, summary.deleted, summary.failed), (1, 0, 0));
    assert_eq!(summary.generation, before.generation + 1);
    assert_eq!(letter(&writer, kept), 'c');
    assert_eq!(lost.map(|ticket| letter(&writer, ticket)), ['l'; 4]);
    assert_eq!(fixture.keys(), ["a", "b", "e"]);
    assert_eq!(fixture.neighbor_keys(), ["b", "e"]);
    assert_eq!(fixture.tags("b"), ["/cat"]);
    let labels = fixture.datastore.reader().unwrap().labels().clone();
    assert!(labels.id("use::baking").is_none() && labels.id("animal::fish").is_some());

    // The keys that were changed may be corrected again.
    writer.correct("a", &Correction::set(["cat"])).unwrap();
    writer.rollback().unwrap();
    writer.correct("a", &Correction::set(["dog"])).unwrap();
    writer.commit().unwrap();
    assert_eq!(fixture.tags("a"), ["/dog"]);
}

#[test]
fn a_rollback_forgets_a_failure_that_was_to_be_reported() {
    let fixture = Fixture::new();
    let writer = writer(&fixture, WriterOptions::default());
    writer.add(fixture.document("a", "broken")).unwrap();
    while writer.stats().queue_depth > 0 {
        thread::sleep(Duration::from_millis(1));
    }
    writer.rollback().unwrap();
    writer.add(fixture.document("b", "program")).unwrap();
    assert_eq!(writer.commit().unwrap().failed, 0);
}

#[test]
fn a_rollback_does_not_tag_what_it_drops() {
    let fixture = Fixture::new();
    let encoder = Words::new(&LABELS).with_delay(Duration::from_millis(5));
    let writer = fixture.open(encoder, chunks_of(10)).unwrap();
    for number in 0..500 {
        writer.add(fixture.document(&format!("{number}"), "program")).unwrap();
    }
    writer.rollback().unwrap();
    assert!(writer.stats().encoded < 400, "{}", writer.stats().encoded);
    assert_eq!((writer.commit().unwrap().tagged, fixture.keys().len()), (0, 0));
}

#[test]
fn a_rolled_back_index_is_sound_also_where_changes_were_spilled() {
    let sample = Sample::new();
    let index = sample.index();
    let storage =
        StorageOptions { initial_map_bytes: 1, staged_bytes: 100, ..StorageOptions::default() };
    let (path, encoder) = (index.datastore_path(), index.encoder());
    let (tantivy, fields) = index.index().unwrap();
    let before = crate::support::keys(&index.searcher().unwrap());
    {
        let datastore = Datastore::open_with(&path, &encoder, storage).unwrap();
        let tagger = crate::support::tagger(Words::new(&LABELS));
        let own = fields.clone();
        let writer = TaggingWriter::open(tantivy, datastore, tagger, own, chunks_of(4)).unwrap();
        let document = |key: &str| crate::support::document(&fields, key, "oven");
        for round in 0..5 {
            for number in 0..20 {
                let key = format!("dropped {round} {number}");
                writer.add_labeled(document(&key), [format!("dropped::label {round}")]).unwrap();
            }
            writer.rollback().unwrap();
            writer.add_labeled(document(&format!("kept {round}")), ["cat"]).unwrap();
            writer.commit().unwrap();
        }
        writer.close().unwrap();
    }
    let report = sample.index().verify().unwrap();
    assert!(report.is_sound(), "{report:#?}");
    let after = crate::support::keys(&sample.index().searcher().unwrap());
    let new: Vec<&String> = after.iter().filter(|key| !before.contains(key)).collect();
    assert_eq!(new, ["kept 0", "kept 1", "kept 2", "kept 3", "kept 4"]);
}

#[test]
fn among_many_threads_a_ticket_says_exactly_what_is_in_the_index() {
    let fixture = Fixture::new();
    let options = chunks_of(5)
        .threads(NonZeroUsize::new(3))
        .pending_operations(NonZeroUsize::new(50).unwrap());
    let writer = writer(&fixture, options);
    let is_done = AtomicBool::new(false);
    let tickets: Vec<(String, Ticket)> = thread::scope(|scope| {
        let adders: Vec<_> = (0..4)
            .map(|thread| {
                let (writer, fixture) = (&writer, &fixture);
                scope.spawn(move || {
                    let add = |number: usize| {
                        let key = format!("{thread}-{number}");
                        let document = fixture.document(&key, "program");
                        let ticket = match number % 3 {
                            0 => writer.add_labeled(document, ["cat"]).unwrap(),
                            _ => writer.add(document).unwrap(),
                        };
                        (key, ticket)
                    };
                    (0..150).map(add).collect::<Vec<_>>()
                })
            })
            .collect();
        scope.spawn(|| {
            for round in 0.. {
                if is_done.load(Ordering::SeqCst) {
                    break;
                }
                match round % 2 {
                    0 => drop(writer.commit().unwrap()),
                    _ => writer.rollback().unwrap(),
                }
            }
        });
        let tickets = adders.into_iter().flat_map(|adder| adder.join().unwrap()).collect();
        is_done.store(true, Ordering::SeqCst);
        tickets
    });
    writer.commit().unwrap();
    let mut expected: Vec<String> = tickets
        .iter()
        .filter(|(_, ticket)| match letter(&writer, *ticket) {
            'c' => true,
            'l' => false,
            letter => panic!("{letter}"),
        })
        .map(|(key, _)| key.clone())
        .collect();
    expected.sort();
    assert_eq!(fixture.keys(), expected);
    let is_labeled =
        |key: &String| key.split('-').nth(1).unwrap().parse::<usize>().unwrap() % 3 == 0;
    expected.retain(is_labeled);
    assert_eq!(fixture.neighbor_keys(), expected);
    assert!(expected.len() < tickets.len(), "some are lost");
}

#[test]
fn a_running_job_is_not_rolled_back() {
    let fixture = Fixture::new();
    let writer = writer(&fixture, WriterOptions::default());
    writer.add(fixture.document("a", "program")).unwrap();
    writer.commit().unwrap();
    let mut n_refused = 0;
    writer
        .retag("", |_| {
            assert!(matches!(writer.rollback(), Err(Error::JobRunning)));
            n_refused += 1;
        })
        .unwrap();
    assert_eq!(n_refused, 1);
    writer.rollback().unwrap();
}

#[test]
fn a_full_queue_gives_the_document_back() {
    let fixture = Fixture::new();
    let options = chunks_of(100)
        .pending_operations(NonZeroUsize::new(3).unwrap())
        .linger(Duration::from_secs(3600));
    let options = options.threads(NonZeroUsize::new(1));
    let encoder = Words::new(&LABELS).with_delay(Duration::from_millis(300));
    let writer = fixture.open(encoder, options).unwrap();
    let mut taken = Vec::new();
    let started = Instant::now();
    let back = loop {
        let key = format!("{}", taken.len());
        match writer.try_add(fixture.document(&key, "program")).unwrap() {
            Submission::Accepted(ticket) => taken.push(ticket),
            Submission::Full(document) => break document,
        }
    };
    assert_eq!(taken.len(), 3);
    let full = writer.try_add_labeled(fixture.document("x", "oven"), ["cat"]).unwrap();
    assert!(matches!(full, Submission::Full(_)));
    assert!(writer.try_delete("0").unwrap().is_none());
    assert!(started.elapsed() < Duration::from_millis(300), "none of them waited");
    writer.commit().unwrap();
    let Submission::Accepted(ticket) = writer.try_add(back).unwrap() else {
        panic!("there is room again");
    };
    assert!(writer.try_delete("0").unwrap().is_some());
    writer.commit().unwrap();
    assert_eq!(letter(&writer, ticket), 'c');
    assert_eq!(fixture.keys(), ["1", "2", "3"]);
}

#[test]
fn a_client_never_publishes_what_others_have_not_committed() {
    let fixture = Fixture::new();
    let writer = writer(&fixture, skipping());
    writer.add(fixture.document("old", "program")).unwrap();
    writer.add(fixture.document("corrected", "program")).unwrap();
    writer.commit().unwrap();

    // One client has half of its batch in, others correct documents: an old one, an uncommitted one,
    // and one that has been corrected just now.
    writer.add(fixture.document("half", "program")).unwrap();
    writer.add_labeled(fixture.document("half labeled", "oven"), ["cat"]).unwrap();
    writer.correct("old", &Correction::set(["cat"])).unwrap();
    let labels = Correction::set(["dog"]);
    for key in ["half", "half labeled", "old"] {
        let error = writer.correct(key, &labels).unwrap_err();
        let Error::NotCommitted { key: named, document: None } = &error else { panic!("{error}") };
        assert_eq!(named, key);
    }
    // Neither does an operation that follows a correction; the document comes back.
    let error = writer.add(fixture.document("old", "library")).unwrap_err();
    let Error::NotCommitted { document: Some(document), .. } = error else { panic!("{error}") };
    let error = writer.try_add(*document).unwrap_err();
    let Error::NotCommitted { document: Some(document), .. } = error else { panic!("{error}") };
    assert!(matches!(writer.delete("old"), Err(Error::NotCommitted { document: None, .. })));

    assert_eq!(fixture.keys(), ["corrected", "old"]);
    assert_eq!(fixture.neighbor_keys(), NONE);
    assert_eq!(writer.committed().generation, 1);

    // With the next commit all of it is possible.
    writer.commit().unwrap();
    writer.add(*document).unwrap();
    writer.correct("half", &labels).unwrap();
    writer.commit().unwrap();
    assert_eq!(fixture.tags("half"), ["/dog"]);
    assert_eq!(fixture.found("old").unwrap().texts, ["library"]);
    assert_eq!(fixture.tags("old"), ["/cat"]);
}

#[test]
fn rollbacks_between_merges_lose_nothing_committed() {
    let sample = Sample::new();
    let writer = sample.writer();
    let index = sample.index();
    let (_, fields) = index.index().unwrap();
    let before = crate::support::keys(&index.searcher().unwrap()).len();
    // Each commit makes a segment, and every few of them are merged.
    for round in 0..40 {
        let key = format!("kept {round}");
        writer.add(crate::support::document(&fields, &key, "program")).unwrap();
        writer.commit().unwrap();
        writer.delete(&key).unwrap();
        writer.add(crate::support::document(&fields, "dropped", "program")).unwrap();
        writer.rollback().unwrap();
    }
    writer.close().unwrap();
    let keys = crate::support::keys(&sample.index().searcher().unwrap());
    assert_eq!(keys.len(), before + 40);
    let report = sample.index().verify().unwrap();
    assert!(report.is_sound(), "{report:#?}");
}

#[test]
fn whoever_depends_on_the_commit_in_progress_waits_for_it() {
    let fixture = Fixture::new();
    let tagger = tagger(Words::new(&LABELS));
    let encoder = tagger.encoder().clone();
    let n_encoded = || encoder.n_encoded.load(Ordering::SeqCst);
    let (index, datastore) = (fixture.index.clone(), fixture.datastore.clone());
    // Nothing is tagged before the commit.
    let options = chunks_of(100).linger(Duration::from_secs(3600));
    let fields = fixture.fields.clone();
    let writer = TaggingWriter::open(index, datastore, tagger, fields, options).unwrap();
    writer.add(fixture.document("a", "program")).unwrap();
    writer.commit().unwrap();
    let mut n_overlaps = 0;
    for round in 0..5 {
        writer.correct("a", &Correction::set([format!("label {round}")])).unwrap();
        writer.add(fixture.document(&format!("slow {round}"), "slow")).unwrap();
        let before = n_encoded();
        thread::scope(|scope| {
            let commit = scope.spawn(|| writer.commit().unwrap());
            while n_encoded() == before {
                thread::yield_now();
            }
            // The commit has begun, so neither of these is refused.
            n_overlaps += usize::from(!commit.is_finished());
            match round % 2 {
                0 => writer.add(fixture.document("a", &format!("program {round}"))).unwrap(),
                _ => writer.correct("a", &Correction::add(["more"])).unwrap(),
            }
        });
        writer.commit().unwrap();
        assert!(fixture.tags("a").contains(&format!("/label {round}")));
    }
    assert!(n_overlaps > 0, "no commit was in progress");
}
