//! Wrong usage, help, completion, pipes.

use crate::support::{Folder, autotag, command};

fn check_wrong(line: &str, expect: &str) {
    let run = autotag(line);
    assert_eq!(run.code, 2, "{line}: {}", run.stderr);
    assert!(run.stdout.is_empty(), "{line}");
    assert!(run.stderr.contains(expect), "{line}: {}", run.stderr);
}

#[test]
fn wrong_usage_ends_with_code_2() {
    check_wrong("", "Usage: autotag");
    check_wrong("fly", "unrecognized subcommand 'fly'");
    check_wrong("tag", "--bundle <BUNDLE>|--index <DIR>");
    check_wrong("eval --bundle b", "--data <FILE>");
    check_wrong("eval --bundle b --data d --tau 0", "tau = 0 is out of range");
    check_wrong("eval --bundle b --data d --lambda 2", "lambda = 2 is out of range");
    check_wrong("eval --bundle b --data d --threshold x", "it must be a number");
    check_wrong("eval --bundle b --data d --k 0", "number would be zero");
    check_wrong("tag --bundle b --device gpu", "auto, cpu or cuda:N");
    check_wrong("tag --bundle b --threads 0", "within 1..=4096");
    check_wrong("tag --bundle b --threads 5000", "within 1..=4096");
    check_wrong("train --data d --dev d --out o --widths 3,3", "given once");
    check_wrong("train --data d --dev d --out o --filters 100000000000", "within 1..=10000");
    check_wrong("search --index i --format yaml query", "[possible values: table, json]");
    check_wrong("index --bundle b --index i --data d --on-failure cry", "possible values");
    check_wrong("train --data d --dev d --out o --model lstm", "give one of cnn, wide, wide-cnn");
    check_wrong("train --data d --dev d --out o --dropout 1", "dropout = 1 is out of range");
    check_wrong(
        "train --data d --dev d --out o --model wide --filters 9",
        "--filters is of no use",
    );
    check_wrong("bundle show b -v -q", "cannot be used with");
    check_wrong("completions dos", "possible values");
}

#[test]
fn every_command_has_an_example_in_its_help() {
    let commands = [
        "train",
        "eval",
        "tune",
        "compare",
        "plot",
        "ablate",
        "report",
        "index",
        "tag",
        "search",
        "correct",
        "labels",
        "retag",
        "migrate",
        "verify",
        "repair",
        "bundle",
        "bundle show",
        "bundle verify",
        "bundle from-encoder",
        "model",
        "model fetch",
        "completions",
    ];
    for name in commands {
        let help = autotag(&format!("{name} --help")).ok();
        assert!(help.contains("Example"), "{name}: {help}");
        assert!(help.contains(&format!("autotag {name} ")), "{name}: {help}");
    }
    let help = autotag("--help").ok();
    for name in ["train", "eval", "index", "tag", "search", "bundle", "completions"] {
        assert!(help.contains(&format!("  {name} ")), "{help}");
    }
}

#[test]
fn help_shows_the_defaults_of_training() {
    let help = autotag("train --help").ok();
    for default in ["--batch-size <N>", "[default: 128", "[default: 0.003, wide: ", "[default: 0.1"]
    {
        assert!(help.contains(default), "{default}: {help}");
    }
}

#[test]
fn the_shell_completes_commands_and_options() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = autotag(&format!("completions {shell}")).ok();
        assert!(script.contains("autotag") && script.contains("on-failure"), "{shell}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let mut child = command("completions bash").spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn without_onnx_runtime_the_error_says_how_to_get_it() {
    let folder = Folder::new();
    let bundle = crate::support::bundle();
    let mut command = command(&format!("tag --bundle {bundle}"));
    command.env("ORT_DYLIB_PATH", folder.path("none.so"));
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("none.so") && error.contains("autotag setup"), "{error}");
    let given = folder.write("given.so", "no library");
    let error = autotag(&format!("tag --bundle {bundle} --onnxruntime {given}")).error();
    assert!(error.contains("given.so") && error.contains("autotag setup"), "{error}");
}

#[test]
fn a_device_that_is_not_there_fails_and_auto_says_what_it_took() {
    let bundle = crate::support::bundle();
    let cuda = autotag(&format!("bundle verify {bundle} --device cuda:0"));
    let auto = autotag(&format!("bundle verify {bundle} --device auto"));
    if cuda.code == 0 {
        assert!(auto.stderr.contains("device=cuda:0"), "{}", auto.stderr);
    } else {
        let error = cuda.error();
        assert!(
            error.contains("cuda:0 cannot be used") && error.contains("setup --gpu"),
            "{error}"
        );
        assert!(auto.stderr.contains("the model runs on the CPU"), "{}", auto.stderr);
    }
    auto.ok();
    let run = autotag(&format!("bundle verify {bundle} --device auto --quiet"));
    assert_eq!(run.stderr, "");
    run.ok();
}
