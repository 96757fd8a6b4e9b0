//! Where aliases send requests: weights over versions, and the way back to how they were.
//!
//! An alias changes alone or all of them do; what is deployed stays as it is. `live` is never taken away, since
//! requests without a version go there.

use std::collections::BTreeMap;

use super::super::name::{AliasName, FunctionName, VersionName};
use super::super::timestamp::Timestamp;
use super::{Action, FunctionKind, Revision, RevisionError, Shadow, Shadowing};

/// How much of an alias' requests each version gets: its weight by the sum of all.
pub type Weights = BTreeMap<VersionName, u32>;

/// All aliases of a function.
pub type Aliases = BTreeMap<AliasName, Weights>;

/// The most versions that an alias may send requests to: a draw looks at all of them.
const MAX_SPLIT: usize = 100;

/// The most aliases: every revision has all of them, and is read whole.
const MAX_ALIASES: usize = 100;

/// Why requests cannot be sent so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrafficError {
    #[error("alias '{alias}' of function '{function}' cannot be pointed so: {why}")]
    Weights { function: FunctionName, alias: AliasName, why: String },
    #[error("function '{function}' has no alias '{alias}'{}", has_aliases(.existing))]
    UnknownAlias { function: FunctionName, alias: AliasName, existing: Vec<AliasName> },
    #[error(
        "function '{0}' would have no alias '{live}' any more, where requests without a version go; point it at other \
         versions, or delete the function", live = AliasName::LIVE
    )]
    LiveStays(FunctionName),
    #[error(
        "revision {revision} of function '{function}' sent requests to a version '{version}' that is not deployed any more; \
         deploy it again, or go to another revision: `nocti history {function}` lists them"
    )]
    VersionGone { function: FunctionName, version: VersionName, revision: u64 },
    #[error(
        "at revision {revision} function '{function}' was deleted; go to another revision: `nocti history {function}` lists \
         them, or delete it"
    )]
    WasDeleted { function: FunctionName, revision: u64 },
    #[error(
        "there is nothing to go back to: the aliases of function '{0}' have not been changed since its first deploy"
    )]
    NothingBefore(FunctionName),
    #[error("version '{version}' cannot be the shadow of alias '{alias}' of function '{function}': {why}")]
    Shadow { function: FunctionName, alias: AliasName, version: VersionName, why: String },
    #[error(
        "version '{version}' of function '{function}' gets copies of the requests to alias '{alias}'; point the alias without a shadow \
         first (`nocti traffic {function} VERSION=WEIGHT --alias {alias}`)"
    )]
    IsShadow { function: FunctionName, alias: AliasName, version: VersionName },
    #[error("the requests of alias '{alias}' of function '{function}' cannot be moved step by step: {why}")]
    Rollout { function: FunctionName, alias: AliasName, why: String },
    #[error("no rollout of alias '{alias}' of function '{function}' is going on")]
    NoRollout { function: FunctionName, alias: AliasName },
    #[error(
        "a rollout of alias '{alias}' of function '{function}' to version '{version}' goes on already; end it first: \
         `nocti rollback {function}`"
    )]
    RolloutRunning { function: FunctionName, alias: AliasName, version: VersionName },
}

impl Revision {
    /// An alias, which may be a new one, sends requests to versions by these weights, and copies to a shadow if one is asked for.
    /// `None`: it does already. A version of weight 0 gets nothing and is left out.
    pub fn with_traffic(
        &self,
        alias: &AliasName,
        weights: &BTreeMap<String, u32>,
        shadow: Option<&Shadowing>,
        now: Timestamp,
    ) -> Result<Option<Self>, RevisionError> {
        self.check_alias(alias)?;
        let mut found = Weights::new();
        for (version, &weight) in weights {
            let known = self.versions.get_key_value(version.as_str());
            let (name, _) = known.ok_or_else(|| self.unknown_version(version))?;
            if weight > 0 {
                found.insert(name.clone(), weight);
            }
        }
        if let Some(why) = unusable(&found) {
            if self.is_deleted() {
                return Err(RevisionError::UnknownFunction(self.function.clone()));
            }
            return Err(TrafficError::Weights { function: self.function.clone(), alias: alias.clone(), why }.into());
        }
        if let Some(why) = self.mixed(&found) {
            return Err(TrafficError::Weights { function: self.function.clone(), alias: alias.clone(), why }.into());
        }
        self.check_room(alias)?;
        let shadow = shadow.map(|shadow| self.shadow(alias, &found, shadow)).transpose()?;
        let mut next = self.next(Action::Traffic { alias: alias.clone() }, now);
        next.point(alias, found, shadow);
        Ok((!next.directs_as(self)).then_some(next))
    }

    /// An alias is gone.
    pub fn without_alias(&self, alias: &AliasName, now: Timestamp) -> Result<Self, RevisionError> {
        if self.is_deleted() {
            return Err(RevisionError::UnknownFunction(self.function.clone()));
        }
        let mut next = self.next(Action::DeleteAlias { alias: alias.clone() }, now);
        if next.aliases.remove(alias).is_none() {
            return Err(self.unknown_alias(alias));
        }
        next.shadows.remove(alias);
        next.rollouts.remove(alias);
        self.keeps_live(&next)?;
        Ok(next)
    }

    /// All aliases go back to where they were before the last change of theirs, which is at revision `to`. One that a rollout was moving
    /// then goes to where it was before that.
    pub fn rolled_back(&self, to: &Self, now: Timestamp) -> Result<Self, RevisionError> {
        self.with_aliases_of(&to.settled(), Action::Rollback { to: to.revision }, now)
    }

    /// All aliases go to where they were at revision `to`. `None`: they are there.
    pub fn restored(&self, to: &Self, now: Timestamp) -> Result<Option<Self>, RevisionError> {
        let next = self.with_aliases_of(to, Action::Restore { to: to.revision }, now)?;
        Ok((!next.directs_as(self)).then_some(next))
    }

    fn with_aliases_of(&self, to: &Self, action: Action, now: Timestamp) -> Result<Self, RevisionError> {
        if self.is_deleted() {
            return Err(RevisionError::UnknownFunction(self.function.clone()));
        }
        if to.is_deleted() {
            return Err(TrafficError::WasDeleted { function: self.function.clone(), revision: to.revision }.into());
        }
        for (alias, weights) in &to.aliases {
            self.check_alias(alias)?;
            for version in weights.keys() {
                if !self.has_as(to, version) {
                    let (function, version) = (self.function.clone(), version.clone());
                    return Err(TrafficError::VersionGone { function, version, revision: to.revision }.into());
                }
            }
        }
        let mut next = self.next(action, now);
        // Of an alias that stays where it is, a rollout that has ended stays to be seen.
        let stays = |alias: &AliasName| to.aliases.get(alias) == self.aliases.get(alias);
        next.rollouts.retain(|alias, rollout| !rollout.is_running() && stays(alias));
        // A shadow whose version is gone is no reason to leave requests where they are.
        let shadows = to.shadows.iter().filter(|(_, shadow)| self.has_as(to, &shadow.version));
        next.shadows = shadows.map(|(alias, shadow)| (alias.clone(), shadow.clone())).collect();
        next.aliases = to.aliases.clone();
        self.keeps_live(&next)?;
        Ok(next)
    }

    /// Whether a version is there as it was there: one that was deleted may have come back with other content.
    fn has_as(&self, other: &Self, version: &VersionName) -> bool {
        let digest = |of: &Self| of.versions.get(version).map(|record| record.digest);
        digest(self).is_some() && digest(self) == digest(other)
    }

    /// Points an alias, which ends what went on with it.
    pub(super) fn point(&mut self, alias: &AliasName, weights: Weights, shadow: Option<Shadow>) {
        self.rollouts.remove(alias);
        self.shadows.remove(alias);
        self.shadows.extend(shadow.map(|shadow| (alias.clone(), shadow)));
        self.aliases.insert(alias.clone(), weights);
    }

    /// No alias points anywhere.
    pub(super) fn undirected(&mut self) {
        self.aliases.clear();
        self.shadows.clear();
        self.rollouts.clear();
    }

    /// Whether requests and their copies go where they went there, in the same shares.
    pub fn sends_as(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.aliases.iter(), other.aliases.iter());
        let shares_agree =
            |(a, b): ((&AliasName, &Weights), (&AliasName, &Weights))| a.0 == b.0 && are_shares(a.1, b.1);
        self.aliases.len() == other.aliases.len() && ours.zip(theirs).all(shares_agree) && self.shadows == other.shadows
    }

    /// Whether they also go on going there.
    pub fn directs_as(&self, other: &Self) -> bool {
        let running =
            |of: &Self| of.rollouts.values().filter(|rollout| rollout.is_running()).cloned().collect::<Vec<_>>();
        self.sends_as(other) && running(self) == running(other)
    }

    pub(super) fn unknown_alias(&self, alias: &AliasName) -> RevisionError {
        if self.is_deleted() {
            return RevisionError::UnknownFunction(self.function.clone());
        }
        let (function, existing) = (self.function.clone(), self.aliases.keys().cloned().collect());
        TrafficError::UnknownAlias { function, alias: alias.clone(), existing }.into()
    }

    /// Why these versions cannot share requests out, if they cannot.
    fn mixed(&self, weights: &Weights) -> Option<String> {
        let raw = |of: &&VersionName| self.versions.get(*of).is_some_and(|record| record.kind == FunctionKind::Http);
        let (raw, typed): (Vec<_>, Vec<_>) = weights.keys().partition(raw);
        let (raw, typed) = (raw.first()?, typed.first()?);
        Some(format!(
            "version '{raw}' takes raw HTTP and version '{typed}' tensors, so each would get requests that it cannot answer; give one \
             of them an alias of its own"
        ))
    }

    /// Refuses one alias more than there may be.
    pub(super) fn check_room(&self, alias: &AliasName) -> Result<(), TrafficError> {
        if self.aliases.len() < MAX_ALIASES || self.aliases.contains_key(alias) {
            return Ok(());
        }
        let why = format!(
            "there are {MAX_ALIASES} aliases already, which is the most; delete one first (`nocti delete {} --alias NAME`)",
            self.function
        );
        Err(TrafficError::Weights { function: self.function.clone(), alias: alias.clone(), why })
    }

    fn keeps_live(&self, next: &Self) -> Result<(), TrafficError> {
        let has_live = |revision: &Self| revision.aliases.contains_key(AliasName::LIVE);
        if has_live(self) && !has_live(next) { Err(TrafficError::LiveStays(self.function.clone())) } else { Ok(()) }
    }
}

/// Whether versions get the same shares by both.
fn are_shares(these: &Weights, those: &Weights) -> bool {
    let total = |weights: &Weights| weights.values().map(|&weight| u64::from(weight)).sum::<u64>();
    let (all_these, all_those) = (total(these), total(those));
    let agree = |(a, b): ((&VersionName, &u32), (&VersionName, &u32))| {
        a.0 == b.0 && u128::from(*a.1) * u128::from(all_those) == u128::from(*b.1) * u128::from(all_these)
    };
    these.len() == those.len() && these.iter().zip(those).all(agree)
}

/// Why these weights share nothing out, if they do not.
pub(super) fn unusable(weights: &Weights) -> Option<String> {
    if weights.is_empty() {
        return Some("no version has a weight above 0; give at least one of them some".to_owned());
    }
    if weights.len() > MAX_SPLIT {
        return Some(format!("{} versions have a weight above 0; share among at most {MAX_SPLIT}", weights.len()));
    }
    let total = weights.values().try_fold(0u32, |sum, weight| sum.checked_add(*weight));
    total.is_none().then(|| format!("its weights add up to more than {}; use smaller ones, such as percents", u32::MAX))
}

fn has_aliases(existing: &[AliasName]) -> String {
    let listed = existing.iter().map(AliasName::as_str).collect::<Vec<_>>().join(", ");
    if listed.is_empty() { "; it has none".to_owned() } else { format!("; it has {listed}") }
}

#[cfg(test)]
mod tests;
