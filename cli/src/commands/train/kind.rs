//! The kinds of model that can be asked for.

use autotag_train::TrainConfig;
use clap::ValueEnum;

/// The kinds of model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::commands) enum ModelKind {
    /// A convolutional network over tokens
    Cnn,
    /// Weighted words and pairs of words, and one hidden layer
    Wide,
    /// Both: each learns by itself, and they answer together
    WideCnn,
    /// A hidden layer on a pretrained encoder, given by --init, which is not trained further
    Adapter,
    /// The wide model, the CNN and the adapter: each learns by itself, and they answer together
    WideCnnAdapter,
    /// The wide model, the CNN and BERT: each learns by itself, and they answer together; needs the
    /// feature `burn`
    WideCnnBert,
    /// A vector for each label, over a graph of labels (LDGN); needs the feature `burn`
    Ldgn,
    /// A pretrained BERT encoder, given by --init, trained further; needs the feature `burn`
    Bert,
}

impl std::fmt::Display for ModelKind {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = self.to_possible_value().expect("every kind can be asked for");
        formatter.write_str(value.get_name())
    }
}

impl ModelKind {
    /// Returns the settings that suit this kind.
    pub(super) fn settings(self) -> TrainConfig {
        match self {
            ModelKind::Cnn => TrainConfig::default(),
            ModelKind::Wide => TrainConfig::wide(),
            ModelKind::WideCnn => TrainConfig::wide_cnn(),
            ModelKind::Adapter => TrainConfig::adapter(),
            ModelKind::WideCnnAdapter => TrainConfig::wide_cnn_adapter(),
            ModelKind::WideCnnBert => TrainConfig::wide_cnn_bert(),
            ModelKind::Ldgn => TrainConfig::ldgn(),
            ModelKind::Bert => TrainConfig::bert(),
        }
    }
}
