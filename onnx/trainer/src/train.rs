//! From labeled texts to a published bundle.

mod compare;
mod finish;
mod read;
#[cfg(test)]
mod tests;

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use autotag::tune::{self, Method, Tuned};
use autotag::{LabelFrequencies, Selection};
use autotag_onnx::bundle::FORMAT_VERSION;
use autotag_onnx::graph::GraphBuilder;
use autotag_onnx::{
    BundleConfig, BundleDraft, Lexicon, ModelBundle, OnnxEncoder, OnnxOptions, TextReader,
};

use crate::card::card;
use crate::checkpoint::{Claim, Identity, Start};
use crate::config::TrainConfig;
use crate::dataset::{Dataset, Unreadable};
use crate::digest::Digest;
use crate::error::{Result, TrainError};
use crate::first_neighbors::store;
use crate::fit::{Fitted, TrainContext, fit};
use crate::frozen::{EncoderCard, Encoding, FrozenEncoder};
use crate::initial::Init;
use crate::layers::finish;
use crate::model::{Model, Predict, TextInput};
use crate::readable::Readable;
use crate::report::{Progress, TrainReport};
use crate::setup::{Setup, as_json};
use crate::spec::ModelSpec;
use compare::{compare, exported};
use finish::{rounded_and_projected, stacked};
use read::Inputs;

/// Goes from labeled texts to a published bundle, for any of the models.
///
/// k, tau, lambda and the threshold that are best on dev become the bundle's, and a learned mix where it does
/// better on dev texts that are held out of its fit. An older bundle at `out`
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

    /// Sets the treatment of texts that the model cannot read; by default they are left out and counted.
    pub fn unreadable(self, unreadable: Unreadable) -> Self {
        TrainingRun { unreadable, ..self }
    }

    /// Stops with [`TrainError::Stopped`] after the batch in which the flag is raised.
    pub fn stopped_by(self, stop: &'a AtomicBool) -> Self {
        TrainingRun { stop, ..self }
    }
}

/// The parts that read texts, and the bundle's configuration.
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
        spec: &ModelSpec,
        work: impl FnOnce(Option<Claim>) -> Result<T> + Send,
    ) -> Result<T> {
        self.config.check()?;
        spec.check()?;
        spec.check_features()?;
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

    /// Trains a model, exports it and publishes the bundle.
    ///
    /// `init` has the pretrained values that the model starts from. Without them tokens are learned from
    /// the training texts, and embeddings start at random. A frozen encoder's representations are kept in
    /// the folder `cache` for later runs with the same encoder, where one is given.
    ///
    /// # Errors
    ///
    /// [`TrainError`] says what in the data or the settings cannot be used, or what failed:
    /// [`TrainError::NoEncoder`] where the model is made of an encoder and `init` has none,
    /// [`TrainError::NotBuilt`] where the program lacks a feature that it needs.
    pub fn train(
        &self,
        spec: &ModelSpec,
        init: Init,
        cache: Option<&Path>,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<(ModelBundle, TrainReport)> {
        self.on_threads(spec, |claim| {
            progress(Progress::Stage("tokenize"));
            let prepared = self.prepare(spec, init)?;
            self.train_prepared(prepared, claim, cache, progress)
        })
    }

    /// Reads the texts and makes the model.
    fn prepare<'s>(&'s self, spec: &'s ModelSpec, init: Init) -> Result<Prepared<'s>> {
        let mut setup = Setup::new(self.train, self.config, self.options.device, init);
        spec.prepare(&mut setup)?;
        let frozen = setup.frozen().map(|encoder| self.run_encoder(encoder)).transpose()?;
        let bundle = self.bundle_config(spec, &setup, frozen.as_ref());
        let plan = Plan { lexicon: setup.lexicon(), bundle };
        let inputs = Inputs::read(&plan.reader()?, self.train, self.dev, self.unreadable)?;
        let model = spec.make(&setup, &inputs.train.texts.texts)?;
        Ok(Prepared { spec, plan, inputs, model, encoder: frozen.map(|frozen| frozen.encoder) })
    }

    /// Trains a model and publishes it.
    ///
    /// The plan's `training` is part of the checkpoint's identity, and stays in the bundle beside the
    /// report.
    fn train_prepared(
        &self,
        prepared: Prepared<'_>,
        claim: Option<Claim>,
        cache: Option<&Path>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(ModelBundle, TrainReport)> {
        let Prepared { spec, mut plan, mut inputs, mut model, encoder } = prepared;
        // A difference of the export is found before the encoder goes through all texts, which takes
        // most of the time.
        if let Some(encoder) = &encoder {
            self.encode_probes(encoder, &mut inputs.probes)?;
        }
        self.check_export(&*model, &plan, &inputs.probes, claim.as_ref(), progress)?;
        let neighbors = match encoder {
            Some(encoder) => {
                let max_length = plan.bundle.max_length.get();
                let encoding = Encoding { encoder: &encoder, max_length, cache, stop: self.stop };
                for part in [&mut inputs.train, &mut inputs.dev] {
                    part.add_encoded(&encoding.encode(&part.dataset, progress)?);
                }
                NeighborSource::Trained
            }
            None => NeighborSource::Exported,
        };
        let (train, dev) = (&*inputs.train.dataset, &*inputs.dev.dataset);
        let run = TrainingRun { train, dev, ..*self };
        let folder = claim.map(|claim| claim.of(run.identity(spec, &plan), inputs.skipped()));
        let mut context = TrainContext {
            progress,
            stop: self.stop,
            folder: folder.as_ref(),
            learning_rate: spec.learning_rate(),
        };
        let n_labels = dev.vocabulary().len();
        let (texts, dev_texts) = (&inputs.train.texts, &inputs.dev.texts);
        let fitted = fit(&mut *model, texts, dev_texts, n_labels, self.config, &mut context);
        drop(model);
        let fitted = fitted.map(|fitted| {
            let (n_dimensions, bundle) = (self.config.projection, &mut plan.bundle);
            let fitted = rounded_and_projected(fitted, n_dimensions, bundle, texts, dev_texts);
            let n_ngrams = plan.lexicon.ngrams.as_ref().map_or(0, |ngrams| ngrams.len());
            let sizes = [n_ngrams, n_labels];
            stacked(fitted, spec.n_linear(), sizes, texts, dev_texts, progress)
        });
        let published =
            fitted.and_then(|fitted| run.publish(spec, plan, &inputs, neighbors, fitted, progress));
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

    /// Tunes a trained model's settings on dev, exports it, compares both and publishes the bundle.
    fn publish(
        &self,
        spec: &ModelSpec,
        plan: Plan,
        inputs: &Inputs<'_>,
        neighbors: NeighborSource,
        fitted: Fitted,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(ModelBundle, TrainReport)> {
        let Fitted { network, predictions, report: fit } = fitted;
        progress(Progress::Stage("tune"));
        let Tuned { interpolation, threshold, score } =
            tune::tune(&predictions, Method::Interpolated);
        let frequencies = LabelFrequencies::count(self.train.labels());
        let fitted = tune::fit_mix(&predictions, plan.bundle.n_labels, &frequencies);
        let mix_held_out = fitted.as_ref().map(|fitted| fitted.held_out);
        let interpolated_held_out = fitted.as_ref().map(|fitted| fitted.interpolated_held_out);

        progress(Progress::Stage("export"));
        let mut draft = self.draft(&*network, &plan)?;
        let encoder = draft.encoder(self.options)?;
        let Inputs { train, dev, probes } = inputs;
        let compare =
            |texts: &Readable<'_>| compare(&*network, &encoder, &texts.dataset, &texts.texts);
        let export_difference = compare(dev)?.max(compare(probes)?);

        progress(Progress::Stage("datastore"));
        let embeddings = match neighbors {
            NeighborSource::Exported => exported(encoder, self.train)?,
            NeighborSource::Trained => {
                drop(encoder);
                let texts: Vec<&TextInput> = train.texts.texts.iter().collect();
                network.predict(&texts).embeddings
            }
        };
        store(&draft, self.train, &embeddings)?;
        let report = TrainReport {
            spec: Some(spec.clone()),
            config: self.config.clone(),
            n_train: self.train.len(),
            n_dev: self.dev.len(),
            skipped: inputs.skipped(),
            fit,
            interpolation,
            threshold,
            dev_micro_f1: score,
            mix_held_out,
            interpolated_held_out,
            export_difference,
        };
        draft.set_interpolation(interpolation);
        draft.set_mix(fitted.filter(|_| report.uses_mix()).map(|fitted| fitted.mix));
        draft.set_selection(Selection::at(threshold));
        draft.set_card(card(draft.config(), &report, self.train));
        draft.set_training(joined(plan.bundle.training, as_json(&report)));
        Ok((draft.publish_replacing()?, report))
    }

    /// Writes a model into a draft of its bundle.
    fn draft(&self, network: &dyn Predict, plan: &Plan) -> Result<BundleDraft> {
        let Plan { lexicon, bundle } = plan;
        let mut graph = GraphBuilder::new(&bundle.architecture);
        let answer = network.write(&mut graph);
        let file = finish(graph, &answer, bundle.dimensions.get(), bundle.n_labels);
        let (labels, lexicon) = (self.train.vocabulary(), lexicon.clone());
        Ok(BundleDraft::create(self.out, bundle.clone(), labels, lexicon, file)?)
    }

    /// Returns the identity of this training's checkpoint; the result depends on all of it, and the
    /// number of threads is none of it.
    fn identity(&self, spec: &ModelSpec, plan: &Plan) -> Identity {
        let mut settings = as_json(&TrainConfig { threads: 0, ..self.config.clone() });
        settings["model"] = as_json(spec);
        let settings = joined(plan.bundle.training.clone(), settings);
        Identity { settings, data: self.digest(&plan.lexicon) }
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

    fn bundle_config(
        &self,
        spec: &ModelSpec,
        setup: &Setup<'_>,
        frozen: Option<&RunningEncoder>,
    ) -> BundleConfig {
        let positive = |n: usize| NonZeroUsize::new(n).expect("the configuration was checked");
        let training = match (frozen, &setup.pretrained) {
            (Some(frozen), _) => serde_json::json!({ "encoder": frozen.card }),
            (None, Some(digest)) => serde_json::json!({ "pretrained": digest }),
            (None, None) => serde_json::Value::Null,
        };
        let max_length = frozen.map(|frozen| frozen.max_length);
        BundleConfig {
            format_version: FORMAT_VERSION,
            architecture: spec.architecture(),
            input: setup.input(),
            special_tokens: setup.special_tokens,
            prefix: setup.frozen().map_or_else(String::new, |frozen| frozen.prefix().to_owned()),
            max_length: max_length.unwrap_or_else(|| positive(self.config.max_length)),
            dimensions: positive(spec.dimensions(setup)),
            n_labels: self.train.vocabulary().len(),
            normalized: spec.normalize(),
            interpolation: self.config.interpolation,
            mix: None,
            selection: Selection::default(),
            training,
        }
    }

    /// Makes a frozen encoder ready to encode.
    fn run_encoder(&self, encoder: &FrozenEncoder) -> Result<RunningEncoder> {
        // A bundle of the encoder alone, which is never published.
        let draft = encoder.draft(self.config.max_length, self.out)?;
        let running = draft.encoder(self.options)?;
        let card = encoder.card(draft.encoder_fingerprint());
        Ok(RunningEncoder { encoder: running, max_length: draft.config().max_length, card })
    }

    /// Encodes the few texts that the export is compared on; nobody needs them again.
    fn encode_probes(&self, encoder: &OnnxEncoder, probes: &mut Readable<'_>) -> Result<()> {
        let encoding = Encoding { encoder, max_length: usize::MAX, cache: None, stop: self.stop };
        probes.add_encoded(&encoding.encode(&probes.dataset, &mut |_| {})?);
        Ok(())
    }
}

/// A training before its first step.
struct Prepared<'a> {
    spec: &'a ModelSpec,
    plan: Plan,
    inputs: Inputs<'a>,
    model: Box<dyn Model>,
    /// The frozen encoder whose representations the model reads.
    encoder: Option<OnnxEncoder>,
}

/// A frozen encoder that is ready to encode.
struct RunningEncoder {
    encoder: OnnxEncoder,
    max_length: NonZeroUsize,
    card: EncoderCard,
}

/// The model whose representations of the training texts become the first neighbors'.
enum NeighborSource {
    /// The exported one.
    Exported,
    /// The trained one, where running the exported model would take long; both were compared.
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
