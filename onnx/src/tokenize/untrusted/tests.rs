use serde_json::json;

use super::*;

fn file(normalizer: Value, pre_tokenizer: Value, post_processor: Value) -> Vec<u8> {
    let model = json!({"type": "WordLevel", "unk_token": "[UNK]", "vocab": {"[UNK]": 0}});
    json!({"version": "1.0", "added_tokens": [], "normalizer": normalizer, "model": model,
        "pre_tokenizer": pre_tokenizer, "post_processor": post_processor})
    .to_string()
    .into_bytes()
}

#[track_caller]
fn check(file: &[u8], expect: &str) {
    let error = inspect(file).unwrap_err().to_string();
    assert!(error.contains(expect), "{error}");
}

fn replace(pattern: &str, content: &str) -> Value {
    json!({"type": "Replace", "pattern": {"String": pattern}, "content": content})
}

#[test]
fn the_tokenizers_in_use_pass() {
    let blanks = json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "});
    let llama = json!({"type": "Sequence", "normalizers":
        [{"type": "Prepend", "prepend": "▁"}, replace(" ", "▁"), replace("``", "\""), blanks]});
    let split = json!({"type": "Split", "pattern": {"Regex": "\\s+(?!\\S)|\\s+"},
        "behavior": "Isolated", "invert": false});
    let template = json!({"type": "TemplateProcessing", "pair": [],
        "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [1], "tokens": ["[CLS]"]}}});
    assert_eq!(inspect(&file(llama, split, template)).unwrap(), Speed::Unknown);
    let bert = json!({"type": "BertNormalizer", "lowercase": true});
    let words = json!({"type": "BertPreTokenizer"});
    assert_eq!(inspect(&file(bert, words, Value::Null)).unwrap(), Speed::Linear);
}

#[test]
fn what_panics_or_never_ends_is_told() {
    let fixed =
        json!({"type": "Sequence", "pretokenizers": [{"type": "FixedLength", "length": 0}]});
    check(&file(Value::Null, fixed, Value::Null), "its length is 0");
    let template = json!({"type": "TemplateProcessing", "pair": [],
        "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}], "special_tokens": {}});
    check(&file(Value::Null, Value::Null, template), "\"[CLS]\" is not defined");
    let long = json!({"type": "Split", "pattern": {"Regex": "a?".repeat(3000)}});
    check(&file(Value::Null, long, Value::Null), "over 4096 bytes");
    let model = br#"{"model": {"type": "WordPiece", "max_input_chars_per_word": 1000000}}"#;
    check(model, "more than 1000");
    let many = json!({"type": "Sequence", "normalizers": vec![json!({"type": "NFC"}); 100]});
    check(&file(many, Value::Null, Value::Null), "more than 64");
    let mut deep = json!({"type": "nothing"});
    for _ in 0..50 {
        deep = json!({"type": "Sequence", "normalizers": [deep]});
    }
    check(&file(deep, Value::Null, Value::Null), "more than 4 in each other");
}

#[test]
fn replacements_that_would_fill_the_memory_are_told() {
    let doubled = json!({"type": "Sequence", "normalizers": vec![replace("a", "aa"); 40]});
    check(&file(doubled, Value::Null, Value::Null), "times longer");
    check(&file(replace("", &"a".repeat(100)), Value::Null, Value::Null), "times longer");
    let prepend = json!({"type": "Prepend", "prepend": "a".repeat(1000)});
    check(&file(prepend, Value::Null, Value::Null), "longer than 64 bytes");
    let shorter = json!({"type": "Sequence", "normalizers": vec![replace("aa", "a"); 40]});
    inspect(&file(shorter, Value::Null, Value::Null)).unwrap();
}

fn character_map(base64: &str) -> Vec<u8> {
    let map = json!({"type": "Precompiled", "precompiled_charsmap": base64});
    file(map, Value::Null, Value::Null)
}

#[test]
fn odd_character_maps_are_told() {
    check(&character_map(""), "empty");
    check(&character_map("*&"), "empty or not Base64");
    // Tables of no bytes, and of 4 GB.
    check(&character_map("AAAAAA=="), "its table has 0 bytes");
    check(&character_map("/////w=="), "its table has 4294967295 bytes");
    let long = format!("BAAAAAAAAAA{}", "A".repeat(5));
    inspect(&character_map(&long)).unwrap();
    let long = format!("BAAAAAAAAA{}", "B".repeat(200));
    check(&character_map(&long), "a character is replaced by");
}

#[test]
fn base64_is_decoded() {
    for (text, expect) in [("", ""), ("YQ==", "a"), ("YWI", "ab"), ("YWJj", "abc"), ("/+8=", "")] {
        let bytes = decode_base64(text).unwrap();
        let expect = if text == "/+8=" { &[0xff, 0xef][..] } else { expect.as_bytes() };
        assert_eq!(bytes, expect);
    }
    assert_eq!(decode_base64("a b"), None);
}
