//! Data from elsewhere: fetched, verified, unpacked, kept.

mod expected;

pub use expected::{Expected, Fingerprint, Found, Mismatch};
