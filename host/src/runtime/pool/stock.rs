//! Instances that are always to be there: made again when they have gone.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::runtime::Handle;

use super::{Idle, Pool};
use crate::runtime::RuntimeError;

/// Between two looks whether there is room for them.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

impl Pool {
    /// Has as many instances made as are always to be there, one after another; where there is no room, when there is.
    pub fn restock(self: &Arc<Self>) {
        self.restock_after(Duration::ZERO);
    }

    pub(super) fn restock_after(self: &Arc<Self>, pause: Duration) {
        let mut idle = self.idle();
        if idle.restocking || !self.lacks(&idle) {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        idle.restocking = true;
        let pool = Arc::downgrade(self);
        runtime.spawn(async move {
            tokio::time::sleep(pause).await;
            while let Some(pool) = pool.upgrade() {
                match pool.start().await {
                    Ok(instance) => drop(pool.keep(pool.idle(), instance)),
                    Err(RuntimeError::NoRoom) => {
                        drop(pool);
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                    // The next request sees why.
                    Err(_) => return pool.idle().restocking = false,
                }
                let mut idle = pool.idle();
                if !pool.lacks(&idle) {
                    idle.restocking = false;
                    return;
                }
            }
        });
    }

    /// Whether there are fewer than are always to be there.
    fn lacks(&self, idle: &Idle) -> bool {
        idle.instances.len() + idle.coming + self.busy.load(Ordering::Relaxed) < self.policy.min_warm
    }
}
