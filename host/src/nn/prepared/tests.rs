use std::path::PathBuf;

use ort::value::{Tensor, ValueType};

use super::*;
use crate::nn::fixtures::plain;
use crate::nn::library::Library;
use crate::nn::load::{self, Check, Options, Source};

fn builder(library: &Library) -> SessionBuilder {
    let builder = Session::builder(&library.environment).unwrap();
    builder.with_optimization_level(GraphOptimizationLevel::All).unwrap().with_intra_threads(1).unwrap()
}

fn repository(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file)
}

fn shelf(folder: &Path) -> Shelf {
    Shelf { cache: Arc::new(Cache::open(folder.to_owned(), u64::MAX)), digest: "d".into() }
}

fn prepare(library: &Library, folder: &Path, model: &Path) -> Prepared {
    shelf(folder).prepare(&builder(library), false, |builder| builder.commit_from_file(model)).unwrap()
}

/// The digits model's scores for a picture that is no digit.
fn scores(session: &mut Session) -> Vec<f32> {
    let pixels: Vec<f32> = (0_u8..64).map(|pixel| f32::from(pixel) / 64.0).collect();
    let outputs = session.run(ort::inputs![Tensor::from_array(([1, 1, 8, 8], pixels)).unwrap()]).unwrap();
    outputs[0].try_extract_tensor::<f32>().unwrap().1.to_vec()
}

/// The sentence model's answer to some tokens.
fn hidden(session: &mut Session) -> Vec<f32> {
    let (ids, mask): (Vec<i64>, Vec<i64>) = (0..7).map(|token| (1000 + 97 * token, 1)).unzip();
    let tensor = |values: Vec<i64>| Tensor::from_array(([1, 7], values)).unwrap();
    let outputs = session.run(ort::inputs!["input_ids" => tensor(ids), "attention_mask" => tensor(mask)]).unwrap();
    outputs[0].try_extract_tensor::<f32>().unwrap().1.to_vec()
}

#[test]
fn the_full_form_answers_bit_for_bit_as_the_model_and_the_quick_one_but_for_rounding() {
    type Ask = fn(&mut Session) -> Vec<f32>;
    let models: [(&str, Ask); 2] = [
        ("examples/wasm-models/digits/model/digits.onnx", scores),
        ("examples/wasm-models/sentences/model/minilm.onnx", hidden),
    ];
    let library = Library::installed();
    for (model, ask) in models {
        let (folder, model) = (tempfile::tempdir().unwrap(), repository(model));
        let expected = ask(&mut builder(&library).commit_from_file(&model).unwrap());
        let prepared = prepare(&library, folder.path(), &model);
        assert_eq!(ask(&mut prepared.open(&builder(&library), Form::Full).unwrap()), expected);
        let quick = ask(&mut prepared.open(&builder(&library), Form::Quick).unwrap());
        assert!(quick.iter().zip(&expected).all(|(quick, full)| (quick - full).abs() < 1e-4 * full.abs().max(1.0)));
    }
}

#[test]
fn what_was_prepared_is_found_again_and_tells_what_a_session_takes() {
    let (library, folder) = (Library::installed(), tempfile::tempdir().unwrap());
    let model = repository("examples/wasm-models/sentences/model/minilm.onnx");
    assert!(shelf(folder.path()).find().is_none());
    let made = prepare(&library, folder.path(), &model).facts();
    let found = shelf(folder.path()).find().unwrap().facts();
    assert_eq!((made.session_bytes, made.mapped_bytes), (found.session_bytes, found.mapped_bytes));
    let model_bytes = std::fs::metadata(model).unwrap().len();
    // Its weights are in the file that all sessions share.
    assert!(found.mapped_bytes > model_bytes / 10 * 9 && found.session_bytes < model_bytes / 2, "{found:?}");
    assert!(found.session_bytes > 0 && found.quick_pays_until().is_some(), "{found:?}");
}

#[test]
fn sessions_share_one_mapped_file_and_outlive_it() {
    let (library, folder) = (Library::installed(), tempfile::tempdir().unwrap());
    let model = repository("examples/wasm-models/digits/model/digits.onnx");
    let prepared = prepare(&library, folder.path(), &model);
    let open = || prepared.open(&builder(&library), Form::Full).unwrap();
    let mut sessions: Vec<_> = (0..3).map(|_| open()).collect();
    let (expected, entry) = (scores(&mut sessions[0]), prepared.entry.file(WEIGHTS));
    shelf(folder.path()).discard(&prepared);
    assert!(!entry.exists());
    for session in &mut sessions {
        assert_eq!(scores(session), expected);
    }
    #[cfg(target_os = "linux")]
    {
        let mapped = || {
            let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
            maps.lines().filter(|line| line.contains(&*entry.to_string_lossy())).count()
        };
        assert!(mapped() >= 3, "each has it mapped, none has read it");
        drop(sessions);
        assert_eq!(mapped(), 0, "what is mapped ends with the sessions");
    }
}

#[test]
fn models_take_and_give_the_same_afterwards() {
    let library = Library::installed();
    let shown = |outlets: &[ort::value::Outlet]| -> Vec<(String, ValueType)> {
        outlets.iter().map(|outlet| (outlet.name().to_owned(), outlet.dtype().clone())).collect()
    };
    // Without weights, with a default for an input, with text, with a loop, with an output of no dimensions.
    for name in ["addsub", "optional_input", "identity_string", "identity_bfloat16", "slow", "scalar", "nan"] {
        let (folder, model) = (tempfile::tempdir().unwrap(), repository(&format!("tests/fixtures/models/{name}.onnx")));
        let plain = builder(&library).commit_from_file(&model).unwrap();
        let prepared = prepare(&library, folder.path(), &model);
        for form in [Form::Full, Form::Quick] {
            let session = prepared.open(&builder(&library), form).unwrap();
            assert_eq!(shown(session.inputs()), shown(plain.inputs()), "{name}");
            assert_eq!(shown(session.outputs()), shown(plain.outputs()), "{name}");
            let defaults = |session: &Session| -> Vec<(String, ValueType)> {
                let all = session.overridable_initializers();
                all.iter().map(|each| (each.name().to_owned(), each.dtype().clone())).collect()
            };
            assert_eq!(defaults(&session), defaults(&plain), "{name}");
        }
    }
}

#[test]
fn a_model_that_cannot_be_loaded_leaves_nothing_behind() {
    let (library, folder) = (Library::installed(), tempfile::tempdir().unwrap());
    let corrupt = repository("tests/fixtures/models/corrupt.onnx");
    let commit = |builder: &mut SessionBuilder| builder.commit_from_file(&corrupt);
    let refused = shelf(folder.path()).prepare(&builder(&library), false, commit);
    assert!(matches!(refused, Err(CacheError::Content(PrepareError::Write(_)))));
    assert_eq!(std::fs::read_dir(folder.path().join("models")).unwrap().count(), 0);
}

#[test]
fn a_damaged_model_is_refused_unless_its_prepared_form_is_there() {
    let (library, folder) = (Library::installed(), tempfile::tempdir().unwrap());
    let model = repository("examples/wasm-models/digits/model/digits.onnx");
    let damaged = Source::Kept(model.clone(), Check::new(|| Err("it is damaged".into())));
    let options = Options { shelf: Some(shelf(folder.path())), ..plain() };
    let error = load::load(&library, &damaged, &options).err().expect("it is looked at first");
    assert!(error.to_string().ends_with("it is damaged"), "{error}");
    assert!(shelf(folder.path()).find().is_none());
    load::load(&library, &Source::File(model), &options).expect("whoever does not look finds it right");
    load::load(&library, &damaged, &options).expect("the model itself is not read");
}
