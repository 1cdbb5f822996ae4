//! The loaded models of an engine, from which replicas are made: each worker has one replica of every model. Replicas share the
//! weights, so a further replica costs little memory and time. A thread that replaces a lost one opens all models again.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

use crate::error::{Error, Result};
use crate::executor::{LoadControl, Prepared};
use crate::lock::lock;
use crate::text::ModelText;

use super::breaker::Circuit;
use super::budget::Reservation;
use super::command::{Loading, Opened, Reply};
use super::ids::ModelKey;
use super::labels::ModelLabel;
use super::loads::ActiveLoad;

/// See the module.
#[derive(Default)]
pub(super) struct Replicas(Mutex<BTreeMap<ModelKey, Model>>);

/// A model whose weights are in memory. Fields are dropped in this order.
pub(super) struct Model {
    pub(super) prepared: Box<dyn Prepared>,
    /// Memory of the weights.
    pub(super) reservation: Arc<Reservation>,
    pub(super) label: ModelLabel,
    pub(super) text: Arc<ModelText>,
    /// Fingerprint of the folder's files.
    pub(super) files: [u8; 32],
    pub(super) coming: Arc<AtomicUsize>,
    pub(super) circuit: Arc<Circuit>,
}

impl Replicas {
    /// Keeps a model, and returns a load of it for each reply.
    pub(super) fn add(
        &self,
        key: ModelKey,
        model: Model,
        active: ActiveLoad,
        replies: Vec<Reply<Opened>>,
    ) -> Vec<Loading> {
        let (control, active) = (active.control.clone(), Arc::new(active));
        let loadings: Vec<_> = replies
            .into_iter()
            .map(|reply| model.loading(key, control.clone(), Some(Arc::clone(&active)), reply))
            .collect();
        drop(active);
        // Inserted before errors are sent: the reply to a failed load removes the model.
        lock(&self.0).insert(key, model);
        loadings.into_iter().filter_map(sent).collect()
    }

    /// Forgets a model. Its weights are free when no worker has it any more.
    pub(super) fn remove(&self, key: ModelKey) {
        // Dropped after the lock is released: it may free the weights.
        let model = lock(&self.0).remove(&key);
        drop(model);
    }

    /// Forgets all models.
    pub(super) fn clear(&self) {
        let models = std::mem::take(&mut *lock(&self.0));
        drop(models);
    }

    /// A load of every model, for a new thread of a worker.
    pub(super) fn all(&self) -> Vec<Loading> {
        let models = lock(&self.0);
        let failed = |error: &Error| tracing::error!(target: "mlx_serving::engine", %error, "a replica failed");
        let reply = || Reply::new(move |opened: Result<Opened>| drop(opened.inspect_err(failed)));
        let loading = |(key, model): (&ModelKey, &Model)| model.loading(*key, LoadControl::default(), None, reply());
        models.iter().map(loading).filter_map(sent).collect()
    }
}

impl Model {
    /// A load of this model. If no replica can be made: the error, and the reply to send it to.
    fn loading(
        &self,
        key: ModelKey,
        control: LoadControl,
        active: Option<Arc<ActiveLoad>>,
        reply: Reply<Opened>,
    ) -> std::result::Result<Loading, (Error, Reply<Opened>)> {
        let Self { prepared, reservation, label, text, files, coming, circuit } = self;
        let prepared = match prepared.replica() {
            Ok(prepared) => prepared,
            Err(error) => return Err((error, reply)),
        };
        Ok(Loading {
            prepared,
            reservation: Arc::clone(reservation),
            control,
            active,
            key,
            label: *label,
            text: Arc::clone(text),
            files: *files,
            coming: Arc::clone(coming),
            circuit: Arc::clone(circuit),
            reply,
        })
    }
}

/// Returns the load. If there is none, sends the error to the reply.
fn sent(loading: std::result::Result<Loading, (Error, Reply<Opened>)>) -> Option<Loading> {
    loading.map_err(|(error, reply)| reply.send(Err(error))).ok()
}
