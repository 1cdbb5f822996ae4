//! Loads without load threads: models prepared on simulated devices, for the engine thread.

use std::sync::Arc;
use std::time::Instant;

use crate::engine::breaker::Circuit;
use crate::engine::budget::Ledger;
use crate::engine::command::{Loading, Opened, Reply};
use crate::engine::ids::ModelKey;
use crate::engine::labels::ModelLabel;
use crate::engine::loads::Loads;
use crate::executor::sim::SimBackend;
use crate::executor::{Backend, LoadControl};
use crate::hub::ModelFolder;
use crate::text::ModelText;

/// One device for each model that will be loaded, in reverse order.
pub(super) struct Loader {
    pub(super) devices: Vec<SimBackend>,
    ledger: Arc<Ledger>,
    loads: Arc<Loads>,
}

impl Loader {
    pub(super) fn new(devices: Vec<SimBackend>, ledger: Arc<Ledger>) -> Self {
        Self { devices, ledger, loads: Arc::default() }
    }

    /// A model on the next device.
    pub(super) fn loading(
        &mut self,
        (key, label): (ModelKey, ModelLabel),
        (folder, text): &(ModelFolder, Arc<ModelText>),
        reply: Reply<Opened>,
    ) -> Loading {
        let backend = self.devices.pop().expect("no more models than devices");
        let active = self.loads.begin(LoadControl::default()).expect("the engine is open");
        let needed = |free| backend.weight_bytes(folder, free);
        let (reservation, free) = self.ledger.reserve(&active.control, needed).expect("memory");
        let prepared = backend.prepare(folder, free, &active.control).expect("a model");
        let (files, coming, circuit) = ([0; 32], Arc::default(), Circuit::new(Instant::now()));
        let (reservation, control) = (Arc::new(reservation), active.control.clone());
        let (text, active) = (Arc::clone(text), Some(Arc::new(active)));
        Loading { prepared, reservation, active, control, key, label, text, files, coming, circuit, reply }
    }

    /// Loads that have not ended.
    pub(super) fn loads_left(&self) -> usize {
        self.loads.num_active()
    }
}
