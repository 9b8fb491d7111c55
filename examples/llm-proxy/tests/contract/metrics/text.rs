//! A strict reader of the text format of OpenMetrics: whatever it does not know is an error.

use std::collections::{BTreeMap, BTreeSet};

/// A metric and its labels, in the order in which they were written.
type Series = (String, Vec<(String, String)>);

/// All samples of a scrape.
#[derive(Debug)]
pub(super) struct Scrape {
    samples: BTreeMap<Series, f64>,
    kinds: BTreeMap<String, String>,
}

impl Scrape {
    pub(super) fn read(text: &str) -> Self {
        let text = text.strip_suffix("# EOF\n").unwrap_or_else(|| panic!("no end: {text}"));
        let mut scrape = Self { samples: BTreeMap::new(), kinds: BTreeMap::new() };
        let (mut family, mut kind, mut helped) = ("", "", BTreeSet::new());
        for line in text.strip_suffix('\n').unwrap_or_else(|| panic!("{text}")).split('\n') {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, text) = help.split_once(' ').unwrap();
                assert!(helped.insert(name) && !text.is_empty(), "{line}");
                (family, kind) = (name, "");
            } else if let Some(typed) = line.strip_prefix("# TYPE ") {
                let name;
                (name, kind) = typed.split_once(' ').unwrap();
                assert_eq!(name, family, "{line}");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert_eq!(scrape.kinds.insert(name.to_owned(), kind.to_owned()), None, "{line}");
            } else if let Some(unit) = line.strip_prefix("# UNIT ") {
                let (name, unit) = unit.split_once(' ').unwrap();
                assert!(name == family && name.ends_with(&format!("_{unit}")), "{line}");
            } else {
                let (series, value) = sample(line);
                let suffix = series.0.strip_prefix(family).unwrap_or_else(|| panic!("{line}"));
                let suffixes: &[&str] = match kind {
                    "counter" => &["_total"],
                    "gauge" => &[""],
                    "histogram" => &["_bucket", "_sum", "_count"],
                    _ => panic!("no type before {line}"),
                };
                assert!(suffixes.contains(&suffix), "{line} of {family}, a {kind}");
                assert!(value >= 0.0, "{line}");
                assert_eq!(scrape.samples.insert(series, value), None, "twice: {line}");
            }
        }
        scrape.check_histograms();
        scrape
    }

    /// Their buckets grow, and the last one holds everything.
    fn check_histograms(&self) {
        for (family, _) in self.kinds.iter().filter(|(_, kind)| *kind == "histogram") {
            let mut buckets: Vec<(f64, f64)> = self
                .of(&format!("{family}_bucket"))
                .map(|(labels, value)| {
                    let [(name, bound)] = labels else { panic!("{labels:?}") };
                    assert_eq!(name, "le");
                    let bound = if bound == "+Inf" { f64::INFINITY } else { number(bound) };
                    (bound, value)
                })
                .collect();
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{buckets:?}");
            let last = (f64::INFINITY, self.value(&format!("{family}_count"), &[]));
            assert_eq!(buckets.last(), Some(&last), "{family}");
        }
    }

    /// All series of this metric.
    pub(super) fn of(&self, name: &str) -> impl Iterator<Item = (&[(String, String)], f64)> {
        let own = self.samples.iter().filter(move |((own, _), _)| own == name);
        own.map(|((_, labels), value)| (&labels[..], *value))
    }

    /// The value of the series with these labels, 0 if there is none.
    pub(super) fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let labels = labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        self.samples.get(&(name.to_owned(), labels)).copied().unwrap_or(0.0)
    }

    /// The families and their types.
    pub(super) fn kinds(&self) -> impl Iterator<Item = (&str, &str)> {
        self.kinds.iter().map(|(name, kind)| (&**name, &**kind))
    }
}

/// Reads `name{label="value",…} 1.5`.
fn sample(line: &str) -> (Series, f64) {
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}').unwrap()),
        None => (series, ""),
    };
    assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{line}");
    let labels = labels.split_terminator(',').map(|label| {
        let (name, value) = label.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
        let value = value.strip_suffix('"').unwrap_or_else(|| panic!("{line}"));
        // Every label of ours is a plain word or a number, so that nothing is ever to be escaped.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.+".contains(&byte);
        assert!(!value.is_empty() && value.bytes().all(plain), "{line}");
        (name.to_owned(), value.to_owned())
    });
    ((name.to_owned(), labels.collect()), number(value))
}

fn number(text: &str) -> f64 {
    let value: f64 = text.parse().unwrap_or_else(|_| panic!("{text}"));
    assert!(value.is_finite(), "{text}");
    value
}
