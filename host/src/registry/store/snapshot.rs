//! The one object that changes: what a start reads in place of all others. The store does not know what is in it.
//!
//! It is replaced only by who has read it: what another host wrote in the meantime is not undone.

use bytes::Bytes;
use object_store::path::Path as ObjectPath;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, UpdateVersion};

use super::{Store, StoreError, failed};

/// What tells the snapshot that was read from later ones.
#[derive(Debug, Clone)]
pub struct Held(UpdateVersion);

impl Store {
    /// The snapshot of a format, if there is one of at most `cap` bytes.
    pub async fn read_snapshot(&self, format: &str, cap: u64) -> Result<Option<(Bytes, Held)>, StoreError> {
        let path = path(format);
        let found = match self.objects.get(&path).await {
            Ok(found) if found.meta.size <= cap => found,
            Ok(_) | Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(failed("read", &path)(error)),
        };
        let held = Held(UpdateVersion { e_tag: found.meta.e_tag.clone(), version: found.meta.version.clone() });
        let content = found.bytes().await.map_err(failed("read", &path))?;
        Ok(Some((content, held)))
    }

    /// Replaces the snapshot that was read, or makes the first one. False: somebody else has. (Or this host, whose answer was lost;
    /// to write it again another time does no harm.)
    pub async fn write_snapshot(&self, format: &str, content: Bytes, over: Option<Held>) -> Result<bool, StoreError> {
        let path = path(format);
        let mode = over.map_or(PutMode::Create, |Held(version)| PutMode::Update(version));
        match self.objects.put_opts(&path, content.into(), PutOptions { mode, ..PutOptions::default() }).await {
            Ok(_) => Ok(true),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(false),
            Err(error) => Err(failed("write", &path)(error)),
        }
    }
}

fn path(format: &str) -> ObjectPath {
    ObjectPath::from_iter(["snapshots", &format!("{format}.gz")])
}
