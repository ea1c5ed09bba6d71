//! A thread that owns the writer, and the handle by which async handlers reach it.

use std::thread;
use std::time::Duration;

use autotag::Encoder;
use tantivy::TantivyDocument;
use tantivy_autotag::{
    CloseReport, Correction, Error, Result, TaggingWriter, Ticket, TicketStatus,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;

/// The requests that may wait for the thread; a handler that sends one more waits itself.
const MAX_WAITING: usize = 64;

/// The operations that may be uncommitted; a commit follows at once when there are more.
const MAX_UNCOMMITTED: usize = 10_000;

/// The time that the thread has to finish in the end.
const CLOSING: Duration = Duration::from_secs(10);

/// The answer to an operation, after the commit that covers it, or an error at once.
pub(crate) type Answer = Result<TicketStatus>;

enum Request {
    Add(Addition),
    Correct(String, Correction, oneshot::Sender<Answer>),
    Commit,
}

/// A document, its labels where a person gave some, and whoever waits for it.
struct Addition {
    document: TantivyDocument,
    labels: Option<Vec<String>>,
    answer: oneshot::Sender<Answer>,
}

/// Reaches the thread from any number of handlers. It ends when all of these are gone.
#[derive(Clone)]
pub(crate) struct Handle {
    requests: mpsc::Sender<Request>,
}

/// The end of the thread.
pub(crate) type Closed = oneshot::Receiver<Result<CloseReport>>;

/// Gives a writer a thread of its own, and has it commit at intervals.
///
/// Why a thread and not `spawn_blocking`? The thread lives as long as the service, and would take one
/// from the runtime's pool for all that time.
pub(crate) fn start<E: Encoder + 'static>(
    writer: TaggingWriter<E>,
    interval: Duration,
) -> std::io::Result<(Handle, Closed)> {
    let (requests, inbox) = mpsc::channel(MAX_WAITING);
    let (report, closed) = oneshot::channel();
    let indexer = Indexer { writer, waiting: vec![], held: vec![] };
    let thread = thread::Builder::new().name("indexer".to_owned());
    thread.spawn(move || {
        // Whoever started it may not ask how it ended.
        let _ = report.send(indexer.run(inbox));
    })?;
    tokio::spawn(commit_at_intervals(requests.downgrade(), interval));
    Ok((Handle { requests }, closed))
}

/// Asks for a commit at intervals, as long as there are handlers.
async fn commit_at_intervals(requests: mpsc::WeakSender<Request>, interval: Duration) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(requests) = requests.upgrade() else { return };
        if requests.send(Request::Commit).await.is_err() {
            return;
        }
    }
}

impl Handle {
    /// Adds a document; returns once it is durable, or why it is not.
    pub(crate) async fn add(
        &self,
        document: TantivyDocument,
        labels: Option<Vec<String>>,
    ) -> Answer {
        let (answer, answered) = oneshot::channel();
        self.send(Request::Add(Addition { document, labels, answer }), answered).await
    }

    /// Corrects a document; returns once that is durable, or why it is not.
    ///
    /// A document that no commit has shown yet cannot be corrected: that is `Error::NotCommitted`, which
    /// an HTTP service answers with 409.
    pub(crate) async fn correct(&self, key: &str, correction: Correction) -> Answer {
        let (answer, answered) = oneshot::channel();
        self.send(Request::Correct(key.to_owned(), correction, answer), answered).await
    }

    async fn send(&self, request: Request, answered: oneshot::Receiver<Answer>) -> Answer {
        self.requests.send(request).await.map_err(|_| Error::Closed)?;
        answered.await.unwrap_or(Err(Error::Closed))
    }
}

/// The thread's state.
struct Indexer<E: Encoder + 'static> {
    writer: TaggingWriter<E>,
    /// Those who wait for a commit.
    waiting: Vec<(Ticket, oneshot::Sender<Answer>)>,
    /// Documents that depend on an uncommitted correction, for after the next commit.
    held: Vec<Addition>,
}

impl<E: Encoder + 'static> Indexer<E> {
    /// Takes requests until all handlers are gone; the writer may block here, but no handler does.
    fn run(mut self, mut inbox: mpsc::Receiver<Request>) -> Result<CloseReport> {
        while let Some(request) = inbox.blocking_recv() {
            match request {
                Request::Add(addition) => self.add(addition),
                Request::Correct(key, correction, answer) => {
                    let submitted = self.writer.correct(&key, &correction);
                    self.wait(submitted, answer);
                }
                Request::Commit => self.commit()?,
            }
            if self.waiting.len() + self.held.len() >= MAX_UNCOMMITTED {
                self.commit()?;
            }
        }
        while !self.held.is_empty() {
            self.commit()?;
        }
        let report = self.writer.close_within(CLOSING)?;
        self.answer();
        Ok(report)
    }

    fn add(&mut self, Addition { document, labels, answer }: Addition) {
        let submitted = match &labels {
            Some(labels) => self.writer.add_labeled(document, labels),
            None => self.writer.add(document),
        };
        match submitted {
            Err(Error::NotCommitted { document: Some(document), .. }) => {
                self.held.push(Addition { document: *document, labels, answer });
            }
            submitted => self.wait(submitted, answer),
        }
    }

    fn wait(&mut self, submitted: Result<Ticket>, answer: oneshot::Sender<Answer>) {
        match submitted {
            Ok(ticket) => self.waiting.push((ticket, answer)),
            // A handler may be gone; the others are served all the same.
            Err(error) => drop(answer.send(Err(error))),
        }
    }

    fn commit(&mut self) -> Result<()> {
        self.writer.commit()?;
        self.answer();
        for addition in std::mem::take(&mut self.held) {
            self.add(addition);
        }
        Ok(())
    }

    /// Tells those who wait what became of their operations.
    fn answer(&mut self) {
        for (ticket, answer) in std::mem::take(&mut self.waiting) {
            let _ = answer.send(self.writer.status(ticket));
        }
    }
}
