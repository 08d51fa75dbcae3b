//! What several subcommands share: where and how to compute, progress bars, logging.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing_subscriber::filter::LevelFilter;

use super::CliError;
use super::error::of_gpu;
use crate::cli::ExitCode;
use crate::engine::cuda::{Chooser, Computing, Math, Selection};
use crate::engine::{Backend, Compute, Engine};
use crate::gpu::cudnn::{Cudnn, LIBRARY};
use crate::gpu::device::Gpu;
use crate::interrupt::Signal;

/// Where and how to compute, and with which engine.
#[derive(clap::Args, Clone, Debug)]
pub struct ComputeArgs {
    /// Engine that runs the model
    #[arg(long, value_enum, default_value_t)]
    pub engine: Engine,
    /// Where and how to compute.
    #[command(flatten)]
    pub machine: MachineArgs,
}

/// Where and how to compute, where the engine is no choice.
#[derive(clap::Args, Clone, Debug)]
pub struct MachineArgs {
    /// Device: `cpu`, or `cuda:N` for the N-th GPU
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub device: Device,
    /// Threads to compute with [default: all cores]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Keep each thread on a processor of its own (Linux)
    #[arg(long)]
    pub pin_threads: bool,
    /// Number format to compute in
    #[arg(long, value_enum, default_value_t)]
    pub precision: Math,
    /// Which kernels compute convolutions on a GPU
    #[arg(long, value_enum, default_value_t)]
    pub kernels: Selection,
    /// Folder with cuDNN, or a Python environment that has it, for `--kernels fastest`; repeatable
    #[arg(long, value_name = "DIR")]
    pub cuda_libs: Vec<PathBuf>,
}

/// A device by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// The processor.
    Cpu,
    /// The GPU of that number.
    Cuda(u32),
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_prefix("cuda:").and_then(|number| number.parse().ok());
        match (text, number) {
            ("cpu", _) => Ok(Self::Cpu),
            (_, Some(number)) => Ok(Self::Cuda(number)),
            _ => Err("expected cpu or cuda:N".into()),
        }
    }
}

impl ComputeArgs {
    /// Checks the arguments and sets the number of threads for the whole process.
    pub fn checked(&self) -> Result<Compute, CliError> {
        let threads = self.machine.threads()?;
        let backend = match self.machine.device {
            Device::Cpu => {
                self.machine.cpu_only("this engine")?;
                Backend::Cpu(self.engine)
            }
            Device::Cuda(_) if self.engine == Engine::Reference => {
                return Err(CliError::usage(
                    "the reference engine computes on the CPU only: use --device cpu, or --engine plan",
                ));
            }
            Device::Cuda(ordinal) => {
                let opened = Gpu::open(ordinal as usize);
                let gpu = opened.map_err(|error| CliError::new(of_gpu(&error), error))?;
                let chooser = self.machine.chooser(&gpu)?;
                Computing { gpu, math: self.machine.precision, chooser }.into()
            }
        };
        Ok(Compute { backend, threads })
    }
}

impl MachineArgs {
    /// Checks the arguments of a command that computes on the processor only, `what`, and sets the number of threads for the whole process, which it returns.
    pub fn checked(&self, what: &str) -> Result<usize, CliError> {
        self.cpu_only(what)?;
        self.threads()
    }

    fn cpu_only(&self, what: &str) -> Result<(), CliError> {
        match (self.device, self.precision) {
            (Device::Cpu, Math::F32) if self.kernels == Selection::Fastest || !self.cuda_libs.is_empty() => {
                Err(CliError::usage(
                    "kernels are chosen on a GPU only: --kernels and --cuda-libs need --device cuda:N",
                ))
            }
            (Device::Cpu, Math::F32) => Ok(()),
            (Device::Cpu, other) => {
                let name = other.name();
                Err(CliError::usage(format!("the CPU computes in f32, {name} needs --device cuda:N")))
            }
            (Device::Cuda(number), _) => Err(CliError::usage(format!(
                "{what} computes on the CPU only, and cuda:{number} was asked for: use --device cpu"
            ))),
        }
    }

    /// What chooses kernels on a GPU, where the user wants the fastest.
    fn chooser(&self, gpu: &Arc<Gpu>) -> Result<Option<Arc<Chooser>>, CliError> {
        if self.kernels == Selection::Fixed {
            return match self.cuda_libs.is_empty() {
                true => Ok(None),
                false => Err(CliError::usage("--cuda-libs names what --kernels fastest may use: give both")),
            };
        }
        let (cudnn, refused) = Cudnn::find(gpu, &self.cuda_libs);
        let why = refused.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        match &cudnn {
            Some(cudnn) => {
                let (version, file) = (cudnn.version(), cudnn.file().display());
                note(&format!("kernels: the fastest of our own and of cuDNN {version} ({file})"));
            }
            None if !self.cuda_libs.is_empty() => {
                let folders: Vec<String> =
                    self.cuda_libs.iter().map(|path| format!("`{}`", path.display())).collect();
                let why = if why.is_empty() { format!("there is no {LIBRARY}") } else { why };
                let found = format!("--cuda-libs {}: {why}", folders.join(" "));
                return Err(CliError::usage(format!(
                    "{found}; name the folder of {LIBRARY}, or the Python environment that has `nvidia-cudnn-cu12`"
                )));
            }
            None => {
                let why = if why.is_empty() { String::new() } else { format!(" ({why})") };
                note(&format!(
                    "kernels: the fastest of our own; there is no cuDNN 9 that could be used{why}"
                ));
            }
        }
        Ok(Some(Arc::new(Chooser::new(gpu, cudnn, cache_folder()))))
    }

    fn threads(&self) -> Result<usize, CliError> {
        let threads = super::threads::number(self.threads)?;
        prepare_process();
        super::threads::start(threads, self.pin_threads)?;
        Ok(threads)
    }
}

/// Where what can be made anew is kept between runs: `$XDG_CACHE_HOME/esr`, or `~/.cache/esr`.
fn cache_folder() -> Option<PathBuf> {
    let named = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = named("XDG_CACHE_HOME").or_else(|| named("HOME").map(|home| home.join(".cache")));
    cache.map(|cache| cache.join("esr"))
}

/// Settings of the C library and of candle that must be made before the first thread starts. The reference engine allocates and frees many
/// large arrays a step; by default each one is mapped and unmapped, and the page faults took a third of the CPU time of the demo's training.
pub fn prepare_process() {
    #[cfg(target_env = "gnu")]
    {
        /// Arrays below this size come from the heap, which keeps what is freed.
        const LARGE_BYTES: libc::c_int = 1 << 30;
        // SAFETY: `mallopt` only sets parameters of the allocator.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES);
            libc::mallopt(libc::M_TRIM_THRESHOLD, LARGE_BYTES);
        }
    }
    // candle's own pool waits by spinning and would take a core from ours.
    const CANDLE_THREADS: &str = "CANDLE_NUM_THREADS";
    if std::env::var_os(CANDLE_THREADS).is_none() {
        // SAFETY: this runs in `main`'s thread before any other thread is started.
        unsafe { std::env::set_var(CANDLE_THREADS, "1") };
    }
}

/// Sends diagnostics to standard error: warnings by default, nothing when quiet, more when asked.
pub fn start_logging(quiet: bool, verbose: u8) {
    let level = match (quiet, verbose) {
        (true, _) => LevelFilter::OFF,
        (false, 0) => LevelFilter::WARN,
        (false, 1) => LevelFilter::INFO,
        (false, _) => LevelFilter::DEBUG,
    };
    QUIET.store(quiet, std::sync::atomic::Ordering::Relaxed);
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(colour())
        .without_time()
        .with_target(false);
    // A test may run several commands in one process; the first one's choice stays.
    let _ = subscriber.try_init();
}

static QUIET: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// Whether `-q` was given.
pub fn quiet() -> bool {
    QUIET.load(std::sync::atomic::Ordering::Relaxed)
}

/// A line for people, unless `-q`.
pub fn note(text: &str) {
    if !quiet() {
        super::output::note(text);
    }
}

fn colour() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A progress bar on standard error; invisible off a terminal or with `-q`.
pub fn progress_bar(total: u64, unit: &str) -> ProgressBar {
    let target = match quiet() || !std::io::stderr().is_terminal() {
        true => ProgressDrawTarget::hidden(),
        false => ProgressDrawTarget::stderr(),
    };
    let bar = ProgressBar::with_draw_target(Some(total), target);
    let template = format!("{{prefix}} {{wide_bar}} {{pos}}/{{len}} {unit}  {{msg}}  ETA {{eta}}");
    match ProgressStyle::with_template(&template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Room for several bars at once; invisible where one would be.
pub fn bars() -> MultiProgress {
    MultiProgress::with_draw_target(match quiet() || !std::io::stderr().is_terminal() {
        true => ProgressDrawTarget::hidden(),
        false => ProgressDrawTarget::stderr(),
    })
}

/// A bar that counts bytes, for [`bars`].
pub fn bytes_bar(title: &str) -> ProgressBar {
    let bar = ProgressBar::no_length().with_prefix(title.to_owned());
    let template =
        "{prefix} {wide_bar} {decimal_bytes}/{decimal_total_bytes}  {decimal_bytes_per_sec}  ETA {eta}";
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// The error that ends an interrupted command.
pub fn interrupted(signal: Signal, what_next: &str) -> CliError {
    let (exit, name) = match signal {
        Signal::Interrupt => (ExitCode::Interrupted, "SIGINT"),
        Signal::Terminate => (ExitCode::Terminated, "SIGTERM"),
    };
    CliError::new(exit, anyhow::anyhow!("stopped by {name}; {what_next}"))
}

/// An amount of memory on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemorySize {
    /// Bytes.
    pub bytes: usize,
}

impl FromStr for MemorySize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
        let unit: usize = match &text[digits.len()..] {
            "" => 1,
            "K" | "KiB" => 1 << 10,
            "M" | "MiB" => 1 << 20,
            "G" | "GiB" => 1 << 30,
            _ => 0,
        };
        let bytes = digits.parse().ok().and_then(|number: usize| number.checked_mul(unit));
        match bytes {
            Some(bytes) if bytes > 0 => Ok(Self { bytes }),
            _ => Err("expected a number of bytes, or one with K, M or G, e.g. 512M".into()),
        }
    }
}

/// A size on the command line: width × height in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let sides = text.split_once('x').and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
        match sides {
            Some((width, height)) if (1..=65_536).contains(&width) && (1..=65_536).contains(&height) => {
                Ok(Self { width, height })
            }
            _ => Err("expected WIDTHxHEIGHT in pixels, e.g. 256x256".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_and_sizes_parse() {
        assert_eq!("cpu".parse(), Ok(Device::Cpu));
        assert_eq!("cuda:3".parse(), Ok(Device::Cuda(3)));
        assert!("cuda".parse::<Device>().is_err());
        assert_eq!("510x339".parse(), Ok(Size { width: 510, height: 339 }));
        assert_eq!("512M".parse(), Ok(MemorySize { bytes: 512 << 20 }));
        assert_eq!("4096".parse(), Ok(MemorySize { bytes: 4096 }));
        for wrong in ["", "M", "-1", "0G", "3T", "99999999999999999999", "1.5G"] {
            assert!(wrong.parse::<MemorySize>().is_err(), "{wrong}");
        }
        for wrong in ["510", "0x3", "ax3", "3x", "99999x1"] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
    }
}
