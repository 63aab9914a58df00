//! `webhookdb healthcheck`: asks the daemon's listener, which nothing else in a container may be able to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Uri;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use super::failure::Advice;
use super::output::answer;
use crate::config::Settings;

/// A daemon that takes longer to answer is not well.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is read of an answer: a reason may quote a server at length.
const ANSWER_MAX: usize = 64 << 10;

/// What is asked.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct HealthcheckArgs {
    /// Ask whether every source streams, not only whether the daemon is alive
    #[arg(long)]
    ready: bool,
}

/// Prints the daemon's answer.
///
/// # Errors
/// Where it does not answer, or that it is not well.
pub(super) async fn run(settings: &Settings, args: HealthcheckArgs) -> anyhow::Result<()> {
    let address = reachable(settings.http().listen());
    if address.port() == 0 {
        return Err(
            Advice::new("[http] listen has port 0", "name a port: which one it is now only the log tells").into()
        );
    }
    let path = if args.ready { "readyz" } else { "healthz" };
    let uri: Uri = format!("http://{address}/{path}").parse()?;
    let asked = tokio::time::timeout(PATIENCE, ask(uri));
    let (status, text) = asked.await.context("the daemon does not answer")??;
    answer(text.trim_end())?;
    anyhow::ensure!(status.is_success(), "/{path} answers {status}");
    Ok(())
}

async fn ask(uri: Uri) -> anyhow::Result<(hyper::StatusCode, String)> {
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let response = client.get(uri.clone()).await.with_context(|| format!("no daemon answers at {uri}"))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
    let body = body.map_err(|error| anyhow::anyhow!(error)).context("the answer could not be read")?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

/// What listens at every address is reached by loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}
