//! LDGN as a kind of model.

use super::config::LdgnConfig;
use crate::error::Result;
use crate::model::{Model, TextInput};
use crate::setup::{Kind, Setup};

impl Kind for LdgnConfig {
    fn normalize(&self) -> bool {
        self.normalize
    }

    fn learning_rate(&self) -> f32 {
        self.adam.learning_rate
    }

    fn needs_burn(&self) -> bool {
        true
    }

    fn vocabulary_size(&self) -> Option<usize> {
        Some(self.vocabulary_size)
    }

    fn check(&self) -> Result<()> {
        LdgnConfig::check(self)
    }

    #[cfg(feature = "burn")]
    fn check_start(&self, setup: &Setup<'_>) -> Result<()> {
        crate::autodiff::training_device(setup.device).map(drop)
    }

    fn prepare(&self, setup: &mut Setup<'_>) -> Result<()> {
        setup.add_tokens(self.vocabulary_size)
    }

    fn dimensions(&self, _: &Setup<'_>) -> usize {
        LdgnConfig::dimensions(self)
    }

    #[cfg(feature = "burn")]
    fn make(&self, setup: &Setup<'_>, _: &[TextInput]) -> Result<Box<dyn Model>> {
        let device = crate::autodiff::training_device(setup.device)?;
        let (n_tokens, table) = (setup.n_tokens(), setup.token_table().cloned());
        let (labels, n_labels) = (setup.train.labels(), setup.n_labels());
        Ok(Box::new(super::LdgnModel::new(
            self,
            setup.config,
            n_tokens,
            labels,
            n_labels,
            table,
            device,
        )))
    }

    #[cfg(not(feature = "burn"))]
    fn make(&self, _: &Setup<'_>, _: &[TextInput]) -> Result<Box<dyn Model>> {
        Err(crate::TrainError::NotBuilt { model: LdgnConfig::NAME.to_owned() })
    }
}
