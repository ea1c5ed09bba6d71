//! The JSON of what crosses a wire: these forms are stable.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json, to_value};
use tantivy::schema::Facet;
use tantivy_autotag::{
    Correction, LabelChange, OnFailure, SearchRequest, SearcherOptions, SnippetOptions, SortBy,
    TagFilter, WriterOptions, parse_tag,
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
    let change = LabelChange::Rename { label: "a".into(), name: "b".into() };
    check(&change, &to_value(&change).unwrap());
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
    check(&options, &to_value(&options).unwrap());
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
    let stats = writer.stats();
    check(&stats, &to_value(&stats).unwrap());

    let request =
        SearchRequest::new().facets([Facet::root()]).sort(SortBy::ascending("tag_margin"));
    let results = to_value(fixture.searcher().search(&request).unwrap()).unwrap();
    let found = &results["documents"][0];
    assert_eq!((&found["key"], &found["tags"]), (&json!("a"), &json!(["/role/program"])));
    assert_eq!(found["evidence"]["tags"][0]["origin"], "model");
    assert!(found["sort_value"].is_f64() && found.get("document").is_none(), "{found}");
    let counts = json!([{"root": "/", "counts": [{"tag": "/role", "count": 1}]}]);
    assert_eq!(results["facets"], counts);
}
