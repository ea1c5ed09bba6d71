//! The tables: means over seeds, and how sure the differences are.

use autotag::Interpolation;
use autotag::metrics::{Confusion, Evaluation};
use serde::{Deserialize, Serialize};

use crate::bootstrap::{BootstrapOptions, PairedDifference, paired_bootstrap};
use crate::numbers::measured::{MeasuredRun, Measures};
use crate::runs::{Cost, Setting};

/// A figure's mean and spread over several trainings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// The standard deviation, from two values on.
    pub deviation: Option<f64>,
    /// The values, in the order of the seeds.
    pub values: Vec<f64>,
}

impl Spread {
    /// Sums up values; the mean of none is 0.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let values: Vec<f64> = values.into_iter().collect();
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n.max(1.0);
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let deviation = (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt());
        Spread { mean, deviation, values }
    }
}

/// One system of tables 3, 4 or 5.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The system, as "cnn + CL + kNN".
    pub system: String,
    /// True where k, tau, lambda and the threshold were tuned on dev.
    pub tuned: bool,
    /// Micro-F1.
    pub micro_f1: Spread,
    /// Macro-F1.
    pub macro_f1: Spread,
    /// Hamming loss; lower is better.
    pub hamming_loss: Spread,
    /// The settings tuned, one for each seed, in words.
    pub settings: Vec<String>,
}

/// One system of table 6.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SharedRow {
    /// The system.
    pub system: String,
    /// The share of the neighbors' labels that are the text's own, 0 to 1.
    pub shared: Spread,
}

/// One system of tables 7 and 8.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CostRow {
    /// The system.
    pub system: String,
    /// The datastore's bytes on disk, of the first seed.
    pub datastore_bytes: u64,
    /// The bytes of the model's file, of the first seed.
    pub model_bytes: u64,
    /// The number of neighbors in the datastore.
    pub n_items: usize,
    /// The length of a representation.
    pub dimensions: usize,
    /// Milliseconds per text without neighbors.
    pub model_ms: Spread,
    /// Milliseconds per text with neighbors.
    pub knn_ms: Spread,
    /// The threads that worked.
    pub threads: usize,
}

/// A difference that is claimed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The first system.
    pub from: String,
    /// The second system.
    pub to: String,
    /// True where both are tuned on dev.
    pub tuned: bool,
    /// Their difference on the same texts, each system's figure being the mean over its seeds.
    pub difference: PairedDifference,
}

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Model,
    Knn,
}

/// With which settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Settings {
    AsSet,
    Tuned,
}

const BOTH: [Settings; 2] = [Settings::AsSet, Settings::Tuned];

fn measures(run: &MeasuredRun, side: Side, settings: Settings) -> &Measures {
    match (side, settings) {
        (Side::Model, Settings::AsSet) => &run.model,
        (Side::Model, Settings::Tuned) => &run.tuned_model,
        (Side::Knn, Settings::AsSet) => &run.knn,
        (Side::Knn, Settings::Tuned) => &run.tuned_knn,
    }
}

/// Writes down the settings that were tuned.
fn tuned(run: &MeasuredRun, side: Side) -> String {
    let threshold = |setting: &Setting| format!("threshold {}", setting.threshold.get());
    let seed = run.seed().map_or(String::new(), |seed| format!("seed {seed}: "));
    seed + &match (side, &run.record.tuned) {
        (Side::Knn, Some(setting)) => {
            let Interpolation { k, temperature, proportion } = setting.interpolation;
            let tau = temperature.get();
            format!("k {k}, tau {tau}, lambda {proportion}, {}", threshold(setting))
        }
        _ => threshold(&run.record.tuned_model),
    }
}

/// The rows of tables 3 and 4: as set, then tuned.
pub(super) fn rows(name: &str, plain: &[MeasuredRun], contrastive: &[MeasuredRun]) -> Vec<Row> {
    let mut rows = Vec::new();
    for settings in BOTH {
        rows.extend(row(name, "", plain, Side::Model, settings));
        rows.extend(row(name, " + kNN", plain, Side::Knn, settings));
        rows.extend(row(name, " + CL", contrastive, Side::Model, settings));
        rows.extend(row(name, " + CL + kNN", contrastive, Side::Knn, settings));
    }
    rows
}

/// The rows of table 5: as set, then tuned.
pub(super) fn coefficient_rows(
    name: &str,
    contrastive: &[MeasuredRun],
    cut: &[MeasuredRun],
) -> Vec<Row> {
    let mut rows = Vec::new();
    for settings in BOTH {
        rows.extend(row(name, " + CL + kNN", contrastive, Side::Knn, settings));
        rows.extend(row(name, " + CL (C cut to 1) + kNN", cut, Side::Knn, settings));
    }
    rows
}

/// The linear baseline: margin 0, then tuned.
pub(super) fn linear_rows(run: &MeasuredRun) -> Vec<Row> {
    let runs = std::slice::from_ref(run);
    let row = |settings| row("linear", "", runs, Side::Model, settings);
    BOTH.into_iter().filter_map(row).collect()
}

/// Returns `None` where no run is done.
fn row(
    name: &str,
    what: &str,
    runs: &[MeasuredRun],
    side: Side,
    settings: Settings,
) -> Option<Row> {
    if runs.is_empty() {
        return None;
    }
    let spread = |of: fn(&Evaluation) -> f64| {
        Spread::of(runs.iter().map(|run| of(&measures(run, side, settings).evaluation)))
    };
    Some(Row {
        system: format!("{name}{what}"),
        tuned: settings == Settings::Tuned,
        micro_f1: spread(|evaluation| evaluation.micro_f1),
        macro_f1: spread(|evaluation| evaluation.macro_f1),
        hamming_loss: spread(|evaluation| evaluation.hamming_loss),
        settings: match settings {
            Settings::AsSet => vec![],
            Settings::Tuned => runs.iter().map(|run| tuned(run, side)).collect(),
        },
    })
}

pub(super) fn shared_rows(
    name: &str,
    plain: &[MeasuredRun],
    contrastive: &[MeasuredRun],
) -> Vec<SharedRow> {
    let row = |(what, runs): (&str, &[MeasuredRun])| SharedRow {
        system: format!("{name}{what}"),
        shared: Spread::of(runs.iter().map(|run| run.shared)),
    };
    let systems = [("", plain), (" + CL", contrastive)];
    systems.into_iter().filter(|(_, runs)| !runs.is_empty()).map(row).collect()
}

pub(super) fn cost_rows(
    name: &str,
    plain: &[MeasuredRun],
    contrastive: &[MeasuredRun],
) -> Vec<CostRow> {
    let row = |(what, runs): (&str, &[MeasuredRun])| {
        let costs: Vec<Cost> = runs.iter().filter_map(|run| run.record.cost).collect();
        let first = costs.first()?;
        Some(CostRow {
            system: format!("{name}{what}"),
            datastore_bytes: first.datastore_bytes,
            model_bytes: first.model_bytes,
            n_items: first.n_items,
            dimensions: first.dimensions,
            model_ms: Spread::of(costs.iter().map(|cost| cost.model_ms)),
            knn_ms: Spread::of(costs.iter().map(|cost| cost.model_ms + cost.neighbors_ms)),
            threads: first.threads,
        })
    };
    [("", plain), (" + CL", contrastive)].into_iter().filter_map(row).collect()
}

/// A system with the runs that it consists of.
struct System<'a> {
    name: String,
    runs: &'a [MeasuredRun],
    side: Side,
}

/// Compares what the tables set side by side: neighbors, the contrastive loss, its coefficient, and
/// the linear baseline.
pub(super) fn comparisons(
    name: &str,
    plain: &[MeasuredRun],
    contrastive: &[MeasuredRun],
    cut: &[MeasuredRun],
    linear: Option<&MeasuredRun>,
    options: BootstrapOptions,
) -> Vec<Comparison> {
    let system = |what: &str, runs, side| System { name: format!("{name}{what}"), runs, side };
    let model = || system("", plain, Side::Model);
    let knn = || system(" + kNN", plain, Side::Knn);
    let both = || system(" + CL + kNN", contrastive, Side::Knn);
    let linear_runs = linear.map_or(&[][..], std::slice::from_ref);
    let linear = || System { name: "linear".to_owned(), runs: linear_runs, side: Side::Model };
    let pairs = [
        (model(), knn()),
        (model(), system(" + CL", contrastive, Side::Model)),
        (system(" + CL", contrastive, Side::Model), both()),
        (knn(), both()),
        (model(), both()),
        (system(" + CL (C cut to 1) + kNN", cut, Side::Knn), both()),
        (linear(), knn()),
        (linear(), both()),
    ];
    let mut comparisons = Vec::new();
    for settings in BOTH {
        let compare = |(from, to): &(_, _)| compare(from, to, settings, options);
        comparisons.extend(pairs.iter().filter_map(compare));
    }
    comparisons
}

/// Returns `None` where a system has no run that is done.
fn compare(
    from: &System<'_>,
    to: &System<'_>,
    settings: Settings,
    options: BootstrapOptions,
) -> Option<Comparison> {
    if from.runs.is_empty() || to.runs.is_empty() {
        return None;
    }
    let trainings = |system: &System<'_>| -> Vec<Vec<Confusion>> {
        let documents = |run| measures(run, system.side, settings).documents.clone();
        system.runs.iter().map(documents).collect()
    };
    let difference = paired_bootstrap(&trainings(from), &trainings(to), options);
    let (from, to) = (from.name.clone(), to.name.clone());
    Some(Comparison { from, to, tuned: settings == Settings::Tuned, difference })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_are_those_of_a_sample() {
        let spread = Spread::of([1.0, 2.0, 3.0]);
        assert_eq!((spread.mean, spread.deviation), (2.0, Some(1.0)));
        assert_eq!(Spread::of([0.5]).deviation, None);
        assert_eq!(Spread::of([]).mean, 0.0);
    }
}
