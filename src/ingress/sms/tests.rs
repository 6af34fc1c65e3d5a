use crate::{
    domain::{
        event::{Content, Sms},
        report::ReportStatus,
        source::SourceSpec,
        texting::{Consent, MessagePart},
        time::Timestamp,
    },
    ingress::{Inbound, Parsed, gate::Gate},
};

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

fn parse(provider: &str, content_type: &str, body: &str) -> Parsed {
    let spec = SourceSpec { provider: provider.to_owned(), insecure: true, ..SourceSpec::default() };
    let gate = Gate::new(&spec, "https://a.example/in/a", Vec::new()).unwrap();
    let headers = [("content-type".to_owned(), content_type.as_bytes().to_vec())];
    let request = Inbound { method: "POST", url: "https://a.example/in/a", headers: &headers, body: body.as_bytes() };
    let verified = gate.verify(&request, Timestamp(0)).unwrap();
    gate.parse(&verified, Timestamp(0)).unwrap()
}

fn text(parsed: &Parsed) -> &Sms {
    match &parsed.content {
        Content::Sms(sms) => sms,
        Content::Email(_) | Content::Webhook(_) | Content::Schedule(_) | Content::Agent(_) => {
            panic!("no text message: {parsed:?}")
        }
    }
}

/// Kind, from, to, text, id.
fn fields(parsed: &Parsed) -> [&str; 5] {
    let sms = text(parsed);
    [&parsed.kind, &sms.from, &sms.to, &sms.text, &sms.message_id]
}

fn report(parsed: &Parsed) -> (&str, ReportStatus, Option<&str>, &str) {
    assert!(parsed.quiet.is_some());
    let report = &parsed.effects.reports[0];
    (&report.about, report.status, report.code.as_deref(), &report.detail)
}

#[test]
fn telnyx_tells_of_messages_groups_and_statuses() {
    let mms = r#"{"data":{"event_type":"message.received","id":"e1","payload":{"id":"m1","type":"MMS","direction":"inbound",
        "from":{"phone_number":"+1312"},"to":[{"phone_number":"+1999","status":"queued"},{"phone_number":"+1773",
        "status":"webhook_delivered"}],"text":null,"media":[{"url":"https://media.telnyx.com/a.png",
        "content_type":"image/png","size":7}]}}}"#;
    let parsed = parse("telnyx", JSON, mms);
    assert_eq!(fields(&parsed), ["sms", "+1312", "+1773", "", "m1"]);
    assert_eq!(text(&parsed).media[0].content_type, "image/png");
    assert_eq!(parsed.thread_key.as_deref(), Some("+1312|+1773"));
    let stop = r#"{"data":{"event_type":"message.received","payload":{"id":"m2","from":{"phone_number":"+1312"},
        "to":[{"phone_number":"+1773"}],"text":"no more","autoresponse_type":"opt_out"}}}"#;
    let parsed = parse("telnyx", JSON, stop);
    assert_eq!(text(&parsed).opt_out.as_deref(), Some("STOP"));
    let consent = Consent { ours: "1773".to_owned(), theirs: "1312".to_owned(), opted_out: true };
    assert_eq!(parsed.effects.consent, Some(consent));
    let failed = r#"{"data":{"event_type":"message.finalized","payload":{"id":"m3","to":[{"phone_number":"+1312",
        "status":"delivery_failed"}],"errors":[{"code":"40008","title":"Undeliverable","detail":"carrier refused"}]}}}"#;
    let parsed = parse("telnyx", JSON, failed);
    assert_eq!(parsed.kind, "sms.delivery_failed");
    assert_eq!(report(&parsed), ("m3", ReportStatus::Undelivered, Some("40008"), "carrier refused"));
    assert!(parse("telnyx", JSON, r#"{"data":{"id":"e","event_type":"message.finalized"}}"#).quiet.is_some());
    assert_eq!(parse("telnyx", JSON, r#"{"data":{"id":"e","event_type":"call.initiated"}}"#).quiet, None);
}

#[test]
fn a_yes_that_twilio_counts_as_start_is_an_answer_as_well() {
    let says = |word: &str, kind: &str| {
        let body = format!("MessageSid=SM1&From=%2B1312&To=%2B1773&Body={word}&OptOutType={kind}");
        parse("twilio", FORM, &body)
    };
    let consent = Consent { ours: "1773".to_owned(), theirs: "1312".to_owned(), opted_out: false };
    let yes = says("Yes.", "START");
    assert_eq!((&yes.quiet, &text(&yes).opt_out, yes.effects.consent.as_ref()), (&None, &None, Some(&consent)));
    let start = says("Start", "START");
    assert_eq!((start.quiet.is_some(), text(&start).opt_out.as_deref()), (true, Some("START")));
    assert_eq!(start.effects.consent, Some(consent));
    // Words that an account has added are the provider's to know.
    assert!(says("Join", "START").quiet.is_some() && says("yes", "STOP").effects.consent.unwrap().opted_out);
}

#[test]
fn vonages_messages_come_from_several_channels() {
    let sms = r#"{"channel":"sms","message_uuid":"u1","to":"4470","from":"4471","text":"hi","message_type":"text"}"#;
    assert_eq!(fields(&parse("vonage", JSON, sms)), ["sms", "4471", "4470", "hi", "u1"]);
    let picture = r#"{"channel":"whatsapp","message_uuid":"u2","to":"4470","from":"4471","message_type":"image",
        "image":{"url":"https://api.nexmo.com/v3/media/1","caption":"look"},"profile":{"name":"Zoë"}}"#;
    let parsed = parse("vonage", JSON, picture);
    assert_eq!(fields(&parsed), ["whatsapp", "4471", "4470", "look", "u2"]);
    assert_eq!(text(&parsed).profile_name.as_deref(), Some("Zoë"));
    assert_eq!(text(&parsed).media[0].url, "https://api.nexmo.com/v3/media/1");
    let chosen = r#"{"channel":"whatsapp","message_uuid":"u3","to":"4470","from":"4471","message_type":"reply",
        "reply":{"id":"r1","title":"9am"}}"#;
    assert_eq!(text(&parse("vonage", JSON, chosen)).text, "9am");
    let older = r#"{"message_uuid":"u4","to":{"type":"sms","number":"4470"},"from":{"type":"sms","number":"4471"},
        "message":{"content":{"type":"text","text":"x"}}}"#;
    assert_eq!(text(&parse("vonage", JSON, older)).from, "4471");
    let stop = r#"{"channel":"whatsapp","message_uuid":"u5","to":"4470","from":"4471","text":"Stop"}"#;
    let consent = parse("vonage", JSON, stop).effects.consent.unwrap();
    assert_eq!((consent.ours.as_str(), consent.theirs.as_str()), ("whatsapp:4470", "whatsapp:4471"));
    let status = r#"{"message_uuid":"u6","to":"4471","from":"4470","status":"undeliverable","channel":"sms",
        "error":{"type":"https://…","title":1210,"detail":"spam"}}"#;
    assert_eq!(report(&parse("vonage", JSON, status)), ("u6", ReportStatus::Undelivered, Some("1210"), "spam"));
    assert!(matches!(parse("vonage", JSON, r#"{"uuid":"call"}"#).content, Content::Webhook(_)));
}

#[test]
fn vonages_sms_api_sends_long_messages_in_parts() {
    let plain = "msisdn=4471&to=4470&messageId=0A&text=hi&type=text&concat=false";
    assert_eq!(fields(&parse("vonage_sms", FORM, plain)), ["sms", "4471", "4470", "hi", "0A"]);
    let part = "msisdn=4471&to=4470&messageId=0B&text=stop&concat=true&concat-ref=7&concat-total=3&concat-part=2";
    let parsed = parse("vonage_sms", FORM, part);
    let expected = MessagePart { reference: "7".to_owned(), number: 2, total: 3 };
    assert_eq!(parsed.effects.part, Some(expected));
    assert_eq!(parsed.effects.consent, None, "a part is not the whole message");
    assert_eq!(parsed.quiet.as_deref(), Some("part 2 of 3 of a long message"));
    for odd in ["concat-total=3&concat-part=4", "concat-total=1&concat-part=1", "concat-total=300&concat-part=1", ""] {
        let body = format!("msisdn=4471&to=4470&messageId=0B&text=a&concat=true&concat-ref=7&{odd}");
        assert_eq!(parse("vonage_sms", FORM, &body).effects.part, None, "{odd}");
    }
    let as_json = r#"{"msisdn":"4471","to":"4470","messageId":"0C","text":"hé","concat":"true","concat-ref":"9",
        "concat-total":"2","concat-part":"1"}"#;
    assert_eq!(parse("vonage_sms", JSON, as_json).effects.part.unwrap().total, 2);
    let receipt = "msisdn=4471&to=ACME&messageId=0D&status=expired&err-code=6&price=0.03";
    assert_eq!(report(&parse("vonage_sms", FORM, receipt)), ("0D", ReportStatus::Undelivered, Some("6"), ""));
    let binary = "msisdn=4471&to=4470&messageId=0E&type=binary&data=00ff&udh=05";
    assert_eq!(parse("vonage_sms", FORM, binary).kind, "sms.binary");
}

#[test]
fn plivo_tells_of_messages_media_and_statuses() {
    let mms =
        "From=1415&To=1416&Text=look&Type=mms&MessageUUID=u1&Media0=https%3A%2F%2Fmedia.plivo.com%2Fa&MediaCount=1";
    let parsed = parse("plivo", FORM, mms);
    assert_eq!(fields(&parsed), ["sms", "1415", "1416", "look", "u1"]);
    assert_eq!(text(&parsed).media[0].url, "https://media.plivo.com/a");
    let out = "From=1415&To=1416&Text=please+no&Type=sms&MessageUUID=u2&MessageIntent=optout";
    assert_eq!(text(&parse("plivo", FORM, out)).opt_out.as_deref(), Some("STOP"));
    let status =
        "From=1416&To=1415&Status=undelivered&MessageUUID=u4&ParentMessageUUID=u3&ErrorCode=30&PartInfo=2+of+2";
    assert_eq!(report(&parse("plivo", FORM, status)), ("u3", ReportStatus::Undelivered, Some("30"), ""));
    let fine = "From=1416&To=1415&Status=delivered&MessageUUID=u3&ErrorCode=000";
    assert_eq!(report(&parse("plivo", FORM, fine)), ("u3", ReportStatus::Delivered, None, ""));
}

#[test]
fn twilio_tells_of_channels_and_errors() {
    let failed = "MessageSid=SM1&MessageStatus=failed&SmsStatus=failed&ErrorCode=30007&From=%2B1&To=%2B2";
    assert_eq!(report(&parse("twilio", FORM, failed)), ("SM1", ReportStatus::Failed, Some("30007"), ""));
    let stop = "MessageSid=SM2&SmsStatus=received&From=whatsapp%3A%2B1&To=whatsapp%3A%2B2&Body=Stop&NumMedia=0";
    let parsed = parse("twilio", FORM, stop);
    assert_eq!((parsed.kind.as_str(), text(&parsed).opt_out.as_deref()), ("whatsapp", Some("STOP")));
    let yes = "MessageSid=SM3&From=%2B1&To=%2B2&Body=Yes";
    let parsed = parse("twilio", FORM, yes);
    assert_eq!((parsed.quiet, parsed.effects.consent.map(|consent| consent.opted_out)), (None, Some(false)));
    let rcs = "MessageSid=SM4&From=rcs%3A%2B1&To=rcs%3Aacme&Body=x";
    assert_eq!(parse("twilio", FORM, rcs).kind, "rcs");
}
