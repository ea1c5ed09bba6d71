//! Figures 2 and 4: micro-F1 against k, lambda and gamma.

use serde::{Deserialize, Serialize};

use crate::numbers::measured::{KS, LAMBDAS, MeasuredRun};
use crate::numbers::tables::Spread;

/// Lines over the same values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Curves {
    /// The values of the horizontal axis, ascending.
    pub x: Vec<f64>,
    /// The lines.
    pub curves: Vec<Curve>,
}

/// One line: a figure at each value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// Its subject.
    pub name: String,
    /// The figures, one for each value of the axis.
    pub y: Vec<Spread>,
}

pub(super) fn by_k(plain: &[MeasuredRun], contrastive: &[MeasuredRun]) -> Curves {
    let x = KS.iter().map(|&k| k as f64).collect();
    Curves { x, curves: both(plain, contrastive, |run| &run.by_k) }
}

pub(super) fn by_lambda(plain: &[MeasuredRun], contrastive: &[MeasuredRun]) -> Curves {
    let x = LAMBDAS.iter().map(|&tenths| f64::from(tenths) / 10.0).collect();
    Curves { x, curves: both(plain, contrastive, |run| &run.by_lambda) }
}

fn both(
    plain: &[MeasuredRun],
    contrastive: &[MeasuredRun],
    figures: fn(&MeasuredRun) -> &Vec<f64>,
) -> Vec<Curve> {
    let systems = [("without CL", plain), ("with CL", contrastive)];
    let curve = |(name, runs): (&str, &[MeasuredRun])| {
        let n_values = figures(runs.first()?).len();
        let at = |position| Spread::of(runs.iter().map(|run| figures(run)[position]));
        Some(Curve { name: name.to_owned(), y: (0..n_values).map(at).collect() })
    };
    systems.into_iter().filter_map(curve).collect()
}

/// Takes one figure from a run.
type Figure = fn(&MeasuredRun) -> f64;

pub(super) fn by_gamma(runs: &[(f32, MeasuredRun)]) -> Curves {
    let figures: [(&str, Figure); 3] = [
        ("model", |run| run.model.evaluation.micro_f1),
        ("model + kNN", |run| run.knn.evaluation.micro_f1),
        ("model + kNN, tuned", |run| run.tuned_knn.evaluation.micro_f1),
    ];
    let curve = |(name, figure): (&str, Figure)| Curve {
        name: name.to_owned(),
        y: runs.iter().map(|(_, run)| Spread::of([figure(run)])).collect(),
    };
    // 0.01 and not 0.009999999776.
    let decimal = |gamma: &f32| gamma.to_string().parse().unwrap_or(f64::from(*gamma));
    Curves {
        x: runs.iter().map(|(gamma, _)| decimal(gamma)).collect(),
        curves: if runs.is_empty() { vec![] } else { figures.map(curve).to_vec() },
    }
}
