//! One model's section of the page.

use maud::{Markup, html};

use crate::Result;
use crate::numbers::{
    Curves, DataNumbers, Details, Map, Mistake, MistakeNeighbor, ModelNumbers, ReliabilityBin,
};
use crate::report::plot::{self, Lines, MOST_SHARED, Series};
use crate::report::table;

use super::element::{self, Key, figure, folded, legend, long_table};

pub(super) fn section(anchor: &str, data: &DataNumbers, model: &ModelNumbers) -> Result<Markup> {
    let map = model.map.as_ref().map(neighborhood).transpose()?;
    let details = model.details.as_ref().map(|details| closely(anchor, details)).transpose()?;
    let settings = [
        serde_json::to_string_pretty(&model.spec).unwrap_or_default(),
        serde_json::to_string_pretty(&model.config).unwrap_or_default(),
    ];
    Ok(html! {
        section {
            h3 id=(anchor) { "--model " (model.name) }
            p { (summary(model)) }
            (element::table(&table::comparisons(model, &data.measured.0)))
            (folded(&table::settings(model)))
            (by_k_and_lambda(model)?)
            (by_gamma(model)?)
            @if let Some(map) = map { (map) }
            @for table in [table::coefficient(model), table::shared(model), table::costs(model)] {
                (element::table(&table))
            }
            @if let Some(details) = details { (details) }
            details {
                summary { "Settings of the runs with the contrastive loss" }
                pre { (settings.join("\n")) }
            }
        }
    })
}

fn summary(model: &ModelNumbers) -> String {
    let (planned, done) = model.runs;
    let seeds: Vec<String> = model.seeds.iter().map(u64::to_string).collect();
    let start =
        model.start.as_ref().map_or(String::new(), |start| format!(" Started from {start}."));
    let mut text = format!(
        "gamma {}, tau' {}; seeds {}.{start}",
        model.config.contrastive.gamma,
        model.config.contrastive.temperature,
        if seeds.is_empty() { "none yet".to_owned() } else { seeds.join(", ") },
    );
    if done < planned {
        text += &format!(" {done} of {planned} runs are done: the same autotag ablate goes on.");
    }
    text
}

fn lines(name: &'static str, axis: &str, curves: &Curves) -> Result<String> {
    let series = curves.curves.iter().map(|curve| Series {
        values: curve.y.iter().map(|y| (y.mean, y.deviation.unwrap_or(0.0))).collect(),
    });
    plot::lines(&Lines {
        name,
        axes: (axis.to_owned(), "micro-F1".to_owned()),
        x: curves.x.iter().map(f64::to_string).collect(),
        series: series.collect(),
    })
}

fn line_legend(curves: &Curves) -> Markup {
    let names = curves.curves.iter().enumerate();
    let entries = names.map(|(number, curve)| (Key::Line(number), curve.name.clone()));
    legend(&entries.collect::<Vec<_>>())
}

fn by_k_and_lambda(model: &ModelNumbers) -> Result<Markup> {
    if model.by_k.curves.is_empty() {
        return Ok(Markup::default());
    }
    let interpolation = &model.config.interpolation;
    let (k, tau, lambda) =
        (interpolation.k, interpolation.temperature.get(), interpolation.proportion);
    let plots = [
        element::plot("against k", lines("Figure 2: micro-F1 against k", "k", &model.by_k)?),
        element::plot(
            "against lambda",
            lines("Figure 2: micro-F1 against lambda", "lambda", &model.by_lambda)?,
        ),
    ];
    let numbers = html! {
        (folded(&table::curves("k", &model.by_k)))
        (folded(&table::curves("lambda", &model.by_lambda)))
    };
    let explanation = format!(
        "The others are k = {k}, tau = {tau}, lambda = {lambda}, threshold .5. Lambda 0 is the model \
         alone, 1 its neighbors alone. Mean over seeds; whiskers are one standard deviation."
    );
    let title = "Figure 2: micro-F1 against k and against lambda";
    Ok(figure(title, line_legend(&model.by_k), &explanation, &plots, numbers))
}

fn by_gamma(model: &ModelNumbers) -> Result<Markup> {
    if model.by_gamma.curves.is_empty() {
        return Ok(Markup::default());
    }
    let plots =
        [element::plot("", lines("Figure 4: micro-F1 against gamma", "gamma", &model.by_gamma)?)];
    let explanation = format!(
        "One training for each value, seed {}; 0 leaves the contrastive loss out. The axis is not to \
         scale.",
        model.config.seed
    );
    let numbers = folded(&table::curves("gamma", &model.by_gamma));
    let title = "Figure 4: micro-F1 against gamma";
    Ok(figure(title, line_legend(&model.by_gamma), &explanation, &plots, numbers))
}

fn neighborhood(map: &Map) -> Result<Markup> {
    let mut plots = Vec::new();
    for view in &map.views {
        let points: Vec<_> = view.neighbors.iter().map(|point| (point.at, point.shared)).collect();
        let svg = plot::map("Figure 3: a text among its neighbors", view.text, &points)?;
        let title = format!("{}: {:.2} labels shared on average", view.name, view.mean_shared);
        plots.push(element::plot(&title, svg));
    }
    let shared = |n: usize| match n {
        0 => "no label shared".to_owned(),
        1 => "one".to_owned(),
        2 => "two".to_owned(),
        n => format!("{n} or more"),
    };
    let mut entries = vec![(Key::Text, "the text".to_owned())];
    entries.extend((0..=MOST_SHARED).map(|n| (Key::Shared(n), shared(n))));
    let n_neighbors = map.views.first().map_or(0, |view| view.neighbors.len());
    let explanation = format!(
        "t-SNE of the text {:?} ({}) and its {n_neighbors} nearest training texts. “{}”",
        map.key,
        map.labels.join(", "),
        map.text
    );
    let title = "Figure 3: a text among its neighbors";
    Ok(figure(title, legend(&entries), &explanation, &plots, Markup::default()))
}

fn closely(anchor: &str, details: &Details) -> Result<Markup> {
    Ok(html! {
        h4 { "One run, closely" }
        p.note { (details.run) "." }
        (reliability(details)?)
        (frequency(details)?)
        (long_table(&format!("{anchor}-labels"), &table::labels(details)))
        (element::table(&table::confused(details)))
        (mistakes("Wrong tags with the highest scores", &details.false_positives))
        (mistakes("Missed labels with the lowest scores", &details.false_negatives))
    })
}

fn reliability(details: &Details) -> Result<Markup> {
    let points = |bins: &[ReliabilityBin]| bins.iter().map(|bin| (bin.score, bin.right)).collect();
    let series: Vec<Vec<(f64, f64)>> =
        vec![points(&details.reliability_model), points(&details.reliability_knn)];
    let svg = plot::reliability("Reliability: share of right labels against score", &series)?;
    let entries = [
        (Key::Line(0), "model".to_owned()),
        (Key::Line(1), "model + kNN, as set".to_owned()),
        (Key::Diagonal, "score and share agree".to_owned()),
    ];
    let explanation = "Labels by tenths of their score. Below the diagonal scores promise too much, above it \
                 too little.";
    let title = "Reliability: how often a label with a score is right";
    Ok(figure(title, legend(&entries), explanation, &[element::plot("", svg)], Markup::default()))
}

fn frequency(details: &Details) -> Result<Markup> {
    if details.by_frequency.is_empty() {
        return Ok(Markup::default());
    }
    let bins = &details.by_frequency;
    let svg = plot::lines(&Lines {
        name: "Micro-F1 by the number of training texts that have a label",
        axes: ("training texts that have the label".to_owned(), "micro-F1".to_owned()),
        x: bins.iter().map(|bin| table::group(bin.from, bin.below)).collect(),
        series: vec![
            Series { values: bins.iter().map(|bin| (bin.model, 0.0)).collect() },
            Series { values: bins.iter().map(|bin| (bin.knn, 0.0)).collect() },
        ],
    })?;
    let entries = [(Key::Line(0), "model".to_owned()), (Key::Line(1), "model + kNN".to_owned())];
    let explanation =
        "Both tuned on dev. Where the second line is higher, neighbors help such labels.";
    let title = "Micro-F1 by the number of training texts that have a label";
    let numbers = folded(&table::frequencies(details));
    Ok(figure(title, legend(&entries), explanation, &[element::plot("", svg)], numbers))
}

fn mistakes(title: &str, mistakes: &[Mistake]) -> Markup {
    html! {
        @if !mistakes.is_empty() {
            h4 { (title) }
            ol.mistakes { @for mistake in mistakes { (self::mistake(mistake)) } }
        }
    }
}

fn mistake(mistake: &Mistake) -> Markup {
    let Mistake { key, text, label, score, model, knn, given, neighbors } = mistake;
    html! {
        li {
            span.tag { (label) }
            (format!(" {score:.3} (model {model:.3}, neighbors {knn:.3}); given: ")) (given.join(", "))
            br;
            strong { (key) } " " span.soft { (text) }
            @if neighbors.is_empty() { p.soft { "No neighbor voted." } }
            @else { ul { @for neighbor in neighbors { (self::neighbor(neighbor)) } } }
        }
    }
}

fn neighbor(neighbor: &MistakeNeighbor) -> Markup {
    let MistakeNeighbor { key, text, weight, has_label } = neighbor;
    let has = if *has_label { "has it" } else { "has it not" };
    let start: String = text.chars().take(100).collect();
    html! {
        li { span.has[*has_label] { (format!("{weight:.2} {has}")) } " – " (key) ": " (start) }
    }
}
