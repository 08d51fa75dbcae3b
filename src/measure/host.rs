//! What the host says between windows: CPU frequency, load, who used the CPU, and peak memory.
//!
//! It reads Linux's `/proc` and `/sys` in the measuring thread, between windows; a sampling thread would take a core from
//! what is measured. Everything the system does not tell is `None`, never a guess.

use std::fs;

use crate::fsio::pseudo_file;

/// CPU time since boot in clock ticks, summed over all processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuTime {
    /// All time, idle included.
    pub all_ticks: u64,
    /// Time in which a processor worked, for anyone.
    pub busy_ticks: u64,
    /// Time in which it worked for this process.
    pub own_ticks: u64,
}

impl CpuTime {
    /// The share of all CPU time between `earlier` and `self` that others used, 0 to 1; `None` if no tick passed.
    pub fn other_share_since(&self, earlier: &Self) -> Option<f64> {
        let all = self.all_ticks.checked_sub(earlier.all_ticks).filter(|&ticks| ticks > 0)?;
        let busy = self.busy_ticks.saturating_sub(earlier.busy_ticks);
        let own = self.own_ticks.saturating_sub(earlier.own_ticks);
        Some((busy.saturating_sub(own) as f64 / all as f64).min(1.0))
    }
}

/// One look at the host.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    /// Mean frequency of the processors in MHz.
    pub cpu_mhz: Option<f64>,
    /// Load average over one minute.
    pub load_average: Option<f64>,
    /// CPU time so far.
    pub cpu_time: Option<CpuTime>,
}

/// What can be asked between windows. Tests script it.
pub trait Probe {
    /// Looks at the host.
    fn reading(&mut self) -> Reading;

    /// Sets the mark of peak memory back to what is resident now; `false` where that is not allowed.
    fn reset_peak_memory(&mut self) -> bool;

    /// Peak resident memory of this process in bytes, since the last reset that was allowed or else since its start.
    fn peak_memory_bytes(&mut self) -> Option<u64>;
}

/// The Linux host. Elsewhere everything is `None`.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostProbe;

impl Probe for HostProbe {
    fn reading(&mut self) -> Reading {
        Reading {
            cpu_mhz: cpu_mhz(),
            load_average: pseudo_file("/proc/loadavg").as_deref().and_then(parse_load_average),
            cpu_time: cpu_time(),
        }
    }

    fn reset_peak_memory(&mut self) -> bool {
        // "5" resets VmHWM to the resident size (proc_pid_clear_refs(5), since Linux 4.0). This is a kernel switch, no file.
        fs::write("/proc/self/clear_refs", "5").is_ok()
    }

    fn peak_memory_bytes(&mut self) -> Option<u64> {
        parse_peak_memory_bytes(&pseudo_file("/proc/self/status")?)
    }
}

fn cpu_mhz() -> Option<f64> {
    // cpufreq is what the governor asked for on this processor right now; `/proc/cpuinfo` is the fallback of machines without it.
    let from_governor: Vec<f64> = (0..)
        .map_while(|n| pseudo_file(format!("/sys/devices/system/cpu/cpu{n}/cpufreq/scaling_cur_freq")))
        .filter_map(|khz| Some(khz.trim().parse::<f64>().ok()? / 1e3))
        .collect();
    super::stats::mean(&from_governor).or_else(|| parse_cpuinfo_mhz(&pseudo_file("/proc/cpuinfo")?))
}

fn cpu_time() -> Option<CpuTime> {
    let (all_ticks, busy_ticks) = parse_stat(&pseudo_file("/proc/stat")?)?;
    let own_ticks = parse_own_ticks(&pseudo_file("/proc/self/stat")?)?;
    Some(CpuTime { all_ticks, busy_ticks, own_ticks })
}

fn parse_load_average(loadavg: &str) -> Option<f64> {
    loadavg.split_ascii_whitespace().next()?.parse().ok()
}

/// The value of `VmHWM` in `/proc/self/status`, which is in KiB although it says kB.
fn parse_peak_memory_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The mean of the `cpu MHz` lines of `/proc/cpuinfo`.
fn parse_cpuinfo_mhz(cpuinfo: &str) -> Option<f64> {
    let mhz: Vec<f64> = cpuinfo
        .lines()
        .filter_map(|line| line.split_once(':').filter(|(key, _)| key.trim() == "cpu MHz"))
        .filter_map(|(_, value)| value.trim().parse().ok())
        .collect();
    super::stats::mean(&mhz)
}

/// All and busy ticks of the `cpu` line of `/proc/stat`: user nice system idle iowait irq softirq steal (guest time is in user).
fn parse_stat(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> =
        line.split_ascii_whitespace().map_while(|field| field.parse().ok()).take(8).collect();
    let &[_, _, _, idle, ..] = ticks.as_slice() else {
        return None;
    };
    let waiting = ticks.get(4).copied().unwrap_or(0);
    let all = ticks.iter().fold(0u64, |sum, &n| sum.saturating_add(n));
    (all > 0).then(|| (all, all.saturating_sub(idle.saturating_add(waiting))))
}

/// `utime + stime` (fields 14 and 15) of `/proc/self/stat`, all threads included.
fn parse_own_ticks(stat: &str) -> Option<u64> {
    // The second field is the program's name in parentheses and may itself hold spaces and parentheses.
    let after_name = stat.get(stat.rfind(')')? + 1..)?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_parsed() {
        // Shapes of proc_stat(5), proc_pid_stat(5), proc_pid_status(5) and proc_loadavg(5).
        let stat = "cpu  100 5 20 300 10 1 2 3 0 0\ncpu0 1 2 3 4\n";
        assert_eq!(parse_stat(stat), Some((441, 131)));
        assert_eq!(parse_stat("cpu  0 0 0 0 0 0 0 0 0 0\n"), None);
        assert_eq!(parse_stat("intr 1 2 3\n"), None);
        let own = "42 (a) b (c)) R 1 2 3 4 5 6 7 8 9 10 70 30 0 0 20 0\n";
        assert_eq!(parse_own_ticks(own), Some(100));
        assert_eq!(parse_own_ticks("42 (a"), None);
        assert_eq!(parse_peak_memory_bytes("VmPeak:\t 9 kB\nVmHWM:\t    1976 kB\n"), Some(1976 * 1024));
        assert_eq!(parse_peak_memory_bytes("VmPeak:\t 9 kB\n"), None);
        assert_eq!(parse_load_average("2.23 1.73 0.88 3/106 8362\n"), Some(2.23));
        assert_eq!(parse_cpuinfo_mhz("cpu MHz\t\t: 2000.0\nx: 1\ncpu MHz : 3000.0\n"), Some(2500.0));
        assert_eq!(parse_cpuinfo_mhz("Features: asimd\n"), None);
    }

    #[test]
    fn share_of_others() {
        let before = CpuTime { all_ticks: 1000, busy_ticks: 500, own_ticks: 100 };
        let after = CpuTime { all_ticks: 1200, busy_ticks: 650, own_ticks: 200 };
        assert_eq!(after.other_share_since(&before), Some(0.25));
        assert_eq!(before.other_share_since(&before), None);
        assert_eq!(before.other_share_since(&after), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_peak_is_at_least_what_was_touched() {
        // Other tests of this process may reset the mark or free memory at any time; what is resident now bounds it from below
        // all the same.
        let mut probe = HostProbe;
        probe.reset_peak_memory();
        let block = std::hint::black_box(vec![1u8; 64 << 20]);
        let peak = probe.peak_memory_bytes().unwrap();
        assert!(block.iter().all(|&byte| byte == 1));
        assert!(peak >= 64 << 20, "{peak}");
    }
}
