//! Which runs an ablation needs.

use std::path::PathBuf;

use autotag_train::{Coefficient, ContrastiveConfig, ModelSpec, TrainConfig};

use crate::linear::LinearConfig;
use crate::parts::Parts;
use crate::runs::{Ablation, FORMAT_VERSION, LinearRun, PlannedRun, id_of};

/// The comparison that an ablation makes.
#[derive(Clone, Debug)]
pub struct Question {
    /// The model.
    pub spec: ModelSpec,
    /// The file or folder that the model starts from, and its digest; `None` for a random start.
    pub start: Option<(PathBuf, String)>,
    /// The settings of a run with the contrastive loss; its seed is the first one.
    pub config: TrainConfig,
    /// The number of seeds, at least 1: those from `config.seed` on.
    pub n_seeds: usize,
    /// The values of gamma that are compared, at the first seed.
    pub gammas: Vec<f32>,
    /// The linear baseline's settings.
    pub linear: LinearConfig,
}

impl Question {
    /// Plans the runs: for every seed without the contrastive loss, with it, and with its coefficient
    /// cut to 1; for the first seed also every other gamma.
    pub fn plan(&self, parts: &Parts) -> Ablation {
        let data = parts.digest().to_owned();
        let first = self.config.seed;
        let seeds: Vec<u64> =
            (0..self.n_seeds as u64).map(|number| first.wrapping_add(number)).collect();
        let mut gammas = self.gammas.clone();
        gammas.extend([0.0, self.config.contrastive.gamma]);
        gammas.sort_unstable_by(f32::total_cmp);
        gammas.dedup();
        let mut runs = Vec::new();
        let mut add = |config: TrainConfig| {
            let config = comparable(config);
            let id = id_of(&("model", &data, &self.spec, self.start_digest(), &config));
            if !runs.iter().any(|run: &PlannedRun| run.id == id) {
                runs.push(PlannedRun { id, config });
            }
        };
        for &seed in &seeds {
            let with = with(&self.config, seed, self.config.contrastive.gamma);
            add(without_contrast(&with));
            add(with.clone());
            add(cut(&with));
        }
        for &gamma in &gammas {
            add(with(&self.config, first, gamma));
        }
        let linear = LinearRun { id: id_of(&("linear", &data, &self.linear)), config: self.linear };
        Ablation {
            format: FORMAT_VERSION,
            data,
            model: self.spec.architecture(),
            spec: self.spec.clone(),
            start: self.start.clone(),
            config: comparable(self.config.clone()),
            seeds,
            gammas,
            runs,
            linear,
        }
    }

    fn start_digest(&self) -> Option<&str> {
        self.start.as_ref().map(|(_, digest)| digest.as_str())
    }
}

impl Ablation {
    /// Adds the seeds, gammas and runs of an older one with the same settings and first seed.
    pub(crate) fn with(mut self, older: Ablation) -> Self {
        if older.seeds.len() > self.seeds.len() {
            self.seeds = older.seeds;
        }
        self.gammas.extend(older.gammas);
        self.gammas.sort_unstable_by(f32::total_cmp);
        self.gammas.dedup();
        let is_new = |run: &PlannedRun| self.runs.iter().all(|known| known.id != run.id);
        let new: Vec<PlannedRun> = older.runs.into_iter().filter(is_new).collect();
        self.runs.extend(new);
        self
    }

    /// Returns the run without the contrastive loss.
    pub(crate) fn plain(&self, seed: u64) -> Option<&PlannedRun> {
        self.run(&without_contrast(&self.config), seed)
    }

    /// Returns the run with the contrastive loss.
    pub(crate) fn contrastive(&self, seed: u64) -> Option<&PlannedRun> {
        self.run(&self.config, seed)
    }

    /// Returns the run whose C_ij are cut to 1.
    pub(crate) fn cut(&self, seed: u64) -> Option<&PlannedRun> {
        self.run(&cut(&self.config), seed)
    }

    /// Returns the run with a value of gamma, at the first seed.
    pub(crate) fn gamma(&self, gamma: f32) -> Option<&PlannedRun> {
        let seed = *self.seeds.first()?;
        self.run(&with(&self.config, seed, gamma), seed)
    }

    fn run(&self, config: &TrainConfig, seed: u64) -> Option<&PlannedRun> {
        let config = comparable(TrainConfig { seed, ..config.clone() });
        self.runs.iter().find(|run| run.config == config)
    }
}

fn with(config: &TrainConfig, seed: u64, gamma: f32) -> TrainConfig {
    let contrastive = ContrastiveConfig { gamma, ..config.contrastive };
    TrainConfig { seed, contrastive, ..config.clone() }
}

fn without_contrast(config: &TrainConfig) -> TrainConfig {
    with(config, config.seed, 0.0)
}

fn cut(config: &TrainConfig) -> TrainConfig {
    let contrastive = ContrastiveConfig { coefficient: Coefficient::Cut, ..config.contrastive };
    TrainConfig { contrastive, ..config.clone() }
}

/// Makes settings equal that train the same model: threads do not count, and where the contrastive
/// loss is left out nothing else about it does.
fn comparable(mut config: TrainConfig) -> TrainConfig {
    config.threads = 0;
    if config.contrastive.gamma == 0.0 {
        config.contrastive = ContrastiveConfig { gamma: 0.0, ..ContrastiveConfig::default() };
    }
    config
}

#[cfg(test)]
mod tests {
    use autotag_train::{LabeledText, Preset};

    use super::*;

    fn parts() -> Parts {
        let text = |key: usize| LabeledText {
            key: key.to_string(),
            text: "text".to_owned(),
            labels: vec![format!("label {}", key % 2)],
        };
        Parts::new("x", (0..20).map(text).collect(), None, None).unwrap()
    }

    fn question(n_seeds: usize, gammas: &[f32]) -> Question {
        Question {
            spec: "cnn".parse::<Preset>().unwrap().spec,
            start: None,
            config: TrainConfig { seed: 7, ..TrainConfig::default() },
            n_seeds,
            gammas: gammas.to_vec(),
            linear: LinearConfig::default(),
        }
    }

    #[test]
    fn every_run_stands_once() {
        let plan = question(2, &[0.0, 0.01, 0.1]).plan(&parts());
        // Three for each seed, and the one gamma that is neither 0 nor the default.
        assert_eq!(plan.runs.len(), 7);
        assert_eq!(plan.seeds, [7, 8]);
        assert_eq!(plan.gammas, [0.0, 0.01, 0.1]);
        for seed in [7, 8] {
            let runs = [plan.plain(seed), plan.contrastive(seed), plan.cut(seed)];
            let [plain, with, cut] = runs.map(|run| run.unwrap());
            assert_eq!(plain.config.contrastive.gamma, 0.0);
            assert_eq!(with.config.seed, seed);
            assert_eq!(cut.config.contrastive.coefficient, Coefficient::Cut);
        }
        assert_eq!(plan.gamma(0.0), plan.plain(7));
        assert_eq!(plan.gamma(0.1), plan.contrastive(7));
        assert!(plan.gamma(0.5).is_none() && plan.plain(9).is_none());
    }

    #[test]
    fn a_run_is_known_by_what_it_depends_on() {
        let plan = question(1, &[]).plan(&parts());
        let mut other = question(1, &[]);
        other.config.threads = 3;
        assert_eq!(plan, other.plan(&parts()), "threads do not count");
        let mut other_model = question(1, &[]);
        other_model.spec = "wide".parse::<Preset>().unwrap().spec;
        other.config.epochs = 3;
        for other in [other, other_model] {
            let others = other.plan(&parts()).runs;
            assert!(plan.runs.iter().all(|run| others.iter().all(|other| other.id != run.id)));
        }
        let started =
            Question { start: Some((PathBuf::from("x"), "1".to_owned())), ..question(1, &[]) };
        assert_ne!(plan.runs[0].id, started.plan(&parts()).runs[0].id);
        let both = question(1, &[0.5]).plan(&parts()).with(question(2, &[1.0]).plan(&parts()));
        assert_eq!((both.seeds.len(), both.gammas.len()), (2, 4));
        assert_eq!(both.runs.len(), 3 + 3 + 2);
        // More seeds or gammas keep the runs that are there.
        let more = question(3, &[1.0]).plan(&parts());
        assert!(plan.runs.iter().all(|run| more.runs.contains(run)));
    }
}
