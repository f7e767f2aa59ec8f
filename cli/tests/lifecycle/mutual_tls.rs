//! Each kind of TCP port that asks for a certificate, and callers with the right one, with none, and with one that
//! another authority has issued.

use std::net::SocketAddr;

use standin_config::{HttpConfig, ServiceConfig, ServiceProtocol, TlsPort};
use standin_protocol::frame::{Opcode, Request, RequestHeader};
use standin_protocol::hello::{HelloBody, Role};
use standin_testkit::free_ports;

use crate::common::{Cluster, KEYSPACE, TWO_PAIRS, tls};

#[test]
fn no_port_answers_a_caller_without_a_certificate_of_its_authority() {
    let [http_of_master, http_of_server, memcached, redis] =
        free_ports(4).try_into().expect("as many as asked for");
    let place = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let mut made = None;
    let mut cluster = Cluster::with("mutual_tls", TWO_PAIRS, |config| {
        let all = TlsPort::ALL.map(|(_, port)| port);
        let (authority, files) = tls::switch_on(config, &all);
        let own = config.tls.as_mut().expect("it is on");
        own.client_ca_file = Some(authority.root.certificate.clone());
        let http = |port| Some(HttpConfig { address: place(port), passwords: None });
        config.master.dashboard = http(http_of_master);
        let server = &mut config.servers[0];
        server.metrics = http(http_of_server);
        server.services =
            [(ServiceProtocol::Memcached, memcached), (ServiceProtocol::Redis, redis)]
                .map(|(protocol, port)| ServiceConfig {
                    protocol,
                    address: place(port),
                    passwords: None,
                })
                .to_vec();
        config.naming.default_keyspace = Some(KEYSPACE);
        tls::know(config);
        made = Some((authority, files));
    });
    let (authority, files) = made.expect("it was made");
    cluster.start();

    let mut hello = Vec::new();
    let body = HelloBody { role: Role::Client as u8, ..HelloBody::default() };
    Request::write(RequestHeader::new(Opcode::Hello, 0, 0), &[], &body.to_bytes(), &mut hello);
    let http = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    let callers = tls::Callers::new(&authority, &files);
    for (what, address, request, beginning) in [
        ("a server", cluster.address("a1"), &hello[..], &b"s"[..]),
        ("the master", cluster.config.master.address, &hello, b"s"),
        ("memcached's protocol", place(memcached), b"version\r\n", b"VERSION "),
        ("Redis' protocol", place(redis), b"PING\r\n", b"+PONG"),
        ("a server's metrics", place(http_of_server), http, b"HTTP/1.1 200"),
        (
            "the dashboard",
            place(http_of_master),
            b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
            b"HTTP/1.1 200",
        ),
    ] {
        callers.only_the_right_one_is_answered(what, address, request, beginning);
    }
}
