//! A fine-tuned encoder as a kind of model.

use super::config::FinetuneConfig;
use crate::check::is_true;
use crate::error::Result;
use crate::model::{Model, TextInput};
use crate::setup::{Kind, Setup, encoder_digest};

impl Kind for FinetuneConfig {
    fn normalize(&self) -> bool {
        self.normalize
    }

    fn learning_rate(&self) -> f32 {
        self.adam.learning_rate
    }

    fn needs_encoder(&self) -> bool {
        true
    }

    fn needs_burn(&self) -> bool {
        true
    }

    fn check(&self) -> Result<()> {
        FinetuneConfig::check(self)
    }

    fn check_start(&self, setup: &Setup<'_>) -> Result<()> {
        let encoder = setup.encoder(FinetuneConfig::NAME)?;
        #[cfg(feature = "burn")]
        crate::autodiff::training_device(setup.device)?;
        let (length, n_positions) = (setup.config.max_length, encoder.config.n_positions());
        let expected = format!("at most {n_positions}, the encoder's number of positions");
        is_true("max length", length, length <= n_positions, expected)
    }

    fn prepare(&self, setup: &mut Setup<'_>) -> Result<()> {
        let encoder = setup.add_encoder(FinetuneConfig::NAME)?;
        setup.pretrained = Some(encoder_digest(&encoder));
        Ok(())
    }

    fn dimensions(&self, setup: &Setup<'_>) -> usize {
        setup.encoder(FinetuneConfig::NAME).map_or(0, |encoder| encoder.config.hidden_size)
    }

    #[cfg(feature = "burn")]
    fn make(&self, setup: &Setup<'_>, _: &[TextInput]) -> Result<Box<dyn Model>> {
        let encoder = setup.encoder(FinetuneConfig::NAME)?;
        let device = crate::autodiff::training_device(setup.device)?;
        let (labels, n_labels) = (setup.train.labels(), setup.n_labels());
        Ok(Box::new(super::FinetunedModel::new(
            self,
            setup.config,
            encoder,
            labels,
            n_labels,
            device,
        )))
    }

    #[cfg(not(feature = "burn"))]
    fn make(&self, _: &Setup<'_>, _: &[TextInput]) -> Result<Box<dyn Model>> {
        Err(crate::TrainError::NotBuilt { model: FinetuneConfig::NAME.to_owned() })
    }
}
