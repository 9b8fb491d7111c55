//! The command line.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{
    CommandFactory, Parser, Subcommand, ValueEnum, builder::NonEmptyStringValueParser,
    error::ErrorKind,
};

use http::{
    HeaderName,
    uri::{Authority, PathAndQuery},
};

use crate::{cors::Origin, simulate, units, upstream::Upstream};

#[cfg(test)]
mod tests;

/// A limit that `off` switches off. (Under its own name clap would take the `Option` for an optional argument.)
pub(crate) type Limit<T> = Option<T>;

/// A streaming reverse proxy for LLM traffic.
///
/// It forwards every request to the upstream and streams the answer back, with heartbeats, a kill
/// switch and one account of each exchange.
///
/// Durations are written like 500ms, 15s, 2m, 1h; sizes like 512B, 64KiB, 1MiB, 2GiB; `off` switches
/// a limit off.
#[derive(Debug, Clone, Parser)]
#[command(version, verbatim_doc_comment, after_help = simulate::HELP)]
#[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// Address to serve clients on; port 0 picks one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,

    /// Address of the admin listener; one that is not loopback needs --admin-token
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8081")]
    pub(crate) admin: SocketAddr,

    /// Demand `Authorization: Bearer T` of every admin request [default: none]. The live page is no exception:
    /// a browser needs something that adds the header, such as a proxy in front
    #[arg(long, value_name = "T", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) admin_token: Option<String>,

    /// A name by which the admin listener may be called without a token, besides addresses and `localhost`; may be repeated
    /// [default: none]. Any other name is refused: a page may have bound its own to this address
    #[arg(long, value_name = "NAME", value_parser = host_name)]
    pub(crate) admin_host: Vec<String>,

    /// Base URL of the upstream: http (HTTP/1.1), h2c (HTTP/2 with prior knowledge) or https (by ALPN)
    /// [default: a simulated LLM inside this process, see below]
    #[arg(long, value_name = "URL")]
    pub(crate) upstream: Option<Upstream>,

    /// Send a heartbeat when a stream is idle for so long, or `off`
    #[arg(long, value_name = "D", default_value = "15s", value_parser = interval, allow_hyphen_values = true)]
    pub(crate) keepalive: Limit<Duration>,

    /// End an exchange whose upstream has sent no response head for so long, or `off`: since it was given the whole
    /// request, or while bytes of that wait which it does not take. An answer that is no stream has its head at its end
    #[arg(long, value_name = "D", default_value = "20m", value_parser = interval, allow_hyphen_values = true)]
    pub(crate) head_timeout: Limit<Duration>,

    /// Before the response head, end an exchange whose client has sent nothing of its unfinished request for so long
    /// (408), or `off`
    #[arg(long, value_name = "D", default_value = "60s", value_parser = interval, allow_hyphen_values = true)]
    pub(crate) upload_timeout: Limit<Duration>,

    /// End a response whose first byte does not follow its head for so long, or `off`
    #[arg(long, value_name = "D", default_value = "5m", value_parser = interval, allow_hyphen_values = true)]
    pub(crate) first_frame_timeout: Limit<Duration>,

    /// End a stream that makes no progress for so long, or `off`; comments and pings are no progress
    #[arg(long, value_name = "D", default_value = "10m", value_parser = interval, allow_hyphen_values = true)]
    pub(crate) idle_timeout: Limit<Duration>,

    /// End an exchange that has taken so long, whatever it does, or `off`
    #[arg(long, value_name = "D", default_value = "off", value_parser = interval, allow_hyphen_values = true)]
    pub(crate) total_timeout: Limit<Duration>,

    /// End a response that its client has not read from for so long, and close a connection that takes
    /// nothing, or `off`
    #[arg(long, value_name = "D", default_value = "60s", value_parser = interval, allow_hyphen_values = true)]
    pub(crate) unread_timeout: Limit<Duration>,

    /// When the upstream has sent no head for so long since it was given the whole request, begin an event stream to a
    /// client that asked for one and keep it alive, or `off`. Asked for by `"stream": true` in a JSON body, by an
    /// `Accept` that names text/event-stream and not application/json too, or for Gemini by `alt=sse`; never on the
    /// paths of Ollama and Bedrock, whose streams are of another kind
    #[arg(long, value_name = "D", default_value = "off", value_parser = interval, allow_hyphen_values = true)]
    pub(crate) early_head: Limit<Duration>,

    /// After the client left, or has not read for --unread-timeout, go on reading the upstream for so long, to learn the usage, or `off`
    #[arg(long, value_name = "D", default_value = "off", value_parser = interval, allow_hyphen_values = true)]
    pub(crate) drain: Limit<Duration>,

    /// And read so many bytes at most, or `off` for no limit
    #[arg(long, value_name = "N", default_value = "1MiB", value_parser = size, allow_hyphen_values = true)]
    pub(crate) drain_bytes: Limit<usize>,

    /// And of so many streams at once; beyond that a stream is cut at once. `off` for no limit
    #[arg(long, value_name = "N", default_value = "100", value_parser = count, allow_hyphen_values = true)]
    pub(crate) drain_streams: Limit<usize>,

    /// Bytes of each response kept for accounting, or `off` for no limit. In memory they take at most twice as much and
    /// 16KiB, however small the frames are
    #[arg(long, value_name = "N", default_value = "1MiB", value_parser = size, allow_hyphen_values = true)]
    pub(crate) capture: Limit<usize>,

    /// Memory of all that is kept of responses under way, with --replay also for the store and those who join one; or
    /// `off` for no limit
    #[arg(long, value_name = "N", default_value = "256MiB", value_parser = size, allow_hyphen_values = true)]
    pub(crate) capture_total: Limit<usize>,

    /// Serve a complete answer again for so long to requests that are equal, and let those that come while one runs
    /// join it; or `off`. Equal: all of it, with a body of known length of at most 1MiB, but for headers that can
    /// change nothing (user-agent, via, those that name one request for tracing, and the like), unless the answer's
    /// `vary` names them. Only POSTs that leave nothing behind: chat/completions and completions without `store`,
    /// responses with `"store":false`, messages, embeddings, generateContent, streamGenerateContent, Ollama's and
    /// Cohere's; none with an idempotency-key. `cache-control: no-cache` asks anew. Kept are answers up to --capture
    /// bytes, in --capture-total bytes of their own; a reader who is --capture bytes behind one that joined is cut
    #[arg(long, value_name = "D", default_value = "off", value_parser = interval, allow_hyphen_values = true)]
    pub(crate) replay: Limit<Duration>,

    /// Do so for POSTs on paths that begin so, too; may be repeated [default: none]. A second one that is equal does
    /// not reach the upstream: they must leave nothing behind
    #[arg(long, value_name = "PREFIX", value_parser = path_prefix)]
    pub(crate) replay_path: Vec<String>,

    /// Take two requests for equal that differ in this header; may be repeated [default: none]. For what a proxy in
    /// front sets anew for each request or connection, and never for what tells clients apart
    #[arg(long, value_name = "NAME")]
    pub(crate) replay_ignore: Vec<HeaderName>,

    /// SQLite file that gets one row for each ended exchange [default: in memory, the last 10000]
    #[arg(long, value_name = "PATH")]
    pub(crate) ledger: Option<PathBuf>,

    /// Gather frames of an answer that are already waiting into writes of up to so many bytes, or `off`;
    /// nothing is ever waited for
    #[arg(long, value_name = "N", default_value = "16KiB", value_parser = size, allow_hyphen_values = true)]
    pub(crate) coalesce: Limit<usize>,

    /// Close a client's connection that has had no exchange for so long, or `off`; let it be longer than the same limit
    /// of a load balancer in front (ALB: 60s, GCP: 600s)
    #[arg(long, value_name = "D", default_value = "620s", value_parser = interval, allow_hyphen_values = true)]
    pub(crate) connection_idle: Limit<Duration>,

    /// Use no connection to the upstream that was idle for so long, or `off`; let it be shorter than the same limit of
    /// the upstream (node: 5s)
    #[arg(long, value_name = "D", default_value = "4s", value_parser = interval, allow_hyphen_values = true)]
    pub(crate) upstream_idle: Limit<Duration>,

    /// Memory of all request bodies that are read ahead of the upstream, or held to be sent once more, or `off` for no
    /// limit; beyond it a body is read only as fast as the upstream takes it, and its request is not sent again
    #[arg(long, value_name = "N", default_value = "256MiB", value_parser = size, allow_hyphen_values = true)]
    pub(crate) upload_total: Limit<usize>,

    /// Let the pages of this origin (`https://chat.example`, or `*`) ask from a browser: answers preflights, which are no
    /// exchanges and never reach the upstream, and sets the CORS headers on every response in place of the upstream's;
    /// may be repeated [default: none, and what the upstream says passes]
    #[arg(long, value_name = "ORIGIN")]
    pub(crate) cors: Vec<Origin>,

    /// On SIGTERM or SIGINT let streams finish for so long, then abort them; `off` waits for all of them.
    /// A second signal ends the wait
    #[arg(long, value_name = "D", default_value = "5s", value_parser = grace, allow_hyphen_values = true)]
    pub(crate) grace: Limit<Duration>,

    /// For benches: `none` forwards through bare hyper, without the layers
    #[arg(long, value_name = "WHICH", default_value = "all")]
    pub(crate) layers: Layers,
}

/// What to do instead of to serve.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub(crate) enum Command {
    /// Print the usage in a ledger as a table, per day and model
    Report {
        /// The SQLite file that --ledger wrote
        #[arg(long, value_name = "FILE")]
        ledger: PathBuf,
    },
}

/// Which layers stand between the client and the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Layers {
    All,
    None,
}

impl Options {
    /// Reads the command line; the error prints itself and exits with the right code ([`clap::Error::exit`]).
    pub(crate) fn read(
        arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Self, clap::Error> {
        let options = Self::try_parse_from(arguments)?;
        if options.admin_token.is_none() && !options.admin.ip().to_canonical().is_loopback() {
            return Err(Self::command().error(
                ErrorKind::MissingRequiredArgument,
                format!(
                    "--admin {} is not a loopback address: it needs --admin-token",
                    options.admin
                ),
            ));
        }
        Ok(options)
    }
}

fn interval(text: &str) -> Result<Limit<Duration>, String> {
    match text {
        "off" => Ok(None),
        _ => match units::duration(text)? {
            Duration::ZERO => Err("it must be more than nothing, or `off`".to_owned()),
            interval => Ok(Some(interval)),
        },
    }
}

fn grace(text: &str) -> Result<Limit<Duration>, String> {
    match text {
        "off" => Ok(None),
        _ => units::duration(text).map(Some),
    }
}

fn host_name(text: &str) -> Result<String, String> {
    let host = text.parse::<Authority>().ok().filter(|authority| authority.host() == text);
    host.map(|_| text.to_owned()).ok_or_else(|| "write a name, as admin.example".to_owned())
}

fn path_prefix(text: &str) -> Result<String, String> {
    let path = text.parse::<PathAndQuery>().ok();
    let path = path.filter(|path| text.starts_with('/') && text == path.path());
    path.map(|_| text.to_owned())
        .ok_or_else(|| "write the beginning of a path, as /v1/ask".to_owned())
}

fn count(text: &str) -> Result<Limit<usize>, String> {
    match text {
        "off" => Ok(None),
        _ => text.parse().map(Some).map_err(|_| "write a number, or `off`".to_owned()),
    }
}

fn size(text: &str) -> Result<Limit<usize>, String> {
    match text {
        "off" => Ok(None),
        _ => units::size(text).map(Some),
    }
}
