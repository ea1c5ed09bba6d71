//! The example `service`, by its requests.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};
use tantivy_autotag::WriterOptions;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tower::ServiceExt;

use crate::news::archive::Archive;
use crate::news::{routes, serve};

/// Commits that come within a request of each other.
const OFTEN: Duration = Duration::from_millis(20);

/// No commit within a test.
const NEVER: Duration = Duration::from_secs(3600);

/// The longest that any test waits for a commit.
const PATIENCE: Duration = Duration::from_secs(30);

struct Client {
    archive: Arc<Archive>,
    router: Router,
}

impl Client {
    fn open(folder: &Path, options: WriterOptions, interval: Duration) -> Self {
        Client::of(Archive::open(folder, options, interval).unwrap())
    }

    async fn reopen(folder: &Path) -> Self {
        let begin = Instant::now();
        loop {
            match Archive::open(folder, WriterOptions::default(), OFTEN) {
                Ok(archive) => return Client::of(archive),
                Err(error) => assert!(begin.elapsed() < PATIENCE, "{error:#}"),
            }
            tokio::time::sleep(OFTEN).await;
        }
    }

    fn of(archive: Archive) -> Self {
        let archive = Arc::new(archive);
        let router = routes::routes(archive.clone());
        Client { archive, router }
    }

    async fn send(&self, method: &str, path: &str, body: Value) -> (StatusCode, HeaderMap, Value) {
        let request = Request::builder().method(method).uri(path);
        let request = request.header("content-type", "application/json");
        let request = request.body(Body::from(body.to_string())).unwrap();
        let (parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        let told = || String::from_utf8_lossy(&body).into_owned();
        let json = serde_json::from_slice(&body).unwrap_or_else(|_| panic!("no JSON: {}", told()));
        (parts.status, parts.headers, json)
    }

    async fn ok(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, _, json) = self.send(method, path, body).await;
        assert!(status.is_success(), "{method} {path}: {status} {json}");
        json
    }

    async fn get(&self, path: &str) -> Value {
        self.ok("GET", path, Value::Null).await
    }

    async fn refused(&self, method: &str, path: &str, body: Value) -> (StatusCode, String) {
        let (status, _, json) = self.send(method, path, body).await;
        (status, json["error"].as_str().unwrap_or_else(|| panic!("{json}")).to_owned())
    }

    /// Waits until no operation of an answer is pending, and returns what became of the last one.
    async fn decided(&self, accepted: &Value) -> String {
        let tickets = match accepted["documents"].as_array() {
            Some(documents) => documents.iter().map(|document| &document["ticket"]).collect(),
            None => vec![&accepted["ticket"]],
        };
        let (path, begin) = (format!("/tickets/{}", tickets[tickets.len() - 1]), Instant::now());
        loop {
            let state = self.get(&path).await["state"].as_str().unwrap().to_owned();
            if state != "pending" {
                return state;
            }
            assert!(begin.elapsed() < PATIENCE, "{path} is still pending");
            tokio::time::sleep(OFTEN).await;
        }
    }

    /// Adds articles and waits until they are committed.
    async fn add(&self, articles: Value) {
        let accepted = self.ok("POST", "/documents", articles).await;
        assert_eq!(self.decided(&accepted).await, "committed", "{accepted}");
    }

    /// Adds articles about engines and baking, with labels.
    async fn add_labeled(&self) {
        let about = |id: &str, body: &str, labels: &[&str]| {
            let published = format!("2026-01-0{id}T00:00:00Z");
            json!({ "id": id, "title": "News", "body": body, "published": published,
                "labels": labels })
        };
        let (engines, baking) = (["cars::engines", "home::repair"], ["food::baking"]);
        self.add(json!([
            about("1", "Replacing the oil filter of a diesel engine", &engines),
            about("2", "The engine loses oil below the filter", &engines),
            about("3", "Which oil for an old diesel engine?", &engines),
            about("4", "A light bread of flour, water and salt", &baking),
            about("5", "Flour and butter for a sponge cake", &baking),
            about("6", "Bake the bread until the cake tin is hot", &baking),
        ]))
        .await;
    }

    /// Returns the standing of each label of an article.
    async fn standings(&self, id: &str) -> Vec<(String, String)> {
        let document = self.get(&format!("/documents/{id}")).await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let labels = document["labels"].as_array().unwrap().iter();
        let mut labels: Vec<_> =
            labels.map(|label| (text(&label["label"]), text(&label["standing"]))).collect();
        labels.sort();
        labels
    }
}

fn engine_article(id: &str) -> Value {
    json!({ "id": id, "title": "Reader's letter", "body": "Oil drips from my diesel engine",
        "published": "2026-02-01T08:30:00Z" })
}

fn run(test: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(test);
}

fn pairs<const N: usize>(labels: [(&str, &str); N]) -> Vec<(String, String)> {
    labels.map(|(label, standing)| (label.to_owned(), standing.to_owned())).to_vec()
}

#[test]
fn an_article_is_tagged_with_evidence_and_one_click_decides_one_label() {
    run(async {
        let folder = TempDir::new().unwrap();
        let client = Client::open(folder.path(), WriterOptions::default(), OFTEN);
        client.add_labeled().await;
        client.add(json!([engine_article("letter")])).await;

        let tagged = client.get("/documents/letter").await;
        let voters = tagged["evidence"]["neighbors"].as_array().unwrap();
        assert!(voters.iter().any(|voter| voter["key"] == "3"), "{tagged}");
        assert_eq!(tagged["published"], "2026-02-01T08:30:00Z");
        let predicted = client.standings("letter").await;
        let both = [("cars::engines", "predicted"), ("home::repair", "predicted")];
        assert!(pairs(both).iter().all(|label| predicted.contains(label)), "{predicted:?}");

        let click = json!({ "reject": ["home::repair"] });
        let corrected = client.ok("PATCH", "/documents/letter/labels", click).await;
        assert_eq!(client.decided(&corrected).await, "committed");
        let standings = client.standings("letter").await;
        let decided = [("cars::engines", "undecided"), ("home::repair", "rejected")];
        assert!(pairs(decided).iter().all(|label| standings.contains(label)), "{standings:?}");
        assert!(standings.iter().all(|(_, standing)| standing != "person"), "{standings:?}");

        let click = json!({ "add": ["letters"] });
        let corrected = client.ok("PATCH", "/documents/letter/labels", click).await;
        assert_eq!(client.decided(&corrected).await, "committed");
        let standings = client.standings("letter").await;
        let more = [decided[0], decided[1], ("letters", "person")];
        assert!(pairs(more).iter().all(|label| standings.contains(label)), "{standings:?}");
    });
}

#[test]
fn a_correction_of_an_uncommitted_article_is_a_conflict_and_publishes_nothing() {
    run(async {
        let folder = TempDir::new().unwrap();
        let client = Client::open(folder.path(), WriterOptions::default(), NEVER);
        let accepted = client.ok("POST", "/documents", json!([engine_article("letter")])).await;
        let click = json!({ "add": ["letters"] });
        let (status, headers, told) =
            client.send("PATCH", "/documents/letter/labels", click.clone()).await;
        assert_eq!(status, StatusCode::CONFLICT);
        assert!(headers.contains_key(RETRY_AFTER));
        assert!(told["error"].as_str().unwrap().contains("wait for the next commit"), "{told}");
        let ticket = format!("/tickets/{}", accepted["documents"][0]["ticket"]);
        assert_eq!(client.get(&ticket).await["state"], "pending");
        let (status, _) = client.refused("PATCH", "/documents/nobody/labels", click).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
    });
}

#[test]
fn a_full_queue_says_when_to_come_back_and_takes_nothing_out_of_order() {
    run(async {
        let folder = TempDir::new().unwrap();
        let tiny = |mut options: WriterOptions| {
            options.pending_operations = NonZeroUsize::MIN;
            options
        };
        let client = Client::open(folder.path(), tiny(WriterOptions::default()), OFTEN);
        // Each takes far longer to tag than to hand over.
        let body = "engine oil and a filter ".repeat(2_000);
        let article = |id: usize| {
            json!({ "id": format!("{id}"), "title": "", "body": body,
                "published": "2026-02-01T00:00:00Z" })
        };
        let articles: Vec<Value> = (0..20).map(article).collect();
        let (status, headers, told) = client.send("POST", "/documents", json!(articles)).await;
        assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{told}");
        assert_eq!(headers[RETRY_AFTER], "1");
        let outcomes = told["documents"].as_array().unwrap();
        let n_accepted = outcomes.iter().take_while(|told| told["ticket"].is_u64()).count();
        assert!(n_accepted > 0, "{told}");
        assert!(outcomes[n_accepted..].iter().all(|told| told["status"] == 429), "{told}");

        // There is room again, one after the other.
        let begin = Instant::now();
        for article in &articles[n_accepted..] {
            while client.send("POST", "/documents", json!([article])).await.0
                != StatusCode::ACCEPTED
            {
                assert!(begin.elapsed() < PATIENCE, "there is no room");
                tokio::time::sleep(OFTEN).await;
            }
        }
        let report = client.archive.close(PATIENCE).unwrap();
        assert!(report.uncommitted.is_empty(), "{report:?}");
        client.archive.searcher.reload().unwrap();
        assert_eq!(client.archive.searcher.n_documents(), 20);
    });
}

#[test]
fn each_article_has_its_own_error_and_each_request_says_what_is_wrong() {
    run(async {
        let folder = TempDir::new().unwrap();
        let client = Client::open(folder.path(), WriterOptions::default(), OFTEN);
        let mut undated = engine_article("undated");
        undated["published"] = json!("yesterday");
        let mut empty = engine_article("empty");
        (empty["title"], empty["body"]) = (json!(""), json!(""));
        let articles = json!([{ "id": "bare" }, undated, engine_article("good"), empty]);
        let told = client.ok("POST", "/documents", articles).await;
        let outcomes = told["documents"].as_array().unwrap();
        assert_eq!((&outcomes[0]["status"], &outcomes[1]["status"]), (&json!(400), &json!(400)));
        assert!(outcomes[2]["ticket"].is_u64(), "{told}");
        assert_eq!(client.decided(&told).await, "failed", "the empty one has nothing to tag");

        for (method, path, expected) in [
            ("GET", "/documents/nobody", StatusCode::NOT_FOUND),
            ("GET", "/search?q=(", StatusCode::BAD_REQUEST),
            ("GET", "/search?cursor=x", StatusCode::BAD_REQUEST),
            ("GET", "/search?sort=body", StatusCode::BAD_REQUEST),
            ("GET", "/search?tags=a", StatusCode::BAD_REQUEST),
            ("GET", "/search?limit=1000", StatusCode::BAD_REQUEST),
            ("POST", "/documents", StatusCode::UNPROCESSABLE_ENTITY),
            ("PATCH", "/documents/1/labels", StatusCode::UNPROCESSABLE_ENTITY),
        ] {
            let (status, _) = client.refused(method, path, json!({ "unknown": 1 })).await;
            assert_eq!(status, expected, "{method} {path}");
        }
    });
}

#[test]
fn searches_filter_count_sort_and_turn_pages() {
    run(async {
        let folder = TempDir::new().unwrap();
        let client = Client::open(folder.path(), WriterOptions::default(), OFTEN);
        client.add_labeled().await;

        let found = client.get("/search?q=oil&facet=/&sort=published:desc&limit=2").await;
        assert_eq!(found["total"], 3);
        let keys = |found: &Value| -> Vec<String> {
            let documents = found["documents"].as_array().unwrap().iter();
            documents.map(|document| document["key"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(keys(&found), ["3", "2"]);
        let cars = json!({ "tag": "/cars", "count": 3 });
        assert!(found["facets"][0]["counts"].as_array().unwrap().contains(&cars), "{found}");
        assert_eq!(found["documents"][0]["snippets"][0]["field"], "body");
        let next = found["next"].as_str().unwrap();
        // The cursor goes on in its commit, whatever comes meanwhile.
        client.add(json!([engine_article("letter")])).await;
        let next = format!("/search?q=oil&facet=/&sort=published:desc&limit=2&cursor={next}");
        assert_eq!(keys(&client.get(&next).await), ["1"]);

        let any = client.get("/search?any=food::baking&any=cars::engines&not=/home/repair").await;
        assert_eq!(any["total"], 3);
        let deleted = client.ok("DELETE", "/documents/4", Value::Null).await;
        assert_eq!(client.decided(&deleted).await, "committed");
        assert_eq!(client.get("/search?tag=/food/baking").await["total"], 2);
    });
}

#[test]
fn it_listens_until_it_is_stopped_and_everything_is_there_afterwards() {
    run(async {
        let folder = TempDir::new().unwrap();
        // All of it is committed by closing.
        let client = Client::open(folder.path(), WriterOptions::default(), NEVER);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(serve(listener, client.archive.clone(), stopped));
        let articles = json!([engine_article("a"), engine_article("b")]);
        client.ok("POST", "/documents", articles).await;

        let ask = move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).unwrap();
            answer
        };
        assert_eq!(&tokio::task::spawn_blocking(ask).await.unwrap(), b"HTTP/1.1 200");

        let begin = Instant::now();
        stop.send(()).unwrap();
        server.await.unwrap().unwrap();
        assert!(begin.elapsed() < PATIENCE);
        assert_eq!(client.send("GET", "/health", Value::Null).await.0.as_u16(), 503);
        let late = client.send("POST", "/documents", json!([engine_article("c")])).await;
        assert_eq!(late.0.as_u16(), 503, "{}", late.2);

        // The index is open once in a process: until the committing thread has let go of it too.
        drop(client);
        let client = Client::reopen(folder.path()).await;
        assert_eq!(client.get("/health").await["documents"], 2);
        assert_eq!(client.get("/documents/b").await["id"], "b");
    });
}
