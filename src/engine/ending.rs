//! Ends an engine: after its running requests (`shutdown`), at once (`stop`), or when its last handle is dropped.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::lock::lock;
use crate::prefix_store::Pending;

use super::Engine;
use super::command::{Command, Reply, closed};
use super::threads::ENGINES;

/// The time limit for writing KV to the disk at the end. KV that is not on the disk by then is computed again later.
const LAST_WRITES: Duration = Duration::from_secs(2);

fn last_writes() -> Pending {
    Pending::WriteUntil(Instant::now() + LAST_WRITES)
}

impl Engine {
    /// Refuses new requests at once, and aborts loads. Requests that still run after `drain` fail with `EngineClosed`.
    pub fn shutdown(self: &Arc<Self>, drain: Duration, reply: Reply<()>) {
        self.is_closed.store(true, Ordering::Release);
        self.loads.close(&closed());
        self.workers.end();
        let now = Instant::now();
        let at = now.checked_add(drain).unwrap_or_else(|| now + Duration::from_secs(u64::from(u32::MAX)));
        // If a thread has ended already, the dropped command replies with an error, which also means success here.
        let (saving, loads) = (Arc::clone(&self.saving), Arc::clone(&self.loads));
        let (engine, disk) = (Arc::clone(self), Arc::clone(&self.shared.disk));
        let ended = move |_| {
            engine.replicas.clear();
            for rules in std::mem::take(&mut *lock(&engine.models)).into_values() {
                engine.shared.stats.unloaded(rules.label);
            }
            saving.get().inspect(|saving| saving.finish());
            disk.get().inspect(|disk| disk.finish(last_writes()));
            loads.at_end(move || reply.send(Ok(())));
        };
        self.send_behind_accepted(Reply::new(ended), move |reply| Command::Shutdown(at, reply));
    }

    /// Ends the engine threads, and waits for them, for the steps that were submitted, and for loads that read weights. For a
    /// process that is exiting.
    pub fn stop(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.loads.close(&closed());
        self.workers.end();
        self.send(|| Command::Stop);
        self.workers.wait(false);
        self.replicas.clear();
        self.loads.leave_device();
        self.saving.get().inspect(|saving| saving.finish());
        self.shared.disk.get().inspect(|disk| disk.finish(last_writes()));
    }

    /// Sends each worker a command with a part of the reply, after every request accepted so far, including those that the text
    /// pool is still preparing.
    pub(super) fn send_behind_accepted(
        self: &Arc<Self>,
        reply: Reply<()>,
        command: impl Fn(Reply<()>) -> Command + Send + 'static,
    ) {
        let engine = Arc::clone(self);
        self.text.run_after_accepted(move || {
            let workers = engine.workers.open_ids();
            let replies = reply.split(workers.len());
            for (worker, reply) in workers.into_iter().zip(replies) {
                // A worker that has ended drops the command, which gives the reply.
                drop(engine.workers.send(worker, command(reply)));
            }
            engine.alarm.busy();
        });
    }
}

impl Drop for Engine {
    /// Ends the engine threads, and waits for them a while: the process may end next, and tears down the memory of the device. An
    /// engine thread that drops the last handle cannot wait for itself.
    fn drop(&mut self) {
        self.workers.end();
        self.send(|| Command::Stop);
        if !ENGINES.is_current() {
            self.workers.wait(true);
        }
        self.replicas.clear();
        self.alarm.end();
    }
}
