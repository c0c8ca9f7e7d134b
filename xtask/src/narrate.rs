//! Tells a person, step by step, what happens and how long it took.

use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Numbers the steps of one run.
#[derive(Debug)]
pub struct Narrator {
    total: usize,
    done: usize,
}

impl Narrator {
    /// A narrator of `total` steps.
    pub fn new(total: usize) -> Self {
        Self { total, done: 0 }
    }

    /// Goes on after `steps` that another process told.
    pub fn skip(&mut self, steps: usize) {
        self.done += steps;
    }

    /// Announces a step in plain words, does it with a spinner, and says how it went.
    pub fn step<T>(
        &mut self,
        title: &str,
        explanation: &str,
        work: impl FnOnce(&ProgressBar) -> Result<T>,
    ) -> Result<T> {
        self.done += 1;
        println!("\n[{}/{}] {title}", self.done, self.total);
        for line in explanation.trim().lines() {
            println!("      {}", line.trim());
        }
        let bar = spinner();
        let start = Instant::now();
        let result = work(&bar);
        bar.finish_and_clear();
        let verdict = if result.is_ok() { "done" } else { "FAILED" };
        println!("      {verdict} in {}", seconds(start.elapsed()));
        result
    }
}

/// Turns a step's spinner into a bar of bytes.
pub fn measure(bar: &ProgressBar, total: u64) {
    bar.set_length(total);
    if let Ok(style) = ProgressStyle::with_template("      {bar:40} {bytes}/{total_bytes} {bytes_per_sec}") {
        bar.set_style(style);
    }
}

/// A duration as a person reads it.
pub fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds >= 60 {
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    } else {
        format!("{:.1} s", duration.as_secs_f32())
    }
}

/// Shown on standard error, and only when that is a terminal.
fn spinner() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("      {spinner} {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}
