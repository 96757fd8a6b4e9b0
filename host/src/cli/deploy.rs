//! `nocti deploy`: brings a function to a host, whatever form it has.
//!
//! A bundle goes as it is, a folder is built first, and a component or an ONNX file by somebody else is wrapped into a
//! bundle on the spot. Of that goes what the host lacks (`upload`), and the host checks all of it again.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use reqwest::StatusCode;
use serde::Deserialize;
use tempfile::NamedTempFile;

use super::build::{self, Names};
use super::client::{Client, ClientError, query};
use super::head::Head;
use super::oci::{self, Access, Place, Pulled, Registry, Relay};
use super::upload::{self, Outcome, Sent};
use super::why::Why;
use super::{Global, WrongUsage, output};
use crate::registry::bundle::Bundle;
use crate::registry::name::{AliasName, FunctionName, VersionName};
use crate::registry::nocti_toml::{FILE_NAME, Project};

/// The version of what does not say which one it is.
const FIRST_VERSION: &str = "1.0.0";

/// What `nocti deploy` takes.
#[derive(Debug, Args)]
pub(crate) struct DeployArgs {
    /// A bundle, a function's folder, a component or an ONNX model; or oci://HOST/NAME:TAG, from an OCI registry.
    #[arg(value_name = "PATH|oci://REFERENCE")]
    path: PathBuf,
    #[command(flatten)]
    names: Names,
    /// The alias that points to the new version from now on.
    #[arg(long, default_value = AliasName::LIVE, conflicts_with = "no_traffic")]
    alias: AliasName,
    /// Point no alias to the new version.
    #[arg(long)]
    no_traffic: bool,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    access: Access,
}

/// A bundle's file, and the temporary one behind it.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) file: PathBuf,
    /// Removes the file when the upload is over.
    _temporary: Option<NamedTempFile>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Deployed {
    function: String,
    version: String,
    digest: String,
    kind: String,
    size_bytes: Option<u64>,
}

pub(super) async fn run(args: &DeployArgs, global: &Global) -> anyhow::Result<()> {
    let client = Client::new(global)?;
    let traffic = if args.no_traffic { ("no_traffic", "true") } else { ("alias", args.alias.as_str()) };
    let query = query([traffic].into_iter().chain(args.why.pairs()));
    let sent = match args.path.to_str().and_then(|path| path.strip_prefix(oci::SCHEME)) {
        Some(reference) => from_registry(&client, reference, args, &query).await,
        None => from_file(&client, args, &query).await,
    };
    let mut sent = sent.map_err(|error| with_hint(error, &args.path))?;
    if global.json {
        sent.answer["sent_bytes"] = sent.sent_bytes.into();
        sent.answer["saved_bytes"] = sent.saved_bytes.into();
        return output::json(&sent.answer);
    }
    output::text(&text(&sent, args)?)
}

async fn from_file(client: &Client, args: &DeployArgs, query: &str) -> anyhow::Result<Sent> {
    if args.access.is_given() {
        let usage = format!("--username, --plain-http and --tls are for registries alone: {}REFERENCE", oci::SCHEME);
        return Err(WrongUsage(usage).into());
    }
    let upload = prepare(&args.path, &args.names)?;
    let bar = output::progress_bar("uploading");
    let sent = upload::send(client, &upload.file, query, &bar).await;
    bar.finish_and_clear();
    sent
}

async fn from_registry(client: &Client, reference: &str, args: &DeployArgs, query: &str) -> anyhow::Result<Sent> {
    let place =
        reference.parse::<Place>().and_then(Place::for_reading).map_err(|error| WrongUsage(format!("{error:#}")))?;
    let registry = Registry::new(place, &args.access).await?;
    let Pulled { mut manifest, .. } = registry.function().await?;
    args.names.apply(&mut manifest);
    let bar = output::progress_bar("sending on");
    let sent = upload::by_parts(client, &manifest, &Relay(&registry), query, &bar).await;
    bar.finish_and_clear();
    match sent? {
        Outcome::Deployed(sent) => Ok(sent),
        Outcome::WholeAlone(why) => {
            Err(why.context("this host takes nothing but whole bundles now (`nocti pull` gets one to deploy)"))
        }
    }
}

fn text(sent: &Sent, args: &DeployArgs) -> anyhow::Result<String> {
    let deployed = Deployed::deserialize(&sent.answer).context("the host's answer is not as expected")?;
    let Deployed { function, version, digest, kind, .. } = &deployed;
    let done = match sent.status {
        StatusCode::CREATED => "deployed",
        _ => "already there:",
    };
    let traffic = match args.no_traffic {
        true => "no alias points to it".to_owned(),
        false => format!("alias {}", args.alias),
    };
    let size = output::or_dash(deployed.size_bytes.map(output::size));
    let call = match (kind.as_str(), args.no_traffic || args.alias.as_str() != AliasName::LIVE) {
        ("http", false) => format!("nocti invoke {function} --http /"),
        ("http", true) => format!("nocti invoke {function}@{version} --http /"),
        (_, false) => format!("nocti invoke {function}"),
        (_, true) => format!("nocti invoke {function}@{version}"),
    };
    let saved = match sent.saved_bytes {
        0 => String::new(),
        saved => format!("  sent    {}, {} were there already\n", output::size(sent.sent_bytes), output::size(saved)),
    };
    Ok(format!(
        "{done} {function} {version} ({kind}, {size}, {traffic})\n  digest  {digest}\n{saved}  call    {call}\n"
    ))
}

/// Finds out what `path` is and makes it a bundle if it is none.
pub(super) fn prepare(path: &Path, names: &Names) -> anyhow::Result<Upload> {
    let found = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    if found.is_dir() {
        let (bundle, _) = build::from_folder(Project::load(path)?, names)?;
        return staged(&bundle);
    }
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("onnx") => {
            let (name, version) = names_for(path, names)?;
            let (bundle, _) = build::from_parts(&Project::for_model(path, name, version))?;
            staged(&bundle)
        }
        Some("wasm") => from_wasm(path, names),
        _ => Err(WrongUsage(format!(
            "{} is no bundle (.wasm), no component (.wasm), no model (.onnx) and no folder with a {FILE_NAME}",
            path.display()
        ))
        .into()),
    }
}

fn from_wasm(path: &Path, names: &Names) -> anyhow::Result<Upload> {
    let Some(mut head) = Head::read(path)? else {
        let (name, version) = names_for(path, names)?;
        let (bundle, kind) = build::from_parts(&Project::for_component(path, name.clone(), version.clone()))?;
        output::note(&format!(
            "{} has no manifest: deploying the {kind} component as {name} {version}",
            path.display(),
        ));
        return staged(&bundle);
    };
    let manifest = head.manifest.clone();
    names.apply(&mut head.manifest);
    if head.manifest == manifest {
        return Ok(Upload { file: path.to_owned(), _temporary: None });
    }
    Ok(Upload::temporary(head.rewrite(path)?))
}

/// The names for a file that brings none: those given, or the file's own and the first version.
fn names_for(file: &Path, names: &Names) -> anyhow::Result<(FunctionName, VersionName)> {
    let name = match &names.name {
        Some(name) => name.clone(),
        None => {
            let stem = file.file_stem().unwrap_or_default().to_string_lossy();
            sanitised(&stem)
                .ok_or_else(|| WrongUsage(format!("'{stem}' makes no function name: give one with --name")))?
        }
    };
    let first = || FIRST_VERSION.parse().expect("it is a version");
    Ok((name, names.version.clone().unwrap_or_else(first)))
}

/// The function name nearest to `text`, if there is anything of it left.
fn sanitised(text: &str) -> Option<FunctionName> {
    let dashed: String =
        (text.to_lowercase().chars()).map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(63).collect();
    dashed.trim_matches('-').parse().ok()
}

/// A bundle in a temporary file.
pub(super) fn in_a_file(bundle: &Bundle) -> anyhow::Result<NamedTempFile> {
    let mut file = NamedTempFile::with_suffix(".wasm").context("cannot make a temporary file")?;
    bundle.write_to(std::io::BufWriter::new(&mut file))?;
    Ok(file)
}

fn staged(bundle: &Bundle) -> anyhow::Result<Upload> {
    in_a_file(bundle).map(Upload::temporary)
}

impl Upload {
    fn temporary(file: NamedTempFile) -> Self {
        Self { file: file.path().to_owned(), _temporary: Some(file) }
    }
}

/// Says how to go on where a version's name is taken.
fn with_hint(error: anyhow::Error, path: &Path) -> anyhow::Error {
    match error.downcast_ref() {
        Some(ClientError::Refused { code, message, .. }) if code == "version_taken" => {
            let place = if path.is_dir() {
                format!("raise `version` in {FILE_NAME}, or use --version")
            } else {
                "use --version".to_owned()
            };
            anyhow::anyhow!("{message} ({place})")
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_become_function_names() {
        let named = |text| sanitised(text).map(String::from);
        assert_eq!(named("ResNet50_v2.1").as_deref(), Some("resnet50-v2-1"));
        assert_eq!(named("_x_").as_deref(), Some("x"));
        assert_eq!(named("模型"), None);
        assert_eq!(named(&format!("{}-b", "a".repeat(62))).map(|name| name.len()), Some(62));
    }

    #[test]
    fn what_cannot_be_deployed_is_told_before_anything_is_sent() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("notes.txt");
        std::fs::write(&file, "hello").expect("a temporary file");
        let said = |path: &Path| format!("{:#}", prepare(path, &Names::default()).expect_err("must be refused"));
        assert!(said(&file).contains("is no bundle"));
        assert!(said(folder.path()).contains("there is no nocti.toml"));
        assert!(said(&folder.path().join("gone.onnx")).contains("cannot read"));
        let wasm = folder.path().join("m.wasm");
        std::fs::write(&wasm, b"\0asm\x01\0\0\0").expect("a temporary file");
        assert!(said(&wasm).contains("is a core module"));
    }

    #[test]
    fn a_model_becomes_a_bundle_under_the_names_given() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let model = folder.path().join("Iris Model.onnx");
        std::fs::write(&model, b"not looked at").expect("a temporary file");
        let names = Names { name: None, version: Some("2".parse().expect("a version")) };
        let upload = prepare(&model, &names).expect("wrapped");
        let head = Head::read(&upload.file).expect("readable").expect("a bundle");
        assert_eq!((head.manifest.name.as_str(), head.manifest.version.as_str()), ("iris-model", "2"));

        let renamed = Names { name: Some("other".parse().expect("a name")), version: None };
        let again = prepare(&upload.file, &renamed).expect("rewritten");
        let head = Head::read(&again.file).expect("readable").expect("a bundle");
        assert_eq!((head.manifest.name.as_str(), head.manifest.version.as_str()), ("other", "2"));
        let as_it_is = prepare(&upload.file, &Names::default()).expect("a bundle");
        assert_eq!(as_it_is.file, upload.file);
    }
}
