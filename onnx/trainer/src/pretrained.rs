//! A pretrained model's tokenizer and token table, to start a model from.

use std::path::Path;

use half::{bf16, f16};
use ndarray::Array2;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use tokenizers::Tokenizer;

use crate::files::read_regular;
use crate::rows::row_major;
use crate::{Result, TrainError};

/// The tokens of a pretrained model, with their vectors.
#[derive(Clone, Debug)]
pub struct Pretrained {
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// Its token table, [vocabulary, dimensions].
    pub token_table: Array2<f32>,
}

const TOKENIZER_FILE: &str = "tokenizer.json";

/// The token table's name in BERT's own layout.
pub(crate) const TOKEN_TABLE: &str = "embeddings.word_embeddings.weight";

/// The token table's names in BERT-like checkpoints, and in model2vec's, which hold nothing else.
const TABLE_NAMES: [&str; 5] = [
    TOKEN_TABLE,
    "bert.embeddings.word_embeddings.weight",
    "mpnet.embeddings.word_embeddings.weight",
    "model.embed_tokens.weight",
    "embeddings",
];

impl Pretrained {
    /// Reads `tokenizer.json` and the token table of `model.safetensors` in a folder that is laid
    /// out as Hugging Face's models are.
    ///
    /// # Errors
    ///
    /// [`TrainError::Pretrained`] naming the file and what is wrong with it.
    pub fn read(folder: &Path) -> Result<Self> {
        let tokenizer = read_tokenizer(folder)?;
        let path = folder.join("model.safetensors");
        let refuse = |reason: String| TrainError::Pretrained { path: path.clone(), reason };
        let bytes =
            read_regular(&path, MAX_MODEL_BYTES).map_err(|error| refuse(error.to_string()))?;
        let tensors = tensors(&bytes).map_err(refuse)?;
        let table = TABLE_NAMES.iter().find_map(|name| tensors.tensor(name).ok());
        let table = table.ok_or_else(|| {
            refuse(format!("it has no token table under any of {}", TABLE_NAMES.join(", ")))
        })?;
        let token_table = read_matrix(&table).map_err(refuse)?;
        check_ids(folder, &tokenizer, token_table.nrows())?;
        Ok(Pretrained { tokenizer, token_table })
    }
}

/// The longest `tokenizer.json` that is read; those of multilingual encoders have 20 MB.
const MAX_TOKENIZER_BYTES: u64 = 128 << 20;

/// The longest `model.safetensors` that is read; BERT's large model has 1.3 GB.
pub(crate) const MAX_MODEL_BYTES: u64 = 16 << 30;

/// Reads a folder's `tokenizer.json`.
pub(crate) fn read_tokenizer(folder: &Path) -> Result<Tokenizer> {
    let path = folder.join(TOKENIZER_FILE);
    let bytes = read_regular(&path, MAX_TOKENIZER_BYTES).map_err(|error| error.to_string());
    let read = |bytes| Tokenizer::from_bytes(bytes).map_err(|error| error.to_string());
    bytes.and_then(|bytes| uncaught(|| read(bytes))).map_err(|reason| TrainError::Pretrained {
        path,
        reason: format!("{reason}; give a folder with tokenizer.json and model.safetensors"),
    })
}

/// Reads a safetensors file's header.
pub(crate) fn tensors(bytes: &[u8]) -> Result<SafeTensors<'_>, String> {
    uncaught(|| SafeTensors::deserialize(bytes).map_err(|error| error.to_string()))
}

/// Turns a parser's panic at a damaged file into a reason to refuse it.
fn uncaught<T>(parse: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    // What a parser leaves half done is dropped with its result.
    let parsed = autotag::guarded(parse);
    parsed.unwrap_or_else(|message| Err(format!("it is damaged: its parser panicked: {message}")))
}

/// Refuses a tokenizer with an id that the token table has no row for, and one that fails on a text.
///
/// The largest id counts, not the number of tokens: ids may leave numbers out. The special tokens
/// around a text have their ids from elsewhere than the vocabulary.
pub(crate) fn check_ids(folder: &Path, tokenizer: &Tokenizer, n_rows: usize) -> Result<()> {
    let largest = uncaught(|| largest_id(tokenizer).map_err(|error| error.to_string()));
    let largest = largest
        .map_err(|reason| TrainError::Pretrained { path: folder.join(TOKENIZER_FILE), reason })?;
    if (largest as usize) < n_rows {
        return Ok(());
    }
    let reason = format!(
        "its token table has {n_rows} rows, and the tokenizer has a token with the id {largest}"
    );
    Err(TrainError::Pretrained { path: folder.join("model.safetensors"), reason })
}

fn largest_id(tokenizer: &Tokenizer) -> tokenizers::Result<u32> {
    let mut bare = tokenizer.clone();
    bare.with_padding(None).with_truncation(None)?;
    let around = bare.encode_fast("", true)?;
    // Steps that an empty text does not reach may panic; an error is one text's, as of an unknown word.
    drop(bare.encode_fast("A text, to test 2 ways: \u{e9}\u{8a9e}", true));
    let ids = tokenizer.get_vocab(true).into_values().chain(around.get_ids().iter().copied());
    Ok(ids.max().unwrap_or_default())
}

fn read_matrix(tensor: &TensorView<'_>) -> Result<Array2<f32>, String> {
    let &[n_rows, n_cols] = tensor.shape() else {
        return Err(format!(
            "its token table has the shape {:?}, not two dimensions",
            tensor.shape()
        ));
    };
    let values = floats(tensor)
        .ok_or_else(|| format!("its token table has the type {:?}: give floats", tensor.dtype()))?;
    if n_rows == 0 || n_cols == 0 || !values.iter().all(|value| value.is_finite()) {
        return Err("its token table is empty or has values that are not finite".to_owned());
    }
    Ok(row_major(n_rows, n_cols, values))
}

/// Returns a tensor's values in single precision, or `None` where they are no floats.
pub(crate) fn floats(tensor: &TensorView<'_>) -> Option<Vec<f32>> {
    let bytes = tensor.data();
    let values = match tensor.dtype() {
        Dtype::F32 => bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
        Dtype::F16 => {
            bytes.as_chunks().0.iter().map(|&bytes| f16::from_le_bytes(bytes).to_f32()).collect()
        }
        Dtype::BF16 => {
            bytes.as_chunks().0.iter().map(|&bytes| bf16::from_le_bytes(bytes).to_f32()).collect()
        }
        _ => return None,
    };
    Some(values)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(ids: &[(&str, u32)], dtype: Dtype, bytes: &[u8]) -> Result<Pretrained> {
        read_named(TOKEN_TABLE, ids, dtype, bytes)
    }

    /// Writes a tokenizer whose words have these ids beside a table of rows of 2 values.
    fn read_named(
        table_name: &str,
        ids: &[(&str, u32)],
        dtype: Dtype,
        bytes: &[u8],
    ) -> Result<Pretrained> {
        let folder = tempfile::tempdir().unwrap();
        let vocabulary: serde_json::Map<String, serde_json::Value> =
            ids.iter().map(|&(word, id)| (word.to_owned(), id.into())).collect();
        let tokenizer = serde_json::json!({
            "version": "1.0", "added_tokens": [],
            "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[PAD]"},
        });
        fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
        let n_rows = bytes.len() * 8 / dtype.bitsize() / 2;
        let table = TensorView::new(dtype, vec![n_rows, 2], bytes).unwrap();
        let file = safetensors::serialize([(table_name, table)], None).unwrap();
        fs::write(folder.path().join("model.safetensors"), file).unwrap();
        Pretrained::read(folder.path())
    }

    const IDS: [(&str, u32); 2] = [("[PAD]", 0), ("word", 1)];

    #[test]
    fn a_token_table_is_read_in_single_and_half_precision() {
        let singles: Vec<u8> =
            [0f32, 0.0, 1.5, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let halves: Vec<u8> =
            [0f32, 0.0, 1.5, -2.0].iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect();
        for (dtype, bytes) in [(Dtype::F32, singles), (Dtype::F16, halves)] {
            let table = read(&IDS, dtype, &bytes).unwrap().token_table;
            assert_eq!(table.row(1).to_vec(), [1.5, -2.0]);
        }
    }

    #[test]
    fn a_token_table_is_found_by_its_names_in_several_kinds_of_checkpoints() {
        let bytes: Vec<u8> = [0f32, 0.0, 1.5, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        for name in ["embeddings", "mpnet.embeddings.word_embeddings.weight"] {
            let table = read_named(name, &IDS, Dtype::F32, &bytes).unwrap().token_table;
            assert_eq!(table.row(1).to_vec(), [1.5, -2.0]);
        }
        let error = read_named("other", &IDS, Dtype::F32, &bytes).unwrap_err().to_string();
        assert!(error.contains("no token table") && error.contains("embeddings"), "{error}");
    }

    #[test]
    fn a_table_that_does_not_fit_is_refused() {
        let refused = |ids: &[(&str, u32)], dtype, bytes: &[u8]| {
            read(ids, dtype, bytes).unwrap_err().to_string()
        };
        // Two tokens and two rows, but the second token's id leaves numbers out.
        let gap = refused(&[("[PAD]", 0), ("word", 7)], Dtype::F32, &[0; 16]);
        assert!(gap.contains("2 rows") && gap.contains("id 7"), "{gap}");
        let integers = refused(&IDS, Dtype::I32, &[0; 16]);
        assert!(integers.contains("give floats"), "{integers}");
        let infinite = refused(&IDS, Dtype::F32, &f32::INFINITY.to_le_bytes().repeat(4));
        assert!(infinite.contains("not finite"), "{infinite}");
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_regular_file_is_refused_at_once() {
        use crate::bert::tests::{N_TOKENS, tiny_config, words};
        use crate::bert::{BertFolder, BertWeights, Pooling};
        let config = tiny_config();
        let weights = BertWeights::random(&config, 1);
        let pooling = Some(Pooling::Mean);
        let whole = BertFolder { tokenizer: words(N_TOKENS), config, weights, pooling };
        for name in ["config.json", "tokenizer.json", "model.safetensors", "1_Pooling/config.json"]
        {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join(name);
            whole.write(folder.path()).unwrap();
            fs::remove_file(&path).unwrap();
            std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
            let error = BertFolder::read(folder.path()).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("a pipe or a device"), "{error}");
            fs::remove_file(&path).unwrap();
            let made = std::process::Command::new("mkfifo").arg(&path).status();
            if made.is_ok_and(|status| status.success()) {
                let error = BertFolder::read(folder.path()).unwrap_err().to_string();
                assert!(error.contains("a pipe or a device"), "{error}");
            }
        }
    }

    #[test]
    fn a_parsers_panic_is_a_damaged_file() {
        let error = uncaught(|| -> Result<(), String> { panic!("odd") }).unwrap_err();
        assert!(error.contains("it is damaged"), "{error}");
    }

    #[test]
    fn files_that_are_missing_or_damaged_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = Pretrained::read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("tokenizer.json"), "{error}");
        let model = serde_json::json!({"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"});
        let tokenizer = serde_json::json!({"version": "1.0", "added_tokens": [], "model": model});
        fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
        fs::write(folder.path().join("model.safetensors"), "no tensors").unwrap();
        let error = Pretrained::read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("model.safetensors"), "{error}");
    }
}
