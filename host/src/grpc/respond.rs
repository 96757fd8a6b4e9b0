//! Where an error becomes a gRPC status; whose fault it is, `fault` says, and the message is the same as over HTTP.

#![deny(clippy::wildcard_enum_match_arm)]

use std::sync::Arc;
use std::time::Duration;

use tonic::{Code, Status};

use crate::admit::AdmitError;
use crate::elsewhere::BrokenOff;
use crate::fault::{self, Fault, Kind};
use crate::invoke::InvokeError;
use crate::oip::RepositoryError;
use crate::protocol::ProtocolError;
use crate::registry::catalog::CatalogError;
use crate::telemetry::Outcome;
use crate::trace::Context;

/// Everything a call can fail with.
#[derive(Debug, thiserror::Error)]
pub(super) enum GrpcError {
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    #[error(transparent)]
    Invoke(#[from] InvokeError),
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error("the message is larger than {limit_bytes} bytes (limits.body)")]
    TooLarge { limit_bytes: u64 },
    #[error("the message did not come within {0:?}")]
    Stalled(Duration),
    #[error("the message ended early or broke off: {0}")]
    Broken(String),
    #[error("the message is not what its grpc-encoding, {encoding}, says: {reason}")]
    Corrupt { encoding: &'static str, reason: String },
    #[error("internal error")]
    Internal(String),
}

impl From<AdmitError> for GrpcError {
    fn from(error: AdmitError) -> Self {
        Self::Invoke(error.into())
    }
}

impl From<BrokenOff> for GrpcError {
    fn from(error: BrokenOff) -> Self {
        Self::Invoke(error.into())
    }
}

/// The most of a message: it travels in a header, and clients take a few kilobytes of them.
const MAX_MESSAGE_CHARS: usize = 1000;

/// The status for an error, which it carries along for the log.
pub(super) fn status(error: GrpcError) -> Status {
    let fault = of(&error);
    let mut status = Status::new(code(fault.kind), message(&error));
    status.set_source(Arc::new(error));
    status
}

/// What the caller may read of an error.
pub(super) fn message(error: &GrpcError) -> String {
    let message = of(error).message(error);
    match message.char_indices().nth(MAX_MESSAGE_CHARS) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message,
    }
}

/// What came of a request to a function that was not answered.
pub(super) fn outcome(error: &GrpcError) -> Outcome {
    of(error).outcome()
}

/// Writes the failure to the log, with all its causes; here and nowhere else.
pub(super) fn log(error: &GrpcError, context: &Context, path: &str, ms: f64) {
    let text = match error {
        GrpcError::Internal(cause) => format!("{error}: {cause}"),
        GrpcError::Protocol(_)
        | GrpcError::Invoke(_)
        | GrpcError::Repository(_)
        | GrpcError::Catalog(_)
        | GrpcError::TooLarge { .. }
        | GrpcError::Stalled(_)
        | GrpcError::Broken(_)
        | GrpcError::Corrupt { .. } => error.to_string(),
    };
    let (cause, fault) = (fault::with_causes(text, error), of(error));
    let code = code(fault.kind);
    if fault.is_ours() {
        tracing::warn!(id = %context, path, ?code, ms, error = cause, "call failed");
    } else {
        tracing::debug!(id = %context, path, ?code, ms, error = cause, "call refused");
    }
}

fn of(error: &GrpcError) -> Fault {
    match error {
        GrpcError::Protocol(error) => fault::of_protocol(error),
        GrpcError::Invoke(error) => fault::of_invoke(error),
        GrpcError::Repository(error) => fault::of_repository(error),
        GrpcError::Catalog(error) => fault::of_catalog(error),
        GrpcError::TooLarge { .. } => fault::TOO_LARGE,
        GrpcError::Stalled(_) => fault::STALLED,
        GrpcError::Broken(_) | GrpcError::Corrupt { .. } => fault::INVALID,
        GrpcError::Internal(_) => fault::INTERNAL,
    }
}

fn code(kind: Kind) -> Code {
    match kind {
        Kind::Invalid | Kind::Encoding => Code::InvalidArgument,
        Kind::Forbidden => Code::PermissionDenied,
        Kind::NotFound => Code::NotFound,
        Kind::Conflict => Code::FailedPrecondition,
        Kind::Range => Code::OutOfRange,
        Kind::TooLarge | Kind::Busy | Kind::StoreFull => Code::ResourceExhausted,
        Kind::Unavailable => Code::Unavailable,
        Kind::NotAllowed | Kind::Unsupported => Code::Unimplemented,
        Kind::Function | Kind::Internal => Code::Internal,
        Kind::Stalled | Kind::Deadline => Code::DeadlineExceeded,
    }
}
