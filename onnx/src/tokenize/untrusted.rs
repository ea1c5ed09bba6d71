//! Looks a tokenizer's file through before the library reads it: what is in it may panic, take all
//! memory or never end, and was written by anybody.

use std::fmt;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

/// The most steps of normalizing, splitting and completing a text; tokenizers have ten or fewer.
const MAX_STEPS: usize = 64;

/// The most sequences of steps inside of each other: the library's time for one that it refuses doubles
/// with each.
const MAX_DEPTH: usize = 4;

/// The factor by which all replacements together may lengthen a text; the usual make it three times
/// longer, a blank becoming `▁`.
const MAX_GROWTH: usize = 64;

/// The longest character map's entry, and the longest text put before another, in bytes.
const MAX_INSERTED: usize = 64;

/// The longest regular expression, in bytes; those in use have some 300.
const MAX_REGEX: usize = 4096;

/// The longest added token, in bytes.
const MAX_TOKEN: usize = 4096;

/// The longest word that is cut into pieces, in characters: the time goes with its square, and the
/// usual value is 100.
const MAX_WORD: u64 = 1000;

/// The fault of an unusable tokenizer's file.
#[derive(Debug)]
pub(super) struct TokenizerFault {
    step: &'static str,
    reason: String,
}

impl fmt::Display for TokenizerFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.step, self.reason)
    }
}

impl std::error::Error for TokenizerFault {}

type Checked = Result<(), TokenizerFault>;

fn fault<T>(step: &'static str, reason: impl Into<String>) -> Result<T, TokenizerFault> {
    Err(TokenizerFault { step, reason: reason.into() })
}

/// The parts of the file that are looked at.
#[derive(Deserialize)]
struct TokenizerFile {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    /// Decoding is never done.
    #[serde(default, rename = "decoder")]
    _decoder: IgnoredAny,
    model: TokenizerModel,
}

#[derive(Deserialize)]
struct AddedToken {
    content: String,
}

#[derive(Deserialize)]
struct TokenizerModel {
    max_input_chars_per_word: Option<u64>,
}

/// The state of a tokenizer's trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speed {
    /// It goes with the text's length.
    Linear,
    /// It follows from regular expressions or tables in the file.
    Unknown,
}

/// Refuses a file whose tokenizer cannot work, and tells whether the others' time is known.
pub(super) fn inspect(
    bytes: &[u8],
) -> Result<Speed, Box<dyn std::error::Error + Send + Sync + 'static>> {
    let file: TokenizerFile = serde_json::from_slice(bytes)?;
    if file.added_tokens.iter().any(|token| token.content.len() > MAX_TOKEN) {
        fault("an added token", format!("it has over {MAX_TOKEN} bytes"))?;
    }
    let mut inspection = Inspection { n_steps: 0, growth: 1, speed: Speed::Linear };
    for part in [&file.normalizer, &file.pre_tokenizer, &file.post_processor] {
        inspection.step(part, 0)?;
    }
    match file.model.max_input_chars_per_word {
        Some(found) if found > MAX_WORD => {
            let reason = format!("max_input_chars_per_word is {found}, more than {MAX_WORD}");
            fault("the model", reason)?
        }
        _ => Ok(inspection.speed),
    }
}

struct Inspection {
    n_steps: usize,
    growth: usize,
    speed: Speed,
}

impl Inspection {
    /// Looks at a step, and at those inside a sequence.
    fn step(&mut self, step: &Value, depth: usize) -> Checked {
        self.n_steps += 1;
        if self.n_steps > MAX_STEPS || depth > MAX_DEPTH {
            let reason = format!("more than {MAX_STEPS}, or more than {MAX_DEPTH} in each other");
            return fault("the steps", reason);
        }
        // By their fields, since the library accepts some steps without a type.
        if step["length"] == 0 {
            return fault("FixedLength", "its length is 0");
        }
        if text(&step["prepend"]).len() > MAX_INSERTED {
            return fault("Prepend", format!("its text is longer than {MAX_INSERTED} bytes"));
        }
        self.pattern(&step["pattern"])?;
        if let Some(content) = step["content"].as_str() {
            self.replace(content, &step["pattern"])?;
        }
        if let Some(base64) = step["precompiled_charsmap"].as_str() {
            self.character_map(base64)?;
        }
        template(step)?;
        for inner in ["normalizers", "pretokenizers", "processors"] {
            step[inner]
                .as_array()
                .into_iter()
                .flatten()
                .try_for_each(|step| self.step(step, depth + 1))?;
        }
        Ok(())
    }

    fn pattern(&mut self, pattern: &Value) -> Checked {
        if let Some(regex) = pattern["Regex"].as_str() {
            self.speed = Speed::Unknown;
            if regex.len() > MAX_REGEX {
                return fault("a regular expression", format!("it has over {MAX_REGEX} bytes"));
            }
        }
        Ok(())
    }

    /// Bounds by how much replacements one after the other can make a text longer.
    fn replace(&mut self, content: &str, pattern: &Value) -> Checked {
        // An empty pattern is found before every character, an expression may be.
        let growth = match text(&pattern["String"]).len() {
            0 => content.len() + 1,
            length => content.len().div_ceil(length),
        };
        self.growth = self.growth.saturating_mul(growth.max(1));
        if self.growth > MAX_GROWTH {
            let reason = format!("replacements make a text more than {MAX_GROWTH} times longer");
            return fault("Replace", reason);
        }
        Ok(())
    }

    /// Checks a character map of SentencePiece: the length of a table in bytes as u32, the table, and
    /// replacements that end with NUL.
    fn character_map(&mut self, base64: &str) -> Checked {
        self.speed = Speed::Unknown;
        let bytes = decode_base64(base64).unwrap_or_default();
        let Some((length, rest)) = bytes.split_first_chunk::<4>() else {
            return fault("Precompiled", "its character map is empty or not Base64");
        };
        let length = u32::from_le_bytes(*length) as usize;
        if length < 4 || length > rest.len() {
            let reason = format!("its table has {length} bytes, the map {}", rest.len());
            return fault("Precompiled", reason);
        }
        let longest = rest[length..].split(|&byte| byte == 0).map(<[u8]>::len).max();
        match longest {
            Some(longest) if longest > MAX_INSERTED => {
                fault("Precompiled", format!("a character is replaced by {longest} bytes"))
            }
            _ => Ok(()),
        }
    }
}

/// Checks that a template's special tokens are there, each with as many names as ids.
fn template(step: &Value) -> Checked {
    let known = &step["special_tokens"];
    let pieces = ["single", "pair"].into_iter().flat_map(|key| step[key].as_array());
    for piece in pieces.flatten() {
        let Some(id) = piece["SpecialToken"]["id"].as_str() else { continue };
        let length = |field: &str| known[id][field].as_array().map(Vec::len);
        match (length("ids"), length("tokens")) {
            (Some(ids), Some(tokens)) if ids == tokens && ids > 0 => {}
            _ => {
                let id: String = id.chars().take(40).collect();
                return fault("TemplateProcessing", format!("the token {id:?} is not defined"));
            }
        }
    }
    Ok(())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Decodes Base64 with or without padding; `None` where there is another character.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut bits, mut n_bits) = (Vec::with_capacity(text.len()), 0_u32, 0);
    for character in text.trim_end_matches('=').bytes() {
        let value = match character {
            b'A'..=b'Z' => character - b'A',
            b'a'..=b'z' => character - b'a' + 26,
            b'0'..=b'9' => character - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        n_bits += 6;
        if n_bits >= 8 {
            n_bits -= 8;
            bytes.push((bits >> n_bits) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
#[path = "untrusted/tests.rs"]
mod tests;
