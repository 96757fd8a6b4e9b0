use super::*;
use crate::nn::library::Library;
use ort::value::{Tensor, ValueType};

fn builder(library: &Library) -> SessionBuilder {
    let builder = Session::builder(&library.environment).unwrap();
    builder.with_optimization_level(GraphOptimizationLevel::All).unwrap().with_intra_threads(1).unwrap()
}

fn repository(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file)
}

fn shared(library: &Library, parent: &Path, model: &Path) -> SharedWeights {
    SharedWeights::write(parent, builder(library), |builder| builder.commit_from_file(model)).unwrap()
}

/// The digits model's scores for a picture that is no digit.
fn scores(session: &mut Session) -> Vec<f32> {
    let pixels: Vec<f32> = (0_u8..64).map(|pixel| f32::from(pixel) / 64.0).collect();
    let outputs = session.run(ort::inputs![Tensor::from_array(([1, 1, 8, 8], pixels)).unwrap()]).unwrap();
    outputs[0].try_extract_tensor::<f32>().unwrap().1.to_vec()
}

#[test]
fn several_sessions_answer_as_a_plain_one_from_one_mapped_file_that_is_gone() {
    let (library, parent) = (Library::installed(), tempfile::tempdir().unwrap());
    let model = repository("examples/wasm-models/digits/model/digits.onnx");
    let expected = scores(&mut builder(&library).commit_from_file(&model).unwrap());
    let weights = shared(&library, parent.path(), &model);
    let mut sessions: Vec<_> = (0..3).map(|_| weights.open(builder(&library)).unwrap()).collect();
    let folder = weights.folder.path().to_owned();
    drop(weights);
    assert!(!folder.exists());
    for session in &mut sessions {
        assert_eq!(scores(session), expected);
    }
    #[cfg(target_os = "linux")]
    {
        let mapped = || {
            let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
            maps.lines().filter(|line| line.contains(&*folder.to_string_lossy())).count()
        };
        assert!(mapped() >= 3, "each has it mapped, none has read it");
        drop(sessions);
        assert_eq!(mapped(), 0, "what is mapped ends with the sessions");
    }
}

#[test]
fn a_model_from_memory_shares_them_too() {
    let (library, parent) = (Library::installed(), tempfile::tempdir().unwrap());
    let model = std::fs::read(repository("examples/wasm-models/digits/model/digits.onnx")).unwrap();
    let expected = scores(&mut builder(&library).commit_from_memory(&model).unwrap());
    let commit = |builder: &mut SessionBuilder| builder.commit_from_memory(&model);
    let weights = SharedWeights::write(parent.path(), builder(&library), commit).unwrap();
    assert_eq!(scores(&mut weights.open(builder(&library)).unwrap()), expected);
}

#[test]
fn models_take_and_give_the_same_afterwards() {
    let (library, parent) = (Library::installed(), tempfile::tempdir().unwrap());
    let shown = |outlets: &[ort::value::Outlet]| -> Vec<(String, ValueType)> {
        outlets.iter().map(|outlet| (outlet.name().to_owned(), outlet.dtype().clone())).collect()
    };
    // Without weights, with a default for an input, with text, with a loop, with an output of no dimensions.
    for name in ["addsub", "optional_input", "identity_string", "identity_bfloat16", "slow", "scalar", "nan"] {
        let model = repository(&format!("tests/fixtures/models/{name}.onnx"));
        let plain = builder(&library).commit_from_file(&model).unwrap();
        let session = shared(&library, parent.path(), &model).open(builder(&library)).unwrap();
        assert_eq!(shown(session.inputs()), shown(plain.inputs()), "{name}");
        assert_eq!(shown(session.outputs()), shown(plain.outputs()), "{name}");
        let defaults = |session: &Session| -> Vec<(String, ValueType)> {
            session
                .overridable_initializers()
                .iter()
                .map(|each| (each.name().to_owned(), each.dtype().clone()))
                .collect()
        };
        assert_eq!(defaults(&session), defaults(&plain), "{name}");
    }
}

#[test]
fn a_model_that_cannot_be_loaded_leaves_nothing_behind() {
    let (library, parent) = (Library::installed(), tempfile::tempdir().unwrap());
    let corrupt = repository("tests/fixtures/models/corrupt.onnx");
    let refused = SharedWeights::write(parent.path(), builder(&library), |builder| builder.commit_from_file(&corrupt));
    assert!(matches!(refused, Err(WeightsError::Write(_))));
    assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
    let file = parent.path().join("file");
    std::fs::write(&file, "").unwrap();
    let refused = SharedWeights::write(&file, builder(&library), |builder| builder.commit_from_file(&corrupt));
    assert!(matches!(refused, Err(WeightsError::Folder(_))));
}
