//! How do I build a service on this?
//!
//! `cargo run --example service -- FOLDER` keeps a news archive in a folder and answers HTTP on a port
//! of the loopback interface, until Ctrl-C.
//!
//! - `archive.rs`: the schema, opening or creating the index, the thread that commits at intervals, and
//!   closing within a time.
//! - `routes.rs`: the requests. Adding never waits: a full queue is 429. Corrections go through a bounded
//!   channel to the committing thread, searches to the runtime's pool for blocking calls.
//! - `problem.rs`: the errors, by their variants, as JSON that says what to do.
//!
//! No model is needed: documents are compared by their words. Another encoder is a
//! change of `archive.rs` alone.

#![allow(clippy::print_stdout, clippy::print_stderr)]

pub(crate) mod archive;
pub(crate) mod problem;
pub(crate) mod routes;

use std::future::{Future, IntoFuture};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tantivy_autotag::WriterOptions;
use tokio::net::TcpListener;
use tokio::{signal, sync::oneshot, task, time};

use archive::Archive;

/// The time between two commits.
const INTERVAL: Duration = Duration::from_millis(500);

/// The time that open connections have to end, and then the writer.
const CLOSING: Duration = Duration::from_secs(10);

fn main() -> Result<()> {
    let folder = std::env::args_os().nth(1).context("usage: service FOLDER")?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.enable_all().build()?.block_on(run(folder.into()))
}

async fn run(folder: PathBuf) -> Result<()> {
    let open = move || Archive::open(&folder, WriterOptions::default(), INTERVAL);
    let archive = Arc::new(task::spawn_blocking(open).await??);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    serve(listener, archive, signal::ctrl_c()).await
}

/// Answers requests until `stop` is ready, then closes the archive.
pub(crate) async fn serve(
    listener: TcpListener,
    archive: Arc<Archive>,
    stop: impl Future,
) -> Result<()> {
    let (stopping, stopped) = oneshot::channel::<()>();
    let server = axum::serve(listener, routes::routes(archive.clone()));
    let server = server.with_graceful_shutdown(async { drop(stopped.await) });
    let server = tokio::spawn(server.into_future());
    stop.await;
    drop(stopping);
    // A client that never ends its request does not hold the others' documents up.
    let _ = time::timeout(CLOSING, server).await;

    let report = task::spawn_blocking(move || archive.close(CLOSING)).await??;
    ensure!(report.uncommitted.is_empty(), "not committed: {:?}", report.uncommitted);
    Ok(())
}
