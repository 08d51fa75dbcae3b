//! Data from elsewhere: fetched, verified, unpacked, kept.

mod expected;
pub mod http;

pub use expected::{Expected, Fingerprint, Found, Mismatch};
