//! Data from elsewhere: fetched, verified, unpacked, kept.

mod expected;
mod host;
pub mod lock;
pub mod space;
pub mod store;
pub mod unpack;

pub use expected::{Expected, Fingerprint, Found, Mismatch};
