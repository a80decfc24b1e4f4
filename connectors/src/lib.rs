//! Sources, sinks, decoders and encoders of Tidewater.
//!
//! The contract ([`contract`]) speaks Arrow and bytes, never DataFusion or timely, so that connectors build and test fast
//! and the database behind them can change. A new connector is a file in [`source`] and a line in [`registry`], or
//! a file in [`sink`] and a line there.

pub mod conformance;
pub mod contract;
pub mod decode;
pub mod options;
pub mod registry;
pub mod sink;
pub mod source;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod types;
