//! An index of the caller's own: tokenizers, settings, merge policy, fields that are not stored.

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use autotag::Datastore;
use tantivy::collector::Count;
use tantivy::indexer::{MergeCandidate, MergePolicy, NoMergePolicy};
use tantivy::query::QueryParser;
use tantivy::schema::{
    FAST, FacetOptions, INDEXED, IndexRecordOption, JsonObjectOptions, STORED, STRING, Schema,
    SchemaBuilder, TEXT, TextFieldIndexing, TextOptions,
};
use tantivy::store::Compressor;
use tantivy::tokenizer::{LowerCaser, NgramTokenizer, TextAnalyzer, TokenizerManager};
use tantivy::{DateTime, Index, IndexSettings, SegmentMeta, TantivyDocument};
use tantivy_autotag::{
    Correction, Corrections, Error, FieldNames, IndexFolder, IndexOptions, TagFields,
    TaggingWriter, WriterOptions,
};
use tempfile::TempDir;

use crate::support::{LABELS, Words, bundle, datastore_options, document, tagger};

fn seed(folder: &TempDir) -> Datastore {
    Datastore::create(&folder.path().join("seed"), &datastore_options(&LABELS)).unwrap()
}

fn indexed_by(tokenizer: &str) -> TextOptions {
    let indexing = TextFieldIndexing::default()
        .set_tokenizer(tokenizer)
        .set_index_option(IndexRecordOption::WithFreqsAndPositions);
    TextOptions::default().set_stored().set_indexing_options(indexing)
}

/// Returns options with a tokenizer `letters`, which indexes every letter.
fn letters() -> IndexOptions {
    let tokenizers = TokenizerManager::default();
    let letters = NgramTokenizer::new(1, 1, false).unwrap();
    tokenizers.register("letters", TextAnalyzer::builder(letters).filter(LowerCaser).build());
    IndexOptions::default().tokenizers(tokenizers)
}

fn schema_with(add: impl FnOnce(&mut SchemaBuilder)) -> (Schema, TagFields) {
    let mut schema = Schema::builder();
    add(&mut schema);
    let fields = TagFields::add_to(&mut schema, &FieldNames::default()).unwrap();
    (schema.build(), fields)
}

fn title_schema() -> (Schema, TagFields) {
    schema_with(|schema| {
        schema.add_text_field("title", indexed_by("letters"));
    })
}

fn is_missing_letters<T>(outcome: Result<T, Error>) -> bool {
    matches!(
        outcome,
        Err(Error::TokenizerMissing { field, tokenizer })
            if field == "title" && tokenizer == "letters"
    )
}

#[test]
fn a_tokenizer_that_is_not_registered_is_an_error_before_anything_is_made_or_opened() {
    let folder = TempDir::new().unwrap();
    let (path, seed) = (folder.path().join("index"), seed(&folder));
    let (schema, fields) = title_schema();
    let bundle = bundle("bundle", &seed);
    assert!(is_missing_letters(IndexFolder::create(&path, schema.clone(), &fields, &bundle)));
    assert!(!path.exists());

    IndexFolder::create_with(&path, schema, &fields, &bundle, letters()).unwrap();
    let without = IndexFolder::open(&path).unwrap();
    assert!(is_missing_letters(without.index()));
    assert!(is_missing_letters(without.searcher()));
    assert!(is_missing_letters(
        without.writer(tagger(Words::new(&LABELS)), WriterOptions::default())
    ));
    // It needs none.
    assert!(without.verify().unwrap().is_sound());

    let folder = IndexFolder::open_with(&path, letters()).unwrap();
    let writer = folder.writer(tagger(Words::new(&LABELS)), WriterOptions::default()).unwrap();
    let title = writer.schema().get_field("title").unwrap();
    let mut titled = document(&fields, "a", "program");
    titled.add_text(title, "Qx");
    writer.add(titled).unwrap();
    writer.commit().unwrap();
    writer.correct("a", &Correction::set(["use::editing"])).unwrap();
    writer.commit().unwrap();
    writer.close().unwrap();
    let (index, _) = folder.index().unwrap();
    let query = QueryParser::for_index(&index, vec![title]).parse_query("q").unwrap();
    assert_eq!(index.reader().unwrap().searcher().search(&query, &Count).unwrap(), 1);
    assert!(folder.verify().unwrap().is_sound());
}

#[test]
fn a_writer_of_an_index_in_memory_needs_its_tokenizers_too() {
    let folder = TempDir::new().unwrap();
    let (schema, fields) = title_schema();
    let mut index = Index::create_in_ram(schema);
    let datastore = seed(&folder);
    let open = |index: &Index| {
        let (index, datastore) = (index.clone(), datastore.clone());
        let tagger = tagger(Words::new(&LABELS));
        TaggingWriter::open(index, datastore, tagger, fields.clone(), WriterOptions::default())
    };
    assert!(is_missing_letters(open(&index)));
    index.set_tokenizers(letters().tokenizers);
    open(&index).unwrap();
}

#[test]
fn the_tokenizers_of_fast_fields_and_of_json_are_checked_too() {
    let folder = TempDir::new().unwrap();
    let (path, seed) = (folder.path().join("index"), seed(&folder));
    let fast = TextOptions::default().set_stored().set_fast("letters");
    let of_text = schema_with(|schema| {
        schema.add_text_field("title", fast);
    });
    let json = indexed_by("letters").into();
    let of_json = schema_with(|schema| {
        schema.add_json_field::<JsonObjectOptions>("title", json);
    });
    for (schema, fields) in [of_text, of_json] {
        let created = IndexFolder::create(&path, schema, &fields, &bundle("bundle", &seed));
        assert!(is_missing_letters(created));
    }
}

#[test]
fn the_settings_of_a_new_index_are_kept() {
    let folder = TempDir::new().unwrap();
    let (path, seed) = (folder.path().join("index"), seed(&folder));
    let settings = IndexSettings {
        docstore_compression: Compressor::None,
        docstore_blocksize: 1 << 12,
        ..IndexSettings::default()
    };
    let (schema, fields) = schema_with(|_| {});
    let options = IndexOptions::default().settings(settings.clone());
    IndexFolder::create_with(&path, schema, &fields, &bundle("bundle", &seed), options).unwrap();
    let (index, _) = IndexFolder::open(&path).unwrap().index().unwrap();
    assert_eq!(index.settings(), &settings);
}

/// Merges every two segments, and counts how often it is asked.
#[derive(Debug, Default)]
struct Pairs(AtomicUsize);

impl MergePolicy for Pairs {
    fn compute_merge_candidates(&self, segments: &[SegmentMeta]) -> Vec<MergeCandidate> {
        self.0.fetch_add(1, Ordering::SeqCst);
        let ids: Vec<_> = segments.iter().map(SegmentMeta::id).collect();
        // An empty candidate makes Tantivy panic, where it is let through.
        let pairs = ids.chunks_exact(2).map(<[_]>::to_vec).chain([vec![]]);
        pairs.map(MergeCandidate).collect()
    }
}

#[derive(Debug)]
struct Panics;

impl MergePolicy for Panics {
    fn compute_merge_candidates(&self, _: &[SegmentMeta]) -> Vec<MergeCandidate> {
        panic!("asked to panic")
    }
}

fn segments_after_commits(policy: Arc<dyn MergePolicy>) -> usize {
    let fixture = crate::support::Fixture::new();
    let options = WriterOptions::new().merge_policy(Some(policy));
    let writer = fixture.open(Words::new(&LABELS), options).unwrap();
    for key in ["a", "b", "c", "d"] {
        writer.add(fixture.document(key, "program")).unwrap();
        writer.commit().unwrap();
    }
    writer.close().unwrap();
    assert_eq!(fixture.keys(), ["a", "b", "c", "d"]);
    fixture.index.searchable_segment_ids().unwrap().len()
}

#[test]
fn the_callers_merge_policy_decides() {
    assert_eq!(segments_after_commits(Arc::new(NoMergePolicy)), 4);
    let pairs = Arc::new(Pairs::default());
    assert!(segments_after_commits(pairs.clone()) < 4);
    assert!(pairs.0.load(Ordering::SeqCst) >= 4);
    assert_eq!(segments_after_commits(Arc::new(Panics)), 4);
}

/// A schema in which only what autotag needs is stored; the rest is fast.
fn fast_schema() -> (Schema, TagFields) {
    schema_with(|schema| {
        schema.add_u64_field("year", FAST | INDEXED);
        schema.add_i64_field("balance", FAST);
        schema.add_f64_field("price", FAST | INDEXED);
        schema.add_bool_field("is_new", FAST | INDEXED);
        schema.add_date_field("published", FAST | INDEXED);
        schema.add_ip_addr_field("address", FAST | INDEXED);
        schema.add_bytes_field("digest", FAST);
        schema.add_text_field("shelf", STRING | FAST);
        schema.add_facet_field("place", FacetOptions::default());
        schema.add_text_field("nothing", TextOptions::default());
    })
}

fn fill(document: &mut TantivyDocument, schema: &Schema) {
    let field = |name| schema.get_field(name).unwrap();
    for year in [1999, 7, 1999] {
        document.add_u64(field("year"), year);
    }
    document.add_i64(field("balance"), -5);
    document.add_f64(field("price"), 2.5);
    document.add_bool(field("is_new"), true);
    document.add_date(field("published"), DateTime::from_timestamp_secs(86_400));
    document.add_ip_addr(field("address"), Ipv6Addr::LOCALHOST);
    document.add_bytes(field("digest"), &[0, 255, 3]);
    document.add_text(field("shelf"), "upper left");
    document.add_text(field("shelf"), "a second one");
    document.add_facet(field("place"), "/europe/france");
    document.add_text(field("nothing"), "neither indexed nor fast nor stored");
}

/// Returns the number of documents that each of these queries finds, and a document's years.
fn observed(index: &Index) -> (Vec<usize>, Vec<u64>) {
    let searcher = index.reader().unwrap().searcher();
    let parser = QueryParser::for_index(index, vec![]);
    let queries = [
        "year:1999",
        "year:7",
        "price:2.5",
        "is_new:true",
        "published:\"1970-01-02T00:00:00Z\"",
        "address:\"::1\"",
        "shelf:\"upper left\"",
        "shelf:\"a second one\"",
        "place:/europe",
        "place:/europe/france",
    ];
    let count =
        |query: &&str| searcher.search(&parser.parse_query(query).unwrap(), &Count).unwrap();
    let mut years = Vec::new();
    for segment in searcher.segment_readers() {
        for id in segment.doc_ids_alive() {
            let fast = segment.fast_fields();
            years.extend(fast.u64("year").unwrap().values_for_doc(id));
            let balances: Vec<i64> = fast.i64("balance").unwrap().values_for_doc(id).collect();
            let bytes = fast.bytes("digest").unwrap().unwrap();
            let mut digest = Vec::new();
            bytes.ord_to_bytes(bytes.term_ords(id).next().unwrap(), &mut digest).unwrap();
            assert_eq!((balances, digest), (vec![-5], vec![0, 255, 3]));
        }
    }
    (queries.iter().map(count).collect(), years)
}

#[test]
fn a_correction_keeps_what_is_fast_but_not_stored() {
    let folder = TempDir::new().unwrap();
    let (path, seed) = (folder.path().join("index"), seed(&folder));
    let (schema, fields) = fast_schema();
    let bundle = bundle("bundle", &seed);
    let folder = IndexFolder::create(&path, schema.clone(), &fields, &bundle).unwrap();
    let writer = folder.writer(tagger(Words::new(&LABELS)), WriterOptions::default()).unwrap();
    let mut full = document(&fields, "a", "program");
    fill(&mut full, &schema);
    writer.add(full).unwrap();
    writer.commit().unwrap();
    let (index, _) = folder.index().unwrap();
    let before = observed(&index);
    assert_eq!(before, (vec![1; 10], vec![1999, 7, 1999]));
    writer.correct("a", &Correction::set(["use::editing"])).unwrap();
    writer.commit().unwrap();
    writer.retag("", |_| {}).unwrap();
    writer.close().unwrap();
    assert_eq!(observed(&index), before);
}

#[test]
fn a_schema_that_would_lose_values_is_told_at_the_opening_and_can_be_used_without_corrections() {
    let folder = TempDir::new().unwrap();
    let (path, seed) = (folder.path().join("index"), seed(&folder));
    let (schema, fields) = schema_with(|schema| {
        schema.add_text_field("abstract", TEXT);
        schema.add_text_field("words", TEXT | FAST);
        schema.add_u64_field("pages", INDEXED);
        schema.add_u64_field("year", INDEXED | STORED);
        schema.add_text_field("lowered", TextOptions::default().set_fast("default"));
    });
    let bundle = bundle("bundle", &seed);
    let folder = IndexFolder::create(&path, schema, &fields, &bundle).unwrap();
    let tagger = || tagger(Words::new(&LABELS));
    let refused = folder.writer(tagger(), WriterOptions::default());
    let lost = ["abstract", "words", "pages", "lowered"];
    assert!(matches!(refused, Err(Error::NotStored { fields }) if fields == lost));

    let corrections = Corrections::Unsupported;
    let options = WriterOptions::new().corrections(corrections);
    let writer = folder.writer(tagger(), options).unwrap();
    writer.add(document(&fields, "a", "program")).unwrap();
    writer.commit().unwrap();
    let refused = writer.correct("a", &Correction::set(["use::editing"]));
    assert!(matches!(refused, Err(Error::NotStored { .. })));
    assert!(matches!(writer.retag("", |_| {}), Err(Error::NotStored { .. })));
    // Handed over again, it is corrected all the same.
    writer.add_labeled(document(&fields, "a", "program"), ["use::editing"]).unwrap();
    writer.commit().unwrap();
    let found = folder.searcher().unwrap().document("a").unwrap().unwrap();
    assert_eq!(crate::support::paths(&found), ["/use/editing"]);
}
