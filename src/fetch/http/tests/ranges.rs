//! Several ranges at once.
