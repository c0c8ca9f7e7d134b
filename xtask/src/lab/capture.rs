//! What passed an interface, as a capture file.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Host, Lab, Process};

/// A running capture.
#[derive(Debug)]
pub struct Capture {
    tcpdump: Process,
    path: PathBuf,
}

impl Capture {
    pub(super) fn start(lab: &Lab, host: Host, interface: &str, name: &str, filter: &str) -> Result<Self> {
        let path = lab.directory().join(format!("{name}.pcap"));
        let mut command = lab.command(host, "tcpdump");
        command
            .args(["-i", interface, "--immediate-mode", "-n", "-U", "-B", "32768", "-Z", "root", "-w"])
            .arg(&path)
            .arg(filter);
        let mut tcpdump = lab.spawn(&format!("tcpdump-{name}"), command)?;
        tcpdump
            .wait_for_log("listening on", Duration::from_secs(5))
            .context("in a user namespace tcpdump cannot change its user: run as root")?;
        Ok(Self { tcpdump, path })
    }

    /// Ends the capture; the file is complete afterwards.
    pub fn finish(mut self) -> Result<PathBuf> {
        // The last packets are still on their way through the packet socket.
        std::thread::sleep(Duration::from_millis(200));
        self.tcpdump.stop()?;
        Ok(std::mem::take(&mut self.path))
    }
}

/// The link-layer frames of a capture file, as `tcpdump` wrote it on this machine.
pub fn frames(path: &Path) -> Result<Vec<Vec<u8>>> {
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let mut rest = bytes.get(24..).context("shorter than a pcap header")?;
    let mut frames = Vec::new();
    while let Some((header, body)) = rest.split_at_checked(16) {
        let length = header.get(8..12).and_then(|field| field.try_into().ok());
        let length = length.map_or(0, u32::from_le_bytes) as usize;
        let (frame, next) = body.split_at_checked(length).context("a torn capture")?;
        frames.push(frame.to_vec());
        rest = next;
    }
    Ok(frames)
}

/// A capture as `tcpdump` words it, one line a packet.
pub fn describe(path: &Path) -> Result<String> {
    super::finish(Command::new("tcpdump").args(["-n", "-r"]).arg(path))
}
