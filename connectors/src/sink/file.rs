//! connector = 'file': a new file of lines for each delivery, in one directory.
//!
//! A file appears whole: it is written beside its name, made durable and renamed, so whoever lists the directory never sees a
//! part of one. Names are `EPOCH.EXTENSION` with the newest epoch in the file, so names in order are the changes in order.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::{Outgoing, Target, Writer};
use crate::contract::ConnectorError;
use crate::options::Options;

/// Files of a busy view come once a second unless told otherwise: one per epoch would be thousands.
const INTERVAL_MS: u64 = 1_000;

const KNOWN_OPTIONS: &[&str] = &["connector", "path", "extension", "interval.ms"];

pub(super) fn open(_name: &str, options: &Options) -> Result<Arc<dyn Target>, ConnectorError> {
    options.check_known("connector \"file\"", KNOWN_OPTIONS)?;
    let directory = PathBuf::from(options.required("path")?);
    if !directory.is_absolute() {
        return Err(options.invalid("path").with_detail("It takes an absolute path."));
    }
    let extension = options.get("extension").unwrap_or("txt").to_owned();
    if extension.is_empty() || !extension.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Err(options.invalid("extension").with_detail("It takes letters and digits."));
    }
    let interval = options.integer("interval.ms", 0..=86_400_000)?.unwrap_or(INTERVAL_MS);
    Ok(Arc::new(Directory { directory, extension, interval: Duration::from_millis(interval) }))
}

#[derive(Clone)]
struct Directory {
    directory: PathBuf,
    extension: String,
    interval: Duration,
}

fn failed(path: &Path, error: &std::io::Error) -> ConnectorError {
    ConnectorError::retry(format!("could not write to \"{}\"", path.display()))
        .with_detail(error.to_string())
}

impl Target for Directory {
    fn check(&self, _timeout: Duration) -> Result<(), ConnectorError> {
        fs::create_dir_all(&self.directory).map_err(|error| {
            let shown = self.directory.display();
            ConnectorError::fix(format!("could not create directory \"{shown}\""))
                .with_detail(error.to_string())
        })
    }

    fn writer(&self) -> Result<Box<dyn Writer>, ConnectorError> {
        Ok(Box::new(self.clone()))
    }

    fn is_append_only(&self) -> bool {
        true
    }

    fn interval(&self) -> Duration {
        self.interval
    }
}

impl Writer for Directory {
    fn deliver(&mut self, messages: &Outgoing, _stop: &AtomicBool) -> Result<(), ConnectorError> {
        let name = format!("{:020}.{}", messages.epoch, self.extension);
        let (path, hidden) =
            (self.directory.join(&name), self.directory.join(format!(".{name}.part")));
        let write = || {
            let mut file = BufWriter::new(File::create(&hidden)?);
            for (_, line) in messages.iter() {
                file.write_all(line.unwrap_or_default())?;
                file.write_all(b"\n")?;
            }
            file.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
            fs::rename(&hidden, &path)?;
            File::open(&self.directory)?.sync_all()
        };
        write().map_err(|error| failed(&path, &error))
    }
}
