//! The three ways a process or worker can end without having closed its engines. Each stops and joins the engine thread
//! before the libraries it computes in are torn down: a step that is under way then may hang or crash the process.
//!
//! 1. `process.exit()` and the natural end of the main thread: lib/ listens to `exit` and calls `stop()`.
//! 2. A worker that ends, or is terminated: Node runs environment cleanup hooks, the latest first, so this one comes
//!    before the wake function goes. Node does not run them on `process.exit()` of the main thread.
//! 3. `exit()` with neither, as from native code or once somebody has taken the listener away: libc's `atexit`, the last
//!    resort.

use std::sync::{Arc, Mutex, Weak};

use napi::Env;

use super::slot::Slot;
use crate::lock::lock;

/// Engines of all environments of this process.
static LIVE: Mutex<Vec<Weak<Slot>>> = Mutex::new(Vec::new());

/// From now on the engine in this slot is stopped when its environment ends, and with [`before_libraries`] its process.
pub(super) fn stop_at_exit(env: Env, slot: &Arc<Slot>) -> napi::Result<()> {
    let mut live = lock(&LIVE);
    live.retain(|slot| slot.strong_count() > 0);
    live.push(Arc::downgrade(slot));
    env.add_env_cleanup_hook(Arc::downgrade(slot), |slot| stop(&slot))?;
    Ok(())
}

/// At exit all engines are stopped before what libraries have set up by now is torn down: that goes in the reverse order.
/// Hence called for each engine, once its backend is there.
#[expect(unsafe_code, reason = "atexit is a C function")]
pub(super) fn before_libraries() {
    // SAFETY: the callback is a plain function that neither unwinds nor needs anything that may be gone by then. Where
    // registering fails, the other two ways remain.
    unsafe { libc::atexit(stop_all) };
}

extern "C" fn stop_all() {
    let live = std::mem::take(&mut *lock(&LIVE));
    live.iter().for_each(stop);
}

fn stop(slot: &Weak<Slot>) {
    let engine = slot.upgrade().and_then(|slot| slot.get());
    if let Some(engine) = engine {
        // Nothing may unwind out of a C callback; a panic here would only mean that the thread is gone already.
        drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| engine.stop())));
    }
}
