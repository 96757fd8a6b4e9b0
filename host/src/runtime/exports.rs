//! What a typed function exports, as Rust sees it: the types of `wit/` and the functions found in an instance.

use wasmtime::AsContextMut;
use wasmtime::component::{Instance, TypedFunc};

#[expect(missing_docs, reason = "generated from wit/")]
pub mod bindings {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "nocti:function/model",
        exports: { default: async },
        with: { "wasi:nn": crate::nn::wit::bindings },
    });
}

pub(super) use bindings::nocti::function::types;

type Export = TypedFunc<(types::Request,), (Result<Vec<(String, types::Value)>, types::Error>,)>;

/// A typed function's exports in a running instance.
#[derive(Clone, Copy)]
pub(super) struct TypedExports {
    pub(super) predict: Export,
    pub(super) explain: Option<Export>,
}

impl TypedExports {
    /// Finds the exports; `predict` was seen to be there when the component was loaded.
    pub(super) fn find(mut store: impl AsContextMut, instance: &Instance) -> wasmtime::Result<Self> {
        let mut find = |interface: &str, function: &str| -> wasmtime::Result<Option<Export>> {
            let Some(interface) = instance.get_export_index(&mut store, None, interface) else { return Ok(None) };
            let Some(function) = instance.get_export_index(&mut store, Some(&interface), function) else {
                return Ok(None);
            };
            instance.get_typed_func(&mut store, function).map(Some)
        };
        let predict = find("nocti:function/predictor@0.1.0", "predict")?;
        let predict = predict.ok_or_else(|| wasmtime::format_err!("it does not export `predict`"))?;
        Ok(Self { predict, explain: find("nocti:function/explainer@0.1.0", "explain")? })
    }
}
