//! The record of a tuning in a bundle.

use std::fmt;

use autotag::metrics::Evaluation;
use autotag::tune::{LabelThresholds, Objective};
use autotag_onnx::BundleConfig;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The field of a bundle's training report that holds the record.
const FIELD: &str = "tuned";

/// The origin of a bundle's settings, and their figures on the documents that they were tuned on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::commands) struct TuneRecord {
    pub(super) objective: Objective,
    /// The number of documents.
    pub(super) documents: usize,
    /// With the settings that the bundle had before.
    pub(super) before: Evaluation,
    pub(super) after: Evaluation,
    /// The gain of a threshold for each label, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) label_thresholds: Option<LabelRecord>,
}

/// Thresholds for each label against one for all, by cross-validation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct LabelRecord {
    /// The bundle has them.
    pub(super) used: bool,
    pub(super) smoothing: f64,
    /// The objective on documents held out.
    pub(super) held_out: f64,
    /// The same with one threshold for all labels.
    pub(super) held_out_global: f64,
}

impl TuneRecord {
    pub(super) fn new(
        objective: Objective,
        documents: usize,
        before: Evaluation,
        after: Evaluation,
        own: Option<LabelThresholds>,
    ) -> Self {
        let label_thresholds = own.map(|own| LabelRecord {
            used: !own.thresholds.is_empty(),
            smoothing: own.smoothing,
            held_out: own.held_out,
            held_out_global: own.held_out_global,
        });
        TuneRecord { objective, documents, before, after, label_thresholds }
    }

    /// Returns the record of a bundle that was tuned.
    pub(in crate::commands) fn of(config: &BundleConfig) -> Option<Self> {
        TuneRecord::deserialize(config.training.get(FIELD)?).ok()
    }

    /// Puts the record into what a bundle tells of its training.
    pub(super) fn write_into(&self, mut training: Value) -> Value {
        if !training.is_object() {
            training = Value::Object(serde_json::Map::new());
        }
        training[FIELD] = serde_json::to_value(self).expect("our own types have string keys only");
        training
    }
}

impl fmt::Display for TuneRecord {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Evaluation { micro_f1, macro_f1, .. } = self.after;
        write!(
            formatter,
            "for {} on {} documents: micro-F1 {micro_f1:.4}, macro-F1 {macro_f1:.4}",
            name(self.objective),
            self.documents
        )
    }
}

/// Returns an objective's name, as people write it.
pub(super) fn name(objective: Objective) -> &'static str {
    match objective {
        Objective::Micro => "micro-F1",
        Objective::Macro => "macro-F1",
    }
}
