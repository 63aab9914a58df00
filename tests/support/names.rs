//! A name server that says what a test wants, in a [network of its own](super::namespace).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use simple_dns::rdata::{A, AAAA, RData};
use simple_dns::{CLASS, Packet, QTYPE, RCODE, ResourceRecord, TYPE};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// What is said of a name: at each look-up the next of these sets of addresses, over and over.
#[derive(Clone, Default)]
struct Answers {
    turns: Vec<Vec<IpAddr>>,
    asked: usize,
}

type Names = Arc<Mutex<HashMap<String, Answers>>>;

/// At 127.0.0.1, where the network's resolv.conf points. Names that it was told nothing of do not exist. Stops when dropped.
pub(crate) struct NameServer {
    names: Names,
    server: JoinHandle<()>,
}

impl NameServer {
    /// Knows no name yet.
    pub(crate) async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:53").await.expect("the port of DNS, in a network of the test's own");
        let names = Names::default();
        let server = tokio::spawn(serve(socket, Arc::clone(&names)));
        Self { names, server }
    }

    /// From now on this name has all these addresses.
    pub(crate) fn answer(&self, name: &str, addresses: &[&str]) {
        self.take_turns(name, &[addresses]);
    }

    /// From now on this name has the addresses of the next turn at each look-up, and after the last those of the first.
    pub(crate) fn take_turns(&self, name: &str, turns: &[&[&str]]) {
        let parse = |turn: &&[&str]| turn.iter().map(|address| address.parse().expect("an address")).collect();
        let answers = Answers { turns: turns.iter().map(parse).collect(), asked: 0 };
        lock(&self.names).insert(name.to_owned(), answers);
    }

    /// How often this name was looked up since it was told of.
    pub(crate) fn lookups(&self, name: &str) -> usize {
        lock(&self.names).get(name).map_or(0, |answers| answers.asked)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn lock(names: &Names) -> std::sync::MutexGuard<'_, HashMap<String, Answers>> {
    names.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(socket: UdpSocket, names: Names) {
    let mut buffer = [0; 1500];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        let Ok(query) = Packet::parse(&buffer[..length]) else { continue };
        let reply = reply(query, &names).build_bytes_vec().expect("a reply");
        socket.send_to(&reply, from).await.expect("sent");
    }
}

fn reply<'q>(query: Packet<'q>, names: &Names) -> Packet<'q> {
    let mut reply = query.into_reply();
    let Some(question) = reply.questions.first().cloned() else { return reply };
    match lock(names).get_mut(&question.qname.to_string()) {
        None => *reply.rcode_mut() = RCODE::NameError,
        Some(answers) => {
            let record = |rdata| ResourceRecord::new(question.qname.clone(), CLASS::IN, 0, rdata);
            reply.answers = answers.to(question.qtype).into_iter().map(record).collect();
        }
    }
    reply
}

impl Answers {
    /// A look-up asks for IPv4 and for IPv6, at once: the one for IPv4 is counted, and with several turns has all the answers.
    fn to(&mut self, kind: QTYPE) -> Vec<RData<'static>> {
        let turn = self.turns[self.asked % self.turns.len()].clone();
        let of_v4 = |address: &IpAddr| match address {
            IpAddr::V4(address) => Some(RData::A(A::from(*address))),
            IpAddr::V6(_) => None,
        };
        let of_v6 = |address: &IpAddr| match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => Some(RData::AAAA(AAAA::from(*address))),
        };
        match kind {
            QTYPE::TYPE(TYPE::A) => {
                self.asked += 1;
                turn.iter().filter_map(of_v4).collect()
            }
            QTYPE::TYPE(TYPE::AAAA) => turn.iter().filter_map(of_v6).collect(),
            _ => Vec::new(),
        }
    }
}
