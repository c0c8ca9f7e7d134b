//! The checks.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use xtask::lab::{privilege, workspace};
use xtask::packages::Package;

use crate::cargo;

/// One check.
pub struct Step {
    /// What a person types to run it alone.
    pub name: &'static str,
    /// What it shows.
    pub purpose: &'static str,
    /// Debian packages it needs.
    pub packages: fn() -> Vec<Package>,
    /// True when a filter may select tests in it.
    pub has_tests: bool,
    /// Does it, with a filter for its tests; returns how many tests passed.
    pub run: fn(Option<&str>) -> Result<usize>,
}

/// All of them, the quick ones first.
pub const STEPS: &[Step] = &[
    Step {
        name: "fmt",
        purpose: "formatting",
        packages: Vec::new,
        has_tests: false,
        run: |_| check(&["fmt", "--all", "--check"]),
    },
    Step {
        name: "clippy",
        purpose: "lints, warnings are errors",
        packages: Vec::new,
        has_tests: false,
        run: |_| check(&["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"]),
    },
    Step {
        name: "core",
        purpose: "the sans-IO core builds without sockets, files and threads",
        packages: Vec::new,
        has_tests: false,
        run: |_| check(&["check", "--lib", "--no-default-features"]),
    },
    Step {
        name: "tests",
        purpose: "layering, unit and in-memory tests",
        packages: python_packages,
        has_tests: true,
        run: in_memory_tests,
    },
    Step {
        name: "doc",
        purpose: "documentation builds, warnings are errors",
        packages: Vec::new,
        has_tests: false,
        run: |_| documentation(),
    },
    Step {
        name: "mcu",
        purpose: "parsers, channel and terminal build for a microcontroller (thumbv7em-none-eabi), with the terminal's size",
        packages: mcu_packages,
        has_tests: false,
        run: |_| microcontroller(),
    },
    Step {
        name: "peers",
        purpose: "unmodified TLS servers and clients in network namespaces",
        packages: peer_packages,
        has_tests: true,
        run: real_peers,
    },
];

/// The test files that build labs.
const REAL_PEERS: [&str; 2] = ["lab", "interop"];

const MCU: &str = "thumbv7em-none-eabi";

fn python_packages() -> Vec<Package> {
    vec![Package {
        name: "python3-venv",
        purpose: "a virtual environment with aiocoap, the terminal on another CoAP stack",
    }]
}

fn mcu_packages() -> Vec<Package> {
    let mut packages = vec![Package {
        name: "gcc-arm-none-eabi",
        purpose: "links the terminal for a microcontroller and measures it",
    }];
    if !rustup_has_target() {
        packages.push(Package { name: "rustc-web", purpose: "a compiler whose own library source is a package too" });
        packages.push(Package { name: "rust-web-src", purpose: "core and alloc, to build them for a microcontroller" });
    }
    packages
}

fn peer_packages() -> Vec<Package> {
    let package = |name, purpose| Package { name, purpose };
    let mut packages = vec![
        package("iproute2", "network namespaces and the links between them"),
        package("nftables", "the gateway's rules, loss, masquerading"),
        package("nginx-light", "a peer"),
        package("openssl", "a peer (s_server, s_client); RSA and Ed25519 keys"),
        package("gnutls-bin", "a peer (gnutls-serv, gnutls-cli)"),
        package("curl", "a peer"),
        package("python3", "a peer (ssl)"),
        package("tcpdump", "records what passes the terminal's link"),
    ];
    packages.extend(python_packages());
    packages
}

/// A check by cargo alone.
fn check(arguments: &[&str]) -> Result<usize> {
    cargo::run(cargo::cargo().args(arguments)).map(|()| 0)
}

fn documentation() -> Result<usize> {
    let mut command = cargo::cargo();
    command.env("RUSTDOCFLAGS", "-D warnings");
    command.args(["doc", "--workspace", "--no-deps", "--all-features"]);
    cargo::run(&mut command).map(|()| 0)
}

fn in_memory_tests(filter: Option<&str>) -> Result<usize> {
    let mut command = test_command(cargo::cargo())?;
    command.args(["test", "--workspace", "--all-features"]);
    let files = files_named(filter, |name| !REAL_PEERS.contains(&name))?;
    let filter = filter.filter(|_| files.is_empty());
    cargo::run_tests(command.args(select(&files)).args(filter))
}

/// Builds as the user that asked, then runs the ignored tests where labs may be built.
fn real_peers(filter: Option<&str>) -> Result<usize> {
    cargo::run(cargo::cargo().args(["build", "--workspace", "--all-features", "--bins"]))?;
    let named = files_named(filter, |name| REAL_PEERS.contains(&name))?;
    let filter = filter.filter(|_| named.is_empty());
    let files = if named.is_empty() { REAL_PEERS.map(str::to_owned).to_vec() } else { named };
    let mut targets = vec!["test".to_owned(), "--workspace".to_owned(), "--all-features".to_owned()];
    targets.extend(select(&files));
    cargo::run(cargo::cargo().args(&targets).arg("--no-run"))?;
    let program = privilege::command(cargo::program())?;
    let mut command = test_command(cargo::in_workspace(program))?;
    command.args(targets).args(["--", "--ignored", "--test-threads=2"]);
    cargo::run_tests(command.args(filter))
}

/// The files in tests/ whose names contain the filter.
fn files_named(filter: Option<&str>, fits: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    let Some(filter) = filter else {
        return Ok(Vec::new());
    };
    let names = cargo::targets("test")?.into_iter().map(|(_, name)| name);
    Ok(names.filter(|name| name.contains(filter) && fits(name)).collect())
}

fn select(files: &[String]) -> impl Iterator<Item = String> {
    files.iter().flat_map(|name| ["--test".to_owned(), name.clone()])
}

/// Tests find the Python with aiocoap by `KEYFERRY_PYTHON`.
fn test_command(mut command: Command) -> Result<Command> {
    command.env("KEYFERRY_PYTHON", python()?);
    command.env("RUST_LIB_BACKTRACE", "0");
    Ok(command)
}

/// A Python that has what tests/interop/requirements.txt names.
fn python() -> Result<PathBuf> {
    let venv = cargo::target_directory()?.join("venv");
    let python = venv.join("bin/python");
    let requirements = workspace().join("tests/interop/requirements.txt");
    let installed = venv.join("requirements.txt");
    let wanted = std::fs::read(&requirements).context("reading tests/interop/requirements.txt")?;
    if std::fs::read(&installed).is_ok_and(|have| have == wanted) {
        return Ok(python);
    }
    cargo::run(Command::new("/usr/bin/python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(&requirements);
    cargo::run(&mut pip)?;
    std::fs::write(installed, wanted)?;
    Ok(python)
}

fn microcontroller() -> Result<usize> {
    let target = cargo::target_directory()?.join("mcu");
    let mut libraries = mcu_command(&target, "build");
    libraries.args(["--package", "keyferry-parsers", "--package", "keyferry-channel"]);
    libraries.args(["--package", "keyferry-terminal"]);
    cargo::run(&mut libraries)?;
    let manifest = workspace().join("terminal/size/Cargo.toml");
    ensure!(manifest.exists(), "terminal/size, the program that is measured, is missing");
    let mut program = mcu_command(&target, "build");
    // Where it stands, for the settings in its own .cargo/config.toml.
    program.current_dir(workspace().join("terminal/size"));
    cargo::run(&mut program)?;
    let image = target.join(MCU).join("release/keyferry-terminal-size");
    cargo::run(Command::new("arm-none-eabi-size").arg(image)).map(|()| 0)
}

/// With rustup's target where it is installed; else Debian's compiler builds core and alloc from the source
/// that Debian packages beside it. Both are stable releases; the variable only permits -Z.
fn mcu_command(target: &Path, subcommand: &str) -> Command {
    let mut command = cargo::cargo();
    command.arg(subcommand);
    if !rustup_has_target() {
        command.env("RUSTC", "/usr/bin/rustc").env("RUSTC_BOOTSTRAP", "1");
        command.arg("-Zbuild-std=core,alloc");
    }
    command.args(["--release", "--target", MCU, "--target-dir"]).arg(target);
    command
}

fn rustup_has_target() -> bool {
    Command::new("rustup")
        .args(["target", "list", "--installed"])
        .output()
        .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).lines().any(|line| line == MCU))
}
