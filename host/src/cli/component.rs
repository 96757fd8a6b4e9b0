//! What a component is, told from its binary: its kind, its exports, and imports that no host has.
//!
//! Reads only the outermost imports and exports; never compiles or runs anything. The host links every component it is
//! given and has the last word: this is what can be said before, with the author still at the keyboard.

use anyhow::{Context, bail};
use wasmparser::{Encoding, Parser, Payload, Validator, WasmFeatures};

use crate::registry::revision::FunctionKind;

/// What a host offers, as interfaces and versions; a version that ends in a dot stands for all that begin with it.
const OFFERED: [(&str, &[&str], &[&str]); 10] = [
    (
        "wasi:cli",
        &[
            "environment",
            "exit",
            "stdin",
            "stdout",
            "stderr",
            "terminal-input",
            "terminal-output",
            "terminal-stdin",
            "terminal-stdout",
            "terminal-stderr",
            "types",
        ],
        WASI,
    ),
    ("wasi:clocks", &["monotonic-clock", "wall-clock", "system-clock", "types"], WASI),
    ("wasi:filesystem", &["types", "preopens"], WASI),
    ("wasi:io", &["error", "poll", "streams"], &["0.2."]),
    ("wasi:random", &["random", "insecure", "insecure-seed"], WASI),
    (
        "wasi:sockets",
        &[
            "instance-network",
            "ip-name-lookup",
            "network",
            "tcp",
            "tcp-create-socket",
            "types",
            "udp",
            "udp-create-socket",
        ],
        WASI,
    ),
    ("wasi:http", &["types", "outgoing-handler", "client"], WASI),
    ("wasi:config", &["store"], &["0.2.0-rc.1"]),
    ("wasi:nn", &["tensor", "graph", "inference", "errors"], &["0.2.0-rc-2024-10-28", "0.2.0-rc-2024-08-19"]),
    ("nocti:function", &["types", "concurrent"], &["0.1."]),
];

const WASI: &[&str] = &["0.2.", "0.3."];
const PREDICTOR: &str = "nocti:function/predictor@0.1.";
const HTTP_HANDLERS: [&str; 2] = ["wasi:http/incoming-handler@0.2.", "wasi:http/handler@0.3."];

/// The outside of a component.
#[derive(Debug, Default)]
pub(crate) struct Component {
    pub(crate) exports: Vec<String>,
    pub(crate) imports: Vec<String>,
}

impl Component {
    /// Reads a component and makes sure that all of it is valid WebAssembly.
    pub(crate) fn read(bytes: &[u8]) -> anyhow::Result<Self> {
        let invalid = "the component is not valid WebAssembly";
        Validator::new_with_features(WasmFeatures::all()).validate_all(bytes).context(invalid)?;
        let mut component = Self::default();
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(bytes) {
            match payload.context(invalid)? {
                Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => {
                    bail!("this is a core module, not a component: build it with --target wasm32-wasip2");
                }
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(imports) if depth == 0 => {
                    for import in imports {
                        component.imports.push(import.context(invalid)?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(exports) if depth == 0 => {
                    for export in exports {
                        component.exports.push(export.context(invalid)?.name.name.to_owned());
                    }
                }
                _ => {}
            }
        }
        Ok(component)
    }

    /// How a function made of it answers; `None` where it exports nothing that a host could call.
    pub(crate) fn kind(&self) -> Option<FunctionKind> {
        let exports = |prefix: &str| self.exports.iter().any(|name| name.starts_with(prefix));
        match (exports(PREDICTOR), HTTP_HANDLERS.into_iter().any(exports)) {
            (true, _) => Some(FunctionKind::Typed),
            (false, true) => Some(FunctionKind::Http),
            (false, false) => None,
        }
    }

    /// The imports that a host does not have.
    pub(crate) fn lacking(&self) -> Vec<&str> {
        self.imports.iter().map(String::as_str).filter(|import| !is_offered(import)).collect()
    }

    /// The kind, if a host could run it.
    pub(crate) fn check(&self) -> anyhow::Result<FunctionKind> {
        let Some(kind) = self.kind() else {
            let exports = match self.exports.as_slice() {
                [] => "nothing".to_owned(),
                exports => exports.join(", "),
            };
            let hint = if self.exports.iter().any(|name| name.starts_with("wasi:cli/run@")) {
                "; it is a program: make it a library (crate-type = [\"cdylib\"]) that exports one of these"
            } else {
                ""
            };
            bail!(
                "the component exports {exports}; a function exports nocti:function/predictor@0.1.0 (`nocti_sdk::export!`), \
                 wasi:http/incoming-handler@0.2 or wasi:http/handler@0.3{hint}"
            );
        };
        match self.lacking().as_slice() {
            [] => Ok(kind),
            lacking => bail!("the component imports what the host does not have: {}", lacking.join(", ")),
        }
    }
}

fn is_offered(import: &str) -> bool {
    let Some((name, version)) = import.split_once('@') else {
        return false;
    };
    let Some((package, interface)) = name.split_once('/') else {
        return false;
    };
    OFFERED.iter().any(|(offered, interfaces, versions)| {
        let fits = |wanted: &&str| {
            if wanted.ends_with('.') {
                // A release candidate of another version is another interface.
                version.starts_with(wanted) && !version.contains('-')
            } else {
                version == *wanted
            }
        };
        *offered == package && interfaces.contains(&interface) && versions.iter().any(fits)
    })
}

#[cfg(test)]
mod tests {
    use wasm_encoder::{
        Component as Encoded, ComponentExportKind, ComponentExportSection, ComponentImportSection, ComponentTypeRef,
        ComponentTypeSection, InstanceType,
    };

    use super::*;

    /// A component that passes on each import as the export at the same place.
    fn component(imports: &[&str], exports: &[&str]) -> Vec<u8> {
        let mut types = ComponentTypeSection::new();
        types.instance(&InstanceType::new());
        let mut import_section = ComponentImportSection::new();
        for import in imports {
            import_section.import(*import, ComponentTypeRef::Instance(0));
        }
        let mut export_section = ComponentExportSection::new();
        for (index, export) in (0..).zip(exports) {
            export_section.export(*export, ComponentExportKind::Instance, index, None);
        }
        let mut component = Encoded::new();
        component.section(&types).section(&import_section).section(&export_section);
        component.finish()
    }

    fn read(imports: &[&str], exports: &[&str]) -> Component {
        Component::read(&component(imports, exports)).expect("valid")
    }

    #[test]
    fn kinds_are_told_by_exports() {
        let http = read(&["wasi:http/types@0.2.3"], &["wasi:http/incoming-handler@0.2.3"]);
        assert_eq!(http.check().expect("runnable"), FunctionKind::Http);
        let http = read(&["wasi:http/types@0.3.2"], &["wasi:http/handler@0.3.2"]);
        assert_eq!(http.check().expect("runnable"), FunctionKind::Http);
        let typed = read(&["wasi:nn/graph@0.2.0-rc-2024-10-28"], &["nocti:function/predictor@0.1.0"]);
        assert_eq!(typed.check().expect("runnable"), FunctionKind::Typed);
    }

    #[test]
    fn a_component_that_exports_nothing_useful_is_told_what_is_needed() {
        let said = |exports: &[&str]| {
            let error = read(&["wasi:cli/environment@0.2.0"], exports).check();
            error.expect_err("not runnable").to_string()
        };
        assert!(
            said(&[]).starts_with("the component exports nothing; a function exports nocti:function/predictor@0.1.0")
        );
        assert!(said(&["wasi:cli/run@0.2.0"]).contains("it is a program"));
        assert!(said(&["wasi:http/handler@0.4.0"]).contains("wasi:http/incoming-handler@0.2 or wasi:http/handler@0.3"));
    }

    #[test]
    fn imports_that_no_host_has_are_named() {
        let imports = [
            "wasi:cli/environment@0.2.9",
            "wasi:cli/environment@0.4.0",
            "wasi:keyvalue/store@0.2.0-draft",
            "wasi:nn/tensor@0.2.0-rc-2024-06-25",
            "acme:secrets/vault",
        ];
        let component = read(&imports, &["wasi:http/incoming-handler@0.2.0"]);
        assert_eq!(component.lacking(), imports[1..]);
        let error = component.check().expect_err("not runnable").to_string();
        assert!(error.contains("wasi:keyvalue/store@0.2.0-draft, wasi:nn/tensor@0.2.0-rc-2024-06-25"), "{error}");
    }

    #[test]
    fn damaged_components_and_core_modules_are_refused() {
        let whole = component(&["wasi:cli/environment@0.2.0"], &["wasi:http/incoming-handler@0.2.0"]);
        assert!(Component::read(&whole[..whole.len() - 3]).is_err());
        let error = Component::read(b"\0asm\x01\0\0\0").expect_err("a core module").to_string();
        assert!(error.contains("core module"), "{error}");
    }
}
