//! The raw bindings made from `wit/`, for what the rest of this crate does not cover. Here alone is generated code.

#![allow(missing_docs, clippy::all, clippy::restriction, reason = "generated code is not held to our lints")]

/// World `model`: the imports every function may use, and the export every typed function has.
pub mod model {
    wit_bindgen::generate!({
        world: "nocti:function/model",
        path: "../wit",
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_predictor",
        default_bindings_module: "nocti_sdk::bindings::model",
    });
}

/// The export that world `explained-model` has beside those of `model`. A world of its own because the bindings of a
/// world demand all its exports at once; wit-component unites the two in the finished component.
pub mod explainer {
    wit_bindgen::generate!({
        inline: "
            package nocti:sdk;
            world explainer {
                export nocti:function/explainer@0.1.0;
            }
        ",
        path: "../wit",
        with: {
            "wasi:nn/tensor@0.2.0-rc-2024-10-28": crate::bindings::model::wasi::nn::tensor,
            "nocti:function/types@0.1.0": crate::bindings::model::nocti::function::types,
            "nocti:function/explainer@0.1.0": generate,
        },
        pub_export_macro: true,
        export_macro_name: "export_explainer",
        default_bindings_module: "nocti_sdk::bindings::explainer",
    });
}

/// The export that world `initialised-model` has beside those of `model`.
pub mod initializer {
    wit_bindgen::generate!({
        inline: "
            package nocti:sdk;
            world initializer {
                export init: func() -> result<_, string>;
            }
        ",
        pub_export_macro: true,
        export_macro_name: "export_initializer",
        default_bindings_module: "nocti_sdk::bindings::initializer",
    });
}

pub use model::nocti::function::types;
pub use model::wasi::nn;
