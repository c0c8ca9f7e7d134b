//! `cargo xtask demo | test | bench`.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command for people")]
#![allow(clippy::disallowed_methods, reason = "durations are shown to people")]

mod bench;
mod cargo;
mod demo;
mod narrate;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Everything a person or CI does with this repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Shows the whole thing: a terminal without public-key code fetches from an unmodified nginx.
    Demo(demo::Options),
    /// Runs every check, or those that match a filter.
    Test(test::Options),
    /// Prints the figures that the README names.
    Bench(bench::Options),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Task::Demo(options) => demo::run(&options),
        Task::Test(options) => test::run(&options),
        Task::Bench(options) => bench::run(&options),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}
