//! How many connections to endpoints are open, and how many of them idle: kept for later, they take memory and descriptors.
//! The client bounds them for each host only, and there may be a thousand hosts.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use hyper::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use tower_service::Service;

/// One of what is counted, for as long as it lives.
#[derive(Debug)]
pub(super) struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The counts, and the bound on connections that are idle.
#[derive(Clone, Debug)]
pub(super) struct Connections {
    open: Arc<AtomicUsize>,
    exchanges: Arc<AtomicUsize>,
    idle_max: usize,
}

impl Connections {
    /// For so many requests in flight, of which half may leave a connection behind.
    pub(super) fn new(max_in_flight: usize) -> Self {
        Self { open: Arc::default(), exchanges: Arc::default(), idle_max: max_in_flight.div_ceil(2) }
    }

    /// A request that takes a connection until this is dropped.
    pub(super) fn exchange(&self) -> Counted {
        Counted::new(&self.exchanges)
    }

    /// Whether the connection of a request that begins now is to be closed after it, since enough are kept.
    pub(super) fn are_enough(&self) -> bool {
        self.open.load(Ordering::Relaxed) >= self.exchanges.load(Ordering::Relaxed) + self.idle_max
    }

    /// Counts what this connector opens.
    pub(super) fn counting<C>(&self, inner: C) -> CountingConnector<C> {
        CountingConnector { inner, open: self.open.clone() }
    }
}

/// See [`Connections::counting`].
#[derive(Clone, Debug)]
pub(super) struct CountingConnector<C> {
    inner: C,
    open: Arc<AtomicUsize>,
}

type Connecting<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

impl<C> Service<Uri> for CountingConnector<C>
where
    C: Service<Uri>,
    C::Future: Send + 'static,
{
    type Response = CountedConnection<C::Response>;
    type Error = C::Error;
    type Future = Connecting<Self::Response, C::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (connecting, open) = (self.inner.call(uri), self.open.clone());
        Box::pin(async move { Ok(CountedConnection { inner: connecting.await?, _counted: Counted::new(&open) }) })
    }
}

/// A connection that counts while it is open.
#[derive(Debug)]
pub(super) struct CountedConnection<T> {
    inner: T,
    _counted: Counted,
}

impl<T: Connection> Connection for CountedConnection<T> {
    fn connected(&self) -> Connected {
        self.inner.connected()
    }
}

impl<T: Read + Unpin> Read for CountedConnection<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<T: Write + Unpin> Write for CountedConnection<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, buffers)
    }
}
