//! Write a model function for Nocti: a struct, its `init`, its `predict`.
//!
//! ```
//! use nocti_sdk::prelude::*;
//!
//! struct Digits {
//!     model: Model,
//! }
//!
//! impl Function for Digits {
//!     fn init() -> Result<Self> {
//!         Ok(Self { model: Model::load("digits")? })
//!     }
//!
//!     fn predict(&mut self, mut request: Request) -> Result<Values> {
//!         let image: Tensor<u8> = request.take("image")?;
//!         let [count, height, width] = image.dims()?;
//!         let pixels = image.map(|ink| f32::from(ink) / 255.0).reshape([count, 1, height, width])?;
//!         let outputs = self.model.run([("image", pixels)])?;
//!         Ok(outputs)
//!     }
//! }
//!
//! nocti_sdk::export!(Digits);
//! ```
//!
//! Build it as a `cdylib` for `wasm32-wasip2`; the result is a component that `nocti build` makes a bundle of.
//!
//! Tensors stay with the host until [`Tensor::data`] or something that needs it is called: one that goes from the request
//! into a [`Model`], or from a model into the answer, never moves its bytes. Errors carry who is to blame and become the
//! right status: see [`Error`]. Everything but [`Model`] works natively as well, so `predict` can be taken apart and its
//! pieces tested with `cargo test`.
//!
//! This crate knows nothing of HTTP, bundles or the host's insides. A function that answers raw HTTP needs no `export!`;
//! it may still use [`Model`].

mod ahead;
pub mod assets;
pub mod bindings;
mod element;
mod entry;
mod error;
mod function;
mod model;
mod parameters;
mod request;
mod tensor;
mod text;
mod value;
mod values;

pub use element::{Datatype, Element};
pub use error::{Error, Result};
pub use function::{Explainer, Function, Slot};
pub use half::{bf16, f16};
pub use model::{ErrorCode, Model, ModelError};
pub use parameters::{FromParameter, Parameter, Parameters};
pub use request::Request;
pub use tensor::{ShapeError, Tensor};
pub use text::{Bytes, Text};
pub use value::{FromValue, Value};
pub use values::{TakeError, Values};

/// What a function usually needs, for `use nocti_sdk::prelude::*`.
pub mod prelude {
    pub use crate::{
        Bytes, Error, Explainer, Function, Model, Parameters, Request, Result, Tensor, Text, Value, Values, assets,
    };
}

/// Makes a [`Function`] the component's answer to requests: `export!(Digits)`. Once per component, at the top of its crate.
///
/// What else it can do follows: `export!(Digits, explainer)` for one that is an [`Explainer`] too; `export!(Digits, init)`
/// to have [`Function::init`] run when the bundle is built, so that every instance begins with what it made.
#[macro_export]
macro_rules! export {
    ($function:ident $(, $more:ident)*) => {
        const _: () = {
            $crate::__export_slot!($function);
            $crate::__export_predictor!($function);
            $($crate::__export_more!($more);)*
        };
    };
}

/// The component's one instance of the function, and the type that the bindings are implemented for.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_slot {
    ($function:ident) => {
        struct Exported;

        ::std::thread_local! {
            static FUNCTION: $crate::Slot<$function> = const { $crate::Slot::new() };
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_predictor {
    ($function:ident) => {
        impl $crate::bindings::model::exports::nocti::function::predictor::Guest for Exported {
            fn predict(
                request: $crate::bindings::types::Request,
            ) -> ::core::result::Result<
                ::std::vec::Vec<$crate::bindings::types::NamedValue>,
                $crate::bindings::types::Error,
            > {
                FUNCTION.with(|slot| slot.predict(request))
            }
        }
        #[cfg(target_family = "wasm")]
        $crate::bindings::model::export_predictor!(Exported with_types_in $crate::bindings::model);
        // Native linkers do not take the names a component exports, so elsewhere it is only made sure that all is there.
        #[cfg(not(target_family = "wasm"))]
        const _: () = {
            let _ = <Exported as $crate::bindings::model::exports::nocti::function::predictor::Guest>::predict;
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_more {
    (explainer) => {
        impl $crate::bindings::explainer::exports::nocti::function::explainer::Guest for Exported {
            fn explain(
                request: $crate::bindings::types::Request,
            ) -> ::core::result::Result<
                ::std::vec::Vec<$crate::bindings::types::NamedValue>,
                $crate::bindings::types::Error,
            > {
                FUNCTION.with(|slot| slot.explain(request))
            }
        }
        #[cfg(target_family = "wasm")]
        $crate::bindings::explainer::export_explainer!(Exported with_types_in $crate::bindings::explainer);
        // Native linkers do not take the names a component exports, so elsewhere it is only made sure that all is there.
        #[cfg(not(target_family = "wasm"))]
        const _: () = {
            let _ = <Exported as $crate::bindings::explainer::exports::nocti::function::explainer::Guest>::explain;
        };
    };
    (init) => {
        impl $crate::bindings::initializer::Guest for Exported {
            fn init() -> ::core::result::Result<(), ::std::string::String> {
                FUNCTION.with(|slot| slot.init())
            }
        }
        #[cfg(target_family = "wasm")]
        $crate::bindings::initializer::export_initializer!(Exported with_types_in $crate::bindings::initializer);
        // Native linkers do not take the names a component exports, so elsewhere it is only made sure that all is there.
        #[cfg(not(target_family = "wasm"))]
        const _: () = {
            let _ = <Exported as $crate::bindings::initializer::Guest>::init;
        };
    };
}
