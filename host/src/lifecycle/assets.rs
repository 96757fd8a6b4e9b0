//! A bundle's assets as a folder that guests are shown, in this node's cache.
//!
//! A folder that is there is whole; it is made once per version and stays until the cache is cleared.

use std::path::PathBuf;

use super::{Parts, WakeError};
use crate::registry::catalog::Version;

/// The bundle's assets as files, once per version; `None` when it has none.
pub(super) async fn unpack(parts: &Parts, version: &Version) -> Result<Option<PathBuf>, WakeError> {
    if version.manifest.assets.is_empty() {
        return Ok(None);
    }
    let folder = parts.cache_dir.join("assets").join(version.digest.to_string());
    if tokio::fs::try_exists(&folder).await.unwrap_or(false) {
        return Ok(Some(folder));
    }
    let failed = |error: std::io::Error| WakeError::Host(format!("assets cannot be unpacked: {}", error.kind()));
    let mut files = Vec::new();
    for asset in &version.manifest.assets {
        files.push((asset.path.as_str().to_owned(), super::make::local_file(parts, &asset.blob.sha256)?));
    }
    let link = move || -> std::io::Result<PathBuf> {
        let parent = folder.parent().unwrap_or(&folder).to_path_buf();
        std::fs::create_dir_all(&parent)?;
        // Unpacked aside and renamed: a folder that is there is whole.
        let staged = tempfile::TempDir::new_in(&parent)?;
        for (path, blob) in files {
            let target = staged.path().join(path);
            if let Some(folder) = target.parent() {
                std::fs::create_dir_all(folder)?;
            }
            // Guests may only read, so the blob itself will do; a copy where the cache is on another disk.
            std::fs::hard_link(&blob, &target).or_else(|_| std::fs::copy(&blob, &target).map(drop))?;
        }
        match std::fs::rename(staged.path(), &folder) {
            // Another thread was first with the same content.
            Err(_) if folder.is_dir() => {}
            other => other?,
        }
        Ok(folder)
    };
    match tokio::task::spawn_blocking(link).await {
        Ok(folder) => folder.map(Some).map_err(failed),
        Err(error) => Err(WakeError::Host(format!("assets cannot be unpacked: {error}"))),
    }
}
