//! Errors as answers: a status by the error's variant, and JSON that says what to do.

use std::sync::mpsc::TrySendError;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tantivy_autotag::{Error, with_causes};

/// The time in seconds after which a client may try again.
const RETRY_SECONDS: &str = "1";

#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
}

impl Problem {
    pub(crate) fn wrong(message: String) -> Self {
        Problem { status: StatusCode::BAD_REQUEST, message }
    }

    pub(crate) fn full() -> Self {
        let message = "too much is in flight: send this again a second later".to_owned();
        Problem { status: StatusCode::TOO_MANY_REQUESTS, message }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        // The library's messages say what to do; their causes say why.
        Problem { status: status(&error), message: with_causes(&error) }
    }
}

fn status(error: &Error) -> StatusCode {
    match error {
        // The commit that it waits for comes by itself.
        Error::NotCommitted { .. } => StatusCode::CONFLICT,
        Error::NoSuchDocument { .. } => StatusCode::NOT_FOUND,
        Error::CursorOutdated => StatusCode::GONE,
        Error::KeyLength { .. }
        | Error::Label { .. }
        | Error::Query { .. }
        | Error::QueryTooLong { .. }
        | Error::QueryTooDeep { .. }
        | Error::RequestTooLarge { .. }
        | Error::SortField { .. }
        | Error::TagPath { .. }
        | Error::TagTooLong { .. }
        | Error::CursorDamaged
        | Error::CursorOfAnotherRequest => StatusCode::BAD_REQUEST,
        Error::Stopped { .. } | Error::Closed => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl<T> From<TrySendError<T>> for Problem {
    fn from(error: TrySendError<T>) -> Self {
        match error {
            TrySendError::Full(_) => Problem::full(),
            TrySendError::Disconnected(_) => Error::Closed.into(),
        }
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        Problem { status: rejection.status(), message: rejection.body_text() }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        answer(self.status, json!({ "error": self.message }))
    }
}

/// Returns an answer; one that says "later" says when.
pub(crate) fn answer(status: StatusCode, body: serde_json::Value) -> Response {
    let retry = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::CONFLICT);
    let retry = retry.then_some([(RETRY_AFTER, RETRY_SECONDS)]);
    match retry {
        Some(headers) => (status, headers, Json(body)).into_response(),
        None => (status, Json(body)).into_response(),
    }
}
