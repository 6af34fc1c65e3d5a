use std::sync::LazyLock;

use serde_json::json;

use super::{Answered, Finished, answer};
use crate::domain::{
    delivery::{EmailMessage, Message, SmsMessage},
    details::{ModelUsage, RunDetails},
    event::{AgentEvent, Content, Email, Mailbox, Sender, SenderAuth, Sms, Webhook},
    id::{EventId, RunId, SourceId, TenantId},
    run::{Failure, FailureCode, RunResult},
    time::Timestamp,
    trigger::{EmailReply, Reply, ReplySecret, ReplyWord, SmsReply, WebhookReply},
};

const AT: Timestamp = Timestamp(1_795_000_000_000);

fn mailbox(address: &str) -> Mailbox {
    Mailbox { address: address.to_owned(), name: None }
}

fn email() -> Email {
    Email {
        from: vec![mailbox("dana@northwind.example")],
        to: vec![mailbox("support@agents.example.com")],
        envelope_from: Some("dana@northwind.example".to_owned()),
        envelope_to: vec!["support@agents.example.com".to_owned()],
        subject: "Order 7".to_owned(),
        new_text: "Where is it?".to_owned(),
        message_id: Some("m2@northwind.example".to_owned()),
        references: vec!["m1@northwind.example".to_owned()],
        ..Email::default()
    }
}

fn sender(auth: SenderAuth) -> Sender {
    let address = "dana@northwind.example".to_owned();
    Sender { address, name: None, auth, auth_reason: String::new(), flags: Vec::new() }
}

fn event(content: Content) -> AgentEvent {
    AgentEvent {
        id: EventId::new(AT),
        tenant: TenantId::new(AT),
        source: SourceId::new(AT),
        source_name: "mail".to_owned(),
        dedupe_key: "k".to_owned(),
        kind: "issues.opened".to_owned(),
        thread_key: Some("t".to_owned()),
        sender: Some(sender(SenderAuth::Verified)),
        automatic: None,
        received_at: AT,
        content,
        attachments: Vec::new(),
    }
}

fn result(text: &str) -> RunResult {
    RunResult { text: text.to_owned(), ..RunResult::default() }
}

fn answered(content: Content, reply: Option<&Reply>, text: &str) -> Answered {
    let result = result(text);
    answer(&event(content), reply, &ended(&RunId::new(AT), Ok(&result)))
}

fn ended<'a>(run: &'a RunId, outcome: Result<&'a RunResult, &'a Failure>) -> Finished<'a> {
    static DETAILS: LazyLock<RunDetails> = LazyLock::new(|| {
        let mut details = RunDetails { duration_ms: 1_500, ..RunDetails::default() };
        details.spend("claude-haiku-5-5", ModelUsage { cost_micros: 7, ..ModelUsage::default() });
        details
    });
    Finished { run, agent: "support", outcome, usage: DETAILS.usage(), details: &DETAILS }
}

fn sent_email(email: Email) -> Option<EmailMessage> {
    match answered(Content::Email(email), None, "It left.") {
        Answered::Send(message) => match *message {
            Message::Email(email) => Some(email),
            Message::Sms(_) | Message::Webhook(_) => None,
        },
        Answered::Nothing { .. } => None,
    }
}

#[test]
fn a_mail_is_answered_in_its_thread() {
    let sent = sent_email(email()).unwrap();
    assert_eq!((sent.from.as_str(), sent.to.as_str()), ("support@agents.example.com", "dana@northwind.example"));
    assert_eq!(sent.subject, "Re: Order 7");
    assert_eq!(sent.in_reply_to.as_deref(), Some("m2@northwind.example"));
    assert_eq!(sent.references, ["m1@northwind.example", "m2@northwind.example"]);
    assert_eq!(sent.quote.unwrap().text, "Where is it?");
}

#[test]
fn subjects_have_one_re() {
    for (subject, expected) in [
        ("Re: Order", "Re: Order"),
        ("RE: re: AW: Order", "Re: Order"),
        ("Regarding: Order", "Re: Regarding: Order"),
        ("", "Re: (no subject)"),
        ("Fwd: Re: x", "Re: Fwd: Re: x"),
    ] {
        assert_eq!(sent_email(Email { subject: subject.to_owned(), ..email() }).unwrap().subject, expected);
    }
}

#[test]
fn reply_to_counts_only_within_a_verified_senders_organisation() {
    let with = |address: &str| Email { reply_to: vec![mailbox(address)], ..email() };
    assert_eq!(sent_email(with("team@northwind.example")).unwrap().to, "team@northwind.example");
    assert_eq!(sent_email(with("thief@evil.example")).unwrap().to, "dana@northwind.example");
    assert_eq!(sent_email(with("team@mail.northwind.example")).unwrap().to, "team@mail.northwind.example");
    let unverified = AgentEvent {
        sender: Some(sender(SenderAuth::Unknown)),
        ..event(Content::Email(with("team@northwind.example")))
    };
    let (run, result) = (RunId::new(AT), result("It left."));
    let sent = answer(&unverified, None, &ended(&run, Ok(&result)));
    let Answered::Send(message) = sent else { panic!("{sent:?}") };
    assert_eq!(message.recipient(), "dana@northwind.example");
}

#[test]
fn machines_and_ourselves_are_not_answered() {
    let from = |address: &str| Email { from: vec![mailbox(address)], ..email() };
    let loop_header = vec![("X-Loop".to_owned(), "support@agents.example.com".to_owned())];
    let cases = [
        from("MAILER-DAEMON@northwind.example"),
        from("no-reply@northwind.example"),
        from("noreply@northwind.example"),
        from("do_not_reply@northwind.example"),
        from("shop-noreply@northwind.example"),
        from("bounces+17@northwind.example"),
        from("list-request@northwind.example"),
        from("Support@agents.example.com"),
        Email { from: vec![mailbox("a@x.example"), mailbox("b@x.example")], ..email() },
        Email { from: Vec::new(), ..email() },
        Email { envelope_from: Some(String::new()), ..email() },
        Email { envelope_from: Some("mailer-daemon@x.example".to_owned()), ..email() },
        Email { reply_to: vec![mailbox("noreply@northwind.example")], ..email() },
        Email { references: (0..51).map(|n| format!("{n}@x")).collect(), ..email() },
        Email { headers: loop_header, ..email() },
    ];
    for case in cases {
        assert_eq!(sent_email(case.clone()), None, "{case:?}");
    }
    let mut machine = event(Content::Email(email()));
    machine.automatic = Some("Auto-Submitted: auto-replied".to_owned());
    let result = result("x");
    let run = RunId::new(AT);
    let finished = ended(&run, Ok(&result));
    let third = Reply::Email(EmailReply { email: "ops@example.com".to_owned(), attach: None });
    for reply in [None, Some(&Reply::Word(ReplyWord::Same)), Some(&third)] {
        assert!(matches!(answer(&machine, reply, &finished), Answered::Nothing { .. }));
    }
}

#[test]
fn texts_are_answered_with_the_numbers_swapped() {
    let sms = Sms { from: "+14155550132".to_owned(), to: "+14155550199".to_owned(), ..Sms::default() };
    let expected = |to: &str| {
        Answered::Send(Box::new(Message::Sms(SmsMessage {
            from: "+14155550199".to_owned(),
            to: to.to_owned(),
            text: "done".to_owned(),
        })))
    };
    assert_eq!(answered(Content::Sms(sms.clone()), None, "done"), expected("+14155550132"));
    let other = Reply::Sms(SmsReply { sms: "+4915100000000".to_owned() });
    assert_eq!(answered(Content::Sms(sms.clone()), Some(&other), "done"), expected("+4915100000000"));
    let stopped = Sms { opt_out: Some("STOP".to_owned()), ..sms };
    assert!(matches!(answered(Content::Sms(stopped), None, "done"), Answered::Nothing { .. }));
}

#[test]
fn nothing_is_sent_that_nobody_asked_for() {
    let webhook = || Content::Webhook(Webhook::default());
    let none = Reply::Word(ReplyWord::None);
    for (content, reply, text) in [
        (webhook(), None, "x"),
        (webhook(), Some(&Reply::Word(ReplyWord::Same)), "x"),
        (webhook(), Some(&Reply::Sms(SmsReply { sms: "+1".to_owned() })), "x"),
        (Content::Email(email()), Some(&none), "x"),
        (Content::Email(email()), None, " \n "),
    ] {
        assert!(matches!(answered(content, reply, text), Answered::Nothing { .. }));
    }
}

#[test]
fn a_failure_tells_people_nothing_of_our_insides() {
    let failure = Failure::new(FailureCode::ModelAuth, "key sk-123 refused by /srv/postern");
    let run = RunId::new(AT);
    let finished = ended(&run, Err(&failure));
    let Answered::Send(message) = answer(&event(Content::Email(email())), None, &finished) else {
        panic!("nothing sent");
    };
    let Message::Email(sent) = *message else { panic!("no email") };
    assert!(sent.text.contains(run.as_str()) && !sent.text.contains("sk-123"), "{}", sent.text);

    let secret = ReplySecret::Named("triage".to_owned());
    let reply = Reply::Webhook(WebhookReply { webhook: "https://ci.example.com/t".to_owned(), secret, attach: None });
    let Answered::Send(message) = answer(&event(Content::Webhook(Webhook::default())), Some(&reply), &finished) else {
        panic!("nothing sent");
    };
    let Message::Webhook(sent) = *message else { panic!("no webhook") };
    assert_eq!(sent.kind, "run.failed");
    assert_eq!(sent.data["failure"], json!({ "code": "model_auth", "class": "setup", "message": failure.message }));
    assert_eq!(sent.data["models"]["claude-haiku-5-5"]["cost_micros"], 7);
    assert_eq!((&sent.data["usage"]["cost_micros"], &sent.data["duration_ms"]), (&json!(7), &json!(1_500)));
    assert_eq!((&sent.data["status"], &sent.data["text"]), (&json!("failed"), &json!(null)));
}

#[test]
fn a_third_person_is_mailed_outside_the_thread() {
    let reply = Reply::Email(EmailReply { email: "ops@example.com".to_owned(), attach: None });
    let Answered::Send(message) =
        answered(Content::Webhook(Webhook::default()), Some(&reply), "![x](https://e.example)")
    else {
        panic!("nothing sent");
    };
    let Message::Email(sent) = *message else { panic!("no email") };
    assert_eq!((sent.from.as_str(), sent.subject.as_str()), ("", "support: issues.opened"));
    assert_eq!(sent.text, "[x](https://e.example)");
    let own = Reply::Email(EmailReply { email: "support@agents.example.com".to_owned(), attach: None });
    assert!(matches!(answered(Content::Email(email()), Some(&own), "x"), Answered::Nothing { .. }));
}
