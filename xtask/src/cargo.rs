//! Calling cargo, with its output shown as it comes.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use xtask::lab::workspace;

/// The cargo that runs us, or the one on the path; in the workspace's root.
pub fn cargo() -> Command {
    in_workspace(Command::new(program()))
}

/// Which cargo to call.
pub fn program() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

/// Sets a command's directory to the workspace's root.
pub fn in_workspace(mut command: Command) -> Command {
    command.current_dir(workspace());
    command
}

/// Where cargo puts what it builds: the directory that this program came from.
pub fn target_directory() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let target = own.ancestors().nth(2);
    Ok(target.context("this program is in no target directory")?.to_owned())
}

/// Package and name of every target of a kind (`bench`, `test`) in the workspace.
pub fn targets(kind: &str) -> Result<Vec<(String, String)>> {
    let mut command = cargo();
    command.args(["metadata", "--no-deps", "--format-version", "1"]);
    let metadata: Value = serde_json::from_str(&xtask::lab::finish(&mut command)?)?;
    let packages = metadata.get("packages").and_then(Value::as_array);
    let mut found = Vec::new();
    for package in packages.context("cargo metadata has no packages")? {
        let targets = package.get("targets").and_then(Value::as_array);
        for target in targets.into_iter().flatten() {
            let text = |value: &Value, path| value.pointer(path).and_then(Value::as_str).map(str::to_owned);
            if text(target, "/kind/0").as_deref() == Some(kind) {
                found.extend(text(package, "/name").zip(text(target, "/name")));
            }
        }
    }
    Ok(found)
}

/// Runs a command with our own output; fails when it fails.
pub fn run(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    println!("      $ {shown}");
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("starting {shown}"))?;
    if !status.success() {
        bail!("{shown}: {status}");
    }
    Ok(())
}

/// Runs tests, shows their output and returns how many passed.
pub fn run_tests(command: &mut Command) -> Result<usize> {
    let shown = shown(command);
    println!("      $ {shown}");
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().with_context(|| format!("starting {shown}"))?;
    let mut passed = 0;
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines() {
            let line = line?;
            println!("{line}");
            passed += passed_in(&line);
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{shown}: {status}");
    }
    Ok(passed)
}

/// The count in a line such as `test result: ok. 12 passed; 0 failed; ..`.
fn passed_in(line: &str) -> usize {
    let Some((_, result)) = line.split_once("test result: ") else {
        return 0;
    };
    let count = result.split_once(" passed").and_then(|(before, _)| before.rsplit(' ').next());
    count.and_then(|count| count.parse().ok()).unwrap_or(0)
}

fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name();
    let mut words = vec![program.unwrap_or_default().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_passed_tests() {
        let line = "test result: ok. 12 passed; 0 failed; 3 ignored; 0 measured";
        assert_eq!(passed_in(line), 12);
        assert_eq!(passed_in("test result: FAILED. 4 passed; 1 failed"), 4);
        assert_eq!(passed_in("test lab_forwards ... ok"), 0);
    }
}
