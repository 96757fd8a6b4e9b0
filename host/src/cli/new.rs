//! `nocti new NAME`: a folder with a function that builds and deploys as it stands.
//!
//! All that is written is inside this binary, the SDK's source too, so that a folder always fits the host it was made by
//! and nothing has to be published or fetched for it but the SDK's own dependencies.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};

use super::output;
use crate::registry::name::FunctionName;

mod files;

/// What `nocti new` takes.
#[derive(Debug, Args)]
pub(crate) struct NewArgs {
    /// The function's name, and its folder's.
    name: FunctionName,
    /// What kind of function.
    #[arg(long, value_enum, default_value_t = Template::Classifier)]
    template: Template,
}

/// The functions to start from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Template {
    /// Tensors in, a model with code before and after it, tensors out.
    Classifier,
    /// Texts in, tensors out, without a model.
    Text,
    /// Raw HTTP, a plain wasi:http component.
    Http,
    /// An ONNX model and no code.
    ModelOnly,
}

pub(super) fn run(args: &NewArgs) -> anyhow::Result<()> {
    let folder = PathBuf::from(args.name.as_str());
    if folder.exists() {
        bail!("{} is there already; choose another name or remove it", folder.display());
    }
    write(&folder, &args.name, args.template)?;
    let name = &args.name;
    output::text(&format!(
        "made {name}/ from the template; README.md in it says what is where\n\
         next:  cd {name} && nocti deploy .      (with a host running: `nocti serve`)\n"
    ))
}

/// Writes the template's files, the SDK among them, into a new folder.
fn write(folder: &Path, name: &FunctionName, template: Template) -> anyhow::Result<()> {
    for (path, content) in files::of(template) {
        match path.strip_suffix(".template") {
            Some(path) => write_file(&folder.join(path), filled_in(content, name)?.as_bytes())?,
            None => write_file(&folder.join(path), content)?,
        }
    }
    write_file(&folder.join(".gitignore"), b"/target/\n/nocti-data/\n/*.wasm\n")?;
    if matches!(template, Template::Classifier | Template::Text) {
        for (path, content) in files::sdk() {
            write_file(&folder.join("nocti-sdk").join(path), content.as_bytes())?;
        }
    }
    Ok(())
}

fn filled_in(content: &[u8], name: &FunctionName) -> anyhow::Result<String> {
    let text = std::str::from_utf8(content).context("a template is not text")?;
    // A crate's name begins with a letter, a function's need not.
    let prefix = if name.as_str().starts_with(|c: char| c.is_ascii_digit()) { "fn-" } else { "" };
    Ok(text.replace("{crate}", &format!("{prefix}{name}")).replace("{name}", name.as_str()))
}

fn write_file(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let folder = path.parent().context("a file is in a folder")?;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    std::fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::nocti_toml::Project;

    #[test]
    fn every_template_is_a_function() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for template in Template::value_variants() {
            let name = format!("7-{template:?}").to_lowercase().parse().expect("a name");
            let folder = folder.path().join(format!("{template:?}"));
            write(&folder, &name, *template).expect("written");
            let project = Project::load(&folder).expect("a valid nocti.toml");
            assert_eq!(project.manifest.name, name);
            assert!(project.models.iter().all(|model| model.file.path.is_file()), "{template:?}");
            assert_eq!(project.component.is_some(), *template != Template::ModelOnly);
            for file in ["README.md", ".gitignore"] {
                let text = std::fs::read_to_string(folder.join(file)).expect("it is there");
                assert!(!text.contains("{name}") && !text.contains("{crate}"), "{template:?}: {text}");
            }
            if project.component.is_some() {
                let cargo = std::fs::read_to_string(folder.join("Cargo.toml")).expect("it is there");
                assert!(cargo.contains(&format!("name = \"fn-{name}\"")), "{cargo}");
            }
        }
    }
}
