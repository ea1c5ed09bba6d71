//! The model card: what a bundle's model is, how it came to be and what it reached, for people.

use std::fmt::Write;

use serde::Deserialize;

use autotag::{Interpolation, LabelVocabulary};
use autotag_onnx::BundleConfig;
use autotag_onnx::bundle::InputKind;

use crate::bert::Pooling;
use crate::frozen::{EncoderCard, EncoderReport};
use crate::report::TrainReport;
use crate::setup::as_json;
use crate::{Dataset, Skipped};

/// The labels whose number of training texts a card tells.
const LABELS: usize = 20;

/// Writes a trained model's card as Markdown.
pub(crate) fn card(config: &BundleConfig, report: &TrainReport, train: &Dataset) -> String {
    let mut card = String::new();
    about(&mut card, config, report).expect("a string takes everything");
    figures(&mut card, report).expect("a string takes everything");
    labels(&mut card, train).expect("a string takes everything");
    settings(&mut card, report).expect("a string takes everything");
    card
}

fn about(card: &mut String, config: &BundleConfig, report: &TrainReport) -> std::fmt::Result {
    let BundleConfig { architecture, max_length, dimensions, n_labels, .. } = config;
    let TrainReport { n_train, n_dev, export_difference, fit, .. } = report;
    let reads = match config.input {
        InputKind::Ngrams => "words",
        InputKind::TokensAndNgrams => "tokens and words",
        _ => "tokens",
    };
    writeln!(card, "# Model card: {architecture}, {n_labels} labels\n")?;
    writeln!(
        card,
        "Scores {n_labels} labels of a text, each by itself, and represents the text by {dimensions} \
         values, among which its neighbors are found. Reads the first {max_length} {reads} of a text."
    )?;
    writeln!(
        card,
        "\nTrained by autotag {} on {n_train} texts, in {} epochs, of which the {} was the best on \
         {n_dev} dev texts; seed {}. The ONNX file's answers on dev differ from the trained model's by \
         at most {export_difference:.0e}.",
        env!("CARGO_PKG_VERSION"),
        fit.epochs.len(),
        ordinal(fit.best_epoch),
        report.config.seed
    )?;
    left_out(card, report.skipped)?;
    if let Some(pretrained) = config.training["pretrained"].as_str() {
        writeln!(
            card,
            "\nTraining began with pretrained values, whose license is that of whoever trained them. \
             Fingerprint: {pretrained}"
        )?;
    }
    match EncoderCard::deserialize(&config.training["encoder"]) {
        Ok(encoder) => about_encoder(card, config, &encoder),
        Err(_) => Ok(()),
    }
}

/// Tells of texts that the model cannot read, where there were some.
fn left_out(card: &mut String, skipped: Skipped) -> std::fmt::Result {
    let Skipped { train, dev } = skipped;
    if train + dev == 0 {
        return Ok(());
    }
    writeln!(
        card,
        "\nLeft out, without a word that the model knows: {train} training texts and {dev} dev texts."
    )
}

/// Tells of a pretrained encoder that was not trained further.
fn about_encoder(
    card: &mut String,
    config: &BundleConfig,
    encoder: &EncoderCard,
) -> std::fmt::Result {
    let EncoderCard { shape, pooling, fingerprint } = encoder;
    let (layers, hidden) = (shape.num_hidden_layers, shape.hidden_size);
    let (heads, tokens) = (shape.num_attention_heads, shape.vocab_size);
    let pooled = match pooling {
        Pooling::Cls => "its first token's",
        Pooling::Mean => "the mean of its tokens'",
    };
    writeln!(
        card,
        "\nInside is a pretrained {} encoder as it was given: {layers} layers of {hidden} values and \
         {heads} heads, {tokens} tokens. A text's representation by it is {pooled}, scaled to length 1. \
         Its license is that of whoever trained it. Fingerprint: {fingerprint}",
        shape.model_type.title()
    )?;
    match config.prefix.as_str() {
        "" => Ok(()),
        prefix => writeln!(card, "\nIt reads each text after the prefix {prefix:?}."),
    }
}

/// Writes the card of an encoder that was taken as it is.
pub(crate) fn encoder_card(config: &BundleConfig, report: &EncoderReport) -> String {
    let mut card = String::new();
    untrained(&mut card, config, report).expect("a string takes everything");
    card
}

fn untrained(card: &mut String, config: &BundleConfig, report: &EncoderReport) -> std::fmt::Result {
    let BundleConfig { max_length, dimensions, .. } = config;
    let EncoderReport { encoder, n_neighbors, n_dev, interpolation, threshold, .. } = report;
    writeln!(card, "# Model card: a pretrained encoder\n")?;
    writeln!(
        card,
        "Represents a text by {dimensions} values, among which its neighbors are found; scores no label \
         itself. Reads the first {max_length} tokens of a text. Its tags are the votes of the nearest \
         labeled texts, of which {n_neighbors} are in the bundle, and become better with each one that \
         an index is given."
    )?;
    about_encoder(card, config, encoder)?;
    left_out(card, report.skipped)?;
    let (k, tau, threshold) = (interpolation.k, interpolation.temperature.get(), threshold.get());
    match report.dev_micro_f1 {
        Some(f1) => writeln!(
            card,
            "\nMicro-F1 {f1:.4} on {n_dev} dev texts with k = {k}, tau = {tau}, threshold {threshold}, which \
             were chosen on them: other texts will come out somewhat lower."
        ),
        None => writeln!(
            card,
            "\nk = {k}, tau = {tau} and the threshold {threshold} were not tuned: `autotag tune` does that."
        ),
    }
}

fn figures(card: &mut String, report: &TrainReport) -> std::fmt::Result {
    let Interpolation { k, temperature, proportion } = report.interpolation;
    let best = report.fit.epochs.iter().find(|epoch| epoch.epoch == report.fit.best_epoch);
    writeln!(card, "\n## What it reached on dev\n\n| | micro-F1 |\n| --- | --- |")?;
    if let Some(best) = best {
        writeln!(card, "| the model alone, threshold .5 | {:.4} |", best.model_f1)?;
        writeln!(
            card,
            "| with neighbors, as configured, threshold .5 | {:.4} |",
            best.interpolated_f1
        )?;
    }
    writeln!(
        card,
        "| with neighbors, k = {k}, tau = {}, lambda = {proportion}, threshold {} | {:.4} |",
        temperature.get(),
        report.threshold.get(),
        report.dev_micro_f1
    )?;
    if let Some(held_out) = report.mix_held_out {
        writeln!(card, "| by a learned mix, on texts held out of its fit | {held_out:.4} |")?;
    }
    if let Some(held_out) = report.interpolated_held_out {
        writeln!(
            card,
            "| with neighbors, on the same texts, tuned on the others | {held_out:.4} |"
        )?;
    }
    writeln!(
        card,
        "\nSettings were chosen on the same dev texts, so other texts will come out \
         somewhat lower: `autotag eval` measures them. The bundle's present settings are those in \
         `config.json`, should it have been tuned since."
    )
}

fn labels(card: &mut String, train: &Dataset) -> std::fmt::Result {
    let vocabulary: &LabelVocabulary = train.vocabulary();
    let mut counts = vec![0usize; vocabulary.len()];
    for label in train.labels().iter().flat_map(|labels| labels.ids()) {
        counts[label.index()] += 1;
    }
    let mut order: Vec<usize> = (0..counts.len()).collect();
    order.sort_by_key(|&label| std::cmp::Reverse(counts[label]));
    let names: Vec<&str> = vocabulary.names().collect();
    let rare = counts.iter().filter(|&&count| count < 10).count();
    writeln!(card, "\n## Labels\n\n| label | training texts |\n| --- | --- |")?;
    for &label in order.iter().take(LABELS) {
        writeln!(card, "| {} | {} |", in_cell(names[label]), counts[label])?;
    }
    if counts.len() > LABELS {
        writeln!(card, "\nand {} more, which `labels.json` names.", counts.len() - LABELS)?;
    }
    writeln!(
        card,
        "\n{rare} labels have fewer than 10 training texts: expect the model to miss them, and the \
         neighbors to find them. Labels that come later have their neighbors' votes alone."
    )
}

/// Writes a label into a cell of a table, which takes one line.
fn in_cell(label: &str) -> String {
    label.replace('|', "\\|").replace(['\n', '\r'], " ")
}

fn settings(card: &mut String, report: &TrainReport) -> std::fmt::Result {
    let settings =
        serde_json::json!({ "model": as_json(&report.spec), "training": as_json(&report.config) });
    let config = serde_json::to_string_pretty(&settings).expect("settings are plain data");
    writeln!(card, "\n## Settings\n\n```json\n{config}\n```")
}

fn ordinal(n: usize) -> String {
    let suffix = match (n % 10, n % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{n}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_stays_within_its_cell() {
        assert_eq!(in_cell("a|b\nc"), "a\\|b c");
    }

    #[test]
    fn numbers_are_told_as_people_do() {
        let told = [1, 2, 3, 4, 11, 12, 13, 21, 101, 111].map(ordinal).join(" ");
        assert_eq!(told, "1st 2nd 3rd 4th 11th 12th 13th 21st 101st 111th");
    }
}
