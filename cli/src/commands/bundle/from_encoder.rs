//! `autotag bundle from-encoder`: a pretrained encoder as it is, whose tags come from neighbors alone.

use std::path::{Path, PathBuf};

use autotag::Interpolation;
use autotag_documents::{read_to_learn, read_to_measure};
use autotag_engine::target;
use autotag_onnx::{BundleDraft, ModelBundle};
use autotag_train::bert::Pooling;
use autotag_train::frozen::{
    DEFAULT_LENGTH, EncoderCard, EncoderReport, EncoderSettings, FirstNeighbors, bundle_encoder,
};
use autotag_train::{Dataset, Progress, Unreadable};
use serde::Serialize;

use crate::args::{Common, DocumentArgs};
use crate::commands::encoding::Encoding;
use crate::commands::labeled::{texts, warn_of_unknown};
use crate::commands::model;
use crate::output::{self, Report};
use crate::signals::Stop;

/// Make a bundle of a pretrained encoder, without training
///
/// Its model scores no label: tags come from the nearest labeled documents, and become better with
/// each one that an index is given. Without --data there are no tags before the first of them.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  autotag bundle from-encoder --encoder minilm --out bundle
  autotag bundle from-encoder --encoder minilm --data train.jsonl --dev dev.jsonl --out bundle")]
pub(crate) struct FromEncoderArgs {
    /// The encoder's folder, with config.json, model.safetensors and tokenizer.json as Hugging Face
    /// lays them out; `autotag model fetch minilm` gets one
    #[arg(long, value_name = "FOLDER")]
    encoder: PathBuf,

    /// The labeled documents that become the first neighbors
    #[arg(long, value_name = "TRAIN")]
    data: Option<PathBuf>,

    /// The labeled documents that k, tau and the threshold are tuned on
    #[arg(long, value_name = "DEV", requires = "data")]
    dev: Option<PathBuf>,

    /// The bundle's folder; an older bundle there is replaced when the new one is complete
    #[arg(long, value_name = "BUNDLE")]
    out: PathBuf,

    /// Refuse a document whose text has no word, instead of leaving it out
    #[arg(long, requires = "data")]
    strict: bool,

    #[command(flatten)]
    reading: EncoderArgs,

    #[command(flatten)]
    documents: DocumentArgs,
}

/// The settings of a pretrained encoder.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Encoder")]
pub(crate) struct EncoderArgs {
    /// The pooling: the mean over a text's tokens, or the first token; where absent what the
    /// encoder's folder says, else the mean
    #[arg(long, value_enum, value_name = "mean|cls", hide_possible_values = true)]
    pooling: Option<PoolingArg>,

    /// Text that is put before each text, here and whenever the bundle tags; "query: " for encoders of
    /// the E5 family
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    prefix: String,

    /// The most tokens of a text that are read, bounded by the encoder's positions
    #[arg(long, value_name = "N", default_value_t = DEFAULT_LENGTH)]
    max_length: usize,

    #[command(flatten)]
    cache: CacheArgs,
}

/// Where embeddings are kept.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CacheArgs {
    /// The folder in which the texts' embeddings are kept for later runs with the same encoder;
    /// where absent `autotag-cache` beside the bundle
    #[arg(long, value_name = "FOLDER")]
    cache: Option<PathBuf>,

    /// Keep no embeddings
    #[arg(long, conflicts_with = "cache")]
    no_cache: bool,
}

impl CacheArgs {
    /// Names an option that was given.
    pub(crate) fn given(&self) -> Option<&'static str> {
        match (&self.cache, self.no_cache) {
            (Some(_), _) => Some("--cache"),
            (None, true) => Some("--no-cache"),
            (None, false) => None,
        }
    }

    /// Returns the folder, for a bundle that is to lie at `out`.
    pub(crate) fn folder(&self, out: &Path) -> Option<PathBuf> {
        let beside = || out.parent().unwrap_or(Path::new("")).join("autotag-cache");
        (!self.no_cache).then(|| self.cache.clone().unwrap_or_else(beside))
    }
}

/// The ways of pooling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum PoolingArg {
    /// The mean over the text's tokens
    Mean,
    /// The first token's
    Cls,
}

impl From<PoolingArg> for Pooling {
    fn from(pooling: PoolingArg) -> Self {
        match pooling {
            PoolingArg::Mean => Pooling::Mean,
            PoolingArg::Cls => Pooling::Cls,
        }
    }
}

pub(super) fn run(args: &FromEncoderArgs, common: &Common) -> anyhow::Result<()> {
    // Before the documents are read, which may take long.
    BundleDraft::check_target(&args.out)?;
    if let Some(cache) = args.reading.cache.folder(&args.out) {
        target::check_folder(&cache)?;
    }
    let options = model::onnx_options(common)?;
    let data = match &args.data {
        Some(data) => {
            Some(Dataset::new(texts(read_to_learn(data, &args.documents.read_options())?))?)
        }
        None => None,
    };
    let dev = match args.dev.as_ref().zip(data.as_ref()) {
        Some((path, data)) => {
            let dev = texts(read_to_measure(path, &args.documents.read_options())?);
            let dev = Dataset::with_vocabulary(dev, data.vocabulary())?;
            warn_of_unknown(path, dev.unknown_labels());
            Some(dev)
        }
        None => None,
    };
    let EncoderArgs { pooling, prefix, max_length, cache } = &args.reading;
    let settings = EncoderSettings {
        pooling: pooling.map(Pooling::from),
        prefix: prefix.clone(),
        max_length: *max_length,
        cache: cache.folder(&args.out),
        unreadable: if args.strict { Unreadable::Refuse } else { Unreadable::Skip },
    };
    let neighbors = data.as_ref().map(|texts| FirstNeighbors { texts, dev: dev.as_ref() });

    let stop = Stop::watch()?;
    let mut encoding = Encoding::begin(common.quiet.into());
    let mut progress = |progress| match progress {
        Progress::Encoded { done, of } => encoding.show(done, of),
        Progress::Stage(stage) => tracing::info!(stage, "bundle"),
        _ => {}
    };
    let (bundle, report) = bundle_encoder(
        &args.encoder,
        neighbors,
        &settings,
        &args.out,
        &options,
        stop.flag(),
        &mut progress,
    )?;
    output::print(common.format, &Made::new(&bundle, report))?;
    Ok(())
}

/// The bundle, and how it does on dev.
#[derive(Debug, Serialize)]
struct Made {
    bundle: PathBuf,
    fingerprint: String,
    dimensions: usize,
    #[serde(flatten)]
    report: EncoderReport,
}

impl Made {
    fn new(bundle: &ModelBundle, report: EncoderReport) -> Self {
        Made {
            bundle: bundle.path().to_path_buf(),
            fingerprint: bundle.fingerprint().to_string(),
            dimensions: bundle.config().dimensions.get(),
            report,
        }
    }
}

impl Report for Made {
    fn to_text(&self) -> String {
        let EncoderReport { n_neighbors, interpolation, threshold, .. } = &self.report;
        let Interpolation { k, temperature, .. } = interpolation;
        format!(
            "{}: {} dimensions, no label scored, {n_neighbors} neighbors to begin with\n{}: \
             k = {k}, tau = {}, threshold = {}\n",
            output::path(&self.bundle),
            self.dimensions,
            told_of_dev(&self.report),
            temperature.get(),
            threshold.get()
        )
    }
}

/// Says where the settings are from.
fn told_of_dev(report: &EncoderReport) -> String {
    match report.dev_micro_f1 {
        Some(f1) => format!(
            "micro-F1 {f1:.4} on {} dev documents with the settings tuned on them",
            report.n_dev
        ),
        None => "untuned (`autotag tune` does that with labeled documents)".to_owned(),
    }
}

/// Writes an encoder's report as a line of `autotag bundle show`.
pub(super) fn shown(report: &EncoderReport) -> String {
    let (card, n_neighbors) = (shown_card(&report.encoder), report.n_neighbors);
    format!("{card}, and no more; {n_neighbors} first neighbors; {}", told_of_dev(report))
}

/// Writes what a bundle tells of the pretrained encoder inside it.
pub(super) fn shown_card(card: &EncoderCard) -> String {
    let EncoderCard { shape, pooling, .. } = card;
    let pooling = match pooling {
        Pooling::Cls => "the first token",
        Pooling::Mean => "the mean of the tokens",
    };
    let (layers, tokens) = (shape.num_hidden_layers, shape.vocab_size);
    let architecture = shape.model_type.title();
    format!("pretrained {architecture}: {layers} layers, {tokens} tokens, {pooling}")
}
