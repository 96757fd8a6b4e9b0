//! Making room for a model: those that were used least lately are unloaded, with all versions that use them.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use tokio::time::Instant;

use super::slot::Slot;
use super::{Kind, Live, Slots};
use crate::nn::device::Target;
use crate::runtime::pool::{Keep, Pool};

/// A session, and who has it loaded.
struct Loaded {
    bytes: u64,
    /// By the latest of its users.
    used_at: Instant,
    /// One of its users is at work, or keeps instances warm: it stays.
    needed: bool,
    users: Vec<(Arc<Slot>, Weak<Live>)>,
}

/// Unloads models from a device until about so many bytes are free, or all that are left are needed; how many, and their bytes. The
/// memory comes back a moment later, with the last request that has one.
pub(super) fn unload(slots: &Slots, target: Target, bytes: u64) -> (u64, u64) {
    let mut unneeded: Vec<Loaded> = loaded(slots, target).into_values().filter(|session| !session.needed).collect();
    unneeded.sort_by_key(|session| session.used_at);
    let (mut freed, mut count) = (0, 0);
    for session in unneeded {
        if freed >= bytes {
            return (count, freed);
        }
        for (slot, live) in &session.users {
            let Some(live) = live.upgrade() else { continue };
            slot.let_go(&live);
            tracing::info!(function = %slot.version.label(), "unloaded: its memory is needed");
        }
        freed += session.bytes;
        count += 1;
    }
    if freed < bytes {
        // Idle instances may have models that their guests brought.
        pools(slots).iter().for_each(Pool::give_up_holders);
    }
    (count, freed)
}

/// Ends idle instances where the process has no room for more of them: some, since one is needed.
pub(super) fn give_up_instances(slots: &Slots, keep: Keep) {
    const SOME: usize = 16;
    let mut wanted = SOME;
    for pool in pools(slots) {
        wanted -= pool.give_up_idle(wanted, keep);
        if wanted == 0 {
            return;
        }
    }
}

fn pools(slots: &Slots) -> Vec<Arc<Pool>> {
    let slots: Vec<Arc<Slot>> = slots.iter().map(|slot| Arc::clone(&slot)).collect();
    let live = slots.iter().filter_map(|slot| slot.live.load_full());
    let pools = live.filter_map(|live| match &live.kind {
        Kind::ModelOnly(_) => None,
        Kind::Typed(pool) | Kind::Http(pool) => Some(Arc::clone(pool)),
    });
    pools.collect()
}

/// The sessions on a device, by where they are in memory.
fn loaded(slots: &Slots, target: Target) -> HashMap<usize, Loaded> {
    let mut sessions: HashMap<usize, Loaded> = HashMap::new();
    let slots: Vec<Arc<Slot>> = slots.iter().map(|slot| Arc::clone(&slot)).collect();
    for slot in slots {
        let Some(live) = slot.live.load_full() else { continue };
        let needed = live.in_use() || slot.stays();
        for model in live.models.values().filter(|model| model.session().device() == target) {
            let session = model.session();
            let known = sessions.entry(Arc::as_ptr(session).addr()).or_insert_with(|| Loaded {
                bytes: session.size_bytes(),
                used_at: slot.used_at(),
                needed: false,
                users: Vec::new(),
            });
            known.used_at = known.used_at.max(slot.used_at());
            known.needed |= needed;
            known.users.push((Arc::clone(&slot), Arc::downgrade(&live)));
        }
    }
    sessions
}
