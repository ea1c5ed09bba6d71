//! `autotag eval`: how well a bundle's model, its neighbors, and both tag labelled documents.

mod predict;
mod report;

use std::path::{Path, PathBuf};

use autotag::tune::{self, MAX_K, Method, Prediction, Tuned};
use autotag::{Interpolation, Selection};

use crate::args::{Common, DocumentArgs, SettingArgs};
use crate::commands::labeled::{read_to_measure, warn_of_unknown};
use crate::commands::model::{self, Model, Settings};
use crate::documents::Document;
use crate::output;

use predict::{Labels, Predicted, predict};
use report::{EvalReport, Row};

/// Measure a bundle on labelled documents: the model alone, its neighbors alone, and both
///
/// Without options k, tau, lambda and the threshold are the paper's: 5, 1, 0.5 and 0.5.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  autotag eval --bundle bundle --data test.jsonl --tune dev.jsonl --format json")]
pub(crate) struct EvalArgs {
    /// The bundle
    #[arg(long, value_name = "BUNDLE")]
    bundle: PathBuf,

    /// The labelled documents to measure on
    #[arg(long, value_name = "FILE")]
    data: PathBuf,

    /// Measure also with k, tau, lambda and the threshold that do best on these documents
    #[arg(long, value_name = "DEV")]
    tune: Option<PathBuf>,

    #[command(flatten)]
    settings: SettingArgs,

    #[command(flatten)]
    documents: DocumentArgs,
}

const METHODS: [Method; 3] = [Method::Model, Method::Knn, Method::Interpolated];

pub(crate) fn run(args: &EvalArgs, common: &Common) -> anyhow::Result<()> {
    let test = read_to_measure(&args.data, &args.documents)?;
    let dev = match &args.tune {
        Some(dev) => Some((dev, read_to_measure(dev, &args.documents)?)),
        None => None,
    };
    let model = model::open(&args.bundle, common)?;
    let settings = Settings::default().or(&args.settings);
    let k = settings.interpolation.k.get();
    let k = if dev.is_some() { k.max(MAX_K) } else { k };

    let mut labels = Labels::new(&model)?;
    let tuned = match &dev {
        Some((path, dev)) => {
            let dev = predict_file(&model, path, dev, &mut labels, k, common)?;
            Some(METHODS.map(|method| tune::tune(&dev.predictions, method)))
        }
        None => None,
    };
    let test = predict_file(&model, &args.data, &test, &mut labels, k, common)?;
    let report = evaluate(&test, labels.n_known(), &settings, tuned.as_ref());
    output::print(common.format, &report)?;
    Ok(())
}

fn predict_file(
    model: &Model,
    path: &Path,
    documents: &[Document],
    labels: &mut Labels,
    k: usize,
    common: &Common,
) -> anyhow::Result<Predicted> {
    let predicted = predict(model, path, documents, labels, k, common)?;
    warn_of_unknown(path, &labels.take_unknown());
    Ok(predicted)
}

fn evaluate(
    test: &Predicted,
    n_labels: usize,
    settings: &Settings,
    tuned: Option<&[Tuned; 3]>,
) -> EvalReport {
    let predictions: &[Prediction] = &test.predictions;
    let row = |method, interpolation: &Interpolation, selection: &Selection| {
        let measures = tune::evaluate(predictions, n_labels, method, interpolation, selection);
        Row::new(method, interpolation, selection.threshold, &measures, test)
    };
    let mut rows: Vec<Row> =
        METHODS.map(|method| row(method, &settings.interpolation, &settings.selection)).into();
    for (method, tuned) in METHODS.iter().zip(tuned.into_iter().flatten()) {
        let selection = Selection::at(tuned.threshold);
        rows.push(row(*method, &tuned.interpolation, &selection).tuned());
    }
    EvalReport { documents: predictions.len(), rows }
}
