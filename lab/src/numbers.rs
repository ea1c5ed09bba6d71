//! The numbers of every table and figure, read from the runs.

mod curves;
mod details;
mod map;
mod measured;
mod tables;

use autotag_train::{ModelSpec, TrainConfig};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::runs::{Ablation, KeptData, PlannedRun, RunRecord, RunsFolder};
use crate::{BootstrapOptions, LabError, Result};

pub use curves::{Curve, Curves};
pub use details::{
    ConfusedPair, Details, FrequencyBin, LabelNumbers, Mistake, MistakeNeighbor, ReliabilityBin,
};
pub use map::{Map, MapPoint, MapView};
pub use tables::{Comparison, CostRow, Row, SharedRow, Spread};

use measured::{MeasuredRun, Sweeps};

/// Everything that a report shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Numbers {
    /// The program's version.
    pub version: String,
    /// Omissions, with their reasons.
    pub notes: Vec<String>,
    /// The data sets.
    pub data_sets: Vec<DataNumbers>,
}

/// The figures of one data set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DataNumbers {
    /// The data set's name.
    pub name: String,
    /// The digest of its files.
    pub digest: String,
    /// The number of training texts.
    pub n_train: usize,
    /// The number of dev texts.
    pub n_dev: usize,
    /// The part that the figures are of, and the number of its texts.
    pub measured: (String, usize),
    /// The number of labels that a model can learn.
    pub n_labels: usize,
    /// The mean number of labels of a training text.
    pub labels_per_text: f64,
    /// Caveats of the figures.
    pub notes: Vec<String>,
    /// The linear baseline with margin 0 and with a tuned one, where it is done.
    pub linear: Vec<Row>,
    /// The models.
    pub models: Vec<ModelNumbers>,
}

/// The figures of one model with one choice of settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelNumbers {
    /// Its name, as "cnn".
    pub name: String,
    /// The settings of a run with the contrastive loss.
    pub config: TrainConfig,
    /// The model.
    pub spec: ModelSpec,
    /// The file that it started from, where it did not start at random.
    pub start: Option<String>,
    /// The runs that the ablation consists of, and those that are done.
    pub runs: (usize, usize),
    /// The seeds of which both runs, with and without the contrastive loss, are done.
    pub seeds: Vec<u64>,
    /// Tables 3 and 4: model, + kNN, + CL, + CL + kNN, as set and then tuned.
    pub rows: Vec<Row>,
    /// The comparisons that the claims rest on, on the same texts.
    pub comparisons: Vec<Comparison>,
    /// Table 5: with the dynamic coefficient and with C cut to 1.
    pub coefficient: Vec<Row>,
    /// Table 6: the share of the neighbors' labels that are the text's.
    pub shared: Vec<SharedRow>,
    /// Tables 7 and 8: what the answers cost.
    pub costs: Vec<CostRow>,
    /// Figure 2, left: micro-F1 against k.
    pub by_k: Curves,
    /// Figure 2, right: micro-F1 against lambda.
    pub by_lambda: Curves,
    /// Figure 4: micro-F1 against gamma.
    pub by_gamma: Curves,
    /// Figure 3: a text among its neighbors.
    pub map: Option<Map>,
    /// One run looked at closely.
    pub details: Option<Details>,
}

/// The options of the figures.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NumberOptions {
    /// The resampling of differences.
    pub bootstrap: BootstrapOptions,
}

impl Numbers {
    /// Reads a folder of runs; no model is run.
    ///
    /// # Errors
    ///
    /// [`LabError::NoRuns`] when there is none to report, [`LabError::Damaged`] when a file does not
    /// hold what was written there.
    pub fn read(folder: &RunsFolder, options: &NumberOptions) -> Result<Self> {
        let (ablations, n_other_plans) = folder.ablations()?;
        let n_other_runs = folder.runs_of_other_versions()?;
        let mut notes = Vec::new();
        if n_other_plans + n_other_runs > 0 {
            notes.push(format!(
                "The folder has {n_other_plans} ablations and {n_other_runs} runs of another \
                 version of autotag, which are not used."
            ));
        }
        let mut data_sets: Vec<DataNumbers> = Vec::new();
        let mut digests: Vec<&str> =
            ablations.iter().map(|ablation| ablation.data.as_str()).collect();
        digests.sort_unstable();
        digests.dedup();
        for digest in digests {
            let data = folder.read_data(digest)?;
            let of_data: Vec<&Ablation> =
                ablations.iter().filter(|ablation| ablation.data == digest).collect();
            data_sets.extend(read_data_set(folder, &data, &of_data, options)?);
        }
        if data_sets.is_empty() {
            return Err(LabError::NoRuns {
                path: folder.path().to_path_buf(),
                n_others: n_other_runs,
            });
        }
        data_sets.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Numbers { version: env!("CARGO_PKG_VERSION").to_owned(), notes, data_sets })
    }
}

/// Returns `None` for a data set of which no run is done.
fn read_data_set(
    folder: &RunsFolder,
    data: &KeptData,
    ablations: &[&Ablation],
    options: &NumberOptions,
) -> Result<Option<DataNumbers>> {
    let linear = ablations.iter().find_map(|ablation| folder.finished(&ablation.linear.id));
    let linear = linear.map(|record| MeasuredRun::linear(folder, data, record)).transpose()?;
    let mut models = Vec::new();
    let mut notes = data.record.notes.clone();
    for ablation in ablations {
        match read_model(folder, data, ablation, linear.as_ref(), options)? {
            Some(model) => models.push(model),
            None => notes.push(format!("No run of --model {} is done yet.", ablation.model)),
        }
    }
    number_names(&mut models);
    if models.is_empty() && linear.is_none() {
        return Ok(None);
    }
    let n_given: usize = data.train.iter().map(|text| text.labels.len()).sum();
    Ok(Some(DataNumbers {
        name: data.record.name.clone(),
        digest: data.record.digest.clone(),
        n_train: data.train.len(),
        n_dev: data.dev.len(),
        measured: (data.record.measured.name().to_owned(), data.measured.len()),
        n_labels: data.record.n_known,
        labels_per_text: n_given as f64 / data.train.len().max(1) as f64,
        notes,
        linear: linear.iter().flat_map(tables::linear_rows).collect(),
        models,
    }))
}

/// Tells models of the same kind with other settings apart.
fn number_names(models: &mut [ModelNumbers]) {
    let names: Vec<String> = models.iter().map(|model| model.name.clone()).collect();
    for (position, model) in models.iter_mut().enumerate() {
        let is_same = |name: &&String| **name == names[position];
        if names.iter().filter(is_same).count() > 1 {
            let number = names[..=position].iter().filter(is_same).count();
            model.name = format!("{} ({number})", names[position]);
        }
    }
}

/// The runs of an ablation that are done, by what they are for.
struct Done {
    plain: Vec<MeasuredRun>,
    contrastive: Vec<MeasuredRun>,
    cut: Vec<MeasuredRun>,
    /// With their gammas.
    gammas: Vec<(f32, MeasuredRun)>,
}

impl Done {
    /// Returns how many runs are done, each counted once.
    fn count(&self) -> usize {
        let gammas = self.gammas.iter().map(|(_, run)| run);
        let all = self.plain.iter().chain(&self.contrastive).chain(&self.cut).chain(gammas);
        let mut ids: Vec<&str> = all.map(|run| run.record.id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.len()
    }
}

fn read_model(
    folder: &RunsFolder,
    data: &KeptData,
    ablation: &Ablation,
    linear: Option<&MeasuredRun>,
    options: &NumberOptions,
) -> Result<Option<ModelNumbers>> {
    let done = read_runs(folder, data, ablation)?;
    let n_done = done.count();
    if n_done == 0 {
        return Ok(None);
    }
    let name = ablation.model.clone();
    let closely = closely(&done);
    let details = match closely {
        Some((run, words)) => Some(details::details(folder, data, run, &words)?),
        None => None,
    };
    let seeds = done.plain.iter().filter_map(MeasuredRun::seed);
    let has_both = |seed: &u64| done.contrastive.iter().any(|run| run.seed() == Some(*seed));
    Ok(Some(ModelNumbers {
        config: ablation.config.clone(),
        spec: ablation.spec.clone(),
        start: ablation.start.as_ref().map(|(path, _)| path.display().to_string()),
        runs: (ablation.runs.len(), n_done),
        seeds: seeds.filter(has_both).collect(),
        rows: tables::rows(&name, &done.plain, &done.contrastive),
        comparisons: tables::comparisons(
            &name,
            &done.plain,
            &done.contrastive,
            &done.cut,
            linear,
            options.bootstrap,
        ),
        coefficient: tables::coefficient_rows(&name, &done.contrastive, &done.cut),
        shared: tables::shared_rows(&name, &done.plain, &done.contrastive),
        costs: tables::cost_rows(&name, &done.plain, &done.contrastive),
        by_k: curves::by_k(&done.plain, &done.contrastive),
        by_lambda: curves::by_lambda(&done.plain, &done.contrastive),
        by_gamma: curves::by_gamma(&done.gammas),
        map: map::map(folder, data, done.plain.first(), done.contrastive.first())?,
        details,
        name,
    }))
}

/// Reads the runs that are done, a few at a time.
fn read_runs(folder: &RunsFolder, data: &KeptData, ablation: &Ablation) -> Result<Done> {
    let read = |runs: Vec<Option<&PlannedRun>>, with_sweeps| {
        let records: Vec<RunRecord> =
            runs.into_iter().flatten().filter_map(|run| folder.finished(&run.id)).collect();
        let read = |record| MeasuredRun::read(folder, data, record, with_sweeps);
        records.into_par_iter().map(read).collect::<Result<Vec<MeasuredRun>>>()
    };
    let seeds = &ablation.seeds;
    let plain = seeds.iter().map(|&seed| ablation.plain(seed)).collect();
    let contrastive = seeds.iter().map(|&seed| ablation.contrastive(seed)).collect();
    let cut = seeds.iter().map(|&seed| ablation.cut(seed)).collect();
    let mut gammas = Vec::new();
    for &gamma in &ablation.gammas {
        let run = read(vec![ablation.gamma(gamma)], Sweeps::No)?;
        gammas.extend(run.into_iter().map(|run| (gamma, run)));
    }
    Ok(Done {
        plain: read(plain, Sweeps::Yes)?,
        contrastive: read(contrastive, Sweeps::Yes)?,
        cut: read(cut, Sweeps::No)?,
        gammas,
    })
}

/// Chooses the run to look at closely: of the first seed's the better one on dev.
fn closely(done: &Done) -> Option<(&MeasuredRun, String)> {
    let dev = |run: &MeasuredRun| run.record.tuned.map_or(0.0, |tuned| tuned.dev_micro_f1);
    let plain = done.plain.first().map(|run| (run, "without the contrastive loss"));
    let with = done.contrastive.first().map(|run| (run, "with the contrastive loss"));
    let (run, words) = match (plain, with) {
        (Some(plain), Some(with)) if dev(with.0) > dev(plain.0) => with,
        (plain, with) => plain.or(with)?,
    };
    let seed = run.seed().unwrap_or_default();
    let words = format!(
        "{} {words}, seed {seed}, with neighbors, tuned on dev: the better of that seed's two",
        run.record.model
    );
    Some((run, words))
}
