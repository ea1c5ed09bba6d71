//! `autotag compare`: which of two bundles tags the same documents better, and how sure that is.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use autotag::Interpolation;
use autotag::metrics::Confusion;
use autotag::tune::{Method, Prediction};
use autotag_documents::{Document, read_to_measure};
use autotag_engine::Settings;
use autotag_lab::{
    BootstrapOptions, PairedDifference, decide, decide_by_mix, decisions, paired_bootstrap, total,
};
use serde::Serialize;

use crate::args::{Common, DocumentArgs, SettingArgs};
use crate::commands::model;
use crate::commands::predict::{Labels, predict_file};
use crate::output::{self, Report, table};

/// Compare two bundles on the same labeled documents, with a paired bootstrap
///
/// Each bundle answers with its own k, tau, lambda and thresholds; what is given here holds for both.
/// Documents a second are of tokenizing, encoding, neighbors, mixing and selection, once over the documents.
/// Loading the model, reading the file and indexing in Tantivy are not in them.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  autotag compare bundle tuned --data test.jsonl
  autotag compare bundle tuned --data test.jsonl --threads 1 --format json > compared.json
  autotag plot compared.json peers.json --out speed.svg")]
pub(crate) struct CompareArgs {
    /// The first bundle
    #[arg(value_name = "B1")]
    first: PathBuf,

    /// The second bundle; the difference is its micro-F1 less the first one's
    #[arg(value_name = "B2")]
    second: PathBuf,

    /// The labeled documents to compare them on
    #[arg(long, value_name = "FILE")]
    data: PathBuf,

    /// The number of bootstrap resamples of the documents
    #[arg(long, value_name = "N", default_value_t = BootstrapOptions::default().resamples)]
    #[arg(value_parser = resamples)]
    resamples: usize,

    /// Fixes which documents are drawn
    #[arg(long, value_name = "N", default_value_t = BootstrapOptions::default().seed)]
    seed: u64,

    #[command(flatten)]
    settings: SettingArgs,

    #[command(flatten)]
    documents: DocumentArgs,
}

/// More than tell the interval's ends any better.
const MAX_RESAMPLES: usize = 1_000_000;

pub(super) fn resamples(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=MAX_RESAMPLES).contains(number));
    number.ok_or_else(|| format!("it must be within 1..={MAX_RESAMPLES}"))
}

pub(crate) fn run(args: &CompareArgs, common: &Common) -> anyhow::Result<()> {
    let documents = read_to_measure(&args.data, &args.documents.read_options())?;
    let (first, first_counts) = measure(args, &args.first, &documents, common)?;
    let (second, second_counts) = measure(args, &args.second, &documents, common)?;
    let options = BootstrapOptions { resamples: args.resamples, seed: args.seed };
    let difference = paired_bootstrap(&[first_counts], &[second_counts], options);
    let report = Comparison {
        documents: documents.len(),
        bundles: [first, second],
        resamples: options.resamples,
        seed: options.seed,
        difference,
    };
    output::print(common.format, &report)?;
    Ok(())
}

/// Lets one bundle tag the documents; returns its figures and each document's counts.
fn measure(
    args: &CompareArgs,
    bundle: &Path,
    documents: &[Document],
    common: &Common,
) -> anyhow::Result<(Side, Vec<Confusion>)> {
    let model = model::open(bundle, common)?;
    let settings = model.engine.settings.clone().overridden(args.settings.into());
    let Settings { interpolation, mix, selection } = &settings;
    let mut labels = Labels::new(&model)?;
    let k = settings.n_neighbors().get();
    let predicted = predict_file(&model, &args.data, documents, &mut labels, k, common)?;
    let decide = |prediction: &Prediction| {
        let decided = match mix {
            Some(mix) => decide_by_mix(prediction, mix, labels.frequencies(), selection),
            None => decide(prediction, Method::Interpolated, interpolation, selection),
        };
        decisions(&prediction.given, &decided)
    };
    let started = Instant::now();
    let counts: Vec<Confusion> = predicted.predictions.iter().map(decide).collect();
    let speed = Speed {
        documents: documents.len(),
        time: predicted.encode + predicted.nearest + started.elapsed(),
        threads: model::threads(common),
    };
    Ok((Side::new(bundle, settings, total(counts.iter().copied()), speed), counts))
}

/// The work of tagging, from texts to tags.
struct Speed {
    documents: usize,
    time: Duration,
    threads: NonZeroUsize,
}

impl Speed {
    fn documents_per_second(&self) -> f64 {
        self.documents as f64 / self.time.as_secs_f64().max(1e-9)
    }
}

/// The figures of one bundle.
#[derive(Debug, Serialize)]
struct Side {
    bundle: PathBuf,
    interpolation: Interpolation,
    /// A learned mix decides in the place of the interpolation.
    learned: bool,
    threshold: f32,
    /// The number of labels with a threshold of their own, where there are some.
    #[serde(skip_serializing_if = "Option::is_none")]
    label_thresholds: Option<NonZeroUsize>,
    micro_f1: f64,
    precision: f64,
    recall: f64,
    documents_per_second: f64,
    threads: NonZeroUsize,
    #[serde(skip)]
    settings: Settings,
}

impl Side {
    fn new(bundle: &Path, settings: Settings, total: Confusion, speed: Speed) -> Self {
        let share = |of: usize| total.true_positives as f64 / of.max(1) as f64;
        Side {
            bundle: bundle.to_path_buf(),
            interpolation: settings.interpolation,
            learned: settings.mix.is_some(),
            threshold: settings.threshold().get(),
            label_thresholds: NonZeroUsize::new(settings.n_own_thresholds()),
            micro_f1: total.f1(),
            precision: share(total.true_positives + total.false_positives),
            recall: share(total.true_positives + total.false_negatives),
            documents_per_second: speed.documents_per_second(),
            threads: speed.threads,
            settings,
        }
    }

    fn cells(&self, name: &str) -> Vec<String> {
        let [k, tau, lambda] = model::votes(&self.settings);
        let own = self.label_thresholds.map_or(String::new(), |n| format!(" ({n} own)"));
        let figure = |value: f64| format!("{value:.4}");
        vec![
            format!("{name}: {}", self.bundle.display()),
            k,
            tau,
            lambda,
            format!("{}{own}", self.threshold),
            figure(self.micro_f1),
            figure(self.precision),
            figure(self.recall),
            format!("{:.0}", self.documents_per_second),
        ]
    }
}

/// Both bundles, and how sure their difference is.
#[derive(Debug, Serialize)]
struct Comparison {
    documents: usize,
    bundles: [Side; 2],
    resamples: usize,
    seed: u64,
    #[serde(flatten)]
    difference: PairedDifference,
}

const HEADER: [&str; 9] =
    ["bundle", "k", "tau", "lambda", "threshold", "microF1", "precision", "recall", "docs/s"];

impl Report for Comparison {
    fn to_text(&self) -> String {
        let mut table = table(&HEADER, 1);
        for (name, side) in ["B1", "B2"].into_iter().zip(&self.bundles) {
            table.add_row(side.cells(name));
        }
        let PairedDifference { difference, low, high, second_wins, .. } = self.difference;
        let (documents, resamples, share) = (self.documents, self.resamples, 100.0 * second_wins);
        let verdict = match self.difference.is_clear() {
            true => "the interval leaves out 0: these documents tell the two apart",
            false => "the interval holds 0: these documents do not tell the two apart",
        };
        format!(
            "{documents} documents\n\n{table}\n\n\
             B2 - B1: micro-F1 {difference:+.4}, 95 % interval {low:+.4} to {high:+.4}\n\
             B2 is better in {share:.1} % of {resamples} resamples of the documents\n{verdict}\n"
        )
    }
}
