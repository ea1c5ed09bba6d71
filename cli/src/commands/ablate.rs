//! `autotag ablate`: trains every model that the report's tables and figures compare.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::bail;
use autotag_documents::{read_to_learn, read_to_measure};
use autotag_engine::target;
use autotag_lab::{
    Ablation, LabProgress, Laboratory, LinearConfig, Parts, Question, RunsFolder, Standing,
    start_digest,
};
use autotag_train::{ContrastiveConfig, LabeledText, ModelSpec, TrainConfig};
use serde::Serialize;

use crate::args::{Common, DocumentArgs};
use crate::commands::labeled::texts;
use crate::commands::model;
use crate::commands::train::{Epochs, HyperArgs, ModelArg, ModelParser, Setup};
use crate::errors::UsageError;
use crate::output::{self, Report, inline};
use crate::signals::Stop;

/// Train what the paper's tables and figures compare: with and without the contrastive loss, for
/// several seeds, C_ij cut to 1, several values of gamma, and a linear baseline
///
/// Finished runs stay in the folder and are used again by what they depend on: data, settings
/// and the program's format version. The same command goes on with what is missing, within a training
/// too. `autotag report` makes tables and figures of it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  autotag ablate --data folder --model cnn --seeds 3 --runs runs
  autotag ablate --train train.jsonl --dev dev.jsonl --test test.jsonl --model wide --runs runs
  autotag report --runs runs --out report.html")]
pub(crate) struct AblateArgs {
    /// A folder with train, dev and test .jsonl or .csv, plain or .gz; dev and test may be missing
    #[arg(long, value_name = "DIR", required_unless_present = "train")]
    data: Option<PathBuf>,

    /// The labeled documents to learn from, in the place of a folder
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    train: Option<PathBuf>,

    /// Those to tune on; where there are none, a tenth of the others is split off
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    dev: Option<PathBuf>,

    /// Those to measure; where there are none, the figures are dev's
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    test: Option<PathBuf>,

    /// The data set's name in the report [default: the folder's name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// The kind of model, or several joined by "+" as an ensemble, as wide+cnn+adapter
    #[arg(long, value_parser = ModelParser, default_value = "cnn")]
    model: ModelArg,

    /// The number of seeds: those from --seed on
    #[arg(long, value_name = "N", default_value = "3")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: u64,

    /// The values of gamma to compare at the first seed, separated by commas; 0 and --gamma always are
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "0.01,1")]
    #[arg(value_parser = gamma)]
    gammas: Vec<f32>,

    /// The folder of runs
    #[arg(long, value_name = "FOLDER")]
    runs: PathBuf,

    #[command(flatten)]
    hyper: HyperArgs,

    #[command(flatten)]
    documents: DocumentArgs,
}

fn gamma(text: &str) -> Result<f32, String> {
    let gamma = text.parse().ok().filter(|gamma: &f32| *gamma >= 0.0 && gamma.is_finite());
    gamma.ok_or_else(|| "it must be a number, 0 or more".to_owned())
}

pub(crate) fn run(args: &AblateArgs, common: &Common) -> anyhow::Result<()> {
    let setup = args.setup(common)?;
    let source = setup.source().map_err(|problem| UsageError::new("ablate", problem))?;
    let Setup { spec, config, .. } = setup;
    spec.check_features()?;
    let options = model::onnx_options(common)?;
    let (folder, _lock) = RunsFolder::lock(&args.runs)?;
    if let Some(cache) = args.cache().filter(|_| source.path().is_some()) {
        target::check_folder(&cache)?;
    }
    let parts = args.read()?;
    for note in &parts.notes {
        tracing::warn!("{note}");
    }
    let n_others = folder.runs_of_other_versions()?;
    if n_others > 0 {
        let runs = args.runs.display();
        tracing::warn!(
            "{n_others} runs in {runs} are of another version of autotag and are not used"
        );
    }
    let ablation = args.question(spec, config, source.path())?.plan(&parts);
    let stop = Stop::watch()?;
    let cache = args.cache();
    let laboratory = Laboratory {
        parts: &parts,
        ablation: &ablation,
        folder: &folder,
        source: &source,
        cache: cache.as_deref(),
        threads: model::threads(common).get(),
        options: &options,
        stop: stop.flag(),
    };
    let mut epochs = Epochs::begin(common.quiet.into());
    let standing = laboratory.make_runs(&mut |progress| match progress {
        LabProgress::Standing(standing) => {
            epochs = Epochs::begin(common.quiet.into());
            tell(&standing);
        }
        LabProgress::Training(step) => epochs.show(step),
    })?;
    output::print(common.format, &Ablated::new(args, &parts, &ablation, &standing))?;
    if !standing.failed.is_empty() {
        bail!(
            "some runs could not be made, the report will lack them: {}",
            standing.failed.join("; ")
        );
    }
    Ok(())
}

impl AblateArgs {
    /// Returns where an encoder's representations are kept.
    fn cache(&self) -> Option<PathBuf> {
        self.hyper.cache(&self.runs.join("runs"))
    }

    /// Returns the setup of a run with the contrastive loss, where it has some weight.
    fn setup(&self, common: &Common) -> Result<Setup, UsageError> {
        let mut setup = self
            .hyper
            .setup(&self.model, model::threads(common))
            .map_err(|problem| UsageError::new("ablate", problem))?;
        let gamma = &mut setup.config.contrastive.gamma;
        if *gamma == 0.0 {
            *gamma = ContrastiveConfig::default().gamma;
        }
        Ok(setup)
    }

    fn question(
        &self,
        spec: ModelSpec,
        config: TrainConfig,
        start: Option<&Path>,
    ) -> anyhow::Result<Question> {
        let start = match start {
            Some(start) => Some((start.to_path_buf(), start_digest(start)?)),
            None => None,
        };
        Ok(Question {
            spec,
            start,
            config,
            n_seeds: self.seeds as usize,
            gammas: self.gammas.clone(),
            linear: LinearConfig::default(),
        })
    }

    fn read(&self) -> anyhow::Result<Parts> {
        let [train, dev, test] = self.files()?;
        let learn = |path: &Path| read_to_learn(path, &self.documents.read_options());
        let measure = |path: Option<PathBuf>| -> anyhow::Result<Option<Vec<LabeledText>>> {
            let documents = path
                .map(|path| read_to_measure(&path, &self.documents.read_options()))
                .transpose()?;
            Ok(documents.map(|documents| texts(documents).collect()))
        };
        let Some(train) = train else {
            let folder = self.data.as_deref().unwrap_or(Path::new(".")).display();
            bail!(
                "{folder} has no train.jsonl, train.jsonl.gz, train.csv or train.csv.gz: give a \
                 folder with one, or name the files with --train, --dev and --test"
            );
        };
        let texts = texts(learn(&train)?).collect();
        Ok(Parts::new(&self.name(&train), texts, measure(dev)?, measure(test)?)?)
    }

    /// Returns the files of train, dev and test.
    fn files(&self) -> anyhow::Result<[Option<PathBuf>; 3]> {
        let Some(folder) = &self.data else {
            return Ok([self.train.clone(), self.dev.clone(), self.test.clone()]);
        };
        if !folder.is_dir() {
            bail!(
                "{} is no folder: give one with train.jsonl, dev.jsonl, test.jsonl",
                folder.display()
            );
        }
        let find = |part: &str| {
            let names = ["jsonl", "jsonl.gz", "csv", "csv.gz"].map(|end| format!("{part}.{end}"));
            names.into_iter().map(|name| folder.join(name)).find(|path| path.is_file())
        };
        Ok(["train", "dev", "test"].map(find))
    }

    /// Returns what the data set is called.
    fn name(&self, train: &Path) -> String {
        if let Some(name) = &self.name {
            return name.clone();
        }
        let folder = self.data.as_deref().or(train.parent()).unwrap_or(Path::new("."));
        let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned());
        name.unwrap_or_else(|| "data".to_owned())
    }
}

fn tell(standing: &Standing) {
    let Standing { done, of, next, left, .. } = standing;
    if next.is_empty() {
        return;
    }
    let left = left.map_or(String::new(), |left| format!(", about {} left", minutes(left)));
    tracing::info!("{done} of {of} runs done{left}; next: {next}");
}

fn minutes(left: Duration) -> String {
    match left.as_secs() {
        seconds @ ..60 => format!("{seconds} s"),
        seconds @ ..3600 => format!("{} min", seconds.div_ceil(60)),
        seconds => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// The outcome.
#[derive(Debug, Serialize)]
struct Ablated {
    runs: PathBuf,
    data: String,
    model: String,
    texts: [usize; 3],
    labels: usize,
    seeds: Vec<u64>,
    gamma: f32,
    gammas: Vec<f32>,
    /// The runs that there are, the linear baseline among them.
    done: usize,
    /// Those that were there before.
    found: usize,
    notes: Vec<String>,
}

impl Ablated {
    fn new(args: &AblateArgs, parts: &Parts, ablation: &Ablation, standing: &Standing) -> Self {
        let n_test = parts.test.as_ref().map_or(0, |test| test.len());
        Ablated {
            runs: args.runs.clone(),
            data: parts.name.clone(),
            model: ablation.model.clone(),
            texts: [parts.train.len(), parts.dev.len(), n_test],
            labels: parts.n_known(),
            seeds: ablation.seeds.clone(),
            gamma: ablation.config.contrastive.gamma,
            gammas: ablation.gammas.clone(),
            done: standing.done,
            found: standing.found,
            notes: parts.notes.clone(),
        }
    }
}

impl Report for Ablated {
    fn to_text(&self) -> String {
        let Ablated { data, model, labels, done, found, .. } = self;
        let data = inline(data);
        let (runs, [n_train, n_dev, n_test]) = (output::path(&self.runs), self.texts);
        format!(
            "{data}: {labels} labels, {n_train} texts to learn from, {n_dev} dev, {n_test} test\n\
             {done} runs of --model {model} are in {runs}, {found} of them from before\n\
             autotag report --runs {runs} --out report.html shows them\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_people_tell_them() {
        let told = |seconds| minutes(Duration::from_secs(seconds));
        assert_eq!(
            (told(59), told(61), told(3660)),
            ("59 s".into(), "2 min".into(), "1 h 1 min".into())
        );
    }

    #[test]
    fn gammas_are_numbers_from_0_on() {
        assert!(gamma("-1").is_err() && gamma("x").is_err() && gamma("inf").is_err());
        assert_eq!(gamma("0.5"), Ok(0.5));
    }
}
