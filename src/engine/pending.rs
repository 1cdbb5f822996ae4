//! Counts the pending requests (accepted and not ended), and how many of them start before a new one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use crate::request::Priority;

/// What the expected wait of a request depends on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Caller {
    pub(super) priority: Priority,
    pub(super) tenant: Option<Arc<str>>,
    /// The request's deadline.
    pub(super) deadline: Option<Instant>,
}

/// Numbers of pending requests.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// By priority, for each tenant with pending requests.
    tenants: HashMap<Option<Arc<str>>, [usize; 3]>,
    by_priority: [usize; 3],
}

impl Pending {
    pub(super) fn add(&mut self, caller: &Caller, num_requests: usize) {
        let class = caller.priority as usize;
        self.by_priority[class] += num_requests;
        self.tenants.entry(caller.tenant.clone()).or_default()[class] += num_requests;
    }

    /// A pending request has ended.
    pub(super) fn remove(&mut self, caller: &Caller) {
        let class = caller.priority as usize;
        self.by_priority[class] = self.by_priority[class].saturating_sub(1);
        if let Some(own) = self.tenants.get_mut(&caller.tenant) {
            own[class] = own[class].saturating_sub(1);
            if own.iter().all(|&count| count == 0) {
                self.tenants.remove(&caller.tenant);
            }
        }
    }

    /// All pending requests.
    pub(super) fn count(&self) -> usize {
        self.by_priority.iter().sum()
    }

    /// Requests that start before a new one: those of the same or a higher priority. Tenants take turns, so a tenant with few
    /// requests does not wait for all requests of another.
    pub(super) fn ahead(&self, caller: &Caller) -> usize {
        let as_urgent = |counts: &[usize; 3]| counts[..=caller.priority as usize].iter().sum::<usize>();
        let own = self.tenants.get(&caller.tenant);
        let num_others = self.tenants.len() - usize::from(own.is_some());
        let by_turns = (own.map_or(0, as_urgent) + 1).saturating_mul(num_others + 1) - 1;
        as_urgent(&self.by_priority).min(by_turns)
    }
}
