//! `cargo xtask test [filter]`: every check, one after the other, each with its time, and a summary.

mod steps;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use xtask::packages::{self, Package};

use crate::narrate;
use steps::{STEPS, Step};

/// What was typed.
#[derive(Args)]
pub struct Options {
    /// A step's name (see --list), or a part of the names of test files or of tests to run.
    filter: Option<String>,
    /// Show the steps and end.
    #[arg(long)]
    list: bool,
}

/// A step's end.
struct Outcome {
    name: &'static str,
    took: Duration,
    /// How many tests passed in it.
    result: Result<usize>,
}

/// Runs what matches; the exit code is a failure when any step failed.
pub fn run(options: &Options) -> Result<ExitCode> {
    if options.list {
        for step in STEPS {
            println!("{:8} {}", step.name, step.purpose);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let (selected, tests) = select(options.filter.as_deref());
    install(&selected)?;
    let mut outcomes = Vec::new();
    for step in selected {
        println!("\n== {}: {}", step.name, step.purpose);
        let start = Instant::now();
        let result = (step.run)(tests);
        if let Err(error) = &result {
            println!("FAILED: {error:#}");
        }
        outcomes.push(Outcome { name: step.name, took: start.elapsed(), result });
    }
    Ok(summary(&outcomes))
}

/// A run that was to run tests and ran none has shown nothing.
fn ran_no_test(outcomes: &[Outcome]) -> bool {
    let has_tests = |name| STEPS.iter().any(|step| step.name == name && step.has_tests);
    outcomes.iter().any(|outcome| has_tests(outcome.name))
        && !outcomes.iter().any(|outcome| matches!(outcome.result, Ok(1..) | Err(_)))
}

/// The steps to run and the filter for the tests in them. A filter that names a step selects it whole;
/// any other is for the tests.
fn select(filter: Option<&str>) -> (Vec<&'static Step>, Option<&str>) {
    let Some(filter) = filter else {
        return (STEPS.iter().collect(), None);
    };
    match STEPS.iter().find(|step| step.name == filter) {
        Some(step) => (vec![step], None),
        None => (STEPS.iter().filter(|step| step.has_tests).collect(), Some(filter)),
    }
}

fn install(selected: &[&Step]) -> Result<()> {
    let mut wanted: Vec<Package> = selected.iter().flat_map(|step| (step.packages)()).collect();
    wanted.sort_unstable();
    wanted.dedup();
    if wanted.is_empty() {
        return Ok(());
    }
    println!("These checks need from Debian:");
    for package in &wanted {
        println!("  {:22} {}", package.name, package.purpose);
    }
    let missing = packages::missing(&wanted)?;
    if missing.is_empty() {
        println!("All of them are installed.");
    } else {
        let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
        println!("Installing: {}", names.join(" "));
    }
    packages::install(&missing)
}

fn summary(outcomes: &[Outcome]) -> ExitCode {
    println!("\nSummary");
    for outcome in outcomes {
        let verdict = if outcome.result.is_ok() { "ok    " } else { "FAILED" };
        println!("  {verdict} {:8} {}", outcome.name, narrate::seconds(outcome.took));
        if let Err(error) = &outcome.result {
            println!("         {error:#}");
        }
    }
    let failed = outcomes.iter().filter(|outcome| outcome.result.is_err()).count();
    println!("steps: {} passed, {failed} failed", outcomes.len() - failed);
    if ran_no_test(outcomes) {
        println!("No test was run: nothing matches the filter.");
    }
    if failed == 0 && !outcomes.is_empty() && !ran_no_test(outcomes) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filter_that_names_a_step_selects_it_whole() {
        let (steps, tests) = select(Some("fmt"));
        assert_eq!(steps.len(), 1);
        assert_eq!(tests, None);
    }

    #[test]
    fn other_filter_is_for_the_tests() {
        let (steps, tests) = select(Some("key_update"));
        assert!(steps.iter().all(|step| step.has_tests));
        assert!(steps.len() >= 2);
        assert_eq!(tests, Some("key_update"));
    }

    #[test]
    fn run_fails_when_a_step_failed_or_nothing_was_run() {
        let code = |outcomes: &[Outcome]| format!("{:?}", summary(outcomes));
        let outcome = |name, result| Outcome { name, took: Duration::ZERO, result };
        let failure = format!("{:?}", ExitCode::FAILURE);
        assert_eq!(code(&[]), failure);
        assert_eq!(code(&[outcome("tests", Ok(0))]), failure);
        assert_eq!(code(&[outcome("fmt", Ok(0)), outcome("doc", Err(anyhow::anyhow!("no")))]), failure);
        assert_ne!(code(&[outcome("fmt", Ok(0))]), failure);
        assert_ne!(code(&[outcome("tests", Ok(3)), outcome("peers", Ok(0))]), failure);
    }
}
