//! Several engine threads on a real device: they share the weights, and one that hangs is replaced.

use std::time::Duration;

use mlx_serving::config::{Routing, Workers};
use mlx_serving::engine::Config;

use super::super::support::with_rows;
use super::faults::{At, Fault, How};
use super::paths::{PATHS, assert_same};

fn workers(count: usize) -> Config {
    let workers = Workers { count, routing: Routing::LeastBusy, sticky: true, replace_stuck: true };
    // Longer than a step takes on a busy machine.
    Config { workers, stuck_after: Duration::from_secs(1), ..with_rows(4) }
}

#[test]
fn answers_of_several_workers_are_those_of_one() {
    for path in PATHS {
        let served = path.serve(&workers(3));
        for _ in 0..2 {
            assert_same(path, &path.alone(), &served.together(&path.short(&served)));
        }
        assert!(served.caller.engine.sample().workers.iter().all(|worker| worker.load.num_requests > 0), "{path:?}");
        served.is_idle_and_empty();
    }
}

#[test]
fn the_requests_of_a_worker_that_hangs_are_answered_by_its_next_thread() {
    for path in PATHS {
        let stall = Fault { step: 9, at: At::Collect, how: How::Stall(Duration::from_secs(6)) };
        let served = path.serve_failing(&workers(1), vec![stall]);
        assert_same(path, &path.alone(), &served.together(&path.short(&served)));
        let num_restarts = served.caller.engine.sample().workers[0].num_restarts;
        assert_eq!(num_restarts, 1, "{path:?}");
        assert_same(path, &path.alone(), &served.together(&path.short(&served)));
    }
}
