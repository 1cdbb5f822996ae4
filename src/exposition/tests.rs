//! The text of samples: names, types, labels, and values that a scraper reads.

use crate::engine::{LabelStats, LoadedStats, Sample, Snapshot, Tally, WorkerStats};

use super::families::FAMILIES;
use super::{off, text};

/// A sample of one model whose label has every character that must be escaped.
fn sample() -> Sample {
    let requests = Snapshot { submitted: 3, completed: 1, running: 2, ..Snapshot::default() };
    let mut tally = Tally::default();
    tally.loads.record(1_500_000_000);
    tally.figures.batch.record(3);
    tally.figures.batch.record(100);
    let loaded = Some(LoadedStats { weight_bytes: 7, ..LoadedStats::default() });
    let label = LabelStats { label: "a\"b\\c\nd".into(), requests, tally, loaded };
    Sample { labels: vec![label], workers: vec![WorkerStats::default(); 2], ..Sample::default() }
}

fn lines(sample: Sample, name: &str) -> Vec<String> {
    text(sample).lines().filter(|line| line.starts_with(name)).map(str::to_owned).collect()
}

#[test]
fn a_label_is_escaped() {
    let escaped = r#"{model="a\"b\\c\nd"}"#;
    assert_eq!(lines(sample(), "mlx_requests_submitted"), [format!("mlx_requests_submitted_total{escaped} 3")]);
    assert_eq!(lines(sample(), "mlx_model_resident_bytes"), [format!("mlx_model_resident_bytes{escaped} 7.0")]);
}

#[test]
fn a_histogram_has_cumulative_buckets_up_to_infinity() {
    let of = |suffix: &str, le: &str| format!(r#"mlx_batch_size_{suffix}{{{le}model="a\"b\\c\nd"}}"#);
    let bucket = |le: &str, count: u64| format!("{} {count}", of("bucket", &format!(r#"le="{le}","#)));
    let counts = [("1.0", 0), ("2.0", 0), ("4.0", 1), ("8.0", 1), ("16.0", 1), ("32.0", 1), ("64.0", 1), ("+Inf", 2)];
    let mut expected = vec![format!("{} 103.0", of("sum", "")), format!("{} 2", of("count", ""))];
    expected.extend(counts.map(|(le, count)| bucket(le, count)));
    assert_eq!(lines(sample(), "mlx_batch_size"), expected);
}

#[test]
fn each_family_is_described_once_and_the_text_ends_with_its_mark() {
    let text = text(sample());
    for family in FAMILIES {
        let described = |what: &str| text.matches(&format!("# {what} {} ", family.name)).count();
        let is_sparse = family.name == "mlx_request_errors";
        assert_eq!((described("HELP"), described("TYPE")), if is_sparse { (0, 0) } else { (1, 1) }, "{}", family.name);
        assert!(!family.help.contains(['\n', '\\']), "{}: help is not escaped", family.name);
        assert!(!family.name.ends_with("_total"), "{}: the encoder adds it", family.name);
    }
    assert!(text.ends_with("\n# EOF\n"));
}

#[test]
fn a_gauge_of_an_unloaded_model_is_absent_and_its_counters_stay() {
    let mut sample = sample();
    sample.labels[0].loaded = None;
    let text = text(sample);
    assert!(!text.contains("mlx_batch_limit") && !text.contains("mlx_model_resident_bytes"), "{text}");
    assert!(text.contains("mlx_requests_total{"), "{text}");
}

#[test]
fn without_export_the_text_is_one_gauge_and_the_reason() {
    let text = off();
    assert!(text.contains("metrics.export is off") && text.ends_with("mlx_metrics_export 0\n# EOF\n"), "{text}");
    assert!(text.lines().filter(|line| !line.starts_with('#')).count() == 1);
}
