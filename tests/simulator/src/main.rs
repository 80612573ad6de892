//! `simulated-aws`: the simulated EC2, S3, STS and SNS as a program, on one port of the loopback.

mod server;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use ami_backup_simulator::Simulator;
use ami_backup_simulator::account::AccountFile;
use ami_backup_simulator::clock::SystemClock;
use ami_backup_simulator::faults::Rule;
use ami_backup_simulator::objects::{RemoteCredentials, RemoteObjects};
use clap::Parser;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// How often the world is brought up to the present while nobody calls, so that objects appear in
/// another S3 on time.
const TICK: Duration = Duration::from_millis(100);

/// A simulated EC2, S3, STS and SNS. Any secret key will do; the access key says the account.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Account file: what the simulated accounts hold, and how the world behaves.
    #[arg(long, value_name = "FILE")]
    account: PathBuf,
    /// Where to listen; only loopback addresses are taken, and port 0 is any free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// A second address, for containers: the gateway of their network, as a private IPv4 address.
    #[arg(long, value_name = "ADDRESS")]
    containers: Option<SocketAddr>,
    /// File to write the ready line to as well.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// Keep objects in the S3 behind this URL instead of in memory.
    #[arg(long, value_name = "URL")]
    s3_endpoint: Option<String>,
    /// Access key for that S3.
    #[arg(long, value_name = "KEY", default_value = "test", requires = "s3_endpoint")]
    s3_access_key: String,
    /// Secret key for that S3.
    #[arg(long, value_name = "KEY", default_value = "test", requires = "s3_endpoint")]
    s3_secret_key: String,
    /// JSON list of fault rules to start with.
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            // Nothing is left to do when even this cannot be written.
            writeln!(std::io::stderr(), "simulated-aws: {problem}").ok();
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), String> {
    refuse_the_world(&arguments)?;
    let simulator = simulator(&arguments)?;
    let listener = listen(arguments.listen).await?;
    let for_containers = match arguments.containers {
        Some(address) => Some(listen(address).await?),
        None => None,
    };
    let address = listener.local_addr().map_err(|error| format!("could not read the address: {error}"))?;
    let mut interrupted = signal(SignalKind::interrupt()).map_err(|error| format!("no SIGINT: {error}"))?;
    let mut terminated = signal(SignalKind::terminate()).map_err(|error| format!("no SIGTERM: {error}"))?;
    announce(&arguments, address)?;
    tokio::select! {
        () = server::serve(listener, simulator.clone()) => {}
        () = serve_containers(for_containers, simulator.clone()) => {}
        () = keep_up(&simulator) => {}
        _ = interrupted.recv() => {}
        _ = terminated.recv() => {}
    }
    Ok(())
}

/// Nothing here checks who calls, so nobody from elsewhere may.
fn refuse_the_world(arguments: &Arguments) -> Result<(), String> {
    if !arguments.listen.ip().is_loopback() {
        return Err(format!(
            "{} is not a loopback address: nothing here checks who calls, so it must not be reached from elsewhere",
            arguments.listen
        ));
    }
    match arguments.containers {
        Some(SocketAddr::V4(address)) if address.ip().is_private() => Ok(()),
        Some(address) => Err(format!("{address} is not a private IPv4 address, as a network of containers has")),
        None => Ok(()),
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| format!("could not listen on {address}: {error}"))
}

async fn serve_containers(listener: Option<TcpListener>, simulator: Simulator) {
    match listener {
        Some(listener) => server::serve(listener, simulator).await,
        None => std::future::pending().await,
    }
}

/// The world that the arguments describe.
fn simulator(arguments: &Arguments) -> Result<Simulator, String> {
    let file: AccountFile = read_json(&arguments.account)?;
    let clock = Arc::new(SystemClock);
    let simulator = match &arguments.s3_endpoint {
        None => Simulator::in_memory(file, clock),
        Some(endpoint) => {
            let credentials = RemoteCredentials {
                access_key: arguments.s3_access_key.clone(),
                secret_key: arguments.s3_secret_key.clone(),
            };
            let owner = file.accounts.first().map(|account| account.id.clone()).unwrap_or_default();
            Simulator::new(file, clock, Arc::new(RemoteObjects::new(endpoint, &credentials, &owner)))
        }
    };
    if let Some(path) = &arguments.faults {
        simulator.faults().set(read_json::<Vec<Rule>>(path)?);
    }
    Ok(simulator)
}

fn read_json<T: serde::de::DeserializeOwned>(path: &PathBuf) -> Result<T, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("could not read {}: {error}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{} is not understood: {error}", path.display()))
}

/// Says where the program listens, on standard output and in the ready file.
fn announce(arguments: &Arguments, address: SocketAddr) -> Result<(), String> {
    let line = serde_json::json!({ "listening": format!("http://{address}") }).to_string();
    if let Some(path) = &arguments.ready_file {
        // Renamed into place, so that whoever waits for the file never reads half of it.
        let draft = path.with_extension("draft");
        std::fs::write(&draft, format!("{line}\n"))
            .and_then(|()| std::fs::rename(&draft, path))
            .map_err(|error| format!("could not write {}: {error}", path.display()))?;
    }
    let mut output = std::io::stdout();
    writeln!(output, "{line}")
        .and_then(|()| output.flush())
        .map_err(|error| format!("could not write to standard output: {error}"))
}

async fn keep_up(simulator: &Simulator) {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tick.tick().await;
        simulator.settle().await;
    }
}
