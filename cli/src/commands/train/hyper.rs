//! The hyper-parameters as options; the trainer's configuration has their defaults.

mod item;
pub(super) mod setup;
mod table;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use autotag_train::ModelSpec;
use clap::error::Error;
use clap::{ArgMatches, Command, FromArgMatches};

use super::kind::ModelArg;
use crate::commands::bundle::from_encoder::CacheArgs;

use setup::Setup;

/// Every hyper-parameter of the models and their training.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::commands) struct HyperArgs {
    #[command(flatten)]
    given: Given,

    #[command(flatten, next_help_heading = table::ADAPTER)]
    cache: CacheArgs,
}

impl HyperArgs {
    /// Returns the folder of an encoder's cached representations, for a bundle at `out`.
    pub(in crate::commands) fn cache(&self, out: &Path) -> Option<PathBuf> {
        self.cache.folder(out)
    }

    /// Returns the setup of a training.
    ///
    /// # Errors
    ///
    /// Says which option is out of range or of no use for this kind of model.
    pub(in crate::commands) fn setup(
        &self,
        model: &ModelArg,
        threads: NonZeroUsize,
    ) -> Result<Setup, String> {
        let Given(given) = &self.given;
        let mut setup = Setup::new(model);
        for item in table::groups().iter().flat_map(|(_, items)| items) {
            item.put(given, &mut setup)?;
        }
        if let Some(option) = self.cache.given().filter(|_| !setup.has_adapter()) {
            return Err(setup.no_use(option));
        }
        // The lexical part needs a representation of unit length.
        if let ModelSpec::Wide(wide) = &mut setup.spec
            && !wide.normalize
            && !given.contains_id("lexical")
        {
            wide.lexical = 0;
        }
        setup.set_weights()?;
        setup.config.threads = threads.get();
        let checked = setup.config.check().and_then(|()| setup.spec.check());
        checked.map_err(|error| error.to_string())?;
        Ok(setup)
    }
}

/// The hyper-parameters of the table, as they were given.
#[derive(Clone, Debug)]
struct Given(ArgMatches);

impl clap::Args for Given {
    fn augment_args(command: Command) -> Command {
        let groups = table::groups().into_iter();
        command.args(
            groups.flat_map(|(heading, items)| {
                items.into_iter().map(move |item| item.into_arg(heading))
            }),
        )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Given {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        Ok(Given(matches.clone()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.0 = matches.clone();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
