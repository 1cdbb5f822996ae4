//! The requests of one priority that have not begun. Tenants get equal shares of tokens by start-time fair queueing (Goyal,
//! Vin and Cheng, 1996): each tenant has a start tag, the smallest one is next, and a tenant's tag rises by the tokens of its
//! requests. A request is charged by estimate when it starts, and the charge is corrected to the used tokens when it ends.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use crate::request::SequenceId;

/// Virtual time in tokens: the number that each tenant with a waiting request would have got from an ideal, equal division.
pub(super) type Tag = u64;

/// A request's place among the requests of its tenant: the order of arrival.
pub(super) type Place = (Instant, SequenceId);

type Tenant = Option<Arc<str>>;

/// Weight of a new answer in the mean length of its tenant's answers.
const ALPHA: f64 = 0.125;

#[derive(Debug, Default)]
pub(super) struct Shares {
    accounts: HashMap<Tenant, Account>,
    /// The first request of each tenant with requests, ordered by the tenant's tag.
    heads: BTreeSet<(Tag, SequenceId)>,
    /// The least tag of a tenant that had no waiting request and gets one.
    virtual_time: Tag,
    /// Above this number of accounts, idle accounts are removed.
    sweep_at: usize,
}

#[derive(Debug, Default)]
struct Account {
    waiting: BTreeSet<Place>,
    /// Start tag of the first waiting request.
    tag: Tag,
    /// Number of requests that were charged and are not settled.
    num_charged: usize,
    /// Mean number of tokens of the tenant's answers, once one has ended.
    mean_answer: Option<f64>,
}

/// The tokens that a request used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Used {
    /// Prompt tokens that were computed for the request, and tokens of its answer.
    pub(super) tokens: Tag,
    /// Tokens of its answer.
    pub(super) num_answer: usize,
}

impl Shares {
    /// Adds a request. A tenant without a waiting request starts at the virtual time: it gets no tokens for the past.
    pub(super) fn insert(&mut self, tenant: &Tenant, place: Place) {
        let begin = self.virtual_time;
        self.edit(tenant, |account| {
            if account.waiting.is_empty() {
                account.tag = account.tag.max(begin);
            }
            account.waiting.insert(place);
        });
    }

    /// Removes a request without a charge.
    pub(super) fn remove(&mut self, tenant: &Tenant, place: Place) {
        self.edit(tenant, |account| {
            account.waiting.remove(&place);
        });
    }

    /// The next request.
    pub(super) fn next(&self) -> Option<SequenceId> {
        self.heads.first().map(|&(_, id)| id)
    }

    /// Removes the next request of a tenant and charges the tokens that it is expected to need.
    ///
    /// Virtual time advances as if the tenants with a waiting request shared the tokens equally, and stays within their tags. So
    /// a later tenant starts neither before nor behind all of them.
    pub(super) fn charge(&mut self, tenant: &Tenant, place: Place, charge: Tag) {
        let (num_tenants, mut ends) = (self.heads.len().max(1) as u64, 0);
        self.edit(tenant, |account| {
            account.waiting.remove(&place);
            account.tag += charge;
            account.num_charged += 1;
            ends = account.tag;
        });
        let fair = self.virtual_time + charge / num_tenants;
        self.virtual_time = match (self.heads.first(), self.heads.last()) {
            (Some(&(least, _)), Some(&(most, _))) => fair.clamp(least, most),
            // No tenant waits, so the virtual time catches up with the tag of this tenant.
            _ => fair.max(ends),
        };
        self.sweep();
    }

    /// Mean number of tokens of a tenant's answers, once one has ended.
    pub(super) fn mean_answer(&self, tenant: &Tenant) -> Option<f64> {
        self.accounts.get(tenant)?.mean_answer
    }

    /// Replaces the charge of a request with the tokens that it used.
    pub(super) fn settle(&mut self, tenant: &Tenant, charged: Tag, used: Used) {
        if self.accounts.contains_key(tenant) {
            self.edit(tenant, |account| {
                account.tag = (account.tag + used.tokens).saturating_sub(charged);
                let (mean, last) = (account.mean_answer, used.num_answer as f64);
                account.mean_answer = Some(mean.map_or(last, |mean| mean + ALPHA * (last - mean)));
                account.num_charged = account.num_charged.saturating_sub(1);
            });
        }
    }

    #[cfg(test)]
    pub(super) fn num_accounts(&self) -> usize {
        self.accounts.len()
    }

    /// Changes the account of a tenant, and updates `heads`.
    fn edit(&mut self, tenant: &Tenant, change: impl FnOnce(&mut Account)) {
        if !self.accounts.contains_key(tenant) {
            self.accounts.insert(tenant.clone(), Account::default());
        }
        let Some(account) = self.accounts.get_mut(tenant) else { return };
        let before = account.head();
        change(account);
        let (head, is_idle) = (account.head(), account.is_idle(self.virtual_time));
        if is_idle {
            self.accounts.remove(tenant);
        }
        if before != head {
            if let Some(before) = before {
                self.heads.remove(&before);
            }
            self.heads.extend(head);
        }
    }

    /// Removes idle accounts each time the number of accounts has doubled.
    fn sweep(&mut self) {
        if self.accounts.len() > self.sweep_at {
            let virtual_time = self.virtual_time;
            self.accounts.retain(|_, account| !account.is_idle(virtual_time));
            self.sweep_at = 2 * self.accounts.len() + 16;
        }
    }
}

impl Account {
    fn head(&self) -> Option<(Tag, SequenceId)> {
        self.waiting.first().map(|&(_, id)| (self.tag, id))
    }

    /// Whether a new account would have the same effect.
    fn is_idle(&self, virtual_time: Tag) -> bool {
        self.waiting.is_empty() && self.num_charged == 0 && self.tag <= virtual_time
    }
}
