//! Which values of `createEngine` the options take.

use proptest::prelude::*;

use super::*;

/// Any number, with special values often.
fn any_number() -> impl Strategy<Value = f64> {
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.0, -1.0, 0.5, 1.0, 1e300, 9_007_199_254_740_992.0];
    prop_oneof![prop::sample::select(odd.to_vec()), prop::num::f64::ANY, -10.0..100.0, (0..100_u32).prop_map(f64::from)]
}

fn any_option() -> impl Strategy<Value = &'static EngineOption> {
    prop::sample::select(OPTIONS.iter().collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_number_is_taken_or_refused_by_name(option in any_option(), number in any_number()) {
        let mut settings = Settings::default();
        let is_taken = option.store(Value::Number(number), &mut settings);
        let is_whole_or_may_be_any = number.fract() == 0.0 || !option.allowed().contains("whole");
        let is_in_range = option.range().is_some_and(|range| number >= range.min && number <= range.max);
        prop_assert_eq!(is_taken, is_in_range && is_whole_or_may_be_any);
        if !is_taken {
            prop_assert_eq!(&settings, &Settings::default());
            let error = refused(with_options(&[(option.path, Value::Number(number))]));
            prop_assert_eq!(error.param(), Some(option.path));
            prop_assert!(error.message().contains(&option.allowed()), "{}", error);
            prop_assert!(error.message().len() < 160, "{}", error);
        }
    }
}

#[test]
fn a_range_includes_both_ends_and_excludes_their_neighbours() {
    for option in OPTIONS {
        let Some(range) = option.range() else { continue };
        let step = if option.allowed().contains("whole") {
            |_| 1.0
        } else {
            |end: f64| (end * f64::EPSILON).max(f64::MIN_POSITIVE)
        };
        let mut settings = Settings::default();
        for inside in [range.min, range.max] {
            assert!(option.store(Value::Number(inside), &mut settings), "{} = {inside}", option.path);
        }
        for outside in [range.min - step(range.min), range.max + step(range.max)] {
            assert!(!option.store(Value::Number(outside), &mut settings), "{} = {outside}", option.path);
        }
    }
}

#[test]
fn a_switch_refuses_a_number_and_a_number_refuses_a_switch() {
    let error = refused(with_options(&[("scheduler.fastPath", Value::Number(1.0))]));
    assert_eq!(error.message(), "`scheduler.fastPath` must be true or false, not 1");
    let error = refused(with_options(&[("scheduler.batchSize", Value::Switch(true))]));
    assert_eq!(error.message(), "`scheduler.batchSize` must be a whole number from 1 to 64, not true");
    assert_eq!(error.limit(), None);
}

#[test]
fn an_error_has_the_limit_that_was_broken() {
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
    let resolved = with_options(&[("scheduler.windowMs", Value::Number(0.75))]).expect("the value is in range");
    assert_eq!(resolved.settings.scheduler.window.as_nanos(), 750_000);
}
