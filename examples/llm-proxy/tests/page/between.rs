//! A way to the admin listener that can be cut.

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::Notify,
};

/// Passes connections on until it is dropped.
pub(crate) struct Between {
    pub(crate) addr: SocketAddr,
    cut: Arc<Notify>,
}

impl Between {
    pub(crate) async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let cut = Arc::new(Notify::new());
        let all = Arc::clone(&cut);
        tokio::spawn(async move {
            while let Ok((mut from, _)) = listener.accept().await {
                let cut = Arc::clone(&all);
                tokio::spawn(async move {
                    let mut to = TcpStream::connect(to).await.unwrap();
                    tokio::select! {
                        _ = copy_bidirectional(&mut from, &mut to) => {}
                        () = cut.notified() => {}
                    }
                });
            }
        });
        Self { addr, cut }
    }

    /// Cuts the connections that there are. New ones are let through.
    pub(crate) fn cut(&self) {
        self.cut.notify_waiters();
    }
}
