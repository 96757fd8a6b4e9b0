//! A folder's `nocti.toml`.

use std::path::Path;

use nocti::registry::nocti_toml::Project;

use crate::memory::bounded;

/// TOML's reader keeps where every value is, and a mistake may be said of each of them.
fn most_bytes(file_bytes: usize) -> usize {
    1024 * file_bytes + (64 << 10)
}

/// The bytes are the file.
pub fn project(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    bounded(most_bytes(text.len()), || match Project::parse(Path::new("/project"), text) {
        Ok(project) => {
            // Its files are not there; all else is checked.
            let named = project.models.len() + project.assets.len() + usize::from(project.component.is_some());
            assert!(named > 0, "a function is made of something");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    });
}
