//! Real services for tests, started on free loopback ports and ended with the test process. Compiled for this package's
//! own tests and, behind the feature `testing`, for those of others; never part of the server.

pub mod kafka;
