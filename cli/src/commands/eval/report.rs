//! The output of `autotag eval`.

use std::time::Duration;

use autotag::metrics::Evaluation;
use autotag::mix::N_NEIGHBORS;
use autotag::tune::Method;
use autotag::{Interpolation, LearnedMix, Proportion, Selection, Threshold};
use serde::Serialize;

use crate::commands::predict::Predicted;
use crate::output::{Report, table};

/// The figures of all methods.
#[derive(Debug, Serialize)]
pub(super) struct EvalReport {
    /// The number of documents.
    pub(super) documents: usize,
    pub(super) rows: Vec<Row>,
    /// Both sides with the bundle's own settings, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bundle: Option<Row>,
}

/// The figures of one method with one setting.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    method: &'static str,
    /// k, tau, lambda and the threshold were tuned.
    tuned: bool,
    /// k and tau are null for the model, which has no neighbors, and tau for the learned mix, which has
    /// several.
    k: Option<usize>,
    tau: Option<f64>,
    /// A number, or "adaptive".
    /// Null for the learned mix, which has none.
    lambda: Option<Proportion>,
    threshold: f64,
    /// The number of labels with a threshold of their own, where some have.
    #[serde(skip_serializing_if = "Option::is_none")]
    label_thresholds: Option<usize>,
    micro_f1: f64,
    macro_f1: f64,
    hamming_loss: f64,
    p_at_1: f64,
    p_at_3: f64,
    p_at_5: f64,
    ms_per_document: f64,
}

impl Row {
    pub(super) fn new(
        method: Method,
        interpolation: &Interpolation,
        selection: &Selection,
        measures: &Evaluation,
        predicted: &Predicted,
    ) -> Self {
        let has_neighbors = method != Method::Model;
        let time =
            if has_neighbors { predicted.encode + predicted.nearest } else { predicted.encode };
        let (name, lambda) = match method {
            Method::Model => ("model", Proportion::MODEL),
            Method::Knn => ("knn", Proportion::NEIGHBORS),
            Method::Interpolated => ("interpolated", interpolation.proportion),
        };
        Row {
            k: has_neighbors.then_some(interpolation.k.get()),
            tau: has_neighbors.then(|| decimal(interpolation.temperature.get())),
            lambda: Some(lambda),
            label_thresholds: Some(selection.per_label.len()).filter(|&n| n > 0),
            ..Row::of(name, selection.threshold, measures, time, predicted)
        }
    }

    /// Returns the figures of a learned mix.
    pub(super) fn mixed(mix: &LearnedMix, measures: &Evaluation, predicted: &Predicted) -> Self {
        let time = predicted.encode + predicted.nearest;
        let k = Some(N_NEIGHBORS.get());
        Row { k, ..Row::of("learned", mix.parameters().threshold, measures, time, predicted) }
    }

    fn of(
        method: &'static str,
        threshold: Threshold,
        measures: &Evaluation,
        time: Duration,
        predicted: &Predicted,
    ) -> Self {
        Row {
            method,
            tuned: false,
            k: None,
            tau: None,
            lambda: None,
            threshold: decimal(threshold.get()),
            label_thresholds: None,
            micro_f1: measures.micro_f1,
            macro_f1: measures.macro_f1,
            hamming_loss: measures.hamming_loss,
            p_at_1: measures.p_at_1,
            p_at_3: measures.p_at_3,
            p_at_5: measures.p_at_5,
            ms_per_document: 1e3 * time.as_secs_f64() / predicted.predictions.len().max(1) as f64,
        }
    }

    /// Says that the settings were tuned.
    pub(super) fn tuned(self) -> Self {
        Row { tuned: true, ..self }
    }

    fn own_thresholds(&self) -> String {
        let n = self.label_thresholds;
        n.map_or(String::new(), |n| format!(", {n} labels with thresholds of their own"))
    }

    fn cells(&self) -> Vec<String> {
        let figure = |value: f64| format!("{value:.3}");
        vec![
            self.method.to_owned(),
            self.k.map_or("-".to_owned(), |k| k.to_string()),
            self.tau.map_or("-".to_owned(), |tau| tau.to_string()),
            self.lambda.map_or("-".to_owned(), |lambda| lambda.to_string()),
            self.threshold.to_string(),
            figure(self.micro_f1),
            figure(self.macro_f1),
            format!("{:.4}", self.hamming_loss),
            figure(self.p_at_1),
            figure(self.p_at_3),
            figure(self.p_at_5),
            figure(self.ms_per_document),
        ]
    }
}

const HEADER: [&str; 12] = [
    "method", "k", "tau", "lambda", "thresh", "microF1", "macroF1", "Hamming", "P@1", "P@3", "P@5",
    "ms/doc",
];

impl Report for EvalReport {
    fn to_text(&self) -> String {
        let rows = |tuned| self.rows.iter().filter(move |row| row.tuned == tuned);
        let mut text = format!("{} documents\n\nas set\n{}\n", self.documents, block(rows(false)));
        if self.rows.iter().any(|row| row.tuned) {
            text += &format!("\ntuned\n{}\n", block(rows(true)));
        }
        if let Some(row) = &self.bundle {
            text += &format!("\nbundle{}\n{}\n", row.own_thresholds(), block([row]));
        }
        text
    }
}

fn block<'a>(rows: impl IntoIterator<Item = &'a Row>) -> String {
    let mut table = table(&HEADER, 1);
    for row in rows {
        table.add_row(row.cells());
    }
    table.to_string()
}

/// Returns the number that prints as the setting does: 0.1 and not 0.10000000149.
fn decimal(value: f32) -> f64 {
    value.to_string().parse().expect("a number prints as a number")
}
