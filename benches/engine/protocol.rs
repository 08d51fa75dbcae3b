//! The line protocol between a contender and `benches/peers/compare.py`: commands on standard input, one JSON object a line on standard output.

use std::error::Error;
use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Instant;

use esr::measure::{HostProbe, Probe};
use serde_json::{Value, json};

use crate::npy;
use crate::work::{ENGINE, Product, Work};

/// Answers commands until standard input ends.
pub(crate) fn serve(mut work: Box<dyn Work>, threads: usize) -> Result<(), Box<dyn Error>> {
    say(&json!({
        "ready": true,
        "name": format!("esr ({ENGINE})"),
        "version": env!("CARGO_PKG_VERSION"),
        "threads": threads,
        "peak_rss_mib": peak_rss_mib(),
    }))?;
    let mut last = None;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("go", "") => {
                // What the last run left is freed before the clock starts, as the peers do.
                drop(last.take());
                let (wall, cpu_before) = (Instant::now(), cpu_seconds()?);
                let product = work.run()?;
                let seconds = wall.elapsed().as_secs_f64();
                let mut answer = json!({
                    "seconds": seconds,
                    "cpu_seconds": cpu_seconds()? - cpu_before,
                    "peak_rss_mib": peak_rss_mib(),
                });
                if let Product::Loss(loss) = product {
                    answer["loss"] = json!(loss);
                }
                last = Some(product);
                say(&answer)?;
            }
            ("out", file) => match &last {
                Some(Product::Images(images)) => {
                    npy::write(Path::new(file), images)?;
                    say(&json!({ "written": file }))?;
                }
                _ => say(&json!({ "error": "there is no output: `out` follows a `go` of inference" }))?,
            },
            _ => say(&json!({ "error": format!("unknown command `{line}`: expected `go` or `out FILE`") }))?,
        }
    }
    Ok(())
}

fn say(answer: &Value) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{answer}")?;
    out.flush()
}

/// Peak resident memory since the start, in MiB.
fn peak_rss_mib() -> Option<f64> {
    HostProbe.peak_memory_bytes().map(|bytes| bytes as f64 / f64::from(1 << 20))
}

/// CPU time of all threads of this process so far, in seconds.
fn cpu_seconds() -> std::io::Result<f64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec that outlives the call.
    match unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) } {
        0 => Ok(time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9),
        _ => Err(std::io::Error::last_os_error()),
    }
}
