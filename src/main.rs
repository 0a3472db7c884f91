//! The `lakepass` program: arguments, logging, signals.
#![forbid(unsafe_code)]

use std::{net::SocketAddr, path::PathBuf};

use anyhow::bail;
use clap::{Parser, Subcommand};
use lakepass::{
    config::Config,
    dev::{self, DevOptions},
    http,
    minio::Listing,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

/// Short-lived keys to exactly the parts of a MinIO data lake that are yours.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve, as configured by a TOML file and LAKEPASS_… in the environment, which wins.
    Serve {
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Check the configuration, and the MinIO that it names.
    Check {
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Run a demo on this machine: a real MinIO, a KBase auth service, the broker, a lake with people in it.
    Dev {
        /// Where the demo keeps its data.
        #[arg(long, default_value = ".dev")]
        dir: PathBuf,
        #[arg(long, default_value = "127.0.0.1:8080")]
        listen: SocketAddr,
        #[arg(long, default_value = "127.0.0.1:9000")]
        minio_listen: SocketAddr,
        #[arg(long, default_value = "127.0.0.1:9001")]
        console_listen: SocketAddr,
        /// Written when everything answers: addresses, tokens, MinIO's root secret.
        #[arg(long)]
        ready_file: Option<PathBuf>,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).init();
    let shutdown = ended()?;
    match arguments.command {
        Command::Serve { config } => serve(config, shutdown).await,
        Command::Check { config } => check(config).await,
        Command::Dev { dir, listen, minio_listen, console_listen, ready_file } => {
            let tools = PathBuf::from(".tools/bin");
            dev::run(DevOptions { dir, tools, listen, minio_listen, console_listen, ready_file }, shutdown).await
        }
    }
}

async fn check(file: Option<PathBuf>) -> anyhow::Result<()> {
    let config = Config::load(file.as_deref(), &|name| std::env::var(name).ok())?;
    println!("The configuration is complete.");
    let broker = lakepass::app(config)?.broker;
    broker.prepare().await?;
    println!("MinIO answers, and both buckets are there.");
    match broker.check_listing().await? {
        Listing::AsThePolicySays => println!("MinIO lists what policies allow, and nothing else."),
        Listing::CanBeTalkedPast => bail!(
            "this MinIO can be talked past its policies when it lists: a request header `Prefix` shows the names of all \
             objects (not their contents). Put something in front of MinIO that takes the headers `Prefix` and \
             `Delimiter` away, or use a MinIO that is mended: see docs/operators.md"
        ),
    }
    Ok(())
}

async fn serve(file: Option<PathBuf>, shutdown: impl Future<Output = ()> + Send + 'static) -> anyhow::Result<()> {
    let config = Config::load(file.as_deref(), &|name| std::env::var(name).ok())?;
    if let Some(address) = config.metrics_listen {
        metrics_exporter_prometheus::PrometheusBuilder::new().with_http_listener(address).install()?;
    }
    let listener = TcpListener::bind(config.listen).await?;
    let app = lakepass::app(config)?;
    lakepass::tend(app.broker.clone());
    tracing::info!(address = %listener.local_addr()?, "listening");
    Ok(http::serve(listener, app, shutdown).await?)
}

/// Ends with Ctrl-C or SIGTERM.
fn ended() -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
        }
    })
}
