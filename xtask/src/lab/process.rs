//! A process of the lab: its log, its pipes, its end.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::wait_until;

/// A running process. Dropping it ends it: SIGTERM, and SIGKILL after three seconds.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    /// Where in the log its own lines begin: processes of one name share the file.
    begin: u64,
}

/// What the process's standard input and output are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pipes {
    /// Nothing to read; output goes to the log.
    Closed,
    /// Both are pipes of ours.
    Open,
}

impl Process {
    pub(super) fn start(name: &str, mut command: Command, directory: &Path, pipes: Pipes) -> Result<Self> {
        let log = directory.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log)?;
        match pipes {
            Pipes::Closed => command.stdin(Stdio::null()).stdout(file.try_clone()?),
            Pipes::Open => command.stdin(Stdio::piped()).stdout(Stdio::piped()),
        };
        let begin = file.metadata()?.len();
        let child = command.stderr(file).spawn().with_context(|| format!("starting {name}: {command:?}"))?;
        Ok(Self { name: name.to_owned(), child, log, begin })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything logged so far.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        let own = usize::try_from(self.begin).ok().and_then(|begin| bytes.get(begin..));
        String::from_utf8_lossy(own.unwrap_or_default()).into_owned()
    }

    /// The pipe into the process; `None` when it was started without or it was taken before.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// The pipe out of the process; `None` when it was started without or it was taken before.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits for its own end.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        wait_until(limit, || Ok(self.child.try_wait()?.is_some()))
            .with_context(|| format!("{} does not end", self.name))?;
        Ok(self.child.wait()?)
    }

    /// Waits until the log contains `text`; fails at once when the process has ended without it.
    pub fn wait_for_log(&mut self, text: &str, limit: Duration) -> Result<()> {
        let found = wait_until(limit, || {
            let ended = self.child.try_wait()?;
            if self.log().contains(text) {
                return Ok(true);
            }
            match ended {
                Some(status) => bail!("it ended with {status}"),
                None => Ok(false),
            }
        });
        found.with_context(|| format!("{} did not log {text:?}; it logged\n{}", self.name, tail(&self.log, 20)))
    }

    /// Asks it to end (SIGTERM) and waits.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.signal(rustix::process::Signal::TERM);
        if let Ok(status) = self.wait(Duration::from_secs(3)) {
            return Ok(status);
        }
        self.kill()
    }

    /// Ends it without asking (SIGKILL), as a crash would.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.child.kill()?;
        Ok(self.child.wait()?)
    }

    fn signal(&mut self, signal: rustix::process::Signal) {
        // A child that has been waited for has no pid of its own any more.
        if let Ok(Some(_)) = self.child.try_wait() {
            return;
        }
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            // It may end by itself at this moment.
            let _ = rustix::process::kill_process(pid, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

/// The logs of a directory, in the order of their names.
pub(super) fn logs_in(directory: &Path) -> Vec<PathBuf> {
    let mut logs: Vec<PathBuf> = std::fs::read_dir(directory)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    logs.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.sort();
    logs
}

/// The last lines of a file.
pub(super) fn tail(path: &Path, lines: usize) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all.iter().skip(all.len().saturating_sub(lines)).copied().collect::<Vec<_>>().join("\n")
}
