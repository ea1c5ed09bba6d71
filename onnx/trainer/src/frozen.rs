//! A pretrained encoder that is not trained further: a bundle of it alone, and a corpus through it.

mod cache;
mod encode;
mod encoder;
mod report;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use autotag::{Encoder, Selection};
use autotag_onnx::{BundleDraft, ModelBundle, OnnxEncoder, OnnxOptions};

use crate::bert::{BertFolder, Pooling};
use crate::card::encoder_card;
use crate::first_neighbors::store;
use crate::readable::Readable;
use crate::report::Progress;
use crate::{Dataset, Result, Skipped, TrainError, Unreadable};

pub(crate) use encode::Encoding;
pub use encoder::{DEFAULT_LENGTH, EncoderCard, FrozenEncoder};
pub use report::EncoderReport;

/// The settings of an encoder that is not trained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncoderSettings {
    /// The pooling of token representations; `None` for the folder's own, else the mean.
    pub pooling: Option<Pooling>,
    /// Put before each text, as `query: ` for an encoder that was trained so; at most
    /// [`MAX_PREFIX`](autotag_onnx::bundle::MAX_PREFIX) bytes.
    pub prefix: String,
    /// The most tokens of a text that are read, special ones included; the encoder's positions are
    /// a bound too.
    pub max_length: usize,
    /// The folder in which embeddings are kept between runs; `None` to keep none.
    pub cache: Option<PathBuf>,
    /// The treatment of texts that the encoder cannot read.
    pub unreadable: Unreadable,
}

impl Default for EncoderSettings {
    fn default() -> Self {
        let unreadable = Unreadable::default();
        EncoderSettings {
            pooling: None,
            prefix: String::new(),
            max_length: DEFAULT_LENGTH,
            cache: None,
            unreadable,
        }
    }
}

/// Labeled texts for a bundle whose model was not trained on them.
#[derive(Clone, Copy, Debug)]
pub struct FirstNeighbors<'a> {
    /// The texts that become the first neighbors.
    pub texts: &'a Dataset,
    /// The texts that k, tau and the threshold are tuned on, where there are some.
    pub dev: Option<&'a Dataset>,
}

/// Publishes a bundle of a pretrained encoder at `out`: it scores no label, and tags come from
/// neighbors alone.
///
/// Representations have length 1. Without `neighbors` its datastore is empty, and there are tags
/// from the first labeled documents of an index on. An older bundle at `out` is replaced once the
/// new one is complete. Where `stop` is raised while texts are encoded, that is an error; what was
/// encoded is kept for the next run.
///
/// # Errors
///
/// [`TrainError`] says what in the folder, the data or the settings cannot be used, or what failed;
/// `out` is left as it was then.
pub fn bundle_encoder(
    folder: &Path,
    neighbors: Option<FirstNeighbors<'_>>,
    settings: &EncoderSettings,
    out: &Path,
    options: &OnnxOptions,
    stop: &AtomicBool,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<(ModelBundle, EncoderReport)> {
    crate::check::at_least_1("max length", settings.max_length)?;
    crate::check::is_prefix(&settings.prefix)?;
    options.check_device()?;
    BundleDraft::check_target(out)?;
    let n_threads = options.sessions.get();
    let threads = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build();
    let threads = threads.map_err(|source| TrainError::Threads { threads: n_threads, source })?;
    threads.install(|| {
        progress(Progress::Stage("read the encoder"));
        let folder = Arc::new(BertFolder::read(folder)?);
        let encoder = FrozenEncoder::new(folder, settings.pooling, &settings.prefix);
        let mut draft = encoder.draft(settings.max_length, out)?;
        let mut report = EncoderReport::untuned(encoder.card(draft.encoder_fingerprint()));
        drop(encoder);
        // A model that does not run is found out before anything else.
        let encoder = draft.encoder(options)?;
        if let Some(FirstNeighbors { texts, dev }) = neighbors {
            let readable = |part, texts| readable(part, &encoder, texts, settings.unreadable);
            let texts = readable("training", texts)?;
            let dev = dev.map(|dev| readable("dev", dev)).transpose()?;
            let n_skipped = |texts: &Readable<'_>| texts.n_skipped;
            report.skipped =
                Skipped { train: n_skipped(&texts), dev: dev.as_ref().map_or(0, n_skipped) };
            let (texts, dev) = (&*texts.dataset, dev.as_ref().map(|dev| &*dev.dataset));
            let max_length = draft.config().max_length.get();
            let cache = settings.cache.as_deref();
            let encoding = Encoding { encoder: &encoder, max_length, cache, stop };
            let embeddings = encoding.encode(texts, progress)?;
            let dev = match dev {
                Some(dev) => Some((dev, encoding.encode(dev, progress)?)),
                None => None,
            };
            progress(Progress::Stage("datastore"));
            store(&draft, texts, &embeddings)?;
            report.n_neighbors = texts.len();
            if let Some((dev, dev_embeddings)) = dev {
                progress(Progress::Stage("tune"));
                report.tune(texts, &embeddings, dev, &dev_embeddings);
            }
        }
        drop(encoder);
        draft.set_interpolation(report.interpolation);
        draft.set_selection(Selection::at(report.threshold));
        draft.set_card(encoder_card(draft.config(), &report));
        draft.set_training(serde_json::to_value(&report).expect("a report is plain data"));
        Ok((draft.publish_replacing()?, report))
    })
}

/// Reads a part of the data as the encoder does.
fn readable<'a>(
    part: &'static str,
    encoder: &OnnxEncoder,
    texts: &'a Dataset,
    unreadable: Unreadable,
) -> Result<Readable<'a>> {
    Readable::of_part(part, &|text| encoder.tokenize(text), texts, unreadable)
}
