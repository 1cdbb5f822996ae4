//! Memory of KV that no sequence has stays within its part of the memory for KV.

use mlx_serving::executor::Executor;
use mlx_serving::executor::mlx::AttentionKind;
use mlx_serving::request::SamplingParams;

use super::against_itself::prompt;
use super::driver::{ANSWER, Driver, generate};
use super::folders::open;

/// One sequence kept a slab of 32 slots for as long as it ran.
#[test]
fn empty_slots_take_at_most_their_part_of_the_memory() {
    let mut executor = open("base", AttentionKind::Composed);
    let expected = generate(&mut executor, &prompt(20), SamplingParams::GREEDY);
    let unit = executor.limits().kv;
    let slot = unit.bytes_per_position * unit.block as u64;
    let share = unit.growth.spare_share.expect("slots without a sequence");
    executor.set_kv_bytes(share * 4 * slot);
    let mut driver = Driver::new(&mut executor);
    (0..20).for_each(|id| driver.add(id, &prompt(20), SamplingParams::GREEDY));
    driver.run(2);
    (0..19).for_each(|id| drop(driver.remove(id)));
    driver.run(ANSWER);
    driver.add(20, &prompt(20), SamplingParams::GREEDY);
    driver.run(1);
    assert_eq!(driver.remove(19), expected, "it has moved, and goes on");
    assert!(executor.kv_bytes() <= (2 + 4) * slot, "{} bytes, a slot takes {slot}", executor.kv_bytes());
}
