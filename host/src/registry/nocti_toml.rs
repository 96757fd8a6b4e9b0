//! A function's folder: its `nocti.toml` and the files that names.
//!
//! Reading reports all mistakes together, one message each, with file, line and key. Whether the files exist is a second
//! question ([`Project::check_files`]), because the build command, which makes some of them, runs in between; where it will
//! not run, because there are mistakes, files that are missing are among them. Knows nothing of bundles: `bundle` takes a
//! [`Project`] and writes one. A [`Project`] is a plain value.

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
    /// Whether an empty one is a mistake.
    needs_content: bool,
}

/// What is wrong with a document, and the files that should be there before the build command runs.
type Mistaken = (Vec<Mistake>, Vec<FileRef>);

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
            Ok(text) => Self::read(dir, &text).map_err(|(mut mistakes, files)| {
                mistakes.extend(files.iter().filter_map(|file| file.mistake(dir)));
                mistakes.sort_by_key(|mistake| mistake.line);
                ProjectError::Invalid(mistakes)
            }),
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => Err(ProjectError::NoManifest(dir.into())),
            Err(source) => Err(ProjectError::Read { path, source }),
        }
    }

    /// Reads the text of a `nocti.toml` that belongs into `dir`; looks at no file.
    pub fn parse(dir: &Path, text: &str) -> Result<Self, ProjectError> {
        Self::read(dir, text).map_err(|(mistakes, _)| ProjectError::Invalid(mistakes))
    }

    fn read(dir: &Path, text: &str) -> Result<Self, Mistaken> {
        let notes = Notes::new(dir.join(FILE_NAME).display().to_string(), text);
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            notes.add(error.span().map_or(0, |span| span.start), "", format!("not valid TOML: {}", error.message()));
        }
        // What is left of a document after such mistakes would only give misleading further ones.
        let (project, files) =
            if errors.is_empty() { read::project(dir, &notes, document.get_ref()) } else { (None, Vec::new()) };
        match (project, notes.into_mistakes()) {
            (Some(project), mistakes) if mistakes.is_empty() => Ok(project),
            (_, mistakes) => Err((mistakes, files)),
        }
    }

    /// A model-only function made of one ONNX file on the spot.
    pub fn for_model(file: &Path, name: FunctionName, version: VersionName) -> Self {
        let model = name.as_str().parse().expect("a function's name satisfies the rule for a model's");
        let source = FileRef { path: file.into(), named_at: None, needs_content: true };
        let models = vec![ModelSource { name: model, file: source, options: ModelOptions::default() }];
        Self { models, ..Self::beside(file, name, version) }
    }

    /// A function made of one component on the spot.
    pub fn for_component(file: &Path, name: FunctionName, version: VersionName) -> Self {
        let source = FileRef { path: file.into(), named_at: None, needs_content: true };
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
        let component = self.component.iter().map(|component| &component.file);
        let models = self.models.iter().map(|model| &model.file);
        let assets = self.assets.iter().map(|asset| &asset.file);
        let files = component.chain(models).chain(assets);
        let mistakes: Vec<_> = files.filter_map(|file| file.mistake(&self.dir)).collect();
        if mistakes.is_empty() { Ok(()) } else { Err(ProjectError::Invalid(mistakes)) }
    }
}

impl FileRef {
    /// What is wrong with it, for the author of the `nocti.toml` in `dir`.
    fn mistake(&self, dir: &Path) -> Option<Mistake> {
        let (message, shown) = (self.problem()?, self.path.display());
        Some(match &self.named_at {
            Some((line, key)) => Mistake {
                file: dir.join(FILE_NAME).display().to_string(),
                line: Some(*line),
                key: key.clone(),
                message: format!("{shown} {message}"),
            },
            None => Mistake { file: shown.to_string(), line: None, key: String::new(), message },
        })
    }

    fn problem(&self) -> Option<String> {
        let unreadable = |why: std::io::Error| match why.kind() {
            std::io::ErrorKind::NotFound => "does not exist".to_owned(),
            _ => format!("cannot be read: {why}"),
        };
        match std::fs::metadata(&self.path) {
            Ok(found) if !found.is_file() => Some("is not a file".to_owned()),
            Ok(found) if self.needs_content && found.len() == 0 => Some("is empty".to_owned()),
            Ok(_) => std::fs::File::open(&self.path).err().map(unreadable),
            Err(why) => Some(unreadable(why)),
        }
    }
}

#[cfg(test)]
mod tests;
