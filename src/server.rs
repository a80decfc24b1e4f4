//! The running server: what all sessions share.

use std::sync::Arc;

use tokio::runtime::Runtime;

use crate::arrangement::live::LiveTable;
use crate::backends::Backends;
use crate::catalog::{Catalog, Object};
use crate::coordinator::{Coordinator, Image};
use crate::error::{Error, Result, SqlState};
use crate::log::MemoryLog;
use crate::memory::{MemoryAccount, QueryPool};
use crate::plan::lower::known_of;
use crate::query::engine::{Engine, EngineOptions};

/// Engine, catalog and coordinator, without any listener: what sessions, tests and benchmarks run on.
pub struct Server {
    pub engine: Engine,
    pub catalog: Arc<Catalog>,
    pub coordinator: Coordinator,
    pub memory: Arc<MemoryAccount>,
    pub backends: Arc<Backends>,
    /// Statements stand in for what is outside: sources take INSERT, sinks are read.
    pub test_mode: bool,
    /// Ad-hoc queries run on threads of their own, so that a heavy one delays no connection.
    queries: Option<Runtime>,
}

impl Server {
    /// What is kept of an object that a statement has seen in the catalog: 40001 where it has been altered since, 42P01 where
    /// it has been dropped.
    pub fn live(&self, object: &Object) -> Result<Arc<LiveTable>> {
        let live = self.coordinator.live(object.id);
        live.ok_or_else(|| match self.catalog.snapshot().find(&object.schema, &object.name) {
            Some(_) => {
                let message = format!("\"{}\" has been altered meanwhile", object.name);
                Error::new(SqlState::SERIALIZATION_FAILURE, message)
            }
            None => {
                let message = format!("relation \"{}\" does not exist", object.name);
                Error::new(SqlState::UNDEFINED_TABLE, message)
            }
        })
    }

    /// `workers` dataflow threads and as many query threads; `memory_limit` in bytes.
    pub fn start(workers: usize, memory_limit: u64) -> Result<Arc<Server>> {
        Server::start_from(None, workers, memory_limit, false)
    }

    /// As [`Server::start`], for a test of SQL: nothing outside is read or written.
    pub fn start_for_test(workers: usize, memory_limit: u64) -> Result<Arc<Server>> {
        Server::start_from(None, workers, memory_limit, true)
    }

    /// As [`Server::start`], with the objects of an image and their state as of its epoch. XX001 when it does not fit.
    pub fn restore(image: Image, workers: usize, memory_limit: u64) -> Result<Arc<Server>> {
        Server::start_from(Some(image), workers, memory_limit, false)
    }

    fn start_from(
        image: Option<Image>,
        workers: usize,
        memory_limit: u64,
        test_mode: bool,
    ) -> Result<Arc<Server>> {
        let memory = MemoryAccount::new(memory_limit);
        let options = EngineOptions {
            target_partitions: 1,
            memory_pool: Some(QueryPool::new(memory.clone())),
            known_of,
            ..EngineOptions::default()
        };
        let catalog = image.as_ref().map(|image| Catalog::of(image.catalog.clone()));
        let catalog = Arc::new(catalog.unwrap_or_default());
        let log = Box::new(MemoryLog);
        let coordinator = Coordinator::start(catalog.clone(), workers, memory.clone(), log, image)?;
        let queries = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(workers.max(1))
            .thread_name("query")
            .thread_stack_size(16 << 20)
            .enable_all()
            .build()
            .map_err(|e| Error::internal(format!("could not start query threads: {e}")))?;
        let engine = Engine::new(options)?;
        let backends = Arc::default();
        Ok(Arc::new(Server {
            engine,
            catalog,
            coordinator,
            memory,
            backends,
            test_mode,
            queries: Some(queries),
        }))
    }

    pub fn queries(&self) -> &tokio::runtime::Handle {
        self.queries.as_ref().expect("there until the server is dropped").handle()
    }

    /// Stops readers, workers and the coordinator. Sessions that still run get 57P01.
    pub fn shutdown(&self) {
        self.coordinator.shutdown();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.coordinator.shutdown();
        if let Some(queries) = self.queries.take() {
            // A runtime may not be dropped where it could block an asynchronous task.
            queries.shutdown_background();
        }
    }
}
