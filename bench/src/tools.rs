//! Finding what `scripts/setup` installs: ONNX Runtime, as `nocti` does, and a server of buckets.

use std::path::PathBuf;

use anyhow::Context as _;

#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct Options {
    /// Path of libonnxruntime.so for all servers; without it the newest that scripts/setup installed
    #[arg(long, value_name = "FILE", env = "NOCTI_ONNXRUNTIME_LIBRARY")]
    library: Option<PathBuf>,
    #[arg(long, hide = true, env = "NOCTI_HOME")]
    tools: Option<PathBuf>,
    #[arg(long, hide = true, env = "XDG_CACHE_HOME")]
    cache: Option<PathBuf>,
    #[arg(long, hide = true, env = "HOME")]
    home: Option<PathBuf>,
}

impl Options {
    pub(crate) fn library(&self) -> anyhow::Result<PathBuf> {
        if let Some(library) = &self.library {
            return std::path::absolute(library).context("the path of ONNX Runtime cannot be used");
        }
        let folder = self.tools().context("there is no home folder; say --library")?.join("onnxruntime");
        let versions = std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let files = versions.map(|version| version.join("libonnxruntime.so")).filter(|file| file.is_file());
        // By their age, so that versions need not be compared as numbers.
        files
            .max_by_key(|file| file.metadata().and_then(|data| data.modified()).ok())
            .with_context(|| format!("no ONNX Runtime in {}; run scripts/setup or say --library", folder.display()))
    }

    /// What starts the server of buckets, if it is installed.
    pub(crate) fn bucket_server(&self) -> Option<PathBuf> {
        Some(self.tools()?.join("buckets/bin/python")).filter(|python| python.is_file())
    }

    fn tools(&self) -> Option<PathBuf> {
        let cache = || self.cache.clone().or_else(|| Some(self.home.as_ref()?.join(".cache")));
        self.tools.clone().or_else(|| Some(cache()?.join("nocti")))
    }
}
