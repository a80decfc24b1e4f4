//! Subscriptions beside the views: what they tell, folded, is the live table after every epoch.

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use tidewater::error::Result;
use tidewater::session::Session;
use tidewater::types::row_values;

use crate::case::View;
use crate::engine::{Bag, execute};

/// The columns before those of the view: epoch, operation, weight.
const OWN_COLUMNS: usize = 3;

/// A subscription to a view or to its query, and the sum of all that it has told.
pub struct Follower {
    cursor: String,
    rows: Bag,
}

impl Follower {
    /// Begins with the rows there are. Of some views the query is followed instead, which then is maintained once more.
    pub async fn begin(session: &mut Session, view: &View) -> Result<Follower> {
        let cursor = format!("follow_{}", view.name);
        let subject = match !view.fallible && view.sql.len().is_multiple_of(3) {
            true => format!("({})", view.sql),
            false => view.name.clone(),
        };
        let sql = format!("declare {cursor} cursor with hold for subscribe {subject}");
        execute(session, &sql).await?;
        Ok(Follower { cursor, rows: Bag::new() })
    }

    /// The rows after all that was acknowledged.
    pub async fn rows(&mut self, session: &mut Session) -> Result<&Bag> {
        for batch in execute(session, &format!("fetch all {}", self.cursor)).await? {
            let weights = batch.column(OWN_COLUMNS - 1).as_primitive::<Int64Type>().clone();
            let columns: Vec<usize> = (OWN_COLUMNS..batch.num_columns()).collect();
            let rows = batch.project(&columns).expect("they are there");
            for row in 0..rows.num_rows() {
                let row_text = row_values(&rows, row).join(" | ");
                let sum = self.rows.entry(row_text.clone()).or_default();
                *sum += weights.value(row);
                if *sum == 0 {
                    self.rows.remove(&row_text);
                }
            }
        }
        Ok(&self.rows)
    }

    /// Ends it; also after an error, with which it has ended already.
    pub async fn end(self, session: &mut Session) -> Result<()> {
        execute(session, &format!("close {}", self.cursor)).await.map(drop)
    }
}
