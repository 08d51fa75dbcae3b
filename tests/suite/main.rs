//! The product from outside: one test binary, one module a subject, so that the library is linked once.
