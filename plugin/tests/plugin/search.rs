//! Queries, drill-down, counts.

use std::thread;
use std::time::Instant;

use tantivy::schema::Facet;
use tantivy_autotag::{Error, SearchRequest, TagSearcher, parse_label, parse_tag, tag_path};

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
    let tags = tags.iter().map(|tag| parse_tag(tag).unwrap());
    let request = SearchRequest::new().query(query).tags(tags);
    let found = searcher.search(&request).unwrap();
    let mut keys: Vec<&str> = found.documents.iter().map(|found| found.key.as_str()).collect();
    keys.sort_unstable();
    assert_eq!(keys, expect);
    assert_eq!(found.total, expect.len());
}

fn counts(searcher: &TagSearcher, query: &str, parent: Facet) -> Vec<(String, u64)> {
    let request = SearchRequest::new().query(query).facets([parent]).limit(0);
    let found = searcher.search(&request).unwrap();
    assert!(found.documents.is_empty());
    found.facets[0].counts.iter().map(|count| (tag_path(&count.tag), count.count)).collect()
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
        let request = SearchRequest::new().limit(2).offset(offset);
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
        let request = SearchRequest::new().query(wrong);
        let error = searcher.search(&request).unwrap_err();
        assert!(matches!(&error, Error::Query { query, .. } if query == wrong), "{error}");
    }
}

/// Searches on a thread with so many bytes of stack, as servers' threads have.
fn search_on_a_thread(searcher: &TagSearcher, query: String, stack: usize) -> Result<usize, Error> {
    let searcher = searcher.clone();
    let search = move || {
        let request = SearchRequest::new().query(query).limit(1);
        searcher.search(&request).map(|found| found.total)
    };
    thread::Builder::new().stack_size(stack).spawn(search).unwrap().join().unwrap()
}

/// The ways of nesting a query: its text before and behind the inner query.
const NESTINGS: [(&str, &str); 22] = [
    ("(", ")"),
    ("( ", " )"),
    ("(a ", ")"),
    ("(a OR ", " b)"),
    ("+(", ")"),
    ("-(", ")^2"),
    ("(-", ")"),
    ("text:(", ")"),
    ("text : ( ", ")"),
    ("NOT ", ""),
    ("NOT\n", ""),
    ("NOT (", ")"),
    ("NOT text:(", ")"),
    ("(NOT a ", ")"),
    ("(\"", "\")"),
    ("(\")\" ", ")"),
    ("(/)/ ", ")"),
    ("(\\) ", ")"),
    ("+-", ""),
    ("[", "]"),
    ("text:IN [", "]"),
    ("a^", ""),
];

#[test]
fn a_query_of_any_nesting_is_answered_or_refused_on_a_small_stack() {
    let searcher = filled().searcher();
    for (before, behind) in NESTINGS {
        for n in [1, 50, 99, 100, 101, 500, 2_000, 100_000] {
            for (before, behind) in [(before, behind), (before, "")] {
                let query = format!("{}text{}", before.repeat(n), behind.repeat(n));
                for stack in [512 << 10, 2 << 20] {
                    match search_on_a_thread(&searcher, query.clone(), stack) {
                        Ok(_) | Err(Error::Query { .. }) => {}
                        Err(Error::QueryTooLong { max, length }) => assert!(length > max),
                        Err(Error::QueryTooDeep { max }) => assert!(n * 2 > max, "{before} {n}"),
                        Err(error) => panic!("{before} {n}: {error}"),
                    }
                }
            }
        }
    }
}

#[test]
fn groups_within_the_bound_are_searched() {
    let searcher = filled().searcher();
    for (before, behind) in [("(", ")"), ("text:(", ")"), ("(zlib ", ")"), ("(zlib -(", "))")] {
        for n in [1, 20] {
            let query = format!("{}text{}", before.repeat(n), behind.repeat(n));
            search_on_a_thread(&searcher, query, 512 << 10).unwrap();
        }
    }
    let deepest = format!("{}text{}", "(".repeat(100), ")".repeat(100));
    assert_eq!(search_on_a_thread(&searcher, deepest, 512 << 10).unwrap(), 3);
    let side_by_side = "(text OR image) ".repeat(500);
    assert_eq!(search_on_a_thread(&searcher, side_by_side, 512 << 10).unwrap(), 4);
}

#[test]
fn any_space_parts_words() {
    let searcher = filled().searcher();
    for query in
        ["image OR library", "image\nOR\tlibrary", "image\u{3000}library", "\nimage library\r\n"]
    {
        check(&searcher, query, &[], &["gimp", "zlib"]);
    }
    check(&searcher, "\"editing\ntext\"", &[], &["vim"]);
}

#[test]
fn the_longest_queries_take_little_time() {
    let searcher = filled().searcher();
    for part in [
        "a AND ",
        "a OR b AND ",
        "a\n",
        "a ",
        "a\\ ",
        "+a -b ",
        "\"a b\" ",
        "text:a ",
        "text:\n",
        "* ",
        "a* ",
        "\"a\"* ",
        "[a TO b] ",
        "text:[a TO b] ",
        "text:IN [a b c] ",
        "/a/ ",
        "a^2 ",
        "a~3 ",
        "(a) ",
        "(a b) AND ",
        "'a' ",
        "a:",
        "(",
        "NOT ",
        "\u{3000}",
        "é",
        "a^9999999999999999999999 ",
    ] {
        let started = Instant::now();
        // As long as is read, and cut off anywhere.
        let mut query: String = part.chars().cycle().take((1 << 16) / 3).collect();
        for _ in 0..3 {
            match search_on_a_thread(&searcher, query.clone(), 2 << 20) {
                Ok(_) | Err(Error::Query { .. } | Error::QueryTooDeep { .. }) => {}
                Err(error) => panic!("{part:?}: {error}"),
            }
            query.pop();
        }
        assert!(started.elapsed().as_secs() < 10, "{part:?}: {:?}", started.elapsed());
    }
}

#[test]
fn tags_of_any_length_and_depth_are_read_or_refused() {
    let searcher = filled().searcher();
    for n in [10, 500, 100_000] {
        for path in
            ["/a".repeat(n), "a::".repeat(n), "/".repeat(n), r"/\/".repeat(n), "a".repeat(n)]
        {
            let tag = match parse_tag(&path) {
                Ok(tag) => tag,
                Err(Error::TagTooLong { length, .. }) => {
                    assert!(n > 500 && length == path.len());
                    assert!(matches!(parse_label(&path), Err(Error::TagTooLong { .. })));
                    continue;
                }
                Err(error) => panic!("{error}"),
            };
            let request = SearchRequest::new().tags([tag.clone()]).facets([tag]);
            let total = searcher.search(&request).unwrap().total;
            assert_eq!(total > 0, path.trim_matches('/').is_empty(), "{path}");
        }
    }
    let longest = format!("/{}", "x".repeat(1024));
    assert!(parse_tag(&longest).is_ok() && parse_tag(&r"\/".repeat(1024)).is_ok());
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
