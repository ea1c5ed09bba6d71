//! From labelled texts to a published bundle.

mod adapter;
#[cfg(feature = "burn")]
mod by_autodiff;
mod by_hand;
mod compare;
mod digest;
pub(crate) mod read;
#[cfg(test)]
mod tests;

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};

use autotag::tune::{self, Method, Tuned};
use autotag::{Interpolation, Selection};
use autotag_onnx::bundle::{FORMAT_VERSION, InputKind};
use autotag_onnx::graph::GraphBuilder;
use autotag_onnx::{
    BundleConfig, BundleDraft, Lexicon, ModelBundle, ModelInput, OnnxOptions, TextReader,
};

use crate::card::card;
use crate::checkpoint::{Claim, Identity, RunFolder, Start};
use crate::first_neighbors::store;
use crate::fit::{Fitted, TrainContext, fit};
use crate::layers::finish;
use crate::model::{Model, Predict};
use crate::report::{FitReport, Progress};
use crate::{Dataset, Result, Skipped, TrainConfig, TrainError, Unreadable};
use compare::{compare, exported};
use digest::Digest;
use read::{Inputs, Readable};

/// What a training run did and reached; it is written into the bundle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainReport {
    /// The settings.
    pub config: TrainConfig,
    /// The number of training texts.
    pub n_train: usize,
    /// The number of dev texts.
    pub n_dev: usize,
    /// The texts that were left out of both, because the model cannot read them.
    #[serde(default)]
    pub skipped: Skipped,
    /// The epochs.
    pub fit: FitReport,
    /// k, tau, lambda and the threshold tuned on dev, which the bundle uses.
    pub interpolation: Interpolation,
    /// The threshold tuned on dev.
    pub threshold: autotag::Threshold,
    /// The micro-F1 on dev with them.
    pub dev_micro_f1: f64,
    /// The largest difference between the exported model's and the trainer's scores on dev.
    pub export_difference: f32,
}

/// Goes from labelled texts to a published bundle, for any of the models.
///
/// k, tau, lambda and the threshold that are best on dev become the bundle's. An older bundle at `out`
/// is replaced once the new one is complete, and is left as it was when training fails.
#[derive(Clone, Copy, Debug)]
pub struct TrainingRun<'a> {
    train: &'a Dataset,
    dev: &'a Dataset,
    config: &'a TrainConfig,
    out: &'a Path,
    options: &'a OnnxOptions,
    checkpoints: Option<(&'a Path, Start)>,
    unreadable: Unreadable,
    stop: &'a AtomicBool,
}

/// The flag of a run that nothing stops.
static NEVER: AtomicBool = AtomicBool::new(false);

impl<'a> TrainingRun<'a> {
    /// Takes what every run needs; `dev` must have been made with the vocabulary of `train`.
    pub fn new(
        train: &'a Dataset,
        dev: &'a Dataset,
        config: &'a TrainConfig,
        out: &'a Path,
        options: &'a OnnxOptions,
    ) -> Self {
        let unreadable = Unreadable::default();
        TrainingRun {
            train,
            dev,
            config,
            out,
            options,
            checkpoints: None,
            unreadable,
            stop: &NEVER,
        }
    }

    /// Keeps a checkpoint in a folder of the run's own, at the end of each epoch and when it is stopped,
    /// and beside it `metrics.jsonl`, one line per epoch.
    ///
    /// The checkpoint is removed once the bundle is published.
    pub fn checkpoints(self, folder: &'a Path, start: Start) -> Self {
        TrainingRun { checkpoints: Some((folder, start)), ..self }
    }

    /// Says what becomes of texts that the model cannot read; without it they are left out and counted.
    pub fn unreadable(self, unreadable: Unreadable) -> Self {
        TrainingRun { unreadable, ..self }
    }

    /// Stops with [`TrainError::Stopped`] after the batch in which the flag is raised.
    pub fn stopped_by(self, stop: &'a AtomicBool) -> Self {
        TrainingRun { stop, ..self }
    }
}

/// What a bundle's configuration says of a model.
struct Shape {
    architecture: &'static str,
    input: InputKind,
    special_tokens: bool,
    dimensions: usize,
    normalized: bool,
    /// The digest of what the model starts with, where not all of that is drawn at random. That of an
    /// adapter's encoder is in the encoder's card.
    pretrained: Option<String>,
}

/// What reads texts, and what the bundle says of the model.
struct Plan {
    lexicon: Lexicon,
    bundle: BundleConfig,
}

impl Plan {
    /// Makes what reads texts in training as it will afterwards.
    fn reader(&self) -> Result<TextReader> {
        TextReader::new(self.lexicon.clone(), &self.bundle)
            .map_err(|source| TrainError::Tokenizer { action: "was set up", source })
    }
}

impl TrainingRun<'_> {
    /// Checks what can be checked at once, takes the folder for checkpoints where they are wanted, and
    /// works on as many threads as the settings say.
    fn on_threads<T: Send>(
        &self,
        work: impl FnOnce(Option<Claim>) -> Result<T> + Send,
    ) -> Result<T> {
        self.config.check()?;
        // Found out before hours of training rather than after.
        autotag_onnx::runtime::load(None)?;
        self.options.check_device()?;
        BundleDraft::check_target(self.out)?;
        let claim = self.checkpoints.map(|(folder, start)| Claim::take(folder, start));
        let claim = claim.transpose()?;
        let n_threads = self.config.threads;
        let threads = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build();
        let threads =
            threads.map_err(|source| TrainError::Threads { threads: n_threads, source })?;
        threads.install(|| work(claim))
    }

    /// Trains a model that reads texts through a lexicon, and publishes it.
    fn train_texts<M: Model<Input: From<ModelInput>>>(
        &self,
        lexicon: Lexicon,
        shape: Shape,
        make: impl FnOnce(&[M::Input]) -> M,
        claim: Option<Claim>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(ModelBundle, TrainReport)> {
        let plan = Plan { lexicon, bundle: self.bundle_config(shape) };
        let inputs = Inputs::read(&plan.reader()?, self.train, self.dev, self.unreadable)?;
        let model = make(&inputs.train.texts.texts);
        self.check_export(&model, &plan, &inputs.probes, claim.as_ref(), progress)?;
        self.train(plan, inputs, FirstNeighbors::Exported, model, claim, progress)
    }

    /// Trains a model on the texts that were read, and publishes it.
    ///
    /// What the plan tells of the training beforehand is a part of what training is resumed with, and
    /// stays in the bundle beside the report.
    fn train<M: Model>(
        &self,
        plan: Plan,
        inputs: Inputs<'_, M::Input>,
        first_neighbors: FirstNeighbors,
        mut model: M,
        claim: Option<Claim>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(ModelBundle, TrainReport)> {
        let (train, dev) = (&*inputs.train.dataset, &*inputs.dev.dataset);
        let run = TrainingRun { train, dev, ..*self };
        let folder = claim.map(|claim| claim.of(run.identity(&plan), inputs.skipped()));
        let fitted = run.fit(&mut model, &inputs, folder.as_ref(), progress);
        drop(model);
        let published =
            fitted.and_then(|fitted| run.publish(plan, &inputs, first_neighbors, fitted, progress));
        match (published, folder) {
            (Ok(published), Some(folder)) => folder.clear().map(|()| published),
            (Err(error), Some(folder)) => {
                if would_fail_again(&error) {
                    folder.mark_failed(&error);
                }
                Err(error)
            }
            (published, None) => published,
        }
    }

    /// Trains a model on the texts that were read.
    fn fit<M: Model>(
        &self,
        model: &mut M,
        inputs: &Inputs<'_, M::Input>,
        folder: Option<&RunFolder>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Fitted<M::Snapshot>> {
        let n_labels = self.dev.vocabulary().len();
        let mut context = TrainContext { progress, stop: self.stop, folder };
        fit(model, &inputs.train.texts, &inputs.dev.texts, n_labels, self.config, &mut context)
    }

    /// Tunes a trained model's settings on dev, exports it, compares both and publishes the bundle.
    fn publish<P: Predict>(
        &self,
        plan: Plan,
        inputs: &Inputs<'_, P::Input>,
        first_neighbors: FirstNeighbors,
        fitted: Fitted<P>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(ModelBundle, TrainReport)> {
        let Fitted { network, predictions, report: fit } = fitted;
        progress(Progress::Stage("tune"));
        let Tuned { interpolation, threshold, score } =
            tune::tune(&predictions, Method::Interpolated);

        progress(Progress::Stage("export"));
        let mut draft = self.draft(&network, &plan)?;
        let encoder = draft.encoder(self.options)?;
        let Inputs { train, dev, probes } = inputs;
        let compare =
            |texts: &Readable<'_, _>| compare(&network, &encoder, &texts.dataset, &texts.texts);
        let export_difference = compare(dev)?.max(compare(probes)?);

        progress(Progress::Stage("datastore"));
        let embeddings = match first_neighbors {
            FirstNeighbors::Exported => exported(encoder, self.train)?,
            FirstNeighbors::Trained => {
                drop(encoder);
                let texts: Vec<&P::Input> = train.texts.texts.iter().collect();
                network.predict(&texts).embeddings
            }
        };
        store(&draft, self.train, &embeddings)?;
        let report = TrainReport {
            config: self.config.clone(),
            n_train: self.train.len(),
            n_dev: self.dev.len(),
            skipped: inputs.skipped(),
            fit,
            interpolation,
            threshold,
            dev_micro_f1: score,
            export_difference,
        };
        draft.set_interpolation(interpolation);
        draft.set_selection(Selection::at(threshold));
        draft.set_card(card(draft.config(), &report, self.train));
        draft.set_training(joined(plan.bundle.training, as_json(&report)));
        Ok((draft.publish_replacing()?, report))
    }

    /// Writes a model into a draft of its bundle.
    fn draft<P: Predict>(&self, network: &P, plan: &Plan) -> Result<BundleDraft> {
        let Plan { lexicon, bundle } = plan;
        let mut graph = GraphBuilder::new(&bundle.architecture);
        let answer = network.write(&mut graph);
        let file = finish(graph, &answer, bundle.dimensions.get(), bundle.n_labels);
        let (labels, lexicon) = (self.train.vocabulary(), lexicon.clone());
        Ok(BundleDraft::create(self.out, bundle.clone(), labels, lexicon, file)?)
    }

    /// Returns what a checkpoint of this training belongs to.
    fn identity(&self, plan: &Plan) -> Identity {
        Identity { settings: self.settings(&plan.bundle), data: self.digest(&plan.lexicon) }
    }

    /// Returns the settings that the result depends on; the number of threads is none of them.
    fn settings(&self, bundle: &BundleConfig) -> serde_json::Value {
        let config = TrainConfig { threads: 0, ..self.config.clone() };
        let mut settings = as_json(&config);
        settings["architecture"] = bundle.architecture.clone().into();
        joined(bundle.training.clone(), settings)
    }

    /// Digests what is learned from: keys, texts, labels, and the tokenizer.
    fn digest(&self, lexicon: &Lexicon) -> String {
        let mut digest = Digest::default();
        for dataset in [self.train, self.dev] {
            digest.add(&(dataset.len() as u64).to_le_bytes());
            for ((key, text), labels) in
                dataset.keys().iter().zip(dataset.texts()).zip(dataset.labels())
            {
                digest.add(key.as_bytes());
                digest.add(text.as_bytes());
                for &label in labels.ids() {
                    digest.add(dataset.vocabulary().name(label).as_bytes());
                }
            }
        }
        if let Some(tokenizer) = &lexicon.tokenizer {
            digest.add(tokenizer.to_string(false).unwrap_or_default().as_bytes());
        }
        digest.into_hex()
    }

    fn bundle_config(&self, shape: Shape) -> BundleConfig {
        let positive = |n: usize| NonZeroUsize::new(n).expect("the configuration was checked");
        BundleConfig {
            format_version: FORMAT_VERSION,
            architecture: shape.architecture.to_owned(),
            input: shape.input,
            special_tokens: shape.special_tokens,
            max_length: positive(self.config.max_length),
            dimensions: positive(shape.dimensions),
            n_labels: self.train.vocabulary().len(),
            normalized: shape.normalized,
            interpolation: self.config.interpolation,
            selection: Selection::default(),
            training: shape.pretrained.map_or(
                serde_json::Value::Null,
                |digest| serde_json::json!({ "pretrained": digest }),
            ),
        }
    }
}

/// Whose representations of the training texts become the first neighbors'.
enum FirstNeighbors {
    /// The exported model's.
    Exported,
    /// The trainer's, where running the exported model would take long; both were compared.
    Trained,
}

/// Tells whether the same training would come to the same error.
fn would_fail_again(error: &TrainError) -> bool {
    matches!(error, TrainError::Diverged { .. } | TrainError::ExportDiffers { .. })
}

/// Joins the fields of two JSON objects; `null` is one without fields.
fn joined(mut first: serde_json::Value, second: serde_json::Value) -> serde_json::Value {
    match (first.as_object_mut(), second) {
        (Some(fields), serde_json::Value::Object(more)) => fields.extend(more),
        (_, second) => return second,
    }
    first
}

/// Writes a report as JSON by way of text, which keeps single-precision figures as short as they are.
fn as_json(report: &impl Serialize) -> serde_json::Value {
    let text = serde_json::to_string(report).expect("a report is plain data");
    serde_json::from_str(&text).expect("what was just written is JSON")
}
