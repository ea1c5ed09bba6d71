//! The content of an index, read from both stores and compared.

use std::collections::BTreeMap;
use std::path::Path;

use autotag::{Datastore, DatastoreReader, Encoder, Fingerprint, LabelSet, Origin, Source};
use tantivy_autotag::{FoundDocument, IndexFolder, SearchRequest};

use super::model::{Entry, State};
use crate::support::{LABELS, Words};

pub(super) const SEED_KEY: &str = "of the training set";

/// Reads the documents; their labels are those of the neighbors, with which they must agree.
pub(super) fn observe(path: &Path) -> State {
    let folder = IndexFolder::open(path).unwrap();
    let datastore = Datastore::open(&folder.datastore_path(), &Fingerprint([7; 32])).unwrap();
    let reader = datastore.reader().unwrap();
    let mut neighbors = neighbors(&reader);
    let mut state = State::new();
    for found in documents(&folder) {
        let labels = neighbors.remove(&found.key).map(|(labels, embedding)| {
            assert_eq!(embedding, encode(&found.texts[0]), "{:?} votes as another text", found.key);
            labels
        });
        let human = human_labels(&found);
        let expected = labels.clone().filter(|labels| !labels.is_empty());
        assert_eq!(human, expected, "{:?}: the document's and its neighbor's labels", found.key);
        let record = reader.documents(&[&found.key]).unwrap().remove(0);
        let is_corrected = record.is_some_and(|record| !record.review.is_none());
        let entry = Entry { text: found.texts[0].clone(), labels, is_corrected };
        assert_eq!(state.insert(found.key.clone(), entry), None, "{:?} twice", found.key);
    }
    assert!(neighbors.is_empty(), "neighbors without documents: {:?}", neighbors.keys());
    state
}

fn documents(folder: &IndexFolder) -> Vec<FoundDocument> {
    let request = SearchRequest::new().limit(usize::MAX);
    folder.searcher().unwrap().search(&request).unwrap().documents
}

fn human_labels(found: &FoundDocument) -> Option<Vec<String>> {
    let evidence = found.evidence.as_ref().unwrap();
    let human = evidence.tags.iter().filter(|tag| tag.origin == Origin::Human);
    let mut labels: Vec<String> = human.map(|tag| tag.label.clone()).collect();
    assert!(labels.is_empty() || labels.len() == evidence.tags.len());
    labels.sort();
    (!labels.is_empty()).then_some(labels)
}

type Labels = Vec<String>;

/// Returns the labels and the embeddings of documents that people labeled.
fn neighbors(reader: &DatastoreReader) -> BTreeMap<String, (Labels, Vec<f32>)> {
    let mut neighbors = BTreeMap::new();
    let mut has_seed = false;
    let look = |key: &str, item: autotag::StoredItem| -> autotag::Result<()> {
        match item.source {
            Source::Training => has_seed |= key == SEED_KEY,
            Source::Human => {
                let labels = names(reader, &item.labels);
                neighbors.insert(key.to_owned(), (labels, item.embedding.values().to_vec()));
            }
        }
        Ok(())
    };
    reader.for_each(look).unwrap();
    assert!(has_seed, "the training set is still there");
    neighbors
}

fn names(reader: &DatastoreReader, labels: &LabelSet) -> Labels {
    let mut names: Labels =
        labels.ids().iter().map(|&label| reader.labels().name(label).to_owned()).collect();
    names.sort();
    names
}

fn encode(text: &str) -> Vec<f32> {
    let encoder = Words::new(&LABELS);
    let tokens = encoder.tokenize(text).unwrap();
    encoder.encode(&[tokens]).row(0).unwrap().embedding.values().to_vec()
}
