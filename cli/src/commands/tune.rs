//! `autotag tune`: a bundle with the settings that do best on labeled documents.

mod record;
mod report;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use autotag::mix::N_NEIGHBORS;
use autotag::tune::{self, FittedMix, Grid, LabelThresholds, MAX_K, Method, Objective, Tuned};
use autotag::{Proportion, Selection, Temperature};
use autotag_documents::read_to_measure;
use autotag_engine::Settings;
use autotag_onnx::BundleDraft;

use crate::args::{Common, DocumentArgs, ReviewArgs, proportion, temperature};
use crate::commands::model;
use crate::commands::predict::{Labels, Predicted, predict_file};
use crate::output;

pub(super) use record::TuneRecord;
use report::TuneReport;

/// Find the settings that do best on labeled documents, and write a bundle with them
///
/// Tries k, tau, lambda and thresholds, without training, and fits a learned mix, which is kept where it does
/// better on documents held out of its fit than the interpolation on all: the new bundle has the same model and
/// neighbors, and indexes made with the old one go on with it. Take documents that the model was
/// not trained on.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  autotag tune --bundle bundle --data dev.jsonl --out tuned --objective macro --per-label")]
pub(crate) struct TuneArgs {
    /// The bundle
    #[arg(long, value_name = "BUNDLE")]
    bundle: PathBuf,

    /// The labeled documents to do best on
    #[arg(long, value_name = "DEV")]
    data: PathBuf,

    /// The new bundle's folder; an older bundle there is replaced when the new one is complete
    #[arg(long, value_name = "BUNDLE")]
    out: PathBuf,

    /// The objective: `micro` is the F1 of all tags together, `macro` the mean
    /// of the labels' own F1
    #[arg(long, value_enum, value_name = "F1", default_value = "micro")]
    objective: ObjectiveArg,

    /// Give labels thresholds of their own where that does better on documents held out
    #[arg(long)]
    per_label: bool,

    /// The weight of all labels' threshold, in examples of a label: a rare label's own stays near it; chosen by cross-validation where absent
    #[arg(long, value_name = "N", requires = "per_label", value_parser = smoothing)]
    smoothing: Option<f64>,

    #[command(flatten)]
    review: ReviewArgs,

    /// Keep this number of neighbors
    #[arg(long, value_name = "N")]
    k: Option<NonZeroUsize>,

    /// Keep this temperature of the votes
    #[arg(long, value_name = "TAU", value_parser = temperature)]
    tau: Option<Temperature>,

    /// Keep this weight of the neighbors, 0 to 1, or `adaptive`
    #[arg(long, value_name = "LAMBDA|adaptive", value_parser = proportion)]
    lambda: Option<Proportion>,

    #[command(flatten)]
    documents: DocumentArgs,
}

/// The objective.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum ObjectiveArg {
    Micro,
    Macro,
}

fn smoothing(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if (0.0..1e9).contains(&number) => Ok(number),
        _ => Err("it must be a number, 0 or more".to_owned()),
    }
}

impl TuneArgs {
    fn objective(&self) -> Objective {
        match self.objective {
            ObjectiveArg::Micro => Objective::Micro,
            ObjectiveArg::Macro => Objective::Macro,
        }
    }

    /// Tells whether a learned mix is tried: not where options are about the interpolation alone.
    fn fits_mix(&self) -> bool {
        let is_kept = self.k.is_some() || self.tau.is_some() || self.lambda.is_some();
        self.objective() == Objective::Micro && !self.per_label && !is_kept
    }

    /// Returns the settings to try: the one given, or all.
    fn grid(&self) -> Grid {
        let Grid { ks, temperatures, proportions } = Grid::default();
        Grid {
            ks: self.k.map_or(ks, |k| vec![k]),
            temperatures: self.tau.map_or(temperatures, |tau| vec![tau]),
            proportions: self.lambda.map_or(proportions, |lambda| vec![lambda]),
        }
    }
}

pub(crate) fn run(args: &TuneArgs, common: &Common) -> anyhow::Result<()> {
    BundleDraft::check_target(&args.out)?;
    let documents = read_to_measure(&args.data, &args.documents.read_options())?;
    let model = model::open(&args.bundle, common)?;
    let before = model.engine.settings.clone();
    let most = args.grid().ks.into_iter().chain([before.n_neighbors(), N_NEIGHBORS]).max();
    let k = most.map_or(MAX_K, NonZeroUsize::get);
    let mut labels = Labels::new(&model)?;
    let predicted = predict_file(&model, &args.data, &documents, &mut labels, k, common)?;
    let (record, after) = tune(args, &predicted, &labels, &before);
    drop(labels);
    // The model's memory is not needed any more.
    let bundle = model.engine.bundle;

    let training = record.write_into(bundle.config().training.clone());
    let Settings { interpolation, mix, selection } = after.clone();
    let tuned = bundle.with_settings(&args.out, interpolation, mix, selection, training)?;
    output::print(common.format, &TuneReport::new(&tuned, &before, &after, record))?;
    Ok(())
}

/// Finds the settings, and measures the bundle's own and them.
fn tune(
    args: &TuneArgs,
    predicted: &Predicted,
    labels: &Labels,
    before: &Settings,
) -> (TuneRecord, Settings) {
    let (n_labels, frequencies) = (labels.n_known(), labels.frequencies());
    let (predictions, objective) = (&predicted.predictions, args.objective());
    let method = Method::Interpolated;
    let tuned = tune::tune_for(predictions, n_labels, method, objective, &args.grid());
    let Tuned { interpolation, threshold, .. } = tuned;
    let own = args
        .per_label
        .then(|| tune::tune_labels(predictions, n_labels, objective, &tuned, args.smoothing));
    let thresholds = own.iter().flat_map(|LabelThresholds { thresholds, .. }| thresholds);
    let per_label = thresholds.copied().collect();
    let mut selection = Selection { threshold, per_label, ..before.selection.clone() };
    args.review.put_into(&mut selection);
    // The mix has one threshold, chosen for micro-F1.
    let fitted = args.fits_mix().then(|| tune::fit_mix(predictions, n_labels, frequencies));
    let fitted = fitted.flatten().filter(FittedMix::is_better);
    let after = Settings { interpolation, mix: fitted.map(|fitted| fitted.mix), selection };
    let measure = |Settings { interpolation, mix, selection }: &Settings| match mix {
        Some(mix) => tune::evaluate_mix(predictions, n_labels, mix, frequencies, selection),
        None => tune::evaluate(predictions, n_labels, method, interpolation, selection),
    };
    let (old, new) = (measure(before), measure(&after));
    (TuneRecord::new(objective, predictions.len(), old, new, own), after)
}
