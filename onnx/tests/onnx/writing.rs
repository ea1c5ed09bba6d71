//! Bundles are written beside their place and renamed; an unfinished one leaves nothing.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;

use autotag::datastore::DatastoreOptions;
use autotag::{Datastore, Encoder, Fingerprint, Interpolation, SearchMode, Source};
use autotag_onnx::graph::GraphBuilder;
use autotag_onnx::{BundleDraft, ModelBundle, OnnxEncoder, OnnxError};

use crate::fixture::{self, Parts, parts};

fn create(target: &Path, parts: Parts) -> BundleDraft {
    let Parts { config, labels, tokenizer, model } = parts;
    BundleDraft::create(target, config, &labels, &tokenizer, model).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_dropped_draft_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let draft = create(&root.path().join("bundle"), parts());
    let unfinished = names(root.path());
    assert!(unfinished[0].starts_with(".bundle.draft-"), "{unfinished:?}");
    drop(draft);
    assert!(names(root.path()).is_empty());
}

#[test]
fn a_published_bundle_stands_alone_and_keeps_what_was_set_last() {
    let root = tempfile::tempdir().unwrap();
    let mut draft = create(&root.path().join("deep/bundle"), parts());
    let interpolation =
        Interpolation { k: NonZeroUsize::new(10).unwrap(), ..Interpolation::default() };
    draft.set_interpolation(interpolation);
    draft.set_training(serde_json::json!({"epochs": 3}));
    let encoder = draft.encoder(&fixture::on_cpu()).unwrap();
    let bundle = draft.publish().unwrap();
    assert_eq!(names(&root.path().join("deep")), ["bundle"]);
    assert_eq!(bundle.config().interpolation, interpolation);
    assert_eq!(bundle.config().training["epochs"], 3);
    assert_eq!(encoder.fingerprint(), bundle.encoder_fingerprint());
}

#[test]
fn what_lies_in_the_target_is_not_overwritten() {
    let root = tempfile::tempdir().unwrap();
    let target = root.path().join("bundle");
    create(&target, parts()).publish().unwrap();
    let error = create(&target, parts()).publish().unwrap_err();
    assert!(matches!(error, OnnxError::TargetExists { .. }), "{error}");
    let papers = root.path().join("papers");
    fs::create_dir(&papers).unwrap();
    fs::write(papers.join("thesis"), "years of work").unwrap();
    let error = create(&papers, parts()).publish_replacing().unwrap_err();
    assert!(matches!(error, OnnxError::TargetExists { .. }), "{error}");
    assert_eq!(names(&papers), ["thesis"]);
}

#[test]
fn an_older_bundle_is_replaced_when_asked() {
    let root = tempfile::tempdir().unwrap();
    let target = root.path().join("bundle");
    let older = create(&target, parts()).publish_replacing().unwrap();
    let mut draft = create(&target, parts());
    draft.set_training(serde_json::json!("newer"));
    let newer = draft.publish_replacing().unwrap();
    assert_eq!(newer.config().training, "newer");
    assert_eq!(names(root.path()), ["bundle"]);
    assert_ne!(older.fingerprint(), newer.fingerprint());
    // The embeddings are the same, so that one's datastores serve the other.
    assert_eq!(older.encoder_fingerprint(), newer.encoder_fingerprint());
    assert_eq!(ModelBundle::open(&target).unwrap().fingerprint(), newer.fingerprint());
}

#[test]
fn another_reading_of_texts_is_another_encoder() {
    let root = tempfile::tempdir().unwrap();
    let mut shorter = parts();
    shorter.config.max_length = NonZeroUsize::MIN;
    let other = fixture::mean_model(11).finish();
    let mut fingerprints = vec![];
    for (name, parts) in [("a", parts()), ("b", shorter), ("c", Parts { model: other, ..parts() })]
    {
        fingerprints.push(create(&root.path().join(name), parts).encoder_fingerprint());
    }
    fingerprints.dedup();
    assert_eq!(fingerprints.len(), 3);
}

#[test]
fn labels_that_do_not_fit_the_configuration_are_refused() {
    let mut parts = parts();
    parts.labels.insert("one::more").unwrap();
    let error = fixture::draft(parts).1.unwrap_err();
    assert!(matches!(error, OnnxError::LabelCount { expected: 2, found: 3, .. }), "{error}");
}

/// Fills the draft's datastore with one text.
fn fill(draft: &BundleDraft, options: &DatastoreOptions) -> autotag::Result<()> {
    let encoder = draft.encoder(&fixture::on_cpu()).unwrap();
    let tokens = encoder.tokenize("a b").unwrap();
    let encoded = encoder.encode(&[tokens]).row(0).unwrap();
    let datastore = Datastore::create(&draft.datastore_folder(), options)?;
    let mut writer = datastore.writer()?;
    writer.put("first", &encoded.embedding, &[fixture::LABELS[1]], Source::Training)?;
    writer.commit()
}

fn options(draft: &BundleDraft) -> DatastoreOptions {
    let labels = parts().labels;
    DatastoreOptions::new(draft.config().dimensions, draft.encoder_fingerprint(), labels)
}

#[test]
fn a_bundle_with_its_datastore_is_verified_and_left_as_it_is() {
    let root = tempfile::tempdir().unwrap();
    let draft = create(&root.path().join("bundle"), parts());
    fill(&draft, &options(&draft)).unwrap();
    let bundle = draft.publish().unwrap();
    let verified = ModelBundle::verify(bundle.path(), &fixture::on_cpu()).unwrap();
    assert_eq!(names(&bundle.path().join("datastore")), ["data.mdb"]);
    let reader = verified.datastore().unwrap().reader().unwrap();
    let encoder = OnnxEncoder::open(&verified, &fixture::on_cpu()).unwrap();
    let query = encoder.encode(&[encoder.tokenize("b a").unwrap()]).row(0).unwrap();
    let neighbors = reader.nearest(query.embedding.as_row(), 1, SearchMode::Exact).unwrap();
    assert!(neighbors[0][0].distance < 1e-3);
    assert_eq!(reader.key(neighbors[0][0].item), Some("first"));
}

#[test]
fn a_draft_without_a_datastore_gets_an_empty_one() {
    let (_root, path) = fixture::bundle(parts());
    let bundle = ModelBundle::verify(&path, &fixture::on_cpu()).unwrap();
    assert!(bundle.datastore().unwrap().reader().unwrap().is_empty());
}

#[test]
fn a_datastore_of_another_encoder_is_not_published() {
    let root = tempfile::tempdir().unwrap();
    let draft = create(&root.path().join("bundle"), parts());
    let other = DatastoreOptions { encoder: Fingerprint([7; 32]), ..options(&draft) };
    fill(&draft, &other).unwrap();
    let error = draft.publish().unwrap_err();
    let OnnxError::Core { source, .. } = &error else { panic!("{error}") };
    assert!(matches!(**source, autotag::Error::EncoderMismatch { .. }), "{source}");
    assert!(names(root.path()).is_empty());
}

#[test]
fn a_model_whose_answers_are_no_numbers_is_not_verified() {
    let mut graph = GraphBuilder::new("nan");
    let (embedding, scores) = fixture::mean_layers(&mut graph, 10);
    let nan = graph.scalar(f32::NAN);
    let embedding = graph.mul(&embedding, &nan);
    fixture::name_outputs(&mut graph, &embedding, &scores);
    let (_root, path) = fixture::bundle(Parts { model: graph.finish(), ..parts() });
    let error = ModelBundle::verify(&path, &fixture::on_cpu()).unwrap_err();
    assert!(matches!(error, OnnxError::Verify { .. }), "{error}");
}

#[cfg(unix)]
#[test]
fn a_bundle_has_the_modes_that_the_umask_gives() {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let root = tempfile::tempdir().unwrap();
    let (any_file, any_folder) = (root.path().join("file"), root.path().join("folder"));
    fs::write(&any_file, "").unwrap();
    fs::create_dir(&any_folder).unwrap();
    let check = |bundle: &Path| {
        for folder in [bundle.to_path_buf(), bundle.join("datastore")] {
            assert_eq!(mode(&folder), mode(&any_folder), "{}", folder.display());
            for name in names(&folder).iter().filter(|&name| name != "datastore") {
                assert_eq!(mode(&folder.join(name)), mode(&any_file), "{name}");
            }
        }
    };
    let bundle = create(&root.path().join("bundle"), parts()).publish().unwrap();
    check(bundle.path());

    // Also where what is copied has other modes.
    for name in ["labels.json", "model.onnx", "datastore/data.mdb"] {
        fs::set_permissions(bundle.path().join(name), PermissionsExt::from_mode(0o600)).unwrap();
    }
    let config = bundle.config().clone();
    let target = root.path().join("tuned");
    bundle
        .with_settings(&target, config.interpolation, None, config.selection, config.training)
        .unwrap();
    check(&target);
}
