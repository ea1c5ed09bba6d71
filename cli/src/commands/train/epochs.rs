//! Shows how training goes on.

use autotag_train::Progress as Training;
use autotag_train::{EpochReport, StepLoss};
use indicatif::HumanDuration;

use crate::commands::encoding::Encoding;
use crate::progress::{Progress, Quiet};

/// A bar for the epoch under way, and a line for each that is done.
pub(in crate::commands) struct Epochs {
    bar: Option<Progress>,
    done: usize,
    encoding: Encoding,
    is_quiet: Quiet,
}

impl Epochs {
    pub(in crate::commands) fn begin(is_quiet: Quiet) -> Self {
        Epochs { bar: None, done: 0, encoding: Encoding::begin(is_quiet), is_quiet }
    }

    pub(in crate::commands) fn show(&mut self, progress: Training) {
        match progress {
            Training::Stage(stage) => {
                self.bar = None;
                tracing::info!(stage, "train");
            }
            Training::Batches { epoch, done, of, loss, at_most, .. } => {
                let bar = self.bar.get_or_insert_with(|| {
                    Progress::begin("train", Some(of as u64), self.is_quiet)
                });
                bar.tell(|| {
                    let StepLoss { bce, contrastive, .. } = loss;
                    let at_most = HumanDuration(at_most);
                    format!("epoch {epoch}: {bce:.2} + {contrastive:.2}, at most {at_most} left")
                });
                bar.add(done.saturating_sub(self.done) as u64);
                self.done = done;
            }
            Training::Encoded { done, of } => self.encoding.show(done, of),
            Training::Epoch(report) => {
                self.bar = None;
                self.done = 0;
                tell(&report);
            }
            _ => {}
        }
    }
}

fn tell(report: &EpochReport) {
    let EpochReport { epoch, bce, contrastive, norm, spread, texts_per_second, .. } = report;
    let EpochReport { model_f1, interpolated_f1, tuned_f1, best, .. } = report;
    let mark = if *best { ", the best so far" } else { "" };
    tracing::info!(
        "epoch {epoch}: losses {bce:.3} + {contrastive:.3}, norm {norm:.2}, spread {spread:.3}, \
         {texts_per_second:.0} docs/s; \
         dev micro-F1 model {model_f1:.4}, interpolated {interpolated_f1:.4}, \
         tuned {tuned_f1:.4}{mark}"
    );
}
