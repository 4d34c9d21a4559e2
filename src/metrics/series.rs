//! Writes one series after another with the encoders of `prometheus-client`.
//!
//! Invariant: the labels of a series are those of its family.

use std::fmt::{self, Write as _};

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, EncodeLabelValue as _, LabelSetEncoder,
    MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;

use super::families::{Family, FamilyKind};
use crate::duration_buckets::BucketSample;

/// Writes families.
pub(super) struct FamilyWriter<'e> {
    pub(super) encoder: DescriptorEncoder<'e>,
}

/// Writes the series of one family.
pub(super) struct SeriesWriter<'a> {
    metric: MetricEncoder<'a>,
    family: &'static Family,
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
        let metric = self.encoder.encode_descriptor(name, family.help, None, kind)?;
        write(&mut SeriesWriter { metric, family })
    }

    /// Writes a family of one series without labels.
    pub(super) fn single<V>(&mut self, family: &'static Family, value: V) -> fmt::Result
    where
        V: EncodeCounterValue + EncodeGaugeValue + Copy,
    {
        self.family(family, |series| series.add(&[], value))
    }
}

impl SeriesWriter<'_> {
    /// Writes a series of a counter or gauge. `labels` are the values of the family's labels.
    pub(super) fn add<V>(&mut self, labels: &[&str], value: V) -> fmt::Result
    where
        V: EncodeCounterValue + EncodeGaugeValue + Copy,
    {
        let labels = Labels { names: self.family.labels, values: labels };
        let mut metric = self.metric.encode_family(&labels)?;
        if self.family.kind == FamilyKind::Counter {
            metric.encode_counter::<NoLabelSet, _, u64>(&value, None)
        } else {
            metric.encode_gauge(&value)
        }
    }

    /// Writes a series of a histogram.
    pub(super) fn add_histogram(&mut self, labels: &[&str], sample: &BucketSample) -> fmt::Result {
        let labels = Labels { names: self.family.labels, values: labels };
        let count = sample.buckets.iter().map(|(_, count)| count).sum();
        let mut metric = self.metric.encode_family(&labels)?;
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
