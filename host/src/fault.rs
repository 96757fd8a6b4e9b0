//! Whose fault an error is: the one place that tells, for every protocol. A protocol's own room only says how it calls each
//! [`Kind`].
//!
//! What a caller may read is the error's own text; its causes go to the log.

#![deny(clippy::wildcard_enum_match_arm)]

use std::error::Error;

use crate::admit::AdmitError;
use crate::deploy::DeployError;
use crate::invoke::InvokeError;
use crate::lifecycle::WakeError;
use crate::nn::{NnError, NoMemory};
use crate::oip::RepositoryError;
use crate::protocol::ProtocolError;
use crate::registry::catalog::CatalogError;
use crate::registry::revision::{RevisionError, TrafficError};
use crate::registry::spool::SpoolError;
use crate::registry::store::StoreError;
use crate::runtime::RuntimeError;
use crate::telemetry::Outcome;

/// What kind of failure it is, and the stable code under which clients know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    pub kind: Kind,
    pub code: &'static str,
}

/// The kinds of failure that clients tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The request is wrong.
    Invalid,
    /// Whoever asks may not.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// There is such a thing, but not to be used in this way.
    NotAllowed,
    /// The client did not send what it began to send.
    Stalled,
    /// It does not go with what is there already.
    Conflict,
    /// It is larger than may be.
    TooLarge,
    /// The body is in a form that nobody reads here.
    Encoding,
    /// The function is full: later.
    Busy,
    /// The host is full, or going down: later, or elsewhere.
    Unavailable,
    /// This host, or this function, does not do that.
    Unsupported,
    /// The function's code failed.
    Function,
    /// The host or the model failed.
    Internal,
    /// It took too long.
    Deadline,
    /// The store is full.
    StoreFull,
    /// There is no such part of it.
    Range,
}

const fn fault(kind: Kind, code: &'static str) -> Fault {
    Fault { kind, code }
}

/// Faults of the host's own; they are described in the log alone.
pub const INTERNAL: Fault = fault(Kind::Internal, "internal");
pub const INVALID: Fault = fault(Kind::Invalid, "invalid_request");
pub const TOO_LARGE: Fault = fault(Kind::TooLarge, "too_large");
pub const STALLED: Fault = fault(Kind::Stalled, "body_timeout");
const DEADLINE: Fault = fault(Kind::Deadline, "deadline_exceeded");
const NO_MEMORY: Fault = fault(Kind::Unavailable, "no_memory");
const OVERLOADED: Fault = fault(Kind::Unavailable, "overloaded");
const UNAVAILABLE: Fault = fault(Kind::Unavailable, "unavailable");
const BAD_ANSWER: Fault = fault(Kind::Function, "bad_answer");
const NOT_FOUND: Fault = fault(Kind::NotFound, "not_found");
const LOAD_FAILED: Fault = fault(Kind::Internal, "load_failed");
const DAMAGED: Fault = fault(Kind::Internal, "damaged");
const NOT_EXPLAINABLE: Fault = fault(Kind::Unsupported, "not_explainable");

impl Fault {
    /// What the caller may read of an error that is this fault.
    pub fn message(self, error: &impl ToString) -> String {
        if self == INTERNAL { "internal error; the host's log says more".into() } else { error.to_string() }
    }

    /// Whether the operator has to know each time. What callers bring about as they please, a question that a function does not
    /// answer or more requests than there is room for, is counted, and would only fill the log.
    pub fn is_ours(self) -> bool {
        self.outcome() == Outcome::Failed && self.kind != Kind::Unsupported
    }

    /// What came of a request to a function that failed with this.
    pub fn outcome(self) -> Outcome {
        match self.kind {
            // The function's own word.
            Kind::Unavailable if self == UNAVAILABLE => Outcome::Failed,
            Kind::Busy | Kind::Unavailable => Outcome::Refused,
            Kind::Deadline | Kind::Stalled => Outcome::Timeout,
            Kind::Invalid
            | Kind::Forbidden
            | Kind::NotFound
            | Kind::NotAllowed
            | Kind::Conflict
            | Kind::TooLarge
            | Kind::Range
            | Kind::Encoding => Outcome::Invalid,
            Kind::Unsupported | Kind::Function | Kind::Internal | Kind::StoreFull => Outcome::Failed,
        }
    }
}

/// The text with all causes of the error behind it, for the log.
pub fn with_causes(mut text: String, error: &dyn Error) -> String {
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Transparent variants repeat their cause's text.
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

pub fn of_protocol(error: &ProtocolError) -> Fault {
    match error {
        ProtocolError::Malformed(_)
        | ProtocolError::Unreadable(_)
        | ProtocolError::Input { .. }
        | ProtocolError::Parameter { .. }
        | ProtocolError::Unsupported(_)
        | ProtocolError::Mismatch(_) => INVALID,
        ProtocolError::Unwritable(_) => fault(Kind::Invalid, "not_json"),
        ProtocolError::Answer(_) => BAD_ANSWER,
    }
}

pub fn of_invoke(error: &InvokeError) -> Fault {
    match error {
        InvokeError::Unknown(error) => of_catalog(error),
        InvokeError::NotAdmitted(
            AdmitError::HostFull | AdmitError::StreamsFull | AdmitError::FollowersFull | AdmitError::BundlesFull,
        ) => OVERLOADED,
        InvokeError::NotAdmitted(AdmitError::FunctionFull) => fault(Kind::Busy, "too_many_requests"),
        InvokeError::Wake { source, .. } => of_wake(source),
        InvokeError::Deadline(_) => DEADLINE,
        InvokeError::Protocol(error) => of_protocol(error),
        InvokeError::Model(error) => of_model(error),
        InvokeError::Guest { source, .. } => of_guest(source),
        InvokeError::Broken(_) => INTERNAL,
        InvokeError::NotExplainable(_) => NOT_EXPLAINABLE,
        InvokeError::NotPredictable(_) | InvokeError::NotHttp(_) => fault(Kind::Invalid, "wrong_kind"),
    }
}

fn of_wake(error: &WakeError) -> Fault {
    match error {
        WakeError::Model(NnError::NoMemory { .. }) => NO_MEMORY,
        WakeError::Store(error) => of_store(error),
        WakeError::Missing(_) | WakeError::Model(_) | WakeError::Component(_) => LOAD_FAILED,
        WakeError::Host(_) => INTERNAL,
    }
}

fn of_model(error: &NnError) -> Fault {
    match error {
        NnError::InvalidInput(_) => INVALID,
        NnError::Unsupported(_) => fault(Kind::Unsupported, "not_implemented"),
        NnError::InvalidModel { .. } | NnError::Device { .. } => LOAD_FAILED,
        NnError::Run { .. } => fault(Kind::Internal, "model_failed"),
        NnError::NoMemory { .. } => NO_MEMORY,
        NnError::Ended(_) => INTERNAL,
    }
}

fn of_guest(error: &RuntimeError) -> Fault {
    match error {
        RuntimeError::InvalidComponent(_) => LOAD_FAILED,
        RuntimeError::Trapped { .. } => fault(Kind::Function, "function_failed"),
        RuntimeError::BadAnswer(_) => BAD_ANSWER,
        RuntimeError::InvalidInput(_) => INVALID,
        RuntimeError::Unavailable(_) => UNAVAILABLE,
        RuntimeError::Internal(_) => fault(Kind::Internal, "function_error"),
        RuntimeError::NotExported(_) => NOT_EXPLAINABLE,
        RuntimeError::NoRoom => OVERLOADED,
        RuntimeError::Deadline(_) => DEADLINE,
        RuntimeError::Host(_) => INTERNAL,
    }
}

pub fn of_repository(error: &RepositoryError) -> Fault {
    match error {
        RepositoryError::Unknown { source, .. } => of_catalog(source),
        RepositoryError::Load { source, .. } => of_wake(source),
        RepositoryError::Override { .. } => INVALID,
        RepositoryError::KeptWarm(_) => fault(Kind::Conflict, "kept_warm"),
    }
}

pub fn of_catalog(error: &CatalogError) -> Fault {
    match error {
        CatalogError::UnknownFunction(_)
        | CatalogError::UnknownVersion { .. }
        | CatalogError::UnknownRevision { .. } => NOT_FOUND,
        CatalogError::NoTraffic { .. } => fault(Kind::NotFound, "no_traffic"),
        CatalogError::Damaged { .. } => DAMAGED,
        CatalogError::Revision(error) => of_revision(error),
        CatalogError::Store(error) => of_store(error),
        CatalogError::Unsure { source, .. } => of_store(source),
        CatalogError::Contended(_) => fault(Kind::Conflict, "contended"),
        CatalogError::Interrupted(_) => fault(Kind::Unavailable, "draining"),
    }
}

fn of_revision(error: &RevisionError) -> Fault {
    match error {
        RevisionError::VersionTaken { .. } => fault(Kind::Conflict, "version_taken"),
        RevisionError::NameClash { .. } => fault(Kind::Conflict, "name_clash"),
        RevisionError::VersionInUse { .. } => fault(Kind::Conflict, "version_in_use"),
        RevisionError::UnknownFunction(_) | RevisionError::UnknownVersion { .. } => NOT_FOUND,
        RevisionError::TooManyLabels { .. } => fault(Kind::Invalid, "too_many_labels"),
        RevisionError::Moved { .. } => fault(Kind::Conflict, "revision_moved"),
        RevisionError::Traffic(error) => match error {
            TrafficError::Weights { .. } => fault(Kind::Invalid, "invalid_weights"),
            TrafficError::UnknownAlias { .. } => NOT_FOUND,
            TrafficError::LiveStays(_) => fault(Kind::Conflict, "live_stays"),
            TrafficError::VersionGone { .. } => fault(Kind::Conflict, "version_gone"),
            TrafficError::WasDeleted { .. } => fault(Kind::Conflict, "version_gone"),
            TrafficError::NothingBefore(_) => fault(Kind::Conflict, "nothing_before"),
            TrafficError::Shadow { .. } => fault(Kind::Invalid, "invalid_shadow"),
            TrafficError::IsShadow { .. } => fault(Kind::Conflict, "version_in_use"),
            TrafficError::Rollout { .. } => fault(Kind::Invalid, "invalid_rollout"),
            TrafficError::NoRollout { .. } => fault(Kind::Conflict, "no_rollout"),
            TrafficError::RolloutRunning { .. } => fault(Kind::Conflict, "rollout_running"),
        },
    }
}

pub fn of_store(error: &StoreError) -> Fault {
    match error {
        StoreError::Full { .. } => fault(Kind::StoreFull, "storage_full"),
        StoreError::Conflict { .. } => fault(Kind::Conflict, "contended"),
        StoreError::FunctionFull { .. } => fault(Kind::Conflict, "function_full"),
        StoreError::WrongContent { .. } => fault(Kind::Invalid, "invalid_bundle"),
        StoreError::Damaged { .. }
        | StoreError::Newer { .. }
        | StoreError::Missing { .. }
        | StoreError::TooLarge { .. } => DAMAGED,
        StoreError::Unreachable { .. } => fault(Kind::Unavailable, "store_unreachable"),
        StoreError::Open { .. } | StoreError::Bucket { .. } | StoreError::Cache(_) | StoreError::Failed { .. } => {
            INTERNAL
        }
    }
}

pub fn of_upload(error: &SpoolError) -> Fault {
    match error {
        SpoolError::WrongOffset { .. } => fault(Kind::Conflict, "wrong_offset"),
        SpoolError::Incomplete { .. } => fault(Kind::Conflict, "upload_incomplete"),
        SpoolError::Busy => fault(Kind::Conflict, "upload_busy"),
        SpoolError::TooLong { .. } | SpoolError::WrongContent { .. } => fault(Kind::Invalid, "wrong_content"),
        SpoolError::TooLarge { .. } => TOO_LARGE,
        SpoolError::NoRoom | SpoolError::DiskFull => fault(Kind::StoreFull, "uploads_full"),
        SpoolError::Failed(_) => fault(Kind::Internal, "uploads_failed"),
        SpoolError::Store(error) => of_store(error),
    }
}

pub fn of_deploy(error: &DeployError) -> Fault {
    match error {
        DeployError::Upload(_) | DeployError::Bundle(_) | DeployError::Manifest(_) => {
            fault(Kind::Invalid, "invalid_bundle")
        }
        DeployError::BlobsMissing(_) => fault(Kind::Conflict, "blobs_missing"),
        DeployError::Stalled => STALLED,
        DeployError::Busy => OVERLOADED,
        DeployError::Failed(_) => INTERNAL,
        DeployError::Rejected(source) => match source {
            WakeError::Store(error) => of_store(error),
            // What is in the bundle cannot run here: the bundle's fault, unlike the same failure when it is woken.
            WakeError::Model(NnError::Ended(_) | NnError::Run { .. }) | WakeError::Host(_) | WakeError::Missing(_) => {
                INTERNAL
            }
            WakeError::Model(NnError::NoMemory {
                reason: NoMemory::TooLarge { .. } | NoMemory::TooLargeTogether { .. },
                ..
            }) => fault(Kind::TooLarge, "model_too_large"),
            WakeError::Model(NnError::NoMemory { reason: NoMemory::Taken { .. }, .. }) => NO_MEMORY,
            WakeError::Model(_) => fault(Kind::Invalid, "invalid_model"),
            WakeError::Component(error) if matches!(**error, RuntimeError::Host(_)) => INTERNAL,
            WakeError::Component(_) => fault(Kind::Invalid, "invalid_component"),
        },
        DeployError::Store(error) => of_store(error),
        DeployError::Unseen { source, .. } => of_store(source),
        DeployError::Catalog(error) => of_catalog(error),
    }
}
