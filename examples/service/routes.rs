//! The requests.

use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, patch, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use tantivy::schema::Value as _;
use tantivy::time::format_description::well_known::Rfc3339;
use tantivy_autotag::{
    Correction, Counting, Error, FoundDocument, Health, SearchRequest, SnippetOptions, SortBy,
    TagFilter, Ticket, TicketStatus, parse_tag,
};

use super::archive::{Archive, Article};
use super::problem::{Problem, answer};

/// The most documents on a page.
const MAX_PAGE: usize = 100;

type Answer = Result<Response, Problem>;

pub(crate) fn routes(archive: Arc<Archive>) -> Router {
    Router::new()
        .route("/documents", post(add))
        .route("/documents/{id}", get(document).delete(delete))
        .route("/documents/{id}/labels", patch(correct))
        .route("/tickets/{ticket}", get(ticket))
        .route("/search", get(search))
        .route("/health", get(health))
        .with_state(archive)
}

/// Adds articles: a ticket or an error for each, in their order.
///
/// Once one finds no room, so do those behind it, lest an older version overtake a newer one.
async fn add(
    State(archive): State<Arc<Archive>>,
    articles: Result<Json<Vec<Value>>, JsonRejection>,
) -> Answer {
    let Json(articles) = articles?;
    let (mut outcomes, mut n_accepted) = (Vec::with_capacity(articles.len()), 0);
    let mut status = StatusCode::ACCEPTED;
    for article in articles {
        let id = article["id"].clone();
        let submitted = match status {
            StatusCode::TOO_MANY_REQUESTS => Err(Problem::full()),
            _ => Article::deserialize(article)
                .map_err(|error| Problem::wrong(error.to_string()))
                .and_then(|article| archive.add(article)),
        };
        match submitted {
            Ok(ticket) => {
                n_accepted += 1;
                outcomes.push(json!({ "id": id, "ticket": ticket }));
            }
            Err(Problem { status: failed, message }) => {
                if failed == StatusCode::TOO_MANY_REQUESTS || n_accepted == 0 {
                    status = failed;
                }
                outcomes.push(json!({ "id": id, "status": failed.as_u16(), "error": message }));
            }
        }
    }
    if n_accepted > 0 && status != StatusCode::TOO_MANY_REQUESTS {
        status = StatusCode::ACCEPTED;
    }
    Ok(answer(status, json!({ "documents": outcomes })))
}

/// Records a person's decisions, such as `{"add": ["sports::chess"]}`, which leaves all other labels as they
/// are.
async fn correct(
    State(archive): State<Arc<Archive>>,
    Path(id): Path<String>,
    correction: Result<Json<Correction>, JsonRejection>,
) -> Answer {
    let Json(correction) = correction?;
    let ticket = archive.correct(id, correction).await?;
    Ok(answer(StatusCode::ACCEPTED, json!({ "ticket": ticket })))
}

async fn delete(State(archive): State<Arc<Archive>>, Path(id): Path<String>) -> Answer {
    let ticket = archive.writer.try_delete(&id)?.ok_or_else(Problem::full)?;
    Ok(answer(StatusCode::ACCEPTED, json!({ "ticket": ticket })))
}

/// Tells what became of an operation since the service was started; a committed one can be searched.
async fn ticket(State(archive): State<Arc<Archive>>, Path(ticket): Path<Ticket>) -> Answer {
    blocking(move || {
        let body = match archive.writer.status(ticket)? {
            TicketStatus::Pending => json!({ "state": "pending" }),
            TicketStatus::Committed => {
                // The committing thread may not have done so yet.
                archive.searcher.reload()?;
                json!({ "state": "committed" })
            }
            TicketStatus::Failed(cause) => json!({ "state": "failed", "error": cause.to_string() }),
            _ => json!({ "state": "lost" }),
        };
        Ok(answer(StatusCode::OK, body))
    })
    .await
}

/// Returns an article: its labels with their standing, and the evidence with the neighbors.
async fn document(State(archive): State<Arc<Archive>>, Path(id): Path<String>) -> Answer {
    blocking(move || {
        let found = archive.searcher.document(&id)?;
        let found = found.ok_or(Error::NoSuchDocument { key: id })?;
        Ok(answer(StatusCode::OK, shown(&archive, &found)))
    })
    .await
}

fn shown(archive: &Archive, found: &FoundDocument) -> Value {
    let evidence = found.evidence.clone().unwrap_or_default();
    let scored = evidence.tags.iter().chain(&evidence.suggestions);
    let labels = scored.map(|tag| (&tag.label, Some(tag.score)));
    let labels = labels.chain(evidence.rejected.iter().map(|label| (label, None)));
    let label = |(label, score): (&String, Option<f32>)| json!({ "label": label, "standing": evidence.standing(label), "score": score });
    let labels: Vec<Value> = labels.map(label).collect();
    let published = found.document.get_first(archive.published);
    let published = published.and_then(|date| date.as_datetime());
    let published = published.and_then(|date| date.into_utc().format(&Rfc3339).ok());
    json!({
        "id": found.key, "texts": found.texts, "published": published,
        "labels": labels, "evidence": evidence,
    })
}

async fn search(
    State(archive): State<Arc<Archive>>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Answer {
    let request = search_request(parameters)?;
    blocking(move || {
        let found = archive.searcher.search(&request)?;
        Ok(answer(StatusCode::OK, json!(found)))
    })
    .await
}

/// Reads a search: `q`, `tag` (all of them), `any` (one of them), `not`, `facet`, `sort`, `limit`
/// and `cursor`.
fn search_request(parameters: Vec<(String, String)>) -> Result<SearchRequest, Problem> {
    let mut request = SearchRequest::new().snippets(SnippetOptions::new());
    let (mut tags, mut any, mut facets) = (TagFilter::new(), vec![], vec![]);
    for (name, value) in parameters {
        match &*name {
            "q" => request.query = value,
            "tag" => tags = tags.all([parse_tag(&value)?]),
            "any" => any.push(parse_tag(&value)?),
            "not" => tags = tags.none([parse_tag(&value)?]),
            "facet" => facets.push(parse_tag(&value)?),
            "sort" => request.sort = SortBy::from(value),
            "cursor" => request.cursor = Some(value),
            "limit" => {
                let limit = value.parse::<usize>().ok().filter(|limit| *limit <= MAX_PAGE);
                let wrong = || Problem::wrong(format!("give a limit of at most {MAX_PAGE}"));
                request.limit = limit.ok_or_else(wrong)?;
            }
            _ => {
                let known = "q, tag, any, not, facet, sort, limit and cursor";
                return Err(Problem::wrong(format!("{name:?} is not one of {known}")));
            }
        }
    }
    Ok(request.tags(tags.any(any)).facets(facets).counting(Counting::Disjunctive))
}

/// Tells whether the service can go on, for a supervisor that starts it again where it cannot.
async fn health(State(archive): State<Arc<Archive>>) -> Response {
    let (status, state) = match archive.writer.health() {
        Health::Running => (StatusCode::OK, "running".to_owned()),
        Health::Stopped { reason } => (StatusCode::SERVICE_UNAVAILABLE, reason),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "closed".to_owned()),
    };
    let body = json!({
        "state": state,
        "documents": archive.searcher.n_documents(),
        "in_flight": archive.writer.stats().queue_depth,
        "committed": archive.writer.committed(),
    });
    answer(status, body)
}

/// Runs what reads the disk in the runtime's pool for blocking calls.
async fn blocking(work: impl FnOnce() -> Answer + Send + 'static) -> Answer {
    match tokio::task::spawn_blocking(work).await {
        Ok(answer) => answer,
        Err(error) => Err(Problem {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            message: format!("the request was not finished: {error}; report this as a bug"),
        }),
    }
}
