//! The files of the templates and of the SDK, as they were when this binary was built.

use super::Template;

/// A file of the repository, under the path it gets in a function's folder.
macro_rules! file {
    ($path:literal, $from:literal) => {
        ($path, include_bytes!(concat!("../../../", $from)).as_slice())
    };
}

/// Files of one template's folder.
macro_rules! template {
    ($template:literal, $($path:literal),* $(, + $other:expr)* $(,)?) => {
        &[$(($path, include_bytes!(concat!("../../../templates/", $template, "/", $path)).as_slice()),)* $($other,)*]
    };
}

macro_rules! sdk {
    ($($path:literal <- $from:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../../../", $from)))),*]
    };
}

const CLASSIFIER: &[(&str, &[u8])] = template!(
    "classifier",
    "Cargo.toml.template",
    "nocti.toml.template",
    "README.md.template",
    "src/lib.rs",
    "two.json",
    + file!("model/digits.onnx", "../examples/wasm-models/digits/model/digits.onnx"),
);

const TEXT: &[(&str, &[u8])] =
    template!("text", "Cargo.toml.template", "nocti.toml.template", "README.md.template", "src/lib.rs");

const HTTP: &[(&str, &[u8])] =
    template!("http", "Cargo.toml.template", "nocti.toml.template", "README.md.template", "src/lib.rs");

const MODEL_ONLY: &[(&str, &[u8])] = template!(
    "model-only",
    "nocti.toml.template",
    "README.md.template",
    + file!("model/iris.onnx", "../examples/wasm-models/iris/iris.onnx"),
);

/// The SDK with the WIT it reads, which lies beside it in the repository and inside it here.
const SDK: &[(&str, &str)] = sdk!(
    "Cargo.toml" <- "guest-sdk/Cargo.toml",
    "README.md" <- "guest-sdk/README.md",
    "src/ahead.rs" <- "guest-sdk/src/ahead.rs",
    "src/assets.rs" <- "guest-sdk/src/assets.rs",
    "src/bindings.rs" <- "guest-sdk/src/bindings.rs",
    "src/element.rs" <- "guest-sdk/src/element.rs",
    "src/entry.rs" <- "guest-sdk/src/entry.rs",
    "src/error.rs" <- "guest-sdk/src/error.rs",
    "src/function.rs" <- "guest-sdk/src/function.rs",
    "src/lib.rs" <- "guest-sdk/src/lib.rs",
    "src/model.rs" <- "guest-sdk/src/model.rs",
    "src/parameters.rs" <- "guest-sdk/src/parameters.rs",
    "src/request.rs" <- "guest-sdk/src/request.rs",
    "src/tensor.rs" <- "guest-sdk/src/tensor.rs",
    "src/text.rs" <- "guest-sdk/src/text.rs",
    "src/value.rs" <- "guest-sdk/src/value.rs",
    "src/values.rs" <- "guest-sdk/src/values.rs",
    "wit/function.wit" <- "wit/function.wit",
    "wit/types.wit" <- "wit/types.wit",
    "wit/deps/wasi-nn/wasi-nn.wit" <- "wit/deps/wasi-nn/wasi-nn.wit",
);

/// The files of a template: path and content. What ends in `.template` has names to be filled in.
pub(super) fn of(template: Template) -> &'static [(&'static str, &'static [u8])] {
    match template {
        Template::Classifier => CLASSIFIER,
        Template::Text => TEXT,
        Template::Http => HTTP,
        Template::ModelOnly => MODEL_ONLY,
    }
}

/// The files of the SDK: path and content, as they belong into a function's folder.
pub(super) fn sdk() -> impl Iterator<Item = (&'static str, String)> {
    SDK.iter().map(|&(path, content)| {
        let content = match path {
            "Cargo.toml" => on_its_own(content),
            "src/bindings.rs" => content.replace("path: \"../wit\"", "path: \"wit\""),
            _ => content.to_owned(),
        };
        (path, content)
    })
}

/// A crate's manifest without the workspace that it belongs to in the repository.
fn on_its_own(manifest: &str) -> String {
    let of_workspace = |line: &&str| line.starts_with("workspace") || line.starts_with('#') || *line == "[lints]";
    let mut text: String = manifest.lines().filter(|line| !of_workspace(line)).flat_map(|line| [line, "\n"]).collect();
    text.truncate(text.trim_end().len());
    text + "\n"
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// The files below a folder of the repository, as `FOLDER/PATH`.
    fn below(folder: &str) -> BTreeSet<String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let mut found = BTreeSet::new();
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).expect("a folder of the repository") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let path = path.strip_prefix(&root).expect("it is below");
                    found.insert(path.to_str().expect("text").to_owned());
                }
            }
        }
        found
    }

    #[test]
    fn the_whole_sdk_is_in_the_binary() {
        let embedded = |prefix: &str| -> BTreeSet<String> {
            SDK.iter().filter_map(|(path, _)| path.strip_prefix(prefix)).map(str::to_owned).collect()
        };
        assert_eq!(embedded("src/"), below("../guest-sdk/src"));
        let mut wit = below("../wit");
        wit.remove("README.md");
        // Components of that dialect bring their own bindings; only the host needs it.
        wit.retain(|path| !path.starts_with("wasi-nn-2024-08-19/"));
        assert_eq!(embedded("wit/"), wit);
    }

    #[test]
    fn the_sdk_stands_on_its_own() {
        for (path, content) in sdk() {
            assert!(path == "README.md" || !content.contains("../wit"), "{path}");
            assert!(path != "Cargo.toml" || !content.contains("workspace"), "{content}");
        }
    }

    #[test]
    fn every_file_of_the_templates_is_in_the_binary() {
        for (template, folder) in [
            (Template::Classifier, "templates/classifier"),
            (Template::Text, "templates/text"),
            (Template::Http, "templates/http"),
            (Template::ModelOnly, "templates/model-only"),
        ] {
            let embedded: BTreeSet<String> = of(template).iter().map(|(path, _)| (*path).to_owned()).collect();
            let mut there = below(folder);
            there.extend(embedded.iter().filter(|path| path.starts_with("model/")).cloned());
            assert_eq!(embedded, there, "{folder}");
        }
    }
}
