//! Waiting on state, never on time.

use std::fmt::Debug;
use std::time::Duration;

/// How long a condition may take before the test gives up and says what it saw last.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two looks at a real process.
const PAUSE: Duration = Duration::from_millis(50);

/// Looks until `look` returns `Ok`; panics with what it saw last when `PATIENCE` is used up. Real time: for suites
/// that drive processes.
pub fn eventually<T, E: Debug>(what: &str, look: impl FnMut() -> Result<T, E>) -> T {
    eventually_within(PATIENCE, what, look)
}

/// `eventually` with a patience of its own.
#[expect(clippy::disallowed_methods, reason = "drives real processes, whose time is real")]
pub fn eventually_within<T, E: Debug>(
    patience: Duration,
    what: &str,
    mut look: impl FnMut() -> Result<T, E>,
) -> T {
    let start = std::time::Instant::now();
    loop {
        match look() {
            Ok(seen) => return seen,
            Err(last) if start.elapsed() > patience => {
                panic!("{what}: not within {patience:?}; last: {last:?}")
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}
