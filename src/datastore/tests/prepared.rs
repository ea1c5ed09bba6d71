//! Committing in two steps: prepared changes outlive their writer.

use super::*;

/// Prepares a replacement, a deletion and a new label, spilled in part, and drops the writer.
fn prepare_and_forget(folder: &Path) {
    let datastore = Datastore::create_with(folder, &options(32), TINY).unwrap();
    fill(&datastore, &clustered(40, 32, 20));
    let mut writer = datastore.writer().unwrap();
    for (position, vector) in clustered(30, 32, 21).iter().enumerate() {
        let labels = ["new", "red"];
        writer.put(&position.to_string(), &embedding(vector), &labels, Source::Human).unwrap();
    }
    writer.delete("39").unwrap();
    writer.prepare(7).unwrap();
    assert_eq!(writer.prepared(), Some(7));
    assert_eq!(datastore.reader().unwrap().generation(), 1);
}

#[test]
fn prepared_changes_are_applied_by_another_writer() {
    let folder = tempfile::tempdir().unwrap();
    prepare_and_forget(folder.path());
    let datastore = Datastore::open(folder.path(), &ENCODER).unwrap();
    let before = datastore.reader().unwrap();
    assert_eq!((before.labels().len(), before.get("39").unwrap().is_some()), (2, true));
    let mut writer = datastore.writer().unwrap();
    assert_eq!(writer.prepared(), Some(7));
    writer.apply().unwrap();
    assert_eq!(writer.prepared(), None);
    let reader = datastore.reader().unwrap();
    assert_eq!((reader.generation(), reader.len()), (7, 39));
    assert_eq!(reader.labels().names().collect::<Vec<_>>(), ["red", "green", "new"]);
    for (position, vector) in clustered(30, 32, 21).iter().enumerate() {
        let item = reader.get(&position.to_string()).unwrap().unwrap();
        assert_eq!((item.embedding.values(), item.labels.len()), (&vector[..], 2));
    }
    assert_eq!(found_keys(&reader, &[0.1; 32], 50, SearchMode::Arroy).len(), 39);
    writer.delete("0").unwrap();
    writer.commit().unwrap();
    assert_eq!(datastore.reader().unwrap().generation(), 8);
}

#[test]
fn the_deletion_of_all_documents_takes_effect_in_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let datastore = Datastore::create_with(folder.path(), &options(2), TINY).unwrap();
    fill(&datastore, &clustered(5, 2, 1));
    let mut writer = datastore.writer().unwrap();
    let vector = embedding(&[1.0, 2.0]);
    let record = || DocumentRecord {
        content: [1; 16],
        review: Review::Complete,
        rejected: LabelSet::default(),
        encoded: None,
    };
    let put = |writer: &mut DatastoreWriter, key: &str| {
        writer.put(key, &vector, &["red"], Source::Human).unwrap();
        writer.put_document(key, record()).unwrap();
    };
    put(&mut writer, "committed");
    writer.commit().unwrap();
    put(&mut writer, "staged");
    writer.delete_all_documents().unwrap();
    put(&mut writer, "after");
    writer.prepare(9).unwrap();
    let prepared = datastore.prepared().unwrap().unwrap();
    let changed: Vec<(&str, bool)> =
        prepared.changes.iter().map(|c| (&*c.key, c.labels.is_some())).collect();
    assert_eq!(changed, [("committed", false), ("after", true)]);
    let kept = [("after".to_owned(), true), ("committed".to_owned(), false)];
    assert_eq!(prepared.documents, kept.into());
    writer.apply().unwrap();
    let reader = datastore.reader().unwrap();
    assert_eq!(reader.document_keys().unwrap(), ["after"]);
    assert_eq!((reader.len(), reader.get("after").unwrap().is_some()), (6, true));
    assert!(datastore.verify().unwrap().problems.is_empty());
}

#[test]
fn prepared_changes_are_discarded_as_if_they_had_never_been() {
    let folder = tempfile::tempdir().unwrap();
    prepare_and_forget(folder.path());
    let datastore = Datastore::open(folder.path(), &ENCODER).unwrap();
    let mut writer = datastore.writer().unwrap();
    writer.discard().unwrap();
    assert_eq!(writer.prepared(), None);
    writer.put("x", &embedding(&[1.0; 32]), &["other"], Source::Human).unwrap();
    writer.prepare(7).unwrap();
    writer.apply().unwrap();
    let reader = datastore.reader().unwrap();
    assert_eq!((reader.generation(), reader.len()), (7, 41));
    assert_eq!(reader.labels().names().collect::<Vec<_>>(), ["red", "green", "other"]);
    assert_eq!(reader.get("0").unwrap().unwrap().source, Source::Training);
}

#[test]
fn staged_changes_are_discarded_spilled_or_not() {
    let vectors = clustered(30, 32, 21);
    for n_staged in [0, 1, 30] {
        let folder = tempfile::tempdir().unwrap();
        let datastore = Datastore::create_with(folder.path(), &options(32), TINY).unwrap();
        fill(&datastore, &clustered(40, 32, 20));
        let mut writer = datastore.writer().unwrap();
        for (position, vector) in vectors.iter().take(n_staged).enumerate() {
            let key = position.to_string();
            writer.put(&key, &embedding(vector), &["new"], Source::Human).unwrap();
        }
        let renamed = |labels: &mut LabelVocabulary| labels.rename(crate::LabelId(0), "crimson");
        writer.change_labels(renamed).unwrap();
        writer.discard().unwrap();
        assert_eq!(writer.labels().names().collect::<Vec<_>>(), ["red", "green"], "{n_staged}");
        writer.put("x", &embedding(&[1.0; 32]), &["other"], Source::Human).unwrap();
        writer.prepare(7).unwrap();
        writer.apply().unwrap();
        let reader = datastore.reader().unwrap();
        assert_eq!((reader.generation(), reader.len()), (7, 41), "{n_staged}");
        assert_eq!(reader.labels().names().collect::<Vec<_>>(), ["red", "green", "other"]);
        assert_eq!(reader.get("0").unwrap().unwrap().source, Source::Training);
    }
}

#[test]
fn nothing_is_staged_beside_prepared_changes_and_generations_grow() {
    let folder = tempfile::tempdir().unwrap();
    let datastore = create(folder.path(), 2);
    let mut writer = datastore.writer().unwrap();
    writer.prepare(1).unwrap();
    assert_eq!(writer.prepared(), None, "nothing was changed");
    writer.apply().unwrap();
    let item = embedding(&[1.0, 2.0]);
    writer.put("a", &item, &[], Source::Human).unwrap();
    writer.commit().unwrap();
    writer.put("b", &item, &[], Source::Human).unwrap();
    let refused = writer.prepare(1);
    assert!(matches!(refused, Err(Error::DatastoreGeneration { current: 1, given: 1, .. })));
    writer.prepare(2).unwrap();
    for refused in [
        writer.put("c", &item, &[], Source::Human),
        writer.delete("a"),
        writer.commit(),
        writer.prepare(3),
    ] {
        assert!(matches!(refused, Err(Error::DatastorePrepared { generation: 2, .. })));
    }
    writer.apply().unwrap();
    assert_eq!(datastore.reader().unwrap().len(), 2);
}

#[test]
fn labels_are_committed_without_an_item() {
    let folder = tempfile::tempdir().unwrap();
    let datastore = create(folder.path(), 2);
    let mut writer = datastore.writer().unwrap();
    let retire = |labels: &mut LabelVocabulary| {
        let id = labels.insert("new")?;
        labels.retire(id)
    };
    writer.change_labels(retire).unwrap();
    writer.prepare(1).unwrap();
    assert_eq!(writer.prepared(), Some(1));
    drop(writer);
    let mut writer = datastore.writer().unwrap();
    writer.apply().unwrap();
    let reader = datastore.reader().unwrap();
    assert_eq!(reader.labels().names().collect::<Vec<_>>(), ["red", "green", "new"]);
    assert_eq!(reader.labels().resolve_name("new"), None);
}
