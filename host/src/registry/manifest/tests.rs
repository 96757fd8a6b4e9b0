use std::time::Duration;

use super::*;
use crate::tensor::{Datatype, TensorSpec};

fn blob(content: &str) -> Blob {
    Blob::of(content.as_bytes())
}

fn model(name: &str) -> Model {
    Model { name: name.parse().unwrap(), blob: blob(name), options: ModelOptions::default() }
}

fn asset(path: &str) -> Asset {
    Asset { path: path.parse().unwrap(), blob: blob(path) }
}

fn valid() -> Manifest {
    let mut manifest = Manifest::new("digits".parse().unwrap(), "1.0.0".parse().unwrap());
    manifest.component = Some(blob("component"));
    manifest.models = vec![model("a"), model("b")];
    manifest.assets = vec![asset("labels.txt")];
    manifest.env.insert("B".to_owned(), "2".to_owned());
    manifest.env.insert("A".to_owned(), "1".to_owned());
    manifest.metrics.insert("accuracy".to_owned(), 0.978);
    manifest
}

fn problem(change: impl FnOnce(&mut Manifest)) -> String {
    let mut manifest = valid();
    change(&mut manifest);
    let error = Manifest::parse(&manifest.canonical_json()).expect_err("the change breaks a rule");
    error.to_string()
}

#[test]
fn canonical_json_is_stable() {
    // A change here changes the digest of every version ever deployed.
    insta::assert_snapshot!(String::from_utf8(valid().canonical_json()).unwrap(), @r#"{"name":"digits","version":"1.0.0","description":"","authors":[],"tags":[],"license":null,"component":{"size":9,"sha256":"6985ca1f4daa5a584a28eae043a239cb96689af1337ea13afb63e00c2bf512fa"},"models":[{"name":"a","blob":{"size":1,"sha256":"ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"},"options":{"device":"auto","max_batch":64,"max_delay_us":0,"sessions":1,"intra_threads":1,"warmup":true}},{"name":"b","blob":{"size":1,"sha256":"3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d"},"options":{"device":"auto","max_batch":64,"max_delay_us":0,"sessions":1,"intra_threads":1,"warmup":true}}],"assets":[{"path":"labels.txt","blob":{"size":10,"sha256":"00475d1fb59485d8441e0ca9e52052df1e52bdc3ec789420897f7a3dacbb5190"}}],"signature":null,"limits":{"memory_bytes":134217728,"timeout_ms":30000,"concurrency":64},"instances":{"reuse":1000,"min_warm":0,"max_warm":16,"idle_timeout_ms":30000},"network":{"allow":[]},"env":{"A":"1","B":"2"},"metrics":{"accuracy":0.978}}"#);
    insta::assert_snapshot!(valid().digest(), @"0936a47f2c00bd3a11246c10696549e7331ebc9ebf238533a10416571167feae");
}

#[test]
fn keys_that_came_later_are_there_only_where_they_say_something() {
    let mut manifest = valid();
    manifest.instances.concurrent = 1;
    manifest.network.allow = vec!["https://*.example.org".parse().unwrap()];
    let json = String::from_utf8(manifest.canonical_json()).unwrap();
    assert!(
        json.contains(r#""idle_timeout_ms":30000,"concurrent":1},"network":{"allow":["https://*.example.org"]}"#),
        "{json}"
    );
    assert_eq!(Manifest::parse(json.as_bytes()).expect("it is valid"), manifest);
    let default = json.replace(r#""concurrent":1}"#, r#""concurrent":16}"#);
    assert!(matches!(Manifest::parse(default.as_bytes()), Err(ManifestError::NotCanonical)));
}

#[test]
fn parsing_gives_back_what_was_written() {
    let mut manifest = valid();
    // Each of these needs all 17 digits to read back as itself, which serde_json does with `float_roundtrip`.
    for number in [0.1 + 0.2, 1.0 / 3.0, 5e-324, f64::MAX, -0.0, 0.988_432_332_678_310_5, 8.41e21] {
        manifest.metrics.insert(format!("{number:e}"), number);
    }
    assert_eq!(Manifest::parse(&manifest.canonical_json()).expect("it is valid"), manifest);
}

#[test]
fn other_spellings_are_refused() {
    let canonical = String::from_utf8(valid().canonical_json()).unwrap();
    let spaced = canonical.replace("\"env\":{", "\"env\": {");
    let reordered = canonical.replace("\"A\":\"1\",\"B\":\"2\"", "\"B\":\"2\",\"A\":\"1\"");
    for other in [spaced, reordered] {
        assert!(matches!(Manifest::parse(other.as_bytes()), Err(ManifestError::NotCanonical)), "{other}");
    }
    let unknown = canonical.replace("{\"name\"", "{\"nmae\":1,\"name\"");
    let error = Manifest::parse(unknown.as_bytes()).expect_err("nmae is unknown").to_string();
    assert!(error.contains("unknown field `nmae`") && error.contains("if a newer nocti wrote it"), "{error}");
    let later = canonical.replace("{\"name\"", "{\"nmae\":1,\"format\":2,\"name\"");
    let error = Manifest::parse(later.as_bytes()).expect_err("it is of a later format").to_string();
    assert_eq!(error, "it was built by a newer nocti (format 2), and this one reads up to format 1: upgrade it");
}

/// What the message must say, and the change that breaks a rule.
type Case = (&'static str, fn(&mut Manifest));

#[test]
fn every_rule_is_checked() {
    let cases: [Case; 22] = [
        ("component: it has 1GiB and may have 256MiB", |m| {
            m.component = Some(Blob { size: 1 << 30, ..m.models[0].blob })
        }),
        ("limits.memory", |m| m.limits.memory = 1),
        ("limits.timeout", |m| m.limits.timeout = Duration::ZERO),
        ("limits.concurrency", |m| m.limits.concurrency = 0),
        ("instances.reuse", |m| m.instances.reuse = 0),
        ("max_warm must be at least min_warm", |m| m.instances.min_warm = 17),
        ("instances.idle_timeout", |m| m.instances.idle_timeout = Duration::from_secs(90_000)),
        ("instances.concurrent", |m| m.instances.concurrent = 0),
        ("network.allow: at most 64", |m| m.network.allow = vec!["https://example.org".parse().unwrap(); 65]),
        ("model 'a': max_batch", |m| m.models[0].options.max_batch = 0),
        ("model 'a': max_delay", |m| m.models[0].options.max_delay = Duration::from_secs(2)),
        ("model 'b': sessions", |m| m.models[1].options.sessions = 0),
        ("model 'b': intra_threads", |m| m.models[1].options.intra_threads = 257),
        ("models: 'a' is there twice", |m| m.models.push(model("a"))),
        ("assets: 'labels.txt' is there twice", |m| m.assets.push(asset("labels.txt"))),
        ("also another asset's folder", |m| m.assets.push(asset("labels.txt/en"))),
        ("env.a=b", |m| drop(m.env.insert("a=b".to_owned(), String::new()))),
        ("env.A", |m| drop(m.env.insert("A".to_owned(), "\0".to_owned()))),
        ("exactly one model", |m| m.component = None),
        ("signature.inputs: 'x' is there twice", |m| m.signature = Some(signature(["x", "x"]))),
        ("signature.inputs ''", |m| m.signature = Some(signature(["x", ""]))),
        ("not valid", |m| *m.metrics.entry("nan".to_owned()).or_default() = f64::NAN),
    ];
    for (expected, change) in cases {
        let message = problem(change);
        assert!(message.contains(expected), "{message}");
    }
}

fn signature(inputs: [&str; 2]) -> Signature {
    let spec = |name: &str| TensorSpec { name: name.to_owned(), datatype: Datatype::Fp32, shape: vec![-1] };
    Signature { inputs: inputs.map(spec).to_vec(), outputs: Vec::new() }
}

#[test]
fn all_broken_rules_are_reported_together() {
    let message = problem(|manifest| {
        manifest.limits.memory = 0;
        manifest.instances.reuse = 0;
        manifest.models.push(model("b"));
    });
    for part in ["limits.memory", "instances.reuse", "'b' is there twice"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn sizes_claimed_by_a_bundle_cannot_overflow() {
    let mut manifest = valid();
    manifest.models[0].blob.size = u64::MAX;
    assert_eq!(manifest.size_bytes(), u64::MAX);
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        let _ = Manifest::parse(&bytes);
    }

    #[test]
    fn one_changed_byte_never_gives_the_same_manifest(at: proptest::sample::Index, to: u8) {
        let mut bytes = valid().canonical_json();
        let at = at.index(bytes.len());
        let changed = bytes[at] != to;
        bytes[at] = to;
        if let Ok(manifest) = Manifest::parse(&bytes) {
            proptest::prop_assert_eq!(manifest != valid(), changed);
        }
    }
}
