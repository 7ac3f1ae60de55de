//! A link to a server that can be held up: what is sent meanwhile lies in it, as in a network that stands still, and comes when it goes on,
//! whoever is there by then.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// The link; it goes with the test.
pub struct HeldLink {
    /// Where it is entered.
    pub url: String,
    is_open: watch::Sender<bool>,
}

impl HeldLink {
    /// One to a NATS server.
    pub async fn to(server: &str) -> Self {
        let server = server.trim_start_matches("nats://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("nats://{}", listener.local_addr().expect("an address"));
        let is_open = watch::Sender::new(true);
        let opened = is_open.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&server).await else { continue };
                let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
                tokio::spawn(pass(from_client, to_server, opened.subscribe()));
                tokio::spawn(pass(from_server, to_client, opened.subscribe()));
            }
        });
        Self { url, is_open }
    }

    /// From now on nothing comes through.
    pub fn hold(&self) {
        self.is_open.send_replace(false);
    }

    /// It goes on.
    pub fn release(&self) {
        self.is_open.send_replace(true);
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut is_open: watch::Receiver<bool>) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        let opened = is_open.wait_for(|is_open| *is_open).await.is_ok();
        if !opened || to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}
