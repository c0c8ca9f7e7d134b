//! `cargo xtask demo`: the product in under a minute, on this machine.

use std::io::Read;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Args;
use sha2::{Digest, Sha256};
use xtask::lab::{
    Agent, Answer, Binaries, Gateway, GatewayOptions, Host, Lab, LabOptions, Nginx, PeerOptions, Pki, SERVER_NAME, hex,
    privilege,
};
use xtask::packages::{self, Package};

use crate::cargo;
use crate::narrate::{self, Narrator};

const PACKAGES: &[Package] = &[
    Package { name: "iproute2", purpose: "network namespaces and the links between them" },
    Package { name: "nftables", purpose: "the gateway's rules: what is intercepted, what is forwarded" },
    Package { name: "nginx-light", purpose: "the peer, an unmodified web server" },
];

const FILE_BYTES: usize = 20_000_000;

/// What was typed.
#[derive(Args)]
pub struct Options {
    /// Leave everything running until Enter is pressed, to look around.
    #[arg(long)]
    keep: bool,
    /// Packages and programs are there already: the second half of a run without root.
    #[arg(long, hide = true)]
    prepared: bool,
}

/// Prepares this machine and shows the product.
pub fn run(options: &Options) -> Result<ExitCode> {
    let mut narrator = Narrator::new(9);
    if options.prepared {
        return show(options, narrator);
    }
    prepare(&mut narrator)?;
    if privilege::is_root() {
        return show(options, narrator);
    }
    println!("\nNot root: going on inside a user and network namespace of its own.");
    let mut inner = cargo::in_workspace(privilege::command(std::env::current_exe()?)?);
    inner.args(["demo", "--prepared"]);
    if options.keep {
        inner.arg("--keep");
    }
    let status = inner.status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn prepare(narrator: &mut Narrator) -> Result<()> {
    println!("keyferry does the key exchange for devices that cannot. This demo needs from Debian:");
    for package in PACKAGES {
        println!("  {:12} {}", package.name, package.purpose);
    }
    let missing = packages::missing(PACKAGES)?;
    let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
    let explanation = if names.is_empty() {
        "All of them are installed.".to_owned()
    } else {
        format!("Installing what is missing: {}", names.join(", "))
    };
    narrator.step("Packages", &explanation, |_| packages::install(&missing))?;
    narrator.step(
        "Build",
        "The gateway (keyferry) and the terminal's agent (keyferry-terminal), optimised.\n\
         The first time this takes some minutes.",
        |bar| {
            bar.finish_and_clear();
            cargo::run(&mut build_command())
        },
    )
}

fn build_command() -> std::process::Command {
    let mut command = cargo::cargo();
    command.args(["build", "--release", "--bins", "--package", "keyferry"]);
    command.args(["--package", "keyferry-terminal", "--features", "keyferry-terminal/std"]);
    command
}

fn show(options: &Options, mut narrator: Narrator) -> Result<ExitCode> {
    if options.prepared {
        narrator.skip(2);
    }
    let start = Instant::now();
    let binaries = Binaries::in_directory(&cargo::target_directory()?.join("release"))?;
    let lab = narrator.step(
        "Network",
        "Three network namespaces on this machine; nothing outside them is touched.\n\
         terminal 10.7.1.2 --- term0 | gateway | uplink --- 10.7.2.2 peer",
        |_| Lab::new(LabOptions::PLAIN),
    )?;
    let outcome = exchange(&lab, &binaries, &mut narrator);
    if let Err(error) = outcome {
        eprintln!("\n{}", lab.log_tails(15));
        return Err(error);
    }
    println!("\nThat took {} without the build.", narrate::seconds(start.elapsed()));
    if options.keep {
        look_around(&lab);
    }
    println!("Cleaning up: namespaces, processes and files go.");
    Ok(ExitCode::SUCCESS)
}

/// From an empty network to the statistics.
fn exchange(lab: &Lab, binaries: &Binaries, narrator: &mut Narrator) -> Result<()> {
    let pki = Pki::new(lab.directory())?;
    let file = random_bytes(FILE_BYTES)?;
    let nginx = narrator.step(
        "Peer",
        "A certificate authority made this minute, and Debian's nginx with a certificate from it.\n\
         nginx knows nothing of keyferry: to it, a client is a client.",
        |_| {
            let nginx = Nginx::start(lab, &PeerOptions::new(&pki.good_leaf(SERVER_NAME)?))?;
            nginx.publish("index.html", b"Hello, terminal. This page came encrypted end to end.\n")?;
            nginx.publish("file.bin", &file)?;
            Ok(nginx)
        },
    )?;
    let gateway = narrator.step(
        "Gateway",
        "`keyferry run` with a rule: every terminal may reach server.example:443, whose certificate\n\
         must come from that authority. Everything else from the terminals' side is dropped.",
        |_| Gateway::start(lab, &pki, binaries, GatewayOptions::default()),
    )?;
    let agent = narrator.step(
        "Terminal",
        "`keyferry terminal add sensor-1` makes a channel key; the terminal gets it in a file.\n\
         From now on the two share a secret. The terminal has AES and SHA-256 and no public-key code.",
        |_| gateway.add_terminal(lab, "sensor-1", Host::Terminal),
    )?;
    narrator.step(
        "A page",
        "The terminal asks the gateway for server.example:443 and opens TCP. The gateway does the TLS 1.3\n\
         handshake in its place, checks the certificate, and sends it the session keys over the channel.\n\
         The terminal encrypts the request and decrypts the page by itself.",
        |_| fetch_page(lab, &agent),
    )?;
    narrator.step(
        "A file of 20 MB",
        "The same again, with the SHA-256 of what arrives compared to that of what nginx has.",
        |bar| fetch_file(lab, &agent, &file, bar),
    )?;
    narrator.step(
        "Witnesses",
        "nginx's own log names the terminal's address and port, not the gateway's. Then the gateway's statistics.",
        |_| witnesses(lab, &nginx, &gateway),
    )
}

fn fetch_page(lab: &Lab, agent: &Agent) -> Result<()> {
    let answer = agent.get(lab, &format!("{SERVER_NAME}:443"), "/")?;
    ensure_ok(&answer)?;
    println!("      > {}", String::from_utf8_lossy(&answer.body).trim());
    Ok(())
}

fn fetch_file(lab: &Lab, agent: &Agent, file: &[u8], bar: &indicatif::ProgressBar) -> Result<()> {
    narrate::measure(bar, FILE_BYTES as u64);
    let answer = agent.get_with(lab, &format!("{SERVER_NAME}:443"), "/file.bin", |received| {
        bar.set_position(received);
    })?;
    ensure_ok(&answer)?;
    let (sent, received) = (Sha256::digest(file), Sha256::digest(&answer.body));
    println!("      at the peer      {}", hex(&sent));
    println!("      at the terminal  {}", hex(&received));
    ensure!(sent == received, "the hashes differ");
    Ok(())
}

fn witnesses(lab: &Lab, nginx: &Nginx, gateway: &Gateway) -> Result<()> {
    let log = nginx.access_log();
    for line in log.lines() {
        println!("      nginx  {line}");
    }
    let own = format!("{}:", Host::Terminal.ipv4());
    ensure!(
        log.lines().count() >= 2 && log.lines().all(|line| line.starts_with(&own)),
        "nginx saw another address than the terminal's"
    );
    for line in gateway.keyferry(lab, &["stats"])?.lines() {
        println!("      {line}");
    }
    Ok(())
}

fn ensure_ok(answer: &Answer) -> Result<()> {
    ensure!(answer.head.starts_with("HTTP/1.1 200"), "nginx answered {}", answer.head);
    Ok(())
}

fn random_bytes(length: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let mut source = std::fs::File::open("/dev/urandom").context("opening /dev/urandom")?;
    source.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn look_around(lab: &Lab) {
    println!("\nThe lab stays until you press Enter. Look around, for example:");
    for host in [Host::Terminal, Host::Gateway, Host::Peer] {
        println!("  ip netns exec {} bash", lab.namespace(host));
    }
    println!("  ls {}", lab.directory().display());
    // An error here means that there is nobody to press Enter.
    let _ = std::io::stdin().read_line(&mut String::new());
}
