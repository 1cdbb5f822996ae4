//! Stops the engines of a process or worker that ends without closing them. A step that runs while its libraries are torn
//! down may hang or crash the process, so the engine thread is joined before that. There are three ways to end:
//!
//! 1. `process.exit()` and the natural end of the main thread: lib/ listens to `exit` and calls `stop()`.
//! 2. A worker that ends, or is terminated: Node runs environment cleanup hooks, the latest first, so this hook runs
//!    before the wake function is released. Node does not run the hooks on `process.exit()` of the main thread.
//! 3. `exit()` without the listener and the hooks, for example from native code or after the listener was removed: libc's
//!    `atexit`, the last resort.

use std::sync::{Arc, Mutex, Weak};

use napi::Env;

use super::slot::Slot;
use crate::lock::lock;
use crate::panics;

/// Engines of all environments of this process.
static LIVE: Mutex<Vec<Weak<Slot>>> = Mutex::new(Vec::new());

/// Registers an engine: it is stopped when its environment ends, and with [`before_libraries`] when its process ends.
pub(super) fn stop_at_exit(env: Env, slot: &Arc<Slot>) -> napi::Result<()> {
    let mut live = lock(&LIVE);
    live.retain(|slot| slot.strong_count() > 0);
    live.push(Arc::downgrade(slot));
    env.add_env_cleanup_hook(Arc::downgrade(slot), |slot| stop(&slot))?;
    Ok(())
}

/// Registers `atexit`, which stops all engines. Exit handlers run in reverse order, so this one runs before the handlers
/// that libraries have registered so far. Hence it is called for each engine, once its backend is open.
#[expect(unsafe_code, reason = "atexit is a C function")]
pub(super) fn before_libraries() {
    // SAFETY: the callback is a plain function. It does not unwind, and uses only static data that is never torn down. If
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
        // A C callback must not unwind. A panic here only means that the engine thread has ended already.
        drop(panics::catch(|| engine.stop()));
    }
}
