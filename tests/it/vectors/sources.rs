//! What a source needs before it opens.

use postern::{
    domain::{
        source::{SecretRef, SourceSecret, SourceSpec},
        time::Span,
    },
    ingress::{LabelledSecret, gate::Gate, vectors::Request},
};
use serde_json::{Value, json};

use super::{accepted, named, secret, signature, verdict};

#[test]
fn without_secrets_nothing_opens() {
    for vector in accepted() {
        let spec = vector.spec().unwrap();
        assert!(Gate::new(&spec, &vector.url, Vec::new()).is_err(), "{}", vector.name);
        assert!(Gate::new(&spec, &vector.url, vec![secret("s", "")]).is_err(), "{}", vector.name);
    }
}

#[test]
fn a_secret_whose_time_is_over_verifies_nothing() {
    let vector = named("github/issues");
    let request = vector.request().unwrap();
    let spec = vector.spec().unwrap();
    let until = |ms| {
        let end = Some(request.now.plus_ms(ms));
        let old = LabelledSecret { until: end, ..secret("old", &vector.secrets[0]) };
        Gate::new(&spec, &vector.url, vec![secret("new", "another-secret"), old]).unwrap()
    };
    assert!(verdict(&vector, &request, &until(1)).is_ok());
    assert_eq!(verdict(&vector, &request, &until(0)).unwrap_err().code, "bad_signature");
    let alone = LabelledSecret { until: Some(request.now), ..secret("old", &vector.secrets[0]) };
    let gate = Gate::new(&spec, &vector.url, vec![alone]).unwrap();
    assert_eq!(verdict(&vector, &request, &gate).unwrap_err().code, "expired_secret");
}

#[test]
fn a_source_that_cannot_work_says_what_to_fix() {
    let fault = |change: &dyn Fn(&mut SourceSpec), url: &str, secrets: Vec<LabelledSecret>| {
        let mut spec = SourceSpec { provider: "github".to_owned(), ..SourceSpec::default() };
        change(&mut spec);
        Gate::new(&spec, url, secrets).err().unwrap()
    };
    let good = || vec![secret("main", "long-enough")];
    let own = |value: Value| {
        move |spec: &mut SourceSpec| {
            spec.provider = "hmac".to_owned();
            spec.signature = Some(signature(value.clone()));
        }
    };
    let url = "https://hooks.example/in/x";
    assert!(fault(&|_| {}, url, vec![]).contains("`insecure = true`"));
    assert!(fault(&|_| {}, url, vec![secret("main", "short")]).contains("secret `main` is shorter than 8 bytes"));
    assert!(fault(&|spec| spec.provider = "twillio".to_owned(), url, good()).contains("did you mean `twilio`?"));
    assert!(fault(&|spec| spec.provider = "twilio".to_owned(), "", good()).contains("set `public_url`"));
    assert!(fault(&|spec| spec.provider = "hmac".to_owned(), url, good()).contains("set at least `signature"));
    assert!(
        fault(&|spec| spec.provider = "standard".to_owned(), url, vec![secret("main", "not base64!")])
            .contains("`main`")
    );
    assert!(fault(&own(json!({ "header": "X", "signed": "{header:T}" })), url, good()).contains("add `{body}`"));
    assert!(fault(&own(json!({ "header": "X", "timestamp_header": "T" })), url, good()).contains("{header:T}"));
    assert!(fault(&own(json!({ "header": "X", "algorithm": "md5" })), url, good()).contains("sha256, sha1, sha512"));
    assert!(
        fault(&own(json!({ "header": "X", "signed": "{nonsense}{body}" })), url, good())
            .contains("`nonsense` is no source")
    );
    assert!(
        fault(&|spec| spec.signature = Some(signature(json!({ "header": "X" }))), url, good())
            .contains("remove `signature`")
    );
}

#[test]
fn the_operators_tolerance_replaces_the_providers() {
    let vector = named("slack/age-300-exact");
    let secrets = || vec![secret("main", &vector.secrets[0])];
    let spec = |ms| SourceSpec { tolerance: Some(Span(ms)), ..vector.spec().unwrap() };
    let request = vector.request().unwrap();
    let narrow = Gate::new(&spec(299_000), &vector.url, secrets()).unwrap();
    assert_eq!(verdict(&vector, &request, &narrow).unwrap_err().code, "stale_timestamp");
    let wide = Gate::new(&spec(600_000), &vector.url, secrets()).unwrap();
    let late = Request { now: request.now.plus_ms(300_000), ..request };
    assert!(verdict(&vector, &late, &wide).is_ok());
}

#[test]
fn an_insecure_source_believes_everybody_until_it_has_a_secret() {
    let vector = named("github/issues");
    let spec = SourceSpec {
        insecure: true,
        secret: Some(SourceSecret::Plain(SecretRef::Env { env: "HOOK".to_owned() })),
        ..vector.spec().unwrap()
    };
    let mut request = vector.request().unwrap();
    request.headers.retain(|(name, _)| !name.to_ascii_lowercase().contains("signature"));
    let open = Gate::new(&spec, &vector.url, Vec::new()).unwrap();
    let verified = open.verify(&request.inbound(), request.now).unwrap();
    assert_eq!((verified.secret_label(), verified.event()), ("unsigned", Some("issues")));
    let shut = Gate::new(&spec, &vector.url, vec![secret("main", "long-enough")]).unwrap();
    assert!(verdict(&vector, &request, &shut).is_err());
}

#[test]
fn the_matching_secret_is_named_by_its_label() {
    let vector = named("github/rotation-old-secret");
    let (gate, request) = (vector.gate().unwrap(), vector.request().unwrap());
    let label = gate.verify(&request.inbound(), request.now).unwrap().secret_label().to_owned();
    let alone =
        |n: usize| Gate::new(&vector.spec().unwrap(), &vector.url, vec![secret("only", &vector.secrets[n])]).unwrap();
    let which = (0..vector.secrets.len()).find(|n| verdict(&vector, &request, &alone(*n)).is_ok()).unwrap();
    assert_eq!(label, format!("s{which}"));
}

#[test]
fn the_url_stays_as_it_is_configured() {
    let spec = SourceSpec { provider: "twilio".to_owned(), ..SourceSpec::default() };
    let gate = |url: &str| Gate::new(&spec, url, vec![secret("main", "long-enough")]).unwrap();
    assert_eq!(gate("https://Ex.org:443/é'?a=1#rc=2").url(None), "https://Ex.org:443/é'?a=1");
    assert_eq!(gate("https://Ex.org/x?a=1").url(Some("a=%31")), "https://Ex.org/x?a=%31");
}
