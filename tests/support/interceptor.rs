//! Somebody between a client and Postgres who ends TLS with a certificate of their own, reads what is said and hands it on.

use std::io;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::Receiver;
use super::secured::Secured;

const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// Stops when dropped.
pub(crate) struct Interceptor {
    port: u16,
    target: u16,
    server: JoinHandle<()>,
}

impl Interceptor {
    /// Before this server.
    pub(crate) async fn before(server: &Secured) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let (port, target) = (listener.local_addr().expect("an address").port(), server.cluster().port());
        let (acceptor, _) = Receiver::acceptor();
        let server = tokio::spawn(accept(listener, target, acceptor, connector(server.root().pem())));
        Self { port, target, server }
    }

    /// That URL, by way of here.
    pub(crate) fn url(&self, url: &str) -> String {
        url.replace(&format!(":{}/", self.target), &format!(":{}/", self.port))
    }
}

impl Drop for Interceptor {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn connector(root: &str) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root.as_bytes()).expect("a root")).expect("a root");
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("versions");
    TlsConnector::from(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

async fn accept(listener: TcpListener, target: u16, acceptor: TlsAcceptor, connector: TlsConnector) {
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let (acceptor, connector) = (acceptor.clone(), connector.clone());
        connections.spawn(async move {
            // Either side may go at any time.
            let _ = connection(socket, target, acceptor, connector).await;
        });
    }
}

async fn connection(
    mut client: TcpStream,
    target: u16,
    acceptor: TlsAcceptor,
    connector: TlsConnector,
) -> io::Result<()> {
    let mut request = [0; 8];
    client.read_exact(&mut request).await?;
    assert_eq!(request, SSL_REQUEST, "the client asks for TLS");
    client.write_all(b"S").await?;
    let mut client = acceptor.accept(client).await?;
    let mut server = TcpStream::connect(("127.0.0.1", target)).await?;
    server.write_all(&SSL_REQUEST).await?;
    assert_eq!(server.read_u8().await?, b'S', "the server speaks TLS");
    let host = ServerName::try_from("localhost").expect("a name");
    let mut server = connector.connect(host, server).await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
