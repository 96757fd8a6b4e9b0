//! The bundle's assets: files that the manifest's `[assets]` names, read-only under `/assets`.

use std::path::Path;

use crate::{Error, Result};

/// Where the host shows them.
const FOLDER: &str = "/assets";

/// Reads an asset: `assets::read("tokenizer.json")?`.
///
/// # Errors
/// The bundle has no such asset: the function's own fault.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<u8>> {
    let path = path.as_ref();
    std::fs::read(Path::new(FOLDER).join(path))
        .map_err(|error| Error::internal(format_args!("cannot read the asset `{}`: {error}", path.display())))
}

/// Reads an asset that is text.
///
/// # Errors
/// The bundle has no such asset, or it is not UTF-8: the function's own fault.
pub fn read_text(path: impl AsRef<Path>) -> Result<String> {
    let path = path.as_ref();
    String::from_utf8(read(path)?)
        .map_err(|error| Error::internal(format_args!("the asset `{}` is not text: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_asset_is_named() {
        let Err(Error::Internal(message)) = read("no-such-file.json") else {
            panic!("there is no such asset");
        };
        assert!(message.starts_with("cannot read the asset `no-such-file.json`: "), "{message}");
    }
}
