//! The errors that an operation can answer with, as groups of [`Kind`]s; their statuses are those of `respond`.

use std::collections::BTreeMap;

use utoipa::IntoResponses;
use utoipa::openapi::{ContentBuilder, HeaderBuilder, ObjectBuilder, Ref, RefOr, Response, ResponseBuilder, Type};

use crate::fault::Kind;
use crate::http::respond;

/// Declares a group of errors for the `responses` of an operation.
macro_rules! refusals {
    ($($(#[$doc:meta])* $group:ident: $($kind:ident),+;)+) => {$(
        $(#[$doc])*
        pub(crate) struct $group;

        impl IntoResponses for $group {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                [$(Kind::$kind),+].into_iter().map(|kind| (status(kind), response(kind).into())).collect()
            }
        }
    )+};
}

refusals! {
    /// Of what looks up a function.
    Lookup: NotFound, Internal;
    /// Of what reads a log.
    Reading: Invalid, NotFound, Internal, Unavailable;
    /// Of what looks at all functions.
    Searching: Invalid, Internal;
    /// Of what asks a function.
    Asking: Invalid, NotFound, Stalled, TooLarge, Encoding, Busy, Internal, Unsupported, Function, Unavailable, Deadline;
    /// Of the repository's index.
    Index: Invalid, Stalled, TooLarge, Encoding, Unavailable;
    /// Of loading by hand.
    Wake: Invalid, Forbidden, NotFound, Stalled, TooLarge, Encoding, Internal, Unavailable;
    /// Of unloading by hand.
    Change: Invalid, Forbidden, NotFound, Stalled, Conflict, TooLarge, Encoding, Internal, Unavailable;
    /// Of a deploy.
    Deploying: Invalid, Forbidden, Stalled, Conflict, TooLarge, Encoding, Internal, Unavailable, StoreFull;
    /// Of what asks for blobs.
    Missing: Invalid, Forbidden, Stalled, TooLarge, Encoding, Internal, Unavailable;
    /// Of an upload.
    Uploading: Invalid, Forbidden, Stalled, Conflict, TooLarge, Encoding, Internal, Unavailable, StoreFull;
    /// Of a download.
    Downloading: NotFound, Range, Internal, Unavailable;
    /// Of what changes where requests go.
    Directing: Invalid, Forbidden, NotFound, Stalled, Conflict, TooLarge, Encoding, Internal, Unavailable, StoreFull;
    /// Of what begins a rollout, for which the version comes into memory.
    Rolling: Invalid, Forbidden, NotFound, Stalled, Conflict, TooLarge, Encoding, Internal, Function, Unavailable, Deadline, StoreFull;
    /// Of what looks into the past.
    Past: Invalid, NotFound, Internal, Unavailable;
    /// Of what deletes.
    Deleting: Invalid, Forbidden, NotFound, Conflict, Internal, Unavailable, StoreFull;
}

fn status(kind: Kind) -> String {
    respond::status(kind).as_u16().to_string()
}

fn response(kind: Kind) -> Response {
    let body = ContentBuilder::new().schema(Some(Ref::from_schema_name("ErrorBody"))).build();
    let response = ResponseBuilder::new().description(description(kind)).content("application/json", body);
    match kind {
        Kind::Busy | Kind::Unavailable => {
            let seconds = ObjectBuilder::new().schema_type(Type::Integer).build();
            let header = HeaderBuilder::new().schema(seconds).description(Some("Seconds to wait before trying again"));
            response.header("Retry-After", header.build()).build()
        }
        _ => response.build(),
    }
}

fn description(kind: Kind) -> &'static str {
    match kind {
        Kind::Invalid => "The request is wrong",
        Kind::NotFound => "There is no such thing",
        Kind::Forbidden => "A web page asks for it that may not",
        Kind::NotAllowed => "The path takes other methods",
        Kind::Stalled => "Nothing of the body came for 30 s",
        Kind::Conflict => "It does not go with what is there, or others changed it meanwhile",
        Kind::TooLarge => "It is larger than may be",
        Kind::Encoding => "The body's content-encoding is neither gzip nor deflate",
        Kind::Busy => "The function is full",
        Kind::Unavailable => "The host is full or going down, or other models take the memory",
        Kind::Unsupported => "The function does not do that",
        Kind::Function => "The function's code failed",
        Kind::Internal => "The model or the host failed",
        Kind::Deadline => "It was not done within the function's `limits.timeout`",
        Kind::StoreFull => "The store is full",
        Kind::Range => "The range begins behind the end",
    }
}
