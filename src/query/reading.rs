//! How a session reads texts, as far as DataFusion's own options do not say it: handed to expressions with its configuration.

use datafusion::common::config::{ConfigExtension, ConfigOptions};
use datafusion::common::extensions_options;

use crate::types::DateOrder;

extensions_options! {
    /// Options of ours beside DataFusion's.
    pub struct Reading {
        /// A DateStyle such as "ISO, DMY".
        pub date_style: String, default = "ISO, MDY".to_owned()
    }
}

impl ConfigExtension for Reading {
    const PREFIX: &'static str = "tidewater";
}

impl Reading {
    /// The order of day, month and year in dates.
    pub(super) fn order(options: &ConfigOptions) -> DateOrder {
        let reading = options.extensions.get::<Reading>();
        reading.map_or(DateOrder::Mdy, |reading| DateOrder::of_style(&reading.date_style))
    }
}
