//! The JSON of what crosses a wire: these forms are stable.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json, to_value};
use tantivy::schema::Facet;
use tantivy_autotag::{
    Correction, JobProgress, LabelChange, OnFailure, OutsideChanges, Problem, RebuildReport,
    RetagReport, SearchRequest, SearcherOptions, SnippetOptions, SortBy, TagFilter, WriterOptions,
    WriterStats, parse_tag,
};

use crate::support::{Fixture, LABELS, Words};

/// Checks the form of a value, and that it is read back.
fn check<T: Serialize + DeserializeOwned>(value: &T, expected: &Value) {
    let written = to_value(value).unwrap();
    assert_eq!(&written, expected);
    let read: T = serde_json::from_value(written).unwrap();
    assert_eq!(&to_value(&read).unwrap(), expected);
}

#[test]
fn corrections() {
    let both = Correction::add(["a"]).and(Correction::reject(["b"]));
    check(&both, &json!({"add": ["a"], "reject": ["b"]}));
    check(&Correction::set([""; 0]), &json!({"set": []}));
    check(&Correction::confirm(), &json!({"confirm": true}));
    for (text, expected) in [
        (json!({"set": ["a"]}), Correction::set(["a"])),
        (json!({"add": ["a"], "confirm": true}), Correction::add(["a"]).and(Correction::confirm())),
        (json!({}), Correction::default()),
    ] {
        assert_eq!(serde_json::from_value::<Correction>(text).unwrap(), expected);
    }
    let unknown = serde_json::from_value::<Correction>(json!({"labels": ["a"]}));
    assert!(unknown.unwrap_err().to_string().contains("labels"));
    let label = || "a".to_owned();
    let rename = LabelChange::Rename { label: label(), name: "b".into() };
    check(&rename, &json!({"rename": {"label": "a", "name": "b"}}));
    let merge = LabelChange::Merge { label: label(), into: "b".into() };
    check(&merge, &json!({"merge": {"label": "a", "into": "b"}}));
    check(&LabelChange::Retire { label: label() }, &json!({"retire": {"label": "a"}}));
    check(&LabelChange::Restore { label: label() }, &json!({"restore": {"label": "a"}}));
}

#[test]
fn requests() {
    let tag = |path| parse_tag(path).unwrap();
    let request = SearchRequest::new()
        .query("engine oil")
        .tags(TagFilter::new().all([tag("/role/program")]).any([tag("/a"), tag(r"/b\/c")]))
        .facets([Facet::root()])
        .sort(SortBy::descending("year"))
        .snippets(SnippetOptions::new())
        .cursor("c");
    let expected = json!({
        "query": "engine oil",
        "tags": {"all": ["/role/program"], "any": [["/a", "/b\\/c"]], "none": []},
        "suggestions": {"all": [], "any": [], "none": []},
        "origins": [],
        "facets": ["/"],
        "counting": "conjunctive",
        "sort": "year:desc",
        "snippets": {"max_bytes": 150},
        "limit": 10,
        "offset": 0,
        "cursor": "c"
    });
    check(&request, &expected);
    let short: SearchRequest =
        serde_json::from_value(json!({"tags": {"none": ["role::library"]}})).unwrap();
    assert_eq!((short.limit, short.tags.none), (10, vec![tag("/role/library")]));
    for wrong in [json!({"tag": "a"}), json!({"tags": {"all": [""]}}), json!({"limit": -1})] {
        assert!(serde_json::from_value::<SearchRequest>(wrong.clone()).is_err(), "{wrong}");
    }
}

#[test]
fn options() {
    let options: WriterOptions =
        serde_json::from_value(json!({"on_failure": "index_untagged", "linger": 0.5})).unwrap();
    assert_eq!(options.on_failure, OnFailure::IndexUntagged);
    assert_eq!(options.linger.as_millis(), 500);
    assert_eq!(options.pending_operations, WriterOptions::new().pending_operations);
    let expected = json!({
        "on_failure": "index_untagged",
        "threads": null,
        "chunk_operations": 256,
        "chunk_bytes": 4 << 20,
        "pending_operations": 4096,
        "pending_bytes": 64 << 20,
        "linger": 0.5,
        "tantivy_threads": 1,
        "tantivy_memory": 64 << 20,
        "job_documents": 10_000,
        "listed_failures": 100,
        "corrections": "required"
    });
    check(&options, &expected);
    let negative = serde_json::from_value::<WriterOptions>(json!({"linger": -1.0}));
    assert!(negative.is_err());
    check(&SearcherOptions::new(), &json!({"reload": "manual", "kept_commits": 0}));
}

#[test]
fn reports_and_results() {
    let fixture = Fixture::new();
    let options = WriterOptions::new().on_failure(OnFailure::Skip);
    let writer = fixture.open(Words::new(&LABELS), options).unwrap();
    let ticket = writer.add(fixture.document("a", "program")).unwrap();
    check(&ticket, &json!(1));
    writer.add(fixture.document("b", "broken")).unwrap();
    let summary = to_value(writer.commit().unwrap()).unwrap();
    assert_eq!((&summary["tagged"], &summary["generation"]), (&json!(1), &json!(1)));
    assert_eq!(
        summary["failures"],
        json!([{"key": "b", "ticket": 2, "cause": "the model could not be run: asked to fail"}])
    );
    assert!(summary["times"]["encode"].is_f64());
    check(&writer.committed(), &json!({"generation": 1, "ticket": 2}));
    check(&writer.health(), &json!({"state": "running"}));
    let stats = to_value(writer.stats()).unwrap();
    let expected = json!({"state": "running"});
    assert_eq!((&stats["health"], &stats["documents"]), (&expected, &json!(1)));
    let names: Vec<&String> = stats.as_object().unwrap().keys().collect();
    let expected =
        ["batches", "documents", "encoded", "health", "queue_depth", "reused", "times", "wall"];
    assert_eq!(names, expected);
    let read: WriterStats = serde_json::from_value(stats.clone()).unwrap();
    assert_eq!(to_value(read).unwrap(), stats);
    check(
        &RetagReport::default(),
        &json!({"documents": 0, "changed": 0, "gained": {}, "lost": {}}),
    );
    check(&RebuildReport::default(), &json!({"labeled": 0, "encoded": 0, "failed": []}));
    check(&JobProgress::default(), &json!({"done": 0, "total": 0}));
    let outside = json!({"untagged": 0, "untagged_keys": [], "without_key": 0, "forgotten": 0});
    check(&OutsideChanges::default(), &outside);

    let request =
        SearchRequest::new().facets([Facet::root()]).sort(SortBy::ascending("tag_margin"));
    let results = to_value(fixture.searcher().search(&request).unwrap()).unwrap();
    let found = &results["documents"][0];
    assert_eq!((&found["key"], &found["tags"]), (&json!("a"), &json!(["/role/program"])));
    assert_eq!(found["evidence"]["tags"][0]["origin"], "model");
    assert!(found["sort_value"].is_f64() && found.get("document").is_none(), "{found}");
    let counts = json!([{"root": "/", "counts": [{"tag": "/role", "count": 1}]}]);
    assert_eq!(results["facets"], counts);

    let closed = to_value(writer.close_within(Duration::from_secs(60)).unwrap()).unwrap();
    assert_eq!((&closed["uncommitted"], &closed["busy_threads"]), (&json!([]), &json!(0)));
    assert_eq!(closed["summary"]["generation"], 2);
    let problem = to_value(Problem::NoKey).unwrap();
    assert_eq!(problem, Problem::NoKey.to_string());
}
