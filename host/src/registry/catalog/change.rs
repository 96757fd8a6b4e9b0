//! What changes a function: each is one revision, or none where everything is so already.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::name::{AliasName, FunctionName};
use super::super::note::Note;
use super::super::revision::{AtStep, LabelChange, Labels, Plan, Revision, RevisionError, Shadowing, VersionRecord};
use super::super::timestamp::Timestamp;
use super::{Catalog, CatalogError, Deployment, MAX_ATTEMPTS, Published, name};

impl Catalog {
    /// Deploys a version whose parts are all in the store; writes its manifest there too.
    pub async fn deploy(&self, deployment: Deployment, note: Note) -> Result<Published, CatalogError> {
        let Deployment { manifest, kind, signature, models, alias } = deployment;
        let now = Timestamp::now();
        let blob = self.shared.store.write_blob(manifest.canonical_json().into()).await?;
        let size_bytes = manifest.size_bytes();
        let (digest, labels) = (blob.sha256, Labels::new());
        let record = VersionRecord { digest, kind, created_at: now, signature, models, size_bytes, labels };
        let version = manifest.version.clone();
        let change = move |current: &Revision| current.with_deploy(&version, &record, alias.as_ref(), now);
        self.publish(manifest.name.clone(), note, change).await
    }

    /// Deletes a version; the last one takes the function along.
    pub async fn delete_version(&self, function: &str, version: &str, note: Note) -> Result<Published, CatalogError> {
        let (name, version) = (name(function)?, version.to_owned());
        self.publish(name, note, move |current| current.without_version(&version, Timestamp::now()).map(Some)).await
    }

    /// Deletes a function with all its versions.
    pub async fn delete_function(&self, function: &str, note: Note) -> Result<Published, CatalogError> {
        self.publish(name(function)?, note, |current| current.without_anything(Timestamp::now()).map(Some)).await
    }

    /// Points an alias, which may be a new one, at versions by their weights, and has its requests copied if a shadow is asked for.
    pub async fn set_traffic(
        &self,
        function: &str,
        alias: AliasName,
        weights: BTreeMap<String, u32>,
        shadow: Option<Shadowing>,
        note: Note,
    ) -> Result<Published, CatalogError> {
        let change =
            move |current: &Revision| current.with_traffic(&alias, &weights, shadow.as_ref(), Timestamp::now());
        self.publish(name(function)?, note, change).await
    }

    /// An alias' requests begin to go to a version step by step.
    pub async fn begin_rollout(
        &self,
        function: &str,
        alias: AliasName,
        (version, plan): (String, Plan),
        note: Note,
    ) -> Result<Published, CatalogError> {
        let change = move |current: &Revision| current.with_rollout(&alias, &version, &plan, Timestamp::now());
        self.publish(name(function)?, note, move |current| change(current).map(Some)).await
    }

    /// A rollout goes on from the step that was looked at. Unchanged: it is not there any more.
    pub async fn step_rollout(&self, function: &FunctionName, at: AtStep) -> Result<Published, CatalogError> {
        let change = move |current: &Revision| current.stepped(&at, Timestamp::now());
        self.publish(function.clone(), Note::default(), change).await
    }

    /// A version did badly at the step that was looked at, for this reason. Unchanged: its rollout is not there any more.
    pub async fn take_rollout_back(
        &self,
        function: &FunctionName,
        at: AtStep,
        why: String,
    ) -> Result<Published, CatalogError> {
        let note = Note { message: Some(why.clone()), ..Note::default() };
        let change = move |current: &Revision| Ok(current.taken_back(&at, &why, Timestamp::now()));
        self.publish(function.clone(), note, change).await
    }

    /// Ends a rollout by hand: requests go where they went before it.
    pub async fn end_rollout(&self, function: &str, alias: AliasName, note: Note) -> Result<Published, CatalogError> {
        let why = note.message.clone().unwrap_or_else(|| "ended by hand".to_owned());
        let change = move |current: &Revision| current.without_rollout(&alias, &why, Timestamp::now());
        self.publish(name(function)?, note, move |current| change(current).map(Some)).await
    }

    /// Takes an alias other than `live` away.
    pub async fn delete_alias(&self, function: &str, alias: AliasName, note: Note) -> Result<Published, CatalogError> {
        self.publish(name(function)?, note, move |current| current.without_alias(&alias, Timestamp::now()).map(Some))
            .await
    }

    /// Puts labels on a version, and takes others off.
    pub async fn set_labels(
        &self,
        function: &str,
        version: &str,
        labels: LabelChange,
        note: Note,
    ) -> Result<Published, CatalogError> {
        let version = version.to_owned();
        let change = move |current: &Revision| current.with_labels(&version, &labels, Timestamp::now());
        self.publish(name(function)?, note, change).await
    }

    /// All aliases go to where they were at a revision; what is deployed stays.
    pub async fn restore(&self, function: &str, revision: u64, note: Note) -> Result<Published, CatalogError> {
        let name = name(function)?;
        let to = self.past(&name, revision).await?;
        self.publish(name, note, move |current| current.restored(&to, Timestamp::now())).await
    }

    /// All aliases go back to where they were before the last change of theirs. Another time, it is the change before that
    /// one: a rollback undoes no rollback. Where rollouts go on it ends them, and leaves other aliases alone.
    pub async fn rollback(&self, function: &str, note: Note) -> Result<Published, CatalogError> {
        let name = name(function)?;
        for _ in 0..MAX_ATTEMPTS {
            let (from, to) = self.before_the_last_traffic(&name).await?;
            let change = move |current: &Revision| current.rolled_back(&to, Timestamp::now()).map(Some);
            match self.publish(name.clone(), note.upon(from), change).await {
                // Unless the caller said so, it need not be the revision that was looked at.
                Err(CatalogError::Revision(RevisionError::Moved { expected, .. }))
                    if note.revision != Some(expected) => {}
                outcome => return outcome,
            }
        }
        Err(CatalogError::Contended(name))
    }

    /// Makes a change to a function's newest revision, and again to a newer one when somebody else was quicker.
    ///
    /// The change runs in a task of its own: a caller who goes away must not leave the store changed and the snapshot
    /// not.
    pub async fn publish(
        &self,
        function: FunctionName,
        note: Note,
        change: impl Fn(&Revision) -> Result<Option<Revision>, RevisionError> + Send + Sync + 'static,
    ) -> Result<Published, CatalogError> {
        let (shared, name) = (Arc::clone(&self.shared), function.clone());
        let task = tokio::spawn(async move { shared.publish(&name, &note, change).await });
        match task.await {
            Ok(published) => published,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(CatalogError::Interrupted(function)),
            },
        }
    }
}
