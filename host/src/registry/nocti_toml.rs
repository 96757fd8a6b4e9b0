//! A function's folder: its `nocti.toml` and the files that names.
//!
//! Reading reports all mistakes together, one message each, with file, line and key. Whether the files exist is a second
//! question ([`Project::check_files`]), because the build command, which makes some of them, runs in between. Knows
//! nothing of bundles: `bundle` takes a [`Project`] and writes one. A [`Project`] is a plain value.

use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::manifest::{Manifest, ModelOptions};
use super::name::{AssetPath, FunctionName, ModelName, VersionName};
use super::toml_reader::{Mistake, Notes};

mod read;

/// The file that makes a folder a function's.
pub const FILE_NAME: &str = "nocti.toml";

/// A function's folder, read.
#[derive(Debug, Clone)]
pub struct Project {
    /// The folder; the build command runs here.
    pub dir: PathBuf,
    /// Everything the manifest says except the parts with content: component, models and assets are empty.
    pub manifest: Manifest,
    /// The component; `None` for a model-only function.
    pub component: Option<ComponentSource>,
    /// The models.
    pub models: Vec<ModelSource>,
    /// The assets.
    pub assets: Vec<AssetSource>,
}

/// Where the component comes from.
#[derive(Debug, Clone)]
pub struct ComponentSource {
    /// The compiled component.
    pub file: FileRef,
    /// The command that makes it.
    pub build: Option<String>,
}

/// Where a model comes from.
#[derive(Debug, Clone)]
pub struct ModelSource {
    /// What a guest loads it by.
    pub name: ModelName,
    /// The ONNX file.
    pub file: FileRef,
    /// How to run it.
    pub options: ModelOptions,
}

/// Where an asset comes from.
#[derive(Debug, Clone)]
pub struct AssetSource {
    /// Where it will be under `/assets`.
    pub path: AssetPath,
    /// The file.
    pub file: FileRef,
}

/// A file, and who named it.
#[derive(Debug, Clone)]
pub struct FileRef {
    /// The file, below the project's folder unless the manifest gave an absolute path.
    pub path: PathBuf,
    /// Line and key in `nocti.toml`; `None` where a command line named the file.
    named_at: Option<(usize, String)>,
}

/// Why a folder is not a function's.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    #[error("there is no {FILE_NAME} in {}; `nocti new NAME` makes a folder that has one", .0.display())]
    NoManifest(PathBuf),
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Invalid(Vec<Mistake>),
}

impl Project {
    /// Reads the `nocti.toml` in `dir`.
    pub fn load(dir: &Path) -> Result<Self, ProjectError> {
        let path = dir.join(FILE_NAME);
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(dir, &text),
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => Err(ProjectError::NoManifest(dir.into())),
            Err(source) => Err(ProjectError::Read { path, source }),
        }
    }

    /// Reads the text of a `nocti.toml` that belongs into `dir`.
    pub fn parse(dir: &Path, text: &str) -> Result<Self, ProjectError> {
        let notes = Notes::new(dir.join(FILE_NAME).display().to_string(), text);
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            notes.add(error.span().map_or(0, |span| span.start), "", format!("not valid TOML: {}", error.message()));
        }
        // What is left of a document after such mistakes would only give misleading further ones.
        let project = if errors.is_empty() { read::project(dir, &notes, document.get_ref()) } else { None };
        match (project, notes.into_mistakes()) {
            (Some(project), mistakes) if mistakes.is_empty() => Ok(project),
            (_, mistakes) => Err(ProjectError::Invalid(mistakes)),
        }
    }

    /// A model-only function made of one ONNX file on the spot.
    pub fn for_model(file: &Path, name: FunctionName, version: VersionName) -> Self {
        let model = name.as_str().parse().expect("a function's name satisfies the rule for a model's");
        let source = FileRef { path: file.into(), named_at: None };
        let models = vec![ModelSource { name: model, file: source, options: ModelOptions::default() }];
        Self { models, ..Self::beside(file, name, version) }
    }

    /// A function made of one component on the spot.
    pub fn for_component(file: &Path, name: FunctionName, version: VersionName) -> Self {
        let source = FileRef { path: file.into(), named_at: None };
        let component = Some(ComponentSource { file: source, build: None });
        Self { component, ..Self::beside(file, name, version) }
    }

    /// A function in the folder of a file, made of nothing yet.
    fn beside(file: &Path, name: FunctionName, version: VersionName) -> Self {
        let dir = file.parent().unwrap_or(Path::new("")).into();
        let manifest = Manifest::new(name, version);
        Self { dir, manifest, component: None, models: Vec::new(), assets: Vec::new() }
    }

    /// Checks that every file is there and has content, reporting all that are not.
    pub fn check_files(&self) -> Result<(), ProjectError> {
        let component = self.component.iter().map(|component| (&component.file, true));
        let models = self.models.iter().map(|model| (&model.file, true));
        let assets = self.assets.iter().map(|asset| (&asset.file, false));
        let files = component.chain(models).chain(assets);
        let mistakes: Vec<_> =
            files.filter_map(|(file, needs_content)| Some(self.mistake(file, file.problem(needs_content)?))).collect();
        if mistakes.is_empty() { Ok(()) } else { Err(ProjectError::Invalid(mistakes)) }
    }

    fn mistake(&self, file: &FileRef, message: String) -> Mistake {
        let shown = file.path.display();
        match &file.named_at {
            Some((line, key)) => Mistake {
                file: self.dir.join(FILE_NAME).display().to_string(),
                line: Some(*line),
                key: key.clone(),
                message: format!("{shown} {message}"),
            },
            None => Mistake { file: shown.to_string(), line: None, key: String::new(), message },
        }
    }
}

impl FileRef {
    fn problem(&self, needs_content: bool) -> Option<String> {
        let unreadable = |why: std::io::Error| match why.kind() {
            std::io::ErrorKind::NotFound => "does not exist".to_owned(),
            _ => format!("cannot be read: {why}"),
        };
        match std::fs::metadata(&self.path) {
            Ok(found) if !found.is_file() => Some("is not a file".to_owned()),
            Ok(found) if needs_content && found.len() == 0 => Some("is empty".to_owned()),
            Ok(_) => std::fs::File::open(&self.path).err().map(unreadable),
            Err(why) => Some(unreadable(why)),
        }
    }
}

#[cfg(test)]
mod tests;
