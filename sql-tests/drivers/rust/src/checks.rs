//! What both programs share: checks that all run and are told one by one.

use std::fmt::Debug;
use std::time::Instant;

pub type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Longer than any test waits, so that only a cancel request ends it.
pub const ENDLESS: &str = "select count(*) from generate_series(1, 100000) a, generate_series(1, 100000) b \
                           where (a * 7 + b) % 11 = 3";

#[derive(Default)]
pub struct Checks {
    failures: Vec<&'static str>,
}

impl Checks {
    pub async fn run(&mut self, name: &'static str, check: impl Future<Output = Outcome>) {
        let began = Instant::now();
        match check.await {
            Ok(()) => println!("ok     {name} ({:.1} s)", began.elapsed().as_secs_f64()),
            Err(error) => {
                println!("FAILED {name}: {error}");
                self.failures.push(name);
            }
        }
    }

    pub fn finish(self) {
        if !self.failures.is_empty() {
            println!("failed: {}", self.failures.join(", "));
            std::process::exit(1);
        }
    }
}

pub fn expect<T: PartialEq<U> + Debug, U: Debug>(what: &str, got: T, wanted: U) -> Outcome {
    if got == wanted {
        return Ok(());
    }
    Err(format!("{what}: got {got:.300?}, wanted {wanted:.300?}").into())
}

pub fn url() -> String {
    std::env::var("TIDEWATER_URL").expect("TIDEWATER_URL names the server")
}
