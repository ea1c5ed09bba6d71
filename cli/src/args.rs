//! Options that several commands share.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use autotag::{Proportion, Selection, Temperature, Threshold};
use autotag_documents::{BlankLines, InputFormat, ReadOptions};
use autotag_engine::SettingsOverride;
use autotag_onnx::Device;
use clap::ValueEnum;

/// Options of every command.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Common options")]
pub(crate) struct Common {
    /// The output format
    #[arg(long, global = true, value_enum, default_value = "table", hide_possible_values = true)]
    #[arg(value_name = "table|json")]
    pub(crate) format: Format,

    /// ONNX Runtime's library; else ORT_DYLIB_PATH, else the one that `autotag setup` installed
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) onnxruntime: Option<PathBuf>,

    /// The device that models run on: `auto` takes a GPU where one works, `cuda:N` fails where it does not
    #[arg(long, global = true, default_value = "auto", value_name = "auto|cpu|cuda:N")]
    pub(crate) device: Device,

    /// The number of threads; one for each core where absent
    #[arg(long, global = true, value_name = "N", value_parser = threads)]
    pub(crate) threads: Option<NonZeroUsize>,

    /// Log more to standard error; twice for everything. AUTOTAG_LOG overrides it (such as
    /// `autotag=debug`)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,

    /// Write nothing but errors to standard error
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
}

/// An output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// For programs
    Json,
}

/// The format of documents, and the names of their fields.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Input")]
pub(crate) struct DocumentArgs {
    /// The field with the document's key: a string or a whole number
    #[arg(long, value_name = "FIELD", default_value = "id")]
    pub(crate) key: String,

    /// The field with the text; several, separated by commas, are joined by a line break
    #[arg(long, value_name = "FIELDS", default_value = "text", value_delimiter = ',')]
    pub(crate) text: Vec<String>,

    /// The field with the labels; a document where it is missing, null or empty is unlabeled
    #[arg(long, value_name = "FIELD", default_value = "labels")]
    pub(crate) labels: String,

    /// The files' format; where absent, names ending in .csv or .csv.gz are CSV
    #[arg(long, value_enum, value_name = "jsonl|csv", hide_possible_values = true)]
    input_format: Option<FormatArg>,

    /// The separator of labels in a CSV cell
    #[arg(long, value_name = "TEXT", default_value = ";")]
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) label_separator: String,

    /// The longest line or CSV record that is read, in bytes
    #[arg(long, value_name = "N", default_value_t = ReadOptions::default().max_line_bytes)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
    pub(crate) max_line_bytes: u64,
}

/// A file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FormatArg {
    Jsonl,
    Csv,
}

impl From<FormatArg> for InputFormat {
    fn from(format: FormatArg) -> Self {
        match format {
            FormatArg::Jsonl => InputFormat::Jsonl,
            FormatArg::Csv => InputFormat::Csv,
        }
    }
}

impl DocumentArgs {
    /// Returns the options for reading, blank lines passed over.
    pub(crate) fn read_options(&self) -> ReadOptions {
        ReadOptions {
            format: self.input_format.map(Into::into),
            key: self.key.clone(),
            text: self.text.clone(),
            labels: self.labels.clone(),
            label_separator: self.label_separator.clone(),
            max_line_bytes: self.max_line_bytes,
            blank_lines: BlankLines::Skip,
        }
    }
}

/// Settings in the place of the bundle's.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
#[command(next_help_heading = "Settings")]
pub(crate) struct SettingArgs {
    /// The number of neighbors that vote; like --tau and --lambda, it puts the interpolation in the
    /// place of a learned mix
    #[arg(long, value_name = "N")]
    pub(crate) k: Option<NonZeroUsize>,

    /// The temperature of the votes: the smaller, the more the nearest weigh
    #[arg(long, value_name = "TAU", value_parser = temperature)]
    pub(crate) tau: Option<Temperature>,

    /// The weight of the neighbors, 0 (the model alone) to 1 (the neighbors alone), or `adaptive`:
    /// for each text by how far they confirm the model's confident labels
    #[arg(long, value_name = "LAMBDA|adaptive", value_parser = proportion)]
    pub(crate) lambda: Option<Proportion>,

    /// The lowest score of a tag, 0 to 1
    #[arg(long, value_name = "SCORE", value_parser = threshold)]
    pub(crate) threshold: Option<Threshold>,
}

impl From<SettingArgs> for SettingsOverride {
    fn from(SettingArgs { k, tau, lambda, threshold }: SettingArgs) -> Self {
        SettingsOverride { k, temperature: tau, proportion: lambda, threshold }
    }
}

/// The threshold of suggestions.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
#[command(next_help_heading = "Settings")]
pub(crate) struct ReviewArgs {
    /// The lowest score of a suggestion, a label that is no tag, 0 to 1; where absent the
    /// bundle's, which may have none
    #[arg(long, value_name = "SCORE", value_parser = threshold)]
    review: Option<Threshold>,
}

impl ReviewArgs {
    /// Overrides the threshold of a selection.
    pub(crate) fn put_into(self, selection: &mut Selection) {
        selection.review = self.review.or(selection.review);
    }
}

/// More threads than any machine's: a typing error must not start millions.
const MAX_THREADS: usize = 4096;

fn threads(text: &str) -> Result<NonZeroUsize, String> {
    let number = text.parse().ok().filter(|&number| number <= MAX_THREADS);
    number.and_then(NonZeroUsize::new).ok_or_else(|| format!("it must be within 1..={MAX_THREADS}"))
}

pub(crate) fn temperature(text: &str) -> Result<Temperature, String> {
    Temperature::new(number(text)?).map_err(|error| error.to_string())
}

pub(crate) fn proportion(text: &str) -> Result<Proportion, String> {
    if text == "adaptive" {
        return Ok(Proportion::ADAPTIVE);
    }
    Proportion::new(number(text)?).map_err(|error| error.to_string())
}

fn threshold(text: &str) -> Result<Threshold, String> {
    Threshold::new(number(text)?).map_err(|error| error.to_string())
}

fn number(text: &str) -> Result<f32, String> {
    text.parse().map_err(|_| "it must be a number".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_range_are_refused() {
        assert!(temperature("0").is_err() && temperature("1").is_ok());
        assert!(proportion("1.5").is_err() && proportion("x").is_err());
        assert_eq!(proportion("adaptive"), Ok(Proportion::ADAPTIVE));
        assert!(threshold("-0.1").is_err() && threshold("NaN").is_err());
    }
}
