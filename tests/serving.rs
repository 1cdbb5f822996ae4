//! Tests the parts of the serving benchmark, which is a program without a test harness: its figures and its simulation.

#[path = "../bench/serving/main.rs"]
#[expect(dead_code, reason = "a program: its entry and its list of cells are not run here")]
mod bench;

mod serving {
    mod ledger;
    mod original;
    mod random;
    mod simulation;
    mod statistics;
    mod traffic;
}
