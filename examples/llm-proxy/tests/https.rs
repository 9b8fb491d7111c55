//! An `https` upstream, found trustworthy by the platform's roots (here: `SSL_CERT_FILE`), spoken to as ALPN says.

use std::{error::Error, path::Path, process::Stdio, sync::Arc, time::Duration};

use futures_util::SinkExt;
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_stream::StreamExt;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// An authority that nobody knows, and a server's TLS settings under it.
fn tls(alpn: &[&str]) -> Result<(String, TlsAcceptor)> {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let leaf = CertificateParams::new(["127.0.0.1".to_owned()])?.signed_by(&key, &authority)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)?;
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Ok((authority.pem(), TlsAcceptor::from(Arc::new(config))))
}

/// Answers with the version and the authority it was asked under.
async fn upstream(listener: TcpListener, acceptor: TlsAcceptor) {
    let service = service_fn(|request: Request<Incoming>| async move {
        let host = request.headers().get("host").cloned();
        let authority = request.uri().authority().map(ToString::to_string);
        let told = format!("{:?} {host:?} {authority:?} END", request.version());
        Ok::<_, std::convert::Infallible>(Response::new(told))
    });
    while let Ok((stream, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            }
        });
    }
}

/// The proxy, and where it listens. Its stdout stays open: a process that can not say what it has to say ends.
async fn proxy(upstream: &str, roots: &Path) -> Result<(Child, String)> {
    let mut proxy = Command::new(env!("CARGO_BIN_EXE_llm-proxy"))
        .args(["--listen=127.0.0.1:0", "--admin=127.0.0.1:0"])
        .args(["--upstream", upstream])
        .env("SSL_CERT_FILE", roots)
        .env_remove("SSL_CERT_DIR")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut lines = BufReader::new(proxy.stdout.as_mut().ok_or("no stdout")?).lines();
    while let Some(line) = lines.next_line().await? {
        if let Some(address) = line.strip_prefix("listening on http://") {
            let address = address.to_owned();
            return Ok((proxy, address));
        }
    }
    Err("the proxy never listened".into())
}

async fn ask(address: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// What a client of the proxy gets from an upstream that offers `alpn`, with its authority known or not.
async fn through_tls(alpn: &[&str], known: bool) -> Result<(String, String)> {
    let (authority, acceptor) = tls(alpn)?;
    let roots = std::env::temp_dir().join(format!(
        "llm-proxy-roots-{}-{}-{known}.pem",
        std::process::id(),
        alpn.concat().replace('/', "")
    ));
    let other = tls(&[])?.0;
    std::fs::write(&roots, if known { authority } else { other })?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let at = listener.local_addr()?.to_string();
    tokio::spawn(upstream(listener, acceptor));
    let (_proxy, address) = proxy(&format!("https://{at}"), &roots).await?;
    let answer = ask(&address).await;
    std::fs::remove_file(&roots)?;
    Ok((answer?, at))
}

#[tokio::test]
async fn alpn_chooses_between_http1_and_http2() -> Result<()> {
    for (alpn, version) in
        [(&["http/1.1"][..], "HTTP/1.1"), (&["h2", "http/1.1"], "HTTP/2.0"), (&[], "HTTP/1.1")]
    {
        let (answer, at) = timeout(Duration::from_secs(20), through_tls(alpn, true)).await??;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        let expected = match version {
            "HTTP/2.0" => format!("HTTP/2.0 None Some({at:?}) END"),
            _ => format!("HTTP/1.1 Some({at:?}) None END"),
        };
        assert!(answer.contains(&expected), "{answer} is not {expected}");
    }
    Ok(())
}

#[tokio::test]
async fn an_upstream_of_an_unknown_authority_is_a_502_in_our_own_words() -> Result<()> {
    let (answer, _) = timeout(Duration::from_secs(20), through_tls(&[], false)).await??;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    let error =
        r#"{"type":"upstream","message":"the upstream can not be reached","code":"failed"}"#;
    assert!(answer.contains(error), "{answer}");
    Ok(())
}

#[tokio::test]
async fn a_websocket_is_dialled_with_http1_alone() -> Result<()> {
    let (authority, acceptor) = tls(&["h2", "http/1.1"])?;
    let roots =
        std::env::temp_dir().join(format!("llm-proxy-roots-{}-websocket.pem", std::process::id()));
    std::fs::write(&roots, authority)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let at = listener.local_addr()?;
    let serving = tokio::spawn(async move {
        let stream = acceptor.accept(listener.accept().await?.0).await?;
        let chosen = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        let mut socket = tokio_tungstenite::accept_async(stream).await?;
        if let Some(message) = socket.next().await {
            socket.send(message?).await?;
        }
        Ok::<_, Box<dyn Error + Send + Sync>>(chosen)
    });
    let (_proxy, address) = proxy(&format!("https://{at}"), &roots).await?;
    let talk = async {
        let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://{address}/")).await?;
        socket.send("hello".into()).await?;
        socket.next().await.transpose()
    };
    let heard: std::result::Result<_, tokio_tungstenite::tungstenite::Error> =
        timeout(Duration::from_secs(20), talk).await?;
    std::fs::remove_file(&roots)?;
    assert_eq!(heard?, Some("hello".into()));
    let chosen = timeout(Duration::from_secs(20), serving).await??;
    assert_eq!(chosen.map_err(|error| error.to_string())?.as_deref(), Some(&b"http/1.1"[..]));
    Ok(())
}

#[tokio::test]
async fn a_file_of_roots_that_can_not_be_read_is_refused_at_the_start() -> Result<()> {
    let empty = std::env::temp_dir().join(format!("llm-proxy-no-roots-{}.pem", std::process::id()));
    std::fs::write(&empty, "no certificate")?;
    for file in ["/nowhere/roots.pem", &*empty.to_string_lossy()] {
        let started = Command::new(env!("CARGO_BIN_EXE_llm-proxy"))
            .args(["--listen=127.0.0.1:0", "--admin=127.0.0.1:0", "--upstream=https://127.0.0.1:1"])
            .env("SSL_CERT_FILE", file)
            .env("SSL_CERT_DIR", "/etc/ssl/certs")
            .kill_on_drop(true)
            .output();
        let output = timeout(Duration::from_secs(20), started).await??;
        let told = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains(&format!("SSL_CERT_FILE {file}: ")), "{told}");
        assert!(output.stdout.is_empty());
    }
    std::fs::remove_file(empty)?;
    Ok(())
}
