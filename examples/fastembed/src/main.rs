//! How do I tag with the embeddings of a library such as fastembed?
//!
//! `cargo run -- MODEL INDEX` in this folder, where MODEL has `model.onnx` and the tokenizer's files of a
//! sentence encoder, and INDEX does not exist yet.
//!
//! An [`Embedder`] is all that autotag needs to know of a library: a name for the embedding space, the
//! length of its vectors, and a function from texts to vectors.

use std::env;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use autotag::embedder::matrix_of;
use autotag::ndarray::Array2;
use autotag::{DatastoreOptions, EmbedError, Embedder, Fingerprint, Tagger};
use fastembed::{
    InitOptionsUserDefined, Pooling, TextEmbedding, TokenizerFiles, UserDefinedEmbeddingModel,
};
use tantivy::doc;
use tantivy::schema::Schema;
use tantivy_autotag::{BundleSource, FieldNames, IndexFolder, TagFields, WriterOptions};

/// A sentence encoder run by fastembed.
struct SentenceEncoder {
    /// It embeds one batch at a time, on all cores.
    model: Mutex<TextEmbedding>,
    id: String,
    dimensions: usize,
}

impl SentenceEncoder {
    fn open(folder: &Path) -> Result<Self> {
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        let onnx = read("model.onnx")?;
        // Another model file is another embedding space.
        let id = format!("fastembed, mean pooling, {}", Fingerprint::of(&onnx));
        let tokenizer = TokenizerFiles {
            tokenizer_file: read("tokenizer.json")?,
            config_file: read("config.json")?,
            special_tokens_map_file: read("special_tokens_map.json")?,
            tokenizer_config_file: read("tokenizer_config.json")?,
        };
        let model = UserDefinedEmbeddingModel::new(onnx, tokenizer).with_pooling(Pooling::Mean);
        let options = InitOptionsUserDefined::new();
        let mut model = TextEmbedding::try_new_from_user_defined(model, options)?;
        let dimensions = model.embed(["a text"], None)?[0].len();
        Ok(SentenceEncoder { model: Mutex::new(model), id, dimensions })
    }
}

impl Embedder for SentenceEncoder {
    fn id(&self) -> &str {
        &self.id
    }

    fn dimensions(&self) -> usize {
        self.dimensions
    }

    fn embed(&self, texts: &[&str]) -> Result<Array2<f32>, EmbedError> {
        let mut model = self.model.lock().unwrap_or_else(PoisonError::into_inner);
        let embeddings = model.embed(texts, None)?;
        Ok(matrix_of(self.dimensions, &embeddings)?)
    }
}

fn main() -> Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [model, index] = &args[..] else { anyhow::bail!("give a model's folder and an index's") };
    let encoder = SentenceEncoder::open(Path::new(model))?;

    let mut schema = Schema::builder();
    let fields = TagFields::add_to(&mut schema, &FieldNames::default())?;
    // There is no bundle, so the index begins without neighbors.
    let neighbors = DatastoreOptions::of(&encoder)?;
    let source = BundleSource::without_bundle(&neighbors);
    let index = IndexFolder::create(Path::new(index), schema.build(), &fields, &source)?;
    let writer = index.writer(Tagger::new(Arc::new(encoder)), WriterOptions::default())?;

    let (key, text) = (fields.key, fields.texts[0]);
    writer.add_labeled(doc!(key => "1", text => "Changing a car's oil"), ["cars"])?;
    writer.add_labeled(doc!(key => "2", text => "A recipe for bread"), ["food"])?;
    writer.commit()?;
    writer.add(doc!(key => "3", text => "My engine is too hot"))?;
    writer.commit()?;
    writer.close()?;

    let found = index.searcher()?.document("3")?.context("it was committed")?;
    println!("tags of 3: {:?}", found.tags);
    Ok(())
}
