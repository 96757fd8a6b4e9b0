//! The objects of a folder, for as long as it is the one that was opened.
//!
//! A folder that was unmounted, or that another one took the place of, looks like an empty store: all that is deployed would seem
//! gone, and what is deployed then would be lost when it comes back. So that something is not there is believed only if the folder
//! is, and nothing is written to another one. What is found needs no such care, as objects never change.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::folder::Folder;

/// A folder's objects. Its errors are those of the files, and of [`Folder::check`].
#[derive(Debug)]
pub(super) struct Mounted {
    files: LocalFileSystem,
    folder: Arc<Folder>,
}

impl Mounted {
    pub(super) fn new(files: LocalFileSystem, folder: Arc<Folder>) -> Self {
        Self { files, folder }
    }

    /// A listing that ends with an error if the folder is gone by then, when some of it may be missing.
    fn believed(&self, listed: BoxStream<'static, Result<ObjectMeta>>) -> BoxStream<'static, Result<ObjectMeta>> {
        let folder = Arc::clone(&self.folder);
        let end = stream::once(async move { folder.check().await });
        let end = end.filter_map(|checked| async move { checked.err().map(Err::<ObjectMeta, _>) });
        listed.chain(end).boxed()
    }
}

impl fmt::Display for Mounted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.files.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Mounted {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.folder.check().await?;
        let written = self.files.put_opts(path, payload, options).await?;
        // What was written to another one in between is not acknowledged.
        self.folder.check().await?;
        Ok(written)
    }

    // Its parts are in a file that cannot be given its name in another folder.
    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.folder.check().await?;
        self.files.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let got = self.files.get_opts(path, options).await;
        if matches!(got, Err(Error::NotFound { .. })) {
            self.folder.check().await?;
        }
        got
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (files, folder) = (self.files.clone(), Arc::clone(&self.folder));
        let checked = async move {
            folder.check().await?;
            Ok::<_, Error>(files.delete_stream(paths))
        };
        stream::once(checked).try_flatten().boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.believed(self.files.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.believed(self.files.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let listed = self.files.list_with_delimiter(prefix).await?;
        self.folder.check().await?;
        Ok(listed)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.folder.check().await?;
        self.files.copy_opts(from, to, options).await
    }
}
