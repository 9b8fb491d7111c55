//! The endings in numbers, for `GET /metrics`.

use bytes::Bytes;
use http::request::Parts;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use tokio::time::Instant;
use tower_lifeline::tee::Sink;

use super::{
    Books,
    row::{Cost, Row},
};
use crate::ledger::Troubles;

#[cfg(test)]
mod tests;

/// What a scraper accepts that reads the text of [`Metrics::text`].
pub(crate) const OPEN_METRICS: &str = "application/openmetrics-text";
pub(super) const OPEN_CONTENT_TYPE: &str =
    "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Of what [`classic`] makes of it, for all others.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The same as all versions of Prometheus read it: a counter's family has its whole name, and there are no units and no end.
pub(super) fn classic(text: &str) -> String {
    let counters: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    let mut classic = String::with_capacity(text.len());
    for line in text.lines().filter(|line| !line.starts_with("# UNIT ") && *line != "# EOF") {
        let of_counter = ["# HELP ", "# TYPE "].iter().find_map(|word| {
            let (name, rest) = line.strip_prefix(word)?.split_once(' ')?;
            counters.contains(&name).then(|| format!("{word}{name}_total {rest}\n"))
        });
        match of_counter {
            Some(line) => classic.push_str(&line),
            None => classic.extend([line, "\n"]),
        }
    }
    classic
}

/// From an answer out of a cache to one that thinks for half an hour.
const SECONDS: [f64; 16] = [
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0,
];

/// From words of one read to the silence before a time limit.
const GAPS: [f64; 16] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0,
];

/// Counts of the endings so far. Cheap to clone; clones are the same counts.
#[derive(Clone, Debug)]
pub(super) struct Metrics {
    exchanges: Family<How, Counter>,
    tokens: Family<Kind, Counter>,
    head: Histogram,
    first_frame: Histogram,
    duration: Histogram,
    gap: Histogram,
    /// Of the file, if there is one.
    pub(super) ledger: Troubles,
}

/// What is so at the moment of a scrape.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now<'a> {
    pub(super) live: usize,
    pub(super) draining: usize,
    pub(super) captured: usize,
    pub(super) dropped: &'a Counter,
}

/// How an exchange ended. All of it comes from closed sets: each new value would be a time series that stays for ever.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct How {
    outcome: &'static str,
    reason: &'static str,
    dialect: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let tokens = Family::default();
        for (kind, _) in tokens_of(None) {
            // There from the beginning, so that a rate sees the first ones.
            drop(tokens.get_or_create(&Kind { kind }));
        }
        let [head, first_frame, duration] = [(); 3].map(|()| Histogram::new(SECONDS));
        let (exchanges, gap, ledger) =
            (Family::default(), Histogram::new(GAPS), Troubles::default());
        Self { exchanges, tokens, head, first_frame, duration, gap, ledger }
    }
}

impl Metrics {
    pub(super) fn count(&self, row: &Row) {
        let dialect = row.usage.as_ref().map_or("none", |usage| usage.dialect);
        let reason = reason(row.outcome, row.reason.as_deref());
        self.exchanges.get_or_create(&How { outcome: row.outcome, reason, dialect }).inc();
        for (kind, tokens) in tokens_of(row.usage.as_ref()) {
            self.tokens.get_or_create(&Kind { kind }).inc_by(tokens.unwrap_or(0));
        }
        let times = [
            (&self.head, row.head_ms),
            (&self.first_frame, row.first_frame_ms),
            (&self.duration, Some(row.elapsed_ms)),
        ];
        for (histogram, millis) in times {
            if let Some(millis) = millis {
                histogram.observe(millis as f64 / 1000.0);
            }
        }
    }

    /// All of it as Prometheus reads it, in the text format of OpenMetrics.
    pub(super) fn text(&self, now: Now<'_>) -> String {
        let mut all = Registry::with_prefix("llm_proxy");
        all.register("exchanges", "Exchanges that have ended, by how", self.exchanges.clone());
        all.register(
            "tokens",
            "Tokens that responses told of; cached ones are part of the input, reasoning of the output",
            self.tokens.clone(),
        );
        for (name, help, histogram) in [
            ("time_to_head", "From a request to the head of the response", &self.head),
            ("time_to_first_frame", "From a request to the first of the body", &self.first_frame),
            ("exchange_duration", "From a request to the end of its response", &self.duration),
            ("frame_gap", "From one frame of a response, as it was taken, to the next", &self.gap),
        ] {
            all.register_with_unit(name, help, Unit::Seconds, histogram.clone());
        }
        all.register("live_exchanges", "Exchanges under way", gauge(now.live));
        all.register(
            "draining_exchanges",
            "Exchanges under way whose client has left",
            gauge(now.draining),
        );
        all.register_with_unit(
            "captured",
            "Kept of the responses under way, for accounting",
            Unit::Bytes,
            gauge(now.captured),
        );
        all.register(
            "ledger_errors",
            "Attempts to write to the ledger that failed, each of which is repeated",
            self.ledger.errors.clone(),
        );
        all.register(
            "ledger_lost_endings",
            "Endings that are not in the ledger and never will be",
            self.ledger.lost.clone(),
        );
        all.register(
            "log_lines_dropped",
            "Lines of the log that nobody read fast enough",
            now.dropped.clone(),
        );
        let mut text = String::new();
        // A string takes all that is written to it.
        let _ = encode(&mut text, &all);
        text
    }
}

impl Books {
    /// What measures the silences within each response.
    pub(crate) fn gaps(&self) -> impl Fn(&Parts) -> Gaps + Clone + use<> {
        let histogram = self.metrics.gap.clone();
        move |_| Gaps { histogram: histogram.clone(), last: None }
    }
}

/// Counts how long a response is silent between two frames, while it streams: a silence shows before the stream ends.
#[derive(Debug)]
pub(crate) struct Gaps {
    histogram: Histogram,
    last: Option<Instant>,
}

impl Sink for Gaps {
    fn data(&mut self, data: Bytes) {
        if data.is_empty() {
            return;
        }
        let now = Instant::now();
        if let Some(last) = self.last.replace(now) {
            self.histogram.observe(now.duration_since(last).as_secs_f64());
        }
    }
}

fn gauge(value: usize) -> Gauge {
    let gauge = Gauge::default();
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    gauge
}

fn tokens_of(cost: Option<&Cost>) -> [(&'static str, Option<u64>); 4] {
    let told = |tokens: fn(&Cost) -> Option<u64>| cost.and_then(tokens);
    [
        ("input", told(|cost| cost.input_tokens)),
        ("output", told(|cost| cost.output_tokens)),
        ("cached", told(|cost| cost.cached_tokens)),
        ("reasoning", told(|cost| cost.reasoning_tokens)),
    ]
}

/// The name of a reason that is one of ours. What people write into an abort, and what a panic says, is `other`.
fn reason(outcome: &str, text: Option<&str>) -> &'static str {
    let Some(text) = text else { return "none" };
    let names: &[&'static str] = match outcome {
        "timed_out" => &["head", "first_frame", "idle", "total", "unread"],
        "aborted" => &["aborted", "shutdown"],
        "failed" if text.starts_with("upstream_status_") => return "upstream_status",
        "failed" => &["upstream_error_event"],
        _ => &[],
    };
    names.iter().find(|name| **name == text).copied().unwrap_or("other")
}
