use std::collections::BTreeMap;
use std::path::Path;

use ndarray::Array2;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

use super::config::{Architecture, BertConfig};
use super::relative::{N_BUCKETS, RELATIVE_BIAS};
use crate::files::read_regular;
use crate::init::uniform;
use crate::pretrained::{MAX_MODEL_BYTES, floats, tensors};
use crate::rows::{RowMajor as _, row_major};
use crate::{Result, TrainError};

/// An encoder's tensors by their names in Hugging Face's checkpoints of BERT, without the prefix `bert.`.
///
/// MPNet's have BERT's names too, where BERT has such a tensor, and lack the segment table.
/// A tensor of one dimension of length n is a matrix `[1, n]`; a layer's weights are `[out, in]`.
/// Every tensor that [`BertWeights::shapes`] lists is there, with that shape and finite values; what
/// else a file holds, as the pooler or a masked-language head, is left out.
#[derive(Clone, Debug, PartialEq)]
pub struct BertWeights {
    tensors: BTreeMap<String, Array2<f32>>,
}

impl BertWeights {
    /// Reads `model.safetensors` in a folder: 32-bit floats, or 16-bit ones of either kind.
    ///
    /// # Errors
    ///
    /// [`TrainError::Pretrained`] naming the file, and the tensor that is missing or has another
    /// shape than `config.json` asks for.
    pub fn read(folder: &Path, config: &BertConfig) -> Result<Self> {
        let path = folder.join("model.safetensors");
        let refuse = |reason: String| TrainError::Pretrained { path: path.clone(), reason };
        let bytes = read_regular(&path, MAX_MODEL_BYTES).map_err(|error| {
            refuse(format!("{error}; the weights must lie in one file of this name"))
        })?;
        let file = tensors(&bytes).map_err(refuse)?;
        let mut matrices = BTreeMap::new();
        for (name, shape) in BertWeights::shapes(config) {
            let matrix = read_tensor(&file, config.model_type, &name, &shape).map_err(refuse)?;
            matrices.insert(name, matrix);
        }
        Ok(BertWeights { tensors: matrices })
    }

    /// Makes weights of tensors.
    ///
    /// # Panics
    ///
    /// When a tensor that [`BertWeights::shapes`] lists is missing or has another shape.
    pub fn new(config: &BertConfig, mut tensors: BTreeMap<String, Array2<f32>>) -> Self {
        let mut needed = BTreeMap::new();
        for (name, shape) in BertWeights::shapes(config) {
            let matrix = tensors.remove(&name);
            let matrix = matrix.unwrap_or_else(|| panic!("the tensor {name} is missing"));
            assert_eq!((matrix.nrows(), matrix.ncols()), as_matrix(&shape), "tensor {name}");
            needed.insert(name, matrix);
        }
        BertWeights { tensors: needed }
    }

    /// Draws every tensor at random, for tests and benchmarks that need an encoder and no meaning.
    pub fn random(config: &BertConfig, seed: u64) -> Self {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut tensors = BTreeMap::new();
        for (name, shape) in BertWeights::shapes(config) {
            let (n_rows, n_cols) = as_matrix(&shape);
            let mut matrix = uniform(&mut rng, n_rows, n_cols, 0.5);
            if name.ends_with("LayerNorm.weight") {
                matrix.values_mut().iter_mut().for_each(|value| *value += 1.0);
            }
            tensors.insert(name, matrix);
        }
        BertWeights { tensors }
    }

    /// Lists the names and shapes of the tensors that an encoder of this configuration has, in the
    /// order in which a text passes through them.
    pub fn shapes(config: &BertConfig) -> impl Iterator<Item = (String, Vec<usize>)> {
        let &BertConfig { hidden_size: h, intermediate_size: inner, .. } = config;
        let own = match config.model_type {
            Architecture::Bert => {
                ("embeddings.token_type_embeddings.weight", vec![config.type_vocab_size, h])
            }
            Architecture::Mpnet => (RELATIVE_BIAS, vec![N_BUCKETS, config.num_attention_heads]),
        };
        let tables = [
            ("embeddings.word_embeddings.weight", vec![config.vocab_size, h]),
            ("embeddings.position_embeddings.weight", vec![config.max_position_embeddings, h]),
            own,
            ("embeddings.LayerNorm.weight", vec![h]),
            ("embeddings.LayerNorm.bias", vec![h]),
        ];
        let in_layer = [
            ("attention.self.query.weight", vec![h, h]),
            ("attention.self.query.bias", vec![h]),
            ("attention.self.key.weight", vec![h, h]),
            ("attention.self.key.bias", vec![h]),
            ("attention.self.value.weight", vec![h, h]),
            ("attention.self.value.bias", vec![h]),
            ("attention.output.dense.weight", vec![h, h]),
            ("attention.output.dense.bias", vec![h]),
            ("attention.output.LayerNorm.weight", vec![h]),
            ("attention.output.LayerNorm.bias", vec![h]),
            ("intermediate.dense.weight", vec![inner, h]),
            ("intermediate.dense.bias", vec![inner]),
            ("output.dense.weight", vec![h, inner]),
            ("output.dense.bias", vec![h]),
            ("output.LayerNorm.weight", vec![h]),
            ("output.LayerNorm.bias", vec![h]),
        ];
        let tables = tables.into_iter().map(|(name, shape)| (name.to_owned(), shape));
        let layers = (0..config.num_hidden_layers).flat_map(move |layer| {
            in_layer.clone().map(|(name, shape)| (format!("encoder.layer.{layer}.{name}"), shape))
        });
        tables.chain(layers)
    }

    /// Returns a tensor.
    ///
    /// # Panics
    ///
    /// When no tensor of the encoder's has this name.
    pub fn get(&self, name: &str) -> &Array2<f32> {
        self.tensors.get(name).unwrap_or_else(|| panic!("an encoder has no tensor {name}"))
    }

    /// Returns all tensors.
    pub fn into_tensors(self) -> BTreeMap<String, Array2<f32>> {
        self.tensors
    }

    /// Writes the tensors as a safetensors file.
    pub(super) fn to_file(&self, config: &BertConfig) -> Vec<u8> {
        let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = BertWeights::shapes(config)
            .map(|(name, shape)| {
                let values = self.get(&name).values();
                let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                (own_name(config.model_type, &name), shape, bytes)
            })
            .collect();
        let tensors = bytes.iter().map(|(name, shape, bytes)| {
            let tensor = TensorView::new(Dtype::F32, shape.clone(), bytes);
            (name, tensor.expect("the shape is that of the values"))
        });
        safetensors::serialize(tensors, None).expect("the tensors' names are distinct")
    }
}

/// Returns a shape as a matrix has it.
fn as_matrix(shape: &[usize]) -> (usize, usize) {
    match *shape {
        [n_rows, n_cols] => (n_rows, n_cols),
        _ => (1, shape.iter().product()),
    }
}

/// Reads one tensor, under whichever of its names the file has.
fn read_tensor(
    file: &SafeTensors<'_>,
    architecture: Architecture,
    name: &str,
    shape: &[usize],
) -> Result<Array2<f32>, String> {
    let name = &own_name(architecture, name);
    let prefix = architecture.prefix();
    let Some(tensor) = names(name, prefix).iter().find_map(|name| file.tensor(name).ok()) else {
        return Err(format!("it has no tensor {name}, with or without the prefix {prefix:?}"));
    };
    check_shape(name, &tensor, shape)?;
    let values = floats(&tensor).ok_or_else(|| {
        format!("its tensor {name} has the type {:?}: give floats", tensor.dtype())
    })?;
    if !values.iter().all(|value| value.is_finite()) {
        return Err(format!("its tensor {name} has values that are not finite"));
    }
    let (n_rows, n_cols) = as_matrix(shape);
    Ok(row_major(n_rows, n_cols, values))
}

/// The parts of a layer that MPNet's checkpoints name otherwise than BERT's.
const MPNET_NAMES: [(&str, &str); 5] = [
    (".attention.self.query.", ".attention.attn.q."),
    (".attention.self.key.", ".attention.attn.k."),
    (".attention.self.value.", ".attention.attn.v."),
    (".attention.output.dense.", ".attention.attn.o."),
    (".attention.output.LayerNorm.", ".attention.LayerNorm."),
];

/// Returns the name that an architecture's checkpoints give a tensor.
fn own_name(architecture: Architecture, name: &str) -> String {
    match architecture {
        Architecture::Bert => name.to_owned(),
        Architecture::Mpnet => {
            let other = MPNET_NAMES.iter().find(|(bert, _)| name.contains(bert));
            other.map_or_else(|| name.to_owned(), |(bert, mpnet)| name.replace(bert, mpnet))
        }
    }
}

fn check_shape(name: &str, tensor: &TensorView<'_>, expected: &[usize]) -> Result<(), String> {
    let found = tensor.shape();
    if found == expected {
        return Ok(());
    }
    Err(format!(
        "its tensor {name} has the shape {found:?}, and config.json asks for {expected:?}: take both files from the same model"
    ))
}

/// Lists a tensor's names: with and without prefix, and those of older checkpoints' normalizations.
fn names(name: &str, prefix: &str) -> Vec<String> {
    let mut names = vec![name.to_owned()];
    for (new, old) in
        [("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta")]
    {
        if let Some(stem) = name.strip_suffix(new) {
            names.push(format!("{stem}{old}"));
        }
    }
    let prefixed: Vec<String> = names.iter().map(|name| format!("{prefix}{name}")).collect();
    names.extend(prefixed);
    names
}
