//! The `lakepass` program: arguments, logging, signals.
#![forbid(unsafe_code)]

use std::{io::Write, net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use anyhow::bail;
use clap::{Args, Parser, Subcommand};
use lakepass::{
    SystemClock,
    agent::{self, AgentOptions, BrokerClient, CredentialsOptions, TokenSource, UseOfCache},
    broker::{Actor, Broker, Mended, Run, audited, without_request},
    config::Config,
    dev::{self, DevOptions},
    discretion, http,
    minio::{Listing, Status},
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
    /// Say what differs between the ledger and MinIO. The exit status is 3 if anything does.
    Drift {
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Repair what differs between the ledger and MinIO. The exit status is 3 if anything differs still.
    Reconcile {
        #[arg(long)]
        config: Option<PathBuf>,
        /// Only say what differs.
        #[arg(long)]
        dry_run: bool,
    },
    /// Read people, groups and shares that another tool made at this MinIO (`user-home-policy-…`, `group-policy-…`) into
    /// the ledger, and say what would not be the same. The exit status is 3 if anything would not.
    Import {
        #[arg(long)]
        config: Option<PathBuf>,
        /// Do it: without this, nothing is written.
        #[arg(long)]
        apply: bool,
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

/// The exit status of those who found that something differs: 1 is an error, and 2 a mistake in the arguments.
const DIFFERS: u8 = 3;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    discretion::set_up()?;
    let shutdown = ended()?;
    match arguments.command {
        Command::Drift { config } | Command::Reconcile { config, dry_run: true } => return drift(config).await,
        Command::Reconcile { config, dry_run: false } => return reconcile(config).await,
        Command::Import { config, apply } => return import(config, apply).await,
        Command::Serve { config } => serve(config, shutdown).await,
        Command::Check { config } => check(config).await,
        Command::Ledger { config, what } => {
            let app = lakepass::app(Config::load(config.as_deref(), &env)?)?;
            match what {
                LedgerCommand::Export => export(&app.broker).await,
                LedgerCommand::Restore { file, apply } => {
                    restore(app, &file, if apply { Run::Real } else { Run::Dry }).await
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
    }?;
    Ok(ExitCode::SUCCESS)
}

async fn check(file: Option<PathBuf>) -> anyhow::Result<()> {
    let config = Config::load(file.as_deref(), &|name| std::env::var(name).ok())?;
    println!("The configuration is complete.");
    let broker = lakepass::app(config)?.broker;
    broker.prepare().await?;
    println!("MinIO answers, and both buckets are there.");
    match broker.check_listing().await? {
        Listing::AsThePolicySays => println!("MinIO lists what policies allow, and nothing else."),
        Listing::CanBeTalkedPast => bail!(Listing::WARNING),
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

async fn restore(app: http::App, file: &std::path::Path, run: Run) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(file)?;
    let records = text.lines().map(serde_json::from_str).collect::<Result<Vec<_>, _>>()?;
    let broker = app.broker;
    let restore = async move { broker.restore_ledger(&records, run).await };
    let restored = match run {
        Run::Dry => restore.await?,
        Run::Real => {
            let restore = audited(Actor::Operator, "restore ledger", file.display().to_string(), restore);
            without_request(app.audit, restore).await?
        }
    };
    for (path, what) in restored {
        println!("{path}: {}", format!("{what:?}").to_lowercase());
    }
    if run == Run::Dry {
        println!("Nothing was changed: --apply does it.");
    }
    Ok(())
}

async fn drift(file: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let broker = lakepass::app(Config::load(file.as_deref(), &env)?)?.broker;
    let drift = broker.drift().await?;
    for drift in &drift {
        println!("{}: {}", drift.kind.name(), drift.sentence());
    }
    Ok(exit(drift.is_empty(), "MinIO is as the ledger says."))
}

async fn reconcile(file: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let app = lakepass::app(Config::load(file.as_deref(), &env)?)?;
    let repairs = async move { app.broker.reconcile_as(&Actor::Operator).await };
    let repairs =
        without_request(app.audit, audited(Actor::Operator, "reconcile", "everything".into(), repairs)).await?;
    for repair in &repairs {
        let (outcome, kind, sentence) = (repair.mended.name(), repair.drift.kind.name(), repair.drift.sentence());
        match &repair.mended {
            Mended::Done => println!("{outcome}: {kind}: {sentence}"),
            Mended::Left(reason) => println!("{outcome}: {kind}: {sentence} ({reason})"),
            Mended::Failed(error) => println!("{outcome}: {kind}: {sentence} ({error})"),
        }
    }
    let all_done = repairs.iter().all(|repair| matches!(repair.mended, Mended::Done));
    Ok(exit(all_done, "MinIO is as the ledger says."))
}

async fn import(file: Option<PathBuf>, apply: bool) -> anyhow::Result<ExitCode> {
    let app = lakepass::app(Config::load(file.as_deref(), &env)?)?;
    let mut import = app.broker.plan_import().await?;
    for (user, status) in &import.users {
        println!("user {user}{}", if *status == Status::Disabled { " (disabled)" } else { "" });
    }
    for (group, members) in &import.groups {
        let members: Vec<String> = members.iter().map(|(user, role)| format!("{user} ({})", role.name())).collect();
        println!("group {group}: {}", members.join(", "));
    }
    for ((to, path), access) in &import.grants {
        println!("grant to {to}: {path} ({})", access.name());
    }
    if apply {
        app.broker.prepare().await?;
        import.notes.extend(without_request(app.audit, app.broker.apply_import(&import)).await?);
    }
    for note in &import.notes {
        println!("NOT THE SAME: {note}");
    }
    println!("{}", if apply { "This is in the ledger now." } else { "Nothing was written: `--apply` does it." });
    Ok(if import.notes.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(DIFFERS) })
}

fn exit(is_well: bool, word: &str) -> ExitCode {
    if is_well {
        println!("{word}");
        return ExitCode::SUCCESS;
    }
    ExitCode::from(DIFFERS)
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
    let mut document = zeroize::Zeroizing::new(serde_json::to_vec(&keys.for_process())?);
    document.push(b'\n');
    Ok(std::io::stdout().write_all(&document)?)
}

async fn serve(file: Option<PathBuf>, shutdown: impl Future<Output = ()> + Send + 'static) -> anyhow::Result<()> {
    let config = Config::load(file.as_deref(), &env)?;
    if let Some(address) = config.metrics_listen {
        metrics_exporter_prometheus::PrometheusBuilder::new().with_http_listener(address).install()?;
    }
    lift_file_limit();
    let listener = TcpListener::bind(config.listen).await?;
    let reconcile_every = config.reconcile_every;
    let app = lakepass::app(config)?;
    lakepass::tend(app.broker.clone(), app.audit.clone(), reconcile_every);
    tracing::info!(address = %listener.local_addr()?, "listening");
    http::serve(listener, app, shutdown).await;
    Ok(())
}

/// As many connections as this process may have: many systems allow 1024 at first, and far more to who asks.
fn lift_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit for open files stays as it is");
    }
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
