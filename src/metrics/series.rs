//! Writes one series after another with the encoders of `prometheus-client`.
//!
//! Invariant: the labels of a series are those of its family.

use std::fmt::{self, Write as _};

use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, EncodeLabelValue as _, LabelSetEncoder,
    MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;

use super::families::{Family, FamilyKind};
use super::otlp_points::{OtlpFamilies, OtlpPoints};
use crate::domain::Time;
use crate::duration_buckets::BucketSample;

/// Writes families: as text, or as OTLP has them.
pub(super) enum FamilyWriter<'e> {
    Text(DescriptorEncoder<'e>),
    Otlp(&'e mut OtlpFamilies),
}

/// Writes the series of one family.
pub(super) struct SeriesWriter<'a> {
    to: SeriesPlace<'a>,
    family: &'static Family,
}

enum SeriesPlace<'a> {
    Text(MetricEncoder<'a>),
    Otlp(&'a mut OtlpPoints),
}

/// A value of a counter or gauge.
pub(super) trait SeriesValue: EncodeCounterValue + EncodeGaugeValue + Copy {
    /// Returns the value of a point.
    fn point(self) -> Value;
}

impl SeriesValue for u64 {
    fn point(self) -> Value {
        Value::AsInt(i64::try_from(self).unwrap_or(i64::MAX))
    }
}

impl SeriesValue for f64 {
    fn point(self) -> Value {
        Value::AsDouble(self)
    }
}

impl FamilyWriter<'_> {
    /// Writes the head of a family, and then the series that `write` adds.
    pub(super) fn family(
        &mut self,
        family: &'static Family,
        write: impl FnOnce(&mut SeriesWriter<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let (name, kind) = match family.kind {
            // The encoder adds the suffix again where the format has it.
            FamilyKind::Counter => (family.name.strip_suffix("_total").unwrap_or(family.name), MetricType::Counter),
            FamilyKind::Gauge => (family.name, MetricType::Gauge),
            FamilyKind::Histogram => (family.name, MetricType::Histogram),
        };
        match self {
            Self::Text(encoder) => {
                let metric = encoder.encode_descriptor(name, family.help, None, kind)?;
                write(&mut SeriesWriter { to: SeriesPlace::Text(metric), family })
            }
            Self::Otlp(families) => {
                let mut points = families.begin();
                write(&mut SeriesWriter { to: SeriesPlace::Otlp(&mut points), family })?;
                families.end(family, points);
                Ok(())
            }
        }
    }

    /// Writes a family of one series without labels.
    pub(super) fn single(&mut self, family: &'static Family, value: impl SeriesValue) -> fmt::Result {
        self.family(family, |series| series.add(&[], value))
    }
}

impl SeriesWriter<'_> {
    /// Tells the time from which the next series count; `None` if it is the start of the process. The text has no such times.
    pub(super) fn since(&mut self, since: Option<Time>) -> &mut Self {
        if let SeriesPlace::Otlp(points) = &mut self.to {
            points.since(since);
        }
        self
    }

    /// Writes a series of a counter or gauge. `labels` are the values of the family's labels.
    pub(super) fn add(&mut self, labels: &[&str], value: impl SeriesValue) -> fmt::Result {
        let metric = match &mut self.to {
            SeriesPlace::Text(metric) => metric,
            SeriesPlace::Otlp(points) => {
                points.add(self.family.labels, labels, value.point());
                return Ok(());
            }
        };
        let labels = Labels { names: self.family.labels, values: labels };
        let mut metric = metric.encode_family(&labels)?;
        if self.family.kind == FamilyKind::Counter {
            metric.encode_counter::<NoLabelSet, _, u64>(&value, None)
        } else {
            metric.encode_gauge(&value)
        }
    }

    /// Writes a series of a histogram.
    pub(super) fn add_histogram(&mut self, labels: &[&str], sample: &BucketSample) -> fmt::Result {
        let metric = match &mut self.to {
            SeriesPlace::Text(metric) => metric,
            SeriesPlace::Otlp(points) => {
                points.add_histogram(self.family.labels, labels, sample);
                return Ok(());
            }
        };
        let labels = Labels { names: self.family.labels, values: labels };
        let count = sample.buckets.iter().map(|(_, count)| count).sum();
        let mut metric = metric.encode_family(&labels)?;
        metric.encode_histogram::<NoLabelSet>(sample.seconds, count, &sample.buckets, None)
    }
}

/// The labels of a series.
struct Labels<'a> {
    names: &'static [&'static str],
    values: &'a [&'a str],
}

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        debug_assert_eq!(self.names.len(), self.values.len(), "{:?}", self.names);
        for (name, value) in self.names.iter().zip(self.values) {
            let mut label = encoder.encode_label();
            let mut key = label.encode_label_key()?;
            key.write_str(name)?;
            let mut out = key.encode_label_value()?;
            value.encode(&mut out)?;
            out.finish()?;
        }
        Ok(())
    }
}
