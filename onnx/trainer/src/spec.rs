//! A model as a value: its kind, its settings, and the presets of both.

use std::collections::BTreeSet;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::check::{is_positive, is_true, within};
use crate::config::TrainConfig;
use crate::ensemble::{Ensemble, Part};
use crate::error::{Result, TrainError};
use crate::loss::ContrastiveConfig;
use crate::model::{Model, TextInput};
use crate::models::adapter::AdapterConfig;
use crate::models::cnn::CnnConfig;
use crate::models::finetune::FinetuneConfig;
use crate::models::ldgn::LdgnConfig;
use crate::models::wide::WideConfig;
use crate::optimizer::AdamConfig;
use crate::setup::{Kind, Setup};
use crate::vocabulary::DEFAULT_VOCABULARY_SIZE;

/// A kind of model by its name.
struct KindEntry {
    name: &'static str,
    /// The preset of such a model by itself.
    alone: fn() -> Preset,
    /// Such a model in an ensemble, whose training it may adapt.
    member: fn(&mut TrainConfig) -> ModelSpec,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident($settings:ty),)*) => {
        /// A model: its kind, and the settings that are its own.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum ModelSpec {
            $($(#[$doc])* $kind($settings),)*
            /// Several models that learn each by itself and answer together.
            Ensemble(Vec<Member>),
        }

        const KINDS: &[KindEntry] = &[$(KindEntry {
            name: <$settings>::NAME,
            alone: || {
                let (settings, config) = <$settings>::alone();
                Preset { spec: ModelSpec::$kind(settings), config }
            },
            member: |config| ModelSpec::$kind(<$settings>::member(config)),
        }),*];

        impl ModelSpec {
            /// Returns the settings, and the kind's name; an ensemble has none of its own.
            fn kind(&self) -> Option<(&'static str, &dyn Kind)> {
                match self {
                    $(ModelSpec::$kind(settings) => Some((<$settings>::NAME, settings)),)*
                    ModelSpec::Ensemble(_) => None,
                }
            }

            /// Returns the settings that every kind has, to change; an ensemble has none of its own.
            pub fn common_mut(&mut self) -> Option<CommonSettings<'_>> {
                match self {
                    $(ModelSpec::$kind(settings) => Some(CommonSettings {
                        adam: &mut settings.adam,
                        dropout: &mut settings.dropout,
                        normalize: &mut settings.normalize,
                    }),)*
                    ModelSpec::Ensemble(_) => None,
                }
            }
        }
    };
}

/// The settings that every kind of model has.
#[derive(Debug)]
pub struct CommonSettings<'a> {
    /// The optimizer.
    pub adam: &'a mut AdamConfig,
    /// The share that is dropped in training.
    pub dropout: &'a mut f32,
    /// Representations are scaled to length 1.
    pub normalize: &'a mut bool,
}

kinds! {
    /// Weighted words and pairs of words, and one hidden layer.
    Wide(WideConfig),
    /// A convolutional network over tokens.
    Cnn(CnnConfig),
    /// A hidden layer on a pretrained encoder, which is not trained.
    Adapter(AdapterConfig),
    /// A vector for each label, over a graph of labels; needs the feature `burn`.
    Ldgn(LdgnConfig),
    /// A pretrained encoder that is fine-tuned; needs the feature `burn`.
    Bert(FinetuneConfig),
}

/// One of an ensemble's models.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Its weight in scores and squared distances, greater than 0; those of all members are
    /// normalized to sum 1.
    pub share: f32,
    /// The model.
    pub model: ModelSpec,
}

impl ModelSpec {
    /// Returns the models that are no ensembles, with their shares and names.
    fn kinds(&self) -> Vec<(f32, &'static str, &dyn Kind)> {
        if let Some((name, kind)) = self.kind() {
            return vec![(1.0, name, kind)];
        }
        let ModelSpec::Ensemble(members) = self else { return Vec::new() };
        let mut kinds = Vec::with_capacity(members.len());
        for Member { share, model } in members {
            kinds.extend(model.kind().map(|(name, kind)| (*share, name, kind)));
        }
        kinds
    }

    /// Returns the name of the kind, or those of an ensemble's members joined by "-", as "wide-cnn".
    pub fn architecture(&self) -> String {
        self.kinds().iter().map(|&(_, name, _)| name).collect::<Vec<_>>().join("-")
    }

    /// Returns the models to change: an ensemble's, or this one alone.
    pub fn members_mut(&mut self) -> Vec<&mut ModelSpec> {
        match self {
            ModelSpec::Ensemble(members) => members.iter_mut().map(|m| &mut m.model).collect(),
            alone => vec![alone],
        }
    }

    /// Tells whether the model is made of a whole pretrained encoder.
    pub fn needs_encoder(&self) -> bool {
        self.kinds().iter().any(|(_, _, kind)| kind.needs_encoder())
    }

    /// Checks that this program was built with what the model needs.
    ///
    /// # Errors
    ///
    /// [`TrainError::NotBuilt`] where the feature `burn` is missing.
    pub fn check_features(&self) -> Result<()> {
        let needs_burn = self.kinds().iter().any(|(_, _, kind)| kind.needs_burn());
        if needs_burn && !cfg!(feature = "burn") {
            return Err(TrainError::NotBuilt { model: self.architecture() });
        }
        Ok(())
    }

    /// Checks every setting's range, and that an ensemble's models go together.
    ///
    /// # Errors
    ///
    /// [`TrainError::Setting`] naming the first setting that is out of range.
    pub fn check(&self) -> Result<()> {
        let ModelSpec::Ensemble(members) = self else {
            return self.kinds().iter().try_for_each(|(_, _, kind)| kind.check());
        };
        within("the number of an ensemble's models", members.len(), 2..=usize::MAX, "2 or more")?;
        let kinds = self.kinds();
        let expected = "of models that are no ensembles";
        is_true("an ensemble", self.architecture(), kinds.len() == members.len(), expected)?;
        let mut names = BTreeSet::new();
        for (share, name, kind) in kinds {
            kind.check().map_err(|error| of_member(name, error))?;
            let is_new = names.insert(name);
            is_true("an ensemble", self.architecture(), is_new, "of different kinds of model")?;
            is_true(&format!("{name} share"), share, is_positive(share), "greater than 0")?;
            let normalize = kind.normalize();
            let setting = format!("{name} normalize");
            is_true(&setting, normalize, normalize, "true for all models of an ensemble")?;
        }
        Ok(())
    }

    /// Returns each model of an ensemble but the last with its weight among those that come after it,
    /// and itself, as [`ModelSpec::set_weight`] takes it.
    pub fn weights(&self) -> Vec<(&'static str, f32)> {
        let kinds = self.kinds();
        let weight = |at: usize| {
            let rest: f32 = kinds[at..].iter().map(|(share, _, _)| share).sum();
            (kinds[at].1, kinds[at].0 / rest)
        };
        (0..kinds.len().saturating_sub(1)).map(weight).collect()
    }

    /// Gives an ensemble's model its weight among those that come after it, and itself; the weights of
    /// the others keep their proportions. Of "wide-cnn-adapter" 0.5 for the wide model and 0.4 for the
    /// CNN give the shares 0.5, 0.2 and 0.3.
    ///
    /// # Errors
    ///
    /// [`TrainError::Setting`] where the weight is not greater than 0 and less than 1, or where no model
    /// comes after one of this name.
    pub fn set_weight(&mut self, name: &str, weight: f32) -> Result<()> {
        let setting = format!("{name} share");
        is_true(&setting, weight, weight > 0.0 && weight < 1.0, "greater than 0, less than 1")?;
        let position = self.weights().iter().position(|&(kind, _)| kind == name);
        let architecture = self.architecture();
        let (Some(position), ModelSpec::Ensemble(members)) = (position, self) else {
            let expected = format!("that of a model before the last of {architecture}");
            return is_true(&setting, weight, false, expected);
        };
        let rest: f32 = members[position..].iter().map(|member| member.share).sum();
        let others = rest - members[position].share;
        for member in &mut members[position + 1..] {
            member.share = rest * (1.0 - weight) * (member.share / others);
        }
        members[position].share = rest * weight;
        Ok(())
    }

    /// Returns the learning rate that an error names: the last model's, whose rate the others of an
    /// ensemble have but the wide one.
    pub(crate) fn learning_rate(&self) -> f32 {
        self.kinds().last().map_or(0.0, |(_, _, kind)| kind.learning_rate())
    }

    /// Returns the most tokens of a vocabulary learned from the training texts.
    pub(crate) fn vocabulary_size(&self) -> usize {
        let sizes = self.kinds().into_iter().filter_map(|(_, _, kind)| kind.vocabulary_size());
        sizes.max().unwrap_or(DEFAULT_VOCABULARY_SIZE)
    }

    /// Returns the n-grams of the linear classifiers that the trained model is stacked with; 0 for none.
    pub(crate) fn n_linear(&self) -> usize {
        self.kinds().iter().map(|(_, _, kind)| kind.n_linear()).max().unwrap_or_default()
    }

    /// Tells whether representations have length 1.
    pub(crate) fn normalize(&self) -> bool {
        self.kinds().iter().all(|(_, _, kind)| kind.normalize())
    }

    /// Adds the parts that the models read texts with.
    pub(crate) fn prepare(&self, setup: &mut Setup<'_>) -> Result<()> {
        let kinds = self.kinds();
        kinds.iter().try_for_each(|(_, _, kind)| kind.check_start(setup))?;
        kinds.iter().try_for_each(|(_, _, kind)| kind.prepare(setup))
    }

    /// Returns the length of a representation.
    pub(crate) fn dimensions(&self, setup: &Setup<'_>) -> usize {
        self.kinds().iter().map(|(_, _, kind)| kind.dimensions(setup)).sum()
    }

    /// Makes the model that is trained on these texts.
    pub(crate) fn make(&self, setup: &Setup<'_>, texts: &[TextInput]) -> Result<Box<dyn Model>> {
        let kinds = self.kinds();
        if let [(_, _, kind)] = kinds[..] {
            return kind.make(setup, texts);
        }
        let shares = normalized(&kinds.iter().map(|&(share, _, _)| share).collect::<Vec<_>>());
        let part = |((_, name, kind), share): ((f32, &'static str, &dyn Kind), f32)| {
            Ok(Part { name, share, model: kind.make(setup, texts)? })
        };
        let parts = kinds.into_iter().zip(shares).map(part);
        Ok(Box::new(Ensemble(parts.collect::<Result<_>>()?)))
    }
}

/// Scales shares to sum 1 in single precision too, added in their order.
///
/// Why is the last one what the others leave? Scores of 1 from all members would otherwise sum to
/// 1.0000001 for some shares, which is no score.
fn normalized(shares: &[f32]) -> Vec<f32> {
    let total: f32 = shares.iter().sum();
    let mut normalized: Vec<f32> = shares.iter().map(|share| share / total).collect();
    if let Some((last, others)) = normalized.split_last_mut() {
        *last = (1.0 - others.iter().sum::<f32>()).max(0.0);
    }
    normalized
}

/// Names the model whose setting is out of range.
fn of_member(member: &str, error: TrainError) -> TrainError {
    match error {
        TrainError::Setting { name, value, expected } => {
            TrainError::Setting { name: format!("{member} {name}"), value, expected }
        }
        error => error,
    }
}

/// A model with settings that do well, and the training that suits it.
///
/// ```
/// use autotag_train::Preset;
///
/// let Preset { spec, config } = "wide-cnn".parse()?;
/// assert_eq!((spec.architecture().as_str(), config.max_length), ("wide-cnn", 400));
/// let Preset { spec, .. } = "wide+cnn+ldgn".parse()?;
/// assert_eq!(spec.architecture(), "wide-cnn-ldgn");
/// # Ok::<(), autotag_train::TrainError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Preset {
    /// The model.
    pub spec: ModelSpec,
    /// The training's settings.
    pub config: TrainConfig,
}

impl Preset {
    /// The names of the presets; names of kinds joined by "+" are ensembles.
    pub const NAMES: [&str; 8] =
        ["cnn", "wide", "wide-cnn", "adapter", "wide-cnn-adapter", "wide-cnn-bert", "ldgn", "bert"];

    /// Returns an ensemble of these kinds, with equal shares.
    ///
    /// The contrastive loss is left out, as for the wide model by itself. Representations, as long as
    /// those of all members, are projected.
    fn ensemble(kinds: &[&KindEntry]) -> Self {
        let mut config = TrainConfig {
            contrastive: ContrastiveConfig::off(),
            max_length: 400,
            projection: 128,
            ..TrainConfig::default()
        };
        let share = 1.0 / kinds.len() as f32;
        let member = |kind: &&KindEntry| Member { share, model: (kind.member)(&mut config) };
        let members = kinds.iter().map(member).collect();
        Preset { spec: ModelSpec::Ensemble(members), config }
    }

    /// Sets what does better than equal shares where it was measured.
    fn tuned(mut self) -> Self {
        let architecture = self.spec.architecture();
        let shares = match architecture.as_str() {
            "wide-cnn-adapter" => [0.5, 0.25, 0.25],
            // Half is the encoder's own.
            "wide-cnn-bert" => [0.25, 0.75 * 0.3, 0.75 * (1.0 - 0.3)],
            _ => return self,
        };
        if let ModelSpec::Ensemble(members) = &mut self.spec {
            members.iter_mut().zip(shares).for_each(|(member, share)| member.share = share);
        }
        for model in self.spec.members_mut() {
            if let ModelSpec::Cnn(cnn) = model
                && architecture == "wide-cnn-bert"
            {
                cnn.adam.max_gradient_norm = 1.0;
            }
        }
        self
    }
}

impl FromStr for Preset {
    type Err = TrainError;

    /// Reads the name of a kind of model, or several joined by "+" or "-", as "wide+cnn+adapter".
    fn from_str(name: &str) -> Result<Self> {
        let mut kinds = Vec::new();
        for part in name.split(['+', '-']) {
            let kind = KINDS.iter().find(|kind| kind.name == part);
            kinds.push(kind.ok_or_else(|| {
                let presets = Preset::NAMES.join(", ");
                TrainError::UnknownModel { name: name.to_owned(), presets }
            })?);
        }
        // The order of a preset's own name, so that both are the same model.
        let order = |kind: &&KindEntry| KINDS.iter().position(|other| other.name == kind.name);
        kinds.sort_by_key(order);
        match kinds[..] {
            [kind] => Ok((kind.alone)()),
            _ => {
                let preset = Preset::ensemble(&kinds).tuned();
                preset.spec.check()?;
                Ok(preset)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preset(name: &str) -> Preset {
        name.parse().unwrap()
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let check = |change: fn(&mut CnnConfig), expect: &str| {
            let mut cnn = CnnConfig::default();
            change(&mut cnn);
            assert_eq!(ModelSpec::Cnn(cnn).check().unwrap_err().to_string(), expect);
        };
        check(|c| c.widths = vec![3, 99], "width = 99 is out of range: it must be within 1..=16");
        check(
            |c| c.widths = vec![3, 4, 3],
            "width = 3 is out of range: it must be given once: for more of it, take more filters",
        );
        check(
            |c| c.filters = 10_001,
            "filters = 10001 is out of range: it must be within 1..=10000",
        );
        check(
            |c| c.dropout = 1.0,
            "dropout = 1 is out of range: it must be 0 or more, less than 1",
        );
        check(
            |c| c.adam.learning_rate = f32::NAN,
            "learning rate = NaN is out of range: it must be greater than 0",
        );
        let config = TrainConfig { epochs: 0, ..TrainConfig::default() };
        let error = config.check().unwrap_err().to_string();
        assert_eq!(error, "epochs = 0 is out of range: it must be at least 1");
    }

    #[test]
    fn presets_are_sound_and_named_as_their_architecture() {
        for name in Preset::NAMES {
            let Preset { spec, config } = preset(name);
            assert_eq!(spec.architecture(), name);
            spec.check().unwrap();
            config.check().unwrap();
        }
    }

    #[test]
    fn composed_models_are_presets_where_there_is_one() {
        assert_eq!(preset("cnn+wide"), preset("wide-cnn"));
        assert_eq!(preset("wide+cnn+bert"), preset("wide-cnn-bert"));
        assert_eq!(preset("cnn+adapter").spec.architecture(), "cnn-adapter");
        for name in ["cnn+cnn", "cnn+", "", "tree"] {
            assert!(name.parse::<Preset>().is_err(), "{name}");
        }
    }

    #[test]
    fn impossible_ensembles_are_named() {
        let check = |change: fn(&mut Vec<Member>), expect: &str| {
            let Preset { mut spec, .. } = preset("wide-cnn");
            let ModelSpec::Ensemble(members) = &mut spec else { panic!("{spec:?}") };
            change(members);
            let error = spec.check().unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        };
        check(|members| members.truncate(1), "2 or more");
        check(|members| members[0].share = 0.0, "wide share = 0");
        check(|members| members[1].model = members[0].model.clone(), "different kinds of model");
        let nested = |members: &mut Vec<Member>| {
            members[1].model = ModelSpec::Ensemble(members.clone());
        };
        check(nested, "no ensembles");
    }

    #[test]
    fn shares_sum_to_one_exactly() {
        for n in 2..=5 {
            for seed in 1..200_u32 {
                let share = |i: u32| ((seed * 7919 + i * 104_729) % 1000 + 1) as f32 / 1000.0;
                let shares = normalized(&(0..n).map(share).collect::<Vec<_>>());
                assert_eq!(shares.iter().sum::<f32>(), 1.0, "{shares:?}");
                assert!(shares.iter().all(|&share| share > 0.0), "{shares:?}");
            }
        }
    }

    #[test]
    fn weights_are_given_from_the_first_model_on() {
        let mut spec = preset("wide-cnn-adapter").spec;
        spec.set_weight("wide", 0.6).unwrap();
        spec.set_weight("cnn", 0.75).unwrap();
        let shares: Vec<f32> = spec.kinds().iter().map(|&(share, _, _)| share).collect();
        for (share, expected) in shares.iter().zip([0.6, 0.3, 0.1]) {
            assert!((share - expected).abs() < 1e-6, "{shares:?}");
        }
        assert_eq!(preset("wide-cnn-bert").spec.weights(), [("wide", 0.25), ("cnn", 0.3)]);
        assert_eq!(preset("cnn").spec.weights(), []);
        let mut two = preset("wide-cnn").spec;
        two.set_weight("wide", 0.3).unwrap();
        let shares: Vec<f32> = two.kinds().iter().map(|&(share, _, _)| share).collect();
        assert_eq!(shares, [0.3, 1.0 - 0.3]);
        assert!(two.set_weight("wide", 1.0).is_err());
    }
}
