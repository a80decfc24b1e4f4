//! Jobs: views, indexes and sinks that still read the rows that there were before them, by the number of the object.

use std::sync::Arc;

use super::show::Row;
use super::{Outcome, Session, command};
use crate::catalog::system::JobRow;
use crate::catalog::{CatalogSnapshot, Object, ObjectId, ObjectKind};
use crate::coordinator::running::{Running, Stage};
use crate::error::{Error, Result, SqlState};
use crate::server::Server;

/// What runs behind an object; behind an index that is what keeps the rows by its columns, which may be another's, too.
pub(super) fn dataflow_of(server: &Server, object: &Object) -> Option<Arc<Running>> {
    let ObjectKind::Index { on, key, .. } = &object.kind else {
        return server.coordinator.running(object.id);
    };
    let index = server.coordinator.indexes(*on).into_iter().find(|i| i.live.key == *key)?;
    let running = server.coordinator.shared.running.load();
    running.values().find(|running| Arc::ptr_eq(&running.live, &index.live)).cloned()
}

/// All that there are, the oldest first.
pub(super) fn jobs(server: &Server, catalog: &CatalogSnapshot) -> Vec<JobRow> {
    let mut jobs: Vec<JobRow> =
        catalog.objects().filter_map(|object| job_of(server, object)).collect();
    jobs.sort_by_key(|job| job.object.id);
    jobs
}

fn job_of(server: &Server, object: &Arc<Object>) -> Option<JobRow> {
    let running = dataflow_of(server, object).filter(|running| running.is_filling())?;
    let (progress, fill) = (running.progress()?, running.fill.as_ref()?);
    let coordinator = &server.coordinator;
    let waits = |id| coordinator.running(id).is_some_and(|running| running.is_filling());
    let (object, since) = (object.clone(), fill.since);
    if running.plan.imports().into_iter().any(waits) {
        // How many rows there will be nobody knows before what it reads is filled.
        return Some(JobRow { object, state: "waiting", done: 0, total: None, since });
    }
    let state = match progress.stage {
        Stage::Reading => "reading",
        Stage::Computing => "computing",
        Stage::Done => return None,
    };
    Some(JobRow { object, state, done: progress.done, total: Some(progress.all), since })
}

impl Session {
    /// The rows of SHOW JOBS.
    pub(super) fn job_rows(&self) -> Vec<Row> {
        let row = |job: JobRow| {
            let elapsed = job.since.elapsed().unwrap_or_default();
            vec![
                Some(job.object.id.to_string()),
                Some(job.object.display_name()),
                Some(job.object.kind.words().to_owned()),
                Some(job.state.to_owned()),
                Some(job.done.to_string()),
                job.total.map(|total| total.to_string()),
                job.percent().map(|percent| format!("{percent:.1} %")),
                Some(format!("{:.1} s", elapsed.as_secs_f64())),
            ]
        };
        jobs(&self.server, &self.server.catalog.snapshot()).into_iter().map(row).collect()
    }

    /// Ends the making of objects: they and what depends on them have never been.
    pub(super) async fn cancel_jobs(&mut self, ids: &[u64]) -> Result<Outcome> {
        const TAG: &str = "CANCEL JOB";
        self.outside_of_block(TAG)?;
        for id in ids {
            let id = ObjectId(*id);
            if self.server.catalog.snapshot().get(id).is_none() {
                let message = format!("job {id} does not exist");
                return Err(Error::new(SqlState::UNDEFINED_OBJECT, message)
                    .with_hint("SHOW JOBS lists those that there are."));
            }
            let plan = self.server.coordinator.cancel(id).await?;
            plan.ids().into_iter().for_each(|id| self.server.coordinator.locks.forget(id));
            self.notices.extend(plan.notice);
        }
        command(TAG)
    }

    /// Whether what this statement has made is there: while it waited somebody may have canceled it.
    pub(super) fn still_there(&self, id: ObjectId) -> Result<()> {
        match self.server.catalog.snapshot().get(id) {
            Some(_) => Ok(()),
            None => {
                let message = "canceling creation due to user request";
                Err(Error::new(SqlState::QUERY_CANCELED, message))
            }
        }
    }
}
