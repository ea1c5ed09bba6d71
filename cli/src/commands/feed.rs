//! Reads ahead on a thread of its own, within bounds, and hands over what is there.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use autotag_documents::{Document, ReadError};

use crate::signals::Stop;

type Line = Result<Document, ReadError>;

/// The most lines and bytes that are read ahead; a line that is larger passes alone.
const MAX_LINES: usize = 1024;
const MAX_BYTES: usize = 32 << 20;

/// The interval at which waiting for a line checks for a signal.
const LOOK: Duration = Duration::from_millis(50);

/// Lines that are read ahead.
pub(super) struct Feed {
    lines: Receiver<Line>,
    budget: Arc<Budget>,
}

impl Feed {
    /// Begins to read; the thread ends with the lines, or when the feed is dropped.
    pub(super) fn start(lines: impl Iterator<Item = Line> + Send + 'static) -> Self {
        let (sender, receiver) = sync_channel(MAX_LINES);
        let budget = Arc::new(Budget::default());
        let spent = budget.clone();
        thread::spawn(move || read(lines, &sender, &spent));
        Feed { lines: receiver, budget }
    }

    /// Waits for a line; `None` at the end, and once the program is asked to end.
    pub(super) fn next(&self, stop: &Stop) -> Option<Line> {
        while !stop.is_asked() {
            match self.lines.recv_timeout(LOOK) {
                Ok(line) => {
                    self.budget.give_back(size(&line));
                    return Some(line);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
        None
    }

    /// Waits for a line and returns it with those that are there already, at most `n`; `None` at
    /// the end.
    pub(super) fn take(&self, n: usize) -> Option<Vec<Line>> {
        let mut lines = vec![self.lines.recv().ok()?];
        while lines.len() < n {
            match self.lines.try_recv() {
                Ok(line) => lines.push(line),
                Err(_) => break,
            }
        }
        self.budget.give_back(lines.iter().map(size).sum());
        Some(lines)
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        // The thread may be waiting for room; now its next line finds no receiver.
        self.budget.give_back(usize::MAX);
    }
}

fn read(lines: impl Iterator<Item = Line>, sender: &SyncSender<Line>, budget: &Budget) {
    for line in lines {
        budget.take(size(&line));
        if sender.send(line).is_err() {
            return;
        }
    }
}

fn size(line: &Line) -> usize {
    line.as_ref().map_or_else(ReadError::memory, Document::memory)
}

/// Bytes that wait.
#[derive(Default)]
struct Budget {
    used: Mutex<usize>,
    freed: Condvar,
}

impl Budget {
    /// Waits until there is room, or nothing waits.
    fn take(&self, n_bytes: usize) {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = |used: &mut usize| *used > 0 && used.saturating_add(n_bytes) > MAX_BYTES;
        let used = self.freed.wait_while(used, is_full);
        *used.unwrap_or_else(PoisonError::into_inner) += n_bytes;
    }

    fn give_back(&self, n_bytes: usize) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        *used = used.saturating_sub(n_bytes);
        self.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use autotag_documents::Problem;

    fn document(line: u64, n_bytes: usize) -> Line {
        let text = "x".repeat(n_bytes);
        Ok(Document { line, last_line: line, key: line.to_string(), text, labels: Vec::new() })
    }

    #[test]
    fn lines_arrive_in_order_and_in_batches() {
        let feed = Feed::start((0..5000).map(|line| document(line, 10)));
        let mut next = 0;
        while let Some(lines) = feed.take(100) {
            assert!((1..=100).contains(&lines.len()));
            for line in lines {
                assert_eq!(line.unwrap().line, next);
                next += 1;
            }
        }
        assert_eq!(next, 5000);
    }

    #[test]
    fn a_line_larger_than_the_budget_passes() {
        let feed = Feed::start((0..3).map(|line| document(line, MAX_BYTES + 1)));
        let mut n_lines = 0;
        while let Some(lines) = feed.take(10) {
            n_lines += lines.len();
        }
        assert_eq!(n_lines, 3);
    }

    /// Returns how many lines are read ahead while nobody takes one.
    fn n_ahead(line: impl Fn(u64) -> Line + Send + 'static) -> usize {
        let n_read = Arc::new(AtomicUsize::new(0));
        let count = n_read.clone();
        let feed = Feed::start((0..2000).map(move |number| {
            count.fetch_add(1, Ordering::Relaxed);
            line(number)
        }));
        let mut before = usize::MAX;
        while before != n_read.load(Ordering::Relaxed) {
            before = n_read.load(Ordering::Relaxed);
            thread::sleep(Duration::from_millis(100));
        }
        drop(feed);
        before
    }

    #[test]
    fn whatever_a_line_holds_counts() {
        const MEGABYTE: usize = 1 << 20;
        let empty = |line| Document {
            line,
            last_line: line,
            key: line.to_string(),
            text: String::new(),
            labels: Vec::new(),
        };
        let long = || "x".repeat(MEGABYTE);
        let most = MAX_BYTES / MEGABYTE + 1;
        assert!(n_ahead(move |line| Ok(Document { text: long(), ..empty(line) })) <= most);
        assert!(n_ahead(move |line| Ok(Document { key: long(), ..empty(line) })) <= most);
        assert!(n_ahead(move |line| Ok(Document { labels: vec![long()], ..empty(line) })) <= most);
        let many = vec![String::new(); MEGABYTE / 32];
        assert!(n_ahead(move |line| Ok(Document { labels: many.clone(), ..empty(line) })) <= most);
        let problem = move || Problem::KeyType { field: long() };
        assert!(n_ahead(move |line| Err(ReadError::at("d", line, None, problem()))) <= most);
        let key = move || Some("x".repeat(MEGABYTE));
        let blank = move |line| Err(ReadError::at("d", line, key(), Problem::Blank));
        assert!(n_ahead(blank) <= most);
        // And small ones are bounded by their number.
        assert!(n_ahead(move |line| Ok(empty(line))) <= MAX_LINES + 1);
    }

    #[test]
    fn a_pause_does_not_hold_back_what_is_there() {
        let (sender, lines) = sync_channel(0);
        let feed = Feed::start(lines.into_iter());
        sender.send(document(1, 1)).unwrap();
        assert_eq!(feed.take(10).unwrap().len(), 1);
        drop(sender);
        assert!(feed.take(10).is_none());
    }
}
