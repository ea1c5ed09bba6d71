//! The models that need the feature `burn`.

#[cfg(feature = "burn")]
use crate::encoder::write_encoder;
use crate::support::{Folder, autotag, documents, lines};

#[test]
fn bert_is_told_to_name_its_encoder() {
    let folder = Folder::new();
    let data = folder.write("data.jsonl", lines(&documents(10, 1)));
    let line =
        format!("train --data {data} --dev {data} --model bert --out {}", folder.path("out"));
    let run = autotag(&line);
    assert!(run.code == 2 && run.stderr.contains("--init FOLDER"), "{}", run.stderr);
}

#[cfg(not(feature = "burn"))]
#[test]
fn a_program_without_them_names_the_feature() {
    let folder = Folder::new();
    let out = folder.path("out");
    for model in
        ["--model ldgn", "--model bert --init encoder", "--model wide-cnn-bert --init encoder"]
    {
        // Not even whether the data is there is looked at before.
        let error = autotag(&format!("train --data none --dev none {model} --out {out}")).error();
        assert!(error.contains("--features burn"), "{error}");
    }
}

#[cfg(feature = "burn")]
#[test]
fn ldgn_is_trained_and_asked() {
    use serde_json::json;

    let folder = Folder::new();
    let train = folder.write("train.jsonl", lines(&documents(120, 1)));
    let dev = folder.write("dev.jsonl", lines(&documents(40, 2)));
    let bundle = folder.path("bundle");
    let options = "--model ldgn --device cpu --batch-size 16 --lstm 8 --label-vector 8 \
                   --embedding-dimensions 16 --learning-rate 0.02 --max-length 40 --epochs 10";
    let line = format!("train --data {train} --dev {dev} --out {bundle} {options} --format json");
    let report = autotag(&line).json();
    assert!(report["dev_micro_f1"].as_f64().unwrap() > 0.7, "{report}");
    let shown = autotag(&format!("bundle show {bundle} --format json")).json();
    assert_eq!(shown["config"]["architecture"], json!("ldgn"));
    let line = format!("eval --bundle {bundle} --data {dev} --format json");
    assert!(autotag(&line).json()["rows"].is_array());
}

#[cfg(feature = "burn")]
#[test]
fn bert_is_trained_and_asked() {
    use serde_json::json;

    let folder = Folder::new();
    let train = folder.write("train.jsonl", lines(&documents(120, 1)));
    let dev = folder.write("dev.jsonl", lines(&documents(40, 2)));
    let (bundle, encoder) = (folder.path("bundle"), write_encoder(&folder, "encoder"));
    let options = "--model bert --device cpu --batch-size 16 --learning-rate 0.01 \
                   --encoder-learning-rate 0.003 --max-length 16 --epochs 10 --format json";
    let line =
        format!("train --data {train} --dev {dev} --init {encoder} --out {bundle} {options}");
    let report = autotag(&line).json();
    assert!(report["dev_micro_f1"].as_f64().unwrap() > 0.5, "{report}");
    let shown = autotag(&format!("bundle show {bundle} --format json")).json();
    assert_eq!(shown["config"]["architecture"], json!("bert"));
    let line = format!("eval --bundle {bundle} --data {dev} --format json");
    assert!(autotag(&line).json()["rows"].is_array());
}

#[cfg(feature = "burn")]
#[test]
fn a_gpu_that_is_not_there_is_refused() {
    let folder = Folder::new();
    let data = folder.write("data.jsonl", lines(&documents(10, 1)));
    let options = format!("--model ldgn --device cuda:77 --out {}", folder.path("out"));
    let error = autotag(&format!("train --data {data} --dev {data} {options}")).error();
    assert!(error.contains("cuda"), "{error}");
}
