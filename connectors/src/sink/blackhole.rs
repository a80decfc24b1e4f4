//! connector = 'blackhole': everything is taken and nothing kept, to see what a view's changes cost.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::{Outgoing, Target, Writer};
use crate::contract::ConnectorError;
use crate::options::Options;

pub(super) fn open(_name: &str, options: &Options) -> Result<Arc<dyn Target>, ConnectorError> {
    options.check_known("connector \"blackhole\"", &["connector"])?;
    Ok(Arc::new(Blackhole))
}

struct Blackhole;

impl Target for Blackhole {
    fn check(&self, _timeout: Duration) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn writer(&self) -> Result<Box<dyn Writer>, ConnectorError> {
        Ok(Box::new(Blackhole))
    }
}

impl Writer for Blackhole {
    fn deliver(&mut self, _messages: &Outgoing, _stop: &AtomicBool) -> Result<(), ConnectorError> {
        Ok(())
    }
}
