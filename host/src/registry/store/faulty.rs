//! For tests: a bucket in memory whose requests are counted, and fail as the test says.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::registry) enum Fault {
    Nothing,
    /// It does not arrive.
    Request,
    /// It is done, and the answer does not arrive.
    Answer,
    /// It is done, and nothing comes of it: no answer, and no end.
    Silence,
}

type Plan = Box<dyn FnMut(&'static str, &Path) -> Fault + Send>;

/// A bucket with faults.
pub(in crate::registry) struct Faulty {
    objects: InMemory,
    plan: Mutex<Plan>,
    requests: AtomicUsize,
}

impl Faulty {
    pub(in crate::registry) fn new() -> Arc<Self> {
        let plan: Plan = Box::new(|_, _| Fault::Nothing);
        Arc::new(Self { objects: InMemory::new(), plan: Mutex::new(plan), requests: AtomicUsize::new(0) })
    }

    /// From now on, requests (`put`, `get`, `list`, `delete`) go as `plan` says.
    pub(in crate::registry) fn plan(&self, plan: impl FnMut(&'static str, &Path) -> Fault + Send + 'static) {
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(plan);
    }

    /// How many requests came since this was asked last.
    pub(in crate::registry) fn requests(&self) -> usize {
        self.requests.swap(0, Ordering::SeqCst)
    }

    fn fault(&self, request: &'static str, path: &Path) -> Fault {
        self.requests.fetch_add(1, Ordering::SeqCst);
        (self.plan.lock().unwrap_or_else(PoisonError::into_inner))(request, path)
    }

    async fn with<T>(&self, request: &'static str, path: &Path, work: impl Future<Output = Result<T>>) -> Result<T> {
        match self.fault(request, path) {
            Fault::Nothing => work.await,
            Fault::Request => Err(lost()),
            Fault::Answer => work.await.and(Err(lost())),
            Fault::Silence => {
                let _ = work.await;
                std::future::pending().await
            }
        }
    }
}

fn lost() -> Error {
    Error::Generic { store: "test", source: "it is lost".into() }
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.with("put", path, self.objects.put_opts(path, payload, options)).await
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.with("put", path, self.objects.put_multipart_opts(path, options)).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.with("get", path, self.objects.get_opts(path, options)).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        match self.fault("delete", &Path::default()) {
            Fault::Nothing => self.objects.delete_stream(paths),
            Fault::Request | Fault::Answer | Fault::Silence => futures::stream::once(async { Err(lost()) }).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.fault("list", prefix.unwrap_or(&Path::default())) {
            Fault::Nothing => self.objects.list(prefix),
            Fault::Request | Fault::Answer | Fault::Silence => futures::stream::once(async { Err(lost()) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.with("list", prefix.unwrap_or(&Path::default()), self.objects.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.with("put", to, self.objects.copy_opts(from, to, options)).await
    }
}
