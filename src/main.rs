//! The `lakepass` program: arguments, logging, signals.
#![forbid(unsafe_code)]

use std::{io::Write, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::bail;
use clap::{Args, Parser, Subcommand};
use lakepass::{
    SystemClock,
    agent::{self, AgentOptions, BrokerClient, CredentialsOptions, TokenSource, UseOfCache},
    broker::{Broker, Run},
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
    /// Export the ledger, or restore it: who is in which group, and what was given to whom. It holds no secret.
    Ledger {
        #[arg(long)]
        config: Option<PathBuf>,
        #[command(subcommand)]
        what: LedgerCommand,
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
    /// Keep session keys at hand on loopback, where every AWS SDK finds and refreshes them by itself.
    Agent {
        #[command(flatten)]
        broker: BrokerArguments,
        /// On loopback. A port of 0 picks a free one, which the environment file tells.
        #[arg(long, env = "LAKEPASS_AGENT_LISTEN", default_value = "127.0.0.1:9911")]
        listen: SocketAddr,
        /// Where the token is written that this agent wants from its callers, anew at each start. [default:
        /// authorization-token in $XDG_RUNTIME_DIR/lakepass or ~/.cache/lakepass]
        #[arg(long)]
        authorization_token_file: Option<PathBuf>,
        /// Where the environment is written that leads SDKs here: two variables, one a line.
        #[arg(long)]
        env_file: Option<PathBuf>,
    },
    /// Print session keys as a `credential_process` of an AWS profile does.
    Credentials {
        #[command(flatten)]
        broker: BrokerArguments,
        /// Where the keys are kept. [default: in $XDG_CACHE_HOME/lakepass or ~/.cache/lakepass]
        #[arg(long)]
        cache_file: Option<PathBuf>,
        /// With fewer seconds left than this (or than half of what was left at first), newer keys are asked for.
        #[arg(long, default_value_t = 900)]
        window: u64,
        /// Ask the broker, whatever is kept: for example after a revocation.
        #[arg(long)]
        refresh: bool,
    },
}

#[derive(Subcommand)]
enum LedgerCommand {
    /// Print every document, one a line.
    Export,
    /// Say what restoring these documents would change; with --apply, do it.
    Restore {
        /// What `export` printed, or some of its lines.
        file: PathBuf,
        #[arg(long)]
        apply: bool,
    },
}

/// The broker, and what it is asked for.
#[derive(Args)]
struct BrokerArguments {
    /// Where the broker is.
    #[arg(long, env = "LAKEPASS_URL")]
    url: url::Url,
    /// The file with your token, read anew each time. Without it, LAKEPASS_TOKEN in the environment is the token.
    #[arg(long, env = "LAKEPASS_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// `granted`, `lake`, or a JSON list of {"path", "access"}. [default: the broker's]
    #[arg(long, env = "LAKEPASS_SCOPE")]
    scope: Option<String>,
    /// How long the keys are to live, in seconds. [default: the broker's]
    #[arg(long, env = "LAKEPASS_DURATION")]
    duration: Option<u64>,
}

impl BrokerArguments {
    fn client(self) -> anyhow::Result<(BrokerClient, TokenSource)> {
        let duration = self.duration.map(Duration::from_secs);
        let tokens = TokenSource::new(self.token_file, env("LAKEPASS_TOKEN"))?;
        Ok((BrokerClient::new(&self.url, self.scope.as_deref(), duration)?, tokens))
    }
}

fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
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
        Command::Ledger { config, what } => {
            let broker = lakepass::app(Config::load(config.as_deref(), &env)?)?.broker;
            match what {
                LedgerCommand::Export => export(&broker).await,
                LedgerCommand::Restore { file, apply } => {
                    restore(&broker, &file, if apply { Run::Real } else { Run::Dry }).await
                }
            }
        }
        Command::Dev { dir, listen, minio_listen, console_listen, ready_file } => {
            let tools = PathBuf::from(".tools/bin");
            dev::run(DevOptions { dir, tools, listen, minio_listen, console_listen, ready_file }, shutdown).await
        }
        Command::Agent { broker, listen, authorization_token_file, env_file } => {
            let (client, tokens) = broker.client()?;
            let options = AgentOptions { listen, authorization_token_file, env_file };
            agent::run(client, tokens, options, Arc::new(SystemClock), &env, shutdown).await
        }
        Command::Credentials { broker, cache_file, window, refresh } => {
            let (client, tokens) = broker.client()?;
            let cached = if refresh { UseOfCache::WhenTheBrokerIsAway } else { UseOfCache::WhenFresh };
            let options = CredentialsOptions { cache_file, window: Duration::from_secs(window), cached };
            print_credentials(&client, &tokens, options, shutdown).await
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

async fn export(broker: &Broker) -> anyhow::Result<()> {
    let export = broker.export_ledger().await?;
    let mut out = std::io::stdout().lock();
    for record in &export.records {
        serde_json::to_writer(&mut out, record)?;
        writeln!(out)?;
    }
    if !export.damaged.is_empty() {
        bail!("the rest is printed, but these documents are damaged: {}", export.damaged.join(", "));
    }
    Ok(())
}

async fn restore(broker: &Broker, file: &std::path::Path, run: Run) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(file)?;
    let records = text.lines().map(serde_json::from_str).collect::<Result<Vec<_>, _>>()?;
    for (path, what) in broker.restore_ledger(&records, run).await? {
        println!("{path}: {}", format!("{what:?}").to_lowercase());
    }
    if run == Run::Dry {
        println!("Nothing was changed: --apply does it.");
    }
    Ok(())
}

async fn print_credentials(
    client: &BrokerClient,
    tokens: &TokenSource,
    options: CredentialsOptions,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let keys = tokio::select! {
        keys = agent::credentials(client, tokens, options, &SystemClock, &env) => keys?,
        () = shutdown => anyhow::bail!("ended before there were keys"),
    };
    let mut document = serde_json::to_vec(&keys.for_process())?;
    document.push(b'\n');
    Ok(std::io::stdout().write_all(&document)?)
}

async fn serve(file: Option<PathBuf>, shutdown: impl Future<Output = ()> + Send + 'static) -> anyhow::Result<()> {
    let config = Config::load(file.as_deref(), &env)?;
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
