//! A bucket as a store: opened with the vendor's usual environment, bounded in time, and tried before it is relied on.

use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::path::Path as ObjectPath;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientConfigKey, Error, ObjectStore, PutMode, PutOptions, RetryConfig};
use tokio::time::Duration;

use super::StoreError;
use super::location::{Bucket, Vendor};

/// What a request may take, the longest of which brings or takes 8 MiB.
const REQUEST: &str = "30s";
const CONNECT: &str = "5s";

/// Repeated for so long. Whoever waits is a person, or a host that looks again by itself.
fn retries() -> RetryConfig {
    let backoff =
        BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(2), base: 2.0 };
    RetryConfig { backoff, max_retries: 6, retry_timeout: Duration::from_secs(15) }
}

/// The objects of a bucket, which need not be there yet.
pub(super) fn open(bucket: &Bucket) -> Result<Arc<dyn ObjectStore>, StoreError> {
    // The first to do so wins, and all do the same.
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    let (vendor, name, retry) = (bucket.vendor, &bucket.name, retries());
    let objects = match vendor {
        Vendor::S3 => {
            let builder = AmazonS3Builder::from_env().with_bucket_name(name).with_retry(retry);
            let timed =
                |builder: AmazonS3Builder, key, value| builder.with_config(AmazonS3ConfigKey::Client(key), value);
            let built =
                timed(timed(builder, ClientConfigKey::Timeout, REQUEST), ClientConfigKey::ConnectTimeout, CONNECT);
            built.build().map(|objects| Arc::new(objects) as Arc<dyn ObjectStore>)
        }
        Vendor::Google => {
            let builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(name).with_retry(retry);
            let timed = |builder: GoogleCloudStorageBuilder, key, value| {
                builder.with_config(GoogleConfigKey::Client(key), value)
            };
            let built =
                timed(timed(builder, ClientConfigKey::Timeout, REQUEST), ClientConfigKey::ConnectTimeout, CONNECT);
            built.build().map(|objects| Arc::new(objects) as Arc<dyn ObjectStore>)
        }
        Vendor::Azure => {
            let builder = MicrosoftAzureBuilder::from_env().with_container_name(name).with_retry(retry);
            let timed =
                |builder: MicrosoftAzureBuilder, key, value| builder.with_config(AzureConfigKey::Client(key), value);
            let built =
                timed(timed(builder, ClientConfigKey::Timeout, REQUEST), ClientConfigKey::ConnectTimeout, CONNECT);
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
/// hosts could each believe that a revision is theirs.
pub(super) async fn probe(objects: &dyn ObjectStore, bucket: &Bucket) -> Result<(), StoreError> {
    let path = ObjectPath::from("nocti.json");
    // The second time it is there.
    for _ in 0..2 {
        let create = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match objects.put_opts(&path, "{\"format\": 1}\n".into(), create).await {
            Ok(_) => {}
            Err(Error::AlreadyExists { .. }) => return Ok(()),
            Err(error) => return Err(refused(bucket, advice(bucket, &error), error)),
        }
    }
    let why = "it writes over objects that are there though it is asked not to (If-None-Match: *), so several hosts would undo each \
               other's changes; use a store that has conditional writes"
        .to_owned();
    Err(StoreError::Bucket { bucket: bucket.to_string(), why, source: None })
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

    #[test]
    fn s3_needs_nothing_but_a_bucket_to_be_built() {
        open(&bucket(Vendor::S3)).expect("credentials are asked for when they are needed");
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
