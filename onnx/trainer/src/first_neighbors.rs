//! A bundle's first neighbors: the training set's {(h_i, y_i)}.

use ndarray::Array2;

use autotag::datastore::DatastoreOptions;
use autotag::{Datastore, Embedding, Source};
use autotag_onnx::BundleDraft;

use crate::rows::RowMajor as _;
use crate::{Dataset, Result};

/// Stores texts with their representations, [texts, D], as a draft's datastore.
///
/// A text on which nothing is active has no representation and is nobody's neighbor.
pub(crate) fn store(draft: &BundleDraft, texts: &Dataset, embeddings: &Array2<f32>) -> Result<()> {
    let (dimensions, encoder) = (draft.config().dimensions, draft.encoder_fingerprint());
    let options = DatastoreOptions::new(dimensions, encoder, texts.vocabulary().clone());
    let datastore = Datastore::create(&draft.datastore_folder(), &options)?;
    let mut writer = datastore.writer()?;
    let mut n_left_out = 0;
    for (row, (key, labels)) in texts.keys().iter().zip(texts.labels()).enumerate() {
        let values = embeddings.row_slice(row);
        if values.iter().all(|&value| value == 0.0) {
            n_left_out += 1;
            continue;
        }
        let names = labels.ids().iter().map(|&label| texts.vocabulary().name(label));
        let labels: Vec<&str> = names.collect();
        writer.put(key, &Embedding::new(values)?, &labels, Source::Training)?;
    }
    if n_left_out > 0 {
        tracing::warn!(
            n_left_out,
            "texts on which nothing in the representation is active are nobody's neighbors"
        );
    }
    Ok(writer.commit()?)
}
