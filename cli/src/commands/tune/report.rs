//! The output of `autotag tune`.

use std::path::PathBuf;

use autotag::metrics::Evaluation;
use autotag::{Interpolation, Selection};
use autotag_engine::Settings;
use autotag_onnx::ModelBundle;
use serde::Serialize;

use super::record::{LabelRecord, TuneRecord, name};
use crate::commands::model;
use crate::output::{self, Report, table};

/// The new bundle, and what its settings are worth.
#[derive(Debug, Serialize)]
pub(super) struct TuneReport {
    bundle: PathBuf,
    fingerprint: String,
    encoder_fingerprint: String,
    interpolation: Interpolation,
    /// The mix is a learned one, in the place of the interpolation.
    learned: bool,
    selection: Selection,
    #[serde(flatten)]
    record: TuneRecord,
    #[serde(skip)]
    cells: [Vec<String>; 2],
}

impl TuneReport {
    pub(super) fn new(
        tuned: &ModelBundle,
        before: &Settings,
        after: &Settings,
        record: TuneRecord,
    ) -> Self {
        TuneReport {
            bundle: tuned.path().to_path_buf(),
            fingerprint: tuned.fingerprint().to_string(),
            encoder_fingerprint: tuned.encoder_fingerprint().to_string(),
            interpolation: after.interpolation,
            learned: after.mix.is_some(),
            selection: after.selection.clone(),
            cells: [cells("before", before, &record.before), cells("tuned", after, &record.after)],
            record,
        }
    }
}

const HEADER: [&str; 11] = [
    "settings", "k", "tau", "lambda", "thresh", "own", "microF1", "macroF1", "Hamming", "P@1",
    "P@5",
];

fn cells(name: &str, settings: &Settings, measures: &Evaluation) -> Vec<String> {
    let figure = |value: f64| format!("{value:.4}");
    let [k, tau, lambda] = model::votes(settings);
    vec![
        name.to_owned(),
        k,
        tau,
        lambda,
        settings.threshold().get().to_string(),
        settings.n_own_thresholds().to_string(),
        figure(measures.micro_f1),
        figure(measures.macro_f1),
        figure(measures.hamming_loss),
        figure(measures.p_at_1),
        figure(measures.p_at_5),
    ]
}

impl Report for TuneReport {
    fn to_text(&self) -> String {
        let TuneRecord { objective, documents, label_thresholds, .. } = &self.record;
        let mut table = table(&HEADER, 1);
        for cells in &self.cells {
            table.add_row(cells);
        }
        let (bundle, objective) = (output::path(&self.bundle), name(*objective));
        let mut text = format!(
            "{bundle}: tuned for {objective} on {documents} documents, which the figures are of\n\
             \n{table}\n"
        );
        if let Some(own) = label_thresholds {
            text += &format!("\n{}\n", compare(own, objective));
        }
        text
    }
}

/// Says what thresholds for each label are worth.
fn compare(own: &LabelRecord, objective: &str) -> String {
    let LabelRecord { used, smoothing, held_out, held_out_global } = own;
    let verdict = if *used { "which the bundle has" } else { "which the bundle does without" };
    format!(
        "thresholds for each label, {verdict}: {objective} {held_out:.4} on documents held out,\n\
         {held_out_global:.4} with one for all labels (smoothing {smoothing})"
    )
}
