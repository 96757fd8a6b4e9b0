//! A bucket as a store: opened with the vendor's usual environment, bounded in time, and tried before it is relied on.

use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::path::Path as ObjectPath;
use object_store::prefix::PrefixStore;
use object_store::{
    BackoffConfig, ClientConfigKey, Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, RetryConfig,
};
use tokio::time::Duration;

use super::super::format::FORMAT;
use super::location::{Bucket, Vendor};
use super::{StoreError, failed};

/// What a request may take, the longest of which brings or takes 8 MiB.
const REQUEST: &str = "30s";
/// What a copy may take, which is one request for up to 5 GiB.
const COPY: &str = "10m";
const CONNECT: &str = "5s";

/// Repeated for so long. Whoever waits is a person, or a host that looks again by itself.
fn retries() -> RetryConfig {
    let backoff =
        BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(2), base: 2.0 };
    RetryConfig { backoff, max_retries: 6, retry_timeout: Duration::from_secs(15) }
}

/// The objects of a bucket, which need not be there yet.
pub(super) fn open(bucket: &Bucket) -> Result<Arc<dyn ObjectStore>, StoreError> {
    open_within(bucket, REQUEST)
}

/// The same objects with a client of their own, whose requests may take long.
pub(super) fn open_for_copies(bucket: &Bucket) -> Result<Arc<dyn ObjectStore>, StoreError> {
    open_within(bucket, COPY)
}

fn open_within(bucket: &Bucket, time: &str) -> Result<Arc<dyn ObjectStore>, StoreError> {
    // The first to do so wins, and all do the same.
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    let (vendor, name, retry) = (bucket.vendor, &bucket.name, retries());
    let objects = match vendor {
        Vendor::S3 => {
            let builder = AmazonS3Builder::from_env().with_bucket_name(name).with_retry(retry);
            let timed =
                |builder: AmazonS3Builder, key, value| builder.with_config(AmazonS3ConfigKey::Client(key), value);
            let built = timed(timed(builder, ClientConfigKey::Timeout, time), ClientConfigKey::ConnectTimeout, CONNECT);
            built.build().map(|objects| Arc::new(objects) as Arc<dyn ObjectStore>)
        }
        Vendor::Google => {
            let builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(name).with_retry(retry);
            let timed = |builder: GoogleCloudStorageBuilder, key, value| {
                builder.with_config(GoogleConfigKey::Client(key), value)
            };
            let built = timed(timed(builder, ClientConfigKey::Timeout, time), ClientConfigKey::ConnectTimeout, CONNECT);
            built.build().map(|objects| Arc::new(objects) as Arc<dyn ObjectStore>)
        }
        Vendor::Azure => {
            let builder = MicrosoftAzureBuilder::from_env().with_container_name(name).with_retry(retry);
            let timed =
                |builder: MicrosoftAzureBuilder, key, value| builder.with_config(AzureConfigKey::Client(key), value);
            let built = timed(timed(builder, ClientConfigKey::Timeout, time), ClientConfigKey::ConnectTimeout, CONNECT);
            built.build().map(|objects| Arc::new(objects) as Arc<dyn ObjectStore>)
        }
    };
    let objects = objects.map_err(|source| refused(bucket, "its settings are wrong".into(), source))?;
    if bucket.prefix.is_empty() {
        return Ok(objects);
    }
    Ok(Arc::new(PrefixStore::new(objects, ObjectPath::from(bucket.prefix.as_str()))))
}

/// Says that there is a store, and finds out whether one can be: whoever writes an object that is there must be told so, or two
/// hosts could each believe that a revision is theirs. A store that a later release has made its own is left alone.
pub(super) async fn probe(objects: &dyn ObjectStore, bucket: &Bucket) -> Result<(), StoreError> {
    let path = ObjectPath::from("nocti.json");
    // The second time it is there.
    for _ in 0..2 {
        let create = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match objects.put_opts(&path, format!("{{\"format\": {FORMAT}}}\n").into(), create).await {
            Ok(_) => {}
            Err(Error::AlreadyExists { .. }) => return check_format(objects, &path).await,
            Err(error) => return Err(refused(bucket, advice(bucket, &error), error)),
        }
    }
    let why = "it writes over objects that are there though it is asked not to (If-None-Match: *), so several hosts would undo each \
               other's changes; use a store that has conditional writes"
        .to_owned();
    Err(StoreError::Bucket { bucket: bucket.to_string(), why, source: None })
}

/// Whether the store is of a format that is known here, as the object says that is there.
async fn check_format(objects: &dyn ObjectStore, path: &ObjectPath) -> Result<(), StoreError> {
    /// It is one number.
    const MAX_BYTES: u64 = 1 << 16;
    let damaged = |why: String| StoreError::Damaged { object: path.to_string(), why };
    let found = objects.get(path).await.map_err(failed("read", path))?;
    if found.meta.size > MAX_BYTES {
        return Err(damaged(format!("it has {} bytes", found.meta.size)));
    }
    let content = found.bytes().await.map_err(failed("read", path))?;
    let mark: serde_json::Value = serde_json::from_slice(&content).map_err(|error| damaged(error.to_string()))?;
    match mark.get("format").and_then(serde_json::Value::as_u64) {
        Some(format) if format > FORMAT => Err(StoreError::Newer { object: path.to_string(), format }),
        Some(_) => Ok(()),
        None => Err(damaged("it has no number `format`".into())),
    }
}

fn refused(bucket: &Bucket, why: String, source: Error) -> StoreError {
    StoreError::Bucket { bucket: bucket.to_string(), why, source: Some(source) }
}

/// What to do about an error of the first request.
fn advice(bucket: &Bucket, error: &Error) -> String {
    let Bucket { vendor, name, .. } = bucket;
    match error {
        Error::NotFound { .. } => format!("there is no bucket '{name}', which has to be made first"),
        Error::Unauthenticated { .. } | Error::PermissionDenied { .. } => {
            format!("its credentials may not write there: see to {}", vendor.variables())
        }
        Error::NotImplemented { .. } | Error::NotSupported { .. } => {
            "it has no conditional writes, which several hosts need".into()
        }
        _ => format!("it does not answer as it should: see to the network, the endpoint and {}", vendor.variables()),
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    fn bucket(vendor: Vendor) -> Bucket {
        Bucket { vendor, name: "bucket".into(), prefix: "a/b".into() }
    }

    #[tokio::test]
    async fn what_takes_conditional_writes_can_be_a_store_once_and_again() {
        let objects = InMemory::new();
        for _ in 0..2 {
            probe(&objects, &bucket(Vendor::S3)).await.expect("it can");
        }
    }

    #[tokio::test]
    async fn a_store_of_a_later_release_or_of_nobody_is_left_alone() {
        let (objects, path) = (InMemory::new(), ObjectPath::from("nocti.json"));
        let error = async |content: &'static str| {
            objects.put(&path, content.into()).await.unwrap();
            probe(&objects, &bucket(Vendor::S3)).await.expect_err(content)
        };
        assert!(matches!(error("{\"format\": 2}").await, StoreError::Newer { format: 2, .. }));
        for content in ["", "{", "[]", "{}", "{\"format\": \"1\"}"] {
            let error = error(content).await;
            assert!(error.to_string().starts_with("nocti.json in the store is damaged"), "{error}");
        }
    }

    #[test]
    fn s3_needs_nothing_but_a_bucket_to_be_built() {
        open(&bucket(Vendor::S3)).expect("credentials are asked for when they are needed");
        open_for_copies(&bucket(Vendor::S3)).expect("so it is for copies");
    }

    #[test]
    fn an_azure_container_without_an_account_is_refused_with_its_name() {
        // Unless the machine has one.
        if let Err(error) = open(&bucket(Vendor::Azure)) {
            assert!(error.to_string().contains("az://bucket/a/b"), "{error}");
        }
    }

    #[test]
    fn advice_names_what_to_see_to() {
        let source = || "x".into();
        let denied = Error::PermissionDenied { path: String::new(), source: source() };
        assert!(advice(&bucket(Vendor::S3), &denied).contains("AWS_SECRET_ACCESS_KEY"));
        let missing = Error::NotFound { path: String::new(), source: source() };
        assert!(advice(&bucket(Vendor::Google), &missing).contains("no bucket 'bucket'"));
        let silent = Error::Generic { store: "x", source: source() };
        assert!(advice(&bucket(Vendor::Azure), &silent).contains("AZURE_STORAGE_ACCOUNT_KEY"));
    }
}
