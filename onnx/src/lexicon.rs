//! The reading of a text into a model's inputs, and the files of a bundle for it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use autotag::EncodeError;
use tokenizers::Tokenizer;

use crate::bundle::config::BundleConfig;
use crate::bundle::files::{self, NGRAMS, TOKENIZER};
use crate::bundle::input::InputKind;
use crate::ngrams::{Features, NgramVocabulary};
use crate::tokenize::{self, beginning};
use crate::{BYTES_PER_TOKEN, OnnxError, Result, TextTokenizer};

/// The longest time that a bundle's vocabularies may take until they have been read and tried.
const READY_WITHIN: Duration = Duration::from_secs(15);

/// The tokenizer, the vocabulary of n-grams, or both, as a model's [`InputKind`] asks for.
#[derive(Clone, Debug, Default)]
pub struct Lexicon {
    /// The tokenizer of a model that reads token ids.
    pub tokenizer: Option<Tokenizer>,
    /// The n-grams of a model that reads them.
    pub ngrams: Option<Arc<NgramVocabulary>>,
}

impl From<&Tokenizer> for Lexicon {
    fn from(tokenizer: &Tokenizer) -> Self {
        Lexicon { tokenizer: Some(tokenizer.clone()), ngrams: None }
    }
}

impl From<NgramVocabulary> for Lexicon {
    fn from(ngrams: NgramVocabulary) -> Self {
        Lexicon { tokenizer: None, ngrams: Some(Arc::new(ngrams)) }
    }
}

impl Lexicon {
    /// Returns the files' names and contents.
    pub(crate) fn files(&self, folder: &Path) -> Result<Vec<(&'static str, Vec<u8>)>> {
        let mut files = Vec::new();
        if let Some(tokenizer) = &self.tokenizer {
            let json = tokenizer.to_string(false).map_err(tokenizer_error(folder))?;
            files.push((TOKENIZER, json.into_bytes()));
        }
        if let Some(ngrams) = &self.ngrams {
            files.push((NGRAMS, ngrams.to_json()));
        }
        Ok(files)
    }

    /// Returns what a lexicon can feed, as the configuration's `input` names it.
    pub(crate) fn kind(&self) -> Option<InputKind> {
        match (&self.tokenizer, &self.ngrams) {
            (Some(_), None) => Some(InputKind::TokenIds),
            (None, Some(_)) => Some(InputKind::Ngrams),
            (Some(_), Some(_)) => Some(InputKind::TokensAndNgrams),
            (None, None) => None,
        }
    }
}

fn tokenizer_error<E: Into<tokenizers::Error>>(folder: &Path) -> impl Fn(E) -> OnnxError {
    |source| OnnxError::Tokenizer { path: folder.to_path_buf(), source: source.into() }
}

fn read_ngrams(path: &Path) -> Result<NgramVocabulary> {
    let unusable = |source| OnnxError::Ngrams { path: path.to_path_buf(), source };
    NgramVocabulary::from_json(&files::read(path)?).map_err(unusable)
}

/// A model's input for one text: token ids, n-grams, or both.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelInput {
    /// The token ids; none where the model reads n-grams only.
    pub ids: Vec<u32>,
    /// The n-grams; none where the model reads token ids only, or knows none of the text's.
    pub features: Features,
}

impl ModelInput {
    /// Returns the token ids.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Returns the number of columns that the text takes in a batch.
    pub(crate) fn length(&self) -> usize {
        self.ids.len().max(self.features.ids.len())
    }
}

/// Turns texts into what a model reads, at a bounded cost whatever their length.
#[derive(Clone, Debug)]
pub struct TextReader {
    tokenizer: Option<TextTokenizer>,
    ngrams: Option<Arc<NgramVocabulary>>,
    max_length: usize,
}

impl TextReader {
    /// Reads texts with a lexicon, as the configuration says.
    ///
    /// # Errors
    ///
    /// When the tokenizer's special tokens leave no room within the maximal length.
    pub fn new(lexicon: Lexicon, config: &BundleConfig) -> Result<Self, tokenizers::Error> {
        let Lexicon { tokenizer, ngrams } = lexicon;
        let tokenizer = tokenizer.map(|t| TextTokenizer::new(t, config)).transpose()?;
        Ok(TextReader { tokenizer, ngrams, max_length: config.max_length.get() })
    }

    /// Reads the files that a bundle has for its model, which may come from anybody.
    ///
    /// # Errors
    ///
    /// [`OnnxError::Tokenizer`] and [`OnnxError::Ngrams`] for files that cannot be used, also when
    /// their library panics or takes more than 15 seconds.
    pub fn open(folder: &Path, config: &BundleConfig) -> Result<Self> {
        let files = Files { folder: folder.to_path_buf(), config: config.clone() };
        tokenize::within(READY_WITHIN, move || files.read_and_try())
            .unwrap_or_else(|error| Err(tokenizer_error(folder)(error)))
    }

    /// Reads a text: its first tokens or words, as many as the configuration's maximal length.
    ///
    /// Only the text's first [`BYTES_PER_TOKEN`] bytes per token or word are read.
    ///
    /// # Errors
    ///
    /// [`EncodeError::EmptyText`] when the text has no token or word, [`EncodeError::Tokenize`] when
    /// the tokenizer fails.
    pub fn read(&self, text: &str) -> Result<ModelInput, EncodeError> {
        let mut input = ModelInput::default();
        if let Some(tokenizer) = &self.tokenizer {
            input.ids = tokenizer.ids(text)?;
        }
        if let Some(ngrams) = &self.ngrams {
            let n_bytes = self.max_length.saturating_mul(BYTES_PER_TOKEN);
            input.features =
                ngrams.features(beginning(text.trim_start(), n_bytes), self.max_length)?;
        }
        Ok(input)
    }

    /// Returns two inputs that every model should be able to read: the shortest, and a longer one.
    ///
    /// Among their n-grams is the one with the greatest id, so that a model which has no row for it
    /// is found out.
    pub(crate) fn test_inputs(&self) -> [ModelInput; 2] {
        let (mut shortest, mut longer) = (ModelInput::default(), ModelInput::default());
        if let Some(tokenizer) = &self.tokenizer {
            longer.ids = tokenizer.ids(TEST_TEXT).unwrap_or_else(|_| vec![0]);
            shortest.ids = longer.ids[..1].to_vec();
        }
        if let Some(ngrams) = &self.ngrams {
            let last = ngrams.len() as u32 - 1;
            let mut ids: Vec<u32> = (0..last.min(TEST_NGRAMS)).collect();
            ids.push(last);
            let weights = vec![1.0 / (ids.len() as f32).sqrt(); ids.len()];
            longer.features = Features { ids, weights };
            shortest.features = Features { ids: vec![last], weights: vec![1.0] };
        }
        [shortest, longer]
    }
}

/// The vocabularies' files in a folder that may come from anybody.
struct Files {
    folder: PathBuf,
    config: BundleConfig,
}

impl Files {
    fn read_and_try(&self) -> Result<TextReader> {
        let Files { folder, config } = self;
        let mut lexicon = Lexicon::default();
        let mut speed = None;
        if config.input.reads_tokens() {
            let bytes = files::read(&folder.join(TOKENIZER))?;
            let (tokenizer, its_speed) = tokenize::read(&bytes).map_err(tokenizer_error(folder))?;
            lexicon.tokenizer = Some(tokenizer);
            speed = Some(its_speed);
        }
        if config.input.reads_ngrams() {
            lexicon.ngrams = Some(Arc::new(read_ngrams(&folder.join(NGRAMS))?));
        }
        let reader = TextReader::new(lexicon, config).map_err(tokenizer_error(folder))?;
        if let (Some(tokenizer), Some(speed)) = (&reader.tokenizer, speed) {
            tokenizer.try_texts(speed).map_err(tokenizer_error(folder))?;
        }
        Ok(reader)
    }
}

const TEST_TEXT: &str = "a text to test the model";

/// The n-grams of a test input, beside the last.
const TEST_NGRAMS: u32 = 15;
