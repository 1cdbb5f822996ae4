//! Which values the knobs take as options.

use proptest::prelude::*;

use super::*;

/// Any number there is, the odd ones often.
fn any_number() -> impl Strategy<Value = f64> {
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.0, -1.0, 0.5, 1.0, 1e300, 9_007_199_254_740_992.0];
    prop_oneof![prop::sample::select(odd.to_vec()), prop::num::f64::ANY, -10.0..100.0, (0..100_u32).prop_map(f64::from)]
}

fn any_knob() -> impl Strategy<Value = &'static Knob> {
    prop::sample::select(KNOBS.iter().collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_number_is_taken_or_refused_by_name(knob in any_knob(), number in any_number()) {
        let mut settings = Settings::default();
        let is_taken = knob.store(Value::Number(number), &mut settings);
        let is_whole_or_may_be_any = number.fract() == 0.0 || !knob.allowed().contains("whole");
        let is_in_range = knob.range().is_some_and(|range| number >= range.min && number <= range.max);
        prop_assert_eq!(is_taken, is_in_range && is_whole_or_may_be_any);
        if !is_taken {
            prop_assert_eq!(&settings, &Settings::default());
            let error = refused(with_options(&[(knob.path, Value::Number(number))]));
            prop_assert_eq!(error.param(), Some(knob.path));
            prop_assert!(error.message().contains(&knob.allowed()), "{}", error);
            prop_assert!(error.message().len() < 160, "{}", error);
        }
    }
}

#[test]
fn both_ends_of_a_range_belong_to_it_and_their_neighbours_do_not() {
    for knob in KNOBS {
        let Some(range) = knob.range() else { continue };
        let step = if knob.allowed().contains("whole") { |_| 1.0 } else { |end: f64| end * f64::EPSILON };
        let mut settings = Settings::default();
        for inside in [range.min, range.max] {
            assert!(knob.store(Value::Number(inside), &mut settings), "{} = {inside}", knob.path);
        }
        for outside in [range.min - step(range.min), range.max + step(range.max)] {
            assert!(!knob.store(Value::Number(outside), &mut settings), "{} = {outside}", knob.path);
        }
    }
}

#[test]
fn a_switch_is_no_number_and_a_number_no_switch() {
    let error = refused(with_options(&[("scheduler.fastPath", Value::Number(1.0))]));
    assert_eq!(error.message(), "`scheduler.fastPath` must be true or false, not 1");
    let error = refused(with_options(&[("scheduler.batchSize", Value::Switch(true))]));
    assert_eq!(error.message(), "`scheduler.batchSize` must be a whole number from 1 to 64, not true");
    assert_eq!(error.limit(), None);
}

#[test]
fn a_refusal_says_the_limit_that_was_broken() {
    let below = refused(with_options(&[("scheduler.windowMs", Value::Number(0.1))]));
    assert_eq!(below.message(), "`scheduler.windowMs` must be a number of milliseconds from 0.5 to 5, not 0.1");
    assert_eq!((below.limit(), below.requested()), (Some(0.5), Some(0.1)));
    let above = refused(with_options(&[("scheduler.batchSize", Value::Number(1e300))]));
    assert_eq!(above.message(), "`scheduler.batchSize` must be a whole number from 1 to 64, not 1e300");
    assert_eq!((above.limit(), above.requested()), (Some(64.0), Some(1e300)));
    for number in [1.5, f64::NAN] {
        let neither = refused(with_options(&[("scheduler.batchSize", Value::Number(number))]));
        assert_eq!((neither.limit(), neither.requested()), (None, None));
    }
}

#[test]
fn durations_are_exact_to_the_nanosecond() {
    let resolved = with_options(&[("scheduler.windowMs", Value::Number(0.75))]).expect("it is in range");
    assert_eq!(resolved.settings.scheduler.window.as_nanos(), 750_000);
}
