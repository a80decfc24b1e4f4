//! SELECT DISTINCT and set semantics: a row once, however often the input has it.
//!
//! An aggregate by all columns without calls: its groups are the distinct rows, which come and go with their counts.

use arrow_schema::SchemaRef;

use super::aggregate::Aggregate;
use super::{Operator, Output, StateChange};
use crate::change::ChangeBatch;
use crate::epoch::Epoch;
use crate::error::Result;

pub struct Distinct(Aggregate);

impl Distinct {
    /// The distinct rows of an input of `schema`. Columns of a type without equality are 0A000.
    pub fn new(schema: SchemaRef) -> Result<Distinct> {
        let columns = (0..schema.fields().len()).collect();
        Ok(Distinct(Aggregate::keyed(schema.clone(), columns, vec![], schema, false)?))
    }
}

impl Operator for Distinct {
    fn apply(&mut self, port: usize, change: ChangeBatch, out: &mut Output) -> Result<()> {
        self.0.apply(port, change, out)
    }

    fn emit(&mut self, epoch: Epoch, out: &mut Output) -> Result<()> {
        self.0.emit(epoch, out)
    }

    fn checkpoint(&mut self) -> Result<Vec<StateChange>> {
        self.0.checkpoint()
    }

    fn restore(&mut self, state: StateChange) -> Result<()> {
        self.0.restore(state)
    }

    fn state_bytes(&self) -> usize {
        self.0.state_bytes()
    }

    fn state_rows(&self) -> usize {
        self.0.state_rows()
    }
}
