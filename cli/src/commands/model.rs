//! Opens what tags: a bundle's model, and the neighbors of the bundle or of an index.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::available_parallelism;

use anyhow::Context;
use autotag::{Datastore, Interpolation, Selection, Tagger};
use autotag_onnx::{ModelBundle, OnnxEncoder, OnnxOptions, runtime};
use tantivy_autotag::{BundleSource, Error, IndexFolder, OnFailure, TaggingWriter, WriterOptions};

use crate::args::{Common, SettingArgs};

/// The tagger that this program runs.
pub(super) type OurTagger = Tagger<OnnxEncoder>;

/// A model that is loaded, with the settings of its bundle and its neighbors.
pub(super) struct Model {
    pub(super) encoder: Arc<OnnxEncoder>,
    pub(super) datastore: Datastore,
    pub(super) settings: Settings,
    pub(super) threads: NonZeroUsize,
}

/// How neighbors vote, and what becomes a tag.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    pub(super) interpolation: Interpolation,
    pub(super) selection: Selection,
}

impl Model {
    /// Returns a tagger with the bundle's settings, but for those given.
    pub(super) fn tagger(&self, given: &SettingArgs) -> OurTagger {
        self.settings.clone().or(given).tagger(self.encoder.clone())
    }
}

impl Settings {
    /// Returns a bundle's.
    pub(super) fn of(bundle: &ModelBundle) -> Self {
        let config = bundle.config();
        let (interpolation, selection) = (config.interpolation, config.selection.clone());
        Settings { interpolation, selection }
    }

    /// Returns a tagger with these settings.
    pub(super) fn tagger(self, encoder: Arc<OnnxEncoder>) -> OurTagger {
        let mut tagger = Tagger::new(encoder);
        (tagger.interpolation, tagger.selection) = (self.interpolation, self.selection);
        tagger
    }

    /// Puts the settings given in the place of these.
    pub(super) fn or(mut self, given: &SettingArgs) -> Self {
        let interpolation = &mut self.interpolation;
        interpolation.k = given.k.unwrap_or(interpolation.k);
        interpolation.temperature = given.tau.unwrap_or(interpolation.temperature);
        interpolation.proportion = given.lambda.unwrap_or(interpolation.proportion);
        if let Some(threshold) = given.threshold {
            // One threshold for all labels was asked for.
            self.selection.threshold = threshold;
            self.selection.per_label.clear();
        }
        self
    }
}

/// Loads a bundle's model, with the bundle's training set as neighbors.
pub(super) fn open(bundle: &Path, common: &Common) -> anyhow::Result<Model> {
    let bundle = ModelBundle::open(bundle)?;
    let datastore = bundle.datastore()?;
    Ok(with_datastore(&bundle, encoder(&bundle, common)?, datastore, common))
}

/// Opens the bundle that an index was made with, or the one given in its place.
pub(super) fn bundle_of(index: &IndexFolder, given: Option<&Path>) -> anyhow::Result<ModelBundle> {
    let path = given.unwrap_or(index.bundle());
    let bundle = ModelBundle::open(path).with_context(|| {
        let index = index.path().display();
        format!("the bundle of the index {index} cannot be opened: say with --bundle where it is")
    })?;
    let (expected, found) = (index.encoder(), bundle.encoder_fingerprint());
    if found != expected {
        return Err(Error::EncoderMismatch { index: expected, tagger: found }.into());
    }
    Ok(bundle)
}

/// Returns where a bundle lies, also for whoever stands in another folder later.
pub(super) fn lasting_path(bundle: &ModelBundle) -> PathBuf {
    std::path::absolute(bundle.path()).unwrap_or_else(|_| bundle.path().to_path_buf())
}

/// Describes a bundle to an index, with what [`lasting_path`] and its datastore are.
pub(super) fn source<'b>(
    bundle: &ModelBundle,
    path: &'b Path,
    training_set: &'b Datastore,
) -> BundleSource<'b> {
    BundleSource { path, fingerprint: bundle.fingerprint(), training_set }
}

/// Loads a bundle's model.
pub(super) fn encoder(bundle: &ModelBundle, common: &Common) -> anyhow::Result<Arc<OnnxEncoder>> {
    Ok(Arc::new(OnnxEncoder::open(bundle, &onnx_options(common)?)?))
}

/// Opens an index for writing.
pub(super) fn writer(
    index: &IndexFolder,
    tagger: OurTagger,
    on_failure: OnFailure,
    common: &Common,
) -> anyhow::Result<TaggingWriter<OnnxEncoder>> {
    let writer = index.writer(tagger, writer_options(on_failure, common))?;
    if let Some(job) = writer.unfinished_job() {
        tracing::warn!("{job}: unfinished; `autotag retag --resume` goes on with it");
    }
    Ok(writer)
}

/// Returns how an index is written to.
pub(super) fn writer_options(on_failure: OnFailure, common: &Common) -> WriterOptions {
    WriterOptions { on_failure, threads: Some(threads(common)), ..WriterOptions::default() }
}

/// Gives a bundle's model neighbors of one's own.
pub(super) fn with_datastore(
    bundle: &ModelBundle,
    encoder: Arc<OnnxEncoder>,
    datastore: Datastore,
    common: &Common,
) -> Model {
    let settings = Settings::of(bundle);
    Model { encoder, datastore, settings, threads: threads(common) }
}

/// Returns how models are to be run, with the ONNX Runtime asked for loaded.
pub(super) fn onnx_options(common: &Common) -> anyhow::Result<OnnxOptions> {
    runtime::load(common.onnxruntime.as_deref()).context("no model can be run")?;
    let mut options = OnnxOptions::default();
    options.device = common.device;
    options.sessions = threads(common);
    Ok(options)
}

/// Returns the number of threads to work with.
pub(super) fn threads(common: &Common) -> NonZeroUsize {
    common.threads.or_else(|| available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN)
}
