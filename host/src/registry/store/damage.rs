//! Blobs of a folder that are not what was written: noticed before something is made of them, and taken out of the way.
//!
//! Disks err, and somebody may write to a file. A bucket's blob is hashed when it is fetched; a folder's when something is made of it
//! that answers for long, such as compiled code, and a manifest's when it is deployed again. One that is damaged leaves its place:
//! then the store lacks it, and a deploy that has it brings it anew. Whoever has it open keeps it.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::path::Path;
use std::time::SystemTime;

use super::super::digest::{BlobHasher, Digest};
use super::folder::Folder;
use super::trash::{is_same, trash_path};
use super::{Place, Store, StoreError, blob_path, failed};
use crate::stamp::Stamp;

impl Store {
    /// Whether the file of a blob has the content that its name says. It takes the thread while the file is hashed, which is done
    /// again only if something may have been written to it since.
    pub fn check_file(&self, digest: &Digest) -> Result<(), StoreError> {
        match &self.place {
            Place::Folder(folder) => folder.check_blob(digest),
            // Hashed as it came.
            Place::Bucket { .. } => Ok(()),
        }
    }
}

impl Folder {
    fn check_blob(&self, digest: &Digest) -> Result<(), StoreError> {
        let object = blob_path(digest);
        let unread = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => StoreError::Missing { object: object.to_string() },
            _ => {
                failed("read", &object)(object_store::Error::Generic { store: "LocalFileSystem", source: error.into() })
            }
        };
        let path = self.root().join(object.as_ref());
        let file = File::open(&path).map_err(unread)?;
        // Before the bytes: what is written while they are read shows in the next look at it.
        let stamp = Stamp::new(&file.metadata().map_err(unread)?);
        if self.checked.get(digest).is_some_and(|known| *known == stamp) {
            return Ok(());
        }
        let settled = stamp.is_settled(SystemTime::now());
        let mut got = hash(&file).map_err(unread)?;
        if got != *digest {
            // A disk may err once, and nothing is given up for that.
            forget_pages(&file);
            got = hash(&file).map_err(unread)?;
        }
        if got == *digest {
            if settled {
                self.checked.insert(*digest, stamp);
            }
            return Ok(());
        }
        match self.put_away(digest, &path, &file) {
            Ok(()) => tracing::warn!(%object, "damaged: taken out of the store"),
            // It is said to whoever wanted it that it may be there still.
            Err(error) => tracing::warn!(%object, %error, "damaged, and cannot be taken out of the store"),
        }
        Err(StoreError::Damaged { object: object.to_string(), why: format!("its sha256 is {got}") })
    }

    /// A damaged file goes from the trash too, from where it would be brought back.
    fn put_away(&self, digest: &Digest, path: &Path, file: &File) -> io::Result<()> {
        let copy = self.root().join(trash_path(digest).as_ref());
        if is_same(file, &copy) {
            fs::remove_file(copy)?;
        }
        self.checked.remove(digest);
        // As something staged, it is swept if the process ends here. Those that are written are numbered from one, and others may be at
        // this too.
        let aside = self.root().join(format!("{}#{}", blob_path(digest), rand::random::<u64>()));
        fs::rename(path, &aside)?;
        // Somebody may have brought a good one meanwhile.
        if is_same(file, &aside) { fs::remove_file(&aside) } else { fs::rename(&aside, path) }
    }
}

fn hash(mut file: &File) -> io::Result<Digest> {
    file.rewind()?;
    let (mut hasher, mut buffer) = (BlobHasher::default(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish().sha256),
            count => hasher.update(&buffer[..count]),
        }
    }
}

/// The next read asks the disk, where the system can be told so.
fn forget_pages(file: &File) {
    #[cfg(target_os = "linux")]
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
    #[cfg(not(target_os = "linux"))]
    let _ = file;
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn folder() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open_folder(dir.path()).await.unwrap();
        (dir, store)
    }

    #[tokio::test]
    async fn a_damaged_blob_goes_and_a_deploy_brings_it_anew() {
        let (dir, store) = folder().await;
        let blob = store.write_blob("content".into()).await.unwrap();
        store.check_file(&blob.sha256).expect("it is whole");
        fs::write(store.local_file(&blob.sha256).await.unwrap(), "c0ntent").unwrap();
        assert_eq!(store.lacks(vec![blob]).await.unwrap(), [], "its size is right");
        let error = store.check_file(&blob.sha256).expect_err("its content is not");
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        let (message, object) = (error.to_string(), blob_path(&blob.sha256).to_string());
        assert!(message.contains(&object) && message.contains("deploy the same version again"), "{message}");
        assert_eq!(store.lacks(vec![blob]).await.unwrap(), [blob]);
        assert!(matches!(store.check_file(&blob.sha256), Err(StoreError::Missing { .. })));

        store.write_blob("content".into()).await.unwrap();
        store.check_file(&blob.sha256).expect("it is whole again");
        assert_eq!(store.read_blob(&blob.sha256, 10).await.unwrap(), "content");
        assert_eq!(fs::read_dir(dir.path().join("blobs/sha256")).unwrap().count(), 1, "nothing else is left");
    }

    #[tokio::test]
    async fn a_damaged_blob_does_not_come_back_from_the_trash() {
        let (_dir, store) = folder().await;
        let blob = store.write_blob("content".into()).await.unwrap();
        assert!(store.discard(blob).await.unwrap());
        // Two names of one file now.
        fs::write(store.local_file(&blob.sha256).await.unwrap(), "c0ntent").unwrap();
        store.check_file(&blob.sha256).expect_err("it is damaged");
        assert_eq!(store.lacks(vec![blob]).await.unwrap(), [blob]);
    }

    #[tokio::test]
    async fn what_came_in_the_place_of_a_damaged_blob_stays() {
        let (_dir, store) = folder().await;
        let blob = store.write_blob("content".into()).await.unwrap();
        let path = store.local_file(&blob.sha256).await.unwrap().path().to_owned();
        let damaged = File::open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        store.write_blob("content".into()).await.unwrap();
        store.folder().unwrap().put_away(&blob.sha256, &path, &damaged).unwrap();
        store.check_file(&blob.sha256).expect("the new one is there");
    }
}
