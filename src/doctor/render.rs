//! The report for people.

use super::report::{Report, Status, Topic};

/// Width of the column of the status.
const STATUS_WIDTH: usize = 15;

/// Width of the column of the topic.
const TOPIC_WIDTH: usize = 11;

impl Report {
    /// The report as plain text, one line for each finding and one for what to do about it.
    pub fn render(&self) -> String {
        let machine = &self.facts.machine;
        let told = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".into());
        let mut text = format!(
            "esr {} on {}, kernel {}, {}\n\n",
            machine.esr_version,
            told(&machine.os),
            told(&machine.kernel),
            machine.architecture
        );
        for finding in &self.findings {
            let (status, topic) = (finding.status.name(), finding.topic.name());
            text.push_str(&format!("{status:STATUS_WIDTH$}{topic:TOPIC_WIDTH$}{}\n", finding.what));
            if let Some(advice) = &finding.advice {
                let indent = STATUS_WIDTH + TOPIC_WIDTH;
                text.push_str(&format!("{:indent$}→ {advice}\n", ""));
            }
        }
        text.push_str(&format!("\n{}\n", self.summary()));
        text
    }

    /// Which devices can be computed on.
    fn summary(&self) -> String {
        let usable = |device: &&super::gpu::Device| {
            let start = format!("cuda:{}:", device.ordinal);
            self.findings.iter().any(|finding| {
                finding.topic == Topic::Gpu
                    && finding.what.starts_with(&start)
                    && matches!(finding.status, Status::Works | Status::Limited)
            })
        };
        let devices: Vec<String> = std::iter::once("cpu".to_owned())
            .chain(
                self.facts.gpu.devices.iter().filter(usable).map(|device| format!("cuda:{}", device.ordinal)),
            )
            .collect();
        format!("devices to compute on: {}", devices.join(", "))
    }
}
