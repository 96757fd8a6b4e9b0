//! What looks at all functions, in its turn: there may be very many.

use std::sync::Arc;

use crate::elsewhere::elsewhere;
use crate::host::Host;
use crate::http::respond::HttpError;
use crate::registry::catalog::Catalog;

/// Does what looks at all functions and gives its answer, when it is its turn. A host that is full of requests lists its functions still.
pub(super) async fn scan<T: Send + 'static>(
    host: &Arc<Host>,
    look: impl FnOnce(&Catalog) -> T + Send + 'static,
) -> Result<T, HttpError> {
    let turn = Arc::clone(&host.scanning).acquire_owned().await;
    let turn = turn.map_err(|_| HttpError::Internal("nobody gives turns any more".into()))?;
    let catalog = host.catalog.clone();
    let looked = elsewhere(true, move || {
        let found = look(&catalog);
        drop(turn);
        found
    });
    Ok(looked.await?)
}
