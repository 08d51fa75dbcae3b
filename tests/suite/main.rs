//! The product from outside: one test binary, one module a subject, so that the library is linked once.
//!
//! Every test runs the binary in a temporary folder of its own with relative paths, so that whole outputs can be compared. Nothing sleeps for longer than
//! a poll needs, and nothing is asked of the wall clock.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests fail by panicking, and say on standard error what they skip; helpers are no `#[test]` functions, which are exempt"
)]

mod collapse;
mod fetch;
mod fetch_faults;
mod gpu;
mod help;
mod inspect;
mod kernels;
#[path = "../../src/gpu/driver/fake.rs"]
#[expect(
    dead_code,
    clippy::print_stdout,
    reason = "processes that load the driver are the library's own tests"
)]
mod made_up;
mod measure;
#[path = "../fixtures/nvml/mod.rs"]
#[expect(dead_code, reason = "the library's own tests use the rest")]
mod nvml;
mod place;
mod published;
mod quality;
mod readme;
#[path = "../../src/testing/reference.rs"]
mod reference;
mod reproduce;
mod train;
