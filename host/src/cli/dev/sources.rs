//! What a build is made from: which files count, and whether one has changed.
//!
//! Whatever the system says of changes only makes somebody look; this decides. So it does not matter how an editor saves, how many
//! events that makes, or that the build reads all of it. A file counts unless its name, or that of a folder it is in, says that it is
//! no source ([`is_ignored`]), or it is the component that the build command makes. What `nocti.toml` names counts wherever it is.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use crate::registry::digest::Digest;
use crate::registry::nocti_toml::Project;
use crate::stamp::Stamp;

/// As many links as the system follows on the way to one file.
const MAX_LINKS: usize = 40;

/// More files are no sources.
const MAX_FILES: usize = 20_000;

/// Of a larger file only the stamp is looked at.
const MAX_READ_BYTES: u64 = 4 << 20;

/// Which files count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sources {
    folder: PathBuf,
    /// What `nocti.toml` or the command line names.
    named: BTreeSet<PathBuf>,
    /// What the build command makes.
    made: Option<PathBuf>,
}

/// The files as they were at one look.
pub(super) type Seen = BTreeMap<PathBuf, Mark>;

/// What a file was like.
#[derive(Debug, Clone)]
pub(super) struct Mark {
    stamp: Stamp,
    /// Read when the stamp was another one than before: what is written again as it was has not changed.
    content: Option<Digest>,
}

impl Sources {
    /// Of a folder whose `nocti.toml` could not be read yet; `also`: files that the command line names.
    pub(super) fn new(folder: &Path, also: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { folder: folder.to_owned(), named: also.into_iter().collect(), made: None }
    }

    /// Of a project.
    pub(super) fn of(project: &Project, also: impl IntoIterator<Item = PathBuf>) -> Self {
        let mut sources = Self::new(&project.dir, also);
        match &project.component {
            Some(component) if component.build.is_some() => sources.made = Some(component.file.path.clone()),
            Some(component) => drop(sources.named.insert(component.file.path.clone())),
            None => {}
        }
        sources.named.extend(project.models.iter().map(|model| model.file.path.clone()));
        sources.named.extend(project.assets.iter().map(|asset| asset.file.path.clone()));
        sources
    }

    /// Looks at all files; `folder` is told of each folder before that is read, so that nothing is missed between the two.
    /// `before` is an earlier look.
    pub(super) fn look(&self, before: &Seen, mut folder: impl FnMut(&Path) -> io::Result<()>) -> io::Result<Seen> {
        let mut seen = Seen::new();
        for named in &self.named {
            if tell(named, &mut folder)? {
                self.add(named, before, &mut seen)?;
            }
        }
        // Where it has gone, somebody may bring it back.
        is_there(folder(nearest(&self.folder)))?;
        let mut folders = vec![self.folder.clone()];
        while let Some(next) = folders.pop() {
            if !is_there(folder(&next))? {
                continue;
            }
            for entry in std::fs::read_dir(&next).into_iter().flatten().flatten() {
                if is_ignored(&entry.file_name().to_string_lossy()) {
                    continue;
                }
                let path = entry.path();
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => folders.push(path),
                    // One to a folder is not followed: it may lead back here.
                    Ok(kind) if kind.is_symlink() && path.is_dir() => {}
                    Ok(kind) => {
                        if kind.is_symlink() {
                            tell(&path, &mut folder)?;
                        }
                        self.add(&path, before, &mut seen)?;
                    }
                    Err(_) => {}
                }
            }
        }
        Ok(seen)
    }

    fn add(&self, path: &Path, before: &Seen, seen: &mut Seen) -> io::Result<()> {
        let is_other_component = || path.extension().is_some_and(|it| it == "wasm") && !self.named.contains(path);
        if self.made.as_deref() == Some(path) || is_other_component() {
            return Ok(());
        }
        let Some(metadata) = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file) else { return Ok(()) };
        let (stamp, known) = (Stamp::new(&metadata), before.get(path));
        let content = match known {
            Some(known) if known.stamp == stamp => known.content,
            Some(_) if metadata.len() <= MAX_READ_BYTES => std::fs::read(path).ok().map(|bytes| Digest::of(&bytes)),
            _ => None,
        };
        seen.insert(path.to_owned(), Mark { stamp, content });
        if seen.len() > MAX_FILES {
            let folder = self.folder.display();
            return Err(io::Error::other(format!(
                "{folder} has more than {MAX_FILES} files: keep data elsewhere, or in a folder whose name begins with a dot"
            )));
        }
        Ok(())
    }
}

impl Mark {
    fn is_of_the_same(&self, other: &Self) -> bool {
        self.stamp == other.stamp || self.content.is_some() && self.content == other.content
    }
}

/// The files that differ between two looks.
pub(super) fn changed<'s>(before: &'s Seen, after: &'s Seen) -> Vec<&'s Path> {
    let gone = before.keys().filter(|path| !after.contains_key(*path));
    let is_new = |path: &Path, mark: &Mark| before.get(path).is_none_or(|before| !before.is_of_the_same(mark));
    let new = after.iter().filter(|(path, mark)| is_new(path, mark)).map(|(path, _)| path);
    let mut changed: Vec<&Path> = gone.chain(new).map(PathBuf::as_path).collect();
    changed.sort();
    changed
}

/// A file of the command line's as a look at the folder finds it, if it is in there: one file has one name.
pub(super) fn as_found(folder: &Path, file: PathBuf) -> PathBuf {
    let whole = std::path::absolute(&file).unwrap_or_default();
    let place = whole.parent().and_then(|parent| std::fs::canonicalize(parent).ok());
    match (place, whole.file_name()) {
        (Some(place), Some(name)) if place.starts_with(folder) => place.join(name),
        _ => file,
    }
}

/// Tells of the folder of a file and, where that is a link, of the folder of what it leads to, each before the link is read. False: its
/// folder has gone.
fn tell(file: &Path, folder: &mut impl FnMut(&Path) -> io::Result<()>) -> io::Result<bool> {
    let mut at = file.to_owned();
    for _ in 0..MAX_LINKS {
        let parent = at.parent().unwrap_or(Path::new(""));
        if !is_there(folder(nearest(parent)))? {
            return Ok(false);
        }
        let Ok(target) = std::fs::read_link(&at) else { break };
        at = parent.join(target);
    }
    Ok(true)
}

/// Whether a folder could be looked at; it may have gone just now.
fn is_there(told: io::Result<()>) -> io::Result<bool> {
    match told {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        told => told.map(|()| true),
    }
}

/// Whether a name says that this is no source: what tools and editors keep for themselves.
fn is_ignored(name: &str) -> bool {
    name.starts_with(['.', '#']) || name.ends_with('~') || ["target", "node_modules", "__pycache__"].contains(&name)
}

/// The folder, or the nearest above it that is there.
fn nearest(folder: &Path) -> &Path {
    let there = folder.ancestors().find(|folder| folder.is_dir());
    there.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// What has changed since a look, by names.
    fn since(sources: &Sources, seen: &mut Seen) -> Vec<String> {
        let now = sources.look(seen, |_| Ok(())).expect("readable");
        let name = |path: &Path| path.file_name().expect("a file").to_string_lossy().into_owned();
        let names = changed(seen, &now).into_iter().map(name).collect();
        *seen = now;
        names
    }

    fn write(folder: &Path, name: &str, content: &str) {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a temporary folder");
        fs::write(path, content).expect("a temporary folder");
    }

    #[test]
    fn what_is_no_source_is_not_looked_at() {
        for name in [".git", ".x.swp", "#x#", "x~", "target", "node_modules", "__pycache__"] {
            assert!(is_ignored(name), "{name}");
        }
        for name in ["src", "x.rs", "targets", "nocti.toml", "a#b"] {
            assert!(!is_ignored(name), "{name}");
        }
    }

    #[test]
    fn a_change_is_seen_however_it_is_made() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (at, sources) = (folder.path(), Sources::new(folder.path(), []));
        write(at, "src/lib.rs", "one");
        write(at, "nocti.toml", "one");
        let mut seen = Seen::new();
        assert_eq!(since(&sources, &mut seen), ["nocti.toml", "lib.rs"]);
        assert!(since(&sources, &mut seen).is_empty());
        write(at, "src/lib.rs", "two, in place");
        assert_eq!(since(&sources, &mut seen), ["lib.rs"]);
        // Saved aside and renamed.
        write(at, ".lib.rs.new", "three");
        fs::rename(at.join(".lib.rs.new"), at.join("src/lib.rs")).expect("the same folder");
        assert_eq!(since(&sources, &mut seen), ["lib.rs"]);
        write(at, "src/new/deep.rs", "one");
        assert_eq!(since(&sources, &mut seen), ["deep.rs"]);
        fs::remove_dir_all(at.join("src/new")).expect("there");
        assert_eq!(since(&sources, &mut seen), ["deep.rs"]);
        for ignored in ["target/x", ".git/index", "lib.rs~", "f-1.0.0.wasm"] {
            write(at, ignored, "x");
        }
        assert!(since(&sources, &mut seen).is_empty());
    }

    #[test]
    fn what_is_written_again_as_it_was_has_not_changed_twice() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (at, sources, mut seen) = (folder.path(), Sources::new(folder.path(), []), Seen::new());
        write(at, "generated.rs", "one");
        since(&sources, &mut seen);
        let again = || {
            fs::remove_file(at.join("generated.rs")).expect("there");
            write(at, "kept", "");
            write(at, "generated.rs", "longer");
        };
        again();
        assert_eq!(since(&sources, &mut seen), ["generated.rs", "kept"]);
        again();
        let changed = since(&sources, &mut seen);
        assert!(!changed.contains(&"generated.rs".to_owned()), "{changed:?}");
    }

    #[test]
    fn what_the_manifest_names_counts_wherever_it_is() {
        let outer = tempfile::tempdir().expect("a temporary folder");
        let at = outer.path().join("function");
        let text = |build: &str| {
            format!(
                "name = \"f\"\nversion = \"1\"\n[component]\npath = \"target/c.wasm\"\n{build}\n\
                 [[model]]\nname = \"m\"\npath = \"../m.onnx\"\n"
            )
        };
        write(outer.path(), "m.onnx", "one");
        write(&at, "target/c.wasm", "one");
        let parse = |build: &str| Project::parse(&at, &text(build)).expect("valid");
        let (ready, built) = (Sources::of(&parse(""), []), Sources::of(&parse("build = \"make\""), []));
        let mut told = Vec::new();
        let seen = ready.look(&Seen::new(), |folder| {
            told.push(folder.to_owned());
            Ok(())
        });
        assert_eq!(seen.expect("readable").len(), 2);
        assert!(told.contains(&at.join("target")) && told.contains(&at), "{told:?}");
        // What the command makes is no reason to make it again.
        assert_eq!(since(&built, &mut Seen::new()), ["m.onnx"]);
        assert_eq!(nearest(Path::new("gone/far")), Path::new("."));
    }

    #[test]
    fn what_a_link_leads_to_counts_wherever_it_is() {
        let outer = tempfile::tempdir().expect("a temporary folder");
        let (at, link) = (outer.path().join("function"), std::os::unix::fs::symlink::<&Path, PathBuf>);
        for weights in ["weights/1/m.onnx", "weights/2/m.onnx"] {
            write(outer.path(), weights, weights);
        }
        let current = outer.path().join("current.onnx");
        link(Path::new("weights/1/m.onnx"), current.clone()).expect("a temporary folder");
        fs::create_dir(&at).expect("a temporary folder");
        link(Path::new("../current.onnx"), at.join("m.onnx")).expect("a temporary folder");
        link(Path::new("nothing"), at.join("dangling")).expect("a temporary folder");
        link(outer.path(), at.join("back")).expect("a temporary folder");
        let (sources, mut seen, mut told) = (Sources::new(&at, []), Seen::new(), Vec::new());
        let first = sources.look(&seen, |folder| {
            told.push(fs::canonicalize(folder)?);
            Ok(())
        });
        assert_eq!(first.expect("readable").len(), 1);
        for folder in ["", "function", "weights/1"] {
            let folder = fs::canonicalize(outer.path().join(folder)).expect("there");
            assert!(told.contains(&folder), "{} is not in {told:?}", folder.display());
        }
        since(&sources, &mut seen);
        write(outer.path(), "weights/1/m.onnx", "trained again");
        assert_eq!(since(&sources, &mut seen), ["m.onnx"]);
        fs::remove_file(&current).expect("there");
        link(Path::new("weights/2/m.onnx"), current).expect("a temporary folder");
        assert_eq!(since(&sources, &mut seen), ["m.onnx"]);
        assert!(since(&sources, &mut seen).is_empty());
    }

    #[test]
    fn a_file_has_one_name() {
        let outer = tempfile::tempdir().expect("a temporary folder");
        let at = fs::canonicalize(outer.path()).expect("there").join("function");
        write(&at, "data.json", "{}");
        for name in ["data.json", "./data.json", "../function/data.json"] {
            assert_eq!(as_found(&at, at.join(name)), at.join("data.json"), "{name}");
        }
        for elsewhere in [at.join("../data.json"), at.join("gone/data.json"), "data.json".into()] {
            assert_eq!(as_found(&at, elsewhere.clone()), elsewhere);
        }
    }
}
