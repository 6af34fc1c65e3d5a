//! Where connections outward may lead.

use std::{net::IpAddr, sync::Arc};

use postern::{
    domain::time::Span,
    egress::{
        Egress, EgressError, Policy, Request,
        resolver::{Lookup, Names},
    },
};

use super::{egress_limits, receiver::Receiver};

/// Every name has these addresses.
struct Fixed(Vec<IpAddr>);

impl Names for Fixed {
    fn lookup(&self, _host: &str) -> Lookup {
        let found = self.0.clone();
        Box::pin(async move { Ok(found) })
    }
}

fn with_names(addresses: &[&str], networks: &[&str]) -> Egress {
    let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
    Egress::with_names(&egress_limits(networks), Arc::new(Fixed(addresses))).unwrap()
}

#[tokio::test]
async fn no_spelling_of_a_private_address_is_reached() {
    let receiver = Receiver::start().await;
    let egress = Egress::new(&egress_limits(&[])).unwrap();
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0x7f000001",
        "0177.0.0.1",
        "017700000001",
        "127.0.0.1.",
        "127。0。0。1",
        "①②⑦.⓪.⓪.①",
        "１２７.０.０.１",
        "%31%32%37.0.0.1",
        "0.0.0.0",
        "0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[2002:7f00:1::]",
        "localhost",
        "LOCALHOST",
        "user:pass@127.0.0.1",
        "169.254.169.254",
        "10.0.0.1",
        "[fd00::1]",
        "[fe80::1]",
    ] {
        let sent = egress.send(Policy::Public, Request::get(format!("http://{host}:{}/", receiver.port))).await;
        assert!(matches!(sent, Err(EgressError::Forbidden(_))), "{host}: {sent:?}");
    }
    for url in ["file:///etc/passwd", "gopher://x/", "//x/", "http://", "x", "unix:/run/x"] {
        let sent = egress.send(Policy::Public, Request::get(url)).await;
        assert!(matches!(sent, Err(EgressError::Url(_))), "{url}: {sent:?}");
    }
    assert!(receiver.seen().is_empty());
}

#[tokio::test]
async fn a_name_with_one_private_address_is_refused() {
    let receiver = Receiver::start().await;
    let url = format!("http://rebind.example:{}/", receiver.port);
    for addresses in [&["127.0.0.1"][..], &["93.184.216.34", "127.0.0.1"], &["::1"], &["::ffff:127.0.0.1"]] {
        let sent = with_names(addresses, &[]).send(Policy::Public, Request::get(&url)).await;
        let Err(EgressError::Forbidden(forbidden)) = sent else { panic!("{addresses:?}: {sent:?}") };
        assert_eq!(forbidden.host, "rebind.example");
    }
    assert!(receiver.seen().is_empty());
    let allowed = with_names(&["127.0.0.1"], &["127.0.0.0/8"]).send(Policy::Public, Request::get(&url)).await.unwrap();
    assert_eq!((allowed.status, receiver.seen().len()), (200, 1));
    let nobody = with_names(&[], &[]).send(Policy::Public, Request::get(&url)).await;
    assert!(matches!(nobody, Err(EgressError::Connect { .. })), "{nobody:?}");
}

#[tokio::test]
async fn a_redirect_leads_nowhere() {
    let (outer, inner) = (Receiver::start().await, Receiver::start().await);
    outer.reply(302, &[("location", &inner.url)], "");
    let egress = Egress::new(&egress_limits(&["127.0.0.0/8"])).unwrap();
    let answer = egress.send(Policy::Public, Request::get(&outer.url)).await.unwrap();
    assert_eq!((answer.status, inner.seen().len()), (302, 0));
}

#[tokio::test]
async fn answers_are_read_up_to_their_bound() {
    let receiver = Receiver::start().await;
    receiver.reply(200, &[], &"x".repeat(500_000));
    let mut limits = egress_limits(&[]);
    limits.max_answer_bytes = 1_000;
    let egress = Egress::new(&limits).unwrap();
    let answer = egress.send(Policy::Trusted, Request::get(&receiver.url)).await.unwrap();
    assert_eq!(answer.body.len(), 1_000);
}

#[tokio::test]
async fn a_silent_server_costs_no_more_than_the_timeout() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut limits = egress_limits(&[]);
    limits.timeout = Span(50);
    let egress = Egress::new(&limits).unwrap();
    let url = format!("http://{}/token-in-path", listener.local_addr().unwrap());
    let error = egress.send(Policy::Trusted, Request::get(url)).await.unwrap_err();
    assert!(matches!(error, EgressError::NoAnswer { .. }), "{error:?}");
    assert!(!error.to_string().contains("token-in-path") && error.to_string().contains("time ran out"), "{error}");
}
