//! Jobs over an index's documents: progress, interruption, the report.

use std::cell::{Cell, OnceCell};
use std::collections::BTreeMap;

use anyhow::bail;
use autotag_onnx::OnnxEncoder;
use tantivy_autotag::{JobProgress, Result, RetagReport, TaggingWriter};

use crate::args::Common;
use crate::output;
use crate::progress::Progress;
use crate::signals::Stop;

/// A job's progress bar.
pub(super) struct JobBar {
    label: &'static str,
    quiet: bool,
    bar: OnceCell<Progress>,
    shown: Cell<usize>,
}

impl JobBar {
    pub(super) fn begin(label: &'static str, common: &Common) -> Self {
        JobBar { label, quiet: common.quiet, bar: OnceCell::new(), shown: Cell::default() }
    }

    pub(super) fn show(&self, at: JobProgress) {
        let total = Some(at.total as u64);
        let bar = self.bar.get_or_init(|| Progress::begin(self.label, total, self.quiet.into()));
        bar.add((at.done - self.shown.replace(at.done)) as u64);
    }
}

/// Works on a job until it is done or the program is asked to end, which is an error that says how
/// to go on.
pub(super) fn run(
    writer: &TaggingWriter<OnnxEncoder>,
    stop: &Stop,
    common: &Common,
    work: impl FnOnce(&mut dyn FnMut(JobProgress)) -> Result<RetagReport>,
) -> anyhow::Result<RetagReport> {
    let progress = JobBar::begin("tag", common);
    let mut reached = JobProgress::default();
    let retagged = work(&mut |at| {
        reached = at;
        progress.show(at);
        if stop.is_asked() {
            writer.interrupt_job();
        }
    })?;
    drop(progress);
    if writer.unfinished_job().is_some() {
        let JobProgress { done, total, .. } = reached;
        bail!(
            "stopped by a signal after {done} of {total} documents, which are committed: \
             the same command goes on, or `autotag retag --resume`"
        );
    }
    Ok(retagged)
}

/// Finishes the job that was begun and interrupted, where there is one.
pub(super) fn finish_earlier(
    writer: &TaggingWriter<OnnxEncoder>,
    stop: &Stop,
    common: &Common,
) -> anyhow::Result<Option<RetagReport>> {
    let Some(job) = writer.unfinished_job() else { return Ok(None) };
    tracing::warn!("finishing what was interrupted before: {job}");
    run(writer, stop, common, |progress| writer.resume(progress)).map(Some)
}

/// The labels that most documents gained or lost, so many of them.
const LISTED: usize = 20;

/// Writes what tagging again changed for people.
pub(super) fn retagged_text(retagged: &RetagReport) -> String {
    let RetagReport { documents, changed, gained, lost, .. } = retagged;
    let mut text = format!("{documents} documents looked at, {changed} have other tags now\n");
    let mut changes: BTreeMap<&str, [u64; 2]> = BTreeMap::new();
    for (column, counts) in [gained, lost].into_iter().enumerate() {
        for (label, count) in counts {
            changes.entry(label).or_default()[column] = *count;
        }
    }
    let mut changes: Vec<_> = changes.into_iter().collect();
    changes.sort_by_key(|(_, [gained, lost])| std::cmp::Reverse(gained + lost));
    if changes.is_empty() {
        return text;
    }
    let mut table = output::table(&["label", "gained by", "lost by"], 1);
    for (label, [gained, lost]) in changes.iter().take(LISTED) {
        table.add_row([*label, &gained.to_string(), &lost.to_string()]);
    }
    text += &format!("\n{table}\n");
    if changes.len() > LISTED {
        text += &format!("and {} labels more\n", changes.len() - LISTED);
    }
    text
}
