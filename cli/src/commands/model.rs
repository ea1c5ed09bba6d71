//! Loads models as the common options say.

use std::num::NonZeroUsize;
use std::path::Path;
use std::thread::available_parallelism;

use anyhow::Context;
use autotag::{Datastore, Interpolation};
use autotag_engine::{Engine, OnnxTagger, Settings};
use autotag_onnx::{ModelBundle, OnnxEncoder, OnnxOptions, runtime};
use tantivy_autotag::{IndexFolder, OnFailure, TaggingWriter};

use crate::args::{Common, SettingArgs};

/// A loaded model and the neighbors that vote.
pub(super) struct Model {
    pub(super) engine: Engine,
    pub(super) datastore: Datastore,
}

impl Model {
    /// Returns a tagger with the bundle's settings, except for those given.
    pub(super) fn tagger(&self, given: SettingArgs) -> OnnxTagger {
        let settings = self.engine.settings.clone().overridden(given.into());
        settings.tagger(self.engine.encoder.clone())
    }
}

/// Loads a bundle's model, with the bundle's training set as neighbors.
pub(super) fn open(bundle: &Path, common: &Common) -> anyhow::Result<Model> {
    let bundle = ModelBundle::open(bundle)?;
    let datastore = bundle.datastore()?;
    Ok(Model { engine: load(bundle, common)?, datastore })
}

/// Loads a bundle's model.
pub(super) fn load(bundle: ModelBundle, common: &Common) -> anyhow::Result<Engine> {
    Ok(Engine::load(bundle, &onnx_options(common)?)?)
}

/// Loads the model of the bundle that an index was made with, or of the one given in its place.
pub(super) fn of_index(
    index: &IndexFolder,
    given: Option<&Path>,
    common: &Common,
) -> anyhow::Result<Engine> {
    load(Engine::bundle_of(index, given)?, common)
}

/// Opens an index for writing, and warns of an unfinished job.
pub(super) fn writer(
    engine: &Engine,
    index: &IndexFolder,
    on_failure: OnFailure,
) -> anyhow::Result<TaggingWriter<OnnxEncoder>> {
    let writer = engine.writer(index, on_failure)?;
    if let Some(job) = writer.unfinished_job() {
        tracing::warn!("{job}: unfinished; `autotag retag --resume` goes on with it");
    }
    Ok(writer)
}

/// Returns how models are run, and loads ONNX Runtime.
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

/// Shows the number of neighbors, the temperature of their votes and their weight; a learned mix has several
/// temperatures and weights.
pub(super) fn votes(settings: &Settings) -> [String; 3] {
    let Interpolation { temperature, proportion, .. } = settings.interpolation;
    let (tau, lambda) = match settings.mix {
        Some(_) => ("-".to_owned(), "learned".to_owned()),
        None => (temperature.get().to_string(), proportion.to_string()),
    };
    [settings.n_neighbors().to_string(), tau, lambda]
}
