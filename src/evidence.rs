//! The evidence for a document's tags, by names: what an index stores and every program shows.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::select::Margin;
use crate::{DatastoreReader, LabelVocabulary, Review, Shares, Tag, Tagging, Vote};

/// The tags of a document with their scores, the neighbors that voted for them, and what people decided.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The tags, the highest score first.
    pub tags: Vec<TagEvidence>,
    /// The labels below the threshold that are suggested, the highest score first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suggestions: Vec<TagEvidence>,
    /// The labels that were decided with the least certainty, tags or not, the least certain first;
    /// 3 at most, none where a person gave the tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub least_certain: Vec<MarginEvidence>,
    /// The neighbors that voted, the nearest first; none where a person gave the tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub neighbors: Vec<NeighborEvidence>,
    /// The labels that people said the document does not have, in alphabetical order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rejected: Vec<String>,
    /// The extent of a person's review.
    #[serde(default, skip_serializing_if = "Review::is_none")]
    pub review: Review,
    /// People decided labels but the document does not vote, since its text could not be encoded.
    #[serde(rename = "silent", default, skip_serializing_if = "std::ops::Not::not")]
    pub not_voting: bool,
}

/// A tag's score and the parts that it is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TagEvidence {
    /// The label, as `role::program`.
    pub label: String,
    /// The interpolated score, within 0..=1.
    pub score: f32,
    /// The model's score, absent for a label that the model does not know.
    pub model: Option<f32>,
    /// The neighbors' score, 0 where none of them has the label.
    pub knn: f32,
    /// The parts of the score's logit, where a learned mix made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shares: Option<Shares>,
    /// The origin of the tag.
    pub origin: Origin,
}

/// A label's score and the threshold that it was compared with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MarginEvidence {
    /// The label, as `role::program`.
    pub label: String,
    /// The interpolated score, within 0..=1.
    pub score: f32,
    /// The label's threshold, within 0..=1.
    pub threshold: f32,
}

/// The labels that evidence names as the least certain.
const LEAST_CERTAIN: usize = 3;

/// The origin of a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// A person: the label came with the document, or was given or confirmed later.
    Human,
    /// The model alone: no neighbor has the label.
    Model,
    /// The neighbors alone: the model does not know the label.
    Neighbors,
    /// The model and the neighbors.
    Both,
}

/// A neighbor that voted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NeighborEvidence {
    /// The neighbor's key in the datastore.
    pub key: String,
    /// d(h_i, f(x)): the Euclidean distance.
    pub distance: f32,
    /// alpha_i, within 0..=1: the weight of its vote.
    pub weight: f32,
    /// The labels that it voted for.
    pub labels: Vec<String>,
    /// The labels that people have not decided on, from whose vote it abstained.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undecided: Vec<String>,
}

/// The standing of a label in a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// A person gave or confirmed it.
    Person,
    /// A person rejected it.
    Rejected,
    /// It was predicted, as a tag or a suggestion, and a person who decided other labels of the document
    /// left it open.
    Undecided,
    /// It was predicted, and nobody reviewed the document.
    Predicted,
}

impl Evidence {
    /// Returns the neighbors that voted for a label.
    pub fn voters<'e>(&'e self, label: &'e str) -> impl Iterator<Item = &'e NeighborEvidence> {
        self.neighbors.iter().filter(move |neighbor| neighbor.labels.iter().any(|l| l == label))
    }

    /// Returns the distance of the least certain score to its threshold, within 0..=1, among the labels
    /// that no person gave: the smaller, the more a review of the document is worth.
    pub fn margin(&self) -> Option<f32> {
        let is_given = |label: &str| {
            self.tags.iter().any(|tag| tag.origin == Origin::Human && tag.label == label)
        };
        let open = self.least_certain.iter().find(|margin| !is_given(&margin.label))?;
        Some((open.score - open.threshold).abs())
    }

    /// Estimates the size in memory, in bytes.
    pub fn size(&self) -> usize {
        let tag = |tag: &TagEvidence| size_of::<TagEvidence>() + tag.label.len();
        let label = |label: &String| size_of::<String>() + label.len();
        let neighbor = |neighbor: &NeighborEvidence| {
            let labels = neighbor.labels.iter().chain(&neighbor.undecided).map(label);
            size_of::<NeighborEvidence>() + neighbor.key.len() + labels.sum::<usize>()
        };
        let tags = self.tags.iter().chain(&self.suggestions).map(tag).sum::<usize>();
        let rejected = self.rejected.iter().map(label).sum::<usize>();
        let margin = |margin: &MarginEvidence| size_of::<MarginEvidence>() + margin.label.len();
        let margins = self.least_certain.iter().map(margin).sum::<usize>();
        tags + rejected + margins + self.neighbors.iter().map(neighbor).sum::<usize>()
    }

    /// Returns the standing of a label; `None` for one that is neither a tag nor a suggestion nor
    /// rejected.
    pub fn standing(&self, label: &str) -> Option<Standing> {
        if self.rejected.iter().any(|rejected| rejected == label) {
            return Some(Standing::Rejected);
        }
        let shown = self.tags.iter().chain(&self.suggestions).find(|tag| tag.label == label)?;
        Some(match (shown.origin, self.review) {
            (Origin::Human, _) => Standing::Person,
            (_, Review::None) => Standing::Predicted,
            (_, Review::Partial | Review::Complete) => Standing::Undecided,
        })
    }

    /// Returns the labels that people gave.
    pub fn given(&self) -> Vec<String> {
        let human = self.tags.iter().filter(|tag| tag.origin == Origin::Human);
        human.map(|tag| tag.label.clone()).collect()
    }

    /// Returns the tags and suggestions that nobody decided.
    pub fn predicted_labels(&self) -> impl Iterator<Item = &str> {
        let shown = self.tags.iter().chain(&self.suggestions);
        shown.filter(|tag| tag.origin != Origin::Human).map(|tag| &*tag.label)
    }

    /// Records labels that a person gave.
    pub fn human(labels: &[String]) -> Self {
        Evidence {
            tags: labels.iter().map(|label| TagEvidence::human(label)).collect(),
            ..Evidence::default()
        }
    }

    /// Returns the evidence with precisely these labels as those that people gave, before the predicted
    /// ones.
    pub fn with_given(mut self, labels: &[String]) -> Self {
        let is_predicted =
            |tag: &TagEvidence| tag.origin != Origin::Human && !labels.contains(&tag.label);
        self.tags.retain(is_predicted);
        self.suggestions.retain(is_predicted);
        self.least_certain.retain(|margin| !labels.contains(&margin.label));
        self.tags.splice(..0, labels.iter().map(|label| TagEvidence::human(label)));
        self
    }

    /// Records what the tagger decided; the datastore names labels and neighbors.
    pub fn predicted(tagging: &Tagging, datastore: &DatastoreReader) -> Self {
        let name = |label| datastore.labels().name(label).to_owned();
        let evidence = |tag: &Tag| TagEvidence {
            label: name(tag.label),
            score: tag.score,
            model: tag.model,
            knn: tag.knn,
            shares: tag.shares,
            origin: origin(tag.model, tag.knn),
        };
        let tags = tagging.tags.iter().map(evidence).collect();
        let suggestions = tagging.suggestions.iter().map(evidence).collect();
        let neighbor = |vote: &Vote| NeighborEvidence {
            key: datastore.key(vote.neighbor.item).unwrap_or_default().to_owned(),
            distance: vote.neighbor.distance,
            weight: vote.weight,
            labels: vote.neighbor.labels.ids().iter().copied().map(name).collect(),
            undecided: vote.neighbor.undecided.ids().iter().copied().map(name).collect(),
        };
        let neighbors = tagging.neighbors.iter().map(neighbor).collect();
        let margin = |margin: &Margin| MarginEvidence {
            label: name(margin.label),
            score: margin.score,
            threshold: margin.threshold,
        };
        let least_certain = tagging.margins.iter().take(LEAST_CERTAIN).map(margin).collect();
        Evidence { tags, suggestions, least_certain, neighbors, ..Evidence::default() }
    }

    /// Returns the evidence with the labels that stand for those named; of several that one label
    /// stands for, the highest score counts.
    pub fn relabeled(&self, labels: &LabelVocabulary) -> Self {
        let relabel = |tags: &[TagEvidence]| {
            let mut relabeled: Vec<TagEvidence> = Vec::with_capacity(tags.len());
            for tag in tags {
                let Some(label) = labels.resolve_name(&tag.label) else { continue };
                // The highest score first: the first of several counts.
                if !relabeled.iter().any(|known| known.label == label) {
                    relabeled.push(TagEvidence { label: label.to_owned(), ..tag.clone() });
                }
            }
            relabeled
        };
        let mut evidence = self.clone();
        evidence.tags = relabel(&self.tags);
        evidence.suggestions = relabel(&self.suggestions);
        let is_tag =
            |suggested: &TagEvidence| evidence.tags.iter().any(|tag| tag.label == suggested.label);
        evidence.suggestions.retain(|suggested| !is_tag(suggested));
        let mut seen = BTreeSet::new();
        evidence.least_certain.retain_mut(|margin| {
            match labels.resolve_name(&margin.label).map(str::to_owned) {
                Some(label) if seen.insert(label.clone()) => {
                    margin.label = label;
                    true
                }
                _ => false,
            }
        });
        let resolved = |names: &[String]| -> Vec<String> {
            let names: BTreeSet<&str> =
                names.iter().filter_map(|label| labels.resolve_name(label)).collect();
            names.into_iter().map(str::to_owned).collect()
        };
        for neighbor in &mut evidence.neighbors {
            neighbor.labels = resolved(&neighbor.labels);
            neighbor.undecided = resolved(&neighbor.undecided);
            neighbor.undecided.retain(|label| !neighbor.labels.contains(label));
        }
        // A label given wins over one that was rejected and merged into it.
        evidence.rejected = resolved(&self.rejected);
        evidence.rejected.retain(|label| !evidence.tags.iter().any(|tag| tag.label == *label));
        evidence
    }

    /// Records the labels that people rejected, which are no tags or suggestions from then on.
    pub fn reject(&mut self, labels: Vec<String>) {
        let is_kept = |tag: &TagEvidence| !labels.contains(&tag.label);
        self.tags.retain(is_kept);
        self.suggestions.retain(is_kept);
        self.least_certain.retain(|margin| !labels.contains(&margin.label));
        self.rejected = labels;
        self.rejected.sort_unstable();
    }

    /// Writes the form that is stored.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers always encode")
    }
}

impl TagEvidence {
    fn human(label: &str) -> Self {
        let label = label.to_owned();
        TagEvidence {
            label,
            score: 1.0,
            model: None,
            knn: 0.0,
            shares: None,
            origin: Origin::Human,
        }
    }
}

fn origin(model: Option<f32>, knn: f32) -> Origin {
    match model {
        None => Origin::Neighbors,
        Some(_) if knn > 0.0 => Origin::Both,
        Some(_) => Origin::Model,
    }
}
