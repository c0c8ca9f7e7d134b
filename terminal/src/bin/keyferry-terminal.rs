//! `keyferry-terminal`: the Linux agent as a daemon, as a pipe, and as a status line.

use clap::{Parser, Subcommand};
use keyferry_terminal::agent::{
    Agent, AgentError, AgentListener, AgentStream, Blame, Config, ConnectOptions, Control, ControlClient, Incoming,
    ListenOptions, Status, forward_to, pipe,
};
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

/// TLS for a device without public-key cryptography: the gateway does the handshake, this end encrypts.
#[derive(Parser)]
#[command(version, after_help = AFTER_HELP)]
struct Arguments {
    /// The configuration.
    #[arg(long, value_name = "FILE", global = true, default_value = "/etc/keyferry-terminal.toml")]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
EXAMPLE
  The gateway's operator runs `keyferry terminal add meter-7` and gives you this file, and the key beside it or \
in it (key = \"<64 hex digits>\"). Save them with mode 600:

    id = \"meter-7\"
    gateway = \"10.7.1.1:5683\"
    sender_id = \"0a\"              # hex, this terminal's channel id
    gateway_id = \"00\"             # hex, the gateway's
    key_file = \"meter-7.key\"      # 64 hex digits; erased once the state has taken over
    state = \"/var/lib/keyferry-terminal/state\"

  Fetch a page, encrypted end to end:

    printf 'GET / HTTP/1.1\\r\\nHost: server.example\\r\\nConnection: close\\r\\n\\r\\n' |
        keyferry-terminal connect server.example:443

  Give a service on this device TLS, for the peers that policy allows:

    keyferry-terminal listen 8443 --forward 127.0.0.1:8080

EXIT CODES
  0 the peer closed properly   2 policy, or this terminal's fault   3 the peer's fault
  4 the gateway does not answer or cannot serve   5 the stream was cut off";

/// For `connect`, and for `listen` without `--forward`.
const PIPE_HELP: &str = "\
ENDS
  At its end standard input is closed towards the peer (close_notify); what the peer still sends is written.
  When the peer closes first, standard input is still sent until it ends, pauses for a second, or the peer takes \
no more: a file arrives whole, a terminal that waits for input does not keep the command.";

#[derive(Subcommand)]
enum Command {
    /// Run the agent, so that many connections at once can share this terminal's channel.
    Run,
    /// Standard input to the peer, the peer to standard output; through the running agent if there is one.
    #[command(after_help = PIPE_HELP)]
    Connect {
        /// Whom to reach: a name that the gateway's policy knows, or an address. IPv6 as [fd07:2::2]:443.
        #[arg(value_name = "HOST:PORT")]
        target: String,
        /// An application protocol to offer; repeat it in order of preference.
        #[arg(long, value_name = "PROTOCOL")]
        alpn: Vec<String>,
        /// The server name to ask for, where it is not HOST.
        #[arg(long, value_name = "NAME")]
        sni: Option<String>,
        /// Where the peer is, if not where the gateway finds its name.
        #[arg(long, value_name = "ADDRESS")]
        address: Option<IpAddr>,
        /// The gateway is not on the path to the peer: carry the handshake to it over the channel.
        #[arg(long)]
        assisted: bool,
        /// Refuse peers that speak TLS 1.2 only.
        #[arg(long)]
        tls13_only: bool,
        /// Say nothing but errors.
        #[arg(long)]
        quiet: bool,
    },
    /// Be a TLS server: the first peer to standard output, standard input to it; or all peers to a service.
    #[command(after_help = PIPE_HELP)]
    Listen {
        /// This terminal's port. The gateway's policy must have a service there.
        #[arg(value_name = "PORT")]
        port: u16,
        /// Join every peer, decrypted, with this TCP service, until interrupted.
        #[arg(long, value_name = "HOST:PORT")]
        forward: Option<String>,
        /// An application protocol that is spoken there; repeat it for more. Default: what policy says.
        #[arg(long, value_name = "PROTOCOL")]
        alpn: Vec<String>,
        /// This terminal's address to listen at; repeat it for more. Default: the one that the gateway knows.
        #[arg(long, value_name = "ADDRESS")]
        address: Vec<IpAddr>,
        /// Peers do not come through the gateway: carry their handshakes to it over the channel.
        #[arg(long)]
        assisted: bool,
        /// Refuse peers that speak TLS 1.2 only.
        #[arg(long)]
        tls13_only: bool,
        /// Say nothing but errors.
        #[arg(long)]
        quiet: bool,
    },
    /// Is the gateway there, what has been sent?
    Status {
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&AgentError::from_stream(error)),
    };
    let done = runtime.block_on(run(arguments));
    // A read from standard input may still be waiting in its thread: nobody waits for it.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    }
}

async fn run(arguments: Arguments) -> Result<(), AgentError> {
    let config = Config::load(&arguments.config).map_err(|error| terminal_fault(error.to_string()))?;
    match arguments.command {
        Command::Run => daemon(config).await,
        Command::Connect { target, alpn, sni, address, assisted, tls13_only, quiet } => {
            let (host, port) = split(&target)?;
            let tls12 = !tls13_only;
            let options = ConnectOptions { alpn, sni, tls12, assisted, address, ..ConnectOptions::default() };
            connect(config, &host, port, &options, quiet).await
        }
        Command::Listen { port, forward, alpn, address, assisted, tls13_only, quiet } => {
            let options = ListenOptions { alpn, tls12: !tls13_only, assisted, addresses: address };
            if let Some(service) = &forward {
                split(service)?;
            }
            listen(config, port, &options, forward, quiet).await
        }
        Command::Status { json } => {
            let status = match ControlClient::reach(&config.control).await {
                Some(client) => client.status().await?,
                None => Agent::start(config).await?.status().await,
            };
            print_status(&status, json)
        }
    }
}

async fn daemon(config: Config) -> Result<(), AgentError> {
    let (control, gateway, id) = (config.control.clone(), config.gateway, config.id.clone());
    let agent = Agent::start(config).await?;
    let listener = Control::bind(&control)
        .map_err(|error| terminal_fault(format!("control socket {}: {error}", control.display())))?;
    say(&format!("{id}: agent for the gateway {gateway}, control socket {}", control.display()));
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .map_err(|error| terminal_fault(error.to_string()))?;
    tokio::select! {
        ended = listener.run(agent.clone()) => ended.map_err(|error| terminal_fault(format!("control socket: {error}"))),
        error = agent.stopped() => Err(error),
        _ = tokio::signal::ctrl_c() => Ok(()),
        _ = terminated.recv() => Ok(()),
    }
}

async fn connect(
    config: Config,
    host: &str,
    port: u16,
    options: &ConnectOptions,
    quiet: bool,
) -> Result<(), AgentError> {
    let (input, output) = (tokio::io::stdin(), tokio::io::stdout());
    let greet = |peer: &str| {
        if !quiet {
            say(&format!("connected to {host}:{port}, which proved to be {peer}"));
        }
    };
    if let Some(mut client) = ControlClient::reach(&config.control).await {
        greet(&client.connect(host, port, options).await?);
        return client.pipe(input, output).await;
    }
    let agent = Agent::start(config).await?;
    let stream = agent.connect(host, port, options).await?;
    greet(&stream.peer().identity);
    pipe(stream, input, output).await
}

async fn listen(
    config: Config,
    port: u16,
    options: &ListenOptions,
    forward: Option<String>,
    quiet: bool,
) -> Result<(), AgentError> {
    let tell = |message: String| {
        if !quiet {
            say(&message);
        }
    };
    let (input, output) = (tokio::io::stdin(), tokio::io::stdout());
    if let Some(mut client) = ControlClient::reach(&config.control).await {
        let at = client.listen(port, options, forward.clone()).await?;
        tell(format!("listening at {}", list(&at)));
        loop {
            let peer = client.accepted(|client, error| tell(refused(client, error))).await?;
            tell(format!("connected: {peer}"));
            if forward.is_none() {
                return client.pipe(input, output).await;
            }
        }
    }
    let agent = Agent::start(config).await?;
    let mut listener = agent.listen(port, options).await?;
    tell(format!("listening at {}", list(listener.addresses())));
    let serving = async {
        match forward {
            Some(service) => forward_all(&mut listener, service, tell).await.map(|()| None),
            None => next(&mut listener, &tell).await.map(Some),
        }
    };
    let accepted = tokio::select! {
        served = serving => served?,
        stopped = stopped() => {
            stopped?;
            None
        }
    };
    drop(listener);
    match accepted {
        Some(stream) => {
            if !quiet {
                say(&format!("connected: {}", stream.describe()));
            }
            pipe(stream, input, output).await
        }
        // The gateway hears that nobody listens any more before it answers this.
        None => {
            agent.status().await;
            Ok(())
        }
    }
}

/// Somebody ends this program.
async fn stopped() -> Result<(), AgentError> {
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .map_err(|error| terminal_fault(error.to_string()))?;
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated.recv() => {}
    }
    Ok(())
}

/// The next peer that is served.
async fn next(listener: &mut AgentListener, tell: impl Fn(String)) -> Result<AgentStream, AgentError> {
    loop {
        match listener.incoming().await? {
            Incoming::Stream(stream) => return Ok(stream),
            Incoming::Failed { client, error } => tell(refused(client, &error)),
        }
    }
}

fn refused(client: SocketAddr, error: &AgentError) -> String {
    format!("not connected: {client}: {error}")
}

async fn forward_all(listener: &mut AgentListener, service: String, tell: impl Fn(String)) -> Result<(), AgentError> {
    loop {
        let stream = next(listener, &tell).await?;
        tell(format!("connected: {}", stream.describe()));
        let service = service.clone();
        tokio::spawn(async move {
            if let Err(error) = forward_to(service, stream).await {
                say(&error.message);
            }
        });
    }
}

fn list(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ")
}

fn print_status(status: &Status, json: bool) -> Result<(), AgentError> {
    let text = if json {
        serde_json::to_string(status).map_err(|error| terminal_fault(error.to_string()))?
    } else {
        let reachable = match (status.round_trip_ms, &status.trouble) {
            (Some(round_trip), _) => format!("answers in {round_trip:.1} ms"),
            (None, trouble) => trouble.clone().unwrap_or_default(),
        };
        format!(
            "gateway   {}  {reachable}\nepoch     {}\nsessions  {} open, {} in all\nbytes     {} sent, {} received",
            status.gateway,
            status.epoch,
            status.sessions_open,
            status.sessions_total,
            status.bytes_sent,
            status.bytes_received
        )
    };
    writeln!(std::io::stdout(), "{text}").map_err(|error| terminal_fault(error.to_string()))?;
    match &status.trouble {
        Some(trouble) => Err(AgentError { blame: Blame::Gateway, reason: None, message: trouble.clone() }),
        None => Ok(()),
    }
}

fn split(target: &str) -> Result<(String, u16), AgentError> {
    let parts = target.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    match parts {
        Some((host, port @ 1..)) if !host.is_empty() => {
            let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
            Ok((bare.to_owned(), port))
        }
        _ => Err(terminal_fault(format!(
            "{target:?} is not HOST:PORT; write it like server.example:443 or [fd07:2::2]:443"
        ))),
    }
}

fn terminal_fault(message: String) -> AgentError {
    AgentError { blame: Blame::Terminal, reason: None, message }
}

/// Standard output belongs to the peer's data.
fn say(message: &str) {
    let _ = writeln!(std::io::stderr(), "keyferry-terminal: {message}");
}

fn report(error: &AgentError) -> ExitCode {
    say(&error.message);
    ExitCode::from(error.blame.exit_code())
}
