//! Searchers that move on to newer commits by themselves.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use autotag::Datastore;
use tantivy_autotag::{
    Error, IndexFolder, Reload, SearchRequest, SearchResults, SearcherOptions, TagFields,
    TagSearcher, TaggingWriter, WriterOptions,
};
use tempfile::TempDir;

use crate::support::{
    Fixture, LABELS, Words, bundle, copy, datastore_options, document, schema, tagger,
};

fn following() -> SearcherOptions {
    SearcherOptions::new().reload(Reload::OnCommit)
}

/// Waits until something holds, for a while.
fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(20), "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Makes an index with one document.
fn index(folder: &TempDir) -> (IndexFolder, TaggingWriter<Words>, TagFields) {
    let seed = folder.path().join("seed");
    let seed = Datastore::create(&seed, &datastore_options(&LABELS)).unwrap();
    let (schema, fields, _) = schema();
    let path = folder.path().join("index");
    let index = IndexFolder::create(&path, schema, &fields, &bundle("../bundle", &seed)).unwrap();
    let writer = index.writer(tagger(Words::new(&LABELS)), WriterOptions::default()).unwrap();
    add(&writer, &fields, "first");
    (index, writer, fields)
}

fn add(writer: &TaggingWriter<Words>, fields: &TagFields, key: &str) {
    writer.add(document(fields, key, "a program")).unwrap();
    writer.commit().unwrap();
}

#[test]
fn commits_are_followed_in_memory_by_those_who_asked_for_it() {
    let fixture = Fixture::new();
    let writer = fixture.writer();
    add(&writer, &fixture.fields, "a");
    let searcher = TagSearcher::open(&fixture.index, fixture.fields.clone(), following()).unwrap();
    let (clone, manual) = (searcher.clone(), fixture.searcher());
    assert_eq!(searcher.n_documents(), 1);
    add(&writer, &fixture.fields, "b");
    wait_until("the searcher does not follow", || searcher.n_documents() == 2);
    assert_eq!((clone.n_documents(), manual.n_documents()), (2, 1));
    // A clone goes on alone.
    drop(searcher);
    writer.delete("a").unwrap();
    writer.commit().unwrap();
    wait_until("the clone does not follow", || clone.n_documents() == 1);
    assert!(clone.document("a").unwrap().is_none() && clone.reload_failure().is_none());
}

#[test]
fn commits_are_followed_on_disk() {
    let folder = TempDir::new().unwrap();
    let (index, writer, fields) = index(&folder);
    let searcher = index.searcher_with(following()).unwrap();
    assert_eq!(searcher.n_documents(), 1);
    add(&writer, &fields, "second");
    wait_until("the searcher does not follow", || searcher.n_documents() == 2);
    assert!(searcher.document("second").unwrap().is_some());
}

#[test]
fn pages_go_on_in_their_commit_as_long_as_it_is_kept() {
    let fixture = Fixture::new();
    let writer = fixture.writer();
    for key in ["a", "b", "c", "d"] {
        add(&writer, &fixture.fields, key);
    }
    let options = SearcherOptions::new().kept_commits(2);
    let searcher = TagSearcher::open(&fixture.index, fixture.fields.clone(), options).unwrap();
    let request = SearchRequest::new().limit(2);
    let first = searcher.search(&request).unwrap();
    let second = request.cursor(first.next.clone().unwrap());
    let expect = keys(&searcher.search(&second).unwrap());
    assert_eq!([keys(&first), expect.clone()].concat().len(), 4);
    for commit in ["e", "f"] {
        add(&writer, &fixture.fields, commit);
        writer.delete(&expect[0]).unwrap();
        writer.commit().unwrap();
        searcher.reload().unwrap();
        // Reloading without a commit drops none.
        searcher.reload().unwrap();
        let found = searcher.search(&second).unwrap();
        assert_eq!((keys(&found), found.total), (expect.clone(), 4));
        assert!(searcher.document(&expect[0]).unwrap().is_none());
    }
    add(&writer, &fixture.fields, "g");
    searcher.reload().unwrap();
    assert!(matches!(searcher.search(&second), Err(Error::CursorOutdated)));
}

fn keys(found: &SearchResults) -> Vec<String> {
    found.documents.iter().map(|document| document.key.clone()).collect()
}

/// Puts a file into its place at once, as a commit does.
fn publish(from: &Path, to: &Path, change: impl Fn(&mut Vec<u8>)) {
    let mut bytes = fs::read(from).unwrap();
    change(&mut bytes);
    let temporary = to.with_extension("published");
    fs::write(&temporary, bytes).unwrap();
    fs::rename(temporary, to).unwrap();
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_file()).collect()
}

#[test]
fn a_damaged_commit_is_told_and_the_one_before_it_stays() {
    let folder = TempDir::new().unwrap();
    let (index, writer, fields) = index(&folder);
    let origin = index.path().to_owned();
    let other = folder.path().join("copy");
    copy(&origin, &other);
    let searcher = IndexFolder::open(&other).unwrap().searcher_with(following()).unwrap();
    assert_eq!(searcher.n_documents(), 1);

    // The next commit, with a bit flipped in its stored documents before it is published.
    add(&writer, &fields, "second");
    let mut damaged = Vec::new();
    for file in files(&origin) {
        let copied = other.join(file.file_name().unwrap());
        let is_store = file.extension().is_some_and(|extension| extension == "store");
        if !copied.exists() {
            publish(&file, &copied, |bytes| {
                if is_store {
                    bytes[3] ^= 1;
                }
            });
            damaged.extend(is_store.then_some((file, copied)));
        }
    }
    assert_eq!(damaged.len(), 1);
    publish(&origin.join("meta.json"), &other.join("meta.json"), |_| {});
    wait_until("the damage is not told", || searcher.reload_failure().is_some());
    let failure = searcher.reload_failure().unwrap();
    assert!(matches!(&*failure, Error::SegmentDamaged { .. }), "{failure}");
    assert_eq!(searcher.n_documents(), 1);
    assert!(searcher.document("first").unwrap().is_some());
    assert!(matches!(searcher.reload(), Err(Error::SegmentDamaged { .. })));

    // Mended, it is searched when it is asked for, and the failure is over.
    for (file, copied) in damaged {
        publish(&file, &copied, |_| {});
    }
    searcher.reload().unwrap();
    assert_eq!(searcher.n_documents(), 2);
    assert!(searcher.reload_failure().is_none());
}
