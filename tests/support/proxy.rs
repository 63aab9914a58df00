//! A network between two programs, which can stall and break.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// How the network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weather {
    /// Everything passes.
    Fair,
    /// Everything passes, so many bytes a second in each connection.
    Slow(u32),
    /// Nothing passes, and nobody is told.
    Stalled,
    /// Every connection is reset, new ones too.
    Broken,
}

/// Passes connections on to a port of 127.0.0.1 for as long as it is not told otherwise.
pub(crate) struct Proxy {
    port: u16,
    target: Arc<AtomicU16>,
    weather: watch::Sender<Weather>,
    /// How many connections are cut off without a word.
    stranded: watch::Sender<usize>,
    connections: Arc<AtomicUsize>,
    server: JoinHandle<()>,
}

impl Proxy {
    /// To this port.
    pub(crate) async fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let weather = watch::Sender::new(Weather::Fair);
        let connections = Arc::new(AtomicUsize::new(0));
        let target = Arc::new(AtomicU16::new(target));
        let stranded = watch::Sender::new(0);
        let path = Path { target: Arc::clone(&target), weather: weather.subscribe(), stranded: stranded.subscribe() };
        let server = tokio::spawn(accept(listener, path, Arc::clone(&connections)));
        Self { port, target, weather, stranded, connections, server }
    }

    /// New connections lead to this port from now on: an address that has moved to another server.
    pub(crate) fn lead_to(&self, target: u16) {
        self.target.store(target, Ordering::Relaxed);
    }

    /// That URL, by way of this proxy.
    pub(crate) fn url(&self, url: &str, target: u16) -> String {
        url.replace(&format!(":{target}/"), &format!(":{}/", self.port))
    }

    /// How many connections have been accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// From now on nothing passes; connections stay open.
    pub(crate) fn stall(&self) {
        self.weather.send_replace(Weather::Stalled);
    }

    /// Of the connections so far nothing passes ever again, as where a middlebox has forgotten them; new ones are well.
    pub(crate) fn strand(&self) {
        self.stranded.send_replace(self.connections());
    }

    /// From now on so many bytes a second pass in each connection.
    pub(crate) fn slow_down(&self, bytes_per_second: u32) {
        self.weather.send_replace(Weather::Slow(bytes_per_second));
    }

    /// From now on every connection is reset.
    pub(crate) fn break_off(&self) {
        self.weather.send_replace(Weather::Broken);
    }

    /// From now on everything passes again, what was held up too.
    pub(crate) fn mend(&self) {
        self.weather.send_replace(Weather::Fair);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Where connections lead, and how the network between is.
#[derive(Clone)]
struct Path {
    target: Arc<AtomicU16>,
    weather: watch::Receiver<Weather>,
    stranded: watch::Receiver<usize>,
}

async fn accept(listener: TcpListener, path: Path, count: Arc<AtomicUsize>) {
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let (number, mut path) = (count.fetch_add(1, Ordering::Relaxed), path.clone());
        connections.spawn(async move {
            let mut stranded = path.stranded.clone();
            let cut_off = async move { stranded.wait_for(|stranded| number < *stranded).await.is_ok() };
            let mut passing = Box::pin(connection(socket, &mut path));
            tokio::select! {
                // Either side may go at any time.
                _ = &mut passing => {}
                // Both sockets stay open, in what is not polled any more.
                _ = cut_off => std::future::pending().await,
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(client: TcpStream, path: &mut Path) -> io::Result<()> {
    let Path { target, weather, .. } = path;
    let target = target.load(Ordering::Relaxed);
    if *weather.borrow() == Weather::Broken {
        return client.set_zero_linger();
    }
    let server = TcpStream::connect(("127.0.0.1", target)).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let ended = tokio::select! {
        ended = pass(&mut from_client, &mut to_server, weather.clone()) => ended,
        ended = pass(&mut from_server, &mut to_client, weather.clone()) => ended,
        _ = weather.wait_for(|weather| *weather == Weather::Broken) => Err(io::ErrorKind::ConnectionReset.into()),
    };
    if ended.is_err() {
        to_client.as_ref().set_zero_linger()?;
        to_server.as_ref().set_zero_linger()?;
    }
    Ok(())
}

/// One direction, until its end.
async fn pass(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let bytes = from.read(&mut buffer).await?;
        // Its sender is the proxy's, which ends this too.
        let passes = |weather: &Weather| matches!(weather, Weather::Fair | Weather::Slow(_));
        let _ = weather.wait_for(passes).await;
        if bytes == 0 {
            return Ok(());
        }
        let now = *weather.borrow();
        if let Weather::Slow(bytes_per_second) = now {
            tokio::time::sleep(Duration::from_secs_f64(bytes as f64 / f64::from(bytes_per_second))).await;
        }
        to.write_all(&buffer[..bytes]).await?;
    }
}
