//! What the bodies of an inference look like, for the description of the API alone: `request` reads and `response` writes them
//! without such types.

use std::borrow::Cow;
use std::collections::BTreeMap;

use utoipa::openapi::schema::{AnyOfBuilder, ArrayBuilder, ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::tensor::Datatype;

/// A request for inference. Keys that are not known are skipped.
#[derive(ToSchema)]
pub struct InferRequest {
    /// Comes back with the answer.
    pub id: Option<String>,
    /// `binary_data_output: true` asks for all outputs as binary data; requests of the same `routing_key` go to the same version while
    /// traffic is shared out; the rest is handed on to the function.
    pub parameters: Option<BTreeMap<String, Parameter>>,
    /// No two of the same name.
    pub inputs: Vec<InferInput>,
    /// Those that are wanted; absent or empty: all of them.
    pub outputs: Option<Vec<RequestedOutput>>,
}

/// One input.
#[derive(ToSchema)]
pub struct InferInput {
    pub name: String,
    pub datatype: Datatype,
    #[schema(schema_with = shape)]
    pub shape: Vec<usize>,
    /// `binary_data_size` in place of `data`: the bytes follow the JSON. `content_type: "base64"`: the strings of BYTES are base64.
    pub parameters: Option<BTreeMap<String, Parameter>>,
    /// Absent where the parameter `binary_data_size` says that it follows the JSON.
    pub data: Option<TensorData>,
}

/// An output that is wanted.
#[derive(ToSchema)]
pub struct RequestedOutput {
    pub name: String,
    /// `binary_data: true`: as binary data. `classification: K`: its K largest elements, each as `value:index`.
    pub parameters: Option<BTreeMap<String, Parameter>>,
}

/// An answer.
#[derive(ToSchema)]
pub struct InferResponse {
    pub model_name: String,
    pub model_version: String,
    /// The request's own; absent where it had none.
    #[schema(nullable = false)]
    pub id: Option<String>,
    pub outputs: Vec<InferOutput>,
}

/// One output.
#[derive(ToSchema)]
pub struct InferOutput {
    pub name: String,
    pub datatype: Datatype,
    #[schema(schema_with = shape)]
    pub shape: Vec<usize>,
    /// Only with `binary_data_size`, where its bytes follow the JSON.
    #[schema(nullable = false)]
    pub parameters: Option<BTreeMap<String, Parameter>>,
    /// Flat and row-major; absent where it follows the JSON.
    #[schema(nullable = false)]
    pub data: Option<TensorData>,
}

/// A boolean, a number or a string.
pub struct Parameter;

/// Elements, flat or nested, row-major. NaN and infinities are the strings `NaN`, `Infinity` and `-Infinity`.
pub struct TensorData;

/// One of them, whichever it is.
fn scalar() -> SchemaType {
    SchemaType::from_iter([Type::Boolean, Type::Number, Type::String])
}

fn shape() -> Schema {
    let dim = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0));
    ArrayBuilder::new().items(dim).max_items(Some(crate::tensor::MAX_RANK)).into()
}

impl PartialSchema for Parameter {
    fn schema() -> RefOr<Schema> {
        let description = "A boolean, a number (an integer of 64 bits or a double) or a string.";
        ObjectBuilder::new().schema_type(scalar()).description(Some(description)).into()
    }
}

impl ToSchema for Parameter {}

impl PartialSchema for TensorData {
    fn schema() -> RefOr<Schema> {
        let element = ObjectBuilder::new().schema_type(scalar());
        let items = AnyOfBuilder::new().item(element).item(Ref::from_schema_name(Self::name()));
        let description =
            "Elements, flat or nested, row-major. NaN and infinities are the strings NaN, Infinity and -Infinity.";
        ArrayBuilder::new().items(items).description(Some(description)).into()
    }
}

impl ToSchema for TensorData {
    fn name() -> Cow<'static, str> {
        "TensorData".into()
    }
}

/// A two, as `digits` of the examples takes it.
pub const PICTURE: [[u8; 8]; 8] = [
    [0, 0, 159, 255, 128, 0, 0, 0],
    [0, 64, 255, 207, 255, 48, 0, 0],
    [0, 0, 191, 16, 175, 96, 0, 0],
    [0, 0, 0, 0, 191, 128, 0, 0],
    [0, 0, 0, 0, 223, 80, 0, 0],
    [0, 0, 0, 112, 255, 96, 64, 0],
    [0, 0, 80, 255, 255, 255, 255, 64],
    [0, 0, 175, 239, 143, 128, 96, 0],
];
