//! Requests that nobody would send.

use postern::{
    domain::{source::SourceSpec, time::Timestamp},
    ingress::{gate::Gate, providers, vectors::Request},
};
use proptest::prelude::*;

use super::{accepted, verdict};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn cut_and_garbled_requests_never_panic(
        which in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
        garbage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        header in any::<prop::sample::Index>(),
        text in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let all = accepted();
        let vector = which.get(&all);
        let gate = vector.gate().unwrap();
        // Without a secret, whatever is parsed is parsed from garbage.
        let open = Gate::new(&SourceSpec { insecure: true, ..vector.spec().unwrap() }, &vector.url, Vec::new()).unwrap();
        let mut request = vector.request().unwrap();
        let at = cut.index(request.body.len() + 1);
        request.body.truncate(at);
        for (place, byte) in garbage {
            if !request.body.is_empty() {
                let at = place.index(request.body.len());
                request.body[at] = byte;
            }
        }
        let at = header.index(request.headers.len());
        if text.len() % 2 == 0 {
            request.headers[at].1 = text;
        }
        let _ = verdict(vector, &request, &gate);
        if let Ok(verified) = open.verify(&request.inbound(), request.now) {
            let _ = open.handshake(&verified);
            let _ = open.parse(&verified, request.now);
        }
    }

    #[test]
    fn any_bytes_are_some_body(body in prop::collection::vec(any::<u8>(), 0..400), kind in 0..4_usize) {
        let kinds = ["application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=B", "x"];
        let headers = vec![("Content-Type".to_owned(), kinds[kind].as_bytes().to_vec())];
        let request = Request { method: "POST".to_owned(), url: "https://h/in/x?a=%".to_owned(), headers, body, now: Timestamp(0) };
        for provider in providers::names() {
            let spec = SourceSpec { provider: provider.to_owned(), insecure: true, ..SourceSpec::default() };
            let gate = Gate::new(&spec, "https://h/in/x", Vec::new()).unwrap();
            let verified = gate.verify(&request.inbound(), request.now).unwrap();
            let _ = gate.parse(&verified, request.now);
        }
    }
}
