//! Filters, counts, order, pages and snippets, compared with what the documents themselves say.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use tantivy::collector::DocSetCollector;
use tantivy::query::{RangeQuery, TermQuery};
use tantivy::schema::{FAST, Facet, INDEXED, IndexRecordOption, STORED, STRING, Schema};
use tantivy::{DateTime, DocAddress, Index, Order, Term};
use tantivy_autotag::{
    Counting, Error, FieldNames, FoundDocument, SearchRequest, SnippetOptions, SortBy, SortValue,
    TagFields, TagFilter, TagSearcher, parse_tag, tag_path,
};

use crate::support::{Fixture, document};

const TAGS: [&str; 8] = ["a::x", "a::y", "a::y::z", "b", "b::x", "b::y", "c", "d::x::y::z"];

/// The fast fields to sort by.
const SORTED: [&str; 5] = ["year", "delta", "weight", "day", "flag"];

/// Fills an index of several segments with labeled documents, with many equal and missing values.
fn filled(n: u32) -> Fixture {
    let mut schema = Schema::builder();
    let year = schema.add_u64_field("year", FAST | STORED | INDEXED);
    let delta = schema.add_i64_field("delta", FAST | STORED);
    let weight = schema.add_f64_field("weight", FAST | STORED);
    let day = schema.add_date_field("day", FAST | STORED);
    let flag = schema.add_bool_field("flag", FAST | STORED);
    let extra = schema.add_text_field("extra", STRING | STORED);
    let fields = TagFields::add_to(&mut schema, &FieldNames::default()).unwrap();
    let index = Index::create_in_ram(schema.build());
    let fixture = Fixture { index, fields, extra, ..Fixture::new() };
    let writer = fixture.writer();
    let mut rng = SmallRng::seed_from_u64(7);
    for number in 0..n {
        let words = ["program", "library", "text", "text text", "image"];
        let text = format!("{} {}", words.choose(&mut rng).unwrap(), words[number as usize % 3]);
        let mut document = fixture.document(&format!("{number:03}"), &text);
        // The last segment has no value at all.
        if number < n - 10 {
            let mut chance = || rng.random_ratio(3, 4);
            let has = [(); 5].map(|()| chance());
            let mut small = |max: i64| rng.random_range(0..max);
            if has[0] {
                document.add_u64(year, small(4) as u64 + 2000);
            }
            if has[1] {
                document.add_i64(delta, small(5) - 2);
            }
            if has[2] {
                document.add_f64(weight, (small(5) - 2) as f64 / 2.0);
            }
            if has[3] {
                document.add_date(day, DateTime::from_timestamp_secs(86_400 * (small(5) - 2)));
            }
            if has[4] {
                document.add_bool(flag, small(2) == 1);
            }
        }
        let labels: Vec<&str> = TAGS.sample(&mut rng, number as usize % 4).copied().collect();
        writer.add_labeled(document, labels).unwrap();
        if number % 10 == 9 {
            writer.commit().unwrap();
        }
    }
    writer.delete("003").unwrap();
    writer.commit().unwrap();
    fixture
}

fn tag(path: &str) -> Facet {
    parse_tag(path).unwrap()
}

fn all(searcher: &TagSearcher) -> Vec<FoundDocument> {
    searcher.search(&SearchRequest::new().limit(usize::MAX)).unwrap().documents
}

fn keys(documents: &[FoundDocument]) -> Vec<&str> {
    documents.iter().map(|document| document.key.as_str()).collect()
}

fn sorted_keys(documents: &[FoundDocument]) -> BTreeSet<&str> {
    documents.iter().map(|document| document.key.as_str()).collect()
}

fn some_tags(rng: &mut SmallRng, most: usize) -> Vec<Facet> {
    let n = rng.random_range(0..=most);
    let paths = ["/", "/a", "/a/x", "/a/y", "/b", "/b/x", "/c", "/d/x", "/none"];
    (0..n).map(|_| tag(paths.choose(rng).unwrap())).collect()
}

fn some_filter(rng: &mut SmallRng) -> TagFilter {
    TagFilter::new()
        .all(some_tags(rng, 1))
        .any(some_tags(rng, 3))
        .any(some_tags(rng, 2))
        .none(some_tags(rng, 1))
}

/// Counts the tags right below another as [`SearchRequest::facets`] says, by looking at each document.
fn count<'d>(
    documents: impl Iterator<Item = &'d FoundDocument>,
    root: &Facet,
) -> Vec<(String, u64)> {
    let mut counts: BTreeMap<Facet, u64> = BTreeMap::new();
    let depth = if root.is_root() { 0 } else { root.to_path().len() };
    for document in documents {
        let below = document.tags.iter().filter(|tag| root.is_root() || root.is_prefix_of(tag));
        let children: BTreeSet<Facet> =
            below.map(|tag| Facet::from_path(&tag.to_path()[..=depth])).collect();
        for child in children {
            *counts.entry(child).or_default() += 1;
        }
    }
    let mut counts: Vec<(Facet, u64)> = counts.into_iter().collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    counts.into_iter().map(|(tag, count)| (tag_path(&tag), count)).collect()
}

#[test]
fn filters_let_pass_what_they_say() {
    let fixture = filled(60);
    let searcher = fixture.searcher();
    let documents = all(&searcher);
    let mut rng = SmallRng::seed_from_u64(1);
    let mut n_found = 0;
    for _ in 0..300 {
        let filter = some_filter(&mut rng);
        let request = SearchRequest::new().tags(filter.clone()).limit(100);
        let found = searcher.search(&request).unwrap();
        let expect: Vec<_> =
            documents.iter().filter(|d| filter.matches(&d.tags)).cloned().collect();
        assert_eq!(sorted_keys(&found.documents), sorted_keys(&expect), "{filter:?}");
        assert_eq!(found.total, expect.len());
        n_found += found.total;
    }
    assert!(n_found > 1000, "{n_found}: the filters are too narrow to say anything");
}

#[test]
fn a_filter_says_itself_which_tags_pass() {
    let tags = [tag("/a/x"), tag("/b")];
    let check = |filter: TagFilter, expect| assert_eq!(filter.matches(&tags), expect, "{filter:?}");
    check(TagFilter::new(), true);
    check([tag("/a"), tag("/b")].into(), true);
    check([tag("/a/x/y")].into(), false);
    check(TagFilter::new().any([tag("/c"), tag("/a")]), true);
    check(TagFilter::new().any([tag("/c"), tag("/d")]), false);
    check(TagFilter::new().any([tag("/a")]).any([tag("/c")]), false);
    check(TagFilter::new().any([]), true);
    check(TagFilter::new().none([tag("/c")]), true);
    check(TagFilter::new().none([tag("/")]), false);
}

#[test]
fn counts_are_those_of_the_documents_found_or_of_another_choice() {
    let fixture = filled(60);
    let searcher = fixture.searcher();
    let documents = all(&searcher);
    let roots = ["/", "/a", "/a/y", "/b", "/none", "/a"].map(tag);
    let mut rng = SmallRng::seed_from_u64(2);
    for _ in 0..100 {
        let filter = some_filter(&mut rng);
        let request = SearchRequest::new().tags(filter.clone()).facets(roots.clone()).limit(0);
        for counting in [Counting::Conjunctive, Counting::Disjunctive] {
            let found = searcher.search(&request.clone().counting(counting)).unwrap();
            assert_eq!(found.facets.len(), roots.len());
            for (facets, root) in found.facets.iter().zip(&roots) {
                let is_kept = |tag: &Facet| {
                    counting == Counting::Conjunctive || !(root.is_root() || root.is_prefix_of(tag))
                };
                let kept = |tags: &[Facet]| {
                    tags.iter().filter(|tag| is_kept(tag)).cloned().collect::<Vec<_>>()
                };
                let mut filter = filter.clone();
                filter.all = kept(&filter.all);
                filter.any = filter.any.iter().map(|group| kept(group)).collect();
                let matching = documents.iter().filter(|d| filter.matches(&d.tags));
                let counts: Vec<_> =
                    facets.counts.iter().map(|c| (tag_path(&c.tag), c.count)).collect();
                assert_eq!(&facets.root, root);
                assert_eq!(counts, count(matching, root), "{counting:?} {filter:?} {root:?}");
            }
        }
    }
}

#[test]
fn names_that_are_alike_are_counted_apart() {
    let fixture = Fixture::new();
    let writer = fixture.writer();
    let labels: [&[&str]; 4] = [
        &["cat::a", "rat::b"],
        &["rat::b", "cat"],
        &["rat", "cat-fish", "r", "c::a"],
        &["cat::a::b", "cat::a", "cat::c"],
    ];
    for (key, labels) in ["1", "2", "3", "4"].iter().zip(labels) {
        writer.add_labeled(fixture.document(key, "text"), labels).unwrap();
    }
    writer.commit().unwrap();
    let facets = ["/", "/cat", "/cat/a", "/ca"].map(tag);
    let found = fixture.searcher().search(&SearchRequest::new().facets(facets)).unwrap();
    let counts = found.facets.iter().map(|facets| {
        let counts = facets.counts.iter();
        counts.map(|count| format!("{} {}", tag_path(&count.tag), count.count)).collect::<Vec<_>>()
    });
    let counts: Vec<Vec<String>> = counts.collect();
    assert_eq!(counts[0], ["/cat 3", "/rat 3", "/c 1", "/cat-fish 1", "/r 1"]);
    assert_eq!(counts[1], ["/cat/a 2", "/cat/c 1"]);
    assert_eq!(counts[2], ["/cat/a/b 1"]);
    assert!(counts[3].is_empty());
}

#[test]
fn a_disjunctive_count_says_what_another_choice_would_find() {
    let fixture = filled(60);
    let searcher = fixture.searcher();
    let chosen = TagFilter::new().any([tag("/a/x")]).any([tag("/b/y")]);
    let request = SearchRequest::new().tags(chosen).facets([tag("/a")]).limit(0);
    let found = searcher.search(&request.counting(Counting::Disjunctive)).unwrap();
    assert!(found.facets[0].counts.len() > 1);
    for facet in &found.facets[0].counts {
        let other = TagFilter::new().any([facet.tag.clone()]).any([tag("/b/y")]);
        let total = searcher.search(&SearchRequest::new().tags(other)).unwrap().total;
        assert_eq!(total as u64, facet.count);
    }
}

#[test]
fn any_query_of_tantivys_filters_and_leaves_relevance_alone() {
    let fixture = filled(60);
    let searcher = fixture.searcher();
    let text = SearchRequest::new().query("text").limit(100);
    let whole = searcher.search(&text).unwrap();
    let year = fixture.index.schema().get_field("year").unwrap();
    let exactly = TermQuery::new(Term::from_field_u64(year, 2001), IndexRecordOption::Basic);
    let from = Term::from_field_u64(year, 2001);
    let since = RangeQuery::new(std::ops::Bound::Included(from), std::ops::Bound::Unbounded);
    let filtered = text.clone().filter(exactly).filter(since).tags([tag("/a")]);
    let found = searcher.search(&filtered).unwrap();
    assert!(found.total > 1);
    for document in &found.documents {
        let value = document.document.get_first(year).unwrap();
        assert_eq!(tantivy::schema::Value::as_u64(&value), Some(2001));
        let same = whole.documents.iter().find(|other| other.key == document.key).unwrap();
        assert_eq!(same.score.unwrap(), document.score.unwrap());
    }
}

fn value(document: &FoundDocument) -> Option<f64> {
    Some(match document.sort_value? {
        SortValue::U64(value) => value as f64,
        SortValue::I64(value) => value as f64,
        SortValue::F64(value) => value,
        SortValue::Date(value) => value.into_timestamp_secs() as f64,
        SortValue::Bool(value) => f64::from(u8::from(value)),
        other => panic!("{other:?}"),
    })
}

#[test]
fn documents_are_sorted_by_every_kind_of_value() {
    let fixture = filled(60);
    let searcher = fixture.searcher();
    let schema = fixture.index.schema();
    for field in SORTED {
        for order in [Order::Asc, Order::Desc] {
            let sort = SortBy::Field { name: field.to_owned(), order };
            let found = searcher.search(&SearchRequest::new().sort(sort).limit(100)).unwrap();
            assert_eq!(found.total, found.documents.len());
            let n_missing = found.documents.iter().filter(|d| value(d).is_none()).count();
            assert!((10..40).contains(&n_missing));
            for pair in found.documents.windows(2) {
                let place = |document: &FoundDocument| {
                    let value = value(document).unwrap_or(f64::INFINITY);
                    let is_reversed = order == Order::Desc && value.is_finite();
                    if is_reversed { -value } else { value }
                };
                let by_value = place(&pair[0]).total_cmp(&place(&pair[1]));
                let by_address = pair[0].address.cmp(&pair[1].address);
                assert_eq!(by_value.then(by_address), Ordering::Less, "{field} {order:?}");
            }
            let field = schema.get_field(field).unwrap();
            for document in &found.documents {
                assert_eq!(document.document.get_first(field).is_some(), value(document).is_some());
                assert_eq!(document.score, None);
            }
        }
    }
}

#[test]
fn a_field_that_does_not_sort_is_told() {
    let searcher = filled(20).searcher();
    for (field, expect) in [("none", "no such field"), ("extra", "numbers"), ("text", "numbers")] {
        let error = searcher.search(&SearchRequest::new().sort(SortBy::ascending(field)));
        let error = error.unwrap_err();
        assert!(matches!(&error, Error::SortField { name, .. } if name == field), "{error}");
        assert!(error.to_string().contains(expect), "{error}");
    }
    let mut schema = Schema::builder();
    schema.add_u64_field("slow", INDEXED);
    let fields = TagFields::add_to(&mut schema, &FieldNames::default()).unwrap();
    let searcher = TagSearcher::new(&Index::create_in_ram(schema.build()), fields).unwrap();
    let error =
        searcher.search(&SearchRequest::new().sort(SortBy::descending("slow"))).unwrap_err();
    assert!(error.to_string().contains("not a fast field"), "{error}");
}

/// Returns the keys on all pages.
fn paged(searcher: &TagSearcher, request: &SearchRequest, total: usize) -> Vec<String> {
    let (mut paged, mut request) = (Vec::new(), request.clone());
    loop {
        let found = searcher.search(&request).unwrap();
        assert_eq!(found.total, total);
        assert!(found.documents.len() <= request.limit);
        paged.extend(found.documents.into_iter().map(|document| document.key));
        match found.next {
            Some(next) => request = request.cursor(next),
            None => return paged,
        }
    }
}

#[test]
fn pages_by_cursor_are_the_whole_list() {
    let fixture = filled(60);
    let searcher = fixture.searcher();
    let fields = SORTED.map(|field| [SortBy::ascending(field), SortBy::descending(field)]);
    let orders = fields.into_iter().flatten().chain([SortBy::Relevance]);
    for sort in orders {
        for query in ["", "text program"] {
            let request = SearchRequest::new().query(query).sort(sort.clone());
            let whole = searcher.search(&request.clone().limit(usize::MAX)).unwrap();
            assert_eq!(whole.next, None);
            let whole = keys(&whole.documents).into_iter().map(str::to_owned).collect::<Vec<_>>();
            assert!(whole.len() > 20);
            for limit in [1, 2, 7, whole.len() - 1, whole.len(), whole.len() + 1] {
                let pages = paged(&searcher, &request.clone().limit(limit), whole.len());
                assert_eq!(pages, whole, "{sort} by {limit}");
                // By offset, too.
                let page = searcher.search(&request.clone().limit(limit).offset(limit)).unwrap();
                let end = whole.len().min(2 * limit);
                assert_eq!(keys(&page.documents), whole[limit.min(end)..end]);
            }
        }
    }
}

#[test]
fn a_cursor_serves_its_request_and_its_commit_only() {
    let fixture = filled(40);
    let searcher = fixture.searcher();
    let request = SearchRequest::new().sort(SortBy::ascending("year")).limit(5);
    let cursor = searcher.search(&request).unwrap().next.unwrap();
    // The size of the page and what is counted or shown beside it do not matter.
    let other_page = request.clone().limit(9).facets([tag("/")]).cursor(&cursor);
    let second = searcher.search(&other_page).unwrap();
    assert_eq!(second.documents.len(), 9);
    for other in [
        request.clone().query("text"),
        request.clone().sort(SortBy::descending("year")),
        request.clone().sort(SortBy::Relevance),
        request.clone().tags([tag("/a")]),
    ] {
        let error = searcher.search(&other.cursor(&cursor)).unwrap_err();
        assert!(matches!(error, Error::CursorOfAnotherRequest), "{error}");
    }
    for damaged in ["", "nonsense", &cursor[1..], &format!("{cursor}0"), &cursor.replace('0', "1")]
    {
        let error = searcher.search(&request.clone().cursor(damaged)).unwrap_err();
        assert!(matches!(error, Error::CursorDamaged), "{damaged}: {error}");
    }
    let other_searcher = fixture.searcher();
    let writer = fixture.writer();
    writer.delete("004").unwrap();
    writer.commit().unwrap();
    // Not before the searcher moves on; another searcher of the same commit takes it too.
    for searcher in [&searcher, &other_searcher] {
        let again = searcher.search(&other_page).unwrap();
        assert_eq!(keys(&again.documents), keys(&second.documents));
    }
    searcher.reload().unwrap();
    let error = searcher.search(&request.cursor(cursor)).unwrap_err();
    assert!(matches!(error, Error::CursorOutdated), "{error}");
}

#[test]
fn snippets_show_what_matches_and_nothing_else() {
    let mut schema = Schema::builder();
    let extra = schema.add_text_field("extra", STRING | STORED);
    let names = FieldNames::new().texts(["title", "body"]);
    let fields = TagFields::add_to(&mut schema, &names).unwrap();
    let index = Index::create_in_ram(schema.build());
    let fixture = Fixture { index, fields, extra, ..Fixture::new() };
    let (title, body) = (fixture.fields.texts[0], fixture.fields.texts[1]);
    let writer = fixture.writer();
    let mut whole = document(&fixture.fields, "a", "A <b>program</b> & its Library");
    let filler = "nothing of interest ".repeat(40);
    whole.add_text(body, format!("{filler} the übermäßig long program text {filler}"));
    whole.add_text(extra, "program");
    writer.add(whole).unwrap();
    writer.commit().unwrap();
    let searcher = fixture.searcher();
    let search = |query: &str, options| {
        let filter = TermQuery::new(Term::from_field_text(title, "its"), IndexRecordOption::Basic);
        let request = SearchRequest::new().query(query).snippets(options).filter(filter);
        searcher.search(&request).unwrap().documents.remove(0).snippets
    };
    let snippets = search("program", SnippetOptions::default());
    let fields: Vec<&str> = snippets.iter().map(|snippet| snippet.field.as_str()).collect();
    assert_eq!(fields, ["title", "body"]);
    assert_eq!(snippets[0].to_html(), "A &lt;b&gt;<b>program</b>&lt;/b&gt; &amp; its Library");
    for snippet in &snippets {
        for range in &snippet.highlighted {
            assert_eq!(&snippet.text[range.clone()], "program");
        }
        assert_eq!(snippet.highlighted.len(), 1);
        assert!(snippet.text.len() <= 150);
    }
    let snippets = search("übermäßig OR library", SnippetOptions::new().max_bytes(30));
    assert!(snippets[1].text.len() <= 30 && snippets[1].to_html().contains("<b>übermäßig</b>"));
    // What stands in the filters only is not shown, nor is there anything without a query.
    assert!(search("", SnippetOptions::default()).is_empty());
    for max_bytes in [0, 1, usize::MAX] {
        assert!(!search("program", SnippetOptions::new().max_bytes(max_bytes)).is_empty());
    }
    let without = searcher.search(&SearchRequest::new().query("program")).unwrap();
    assert!(without.documents[0].snippets.is_empty());
}

#[test]
fn a_service_collects_for_itself_and_reads_what_it_found() {
    let fixture = filled(60);
    let searcher = fixture.searcher();
    let request = SearchRequest::new().query("text").tags([tag("/b")]).limit(100);
    let found = searcher.search(&request).unwrap();
    let tantivy = searcher.searcher();
    let query = searcher.query(&request).unwrap();
    let addresses = tantivy.search(&query, &DocSetCollector).unwrap();
    assert_eq!(addresses.len(), found.total);
    for document in &found.documents {
        assert!(addresses.contains(&document.address));
        let read = searcher.read(&tantivy, document.address).unwrap();
        assert_eq!((&read.key, &read.tags), (&document.key, &document.tags));
        assert_eq!((read.score, read.evidence), (None, document.evidence.clone()));
    }
}

#[test]
fn an_address_without_a_document_is_told() {
    let fixture = filled(20);
    let searcher = fixture.searcher();
    let tantivy = searcher.searcher();
    let deleted = (0..).zip(tantivy.segment_readers()).find_map(|(segment, reader)| {
        let deleted = (0..reader.max_doc()).find(|&doc| reader.is_deleted(doc))?;
        Some(DocAddress::new(segment, deleted))
    });
    let nowhere = [DocAddress::new(99, 0), DocAddress::new(0, u32::MAX), deleted.unwrap()];
    for address in nowhere {
        let error = searcher.read(&tantivy, address).unwrap_err();
        assert!(matches!(&error, Error::NoSuchAddress { .. }), "{error}");
    }
}

#[test]
fn a_request_of_any_size_is_answered_or_refused() {
    let searcher = filled(20).searcher();
    let many = |n: usize| (0..n).map(|number| tag(&format!("/{number}")));
    let check = |request: &SearchRequest| match searcher.search(request).map(|found| found.total) {
        Ok(_) => None,
        Err(Error::RequestTooLarge { what, count, max }) => {
            assert!(count > max);
            assert!(matches!(searcher.query(request), Err(Error::RequestTooLarge { .. })));
            Some(what)
        }
        Err(error) => panic!("{error}"),
    };
    assert_eq!(check(&SearchRequest::new().tags(TagFilter::new().any(many(1024)))), None);
    assert_eq!(check(&SearchRequest::new().facets(many(64))), None);
    for tags in [TagFilter::new().any(many(1025)), TagFilter::new().none(many(600)).all(many(600))]
    {
        assert_eq!(check(&SearchRequest::new().tags(tags)), Some("conditions"));
    }
    assert_eq!(check(&SearchRequest::new().facets(many(65))), Some("facets"));
    let largest = SearchRequest::new().limit(usize::MAX).offset(usize::MAX);
    let found = searcher.search(&largest).unwrap();
    assert!(found.documents.is_empty() && found.next.is_none());
}
