//! `autotag eval`: how well a bundle's model, its neighbors, and both tag labeled documents.

mod report;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use autotag::tune::{self, MAX_K, Method, Tuned};
use autotag::{Encoder, Interpolation, LearnedMix, Selection};
use autotag_documents::read_to_measure;
use autotag_engine::Settings;

use crate::args::{Common, DocumentArgs, SettingArgs};
use crate::commands::model::{self, Model};
use crate::commands::predict::{Labels, Predicted, predict_file};
use crate::output;

use report::{EvalReport, Row};

/// Measure a bundle on labeled documents: the model alone, its neighbors alone, and both
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

    /// The labeled documents to measure on
    #[arg(long, value_name = "FILE")]
    data: PathBuf,

    /// Measure also with k, tau, lambda and the threshold that do best on these documents
    #[arg(long, value_name = "DEV")]
    tune: Option<PathBuf>,

    /// Measure also with the bundle's own settings, with the thresholds that labels have of their own
    #[arg(long)]
    bundle_settings: bool,

    #[command(flatten)]
    settings: SettingArgs,

    #[command(flatten)]
    documents: DocumentArgs,
}

/// Returns the methods to measure; a model without labels of its own says nothing alone.
fn methods(model: &Model) -> &'static [Method] {
    match model.engine.encoder.labels().is_empty() {
        true => &[Method::Knn, Method::Interpolated],
        false => &[Method::Model, Method::Knn, Method::Interpolated],
    }
}

pub(crate) fn run(args: &EvalArgs, common: &Common) -> anyhow::Result<()> {
    let test = read_to_measure(&args.data, &args.documents.read_options())?;
    let dev = match &args.tune {
        Some(dev) => Some((dev, read_to_measure(dev, &args.documents.read_options())?)),
        None => None,
    };
    let model = model::open(&args.bundle, common)?;
    let settings = Settings::default().overridden(args.settings.into());
    let own = args.bundle_settings.then_some(&model.engine.settings);
    let k = settings.interpolation.k.max(own.map_or(NonZeroUsize::MIN, Settings::n_neighbors));
    let k = if dev.is_some() { k.get().max(MAX_K) } else { k.get() };

    let mut labels = Labels::new(&model)?;
    let methods = methods(&model);
    let (mut tuned, mut fitted) = (Vec::new(), None);
    if let Some((path, dev)) = &dev {
        let dev = predict_file(&model, path, dev, &mut labels, k, common)?;
        tuned = methods.iter().map(|&method| tune::tune(&dev.predictions, method)).collect();
        fitted = tune::fit_mix(&dev.predictions, labels.n_known(), labels.frequencies());
    }
    let test = predict_file(&model, &args.data, &test, &mut labels, k, common)?;
    let mut report = evaluate(&test, labels.n_known(), methods, &settings, &tuned);
    let mixed = |mix: &LearnedMix, selection: &Selection| {
        let (predictions, frequencies) = (&test.predictions, labels.frequencies());
        let n_labels = labels.n_known();
        let measures = tune::evaluate_mix(predictions, n_labels, mix, frequencies, selection);
        Row::mixed(mix, &measures, &test)
    };
    report.rows.extend(fitted.map(|fitted| mixed(&fitted.mix, &Selection::default()).tuned()));
    report.bundle = own.map(|own| match &own.mix {
        Some(mix) => mixed(mix, &own.selection),
        None => {
            let method = Method::Interpolated;
            row(&test, labels.n_known(), method, &own.interpolation, &own.selection)
        }
    });
    output::print(common.format, &report)?;
    Ok(())
}

fn evaluate(
    test: &Predicted,
    n_labels: usize,
    methods: &[Method],
    settings: &Settings,
    tuned: &[Tuned],
) -> EvalReport {
    let row = |method, interpolation: &Interpolation, selection: &Selection| {
        row(test, n_labels, method, interpolation, selection)
    };
    let untuned = |&method: &Method| row(method, &settings.interpolation, &settings.selection);
    let mut rows: Vec<Row> = methods.iter().map(untuned).collect();
    for (method, tuned) in methods.iter().zip(tuned) {
        let selection = Selection::at(tuned.threshold);
        rows.push(row(*method, &tuned.interpolation, &selection).tuned());
    }
    EvalReport { documents: test.predictions.len(), rows, bundle: None }
}

/// Measures one method with one setting.
fn row(
    test: &Predicted,
    n_labels: usize,
    method: Method,
    interpolation: &Interpolation,
    selection: &Selection,
) -> Row {
    let measures = tune::evaluate(&test.predictions, n_labels, method, interpolation, selection);
    Row::new(method, interpolation, selection, &measures, test)
}
