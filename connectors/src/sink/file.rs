//! connector = 'file': files in one directory, each written once.
//!
//! A file appears whole: it is written beside its name, made durable and renamed, so whoever lists the directory never sees a
//! part of one; files of one delivery are renamed when all of them are written. Names are `EPOCH-NUMBER.EXTENSION` with the
//! newest epoch in the file, so names in order are the changes in order. No file is ever replaced.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::{Outgoing, Rolling, Target, Writer};
use crate::contract::ConnectorError;
use crate::options::Options;

/// Files of a busy view come once a second unless told otherwise: one per epoch would be thousands.
const INTERVAL: Duration = Duration::from_secs(1);
const INTERVAL_MAX: Duration = Duration::from_secs(86_400);

/// Large enough for readers to like, small enough that what waits in memory for a file is a fraction of what a sink may owe.
const BYTES: usize = 64 << 20;
const BYTES_MIN: usize = 1 << 10;
const BYTES_MAX: usize = 256 << 20;

const KNOWN_OPTIONS: &[&str] = &["connector", "path", "extension", "roll_interval", "roll_size"];

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
    let rolling = Rolling {
        interval: options.duration("roll_interval", INTERVAL_MAX)?.unwrap_or(INTERVAL),
        bytes: options.size("roll_size", BYTES_MIN..=BYTES_MAX)?.unwrap_or(BYTES),
    };
    Ok(Arc::new(Directory { directory, extension, rolling }))
}

#[derive(Clone)]
struct Directory {
    directory: PathBuf,
    extension: String,
    rolling: Rolling,
}

impl Target for Directory {
    fn check(&self, _timeout: Duration) -> Result<(), ConnectorError> {
        let shown = self.directory.display();
        fs::create_dir_all(&self.directory).map_err(|error| {
            ConnectorError::fix(format!("could not create directory \"{shown}\""))
                .with_detail(error.to_string())
        })?;
        let probe = self.directory.join(format!(".check-{}.part", std::process::id()));
        let written = File::create(&probe).and_then(|_| fs::remove_file(&probe));
        written.map_err(|error| {
            ConnectorError::fix(format!("could not write to directory \"{shown}\""))
                .with_detail(error.to_string())
        })
    }

    fn writer(&self) -> Result<Box<dyn Writer>, ConnectorError> {
        Ok(Box::new(self.clone()))
    }

    fn rolling(&self) -> Option<Rolling> {
        Some(self.rolling)
    }
}

impl Directory {
    /// Writes the files under hidden names, which `hidden` is told, then gives them names that nobody has.
    fn write(&self, files: &Outgoing, hidden: &mut Vec<PathBuf>) -> io::Result<()> {
        for (number, (_, content)) in files.iter().enumerate() {
            let name = format!(".{:020}-{number:04}.{}.part", files.epoch, self.extension);
            hidden.push(self.directory.join(name));
            let mut file = File::create(&hidden[number])?;
            file.write_all(content.unwrap_or_default())?;
            file.sync_all()?;
        }
        let mut number = 0;
        for hidden in hidden {
            // A server that has lost its state counts epochs anew: what stands there is kept.
            let path = loop {
                let name = format!("{:020}-{number:04}.{}", files.epoch, self.extension);
                let path = self.directory.join(name);
                number += 1;
                if !path.try_exists()? {
                    break path;
                }
            };
            fs::rename(hidden, path)?;
        }
        File::open(&self.directory)?.sync_all()
    }
}

impl Writer for Directory {
    fn deliver(&mut self, files: &Outgoing, _stop: &AtomicBool) -> Result<(), ConnectorError> {
        let mut hidden = vec![];
        self.write(files, &mut hidden).map_err(|error| {
            // What is left of an attempt is in nobody's way, but takes space that may be what is missing.
            hidden.iter().for_each(|path| drop(fs::remove_file(path)));
            failed(&self.directory, &error)
        })
    }
}

fn failed(directory: &Path, error: &io::Error) -> ConnectorError {
    ConnectorError::retry(format!("could not write to directory \"{}\"", directory.display()))
        .with_detail(error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn files(epoch: u64, contents: &[&str]) -> Outgoing {
        let mut files = Outgoing { epoch, ..Outgoing::default() };
        contents.iter().for_each(|content| files.push_file(content.as_bytes(), 1));
        files
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_that_is_there_is_not_replaced() {
        let place =
            std::env::temp_dir().join(format!("tidewater-file-sink-{}", std::process::id()));
        let rolling = Rolling { interval: INTERVAL, bytes: BYTES };
        let mut writer = Directory { directory: place.clone(), extension: "json".into(), rolling };
        let stop = AtomicBool::new(false);
        writer.deliver(&files(7, &["early"]), &stop).unwrap_err();
        writer.check(INTERVAL).unwrap();
        assert!(names(&place).is_empty());
        writer.deliver(&files(7, &["a", "b"]), &stop).unwrap();
        writer.deliver(&files(7, &["c"]), &stop).unwrap();
        let expected = ["0000.json", "0001.json", "0002.json"];
        assert_eq!(names(&place), expected.map(|end| format!("00000000000000000007-{end}")));
        let third = place.join("00000000000000000007-0002.json");
        assert_eq!(fs::read_to_string(third).unwrap(), "c");
        fs::remove_dir_all(&place).unwrap();
        fs::write(&place, "").unwrap();
        let error = writer.check(INTERVAL).unwrap_err();
        assert!(error.message.starts_with("could not create directory"), "{}", error.message);
        fs::remove_file(&place).unwrap();
    }
}
