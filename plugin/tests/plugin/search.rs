//! Queries, drill-down, counts.

use tantivy::schema::Facet;
use tantivy_autotag::{Error, SearchRequest, TagSearcher, parse_tag, tag_path};

use crate::support::Fixture;

fn filled() -> Fixture {
    let fixture = Fixture::new();
    let writer = fixture.writer();
    writer.add(fixture.document("vim", "program editing text")).unwrap();
    writer.add(fixture.document("gimp", "program image")).unwrap();
    writer.add(fixture.document("zlib", "library text")).unwrap();
    let labels = ["client/server", "role::program"];
    writer.add_labeled(fixture.document("web", "browser text"), labels).unwrap();
    writer.commit().unwrap();
    fixture
}

fn check(searcher: &TagSearcher, query: &str, tags: &[&str], expect: &[&str]) {
    let request = SearchRequest {
        query: query.to_owned(),
        tags: tags.iter().map(|tag| parse_tag(tag).unwrap()).collect(),
        ..SearchRequest::default()
    };
    let found = searcher.search(&request).unwrap();
    let mut keys: Vec<&str> = found.documents.iter().map(|found| found.key.as_str()).collect();
    keys.sort_unstable();
    assert_eq!(keys, expect);
    assert_eq!(found.total, expect.len());
}

fn counts(searcher: &TagSearcher, query: &str, parent: Facet) -> Vec<(String, u64)> {
    let request = SearchRequest {
        query: query.to_owned(),
        facets: Some(parent),
        limit: 0,
        ..SearchRequest::default()
    };
    let found = searcher.search(&request).unwrap();
    assert!(found.documents.is_empty());
    found.facets.iter().map(|count| (tag_path(&count.tag), count.count)).collect()
}

#[test]
fn queries_and_tags_narrow_the_search() {
    let searcher = filled().searcher();
    check(&searcher, "", &[], &["gimp", "vim", "web", "zlib"]);
    check(&searcher, "text", &[], &["vim", "web", "zlib"]);
    check(&searcher, "text", &["/role/program"], &["vim", "web"]);
    check(&searcher, "", &["/role"], &["gimp", "vim", "web", "zlib"]);
    check(&searcher, "", &["role::program", "use::editing"], &["vim"]);
    check(&searcher, "", &["client/server"], &["web"]);
    check(&searcher, "", &[r"/client\/server"], &["web"]);
    check(&searcher, "", &["/client"], &[]);
    check(&searcher, "", &["/"], &["gimp", "vim", "web", "zlib"]);
    check(&searcher, "image OR library", &[], &["gimp", "zlib"]);
}

#[test]
fn tags_are_counted_level_by_level_the_most_frequent_first() {
    let searcher = filled().searcher();
    let count = |path: &str, count| (path.to_owned(), count);
    assert_eq!(
        counts(&searcher, "", Facet::root()),
        [count("/role", 4), count(r"/client\/server", 1), count("/use", 1)]
    );
    let role = parse_tag("/role").unwrap();
    assert_eq!(
        counts(&searcher, "", role.clone()),
        [count("/role/program", 3), count("/role/library", 1)]
    );
    assert_eq!(
        counts(&searcher, "text", role),
        [count("/role/program", 2), count("/role/library", 1)]
    );
    assert_eq!(counts(&searcher, "", parse_tag("/none").unwrap()), []);
}

#[test]
fn untagged_documents_can_be_counted_too() {
    let fixture = Fixture::new();
    assert_eq!(counts(&fixture.searcher(), "", Facet::root()), []);
    let writer = fixture.writer();
    writer.add(fixture.document("a", "nothing known")).unwrap();
    writer.commit().unwrap();
    assert_eq!(counts(&fixture.searcher(), "", Facet::root()), []);
}

#[test]
fn pages_follow_each_other() {
    let searcher = filled().searcher();
    let page = |offset| {
        let request = SearchRequest { limit: 2, offset, ..SearchRequest::default() };
        let found = searcher.search(&request).unwrap();
        assert_eq!(found.total, 4);
        found.documents.into_iter().map(|found| found.key).collect::<Vec<_>>()
    };
    let mut keys = [page(0), page(2)].concat();
    keys.sort();
    assert_eq!(keys, ["gimp", "vim", "web", "zlib"]);
    assert!(page(4).is_empty() && page(usize::MAX).is_empty());
}

#[test]
fn a_wrong_query_is_told() {
    let searcher = filled().searcher();
    for wrong in ["\"unclosed", "nofield:x", "text:["] {
        let request = SearchRequest { query: wrong.to_owned(), ..SearchRequest::default() };
        let error = searcher.search(&request).unwrap_err();
        assert!(matches!(&error, Error::Query { query, .. } if query == wrong), "{error}");
    }
}

#[test]
fn a_searcher_moves_on_when_it_is_told_to() {
    let fixture = filled();
    let searcher = fixture.searcher();
    let writer = fixture.writer();
    writer.delete("vim").unwrap();
    writer.commit().unwrap();
    assert_eq!(searcher.n_documents(), 4);
    searcher.reload().unwrap();
    assert_eq!(searcher.n_documents(), 3);
    assert!(searcher.document("vim").unwrap().is_none());
}
