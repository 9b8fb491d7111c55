//! A streaming LLM proxy: the layers of tower-lifeline between a client and an upstream. `llm-proxy --help`.

use std::{
    future::pending,
    io::{self, Write},
    net::SocketAddr,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{net::TcpListener, runtime::Runtime, task::spawn_blocking};
use tower::{BoxError, Layer, ServiceBuilder, service_fn};
use tower_lifeline::{
    abort::{AbortLayer, AbortRegistry},
    coalesce::CoalesceLayer,
    detach::DetachLayer,
    early_head::{AsksForStream, EarlyHeadLayer},
    error::ErrorChain,
    final_frame::FinalFrameLayer,
    finalize::FinalizeLayer,
    keepalive::IdleKeepaliveLayer,
    tee::{TeeLayer, TeeRequestLayer},
    timeouts::TimeoutsLayer,
    tunnel::TunnelLayer,
    upload::UploadLayer,
    usage::TerminatorGuardLayer,
};

use crate::{
    admin::Admin,
    books::Books,
    cors::Cors,
    forward::Forward,
    label::LabelLayer,
    log::Log,
    options::{Command, Layers, Options},
    signals::Signals,
    upstream::{Protocol, roots},
};

mod admin;
mod books;
mod capture;
mod choices;
mod cors;
mod forward;
mod heads;
mod label;
mod ledger;
mod log;
mod options;
mod reply;
mod serve;
mod shutdown;
mod signals;
mod simulate;
mod socket;
#[cfg(test)]
mod testing;
mod units;
mod upstream;

fn main() -> ExitCode {
    let options = Options::read(std::env::args_os()).unwrap_or_else(|error| error.exit());
    let Ok(log) = Log::start() else { return ExitCode::FAILURE };
    let ended = match &options.command {
        Some(Command::Report { ledger }) => ledger::report(ledger),
        None => run_to_end(options, &log),
    };
    let code = match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", ErrorChain::of(&*error));
            ExitCode::FAILURE
        }
    };
    log.flush();
    code
}

fn run_to_end(options: Options, log: &Log) -> Result<(), BoxError> {
    let runtime = Runtime::new()?;
    let ended = runtime.block_on(run(options, log));
    // Without waiting for a look-up of a name that hangs, or for a stdout that is not read.
    runtime.shutdown_background();
    ended
}

async fn run(options: Options, log: &Log) -> Result<(), BoxError> {
    let listener = bind("--listen", options.listen).await?;
    let admin_listener = bind("--admin", options.admin).await?;
    let (address, admin_address) = (listener.local_addr()?, admin_listener.local_addr()?);
    let simulated = options.upstream.is_none();
    let upstream = match options.upstream.clone() {
        Some(upstream) => upstream,
        None => simulate::start().await?,
    };
    if upstream.protocol() == Protocol::Tls {
        roots::check()?;
    }
    let forward = Forward::new(
        upstream,
        forward::Limits { idle: options.upstream_idle, uploads: options.upload_total },
    )?;
    let (mut books, registry) = (Books::default(), AbortRegistry::new());
    let ledger = match &options.ledger {
        Some(path) => Some(
            books.keep_in(path).map_err(|error| format!("--ledger {}: {error}", path.display()))?,
        ),
        None => None,
    };
    let all = registry.root().clone();
    let captured = capture::total(options.capture_total);

    let finalize = FinalizeLayer::with({
        let books = books.clone();
        move |request| books.open(request)
    });
    let endings = finalize.tracker();
    // From the client to the upstream; see "The order" in the documentation of tower-lifeline.
    let proxy = ServiceBuilder::new()
        .layer(TunnelLayer)
        .layer(LabelLayer { replays: options.replay.is_some() })
        .layer(
            IdleKeepaliveLayer::new(choices::never_if_off(options.keepalive))
                .heartbeat(choices::heartbeat),
        )
        .layer(FinalFrameLayer::new(choices::final_frame))
        .layer(TimeoutsLayer::new(choices::limit_on_client(&options)))
        .layer(
            DetachLayer::new(choices::drain_limits(&options))
                .when(move |_| move |_| options.drain.is_some()),
        )
        .layer(
            EarlyHeadLayer::new(choices::never_if_off(options.early_head)).when(choices::streams),
        )
        .layer(AbortLayer::new(choices::handle(&registry)).answer(choices::aborted(&books)))
        .layer(TimeoutsLayer::new(choices::limits_on_upstream(&options)).answer(choices::timed_out))
        .layer(finalize)
        .layer(capture::layer(options.capture, &captured))
        .layer(TeeRequestLayer::new(AsksForStream::sink))
        .layer(UploadLayer::new())
        .layer(choices::replay(&options, &captured))
        .layer(TerminatorGuardLayer)
        .layer(TeeRequestLayer::usage())
        .layer(TeeLayer::usage())
        .layer(TeeLayer::new(books.gaps()))
        .layer(CoalesceLayer::new(options.coalesce.unwrap_or(0)))
        .service(service_fn({
            let forward = forward.clone();
            move |request| reply::or_refusal(forward.clone(), request)
        }));

    let stopping = Arc::new(AtomicBool::new(false));
    let admin = admin::router(Admin {
        books,
        registry,
        captured,
        dropped: log.dropped().clone(),
        token: options.admin_token.as_deref().map(Into::into),
        hosts: options.admin_host.clone().into(),
        stopping: stopping.clone(),
    });
    tokio::spawn(serve::serve(admin_listener, admin, admin::LIMITS, pending()));
    // From before anyone is told that it runs.
    let mut signals = Signals::listen();
    let announced = spawn_blocking(move || announce(address, admin_address));
    tokio::select! {
        announced = announced => announced??,
        () = signals.next() => return Ok(()),
    }
    if simulated {
        suggest(address, admin_address, log);
    }
    let (unread, idle) = (options.unread_timeout, options.connection_idle);
    let limits = serve::Limits { unread, idle, connections: None };
    let cors = Cors::new(&options.cors);
    let connections = match options.layers {
        Layers::All => serve::serve(listener, cors.layer(proxy), limits, signals.next()).await,
        Layers::None => {
            let bare = service_fn(move |request| reply::or_refusal(forward.clone(), request));
            let bare = cors.layer(TunnelLayer.layer(bare));
            serve::serve(listener, bare, limits, signals.next()).await
        }
    };
    stopping.store(true, Ordering::Relaxed);
    let endings = (options.layers == Layers::All).then_some(&endings);
    shutdown::shutdown(connections, options.grace, signals, &all, endings).await;
    if let Some(ledger) = ledger {
        ledger.close().await;
    }
    Ok(())
}

async fn bind(option: &str, address: SocketAddr) -> Result<TcpListener, BoxError> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|error| format!("{option} {address}: {error}").into())
}

/// Says where it listens.
fn announce(proxy: SocketAddr, admin: SocketAddr) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "listening on http://{proxy}\nadmin on http://{admin}")?;
    stdout.flush()
}

/// Says what to paste to see it at work.
fn suggest(proxy: SocketAddr, admin: SocketAddr, log: &Log) {
    let question = r#"{"model":"sim","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
    let json = "content-type: application/json";
    log.say(&format!("curl -N http://{proxy}/v1/chat/completions -H '{json}' -d '{question}'"));
    log.say(&format!("http://{admin}/"));
}
