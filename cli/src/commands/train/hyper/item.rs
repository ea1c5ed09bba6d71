//! One hyper-parameter: its option, its defaults, and where its value goes.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use autotag::{Proportion, Temperature};
use autotag_train::ContrastiveTemperature;
use autotag_train::bert::Pooling;
use autotag_train::models::cnn::GraphForm;
use clap::builder::EnumValueParser;
use clap::{Arg, ArgAction, ArgMatches, value_parser};

use super::setup::Setup;
use crate::args::{proportion, temperature};
use crate::commands::bundle::from_encoder::PoolingArg;
use crate::commands::train::kind::ModelArg;

/// A hyper-parameter.
pub(super) struct Item {
    arg: Arg,
    put: Box<PutFn>,
}

/// Puts the value where it goes; tells whether there is a value that has no place.
type PutFn = dyn Fn(&ArgMatches, &mut Setup) -> bool;

/// Returns a hyper-parameter.
///
/// `places` names the places in a setup where the value goes, and so tells the defaults, and which kinds
/// of model take it: those with a place for it.
pub(super) fn item<T: Value>(
    name: &'static str,
    value_name: &'static str,
    help: &str,
    places: fn(&mut Setup) -> Vec<&mut T>,
) -> Item {
    let arg = Arg::new(name).long(name).value_name(value_name);
    let put = move |matches: &ArgMatches, setup: &mut Setup| {
        let Some(value) = T::given(matches, name) else { return false };
        let places = places(setup);
        let has_no_place = places.is_empty();
        places.into_iter().for_each(|place| *place = value.clone());
        has_no_place
    };
    Item { arg: T::parsed(arg).help(format!("{help}{}", defaults(places))), put: Box::new(put) }
}

impl Item {
    /// Changes the option beyond its name and value, such as by what it conflicts with.
    pub(super) fn with(self, change: impl FnOnce(Arg) -> Arg) -> Self {
        Item { arg: change(self.arg), ..self }
    }

    /// Returns the option, under a heading.
    pub(super) fn into_arg(self, heading: &'static str) -> Arg {
        self.arg.help_heading(heading)
    }

    /// Puts the value into a setup, where it was given.
    ///
    /// # Errors
    ///
    /// Says so where the kind of model does not take it.
    pub(super) fn put(&self, matches: &ArgMatches, setup: &mut Setup) -> Result<(), String> {
        if (self.put)(matches, setup) {
            return Err(setup.no_use(&format!("--{}", self.arg.get_id())));
        }
        Ok(())
    }
}

/// Returns the end of an option's help: the first kind's default, and those of others that differ.
fn defaults<T: Value>(places: fn(&mut Setup) -> Vec<&mut T>) -> String {
    let of_model = |model: ModelArg| {
        let default = places(&mut Setup::new(&model)).first().and_then(|place| place.shown())?;
        Some((model.name, default))
    };
    let mut kinds = ModelArg::presets().filter_map(of_model);
    let Some((_, first)) = kinds.next() else { return String::new() };
    let others = kinds.filter(|(_, default)| *default != first);
    let others: String = others.map(|(kind, default)| format!(", {kind}: {default}")).collect();
    format!(" [default: {first}{others}]")
}

/// A type of hyper-parameter.
pub(super) trait Value: Clone + 'static {
    /// Returns an option that takes such values.
    fn parsed(arg: Arg) -> Arg;

    /// Returns the value that was given.
    fn given(matches: &ArgMatches, name: &str) -> Option<Self>;

    /// Returns the value as the help shows it, where it does.
    fn shown(&self) -> Option<String>;
}

/// Implements [`Value`] for what prints as it is given.
macro_rules! plain_value {
    ($($type:ty: $parser:expr),* $(,)?) => {$(
        impl Value for $type {
            fn parsed(arg: Arg) -> Arg {
                arg.value_parser($parser)
            }

            fn given(matches: &ArgMatches, name: &str) -> Option<Self> {
                matches.get_one(name).copied()
            }

            fn shown(&self) -> Option<String> {
                Some(self.to_string())
            }
        }
    )*};
}

plain_value! {
    u64: value_parser!(u64),
    usize: value_parser!(usize),
    NonZeroUsize: value_parser!(NonZeroUsize),
    f32: value_parser!(f32),
    Proportion: proportion,
    ContrastiveTemperature: contrastive_temperature,
}

/// Reads a temperature as it is written: `10`, or `relative:0.5`.
fn contrastive_temperature(text: &str) -> Result<ContrastiveTemperature, String> {
    let (number, is_relative) = match text.strip_prefix("relative:") {
        Some(factor) => (factor, true),
        None => (text, false),
    };
    let number = number
        .parse()
        .map_err(|_| "it must be a number, or relative:FACTOR, such as relative:0.5".to_owned())?;
    Ok(match is_relative {
        true => ContrastiveTemperature::Relative { factor: number },
        false => ContrastiveTemperature::Absolute(number),
    })
}

impl Value for Temperature {
    fn parsed(arg: Arg) -> Arg {
        arg.value_parser(temperature)
    }

    fn given(matches: &ArgMatches, name: &str) -> Option<Self> {
        matches.get_one(name).copied()
    }

    fn shown(&self) -> Option<String> {
        Some(self.get().to_string())
    }
}

/// Of which the name alone is `true`.
impl Value for bool {
    fn parsed(arg: Arg) -> Arg {
        arg.value_parser(value_parser!(bool)).num_args(0..=1).default_missing_value("true")
    }

    fn given(matches: &ArgMatches, name: &str) -> Option<Self> {
        matches.get_one(name).copied()
    }

    fn shown(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Value for String {
    fn parsed(arg: Arg) -> Arg {
        arg.value_parser(value_parser!(String))
    }

    fn given(matches: &ArgMatches, name: &str) -> Option<Self> {
        matches.get_one(name).cloned()
    }

    fn shown(&self) -> Option<String> {
        (!self.is_empty()).then(|| self.clone())
    }
}

/// Separated by commas.
impl Value for Vec<usize> {
    fn parsed(arg: Arg) -> Arg {
        arg.value_parser(value_parser!(usize)).value_delimiter(',').action(ArgAction::Append)
    }

    fn given(matches: &ArgMatches, name: &str) -> Option<Self> {
        Some(matches.get_many(name)?.copied().collect())
    }

    fn shown(&self) -> Option<String> {
        let numbers: Vec<String> = self.iter().map(usize::to_string).collect();
        Some(numbers.join(","))
    }
}

/// The form of the exported graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Graph {
    /// Embedding and convolution multiplied into each other: much faster, a larger file
    Folded,
    /// As trained
    Plain,
}

impl Value for GraphForm {
    fn parsed(arg: Arg) -> Arg {
        arg.value_parser(EnumValueParser::<Graph>::new())
    }

    fn given(matches: &ArgMatches, name: &str) -> Option<Self> {
        matches.get_one(name).map(|form| match form {
            Graph::Folded => GraphForm::Folded,
            Graph::Plain => GraphForm::Plain,
        })
    }

    fn shown(&self) -> Option<String> {
        Some(format!("{self:?}").to_lowercase())
    }
}

/// Implements [`Value`] for what is absent by default.
macro_rules! optional_value {
    ($($type:ty, $given:ty: $parser:expr);* $(;)?) => {$(
        impl Value for Option<$type> {
            fn parsed(arg: Arg) -> Arg {
                arg.value_parser($parser)
            }

            fn given(matches: &ArgMatches, name: &str) -> Option<Self> {
                matches.get_one::<$given>(name).cloned().map(|value| Some(value.into()))
            }

            fn shown(&self) -> Option<String> {
                None
            }
        }
    )*};
}

optional_value! {
    f32, f32: value_parser!(f32);
    PathBuf, PathBuf: value_parser!(PathBuf);
    Pooling, PoolingArg: EnumValueParser::<PoolingArg>::new();
}
