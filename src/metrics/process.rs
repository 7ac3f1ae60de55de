//! What the system says of this process, under the names that Prometheus's own clients use. Elsewhere than on Linux there is
//! nothing to read, and the metrics are left out.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Reads it with every scrape.
#[derive(Debug)]
pub(super) struct ProcessCollector;

/// Ticks in a second as `/proc` counts them: the kernel shows every program 100 (USER_HZ), whatever its own clock is.
const TICKS_PER_SECOND: f64 = 100.0;

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(readings) = ProcessReadings::read() else { return Ok(()) };
        let mut gauge = |name: &str, help: &str, value: f64| -> fmt::Result {
            ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
        };
        gauge("process_resident_memory_bytes", "Memory that the process holds.", readings.resident)?;
        gauge("process_open_fds", "Files and connections that are open.", readings.files)?;
        let cpu = encoder.encode_descriptor(
            "process_cpu_seconds",
            "Processor time that was used.",
            None,
            MetricType::Counter,
        )?;
        ConstCounter::new(readings.cpu).encode(cpu)
    }
}

struct ProcessReadings {
    resident: f64,
    files: f64,
    cpu: f64,
}

impl ProcessReadings {
    fn read() -> Option<Self> {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kilobytes: f64 = line.split_whitespace().next()?.parse().ok()?;
        let files = std::fs::read_dir("/proc/self/fd").ok()?.count();
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The name stands in brackets and may hold anything; what is counted comes after it.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
        Some(Self {
            resident: kilobytes * 1024.0,
            files: files as f64,
            cpu: (ticks(11)? + ticks(12)?) / TICKS_PER_SECOND,
        })
    }
}
