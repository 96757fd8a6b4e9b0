//! Every example is deployed as its README says and gives the answers that its author promises.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nocti_tests::{HostProcess, example, model_bundle};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wasmparser::{Parser, Validator, WasmFeatures};

use super::{ask, get, infer, json_file, nocti_in, post, text};

/// A host over a store of its own, with one example deployed from its folder or file.
async fn host_with(path: &str) -> (HostProcess, TempDir) {
    let store = TempDir::new().unwrap();
    let host = HostProcess::start(store.path(), &[]).await;
    let ran = ask(&host, &["deploy", text(&example(path))]).await.expect(0);
    assert!(ran.out.starts_with("deployed "), "{ran:?}");
    (host, store)
}

fn png(files: &[Vec<u8>]) -> Value {
    let data: Vec<String> = files.iter().map(|file| STANDARD.encode(file)).collect();
    let parameters = json!({"content_type": "base64"});
    json!([{"name": "png", "datatype": "BYTES", "shape": [files.len()], "parameters": parameters, "data": data}])
}

/// The data of an output.
fn data<'a>(answer: &'a Value, output: &str) -> &'a [Value] {
    let outputs = answer["outputs"].as_array().expect("a list");
    let found = outputs.iter().find(|found| found["name"] == output);
    found.unwrap_or_else(|| panic!("no {output} in {answer}"))["data"].as_array().expect("a list")
}

fn numbers(values: &[Value]) -> Vec<f64> {
    values.iter().map(|value| value.as_f64().expect("a number")).collect()
}

#[tokio::test]
async fn digits_is_as_good_as_its_manifest_says() {
    let (host, _store) = host_with("digits").await;
    let heldout = json_file(&example("digits/model/heldout.json"));
    let (images, labels) = (heldout["images"].as_array().unwrap(), heldout["labels"].as_array().unwrap());
    assert_eq!((images.len(), labels.len()), (450, 450));
    let mut correct = 0_u32;
    // One at a time, many at once and all together.
    for (size, range) in [(1, 0..20), (13, 20..150), (300, 150..450)] {
        for (images, labels) in images[range.clone()].chunks(size).zip(labels[range].chunks(size)) {
            let input = json!([{"name": "image", "datatype": "UINT8", "shape": [images.len(), 8, 8], "data": images}]);
            let answer = infer(&host, "digits", input).await.expect(200);
            let found = data(&answer, "label");
            assert_eq!(found.len(), labels.len());
            correct += u32::try_from(found.iter().zip(labels).filter(|(found, label)| found == label).count()).unwrap();
        }
    }
    let accuracy = f64::from(correct) / 450.0;
    assert!(accuracy >= 0.97, "{correct} of 450");
    let promised = get(&host, "/api/functions/digits").await.expect(200)["versions"][0]["metrics"]["accuracy"].clone();
    let promised = promised.as_f64().expect("the manifest says how good it is");
    assert!((accuracy - promised).abs() <= 1.0 / 450.0, "{accuracy} is not the manifest's {promised}");
}

#[tokio::test]
async fn digits_reads_png_files_and_refuses_what_is_none() {
    let (host, _store) = host_with("digits").await;
    let file = |digit: usize| std::fs::read(example(&format!("digits/model/samples/{digit}-0.png"))).unwrap();
    let all: Vec<Vec<u8>> = (0..10).map(file).collect();
    let answer = infer(&host, "digits", png(&all)).await.expect(200);
    assert_eq!(data(&answer, "label"), (0..10).map(Value::from).collect::<Vec<_>>());
    let scores = numbers(data(&answer, "scores"));
    assert_eq!(scores.len(), 100);
    for row in scores.chunks(10) {
        assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-4, "{row:?}");
    }

    let cut_off = file(3)[..60].to_vec();
    for bad in [b"no picture at all".to_vec(), cut_off, Vec::new()] {
        let answer = infer(&host, "digits", png(&[file(3), bad])).await;
        answer.expect_error(400, "invalid_request", &["picture 1 of `png`"]);
    }
    let neither = json!([{"name": "other", "datatype": "UINT8", "shape": [1], "data": [0]}]);
    infer(&host, "digits", neither).await.expect_error(400, "invalid_request", &["image"]);
    // Bad requests have not broken what answers the good ones.
    let answer = infer(&host, "digits", png(&[file(7)])).await.expect(200);
    assert_eq!(data(&answer, "label"), [json!(7)]);
}

#[tokio::test]
async fn sentences_embeds_as_the_python_reference_does() {
    let (host, _store) = host_with("sentences").await;
    let reference = json_file(&example("sentences/model/reference.json"));
    let sentences = reference["sentences"].as_array().unwrap();
    assert!(sentences.len() >= 20);
    let input =
        |texts: &[&Value]| json!([{"name": "text", "datatype": "BYTES", "shape": [texts.len()], "data": texts}]);
    let check = |sentence: &Value, found: &[f64]| {
        let expected = numbers(sentence["embedding"].as_array().unwrap());
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() <= 1e-4, "{}: {found} is not {expected}", sentence["text"]);
        }
    };
    for sentence in sentences {
        let answer = infer(&host, "sentences", input(&[&sentence["text"]])).await.expect(200);
        check(sentence, &numbers(data(&answer, "embeddings")));
    }
    let texts: Vec<&Value> = sentences.iter().map(|sentence| &sentence["text"]).collect();
    let answer = infer(&host, "sentences", input(&texts)).await.expect(200);
    let found = numbers(data(&answer, "embeddings"));
    assert_eq!(found.len(), sentences.len() * 384);
    for (sentence, found) in sentences.iter().zip(found.chunks(384)) {
        check(sentence, found);
    }
}

#[tokio::test]
async fn iris_answers_as_scikit_learn_does() {
    let (host, _store) = host_with("iris/iris.onnx").await;
    let expected = json_file(&example("iris/expected.json"));
    let cases = expected["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 9);
    let features: Vec<&Value> = cases.iter().map(|case| &case["features"]).collect();
    let input = json!([{"name": "features", "datatype": "FP32", "shape": [cases.len(), 4], "data": features}]);
    let answer = infer(&host, "iris", input).await.expect(200);
    let labels: Vec<Value> = cases.iter().map(|case| case["label"].clone()).collect();
    assert_eq!(data(&answer, "label"), labels);
    let found = numbers(data(&answer, "probabilities"));
    assert_eq!(found.len(), cases.len() * 3);
    for (case, found) in cases.iter().zip(found.chunks(3)) {
        let expected = numbers(case["probabilities"].as_array().unwrap());
        assert_eq!(expected.len(), 3);
        let equal = found.iter().zip(&expected).all(|(found, expected)| (found - expected).abs() < 1e-5);
        assert!(equal, "{found:?} is not {expected:?}");
    }
}

/// As `wasm-tools validate BUNDLE` does it without further options.
#[tokio::test]
async fn every_bundle_is_a_component_that_other_tools_accept() {
    let folder = TempDir::new().unwrap();
    nocti_in(folder.path(), &["new", "project", "--template", "model-only"]).await.expect(0);
    let mut bundles = vec![("iris.onnx", model_bundle("iris", "1.0.0", &example("iris/iris.onnx")))];
    let projects = ["digits", "sentences", "hello-http"].map(|name| (name, example(name)));
    for (name, project) in projects.into_iter().chain([("project", folder.path().join("project"))]) {
        let file = folder.path().join(format!("{name}.wasm"));
        let ran = nocti_in(folder.path(), &["build", text(&project), "-o", text(&file)]).await.expect(0);
        assert!(ran.out.contains(&format!("built {name} ")), "{ran:?}");
        bundles.push((name, std::fs::read(&file).unwrap()));
    }
    for (name, bundle) in bundles {
        assert!(Parser::is_component(&bundle), "{name}");
        let found = Validator::new_with_features(WasmFeatures::default()).validate_all(&bundle);
        found.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[tokio::test]
async fn a_model_whose_output_is_no_tensor_is_refused_with_the_reason() {
    let store = TempDir::new().unwrap();
    let host = HostProcess::start(store.path(), &[]).await;
    let model = example("iris/model/iris-zipmap.onnx");
    ask(&host, &["deploy", text(&model)]).await.expect_error(1, &["only tensors", "'zipmap': False"]);
    assert_eq!(get(&host, "/api/functions").await.expect(200), json!({"functions": []}));
}

#[tokio::test]
async fn hello_http_answers_and_echoes_while_the_request_is_still_coming() {
    let (host, _store) = host_with("hello-http").await;
    for (path, status, expected) in [
        ("/functions/hello-http/", 200, "Hello from WebAssembly! You sent GET /\n"),
        ("/functions/hello-http", 200, "Hello from WebAssembly! You sent GET /\n"),
        ("/functions/hello-http/?a=b%20c", 200, "Hello from WebAssembly! You sent GET /?a=b%20c\n"),
        ("/functions/hello-http@1.0.0/env", 200, "Good evening from the manifest\n"),
        ("/functions/hello-http/nope", 404, "No GET /nope here; try GET /, GET /env or POST /echo\n"),
    ] {
        let answer = get(&host, path).await;
        assert_eq!((answer.status, answer.text().as_str()), (status, expected), "{path}");
    }
    let large: Vec<u8> = (0..3_000_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    let answer = post(&host, "/functions/hello-http/echo", large.clone()).await;
    assert!(answer.status == 200 && answer.body == large);

    let mut stream = TcpStream::connect(host.url.trim_start_matches("http://")).await.unwrap();
    let head = "POST /functions/hello-http/echo HTTP/1.1\r\nhost: test\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut seen = String::new();
    for part in ["one", "two", "three"] {
        // The next part is sent only when the one before has come back.
        stream.write_all(format!("{:x}\r\n{part}\r\n", part.len()).as_bytes()).await.unwrap();
        while !seen.contains(&format!("{part}\r\n")) {
            let mut buffer = [0; 1024];
            let read = stream.read(&mut buffer).await.unwrap();
            assert!(read > 0, "it ended early: {seen}");
            seen.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        }
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(seen.starts_with("HTTP/1.1 200") && rest.ends_with("0\r\n\r\n"), "{seen}{rest}");
}
