//! Indexes and texts that the benches share.

use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::{Context, Result};
use autotag::{Datastore, DatastoreOptions, Embedding, Fingerprint, LabelVocabulary, Source};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tantivy::TantivyDocument;
use tantivy::schema::Schema;
use tantivy_autotag::{BundleSource, FieldNames, IndexFolder, InitialNeighbors, TagFields};

/// The fingerprint of the benches' encoders.
pub(crate) const ENCODER: Fingerprint = Fingerprint([1; 32]);

/// Makes an index of the schema that autotag needs, with these neighbors and their labels.
pub(crate) fn index(
    path: &Path,
    dimensions: usize,
    labels: LabelVocabulary,
    neighbors: impl Iterator<Item = (Embedding, String)>,
) -> Result<IndexFolder> {
    let seed = seed(&path.with_extension("seed"), dimensions, labels, neighbors)?;
    let mut schema = Schema::builder();
    let fields = TagFields::add_to(&mut schema, &FieldNames::default())?;
    let bundle = BundleSource {
        path: Path::new("none"),
        fingerprint: ENCODER,
        neighbors: InitialNeighbors::TrainingSet(&seed),
    };
    Ok(IndexFolder::create(path, schema.build(), &fields, &bundle)?)
}

/// Makes a datastore with these neighbors and their labels.
pub(crate) fn seed(
    path: &Path,
    dimensions: usize,
    labels: LabelVocabulary,
    neighbors: impl Iterator<Item = (Embedding, String)>,
) -> Result<Datastore> {
    let dimensions = NonZeroUsize::new(dimensions).context("there are dimensions")?;
    let datastore = Datastore::create(path, &DatastoreOptions::new(dimensions, ENCODER, labels))?;
    let mut writer = datastore.writer()?;
    for (number, (embedding, label)) in neighbors.enumerate() {
        writer.put(&format!("seed {number}"), &embedding, &[&label], Source::Training)?;
    }
    writer.commit()?;
    drop(writer);
    Ok(datastore)
}

pub(crate) fn document(fields: &TagFields, key: &str, text: &str) -> TantivyDocument {
    let mut document = TantivyDocument::new();
    document.add_text(fields.key, key);
    document.add_text(fields.texts[0], text);
    document
}

/// Makes texts of 100 words.
pub(crate) struct Texts(StdRng);

impl Texts {
    pub(crate) fn new(seed: u64) -> Self {
        Texts(StdRng::seed_from_u64(seed))
    }

    pub(crate) fn text(&mut self) -> String {
        let words = (0..100).map(|_| {
            // Rare words are rare: the square of a uniform number.
            let share: f32 = self.0.random();
            format!("word{}", (share * share * 5_000.0) as u32)
        });
        words.collect::<Vec<_>>().join(" ")
    }
}
