//! Data from elsewhere: fetched, verified, unpacked, kept.

mod expected;
pub mod folder;
pub mod pins;

pub use expected::{Expected, Fingerprint, Found, Mismatch};
