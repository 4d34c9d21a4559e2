//! Families and their points as OTLP has them.
//!
//! Names are those of the text without `_total`. Counters and histograms are cumulative since the start of the process, or since a later time if they
//! began anew, as those of a route with another backend do.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum,
};

use super::families::{Family, FamilyKind};
use crate::domain::Time;
use crate::duration_buckets::BucketSample;

/// The times of all points, in nanoseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(super) struct PointTimes {
    pub(super) start: u64,
    pub(super) now: u64,
}

/// Takes families.
#[derive(Debug)]
pub(super) struct OtlpFamilies {
    times: PointTimes,
    pub(super) metrics: Vec<Metric>,
}

/// Takes the points of one family.
#[derive(Debug)]
pub(super) struct OtlpPoints {
    times: PointTimes,
    /// The time from which the next points count.
    start: u64,
    numbers: Vec<NumberDataPoint>,
    histograms: Vec<HistogramDataPoint>,
}

impl OtlpFamilies {
    /// Returns no families yet, for points of these times.
    pub(super) fn new(times: PointTimes) -> Self {
        Self { times, metrics: Vec::new() }
    }

    /// Begins the points of a family.
    pub(super) fn begin(&self) -> OtlpPoints {
        OtlpPoints { times: self.times, start: self.times.start, numbers: Vec::new(), histograms: Vec::new() }
    }

    /// Ends a family with its points. One without points is left out.
    pub(super) fn end(&mut self, family: &'static Family, points: OtlpPoints) {
        if points.numbers.is_empty() && points.histograms.is_empty() {
            return;
        }
        let temporality = AggregationTemporality::Cumulative.into();
        let data = match family.kind {
            FamilyKind::Counter => {
                Data::Sum(Sum { data_points: points.numbers, aggregation_temporality: temporality, is_monotonic: true })
            }
            FamilyKind::Gauge => Data::Gauge(Gauge { data_points: points.numbers }),
            FamilyKind::Histogram => {
                Data::Histogram(Histogram { data_points: points.histograms, aggregation_temporality: temporality })
            }
        };
        let name = family.name.strip_suffix("_total").unwrap_or(family.name);
        let unit = match name {
            _ if name.ends_with("_seconds") => "s",
            _ if name.ends_with("_bytes") => "By",
            _ => "",
        };
        self.metrics.push(Metric {
            name: name.to_owned(),
            description: family.help.to_owned(),
            unit: unit.to_owned(),
            data: Some(data),
            ..Metric::default()
        });
    }
}

impl OtlpPoints {
    /// Sets the time from which the next points count.
    pub(super) fn since(&mut self, since: Option<Time>) {
        self.start = since.map_or(self.times.start, nanos);
    }

    /// Adds a point of a counter or gauge.
    pub(super) fn add(&mut self, names: &[&str], values: &[&str], value: number_data_point::Value) {
        self.numbers.push(NumberDataPoint {
            attributes: attributes(names, values),
            start_time_unix_nano: self.start,
            time_unix_nano: self.times.now,
            value: Some(value),
            ..NumberDataPoint::default()
        });
    }

    /// Adds a point of a histogram.
    pub(super) fn add_histogram(&mut self, names: &[&str], values: &[&str], sample: &BucketSample) {
        self.histograms.push(HistogramDataPoint {
            attributes: attributes(names, values),
            start_time_unix_nano: self.start,
            time_unix_nano: self.times.now,
            count: sample.buckets.iter().map(|(_, count)| count).sum(),
            sum: Some(sample.seconds),
            bucket_counts: sample.buckets.iter().map(|(_, count)| *count).collect(),
            explicit_bounds: sample.buckets.iter().map(|(bound, _)| *bound).filter(|bound| bound.is_finite()).collect(),
            ..HistogramDataPoint::default()
        });
    }
}

/// Returns a time in nanoseconds since 1970.
pub(super) fn nanos(time: Time) -> u64 {
    time.0.saturating_mul(1_000_000)
}

fn attributes(names: &[&str], values: &[&str]) -> Vec<KeyValue> {
    let pairs = names.iter().zip(values).filter(|(_, value)| !value.is_empty());
    let attribute = |(key, value): (&&str, &&str)| {
        let value = Some(AnyValue { value: Some(Value::StringValue((*value).to_owned())) });
        KeyValue { key: (*key).to_owned(), value, ..KeyValue::default() }
    };
    pairs.map(attribute).collect()
}
