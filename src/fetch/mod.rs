//! Data from elsewhere: fetched, verified, unpacked, kept.

pub mod acquire;
pub mod check;
#[cfg(test)]
mod clocks;
mod expected;
pub mod folder;
mod host;
pub mod http;
pub mod lock;
pub mod pairs;
pub mod pins;
pub mod rate;
pub mod record;
pub mod restore;
#[cfg(test)]
mod small_disk;
pub mod store;
pub mod unpack;

pub use expected::{Expected, Fingerprint, Found, Mismatch};
