//! The models that can be asked for.

use std::ffi::OsStr;

use autotag_train::Preset;
use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::{Arg, Command};

/// A model that was asked for: a preset, or kinds of model joined by "+".
#[derive(Clone, Debug)]
pub(in crate::commands) struct ModelArg {
    pub(in crate::commands) name: String,
    pub(in crate::commands) preset: Preset,
}

impl ModelArg {
    fn new(name: &str) -> Result<Self, String> {
        let preset = name.parse().map_err(|error: autotag_train::TrainError| error.to_string())?;
        Ok(ModelArg { name: name.to_owned(), preset })
    }

    /// Returns the presets.
    pub(super) fn presets() -> impl Iterator<Item = ModelArg> {
        Preset::NAMES.iter().map(|name| ModelArg::new(name).expect("presets can be asked for"))
    }
}

/// Reads a model's name; help and completions show the presets.
#[derive(Clone, Debug)]
pub(in crate::commands) struct ModelParser;

impl TypedValueParser for ModelParser {
    type Value = ModelArg;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<ModelArg, clap::Error> {
        let parser = StringValueParser::new().try_map(|name| ModelArg::new(&name));
        parser.parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(
            Preset::NAMES.into_iter().map(|name| PossibleValue::new(name).help(help(name))),
        ))
    }
}

fn help(name: &str) -> &'static str {
    match name {
        "cnn" => "A convolutional network over tokens",
        "wide" => "Weighted words and pairs of words, and one hidden layer",
        "wide-cnn" => "Both as an ensemble: each learns by itself, and they answer together",
        "adapter" => "A hidden layer on a frozen pretrained encoder, given by --init",
        "wide-cnn-adapter" => "The wide model, the CNN and the adapter as an ensemble",
        "wide-cnn-bert" => {
            "The wide model, the CNN and BERT as an ensemble; needs the feature `burn`"
        }
        "ldgn" => {
            "A vector for each label, over a graph of labels (LDGN); needs the feature `burn`"
        }
        _ => "A pretrained BERT encoder, given by --init, fine-tuned; needs the feature `burn`",
    }
}
