//! What the operating system says about this process: memory, CPU time, open files.
//!
//! Read from `/proc` at the moment of asking; where that does not exist (other systems than Linux) everything is absent
//! rather than wrong. Used by metrics and benchmarks; decides nothing.

/// A reading; `None` where the system does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessUsage {
    pub resident_bytes: Option<u64>,
    /// The highest resident size so far.
    pub resident_peak_bytes: Option<u64>,
    pub virtual_bytes: Option<u64>,
    /// User and system time of all threads, ended ones included.
    pub cpu_seconds: Option<f64>,
    pub open_files: Option<u64>,
}

/// The unit of times in `/proc`: fixed at 100 a second in the ABI of every architecture that Rust's Linux targets with
/// threads run on, whatever the kernel's own clock.
const CLOCK_TICKS_PER_SECOND: f64 = 100.0;

impl ProcessUsage {
    /// The present figures.
    pub fn now() -> ProcessUsage {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let status = read("/proc/self/status");
        ProcessUsage {
            resident_bytes: status_bytes(&status, "VmRSS:"),
            resident_peak_bytes: status_bytes(&status, "VmHWM:"),
            virtual_bytes: status_bytes(&status, "VmSize:"),
            cpu_seconds: cpu_seconds(&read("/proc/self/stat")),
            open_files: std::fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as u64),
        }
    }
}

fn status_bytes(status: &str, key: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(key))?;
    value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Fields 14 and 15 of `/proc/self/stat` or of a thread's: user and system time. The second field, the program's name in parentheses, may contain anything, so
/// counting starts behind its last closing one.
pub fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks: Vec<u64> =
        fields.split_whitespace().skip(11).take(2).map_while(|field| field.parse().ok()).collect();
    match ticks[..] {
        [user, system] => Some((user + system) as f64 / CLOCK_TICKS_PER_SECOND),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_whatever_the_program_is_called() {
        let stat = "42 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 150 0 0 20 0";
        assert_eq!(cpu_seconds(stat), Some(4.0));
        assert_eq!(cpu_seconds("42 (x) S 1 2"), None);
        assert_eq!(status_bytes("VmHWM:\t  12 kB\nVmRSS:\t   8 kB\n", "VmRSS:"), Some(8192));
        assert_eq!(status_bytes("", "VmRSS:"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_running_process_has_figures() {
        let usage = ProcessUsage::now();
        assert!(usage.resident_bytes.unwrap() > 0);
        assert!(usage.resident_peak_bytes >= usage.resident_bytes);
        assert!(usage.cpu_seconds.is_some() && usage.open_files.unwrap() > 0);
    }
}
