//! What stands in paths, queries and headers.

#![expect(dead_code, reason = "they describe what handlers read, and are never made")]

use utoipa::IntoParams;

#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct Model {
    /// A function's name.
    #[param(example = "digits")]
    model: String,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct Function {
    /// A function's name.
    #[param(example = "digits")]
    function: String,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct Callee {
    /// A function's name, or `NAME@VERSION`.
    #[param(example = "digits")]
    function: String,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct InputName {
    /// Which input the body is for, where several suit.
    #[param(nullable = false)]
    input: Option<String>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct JsonLength {
    /// Where the JSON of the body ends and binary data begins. Absent: all of it is JSON; 0: all of it is the only input.
    #[param(rename = "Inference-Header-Content-Length", nullable = false)]
    json_length: Option<u64>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct Alias {
    /// A function's name.
    #[param(example = "digits")]
    function: String,
    /// An alias.
    #[param(example = "live")]
    alias: String,
}

/// What is said of a change that has no body for it.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Note {
    /// Who makes the change, kept with its revision: one line of at most 100 characters.
    #[param(nullable = false)]
    by: Option<String>,
    /// Why, kept with its revision: one line of at most 1000 characters.
    #[param(nullable = false)]
    message: Option<String>,
    /// The revision that the function must be at; at any other one the change is refused.
    #[param(nullable = false)]
    revision: Option<u64>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct RoutingKey {
    /// Any text; requests that say the same go to the same version while an alias shares them out.
    #[param(rename = "Nocti-Routing-Key", nullable = false)]
    routing_key: Option<String>,
}
