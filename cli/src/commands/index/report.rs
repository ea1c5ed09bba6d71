//! The output of `autotag index`.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use tantivy_autotag::{CommitSummary, WriterTimes, with_causes};

use crate::output::{Report, cut, inline, shorten, table};

/// The outcome of one file.
#[derive(Debug, Serialize)]
pub(super) struct FileReport {
    file: String,
    documents: u64,
    labeled: u64,
    tagged: u64,
    failed: u64,
    /// The first documents that failed.
    failures: Vec<Failure>,
    seconds: f64,
    documents_per_second: f64,
    #[serde(skip)]
    started: Instant,
}

/// A document that could not be read or tagged.
#[derive(Debug, Serialize)]
struct Failure {
    /// Its key, where that could be read.
    id: Option<String>,
    error: String,
}

/// So many failures of a file are listed; more are only counted.
const MAX_LISTED: usize = 1000;

/// So many characters of a failure's key and error; a key that is refused may have any number.
const MAX_LENGTH: usize = 4000;

impl FileReport {
    pub(super) fn begin(path: &Path) -> Self {
        FileReport {
            file: path.display().to_string(),
            documents: 0,
            labeled: 0,
            tagged: 0,
            failed: 0,
            failures: Vec::new(),
            seconds: 0.0,
            documents_per_second: 0.0,
            started: Instant::now(),
        }
    }

    pub(super) fn add(&mut self, summary: &CommitSummary) {
        self.labeled += summary.labeled;
        self.tagged += summary.tagged;
        self.failed += summary.failed;
        for failure in &summary.failures {
            self.list(Some(&failure.key), &with_causes(&failure.cause));
        }
    }

    /// Counts a document that was not taken.
    pub(super) fn refuse(&mut self, key: Option<&str>, error: &anyhow::Error) {
        self.failed += 1;
        self.list(key, &format!("{error:#}"));
    }

    fn list(&mut self, key: Option<&str>, error: &str) {
        if self.failures.len() < MAX_LISTED {
            let short = |text: &str| cut(text, MAX_LENGTH).into_owned();
            let error = short(error);
            self.failures.push(Failure { id: key.map(short), error });
        }
    }

    pub(super) fn end(mut self) -> Self {
        let elapsed = self.started.elapsed();
        self.documents = self.labeled + self.tagged + self.failed;
        self.seconds = elapsed.as_secs_f64();
        self.documents_per_second = per_second(self.documents, elapsed);
        self
    }

    /// Names the failed documents for people; why they failed was told when it happened.
    fn failures_text(&self) -> String {
        let keys = self.failures.iter().filter_map(|failure| failure.id.as_deref());
        let keys: Vec<String> = keys.take(20).map(|key| shorten(key, 60)).collect();
        if keys.is_empty() {
            return String::new();
        }
        let more = if self.failed > keys.len() as u64 { ", and others" } else { "" };
        let (file, keys) = (inline(&self.file), keys.join(", "));
        format!("\nfailed in {file}: {keys}{more}\n")
    }

    fn cells(&self, name: &str) -> Vec<String> {
        let counts = [self.documents, self.labeled, self.tagged, self.failed];
        let mut cells = vec![name.to_owned()];
        cells.extend(counts.map(|count| count.to_string()));
        cells.push(format!("{:.1}", self.seconds));
        cells.push(format!("{:.0}", self.documents_per_second));
        cells
    }
}

/// The outcome of all files.
#[derive(Debug, Serialize)]
pub(super) struct IndexReport {
    #[serde(flatten)]
    total: Total,
    /// The time of each stage, in seconds, summed over the threads.
    times: Times,
    /// The most memory that the process had, in bytes, where the system tells.
    peak_memory_bytes: Option<u64>,
    files: Vec<FileReport>,
}

#[derive(Debug, Serialize)]
struct Total {
    documents: u64,
    labeled: u64,
    tagged: u64,
    failed: u64,
    seconds: f64,
    documents_per_second: f64,
}

#[derive(Debug, Serialize)]
struct Times {
    tokenize: f64,
    encode: f64,
    neighbors: f64,
    tantivy: f64,
    datastore: f64,
}

impl IndexReport {
    pub(super) fn new(files: Vec<FileReport>, elapsed: Duration, times: WriterTimes) -> Self {
        let sum = |count: fn(&FileReport) -> u64| files.iter().map(count).sum();
        let documents = sum(|file| file.documents);
        IndexReport {
            total: Total {
                documents,
                labeled: sum(|file| file.labeled),
                tagged: sum(|file| file.tagged),
                failed: sum(|file| file.failed),
                seconds: elapsed.as_secs_f64(),
                documents_per_second: per_second(documents, elapsed),
            },
            times: Times {
                tokenize: times.tokenize.as_secs_f64(),
                encode: times.encode.as_secs_f64(),
                neighbors: times.neighbors.as_secs_f64(),
                tantivy: times.tantivy.as_secs_f64(),
                datastore: times.datastore.as_secs_f64(),
            },
            peak_memory_bytes: peak_memory(),
            files,
        }
    }
}

impl Report for IndexReport {
    fn to_text(&self) -> String {
        let header = ["file", "documents", "labeled", "tagged", "failed", "seconds", "docs/s"];
        let mut counts = table(&header, 1);
        for file in &self.files {
            counts.add_row(file.cells(&file.file));
        }
        if self.files.len() > 1 {
            let Total { documents, labeled, tagged, failed, .. } = self.total;
            let mut cells = vec!["all".to_owned()];
            cells.extend([documents, labeled, tagged, failed].map(|count| count.to_string()));
            cells.push(format!("{:.1}", self.total.seconds));
            cells.push(format!("{:.0}", self.total.documents_per_second));
            counts.add_row(cells);
        }
        let mut text = format!("{counts}\n");
        for file in &self.files {
            text += &file.failures_text();
        }
        let Times { tokenize, encode, neighbors, tantivy, datastore } = &self.times;
        text += &format!(
            "\nseconds of work over all threads: tokenize {tokenize:.1}, \
             encode {encode:.1}, neighbors {neighbors:.1}, Tantivy {tantivy:.1}, \
             datastore {datastore:.1}\n"
        );
        if let Some(bytes) = self.peak_memory_bytes {
            text += &format!("peak memory: {} MB\n", bytes / 1_000_000);
        }
        text
    }
}

fn per_second(n: u64, elapsed: Duration) -> f64 {
    n as f64 / elapsed.as_secs_f64().max(1e-9)
}

/// Returns the process's largest resident size so far; Linux tells it.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}
