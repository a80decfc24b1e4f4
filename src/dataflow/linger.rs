//! Looking around before parking: what a thread does that has just run out of work.
//!
//! Parking and waking cost both sides several times what an epoch of one row does, so a thread whose next work is a few
//! microseconds away is better off awake. It does not yield meanwhile: on a busy machine it would be put behind threads that
//! run for milliseconds, while one that has slept is served first.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// About what parking and waking cost.
const LINGER: Duration = Duration::from_micros(30);

/// With a single core, whoever is waited for cannot run meanwhile.
static WORTHWHILE: LazyLock<bool> =
    LazyLock::new(|| std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1));

/// Looks until there is something, which is returned, or a moment has passed.
pub fn linger(mut look: impl FnMut() -> bool) -> bool {
    let since = Instant::now();
    while *WORTHWHILE && since.elapsed() < LINGER {
        if look() {
            return true;
        }
        std::hint::spin_loop();
    }
    false
}
